"""`transcoded/`: the same pixels to decoders of others, in what each syntax can hold, laid out as PS3.5 A.4 says.

RLE is judged by DCMTK, GDCM and pydicom's own decoder, JPEG-LS by DCMTK and GDCM, JPEG 2000 by OpenJPEG and GDCM, HTJ2K
by OpenJPEG and OpenJPH.
"""

import errno
import io
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
import trio
import trio.testing
from pydicom.encaps import generate_frames, parse_basic_offsets
from support.archives import PYDICOM, PYDICOM_DATA
from support.builders import (
    ENCAPSULATED_UNCOMPRESSED,
    JPEG_2000,
    DataSet,
    dicom,
    encapsulated,
    image,
)
from support.copying import SOURCES, copies, kinds, read
from support.decoding import Wanted
from support.mounting import Loop, errno_of, mounted
from support.object_directories import Shown
from support.oracles import Answers, as_stored, ask_dcmtk, ask_gdcm, ask_pydicom, ours

from dicomfs.codecs import encoders
from dicomfs.codecs.bitstream import CodecError
from dicomfs.codecs.decoders import Decoded
from dicomfs.codecs.jpeg2000 import read_header
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import uids
from dicomfs.dicom.encapsulation import Encapsulation
from dicomfs.dicom.stream import Memory
from dicomfs.entries import transcoded
from dicomfs.instance.instance import load
from dicomfs.workers.decoder_process import Task
from dicomfs.workers.frame_cache import Request
from dicomfs.workers.pool import DecodeError
from dicomfs.workers.prefetcher import in_order

# The directory of each, and its transfer syntax.
SYNTAXES = {
    "rle": "1.2.840.10008.1.2.5",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg2000": "1.2.840.10008.1.2.4.90",
    "htj2k": "1.2.840.10008.1.2.4.201",
}
ALL = set(SYNTAXES)
# Whom we do not believe, and why.
MISTAKEN = {("GDCM", "rle"): "byte planes of colours wider than 8 bits are put together wrongly"}

# Of smaller pictures OpenJPH's program makes a mess, also of those that it has written itself.
LEAST_SIDE = 17

Program = Callable[[str], str]


# Judges


def judge(name: str, copy: bytes, fmt: PixelFormat, program: Program, folder: Path) -> dict[str, Answers]:
    """Ask the decoders that a syntax has, other than the libraries that wrote it, for the first frames of a copy."""
    path = folder / name
    path.write_bytes(copy)
    syntax = SYNTAXES[name]
    answers = {who: given for who, given in ask_pydicom(copy, False) if who != "pydicom pillow"}
    if name != "htj2k":
        (folder / "gdcm.dcm").unlink(missing_ok=True)
        answers["GDCM"] = ask_gdcm(path, False, program, folder)
        if fmt.samples > 1 and fmt.bits_allocated > 8:
            answers = {who: given for who, given in answers.items() if (who, name) not in MISTAKEN}
    elif not fmt.signed and min(fmt.rows, fmt.columns) >= LEAST_SIDE:
        answers["OpenJPH"] = ask_openjph(copy, fmt, program, folder)
    if name in ("rle", "jpeg-ls"):
        answers["DCMTK"] = ask_dcmtk(path, syntax, False, program, folder)
    if fmt.bits_allocated == 1:
        # Nobody else has RLE of single bits; GDCM does not pack what it decodes of JPEG 2000.
        answers = {"segments": single_bits(copy, fmt)} if name == "rle" else answers | {"GDCM": []}
    return answers


def ask_openjph(copy: bytes, fmt: PixelFormat, program: Program, folder: Path) -> Answers:
    """Ask OpenJPH's own program, which writes PNM; it has no signed samples."""
    dataset = read(copy)
    answers: Answers = []
    for frame in list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)))[:3]:
        stream, picture = folder / "frame.j2c", folder / ("frame.pgm" if fmt.samples == 1 else "frame.ppm")
        stream.write_bytes(frame)
        subprocess.run([program("ojph_expand"), "-i", stream, "-o", picture], capture_output=True, check=True)
        data = picture.read_bytes()
        kind = np.dtype(">u2" if fmt.bits_stored > 8 else np.uint8)
        size = int(np.prod(fmt.shape)) * kind.itemsize
        answers.append(np.frombuffer(data[-size:], kind).reshape(fmt.shape).astype(fmt.dtype))
    return answers


