"""Mosaics of Siemens: each slice lies where the header puts it, whatever the order of its tiles, or there is no volume.

dcm2niix is the oracle for real ones; made ones state their places in private elements as real ones do.
"""

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel as nib
import numpy as np
import pytest
from support.builders import JPEG_LS, DataSet, dicom, encapsulated, image
from support.mounting import Loop, mounted
from support.volume_objects import BETWEEN, ORIENTATION, POSITION, SPACING, Planes, text, turned
from test_volume import assert_in_place, assert_same, dcm2niix, of, volume_of

Program = Callable[[str], str]


def csa(entries: dict[str, list[str]], *, newer: bool) -> bytes:
    """Write the image header of Siemens in one of its two forms."""
    data = (b"SV10\4\3\2\1" if newer else b"") + struct.pack("<2I", len(entries), 77)
    extra: int | None = None
    for name, values in entries.items():
        extra = len(values) if extra is None else extra
        data += struct.pack("<64si4siii", name.encode(), 1, b"FD\0\0", 4, len(values), 77)
        for value in values:
            raw = value.encode() + b"\0" if value else b""
            first = len(raw) + (0 if newer else extra)
            data += struct.pack("<4i", first, len(raw), 77, len(raw)) + raw.ljust(-(-len(raw) // 4) * 4, b"\0")
    return data + bytes(4)


def mosaic(
    planes: Planes, *, descending: bool = False, newer: bool = True, block: int = 0x10, frames: int = 1
) -> tuple[DataSet, np.ndarray]:
    """Tile the slices of *planes*; the last tiles stay empty. Gives the elements and the mosaics."""
    across = math.ceil(math.sqrt(planes.slices))
    tiles = of(planes, frames).astype("<u2") + 1
    whole = np.zeros((frames, across * planes.rows, across * planes.columns), "<u2")
    for slot in range(planes.slices):
        top, left = slot // across * planes.rows, slot % across * planes.columns
        place = planes.slices - 1 - slot if descending else slot
        whole[:, top : top + planes.rows, left : left + planes.columns] = tiles[:, place]
    row, column = np.array(planes.row), np.array(planes.column)
    first = planes.position(planes.slices - 1 if descending else 0)
    first = first - row * planes.spacing[1] * (across - 1) * planes.columns / 2
    first = first - column * planes.spacing[0] * (across - 1) * planes.rows / 2
    normal = np.cross(row, column) * (-1 if descending else 1)
    header = {
        "EchoLinePosition": ["", "x", "3"],
        "NumberOfImagesInMosaic": [str(planes.slices), *[""] * 5],
        "SliceNormalVector": [*[f"{part:.8f}" for part in normal], "", "", ""],
    }
    more: DataSet = {
        0x00080008: ("CS", "ORIGINAL\\PRIMARY\\M\\ND\\MOSAIC"),
        BETWEEN: ("DS", text([planes.distance])),
        SPACING: ("DS", text(planes.spacing)),
        POSITION: ("DS", text(first.tolist())),
        ORIENTATION: ("DS", planes.orientation),
        0x00190000 | block: ("LO", "SIEMENS MR HEADER"),
        0x00190000 | block << 8 | 0x0A: ("US", planes.slices),
        0x00290000 | block: ("LO", "SIEMENS CSA HEADER"),
        0x00290000 | block << 8 | 0x10: ("OB", csa(header, newer=newer)),
    }
    count = frames if frames > 1 else None
    return image(*whole.shape[1:], whole.tobytes(), frames=count, bits=16, more=more), whole


def served(elements: DataSet, tmp_path: Path, loop: Loop, syntax: str | None = None) -> tuple:
    (tmp_path / "made.dcm").write_bytes(dicom(elements, syntax) if syntax else dicom(elements))
    return volume_of(tmp_path / "made.dcm", loop)


@pytest.mark.parametrize("slices", [1, 2, 5, 9, 10])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("newer", [False, True])
def test_every_tile_lies_where_its_slice_was(
    slices: int, descending: bool, newer: bool, loop: Loop, tmp_path: Path
) -> None:
    row, column = turned(slices)
    planes = Planes(slices, row=row, column=column)
    elements, _ = mosaic(planes, descending=descending, newer=newer, block=0x10 if newer else 0x4F)
    volume, said = served(elements, tmp_path, loop)
    assert not said
    assert volume.shape == (planes.columns, planes.rows, slices)
    assert_in_place(volume, planes, of(planes) + 1)


def test_frames_of_mosaics_are_volumes_also_where_they_are_encoded_or_rescaled(loop: Loop, tmp_path: Path) -> None:
    planes = Planes(5)
    elements, whole = mosaic(planes, frames=3, descending=True)
    volume, _ = served(elements, tmp_path, loop)
    assert_in_place(volume, planes, of(planes, 3) + 1)
    encoded = encapsulated([bytes(imagecodecs.jpegls_encode(frame)) for frame in whole])
    scaled = {0x7FE00010: ("OB", encoded), 0x00281052: ("DS", "-3"), 0x00281053: ("DS", "0.5")}
    volume, said = served({**elements, **scaled}, tmp_path, loop, JPEG_LS)
    assert not said
    assert_in_place(volume, planes, (of(planes, 3) + 1) * 0.5 - 3)


def without(*tags: int) -> Callable[[dict[int, Any]], object]:
    return lambda elements: [elements.pop(tag) for tag in tags]


def of_header(**changes: list[str]) -> Callable[[dict[int, Any]], object]:
    entries = {"SliceNormalVector": ["0", "0", "1"], "NumberOfImagesInMosaic": ["5"], **changes}
    return lambda elements: elements.update({0x00291010: ("OB", csa(entries, newer=True))})


def tiles_of(number: int) -> DataSet:
    header = {"SliceNormalVector": ["0", "0", "1"], "NumberOfImagesInMosaic": [str(number)]}
    return {0x0019100A: ("US", number), 0x00291010: ("OB", csa(header, newer=True))}


def of_bytes(data: bytes) -> Callable[[dict[int, Any]], object]:
    return lambda elements: elements.update({0x00291010: ("OB", data)})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without(0x0019100A), ""),
        (without(0x0019100A, 0x00291010), "nothing says of how many"),
        (without(0x00291010), "nothing says in which direction they follow"),
        (without(0x00290010), "nothing says in which direction they follow"),
        (of_header(SliceNormalVector=["1", "0", "0"]), "nothing says in which direction they follow"),
        (of_header(SliceNormalVector=["0", "x", "1"]), "nothing says in which direction they follow"),
        (of_header(SliceNormalVector=["0", "0"]), "nothing says in which direction they follow"),
        (lambda elements: elements.update({0x0019100A: ("US", 6)}), "two numbers of them are stated"),
        (lambda elements: elements.update(tiles_of(43)), "is not as large as its tiles"),
        (without(BETWEEN), "nothing says how far these are apart"),
        (of_bytes(b"x" * 80), "nothing says in which direction they follow"),
    ],
)  # fmt: skip
def test_what_a_mosaic_does_not_say_leaves_the_volume_out(
    change: Callable[[DataSet], object], reason: str, loop: Loop, tmp_path: Path
) -> None:
    elements, _ = mosaic(Planes(5))
    change(elements)
    volume, said = served(elements, tmp_path, loop)
    assert (volume is None) == bool(reason)
    assert said == ([f"volume.nii is left out: each frame is a mosaic of slices, and {reason} (M6)"] if reason else [])


