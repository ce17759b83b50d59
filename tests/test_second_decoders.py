"""Second decoders: what they read, that their samples are those of the first, and when they are asked.

imagecodecs is hidden from processes by a stub that comes first on their path.
"""

import io
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import hidden_library
from support.builders import JPEG, dicom, encapsulated, image
from support.damaged_streams import KINDS, SIDE, damaged, picture
from support.damaged_streams import Kind as Sample
from support.mounting import mounted
from test_codecs import opened, samples

from dicomfs.codecs import by_imagecodecs, by_pillow, by_pydicom, by_pylibjpeg, decoder_table, packbits
from dicomfs.codecs.codestream import read_header
from dicomfs.codecs.decoder_table import DECODERS, OPTIONAL
from dicomfs.codecs.encoded import Encoded, Kind
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.registry import CODECS, CodecError, Decoded, decode, has_second
from dicomfs.codecs.remarks import LONGEST, Remark, read
from dicomfs.formats.png import png_size, text_of, text_size
from dicomfs.rendering.render import Display
from dicomfs.workers.decoder_process import Task
from dicomfs.workers.pool import WorkerEnded, WorkerPool

ONLY_IMAGECODECS = {Kind.JPEG_12, Kind.JPEG_LOSSLESS, Kind.JPEG_LS, Kind.JPEG_XL}
PAGE = Path(__file__).parent.parent / "docs" / "decoders.md"
FRAMES_OF_A_FILE = 3

Frame = tuple[str, bytes, PixelFormat]


def encoded_frames() -> Iterator[Frame]:
    """Give compressed frames: those of all samples, and of every kind of codestream that is made here."""
    for path in samples():
        sample = opened(path)
        if sample is None or not CODECS.get(sample.syntax, CODECS[JPEG]).kinds:
            continue
        for number, (data, _) in enumerate(sample.frames()):
            if number == FRAMES_OF_A_FILE:
                break
            yield f"{path.name} {number}", bytes(data), sample.fmt
    for kind in KINDS:
        if CODECS[kind.fmt.transfer_syntax].kinds:
            yield kind.name, bytes(kind.encode(kind.draw(7))), kind.fmt


def attempt(data: bytes, fmt: PixelFormat, *, first_left_out: bool = False) -> Decoded | str:
    """Decode a frame, or give the reason why there is none."""
    try:
        return decode(data, fmt, first_left_out=first_left_out)
    except CodecError as error:
        return str(error.strerror)


def is_jpeg_2000(fmt: PixelFormat) -> bool:
    """Tell whether frames are JPEG 2000 or HTJ2K, as their transfer syntax says."""
    return CODECS[fmt.transfer_syntax].extension == "j2k"


def agree(first: Decoded, second: Decoded, fmt: PixelFormat) -> None:
    """Compare what two decoders made of a frame: alike, or within one where the syntax is lossy."""
    assert first.photometric == second.photometric
    assert first.repairs == second.repairs
    assert Remark.SECOND_DECODER not in first.remarks
    assert set(second.remarks) - {Remark.DAMAGE_UNHEARD} == {*first.remarks, Remark.SECOND_DECODER}
    assert (Remark.DAMAGE_UNHEARD in second.remarks) == is_jpeg_2000(fmt)
    assert (first.values.dtype, first.values.shape) == (second.values.dtype, second.values.shape)
    difference = np.abs(first.values.astype(np.float64) - second.values.astype(np.float64)).max(initial=0)
    assert difference <= (1 if CODECS[fmt.transfer_syntax].lossy else 0)


def not_read_by_others(reason: str) -> bool:
    """Tell whether a reason is that only imagecodecs reads such a codestream, whatever the header says of it."""
    return any(f"reads {kind.value}" in reason for kind in ONLY_IMAGECODECS) or "does not keep" in reason


# The table


def test_every_decoder_of_the_table_is_there() -> None:
    for kind, decoders in DECODERS.items():
        names = [decoder.library for decoder in decoders]
        assert len(set(names)) == len(names)
        for decoder in decoders:
            assert decoder.loaded is not None or decoder.library in OPTIONAL, (kind, decoder)
        assert decoders[0].library == "imagecodecs"
    assert {kind for codec in CODECS.values() for kind in codec.kinds} == set(DECODERS)