def single_bits(copy: bytes, fmt: PixelFormat) -> Answers:
    """Read the one segment of each RLE frame with pydicom's own code (PS3.5 G.3)."""
    from pydicom.pixels.decoders.rle import _rle_decode_segment

    dataset = read(copy)
    answers: Answers = []
    for frame in generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)):
        assert struct.unpack_from("<2L", frame) == (1, 64)
        packed = np.frombuffer(_rle_decode_segment(frame[64:]), np.uint8)
        answers.append(np.unpackbits(packed, bitorder="little")[: fmt.pixels].reshape(fmt.shape))
    return answers


def same(given: Answers, expected: Sequence[np.ndarray]) -> bool:
    """Whether a program gave the same bits, in whatever type of that width."""
    for values, meant in zip(given, expected, strict=False):
        if values is None or values.shape != meant.shape:
            return False
        if not np.array_equal(values.astype(meant.dtype), meant):
            return False
    return True


# What each syntax holds


def noise(fmt: PixelFormat, frames: int = 2) -> np.ndarray:
    """Make frames that do not compress, with the least and the greatest value in the first rows."""
    low = -(1 << fmt.bits_stored - 1) if fmt.signed else 0
    high = low + (1 << fmt.bits_stored) - 1
    chance = np.random.default_rng(fmt.bits_stored)
    kind = np.uint64 if high >= 1 << 63 else np.int64
    values = chance.integers(low, high, (frames, *fmt.shape), dtype=kind, endpoint=True).astype(fmt.dtype)
    values[:, :2], values[:, 2:4] = low, high
    return values


def formatted(allocated: int, stored: int, signed: bool = False, samples: int = 1) -> PixelFormat:
    photometric = "MONOCHROME2" if samples == 1 else "RGB"
    return PixelFormat(23, 31, samples, allocated, stored, stored - 1, signed, photometric, False, "")


def source_of(fmt: PixelFormat, values: np.ndarray, more: DataSet | None = None) -> bytes:
    pixels = np.packbits(values, bitorder="little").tobytes() if fmt.bits_allocated == 1 else values.tobytes()
    elements = image(
        fmt.rows,
        fmt.columns,
        pixels + bytes(len(pixels) % 2),
        frames=len(values),
        samples=fmt.samples,
        bits=fmt.bits_allocated,
        stored=fmt.bits_stored,
        signed=fmt.signed,
        photometric=fmt.photometric,
        more=more,
    )
    return dicom(elements)


NOT_LS = ALL - {"jpeg-ls"}


@pytest.mark.parametrize(
    ("fmt", "held"),
    [
        (formatted(1, 1), NOT_LS),
        (formatted(8, 8), ALL),
        (formatted(8, 5), ALL),
        (formatted(8, 8, signed=True), ALL),
        (formatted(16, 9), ALL),
        (formatted(16, 12), ALL),
        (formatted(16, 12, signed=True), ALL),
        (formatted(16, 16), ALL),
        (formatted(16, 16, signed=True), ALL),
        (formatted(8, 8, samples=3), ALL),
        (formatted(16, 12, samples=3), ALL),
        (formatted(16, 16, samples=3), ALL),
        (formatted(32, 12), {"rle", "jpeg2000", "htj2k"}),
        (formatted(32, 32), {"rle"}),
        (formatted(32, 32, signed=True), {"rle"}),
        (formatted(64, 64), {"rle"}),
        (formatted(64, 64, samples=3), set()),
    ],
    ids=lambda fmt: (
        f"{fmt.bits_stored}{'s' if fmt.signed else 'u'}{fmt.bits_allocated}x{fmt.samples}"
        if isinstance(fmt, PixelFormat)
        else ""
    ),
)
def test_bit_for_bit(fmt: PixelFormat, held: set[str], loop: Loop, tmp_path: Path, program: Program) -> None:
    values = noise(fmt)
    path = tmp_path / "source.dcm"
    path.write_bytes(source_of(fmt, values))
    found = copies(loop, path, "transcoded")
    assert found.keys() == held
    for name, copy in found.items():
        assert isinstance(copy, bytes)
        layout_is_right(name, copy, fmt, 2)
        for who, given in judge(name, copy, fmt, program, tmp_path).items():
            # GDCM writes few kinds of bare images, and nobody of these two has 64 bits: samples are there for them.
            if who != "GDCM" and (who, fmt.bits_allocated) != ("DCMTK", 64):
                assert given, (name, who)
            assert same(given, list(values)), (name, who)


