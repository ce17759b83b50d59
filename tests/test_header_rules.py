"""Headers and forms of files, end to end: what a user finds in the directory of each (H1-H20)."""

import gzip
import json
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from support.archives import PYDICOM, PYDICOM_DATA
from support.builders import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Raw,
    acr_nema,
    data_set,
    dicom,
    element,
    image,
)
from support.mounting import Loop, files_below, read_all, tree_of
from support.object_directories import Shown

CHARSETS = PYDICOM.parent / "charset_files"
NAME = 0x00100010


def header(shown: Shown) -> dict[str, Any]:
    """Read header.json as strictly as a browser does: no NaN, no second element of the same key."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(found)) == len(found)
        return dict(found)

    def constant(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    parsed: dict[str, Any] = json.loads(
        shown.read("header.json").decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant
    )
    return parsed


def made(loop: Loop, folder: Path, data: bytes) -> Shown:
    return Shown.of(loop, folder, data)


def grey(more: dict[int, tuple[str, Any]] | None = None) -> dict[int, tuple[str, Any]]:
    """Make an image of two by three pixels, 0 to 5."""
    return image(2, 3, bytes(range(6)), vr="OB", more=more)


def test_h1_keys_ascend_and_group_lengths_stay_out(loop: Loop, tmp_path: Path) -> None:
    more = {0x00100000: ("UL", 4), NAME: ("PN", "A^B"), 0x00081030: ("LO", ""), 0x00081140: ("SQ", [{}, {}])}
    found = header(made(loop, tmp_path, dicom(grey(more))))
    keys = list(found)
    assert keys == sorted(keys)
    assert all(re.fullmatch("[0-9A-F]{8}", key) for key in keys)
    assert "00100000" not in keys
    assert not [key for key in keys if key.startswith("0002")]
    assert found["00081030"] == {"vr": "LO"}
    assert found["00081140"] == {"vr": "SQ", "Value": [{}, {}]}


def test_h2_numbers_that_are_none_stop_nothing(loop: Loop, tmp_path: Path) -> None:
    """pydicom's own JSON writer raises on each of these."""
    more = {0x00280030: ("DS", "1.9.10.0\\40\\"), 0x00200013: ("IS", "1A"), 0x00189073: ("FD", [0.5])}
    shown = made(loop, tmp_path, dicom(grey(more)))
    found = header(shown)
    assert found["00280030"]["Value"] == ["1.9.10.0", 40, None]
    assert found["00200013"]["Value"] == ["1A"]
    assert shown.picture().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_h3_real_numbers_that_json_has_not(loop: Loop, tmp_path: Path) -> None:
    more = {0x00189073: ("FD", [float("nan"), float("inf"), float("-inf"), 1.5])}
    assert header(made(loop, tmp_path, dicom(grey(more))))["00189073"]["Value"] == ["nan", "inf", "-inf", 1.5]


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG])
def test_h4_bulk_values_are_files_that_the_header_names(syntax: str, loop: Loop, tmp_path: Path) -> None:
    table = list(range(2000))
    more = {0x00281201: ("OW", struct.pack(f"{'>' if syntax == EXPLICIT_BIG else '<'}2000H", *table))}
    shown = made(loop, tmp_path, dicom(grey(more), syntax))
    found = header(shown)
    assert np.frombuffer(shown.read(found["00281201"]["BulkDataURI"]), "<u2").tolist() == table
    assert shown.read(found["7FE00010"]["BulkDataURI"]) == bytes(range(6))