def test_the_kinds_that_only_imagecodecs_reads_are_listed() -> None:
    alone = {
        kind
        for kind, decoders in DECODERS.items()
        if not [decoder for decoder in decoders[1:] if decoder.library not in OPTIONAL]
    }
    assert alone == ONLY_IMAGECODECS
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    for kind, decoders in DECODERS.items():
        (row,) = [row for row in rows if row.startswith(f"| {kind.value} |")]
        listed = [name.strip() for name in row.split("|")[2].split(",")]
        assert listed == [decoder.library for decoder in decoders if decoder.library not in OPTIONAL]


def test_which_formats_have_a_second_decoder() -> None:
    fmt = replace(KINDS[0].fmt, transfer_syntax=JPEG)
    assert has_second(fmt)
    assert not has_second(replace(fmt, transfer_syntax="1.2.840.10008.1.2.4.110"))
    assert not has_second(replace(fmt, transfer_syntax="1.2.840.10008.1.2.1"))
    assert not has_second(replace(fmt, transfer_syntax="1.2.3"))


# The same samples


def test_second_decoders_give_the_samples_of_the_first() -> None:
    read_by_both = 0
    for name, data, fmt in encoded_frames():
        first, second = attempt(data, fmt), attempt(data, fmt, first_left_out=True)
        if isinstance(first, str):
            assert isinstance(second, str), name
        elif isinstance(second, str):
            assert not_read_by_others(second), (name, second)
        else:
            agree(first, second, fmt)
            read_by_both += 1
    assert read_by_both > 50


SCRIPT = """
import pickle, sys
from dicomfs.codecs.registry import CodecError, decode
found = []
for name, data, fmt in pickle.load(open(sys.argv[1], "rb")):
    try:
        found.append(decode(data, fmt))
    except CodecError as error:
        found.append(str(error.strerror))
assert ("imagecodecs" in sys.modules) == (sys.argv[3] == "declining")
pickle.dump(found, open(sys.argv[2], "wb"))
"""


@pytest.mark.parametrize("stub", ["absent", "declining"])
def test_frames_are_read_where_imagecodecs_is_not_there_or_declines(stub: str, tmp_path: Path) -> None:
    text = {"absent": hidden_library.ABSENT, "declining": hidden_library.DECLINING}[stub]
    folder = hidden_library.stubs(tmp_path, {"imagecodecs": text})
    frames = list(encoded_frames())
    asked, answered = tmp_path / "asked", tmp_path / "answered"
    asked.write_bytes(pickle.dumps(frames))
    done = hidden_library.run(folder, "-c", SCRIPT, asked, answered, stub)
    assert done.returncode == 0, done.stderr.decode()
    for (name, data, fmt), found in zip(frames, pickle.loads(answered.read_bytes()), strict=True):
        first = attempt(data, fmt)
        if isinstance(found, str):
            kinds = CODECS[fmt.transfer_syntax].kinds
            alone = not_read_by_others(found) or (stub == "declining" and set(kinds) & ONLY_IMAGECODECS)
            assert isinstance(first, str) or alone, (name, found)
        else:
            assert isinstance(first, Decoded), name
            agree(first, found, fmt)


@pytest.mark.parametrize("sampling", ["444", "422", "420", "440", "411"])
@pytest.mark.parametrize("ybr", [True, False])
def test_pillow_converts_colours_as_it_is_told(sampling: str, ybr: bool) -> None:
    values = picture(3, 8, 3)
    stream = bytes(imagecodecs.jpeg8_encode(values, 92, colorspace="RGB", outcolorspace="YCbCr", subsampling=sampling))
    jfif = stream[:2] + b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + stream[2:]
    adobe = stream[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0" + stream[2:]
    for marked in (stream, jfif, adobe):
        encoded = Encoded(marked, read_header(marked), ybr=ybr)
        difference = by_imagecodecs.jpeg(encoded).astype(int) - by_pillow.jpeg(encoded).astype(int)
        assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("ybr", [True, False])
def test_pillow_leaves_four_components_as_they_are(ybr: bool) -> None:
    values, file = picture(3, 8, 3), io.BytesIO()
    Image.fromarray(np.dstack([values, values[..., 0]]), "CMYK").save(file, "JPEG", quality=95)
    encoded = Encoded(file.getvalue(), read_header(file.getvalue()), ybr=ybr)
    assert np.abs(by_imagecodecs.jpeg(encoded).astype(int) - by_pillow.jpeg(encoded).astype(int)).max() <= 1


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("signed", [False, True])
def test_jpeg_2000_of_any_precision(bits: int, signed: bool) -> None:
    low = -(1 << bits - 1) if signed else 0
    values = np.random.default_rng(bits).integers(low, low + (1 << bits), (31, 45))
    values = values.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    stream = bytes(imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True, bitspersample=bits))
    encoded = Encoded(stream, read_header(stream))
    assert np.array_equal(by_imagecodecs.jpeg_2000(encoded), values)
    assert np.array_equal(by_pylibjpeg.jpeg_2000(encoded), values)
    if signed:
        with pytest.raises(ValueError, match="does not keep"):
            by_pillow.jpeg_2000(encoded)
    else:
        assert np.array_equal(by_pillow.jpeg_2000(encoded), values)