def layout_is_right(name: str, copy: bytes, fmt: PixelFormat, count: int) -> None:
    """One fragment a frame behind a table that is right, and attributes as the syntax has them."""
    dataset = read(copy)
    assert dataset.file_meta.TransferSyntaxUID == SYNTAXES[name]
    assert dataset["PixelData"].VR == "OB"
    offsets = parse_basic_offsets(dataset.PixelData)
    position = 8 + 4 * count
    last = 0
    for offset in offsets:
        item, length = struct.unpack_from("<LL", dataset.PixelData, position + offset)
        assert (item, length % 2, offset) == (0xE000FFFE, 0, last)
        last = offset + 8 + length
    assert len(offsets) == count
    assert dataset.PixelData[position + last :] in (b"", b"\xfe\xff\xdd\xe0\0\0\0\0")
    if fmt.samples > 1:
        coloured = name in ("jpeg2000", "htj2k") and fmt.photometric == "RGB"
        assert dataset.PhotometricInterpretation == ("YBR_RCT" if coloured else fmt.photometric)
        assert dataset.PlanarConfiguration == int(name == "rle")
    if name in ("jpeg2000", "htj2k"):
        header = read_header(next(generate_frames(dataset.PixelData, number_of_frames=count)))
        assert (header.precision, header.signed) == (dataset.BitsStored, fmt.signed)
        assert header.mct == (dataset.PhotometricInterpretation == "YBR_RCT")


def test_real_numbers_have_no_such_copies(loop: Loop, tmp_path: Path) -> None:
    elements = {**image(2, 2, b"", bits=32), 0x7FE00008: ("OF", bytes(16))}
    del elements[0x7FE00010]
    assert not [name for name in Shown.of(loop, tmp_path, dicom(elements)).names if "transcoded" in name]


def test_overlays_in_the_pixels_are_kept_or_there_is_no_copy(loop: Loop, tmp_path: Path, program: Program) -> None:
    fmt = formatted(16, 12)
    values = noise(fmt, 1) | 0x8000
    more: DataSet = {0x60000010: ("US", 23), 0x60000011: ("US", 31), 0x60000040: ("CS", "G")}
    more |= {0x60000050: ("SS", (1, 1)), 0x60000100: ("US", 16), 0x60000102: ("US", 15)}
    path = tmp_path / "source.dcm"
    path.write_bytes(source_of(fmt, values, more))
    found = copies(loop, path, "transcoded")
    assert found.keys() == {"rle"}
    copy = tmp_path / "rle"
    copy.write_bytes(found["rle"])
    subprocess.run([program("dcmdrle"), copy, tmp_path / "native.dcm"], check=True)
    dataset = pydicom.dcmread(tmp_path / "native.dcm")
    assert dataset.PixelData == values.tobytes() + bytes(values.nbytes % 2)
    assert (dataset.BitsStored, dataset.HighBit) == (12, 11)


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_other_colours_stay_as_they_are(photometric: str, loop: Loop, tmp_path: Path) -> None:
    """No transform is added; half chrominance becomes full."""
    values = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    pixels = values.tobytes()
    if photometric == "YBR_FULL_422":
        values[:, 1::2, 1:] = values[:, ::2, 1:]
        pixels = np.concatenate([values[:, ::2, :1], values[:, 1::2, :1], values[:, ::2, 1:]], axis=2).tobytes()
    path = tmp_path / "source.dcm"
    path.write_bytes(dicom(image(6, 8, pixels, samples=3, photometric=photometric)))
    found = copies(loop, path, "transcoded")
    assert found.keys() == ALL
    for name, copy in found.items():
        dataset = read(copy)
        assert dataset.PhotometricInterpretation == "YBR_FULL"
        if name != "jpeg-ls":  # nothing of pydicom's reads it here
            assert np.array_equal(pydicom.pixels.pixel_array(dataset, raw=True), values), name