@pytest.mark.parametrize("path", sorted(CHARSETS.glob("*.dcm")), ids=lambda path: path.stem)
def test_h5_h6_names_of_every_script_read_as_pydicom_reads_them(path: Path, loop: Loop) -> None:
    shown = Shown(loop, path)
    found = header(shown)
    dataset = pydicom.dcmread(path)
    dataset.decode()
    if "PatientName" in dataset:
        groups = [str(dataset.PatientName.alphabetic), dataset.PatientName.ideographic, dataset.PatientName.phonetic]
        said = found["00100010"]["Value"][0]
        assert [said.get(kind, "") for kind in ("Alphabetic", "Ideographic", "Phonetic")] == [str(g) for g in groups]
        assert said[next(iter(said))] in shown.read("header.txt").decode()
    if "00080005" in found:
        assert found["00080005"]["Value"] == ["ISO_IR 192"]


def test_h7_a_bare_data_set_with_the_last_byte_of_its_meta_information(loop: Loop) -> None:
    """The sample is the data set of CT_small.dcm, cut one byte too early; pydicom reads one nonsense element of it."""
    shown, whole = Shown(loop, PYDICOM / "no_meta.dcm"), Shown(loop, PYDICOM / "CT_small.dcm")
    assert header(shown) == header(whole)
    assert np.array_equal(shown.picture(), whole.picture())
    assert "a stray byte before the first element is skipped (H7)" in shown.problems
    assert shown.read("original.dcm") == (PYDICOM / "no_meta.dcm").read_bytes()


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG])
@pytest.mark.parametrize("cut", ["preamble", "preamble and meta", "group length"])
def test_h7_files_without_their_front_are_shown(syntax: str, cut: str, loop: Loop, tmp_path: Path) -> None:
    if syntax == IMPLICIT_LITTLE and cut == "preamble and meta":
        elements = grey({0x00080005: ("CS", "ISO_IR 100"), 0x00080008: ("CS", "ORIGINAL")})
    else:
        elements = grey()
    data = dicom(elements, syntax, preamble="preamble" not in cut, meta="meta" not in cut)
    if cut == "group length":
        data = data[:132] + data[144:]
    shown = made(loop, tmp_path, data)
    assert shown.picture().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert "(H7)" in shown.problems


@pytest.mark.parametrize("name", ["ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm", "rtstruct.dcm"])
def test_h7_samples_without_meta_information(name: str, loop: Loop) -> None:
    shown = Shown(loop, PYDICOM / name)
    theirs = pydicom.dcmread(PYDICOM / name, force=True)
    assert len(header(shown)) == sum(1 for item in theirs if item.tag.element)
    assert "(H7)" in shown.problems


def test_h8_acr_nema_files_are_pictures(loop: Loop, tmp_path: Path) -> None:
    shown = made(loop, tmp_path, acr_nema(2, 3, bytes(range(6))))
    assert shown.picture().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert header(shown)["00080010"]["Value"] == ["ACR-NEMA 2.0"]
    assert not [key for key in header(shown) if key.endswith("0000")]


@pytest.mark.parametrize("name", ["zipMR.gz", "README.txt", "crayons.icc", "test1.json", "rtplan.dump"])
def test_h9_h15_what_is_not_dicom_passes_through(name: str, loop: Loop) -> None:
    path = next(PYDICOM.rglob(name))
    assert through(loop, path.parent)[path.name.encode()] == path.read_bytes()


def test_h15_wrapped_files_pass_through_unchanged(loop: Loop, tmp_path: Path) -> None:
    plain = dicom(grey())
    (tmp_path / "a.dcm.gz").write_bytes(gzip.compress(plain))
    with zipfile.ZipFile(tmp_path / "b.dcm", "w") as archive:
        archive.writestr("inner.dcm", plain)
    assert through(loop, tmp_path) == {path.name.encode(): path.read_bytes() for path in tmp_path.iterdir()}


def through(loop: Loop, folder: Path) -> dict[bytes, bytes]:
    """Read the files that stand beside the directories of DICOM files."""

    async def read() -> dict[bytes, bytes]:
        with tree_of(loop, folder) as top:
            found = await files_below(top, frames=1)
            return {name: await read_all(file) for name, file in found if b"/" not in name}

    return loop.run(read)