def test_components_that_differ_are_left_to_the_first_decoder() -> None:
    """Others give all of them the type of the first, and cut the rest."""
    sample = next(kind for kind in KINDS if kind.name == "JPEG 2000 colour")
    header = replace(read_header(bytes(sample.encode(sample.draw(1)))), mixed=True)
    for decoder in (by_pillow.jpeg_2000, by_pylibjpeg.jpeg_2000):
        with pytest.raises(ValueError, match="keep"):
            decoder(Encoded(b"", header))


# RLE of our own


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(1, 300)), min_size=1, max_size=30), st.integers(1, 9))
def test_our_own_run_length_coding_is_that_of_imagecodecs(runs: list[tuple[int, int]], rows: int) -> None:
    data = b"".join(bytes([octet]) * length for octet, length in runs)
    plane = np.frombuffer(data * rows, np.uint8).reshape(rows, -1)
    coded = packbits.encode(plane)
    assert packbits.packbits(coded, plane.size) == plane.tobytes()
    assert bytes(imagecodecs.packbits_decode(coded, out=bytearray(plane.size))) == plane.tobytes()
    theirs = bytes(imagecodecs.packbits_encode(plane))
    assert packbits.packbits(theirs, plane.size) == plane.tobytes()
    assert len(coded) <= len(theirs) + 2 * rows + plane.size // 64
    for wrong in (coded[:-1], coded + b"\x05"):
        with pytest.raises(ValueError, match="ends inside a run"):
            packbits.packbits(wrong, plane.size)
    with pytest.raises(ValueError, match="longer"):
        packbits.packbits(coded, plane.size - 1)


@pytest.mark.parametrize("shape", [(1, 4), (7, 13), (300, 400), (1, 65536), (257, 257)])
@pytest.mark.parametrize("greys", [2, 3, 256])
def test_pydicom_unpacks_segments_of_any_length(shape: tuple[int, int], greys: int) -> None:
    plane = np.random.default_rng(greys).integers(0, greys, shape).astype(np.uint8)
    coded = packbits.encode(plane)
    assert by_pydicom.packbits(coded, plane.size) == plane.tobytes()
    for length in (plane.size - 1, plane.size + 1, plane.size // 2):
        with pytest.raises((RuntimeError, ValueError)):
            by_pydicom.packbits(coded, length)


# Damage


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if CODECS[kind.fmt.transfer_syntax].kinds], ids=lambda k: k.name
)
def test_damage_is_judged_alike(kind: Sample) -> None:
    """What is an error of the first decoder is one of the second, but for what OpenJPEG reports to the first alone."""
    slips = tries = 0
    for _, stream, data in damaged(kind, 2, 5):
        first, second = attempt(data, kind.fmt), attempt(data, kind.fmt, first_left_out=True)
        tries += 1
        if isinstance(first, Decoded) and isinstance(second, Decoded):
            agree(first, second, kind.fmt)
        elif isinstance(second, Decoded):
            slips += not np.array_equal(second.values, decode(stream, kind.fmt).values)
    assert slips <= tries * (0.7 if "JPEG 2000" in kind.name else 0.05)


# Who is asked when


def png_task(fmt: PixelFormat) -> Task:
    """Ask for a picture with its text."""
    size = png_size(fmt.rows, fmt.columns, 1, text_size(LONGEST))
    return Task(fmt, 0, "png", Display(), size, remarks=())


def made(task: Task, data: bytes) -> tuple[bytes, int]:
    """Have a worker make something; give that, and how many workers were lost."""

    async def make() -> tuple[bytes, int]:
        async with WorkerPool(1) as decoder:
            return await decoder.run(task, data), decoder.stats.replaced

    return trio.run(make)