# Samples


def check(path: Path, loop: Loop, program: Program, folder: Path) -> None:
    """Every copy of a sample holds what `ours` finds in it, by the word of others."""
    mine = ours(path.read_bytes())
    found = copies(loop, path, "transcoded")
    if mine is None:
        assert not found
        return
    broken = [values for values in mine.frames if isinstance(values, str)]
    assert mine.instance.pixels
    fmt = mine.instance.pixels.format
    for name, copy in found.items():
        assert isinstance(copy, OSError) == bool(broken), copy
        if isinstance(copy, OSError):
            continue
        judges = judge(name, copy, fmt, program, folder)
        judged = False
        for who, given in judges.items():
            for values, expected in zip(given, mine.frames, strict=False):
                if values is None:
                    continue
                assert isinstance(expected, np.ndarray)
                judged = True
                kept = as_stored(values, mine) if fmt.spare_bits else values
                assert np.array_equal(kept.astype(expected.dtype), expected), (name, who)
        assert judged, name
        assert read(copy).get("LossyImageCompression") == ("01" if is_lossy(path) else source_says(path))


def source_says(path: Path) -> str | None:
    value: str | None = pydicom.dcmread(path, force=True, stop_before_pixels=True).get("LossyImageCompression")
    return value


def is_lossy(path: Path) -> bool:
    """Whether frames are coded by a JPEG process that is never lossless."""
    syntax = load(Memory(path.read_bytes())).pixels.format.transfer_syntax
    return syntax in [f"1.2.840.10008.1.2.4.{number}" for number in range(50, 57)]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", kinds()[::3], ids=lambda path: path.name)