@pytest.mark.parametrize("newer", [False, True])
def test_a_header_cut_anywhere_makes_the_same_volume_or_none(newer: bool, loop: Loop, tmp_path: Path) -> None:
    elements, _ = mosaic(Planes(2), newer=newer)
    whole = elements[0x00291010][1]
    assert isinstance(whole, bytes)
    expected, _ = served(elements, tmp_path, loop)
    made = 0
    for length in range(0, len(whole), 44):
        elements[0x00291010] = ("OB", whole[:length])
        volume, said = served(elements, tmp_path, loop)
        assert (volume is None) == bool(said)
        if volume is not None:
            assert np.array_equal(volume.affine, expected.affine)
            made += 1
    assert made < len(whole) // 88


def test_through_a_mount_in_any_slices(tmp_path: Path) -> None:
    planes = Planes(7)
    archive = tmp_path / "archive"
    archive.mkdir()
    elements, _ = mosaic(planes, descending=True)
    (archive / "a.dcm").write_bytes(dicom(elements))
    with mounted(archive, tmp_path) as mount:
        path = mount.path / "a.dcm" / "volume.nii"
        data = path.read_bytes()
        assert len(data) == path.stat().st_size == 352 + 7 * 6 * 8 * 2
        assert_in_place(nib.Nifti1Image.from_bytes(data), planes, of(planes) + 1)
        with path.open("rb") as opened:
            for start in (0, 353, 361, 399, 700, 1001):
                opened.seek(start)
                assert opened.read(131) == data[start : start + 131]


def test_real_mosaics_equal_dcm2niix(corpus: Path | None, loop: Loop, program: Program, tmp_path: Path) -> None:
    if corpus is None:
        pytest.skip("the corpus is not there")
    names = [
        "nih/In/20180918Si/mr_0003/epi_pe_ap-00001.dcm",
        "nih/In/20180918Si/mr_0006/epi_pe_lr-00002.dcm",
        "mosaic/In/cmrr_Int_8/IM-0007-0001.dcm",
        "mosaic/In/ep2d_Asc_2/IM-0001-0002.dcm",
        "mosaic/In/ep2d_Asc_HF_10/IM-0009-0003.dcm",
        "ts/In/2.dcm",
        "ts/In/3.dcm",
        "ts/In/6.dcm",
    ]
    for number, name in enumerate(names):
        volume, said = volume_of(corpus / "dcm_qa" / name, loop)
        assert not said
        (theirs,) = dcm2niix(program("dcm2niix"), corpus / "dcm_qa" / name, tmp_path / str(number))
        assert volume is not None
        assert_same(volume, theirs)
