"""The table of transfer syntaxes and the video rows: what the tree shows for each, with real data."""

import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from support.builders import (
    DEFLATED,
    ENCAPSULATED_UNCOMPRESSED,
    Raw,
    bits,
    data_set,
    dicom,
    encapsulated,
    image,
    items,
    offsets,
    pad,
    pieces,
)
from support.large_archives import Counting
from support.mounting import Loop
from support.object_directories import FOUND, Shown
from support.real_films import COLUMNS, ENCODERS, ROWS, Seen, film, grey

from dicomfs.instance.instance import load
from dicomfs.pixeldata.frame_status import status

TS = "1.2.840.10008.1.2"
DEFLATED_FRAMES = f"{TS}.8.1"


def deflate(data: bytes) -> bytes:
    """Deflate without any header (RFC 1951)."""
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


@pytest.mark.parametrize("columns", [COLUMNS, 7])
@pytest.mark.parametrize("parts", [1, 2])
def test_ts_encapsulated_uncompressed(columns: int, parts: int, loop: Loop, tmp_path: Path) -> None:
    pictures = [grey(number, 5, columns) for number in range(3)]
    groups = [pieces(picture.tobytes(), parts) for picture in pictures]
    flat = [fragment for group in groups for fragment in group]
    table = offsets(groups) if parts > 1 else b""
    data = image(5, columns, encapsulated(flat, table), frames=3, vr="OB")
    seen = Seen.of(loop, tmp_path, dicom(data, ENCAPSULATED_UNCOMPRESSED))
    assert seen.are([*pictures])
    assert seen.problems == []


def test_ts_encapsulated_uncompressed_is_little_endian(loop: Loop, tmp_path: Path) -> None:
    values = np.array([[0x0102, 0x0203], [0x0304, 0x0405]], "<u2")
    window = {0x00281050: ("DS", "1285.5"), 0x00281051: ("DS", "2571"), 0x00281056: ("CS", "LINEAR_EXACT")}
    shown = []
    for pixels, syntax in (
        (encapsulated([values.tobytes()]), ENCAPSULATED_UNCOMPRESSED),
        (values.tobytes(), f"{TS}.1"),
    ):
        data = image(2, 2, pixels, bits=16, more=window)
        shown.append(Seen.of(loop, tmp_path, dicom(data, syntax)).shown.picture())
    assert np.array_equal(*shown)
    assert len(np.unique(shown[0])) == 4


def test_ts_encapsulated_uncompressed_with_frames_of_other_lengths(loop: Loop, tmp_path: Path) -> None:
    pictures = [grey(number, 6, 8) for number in range(3)]
    frames = [picture.tobytes() for picture in pictures]
    frames[0] += b"behind"
    frames[1] = frames[1][:-2]
    data = image(6, 8, encapsulated(frames), frames=3, vr="OB")
    seen = Seen.of(loop, tmp_path, dicom(data, ENCAPSULATED_UNCOMPRESSED))
    assert seen.are([pictures[0], None, pictures[2]])
    assert seen.statuses == ["repaired (N2)", "error (N3)", "ok"]
    assert seen.told("N2", "N3")


@pytest.mark.parametrize("kind", ["jpeg", "jpeg-ls", "jpeg 2000", "rle"])
def test_ts_encapsulated_uncompressed_that_is_compressed(kind: str, loop: Loop, tmp_path: Path) -> None:
    """Never the bytes of a codestream as pixels."""
    pictures, frames = film(kind, 3)
    data = image(ROWS, COLUMNS, encapsulated(frames), frames=3, vr="OB")
    seen = Seen.of(loop, tmp_path, dicom(data, ENCAPSULATED_UNCOMPRESSED))
    assert seen.are([*pictures])
    assert seen.told("E24")