def test_a_sample_of_each_kind(path: Path, loop: Loop, program: Program, tmp_path: Path) -> None:
    check(path, loop, program, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_sample(path: Path, loop: Loop, program: Program, tmp_path: Path) -> None:
    check(path, loop, program, tmp_path)


# Tables


FRAMES = [b"\xff\x4f\xff\x51" + bytes([index]) * (10 + index) for index in range(5)]


def laid_out(most_offset: int) -> pydicom.FileDataset:
    """Put FRAMES behind a header, and something behind them."""
    head = dicom(image(16, 16, b"", frames=5), JPEG_2000)
    head = head[: head.index(struct.pack("<HH", 0x7FE0, 0x0010))]
    file = io.BytesIO(head)
    file.seek(0, io.SEEK_END)
    encapsulation = Encapsulation(file, len(FRAMES), most_offset)
    for frame in FRAMES:
        encapsulation.add(frame)
    encapsulation.finish()
    file.write(b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0XX")
    dataset = read(file.getvalue())
    assert dataset[0xFFFCFFFC].value == b"XX"
    return dataset


@pytest.mark.parametrize("most_offset", [0, 22, 95, 96, 0xFFFFFFFF])
def test_the_extended_table_where_the_basic_one_does_not_reach(most_offset: int) -> None:
    dataset = laid_out(most_offset)
    starts = [0, 22, 46, 70, 96]
    if most_offset < starts[-1]:
        assert parse_basic_offsets(dataset.PixelData) == []
        assert struct.unpack("<5Q", dataset.ExtendedOffsetTable) == tuple(starts)
        lengths = struct.unpack("<5Q", dataset.ExtendedOffsetTableLengths)
        assert lengths == tuple(len(frame) for frame in FRAMES)  # without padding
        extended = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
        frames = list(generate_frames(dataset.PixelData, number_of_frames=5, extended_offsets=extended))
    else:
        assert "ExtendedOffsetTable" not in dataset
        assert parse_basic_offsets(dataset.PixelData) == starts
        frames = [frame[: len(FRAMES[at])] for at, frame in enumerate(generate_frames(dataset.PixelData))]
    assert frames == FRAMES


def test_a_copy_with_the_extended_table(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of data beyond 4 GiB; pydicom and dicomfs itself read it."""
    monkeypatch.setattr(transcoded, "Encapsulation", partial(Encapsulation, most_offset=1000))
    fmt = formatted(16, 12)
    values = noise(fmt, 4)
    path = tmp_path / "source.dcm"
    path.write_bytes(source_of(fmt, values))
    for name, copy in copies(loop, path, "transcoded").items():
        assert isinstance(copy, bytes)
        dataset = read(copy)
        assert len(dataset.ExtendedOffsetTable) == len(dataset.ExtendedOffsetTableLengths) == 32
        if name != "jpeg-ls":
            assert np.array_equal(dataset.pixel_array, values), name
        instance = load(Memory(copy))
        assert instance.pixels
        assert instance.pixels.frames.found_by == "Extended Offset Table"
        assert not instance.problems
        again = ours(copy)
        assert again
        assert np.array_equal(np.stack(again.frames), values)


# How it is built


def test_a_bad_frame_fails_the_whole(loop: Loop, tmp_path: Path) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (9, 16, 16), np.uint8)
    streams = [bytes(imagecodecs.jpeg2k_encode(each, level=0, codecformat="j2k", reversible=True)) for each in frames]
    streams[7] = streams[7][:-40]
    path = tmp_path / "source.dcm"
    path.write_bytes(dicom(image(16, 16, encapsulated(streams), frames=9, vr="OB"), JPEG_2000))
    for copy in copies(loop, path, "transcoded").values():
        assert isinstance(copy, OSError)
        assert copy.errno == 5
        assert "(E16)" in (copy.strerror or "")


def test_values_that_bits_stored_denies_fail_it(loop: Loop, tmp_path: Path) -> None:
    """What is decoded may have more bits than the header says; a copy would cut them off (C6)."""
    values = np.full((16, 16), 1024, "<u2")
    stream = bytes(imagecodecs.jpegls_encode(values))
    path = tmp_path / "source.dcm"
    elements = image(16, 16, encapsulated([stream]), bits=16, stored=10, vr="OB")
    path.write_bytes(dicom(elements, "1.2.840.10008.1.2.4.80"))
    for copy in copies(loop, path, "transcoded").values():
        assert isinstance(copy, OSError)
        assert (copy.strerror or "").endswith("(C6)")


def copy_in(folder: Path, syntax: str) -> Path:
    """Give the copy in a syntax, below the directory of a file."""
    return folder / "transcoded" / syntax / folder.name


def test_sizes_and_copies_through_a_mount(tmp_path: Path) -> None:
    """The size is that of the copy from the first `stat` on, and listings build nothing."""
    archive, place = tmp_path / "archive", tmp_path / "mount"
    archive.mkdir()
    place.mkdir()
    (archive / "mr.dcm").write_bytes((PYDICOM_DATA / "emri_small.dcm").read_bytes())
    (archive / "bad.dcm").write_bytes((PYDICOM / "MR_truncated.dcm").read_bytes())
    with mounted(archive, place, warn=True) as mount:
        folder = mount.path / "mr.dcm"
        assert "transcoded" not in os.listdir(folder)
        assert sorted(os.listdir(folder / "transcoded")) == sorted(SYNTAXES)
        assert {tuple(os.listdir(folder / "transcoded" / name)) for name in SYNTAXES} == {("mr.dcm",)}
        subprocess.run(["ls", "-lR", folder], stdout=subprocess.DEVNULL, check=True)
        assert mount.statistics()["decoded"] == 0
        for name in SYNTAXES:
            copy = copy_in(folder, name)
            size = os.stat(copy).st_size
            subprocess.run(["cp", copy, tmp_path / name], check=True)
            assert (tmp_path / name).stat().st_size == size == os.stat(copy).st_size
            assert (tmp_path / name).read_bytes() == copy.read_bytes()
        decoded = mount.statistics()["decoded"]
        assert decoded == 4 * 10
        bad = copy_in(mount.path / "bad.dcm", "rle")
        assert bad.name in os.listdir(bad.parent)
        assert errno_of(bad.stat) == errno.EIO
        failed = subprocess.run(["cp", bad, tmp_path / "bad.dcm"], capture_output=True, check=False)
        assert failed.returncode == 1
        assert b"Input/output error" in failed.stderr


def test_a_later_mount_finds_them_in_the_disk_cache(tmp_path: Path) -> None:
    """With its exact size before anybody opens it, and without a frame being decoded."""
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "mr.dcm").write_bytes((PYDICOM_DATA / "emri_small.dcm").read_bytes())
    made: dict[str, bytes] = {}
    for attempt in range(2):
        with mounted(archive, tmp_path, "--cache-dir", str(tmp_path / "cache")) as mount:
            for name in sorted(SYNTAXES):
                copy = copy_in(mount.path / "mr.dcm", name)
                size = os.stat(copy).st_size
                data = copy.read_bytes()
                assert made.setdefault(name, data) == data
                assert size == len(data), name
            assert mount.statistics()["decoded"] == (0 if attempt else 4 * 10)


def test_a_copy_has_the_name_of_its_source(tmp_path: Path) -> None:
    """Whatever that is, and the name of the link where the source has several."""
    archive, place, copies_of = tmp_path / "archive", tmp_path / "mount", tmp_path / "copies"
    for folder in (archive, place, copies_of, archive / "below"):
        folder.mkdir()
    names = [b"IM0001", b"with blank.dcm", b"dicomdir.ima", "größe".encode(), b"not-\xff-utf8"]
    root = os.fsencode(archive)
    for name in names:
        shutil.copy(PYDICOM / "CT_small.dcm", os.path.join(root, name))
    os.link(archive / "IM0001", archive / "hard.dcm")
    os.link(archive / "IM0001", archive / "below" / "harder.dcm")
    os.symlink("IM0001", archive / "soft.dcm")
    names += [b"hard.dcm", b"below/harder.dcm", b"soft.dcm"]
    with mounted(archive, place) as mount:
        for name in names:
            folder = os.path.join(os.fsencode(mount.path), name, b"transcoded", b"jpeg2000")
            assert os.listdir(folder) == [os.path.basename(name)]
            with open(os.path.join(folder, os.path.basename(name)), "rb") as file:
                assert read(file.read()).file_meta.TransferSyntaxUID == SYNTAXES["jpeg2000"]
        command = f"cp {mount.path}/*/transcoded/rle/* {copies_of}"
        subprocess.run(["bash", "-c", command], check=True)
        assert sorted(os.listdir(os.fsencode(copies_of))) == sorted(name for name in names if b"/" not in name)


@pytest.mark.parametrize("link", [False, True], ids=["file", "link"])
def test_an_archive_of_one_file(link: bool, tmp_path: Path) -> None:
    source = tmp_path / "IM0001"
    shutil.copy(PYDICOM / "CT_small.dcm", source)
    if link:
        os.symlink("IM0001", tmp_path / "link.dcm")
    with mounted(tmp_path / "link.dcm" if link else source, tmp_path) as mount:
        folder = mount.path / "transcoded" / "rle"
        (name,) = os.listdir(folder)
        assert name == "IM0001"
        assert (folder / name).stat().st_size == len((folder / name).read_bytes())


@pytest.mark.parametrize("count", [0, 50])
def test_few_frames_are_in_memory_and_in_order(count: int, loop: Loop) -> None:
    under_way = most = 0
    used: list[bytes | None] = []
    frames = loop.decoder.frames
    requests = [Wanted(number, frame_task(), b"") for number in range(count)]

    async def make(request: Request) -> bytes:
        nonlocal under_way, most
        assert isinstance(request, Wanted)
        assert isinstance(request.key, int)
        under_way += 1
        most = max(most, under_way)
        await trio.sleep(0.001 * ((request.key * 7) % 5))  # some overtake others
        return b"%d" % request.key

    async def main() -> None:
        nonlocal under_way
        async with in_order(frames, requests, make) as made:
            for index in range(count):
                used.append(await made.take(index))
                await trio.sleep(0.001)
                under_way -= 1
        assert frames.memory.taken == 0

    loop.run(main)
    assert used == [b"%d" % number for number in range(count)]
    assert most == min(count, frames.pool.workers + 1)


def test_frames_that_are_not_taken_are_not_accounted_for(loop: Loop) -> None:
    frames = loop.decoder.frames

    async def make(request: Request) -> bytes:
        return b"1234"

    async def main() -> list[int]:
        taken = []
        requests = [Wanted(number, frame_task(), b"") for number in range(10)]
        async with in_order(frames, requests, make) as made:
            assert await made.take(0) == b"1234"
            await trio.testing.wait_all_tasks_blocked()
            taken.append(frames.memory.taken)
        taken.append(frames.memory.taken)
        return taken

    assert loop.run(main) == [4 * frames.pool.workers, 0]


def frame_task() -> Task:
    return Task(formatted(8, 8), 0, "stored", None, 64)


def test_workers_encode_at_once(loop: Loop, tmp_path: Path) -> None:
    """Both workers of the tests are at it: there are frames of two that were never idle."""
    fmt = formatted(8, 8)
    path = tmp_path / "source.dcm"
    path.write_bytes(source_of(fmt, noise(fmt, 20)))
    busy: set[int] = set()
    pool = loop.decoder.pool
    run = pool.run

    async def watched(task: Task, data: bytes, owner: Hashable = None, *, lasting: bool = False) -> bytes:
        busy.add(pool.busy)
        return await run(task, data, owner, lasting=lasting)

    pool.run = watched
    try:
        copies(loop, path, "transcoded")
    finally:
        del pool.run
    assert max(busy) >= 1


# Encoders


def test_what_does_not_come_back_is_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders are not believed: an encoder that loses a bit fails the frame."""
    lossy = encoders.Encoder(lambda values, fmt: encoders.encode_rle(values & 0xFE, fmt), lambda fmt: True)
    fmt = encoders.target(formatted(8, 8), uids.RLELossless)
    assert fmt
    values = noise(formatted(8, 8), 1)[0]
    assert encoders.encode(Decoded(values, "MONOCHROME2"), fmt)
    monkeypatch.setitem(encoders.ENCODERS, uids.RLELossless, lossy)
    with pytest.raises(CodecError, match="not be the same"):
        encoders.encode(Decoded(values, "MONOCHROME2"), fmt)


def test_an_encoder_that_fails_is_an_error_of_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(values: np.ndarray, fmt: PixelFormat) -> bytes:
        raise RuntimeError("no")

    fmt = encoders.target(formatted(8, 8), uids.JPEGLSLossless)
    assert fmt
    monkeypatch.setitem(encoders.ENCODERS, uids.JPEGLSLossless, encoders.Encoder(broken, lambda fmt: True))
    with pytest.raises(CodecError):
        encoders.encode(Decoded(noise(formatted(8, 8), 1)[0], "MONOCHROME2"), fmt)


def test_rows_are_encoded_on_their_own() -> None:
    """No run goes on in the next row (PS3.5 G.3.1), and segments have even lengths (G.3)."""
    fmt = encoders.target(formatted(16, 16), uids.RLELossless)
    assert fmt
    frame = bytes(encoders.encode(Decoded(np.zeros(fmt.shape, "<u2"), "MONOCHROME2"), fmt))
    count, *starts = struct.unpack_from("<16L", frame)
    assert (count, starts[:3]) == (2, [64, 64 + 46, 0])
    assert frame[64 : 64 + 46] == bytes([257 - 31, 0]) * 23


def test_an_encoded_result_may_be_shorter_and_never_longer(loop: Loop) -> None:
    fmt = formatted(8, 8)
    values = noise(fmt, 1)[0]
    source = PixelFormat(23, 31, 1, 8, 8, 7, False, "MONOCHROME2", False, ENCAPSULATED_UNCOMPRESSED)
    copy = encoders.target(fmt, uids.RLELossless)
    task = partial(Task, source, 0, "copy", None, copy=copy)
    made = loop.run(loop.decoder.pool.run, task(size=10_000, at_most=True), values.tobytes())
    assert 64 < len(made) < 10_000
    for refused in (task(size=len(made) - 1, at_most=True), task(size=10_000)):
        with pytest.raises(DecodeError, match="promised"):
            loop.run(loop.decoder.pool.run, refused, values.tobytes())