@pytest.mark.parametrize(("declared", "real"), [(EXPLICIT_LITTLE, IMPLICIT_LITTLE), (IMPLICIT_LITTLE, EXPLICIT_LITTLE)])
def test_h10_the_transfer_syntax_is_not_believed_against_the_data(
    declared: str, real: str, loop: Loop, tmp_path: Path
) -> None:
    head = dicom({}, declared)
    shown = made(loop, tmp_path, head + data_set(grey({NAME: ("PN", "A^B")}), real))
    assert header(shown)["00100010"]["Value"] == [{"Alphabetic": "A^B"}]
    assert shown.picture().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert "(H10)" in shown.problems


@pytest.mark.parametrize("name", ["bad_sequence.dcm", "explicit_VR-UN.dcm", "UN_sequence.dcm"])
def test_h10_h11_samples_lose_no_element(name: str, loop: Loop) -> None:
    (path,) = [path for folder in (PYDICOM, PYDICOM_DATA) for path in folder.rglob(name)]
    theirs = pydicom.dcmread(path)
    assert list(header(Shown(loop, path))) == [f"{tag:08X}" for tag in sorted(theirs.keys()) if tag.element]


def test_h11_a_sequence_called_un_is_a_sequence(loop: Loop, tmp_path: Path) -> None:
    inner = data_set({NAME: ("PN", "A^B")}, IMPLICIT_LITTLE)
    value = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(inner)) + inner + b"\xfe\xff\xdd\xe0\0\0\0\0"
    shown = made(loop, tmp_path, dicom(grey({0x00091001: ("UN", Raw(value, 0xFFFFFFFF))})))
    assert header(shown)["00091001"]["Value"] == [{"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}}]
    assert shown.picture().shape == (2, 3)


@pytest.mark.parametrize("like", ["UN", "LO"])
@pytest.mark.parametrize("value", [b"", b"abcd", b"abcdefghij"])
@pytest.mark.parametrize("vr", [b"??", b"\0\0", b"zz", b"ZZ"])
def test_h12_unknown_vrs_hide_nothing_behind_them(
    vr: bytes, value: bytes, like: str, loop: Loop, tmp_path: Path
) -> None:
    """Whether their length has four bytes or two."""
    odd = element(0x00091001, like, value).replace(like.encode(), vr, 1)
    elements = grey()
    front = data_set({tag: elements[tag] for tag in elements if tag < 0x00090000})
    back = data_set({tag: elements[tag] for tag in elements if tag > 0x00090000})
    shown = made(loop, tmp_path, dicom({}) + front + odd + back)
    assert shown.picture().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert "00091001" in header(shown)


def test_h12_the_sample_is_shown(loop: Loop) -> None:
    shown = Shown(loop, PYDICOM / "badVR.dcm")
    assert "7FE00010" in header(shown)
    assert shown.picture().size


def test_h13_the_first_of_two_is_kept_and_told(loop: Loop, tmp_path: Path) -> None:
    rows = element(0x00280010, "US", 99)
    shown = made(loop, tmp_path, dicom(grey()) + rows)
    assert header(shown)["00280010"]["Value"] == [2]
    assert shown.picture().shape == (2, 3)
    assert "(H13)" in shown.problems


@pytest.mark.parametrize("name", ["priv_SQ.dcm", "nested_priv_SQ.dcm"])
def test_h14_private_sequences_are_nested_as_pydicom_nests_them(name: str, loop: Loop) -> None:
    def shape(dataset: pydicom.Dataset) -> dict[str, Any]:
        return {
            f"{item.tag:08X}": [shape(each) for each in item.value] if item.VR == "SQ" else None
            for item in dataset
            if item.tag.element
        }

    def ours(found: dict[str, Any]) -> dict[str, Any]:
        return {
            key: [ours(each) for each in value.get("Value", [])] if value["vr"] == "SQ" else None
            for key, value in found.items()
        }

    assert ours(header(Shown(loop, PYDICOM / name))) == shape(pydicom.dcmread(PYDICOM / name))


@pytest.mark.parametrize("path", sorted((PYDICOM / "dicomdirtests").glob("DICOMDIR*")), ids=lambda path: path.name)
def test_h16_a_dicomdir_is_a_directory_with_its_records_and_no_frames(path: Path, loop: Loop) -> None:
    shown = Shown(loop, path)
    names = {name.split("/")[0] for name in shown.names}
    assert {"header.json", "header.txt", "original.dcm"} <= names
    assert not names & {"frames", "raw", "fragments", "frames.json"}
    theirs = pydicom.dcmread(path)
    assert len(header(shown)["00041220"].get("Value", [])) == len(theirs.DirectoryRecordSequence)


@pytest.mark.parametrize(
    ("start", "told"), [(b"MZ", True), (b"\x7fELF", True), (b"#!/bin/sh\n", True), (b"II*\0", False), (b"", False)]
)
def test_h17_programs_in_the_preamble_are_told_and_slides_are_not(
    start: bytes, told: bool, loop: Loop, tmp_path: Path
) -> None:
    """A whole-slide image may be TIFF as well (PS3.10 7.1); a program has no business there."""
    data = dicom(grey())
    shown = made(loop, tmp_path, start + data[len(start) :])
    assert ("(H17)" in shown.problems) == told
    assert shown.picture().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_h18_uids_of_any_kind_name_no_file(loop: Loop, tmp_path: Path) -> None:
    more = {0x00080018: ("UI", "../../1.2.x /\x1b[2J"), 0x0020000D: ("UI", b"1.2.3\0\0\0"), 0x0020000E: ("UI", "1.2 ")}
    shown = made(loop, tmp_path, dicom(grey(more)))
    found = header(shown)
    assert found["00080018"]["Value"] == ["../../1.2.x /\x1b[2J"]
    assert (found["0020000D"]["Value"], found["0020000E"]["Value"]) == (["1.2.3"], ["1.2"])
    assert not [name for name in shown.names if ".." in name or "\x1b" in name]
    assert b"\x1b" not in shown.read("header.txt")
    assert shown.picture().shape == (2, 3)


def test_h19_values_of_many_megabytes_are_files(loop: Loop, tmp_path: Path) -> None:
    text = b"0123456789abcdef" * (3 << 16)
    shown = made(loop, tmp_path, dicom(grey({0x0040A160: ("UT", text), 0x00420011: ("OB", text)})))
    found = header(shown)
    for key in ("0040A160", "00420011"):
        assert shown.read(found[key]["BulkDataURI"]) == text
    assert len(shown.read("header.json")) < 5000
    assert len(shown.read("header.txt")) < 5000


def test_h19_a_short_vr_of_64_kib(loop: Loop, tmp_path: Path) -> None:
    """The longest that two bytes of length can say, and the longest of Implicit VR, whose length has four."""
    short = b"x" * 65534
    found = header(made(loop, tmp_path, dicom(grey({0x00104000: ("LT", short)}))))
    assert found["00104000"]["Value"] == [short.decode()]
    long = made(loop, tmp_path, dicom(grey({0x00104000: ("LT", short * 3)}), IMPLICIT_LITTLE))
    assert long.read(header(long)["00104000"]["BulkDataURI"]) == short * 3


@pytest.mark.parametrize("sop_class", ["1.2.3.4.5.6.7.8.9", "", "not a uid"])
def test_h20_unknown_sop_classes_are_shown_like_others(sop_class: str, loop: Loop, tmp_path: Path) -> None:
    shown = made(loop, tmp_path, dicom(grey({0x00080016: ("UI", sop_class)})))
    assert shown.picture().tolist() == [[0, 1, 2], [3, 4, 5]]
    bare = made(loop, tmp_path, dicom({0x00080016: ("UI", sop_class), NAME: ("PN", "A^B")}))
    assert not [name for name in bare.names if name.startswith("frames")]
    assert "7FE00010" not in header(bare)