@pytest.mark.parametrize("pack", [deflate, zlib.compress, gzip.compress])
@pytest.mark.parametrize("syntax", [DEFLATED, f"{TS}.4.95", f"{TS}.4.205"])
def test_ts_deflated_data_sets(pack: Callable[[bytes], bytes], syntax: str, loop: Loop, tmp_path: Path) -> None:
    pictures = [grey(number, 6, 8) for number in range(2)]
    body = data_set(image(6, 8, b"".join(picture.tobytes() for picture in pictures), frames=2))
    seen = Seen.of(loop, tmp_path, dicom({}, syntax, tail=pad(pack(body))))
    assert seen.are([*pictures])
    assert bool(seen.told("H10")) == (pack is not deflate) if syntax == DEFLATED else "(E19)" in " ".join(seen.problems)


def test_ts_deflated_sample(loop: Loop) -> None:
    seen = Seen(Shown(loop, FOUND["image_dfl.dcm"]))
    assert np.array_equal(seen.shown.picture(), pydicom.dcmread(FOUND["image_dfl.dcm"]).pixel_array)
    assert seen.statuses == ["ok"]


@pytest.mark.parametrize("pack", [deflate, zlib.compress, lambda data: gzip.compress(data)])
def test_ts_deflated_frames(pack: Callable[[bytes], bytes], loop: Loop, tmp_path: Path) -> None:
    pictures = [grey(number) // 16 for number in range(4)]
    frames = [pack(picture.tobytes()) for picture in pictures]
    data = image(ROWS, COLUMNS, encapsulated(frames), frames=4, vr="OB")
    seen = Seen.of(loop, tmp_path, dicom(data, DEFLATED_FRAMES))
    assert seen.are([*pictures])
    frames[2] = frames[2][: len(frames[2]) // 2]
    data = image(ROWS, COLUMNS, encapsulated(frames), frames=4, vr="OB")
    cut = Seen.of(loop, tmp_path, dicom(data, DEFLATED_FRAMES))
    assert cut.shown.refusal(3)
    assert np.array_equal(cut.shown.picture(4), pictures[3])


def test_ts_deflated_frames_of_single_bits(loop: Loop, tmp_path: Path) -> None:
    pictures = [grey(number, 5, 7) % 2 for number in range(4)]
    frames = [deflate(bits([picture.reshape(-1)])) for picture in pictures]
    data = image(5, 7, encapsulated(frames), frames=4, bits=1, vr="OB")
    seen = Seen.of(loop, tmp_path, dicom(data, DEFLATED_FRAMES))
    native = image(5, 7, bits([picture.reshape(-1) for picture in pictures]), frames=4, bits=1)
    other = Seen.of(loop, tmp_path, dicom(native))
    assert [seen.shown.picture(n).tolist() for n in range(1, 5)] == [
        other.shown.picture(n).tolist() for n in range(1, 5)
    ]
    for number, picture in enumerate(pictures, 1):
        assert np.array_equal(seen.shown.picture(number) > 127, picture > 0) or not seen.shown.picture(number).any()


@pytest.mark.parametrize("name", ["liver_deflate.dcm", "liver_nonbyte_aligned_deflate.dcm"])
def test_ts_deflated_frames_samples(name: str, loop: Loop) -> None:
    plain = name.replace("_deflate", "")
    if name in FOUND and plain in FOUND:
        seen, other = (Seen(Shown(loop, FOUND[each])) for each in (name, plain))
        assert seen.count == other.count
        for number in (1, seen.count):
            assert np.array_equal(seen.shown.picture(number), other.shown.picture(number))


@pytest.mark.parametrize("number", [90, 91, 92, 93])
def test_ts_jpeg_2000(number: int, loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film("jpeg 2000", 2)
    data = image(ROWS, COLUMNS, encapsulated(frames), frames=2, vr="OB")
    assert Seen.of(loop, tmp_path, dicom(data, f"{TS}.4.{number}")).are([*pictures])


@pytest.mark.parametrize("marker", range(0xFF70, 0xFF7A))
def test_ts_jpeg_2000_part_2_is_an_error(marker: int, loop: Loop, tmp_path: Path) -> None:
    """OpenJPEG passes over extensions such as the non-linear transform (T.801 A.3), and shows something else."""
    pictures, frames = film("jpeg 2000", 2)
    start = frames[1].index(b"\xff\x90")
    frames[1] = frames[1][:start] + struct.pack(">HHHBB", marker, 6, 0xFFFF, 7, 2) + frames[1][start:]
    if marker == 0xFF76:
        assert np.array_equal(imagecodecs.jpeg2k_decode(frames[1]), pictures[1])
    data = image(ROWS, COLUMNS, encapsulated(frames), frames=2, vr="OB")
    seen = Seen.of(loop, tmp_path, dicom(data, f"{TS}.4.92"))
    assert seen.are([pictures[0], None])
    assert "Part 2" in " ".join(seen.problems)


@pytest.mark.parametrize("number", [201, 202, 203])
def test_ts_htj2k(number: int, loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film("htj2k", 2)
    data = image(ROWS, COLUMNS, encapsulated(frames), frames=2, vr="OB")
    seen = Seen.of(loop, tmp_path, dicom(data, f"{TS}.4.{number}"))
    assert seen.are([*pictures])
    assert seen.problems == []


@pytest.mark.parametrize("name", ["HTJ2KLossless_08_RGB.dcm", "HTJ2K_08_RGB.dcm"])
def test_ts_htj2k_samples(name: str, loop: Loop) -> None:
    if name in FOUND:
        seen = Seen(Shown(loop, FOUND[name]))
        raw = seen.shown.read(next(entry for entry in seen.names if entry.startswith("raw/")))
        assert np.abs(seen.shown.picture().astype(int) - imagecodecs.jpeg2k_decode(raw)).max() <= 1
        assert not seen.statuses[0].startswith("error")


@pytest.mark.parametrize("number", [94, 95, 204, 205])
def test_ts_jpip_shows_the_url_and_fetches_nothing(number: int, loop: Loop, tmp_path: Path) -> None:
    elements = image(ROWS, COLUMNS, b"", frames=3)
    del elements[0x7FE00010]
    url = "http://127.0.0.1:9/jpip?target=1.2.3&fsiz=34,24"
    for more in ({0x00287FE0: ("UR", pad(url.encode(), b" "))}, {}):
        body = data_set(elements | more)
        packed = pad(deflate(body)) if number in (95, 205) else body
        seen = Seen.of(loop, tmp_path, dicom({}, f"{TS}.4.{number}", tail=packed))
        assert not any(name.startswith(("frames", "raw", "fragments", "bulk")) for name in seen.names)
        assert len(seen.problems) == 1
        assert "nothing is fetched" in seen.problems[0]
        header = json.loads(seen.shown.read("header.json"))
        assert header.get("00287FE0", {"Value": [url]})["Value"] == [url]
        assert (url in seen.shown.read("header.txt").decode()) == bool(more)
        assert url not in seen.problems[0]


@pytest.mark.parametrize("number", [110, 112])
def test_ts_jpeg_xl(number: int, loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film("jpeg xl", 2)
    data = image(ROWS, COLUMNS, encapsulated(frames), frames=2, vr="OB")
    seen = Seen.of(loop, tmp_path, dicom(data, f"{TS}.4.{number}"))
    assert seen.are([*pictures])
    assert seen.problems == []


@pytest.mark.parametrize("colour", [False, True])
def test_ts_jpeg_xl_of_a_recompressed_jpeg(colour: bool, loop: Loop, tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(ROWS) * 5, np.arange(COLUMNS) * 3).astype(np.uint8)
    values = np.stack([smooth, smooth[::-1], smooth[:, ::-1]], -1) if colour else smooth
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", quality=95, subsampling=0)
    frame = imagecodecs.jpegxl_encode_jpeg(buffer.getvalue())
    samples, photometric = (3, "YBR_FULL_422") if colour else (1, "MONOCHROME2")
    data = image(ROWS, COLUMNS, encapsulated([frame]), samples=samples, photometric=photometric, vr="OB")
    seen = Seen.of(loop, tmp_path, dicom(data, f"{TS}.4.111"))
    expected = np.asarray(Image.open(buffer))
    # libjxl transforms in floating point, Pillow's libjpeg in integers.
    assert np.abs(seen.shown.picture().astype(int) - expected).max() <= 3
    assert seen.statuses == ["ok"]
    kept = seen.shown.read("raw/0001.jxl")
    # From what raw/ holds, the JPEG can be had back (with djxl) to the last byte.
    assert kept[: len(frame)] == frame


@pytest.mark.parametrize("number", [1, 2, 3])
def test_ts_smpte_2110_is_never_stored(number: int, loop: Loop, tmp_path: Path) -> None:
    data = image(ROWS, COLUMNS, encapsulated([b"unknown."]), vr="OB")
    seen = Seen.of(loop, tmp_path, dicom(data, f"{TS}.7.{number}"))
    assert not any(name.startswith(("frames", "raw")) for name in seen.names)
    assert seen.shown.read("fragments/0001") == b"unknown."
    assert "SMPTE ST 2110" in " ".join(seen.problems)


def test_ts_ge_private_is_big_endian_in_its_pixels_alone(loop: Loop, tmp_path: Path) -> None:
    values = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000
    shown = []
    for syntax, order in (("1.2.840.113619.5.2", ">u2"), (TS, "<u2")):
        elements = image(6, 8, values.astype(order).tobytes(), bits=16, more={0x00080068: ("CS", "FOR PRESENTATION")})
        meta = dicom({}, syntax)
        seen = Seen.of(loop, tmp_path, meta + data_set(elements, TS))
        assert seen.statuses == ["ok"]
        shown.append(seen.shown.picture())
    assert np.array_equal(*shown)
    assert len(np.unique(shown[0])) == 48


# Cost


def sparse(path: Path, syntax: str, starts: list[bytes], size: int, frames: int, ends: bytes = b"") -> None:
    """Make a file of fragments of *size* bytes, of which only the first and last are written."""
    with path.open("wb") as file:
        data = image(1024, 1024, Raw(b"", 0xFFFFFFFF), frames=frames, vr="OB")
        file.write(dicom(data, syntax) + items([], delimited=False))
        for start in starts:
            file.write(b"\xfe\xff\x00\xe0" + struct.pack("<L", size))
            position = file.tell()
            file.write(start)
            file.seek(position + size - len(ends))
            file.write(ends)
        file.write(b"\xfe\xff\xdd\xe0" + bytes(4))


@pytest.mark.parametrize("kind", ["jpeg", "jpeg-ls", "jpeg 2000"])
@pytest.mark.parametrize("parts", [1, 10])
def test_only_headers_of_a_file_of_700_megabytes_are_read(kind: str, parts: int, tmp_path: Path) -> None:
    path, frames = tmp_path / "large.dcm", 1000 // parts
    start = ENCODERS[kind](grey(1, 1024, 1024) // 16)[:2000]
    continued = b"\x01" * 64
    syntax = {"jpeg": f"{TS}.4.70", "jpeg-ls": f"{TS}.4.80", "jpeg 2000": f"{TS}.4.90"}[kind]
    sparse(path, syntax, [start, *[continued] * (parts - 1)] * frames, 700_000, frames, b"\xff\xd9")
    assert path.stat().st_size > 700_000_000
    stream = Counting(path)
    instance = load(stream)
    assert instance.pixels is not None
    assert len(instance.pixels.frames) == frames
    assert stream.reads <= 1000 * (1 if parts == 1 else 2) + 40
    assert stream.bytes <= 1000 * (9 if parts == 1 else 9 + 64) + 100_000
    stream.reads = stream.bytes = 0
    for frame in range(frames):
        status(stream, instance.pixels.format, instance.pixels.frames, frame)
    assert stream.reads <= 3 * frames
    assert stream.bytes <= 1200 * frames
