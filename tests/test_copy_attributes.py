"""What copies say of their pixels: every attribute that readers need, in every byte order, even if the source lacks it.

pydicom, DCMTK and GDCM read each copy to the values that were put into its source.
"""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from support.builders import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    DataSet,
    data_set,
    dicom,
    image,
)
from support.copying import copies, read
from support.mounting import Loop
from support.oracles import Answers, ask_dcmtk, ask_gdcm
from test_native_dcm import GE_PRIVATE, errors

from dicomfs.dicom import uids

SAMPLES, PHOTOMETRIC, PLANAR, STORED, HIGH_BIT, SIGNED = (
    0x00280002, 0x00280004, 0x00280006, 0x00280101, 0x00280102, 0x00280103,
)  # fmt: skip
# What PS3.3 C.7.6.3 requires of every image with Pixel Data.
NEEDED = (
    "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation",
)  # fmt: skip
GREY = (np.arange(6 * 8, dtype="<u2").reshape(6, 8) * 1301).astype("<u2")
COLOUR = (np.arange(6 * 8 * 3) * 5 % 256).astype(np.uint8).reshape(6, 8, 3)
# Those attributes whose absence has one meaning, by kind of picture.
ABSENT: dict[str, tuple[int | None, ...]] = {
    "grey": (None, SAMPLES, PHOTOMETRIC, STORED, HIGH_BIT, SIGNED),
    "colour": (None, PHOTOMETRIC, PLANAR, STORED, HIGH_BIT, SIGNED),
    "planes": (None, PHOTOMETRIC, STORED, HIGH_BIT, SIGNED),
}
CASES = [(kind, absent) for kind, absences in ABSENT.items() for absent in absences]
SYNTAXES = {
    "implicit": IMPLICIT_LITTLE, "explicit": EXPLICIT_LITTLE, "big endian": EXPLICIT_BIG, "deflated": DEFLATED,
    "GE private": GE_PRIVATE,
}  # fmt: skip


def expected(kind: str) -> np.ndarray:
    return GREY if kind == "grey" else COLOUR


def source(kind: str, syntax: str, absent: int | None) -> bytes:
    """Make a file in *syntax* that lacks one attribute."""
    values, bits, planar = expected(kind), 16 if kind == "grey" else 8, int(kind == "planes")
    stored = values.transpose(2, 0, 1) if kind == "planes" else values
    pixels = np.ascontiguousarray(stored).tobytes()
    if syntax in (EXPLICIT_BIG, GE_PRIVATE):  # OW
        pixels = np.frombuffer(pixels, ">u2").astype("<u2").tobytes()
    elements: DataSet = image(6, 8, pixels, bits=bits, samples=1 if kind == "grey" else 3, planar=planar)
    elements = {tag: element for tag, element in elements.items() if tag != absent}
    encoding = IMPLICIT_LITTLE if syntax == GE_PRIVATE else EXPLICIT_LITTLE if syntax == DEFLATED else syntax
    body = data_set(elements, encoding)
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-15)
        body = packer.compress(body) + packer.flush()
    return dicom({}, syntax) + body


def made(loop: Loop, path: Path) -> dict[str, bytes]:
    """Give native.dcm and the copies in other syntaxes."""
    found = copies(loop, path, "native.dcm") | copies(loop, path, "transcoded")
    assert "native.dcm" in found
    return {name: data for name, data in found.items() if isinstance(data, bytes)}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("kind", "absent"), CASES, ids=[f"{kind} without {absent and hex(absent)}" for kind, absent in CASES]
)
def test_native_dcm_states_what_readers_need(
    kind: str, absent: int | None, syntax: str, loop: Loop, tmp_path: Path
) -> None:
    path = tmp_path / "source.dcm"
    path.write_bytes(source(kind, SYNTAXES[syntax], absent))
    dataset = read(copies(loop, path, "native.dcm")["native.dcm"])
    states_all(dataset, kind)
    assert np.array_equal(dataset.pixel_array, expected(kind))


def states_all(dataset: pydicom.FileDataset, kind: str) -> None:
    bits = 16 if kind == "grey" else 8
    colour = kind != "grey"
    stated = [dataset.get(name) for name in NEEDED]
    if dataset.file_meta.TransferSyntaxUID in (uids.JPEG2000Lossless, uids.HTJ2KLossless) and colour:
        assert stated[1] == "YBR_RCT"  # the reversible transform, which decoders undo (PS3.5 8.2.4)
        stated[1] = "RGB"
    assert stated == [
        3 if colour else 1, "RGB" if colour else "MONOCHROME2", 6, 8, bits, bits, bits - 1, 0,
    ]  # fmt: skip
    assert dataset.get("PlanarConfiguration") in ((0, 1) if colour else (None,))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("syntax", ["big endian", pytest.param("implicit", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ABSENT)
def test_every_program_reads_every_copy(
    kind: str, syntax: str, loop: Loop, program: Callable[[str], str], tmp_path: Path
) -> None:
    """Of sources that lack one attribute each; a whole source is the measure of what dciodvfy complains of."""
    path, whole = tmp_path / "IM0001", tmp_path / "whole.dcm"
    absences = [tag for tag in ABSENT[kind] if tag is not None]
    data = source(kind, SYNTAXES[syntax], None)
    whole.write_bytes(data)
    for absent in absences:
        path.write_bytes(source(kind, SYNTAXES[syntax], absent))
        for name, copy in made(loop, path).items():
            place = tmp_path / "copy.dcm"
            place.write_bytes(copy)
            dataset = read(copy)
            states_all(dataset, kind)
            uid = str(dataset.file_meta.TransferSyntaxUID)
            answers: dict[str, Answers] = {
                "pydicom": [pydicom.pixels.pixel_array(dataset, raw=True)],
                "DCMTK": ask_dcmtk(place, uid, False, program, tmp_path),
                "GDCM": ask_gdcm(place, False, program, tmp_path),
            }
            assert answers["pydicom"], name
            for who, given in answers.items():
                for values in given:
                    if values is not None:
                        assert np.array_equal(np.asarray(values).astype(int), expected(kind).astype(int)), (who, name)
            if uid != uids.HTJ2KLossless:  # which dciodvfy does not know
                assert errors(place, program) <= errors(whole, program), name