def test_a_frame_at_which_the_first_decoder_ends_is_given_to_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = KINDS[0]
    stream = bytes(sample.encode(sample.draw(1)))
    plain, lost = made(png_task(sample.fmt), stream)
    assert (read(text_of(plain, LONGEST)), lost) == ((), 0)
    folder = hidden_library.stubs(tmp_path, {"imagecodecs": hidden_library.ENDING})
    monkeypatch.syspath_prepend(str(folder))
    shown, lost = made(png_task(sample.fmt), stream)
    assert (read(text_of(shown, LONGEST)), lost) == ((Remark.SECOND_DECODER.value,), 1)
    with Image.open(io.BytesIO(plain)) as first, Image.open(io.BytesIO(shown)) as second:
        assert np.array_equal(np.asarray(first), np.asarray(second))
    # Only imagecodecs reads JPEG-LS: that its worker ended is what is said, once.
    sample = next(kind for kind in KINDS if kind.name == "JPEG-LS 8")
    with pytest.raises(WorkerEnded):
        made(png_task(sample.fmt), bytes(sample.encode(sample.draw(1))))


def test_damage_is_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other decoder is asked about a frame that the first found damaged."""
    asked = []
    monkeypatch.setattr(by_pylibjpeg, "jpeg_2000", lambda encoded: asked.append(encoded))
    decoder_table.load.cache_clear()
    sample = next(kind for kind in KINDS if kind.name == "JPEG 2000 lossless")
    stream = bytearray(sample.encode(sample.draw(1)))
    middle = len(stream) // 2
    stream[middle : middle + 100] = bytes(100)
    with pytest.raises(CodecError, match="a code-block"):
        decode(bytes(stream), sample.fmt)
    assert asked == []
    monkeypatch.undo()
    decoder_table.load.cache_clear()


def archive_of(place: Path) -> Path:
    """Make an archive of a JPEG, a JPEG 2000, a JPEG-LS and an RLE object."""
    (place / "archive").mkdir()
    for name, syntax in (
        ("JPEG grey", JPEG),
        ("JPEG 2000 lossless", "1.2.840.10008.1.2.4.90"),
        ("JPEG-LS 8", "1.2.840.10008.1.2.4.80"),
        ("RLE 16", "1.2.840.10008.1.2.5"),
    ):
        kind = next(kind for kind in KINDS if kind.name == name)
        data = encapsulated([bytes(kind.encode(kind.draw(1)))])
        (place / "archive" / f"{name}.dcm").write_bytes(
            dicom(image(SIDE, SIDE, data, bits=kind.fmt.bits_allocated, vr="OB"), syntax)
        )
    return place / "archive"


def test_commands_and_mounts_work_without_imagecodecs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = hidden_library.stubs(tmp_path, {"imagecodecs": hidden_library.ABSENT})
    archive = archive_of(tmp_path)
    lines = hidden_library.run(folder, "-m", "dicomfs", "info", archive / "JPEG grey.dcm").stdout.decode().splitlines()
    assert lines[-1] == f"  frame 1: {Remark.SECOND_DECODER.value}"
    doctor = hidden_library.run(folder, "-m", "dicomfs", "doctor")
    assert doctor.returncode == 1
    report = doctor.stdout.decode()
    assert "ok  JPEG baseline (1.2.840.10008.1.2.4.50): pillow\n" in report
    assert "ok  RLE (1.2.840.10008.1.2.5): pydicom, dicomfs\n" in report
    assert "NO  JPEG-LS lossless (1.2.840.10008.1.2.4.80): no decoder here reads JPEG-LS: pip install" in report
    monkeypatch.setenv("PYTHONPATH", hidden_library.environment(folder)["PYTHONPATH"])
    with mounted(archive, tmp_path, warn=True) as mount:
        for name in ("JPEG grey", "JPEG 2000 lossless", "RLE 16"):
            data = (mount.path / f"{name}.dcm" / "frames" / "0001.png").read_bytes()
            assert Remark.SECOND_DECODER.value in read(text_of(data, LONGEST))
            assert (Remark.DAMAGE_UNHEARD.value in read(text_of(data, LONGEST))) == ("2000" in name)
            sample = next(kind for kind in KINDS if kind.name == name)
            values = np.load(mount.path / f"{name}.dcm" / "pixels.npy")
            assert np.array_equal(values, decode(bytes(sample.encode(sample.draw(1))), sample.fmt).values)
        with pytest.raises(OSError, match="Input/output error"):
            (mount.path / "JPEG-LS 8.dcm" / "frames" / "0001.png").read_bytes()
