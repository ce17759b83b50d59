"""Extended attributes: the header's values beside pydicom's, through the programs that use them."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.multival import MultiValue
from support.archives import PYDICOM, SAMPLES, swept
from support.mounting import Mount, errno_of, mounted

from dicomfs.dicom.part10_reader import NotDicom, parse
from dicomfs.dicom.stream import Memory
from dicomfs.dicom.xattrs import PREFIX, attributes


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    place = tmp_path_factory.mktemp("xattrs")
    archive = place / "archive"
    archive.mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm"):
        shutil.copy(PYDICOM / name, archive)
    (archive / "notes.txt").write_text("not DICOM")
    with mounted(archive, place, "--xattrs") as mount:
        yield mount


def listed(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def test_values_are_those_of_the_header(mount: Mount) -> None:
    found = listed(mount.path / "CT_small.dcm")
    expected = {
        "PatientName": b"CompressedSamples^CT1",
        "SOPClassUID": b"1.2.840.10008.5.1.4.1.1.2",
        "TransferSyntaxUID": b"1.2.840.10008.1.2.1",
        "ImageType": b"ORIGINAL\\PRIMARY\\AXIAL",
        "PixelSpacing": b"0.661468\\0.661468",
        "Rows": b"128",
        "PixelPaddingValue": b"-2000",
        "SliceThickness": b"5.000000",
    }
    assert {name: found["user.dicom." + name] for name in expected} == expected
    assert {"PixelData", "OtherPatientIDsSequence", "GroupLength"}.isdisjoint(name.rpartition(".")[2] for name in found)


def test_only_directories_of_dicom_files_have_any(mount: Mount) -> None:
    for path in ("", "notes.txt", "CT_small.dcm/original.dcm", "CT_small.dcm/frames", "CT_small.dcm/frames/0001.png"):
        assert os.listxattr(mount.path / path) == []
        assert errno_of(lambda path=path: os.getxattr(mount.path / path, "user.dicom.Rows")) == errno.ENODATA


@pytest.mark.parametrize(
    "name",
    ["user.dicom.Nothing", "user.dicom.", "user.other", "security.selinux", "user.dicom.SliceThicknes", "user.dicom.é"],
)
def test_a_missing_name(name: str, mount: Mount) -> None:
    assert errno_of(lambda: os.getxattr(mount.path / "CT_small.dcm", name)) == errno.ENODATA


def test_nobody_writes(mount: Mount) -> None:
    assert errno_of(lambda: os.setxattr(mount.path / "CT_small.dcm", "user.dicom.Rows", b"1")) == errno.EROFS
    assert errno_of(lambda: os.removexattr(mount.path / "CT_small.dcm", "user.dicom.Rows")) == errno.EROFS


def test_sizes_are_asked_first(mount: Mount, program: Callable[[str], str]) -> None:
    done = subprocess.run(
        [program("getfattr"), "-d", mount.path / "MR_small.dcm"], capture_output=True, text=True, check=True
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("user.")]
    assert len(lines) == len(listed(mount.path / "MR_small.dcm"))
    assert 'user.dicom.Modality="MR"' in lines


def test_programs_copy_them(mount: Mount, tmp_path: Path, program: Callable[[str], str]) -> None:
    where = mount.path / "CT_small.dcm"
    (tmp_path / "try").mkdir()
    assert errno_of(lambda: os.setxattr(tmp_path / "try", "user.dicom.Rows", b"1")) is None
    subprocess.run(["cp", "-a", where, tmp_path / "cp"], check=True)
    subprocess.run([program("rsync"), "-aX", f"{where}/", tmp_path / "rsync"], check=True)
    for name in ("cp", "rsync"):
        assert listed(tmp_path / name) == listed(where)
        assert (tmp_path / name / "original.dcm").read_bytes() == (PYDICOM / "CT_small.dcm").read_bytes()


def test_ls_asks_nothing_of_the_header(tmp_path: Path) -> None:
    """With the option off the kernel stops asking; with it on, what `ls -l` asks costs no parsing."""
    for options, most in (((), 2), (("--xattrs",), 1000)):
        with mounted(PYDICOM, tmp_path, *options) as mount:
            subprocess.run(["ls", "-l", mount.path], stdout=subprocess.DEVNULL, check=True)
            before = mount.statistics()["requests"]
            subprocess.run(["getfattr", "-h", "-n", "security.selinux", mount.path / "CT_small.dcm"], check=False)
            for name in ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm"):
                errno_of(lambda name=name: os.getxattr(mount.path / name, "security.selinux"))
            assert mount.statistics()["requests"] - before <= most


def test_off_unless_asked_for(tmp_path: Path) -> None:
    with mounted(PYDICOM, tmp_path) as mount:
        assert errno_of(lambda: os.getxattr(mount.path / "CT_small.dcm", "user.dicom.Rows")) == errno.EOPNOTSUPP
        assert errno_of(lambda: os.listxattr(mount.path / "CT_small.dcm")) in (errno.EOPNOTSUPP, None)
        before = mount.statistics()["requests"]
        for _ in range(10):
            errno_of(lambda: os.getxattr(mount.path / "CT_small.dcm", "user.dicom.Rows"))
        assert mount.statistics()["requests"] - before <= 1


def test_one_file_as_archive_with_the_version_that_is_there_now(tmp_path: Path) -> None:
    source = tmp_path / "one.dcm"
    shutil.copy(PYDICOM / "CT_small.dcm", source)
    with mounted(source, tmp_path, "--xattrs") as mount:
        assert os.getxattr(mount.path, "user.dicom.Modality") == b"CT"
        shutil.copy(PYDICOM / "MR_small.dcm", tmp_path / "new.dcm")
        os.rename(tmp_path / "new.dcm", source)
        assert os.getxattr(mount.path, "user.dicom.Modality") == b"MR"


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("sample", swept(SAMPLES))
def test_every_sample_beside_pydicom(sample: Path) -> None:
    """Text as pydicom decodes it; names, lengths and the list within their limits; nothing private or binary."""
    try:
        parsed = parse(Memory(sample.read_bytes()))
    except NotDicom:
        return
    found = attributes(parsed)
    assert sum(len(name) + 1 + len(value) for name, value in found.items()) <= 65536
    assert all(0 < len(value) <= 1024 for value in found.values())
    try:
        theirs = pydicom.dcmread(sample, force=True, stop_before_pixels=True)
    except Exception:  # noqa: BLE001 - what pydicom refuses is no oracle
        return
    elements = {element.keyword: element for data in (theirs, theirs.file_meta) for element in reversed([*data])}
    for name, value in found.items():
        keyword = name.removeprefix(PREFIX).decode()
        element = elements.get(keyword)
        if element is None:
            continue
        assert element.VR not in ("SQ", "OB", "OW", "UN", "OF", "OD", "OL", "OV")
        if element.VR in ("CS", "UI", "DA", "LO", "SH", "US", "SS", "UL"):
            values = element.value if isinstance(element.value, (MultiValue, list)) else [element.value]
            assert value.decode() == "\\".join(str(part).strip() for part in values), keyword
