"""Encoded frames decode to what other programs make of them, or not at all.

The oracles: pydicom with its plugins, DCMTK's decompressors, the uncompressed truth of the WG04 set, and frames
that the tests encode themselves.
"""

import importlib.util
import io
import re
import struct
import subprocess
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array
from pydicom.pixels.encoders import RLELosslessEncoder
from support.archives import swept

from dicomfs.codecs import jpeg as jpeg_stream
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.registry import CODECS, CodecError, Decoded, decode, sniff
from dicomfs.dicom.part10_reader import parse
from dicomfs.dicom.stream import Memory
from dicomfs.iod.image_pixel import pixel_format

NATIVE, RLE, DEFLATED_FRAMES = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8.1"
JPEG, JPEG12, JPEGLL, JPEGLS, J2K, HTJ2K, JXL = (
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 70, 80, 90, 201, 110)
)
GREY8 = PixelFormat(40, 52, 1, 8, 8, 7, False, "MONOCHROME2", False, JPEG)
GREY16 = replace(GREY8, bits_allocated=16, bits_stored=12, high_bit=11)
RGB8 = replace(GREY8, samples=3, photometric="RGB")

PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"
_found = importlib.util.find_spec("data_store")
PYDICOM_DATA = Path(_found.origin).parent / "data" if _found and _found.origin else None

# Samples that are broken, and the rule by which a frame of theirs is refused.
REFUSED = {"JPEG2000-embedded-sequence-delimiter.dcm": "E21", "MR_truncated.dcm": "N3"}
MAX_FRAMES = 12


def samples() -> Iterator[Path]:
    """Find pydicom's own files and those of pydicom-data."""
    for folder in (PYDICOM, PYDICOM_DATA):
        if folder is not None:
            yield from sorted(folder.rglob("*.dcm"))


class Sample:
    """One file, read by pydicom, and the frames in it."""

    def __init__(self, path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.dataset = pydicom.dcmread(path, force=True)
            self.count = _frames(self.dataset)
        parsed = parse(Memory(path.read_bytes()))
        self.syntax = parsed.transfer_syntax
        self.fmt = pixel_format(parsed.dataset, self.syntax)

    def frames(self) -> Iterator[tuple[bytes, int]]:
        """Give each frame with the bits to skip at its start."""
        data = next(self.dataset[name].value for name in PIXELS if name in self.dataset)
        if self.syntax == NATIVE or not self.syntax.startswith(
            ("1.2.840.10008.1.2.4", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8")
        ):
            for frame in range(self.count):
                start = frame * self.fmt.frame_bits // 16 * 2
                stop = -(-(frame + 1) * self.fmt.frame_bits // 16) * 2
                yield data[start:stop], frame * self.fmt.frame_bits - start * 8
        else:
            for frame in generate_frames(data, number_of_frames=self.count):
                yield frame, 0

    def reference(self, raw: bool) -> np.ndarray | None:
        """Give pydicom's pixels, frames first; None where it has no decoder."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                pixels = pixel_array(self.dataset, raw=raw)
            except (RuntimeError, ValueError, NotImplementedError, AttributeError):
                return None
        return pixels[None] if self.count == 1 else pixels


PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def _frames(dataset: pydicom.Dataset) -> int:
    try:
        return int(dataset.get("NumberOfFrames") or 1)
    except ValueError:
        return 1


def opened(path: Path) -> Sample | None:
    """Open a file that has pixels."""
    try:
        sample = Sample(path)
    except (OSError, AttributeError, pydicom.errors.InvalidDicomError):
        return None
    return sample if any(name in sample.dataset for name in PIXELS) else None


def agree(decoded: Decoded, sample: Sample, frame: int, expected: np.ndarray) -> None:
    """Compare: bit for bit, within one level where the syntax is lossy and decoders round differently."""
    assert decoded.values.dtype == sample.fmt.dtype
    assert decoded.values.shape == sample.fmt.shape
    tolerance = 1 if CODECS[sample.syntax].lossy else 0
    difference = np.abs(decoded.values.astype(np.float64) - expected[frame].astype(np.float64))
    assert np.nanmax(difference) <= tolerance


def check_file(path: Path) -> None:
    """Compare every frame of a file with pydicom."""
    sample = opened(path)
    if sample is None:
        return
    raw, coloured = sample.reference(True), sample.reference(False)
    for frame, (data, skipped) in enumerate(sample.frames()):
        if path.name in REFUSED:
            with pytest.raises(CodecError, match=REFUSED[path.name]):
                decode(data, sample.fmt, skipped)
            return
        decoded = decode(data, sample.fmt, skipped)
        if any("(C8)" in repair for repair in decoded.repairs):
            return  # no other program undoes this fault
        expected = coloured if decoded.photometric == "RGB" else raw
        if expected is not None and frame < len(expected):
            agree(decoded, sample, frame, expected)
        if frame == MAX_FRAMES:
            return


@pytest.mark.parametrize("path", swept(samples()))
def test_samples_equal_pydicom(path: Path) -> None:
    check_file(path)


@pytest.mark.slow
def test_the_corpus_equals_pydicom(corpus: Path | None) -> None:
    for path in sorted(corpus.rglob("*") if corpus else ()):
        # pydicom goes by a header that says RGB where only chrominance can be smaller (see test_colour).
        if path.is_file() and path.suffix in (".dcm", "") and path.name != "SC_rgb_jpeg_lossy_gdcm.dcm":
            check_file(path)


@pytest.mark.slow
def test_wg04_lossless_files_equal_the_uncompressed_truth(corpus: Path | None) -> None:
    compared = 0
    for family in ("J2KR", "JPLL", "JLSL", "RLE"):
        for path in sorted((corpus / "WG04" / family).glob("*")) if corpus else ():
            truth = corpus / "WG04" / "REF" / path.name.replace(family, "UNC")
            if not truth.exists():
                continue
            ours, theirs = Sample(path), Sample(truth)
            for (data, _), (expected, _) in zip(ours.frames(), theirs.frames(), strict=True):
                values = decode(data, ours.fmt).values
                assert np.array_equal(values, decode(expected, theirs.fmt).values), path.name
                compared += 1
    assert corpus is None or compared >= 40


def dcmtk_files() -> list[Path]:
    """Find samples that DCMTK decodes and pydicom's plugins do not: JPEG lossless, 12-bit JPEG, JPEG-LS."""
    found = []
    for path in samples():
        sample = opened(path)
        if sample and sample.syntax in (f"1.2.840.10008.1.2.4.{number}" for number in (51, 57, 70, 80, 81)):
            found.append(path)
    return found


def check_against_dcmtk(path: Path, program: Callable[[str], str], folder: Path) -> None:
    """Compare the frames of *path* with what DCMTK makes of them."""
    sample = Sample(path)
    tool = "dcmdjpls" if sample.syntax in (JPEGLS, JPEGLS[:-1] + "1") else "dcmdjpeg"
    plain = folder / "plain.dcm"
    # +cn: colours stay as they were stored.
    command = [program(tool), *(["+cn"] if tool == "dcmdjpeg" and sample.fmt.samples == 3 else []), path, plain]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.fail(f"{tool} declines {path.name}")
    # Bare words, since lossy coding may push samples beyond Bits Stored and masking would hide that.
    data = pydicom.dcmread(plain).PixelData
    truth = np.frombuffer(data, sample.fmt.dtype)[: sample.count * sample.fmt.pixels * sample.fmt.samples]
    for (frame, _), expected in zip(sample.frames(), truth.reshape(-1, *sample.fmt.shape), strict=True):
        values = decode(frame, sample.fmt).values
        difference = np.abs(values.astype(np.int64) - expected.astype(np.int64)).max()
        assert difference <= (1 if sample.syntax in (JPEG, JPEG12) else 0)


@pytest.mark.parametrize("path", dcmtk_files(), ids=lambda path: path.name)
def test_samples_equal_dcmtk(path: Path, program: Callable[[str], str], tmp_path: Path) -> None:
    check_against_dcmtk(path, program, tmp_path)


def test_e22_wg04_extended_jpegs_equal_dcmtk(
    corpus: Path | None, program: Callable[[str], str], tmp_path: Path
) -> None:
    for path in sorted((corpus / "WG04" / "JPLY").glob("*_JPLY")) if corpus else ():
        check_against_dcmtk(path, program, tmp_path)


# Frames that are encoded here


def smooth(fmt: PixelFormat, bits: int) -> np.ndarray:
    """Make stored values of *bits* bits that compress like a picture."""
    height, width = np.mgrid[: fmt.rows, : fmt.columns]
    planes = [(height * (37 + 5 * n) + width * (91 - 7 * n)) % (1 << bits) for n in range(fmt.samples)]
    return np.stack(planes, -1).reshape(fmt.shape).astype(fmt.dtype)


def rle(planes: list[bytes]) -> bytes:
    """Encode planes as an RLE frame of literal runs (PS3.5 G.3.1), one replicate run where bytes repeat."""
    segments = []
    for plane in planes:
        segment = b"".join(bytes([len(part) - 1]) + part for part in _parts(plane))
        segments.append(segment + b"\0" * (len(segment) % 2))
    offsets = [64 + sum(map(len, segments[:n])) for n in range(len(segments))]
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


def _parts(plane: bytes) -> list[bytes]:
    return [plane[start : start + 128] for start in range(0, len(plane), 128)]


ENCODERS: dict[str, tuple[str, Callable[[np.ndarray], bytes]]] = {
    "jpeg lossless": (
        JPEGLL,
        lambda values: imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=int(values.max()).bit_length()),
    ),
    "jpeg-ls": (JPEGLS, imagecodecs.jpegls_encode),
    "jpeg 2000": (J2K, lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True)),
    "jp2": (J2K, lambda values: imagecodecs.jpeg2k_encode(values, codecformat="jp2", reversible=True)),
    "htj2k": (HTJ2K, lambda values: imagecodecs.htj2k_encode(values, reversible=True)),
    "jpeg xl": (JXL, lambda values: imagecodecs.jpegxl_encode(values, lossless=True)),
}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(
    ("fmt", "bits"), [(GREY8, 8), (GREY16, 12), (replace(GREY16, bits_stored=16, high_bit=15), 16), (RGB8, 8)]
)
def test_lossless_round_trip(name: str, fmt: PixelFormat, bits: int) -> None:
    syntax, encode = ENCODERS[name]
    values = smooth(fmt, bits)
    decoded = decode(memoryview(encode(values)), replace(fmt, transfer_syntax=syntax))
    assert decoded.values.dtype == fmt.dtype
    assert np.array_equal(decoded.values, values)
    assert [repair[-5:] for repair in decoded.repairs] == (["(E17)"] if name == "jp2" else [])


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name, kind in zip(ENCODERS, ("jpg", "jls", "j2k", "jp2", "j2k", "jxl"), strict=True)],
)
def test_sniff_names_what_a_codestream_is(name: str, kind: str) -> None:
    encoded = ENCODERS[name][1](smooth(GREY16, 12))
    assert sniff(encoded[:64]) == kind
    assert sniff(encoded[:16]) == kind
    assert sniff(encoded[1:17]) == "bin"
    assert sniff(b"") == "bin"


@pytest.mark.parametrize(
    "fmt",
    [GREY8, GREY16, replace(GREY16, signed=True), RGB8, replace(RGB8, bits_allocated=16, bits_stored=16, high_bit=15)],
)
def test_n14_rle_is_by_plane_whatever_the_planar_configuration(fmt: PixelFormat) -> None:
    values = smooth(fmt, fmt.bits_stored - 1) - (500 if fmt.signed else 0)
    size = fmt.dtype.itemsize
    by_byte = values.astype(fmt.dtype).reshape(-1, fmt.samples).T.copy().view(np.uint8).reshape(fmt.samples, -1, size)
    planes = [by_byte[sample, :, byte].tobytes() for sample in range(fmt.samples) for byte in reversed(range(size))]
    for planar in (False, True):
        decoded = decode(rle(planes), replace(fmt, transfer_syntax=RLE, planar=planar))
        assert np.array_equal(decoded.values, values)


def test_n6_single_bit_rle_and_deflated_frames_start_on_a_byte() -> None:
    fmt = replace(GREY8, rows=5, columns=7, bits_allocated=1, bits_stored=1, high_bit=0)
    values = smooth(fmt, 1)
    packed = np.packbits(values.reshape(-1), bitorder="little").tobytes()
    assert np.array_equal(decode(rle([packed]), replace(fmt, transfer_syntax=RLE)).values, values)
    raw = zlib.compressobj(wbits=-15)
    deflated = raw.compress(packed) + raw.flush()
    for data in (deflated, deflated + b"\0", zlib.compress(packed)):
        assert np.array_equal(decode(data, replace(fmt, transfer_syntax=DEFLATED_FRAMES)).values, values)


def test_l3_a_deflated_frame_is_inflated_no_further_than_it_should_reach() -> None:
    bomb = zlib.compress(bytes(200_000_000), 1, wbits=-15)
    fmt = replace(GREY8, transfer_syntax=DEFLATED_FRAMES)
    with pytest.raises(CodecError, match="E21"):
        decode(bomb, fmt)
    with pytest.raises(CodecError, match="inflated"):
        decode(b"\xff" * 100, fmt)


def jpeg(values: np.ndarray, **options: object) -> bytes:
    """Encode a baseline JPEG."""
    return bytes(imagecodecs.jpeg8_encode(values, 95, **options))


def with_segment(stream: bytes, marker: int, body: bytes) -> bytes:
    """Put a marker segment right behind SOI."""
    return stream[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + stream[2:]


def without_segments(stream: bytes) -> bytes:
    """Drop the APPn segments in front of a JPEG."""
    while stream[3] & 0xF0 == 0xE0:
        stream = stream[:2] + stream[4 + struct.unpack_from(">H", stream, 4)[0] :]
    return stream


def colours() -> np.ndarray:
    """Make three flat stripes of colour."""
    values = np.empty((40, 52, 3), np.uint8)
    values[:, :18], values[:, 18:36], values[:, 36:] = (200, 40, 90), (20, 180, 220), (120, 120, 30)
    return values


ADOBE = b"Adobe\0\x64\0\0\0\0"


@pytest.mark.parametrize(
    ("space", "segment", "photometric", "is_rgb"),
    [
        ("YCbCr", "JFIF", "RGB", True),
        ("YCbCr", "", "YBR_FULL_422", True),
        ("YCbCr", "", "RGB", False),
        ("YCbCr", "Adobe 1", "RGB", True),
        ("RGB", "Adobe 0", "YBR_FULL_422", True),
        ("RGB", "", "RGB", True),
        ("RGB ids", "", "YBR_FULL_422", True),
    ],
)
def test_c1_the_colour_space_of_a_jpeg(space: str, segment: str, photometric: str, is_rgb: bool) -> None:
    values = colours()
    stream = without_segments(jpeg(values, colorspace="RGB", outcolorspace=space[:5].split()[0], subsampling="444"))
    if space == "RGB":  # libjpeg marks components of RGB by their letters; make them the usual numbers
        frame, scan = stream.index(b"\xff\xc0"), stream.index(b"\xff\xda")
        plain = bytearray(stream)
        for number in range(3):
            plain[frame + 10 + 3 * number] = plain[scan + 5 + 2 * number] = number + 1
        stream = bytes(plain)
    if segment == "JFIF":
        stream = with_segment(stream, 0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
    elif segment:
        stream = with_segment(stream, 0xEE, ADOBE + bytes([int(segment[-1])]))
    decoded = decode(stream, replace(RGB8, photometric=photometric))
    assert decoded.photometric == "RGB"
    difference = np.abs(decoded.values.astype(int) - values).max()
    assert difference <= 4 if is_rgb else difference > 50


def test_c2_lossless_jpeg_is_not_converted() -> None:
    values = colours()
    stream = with_segment(
        without_segments(imagecodecs.jpeg8_encode(values, lossless=True)), 0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"
    )
    for photometric in ("RGB", "YBR_FULL"):
        decoded = decode(stream, replace(RGB8, transfer_syntax=JPEGLL, photometric=photometric))
        assert decoded.photometric == photometric
        assert np.array_equal(decoded.values, values)


@pytest.mark.parametrize(
    ("mct", "photometric", "becomes"),
    [
        (True, "YBR_RCT", "RGB"),
        (True, "RGB", "RGB"),
        (False, "RGB", "RGB"),
        (False, "YBR_FULL", "YBR_FULL"),
        (False, "YBR_RCT", "RGB"),
    ],
)
def test_c4_the_stream_says_whether_jpeg_2000_transformed_the_colours(
    mct: bool, photometric: str, becomes: str
) -> None:
    values = colours()
    stream = imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True, mct=mct)
    decoded = decode(stream, replace(RGB8, transfer_syntax=J2K, photometric=photometric))
    assert decoded.photometric == becomes
    assert np.array_equal(decoded.values, values)
    assert ("C4" in str(decoded.repairs)) == (not mct and photometric == "YBR_RCT")


@pytest.mark.parametrize("coded_signed", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_c5_pixel_representation_says_whether_jpeg_2000_is_signed(coded_signed: bool, signed: bool) -> None:
    values = smooth(replace(GREY16, bits_stored=16), 16).view("<i2" if coded_signed else "<u2")
    stream = imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True)
    fmt = replace(GREY16, bits_stored=16, high_bit=15, signed=signed, transfer_syntax=J2K)
    decoded = decode(stream, fmt)
    assert np.array_equal(decoded.values, values.view(fmt.dtype))
    assert bool(decoded.repairs) == (coded_signed != signed)


def test_c7_the_sign_of_jpeg_ls_lies_in_bits_stored() -> None:
    values = (smooth(GREY16, 12).astype("<i2") - 2048).astype("<i2")
    stream = imagecodecs.jpegls_encode((values & 0xFFF).astype("<u2"))
    fmt = replace(GREY16, signed=True, transfer_syntax=JPEGLS)
    assert np.array_equal(decode(stream, fmt).values, values)


def test_c9_a_comment_behind_the_last_tile_is_dropped() -> None:
    values = smooth(GREY16, 12)
    stream = imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True)
    assert stream[-2:] == b"\xff\xd9"
    odd = stream[:-2] + b"\xff\x64\0\x0b\0\1PADDING" + b"\xff\xd9"
    decoded = decode(odd, replace(GREY16, transfer_syntax=J2K))
    assert np.array_equal(decoded.values, values)
    assert "C9" in decoded.repairs[0]


def test_c9_the_sample_equals_its_mended_version(corpus: Path | None) -> None:
    if corpus:
        folder = corpus / "pylibjpeg-data" / "JPEG2000Lossless"
        broken, mended = Sample(folder / "966.dcm"), Sample(folder / "966_fixed.dcm")
        values = decode(next(broken.frames())[0], broken.fmt).values
        assert np.array_equal(values, decode(next(mended.frames())[0], mended.fmt).values)


def scramble(plain: bytes) -> bytes:
    """Scramble a JP2 file as Zeiss devices do: the regions in the order in which they are found, then the mask."""
    o = 3 * len(plain) // 5
    places = [(o, o + 253), (993, 1016), (276, 763), (23, 276), (1016, o), (0, 23), (763, 993), (o + 253, len(plain))]
    out, position = bytearray(len(plain)), 0
    for start, stop in places:
        out[start:stop] = plain[position : position + stop - start]
        position += stop - start
    for index in range(0, len(out), 7):
        out[index] ^= 0x5A
    return bytes(out)


def test_c12_scrambled_jpeg_2000_is_recognised_and_undone() -> None:
    values = np.random.default_rng(5).integers(0, 256, (40, 52), np.uint8)
    plain = imagecodecs.jpeg2k_encode(values, codecformat="jp2", reversible=True)
    decoded = decode(scramble(plain), replace(GREY8, transfer_syntax=J2K))
    assert np.array_equal(decoded.values, values)
    assert "C12" in decoded.repairs[0]
    with pytest.raises(CodecError, match="not a JPEG 2000"):
        decode(scramble(plain)[1:], replace(GREY8, transfer_syntax=J2K))
    with pytest.raises(CodecError, match="not a JPEG 2000"):
        decode(scramble(plain)[:1000], replace(GREY8, transfer_syntax=J2K))


@pytest.mark.parametrize("padding", [b"\xff", b"\0\0", b"\0" * 40])
def test_e15_padding_on_both_ends_is_skipped(padding: bytes) -> None:
    values = smooth(GREY8, 8)
    for syntax, encode in ENCODERS.values():
        fmt = replace(GREY8, transfer_syntax=syntax)
        decoded = decode(padding + encode(values) + padding, fmt)
        assert np.array_equal(decoded.values, values)
        assert "E15" in decoded.repairs[0]


@pytest.mark.parametrize("name", [*ENCODERS, "jpeg"])
def test_e16_a_frame_that_is_cut_short_is_an_error(name: str) -> None:
    syntax, encode = ENCODERS.get(name, (JPEG, jpeg))
    stream = bytes(encode(np.random.default_rng(1).integers(0, 256, (40, 52), np.uint8)))
    fmt = replace(GREY8, transfer_syntax=syntax)
    assert decode(stream, fmt).values.shape == (40, 52)
    for part in (0.02, 0.2, 0.5, 0.8, 0.97):
        with pytest.raises(CodecError):
            decode(stream[: int(len(stream) * part)], fmt)


@pytest.mark.parametrize(
    ("options", "fmt"),
    [
        ({"level": 90}, GREY8),
        ({"level": 90, "subsampling": "420"}, RGB8),
        ({"level": 90, "subsampling": "444"}, RGB8),
        ({"lossless": True}, GREY8),
        ({"lossless": True, "bitspersample": 12}, GREY16),
        ({"lossless": True, "predictor": 6}, RGB8),
    ],
)
def test_e16_a_jpeg_that_lost_data_but_not_its_end_is_an_error(options: dict[str, object], fmt: PixelFormat) -> None:
    values = smooth(fmt, fmt.bits_stored)
    stream = bytes(imagecodecs.jpeg8_encode(values, **options))
    fmt = replace(fmt, transfer_syntax=JPEGLL if "lossless" in options else JPEG)
    decode(stream, fmt)
    start = stream.index(b"\xff\xda") + 14
    for kept in (0.1, 0.4, 0.7):
        cut = stream[: start + int((len(stream) - start) * kept)].rstrip(b"\xff") + b"\xff\xd9"
        with pytest.raises(CodecError, match="E16"):
            decode(cut, fmt)


@pytest.mark.parametrize("options", [{"restart_marker_rows": 1}, {"progressive": True}])
def test_e16_a_jpeg_with_a_gap_inside_is_an_error(options: dict[str, int]) -> None:
    values = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=90, **options)
    stream = file.getvalue()
    fmt = replace(GREY8, rows=64, columns=64)
    assert np.abs(decode(stream, fmt).values.astype(int) - np.asarray(Image.open(file))).max() <= 1
    # Take some bytes out in front of the last marker but one: a restart marker, or the start of another scan.
    marker = [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7\xc4\xda]", stream)][-2]
    with pytest.raises(CodecError, match="E16"):
        decode(stream[: marker - 100].rstrip(b"\xff") + stream[marker:], fmt)


def test_e16_grey_at_the_end_of_a_whole_jpeg_is_no_fault() -> None:
    values = colours()
    values[20:] = 128
    for options in ({"level": 90}, {"lossless": True}):
        decode(bytes(imagecodecs.jpeg8_encode(values, **options)), RGB8)


def test_e16_a_jpeg_ls_frame_that_only_lacks_its_end_marker_is_whole() -> None:
    values = smooth(GREY16, 12)
    stream = bytes(imagecodecs.jpegls_encode(values))
    decoded = decode(stream[:-2], replace(GREY16, transfer_syntax=JPEGLS))
    assert np.array_equal(decoded.values, values)
    assert "E16" in decoded.repairs[0]


def test_e16_a_cut_rle_frame_is_an_error() -> None:
    stream = rle([bytes(range(256)) * 8 + bytes(32)])
    fmt = replace(GREY8, transfer_syntax=RLE)
    assert decode(stream, fmt).values.shape == (40, 52)
    for cut in (3, 100, 2000, len(stream) - 65, len(stream) - 10):
        with pytest.raises(CodecError):
            decode(stream[:-cut], fmt)


@pytest.mark.parametrize("name", [*ENCODERS, "jpeg"])
def test_e21_a_frame_of_another_size_is_an_error(name: str) -> None:
    syntax, encode = ENCODERS.get(name, (JPEG, jpeg))
    stream = encode(smooth(GREY8, 8))
    for wrong in (replace(GREY8, rows=41), replace(GREY8, columns=51), replace(RGB8)):
        with pytest.raises(CodecError, match=r"E21"):
            decode(stream, replace(wrong, transfer_syntax=syntax))


def quiet(rows: int, columns: int, fmt: PixelFormat) -> np.ndarray:
    """Draw an image with wide margins, whose ends a run of zeros holds, as most images have."""
    y, x = np.mgrid[:rows, :columns]
    disc = ((y - rows / 2) ** 2 + (x - columns / 2) ** 2 < (min(rows, columns) / 3) ** 2) * (y * 7 + x * 3 + 9)
    planes = [disc * (sample + 1) % (1 << fmt.bits_stored) for sample in range(fmt.samples)]
    return np.stack(planes, -1).reshape((rows, columns, *fmt.shape[2:])).astype(fmt.dtype)


def rle_by_rows(values: np.ndarray) -> bytes:
    """Have pydicom encode a frame: row by row, as PS3.5 G.3.1 has it."""
    rows, columns, samples = (*values.shape, 1)[:3]
    bits = values.itemsize * 8
    return RLELosslessEncoder.encode(
        np.ascontiguousarray(values),
        rows=rows,
        columns=columns,
        samples_per_pixel=samples,
        bits_allocated=bits,
        bits_stored=bits,
        pixel_representation=0,
        number_of_frames=1,
        planar_configuration=0,
        photometric_interpretation="RGB" if samples == 3 else "MONOCHROME2",
        encoding_plugin="pydicom",
    )


def rle_by_planes(values: np.ndarray) -> bytes:
    """Encode a frame of 8 bits by whole planes, as careless encoders do."""
    planes = [np.ascontiguousarray(plane) for plane in np.moveaxis(values.reshape(*values.shape[:2], -1), -1, 0)]
    segments = [bytes(imagecodecs.packbits_encode(plane.tobytes())) for plane in planes]
    places = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    return struct.pack("<16I", len(segments), *places, *[0] * (15 - len(segments))) + b"".join(segments)


@pytest.mark.parametrize("fmt", [GREY8, GREY16, RGB8])
@pytest.mark.parametrize(
    "draw", [quiet, lambda rows, columns, fmt: smooth(replace(fmt, rows=rows, columns=columns), 8)]
)
def test_e21_an_rle_frame_of_any_other_size_is_an_error(
    fmt: PixelFormat, draw: Callable[[int, int, PixelFormat], np.ndarray]
) -> None:
    encoders = [rle_by_rows] if fmt is GREY16 else [rle_by_rows, rle_by_planes]
    for encode in encoders:
        right = draw(fmt.rows, fmt.columns, fmt)
        assert np.array_equal(decode(encode(right), replace(fmt, transfer_syntax=RLE)).values, right)
        for rows in range(36, 45):
            for columns in range(49, 56):
                if rows * columns != fmt.pixels:
                    rule = "E21" if rows * columns > fmt.pixels else "E16"
                    with pytest.raises(CodecError, match=rule):
                        decode(encode(draw(rows, columns, fmt)), replace(fmt, transfer_syntax=RLE))


@pytest.mark.parametrize("padding", [1, 2, 3, 100, 1000])
def test_e21_zeros_behind_the_segments_of_an_rle_frame_are_padding(padding: int) -> None:
    values = smooth(GREY8, 8)
    assert np.array_equal(
        decode(rle_by_rows(values) + bytes(padding), replace(GREY8, transfer_syntax=RLE)).values, values
    )
    with pytest.raises(CodecError, match="E21"):
        decode(rle_by_rows(values) + b"\xff" * 2, replace(GREY8, transfer_syntax=RLE))


@pytest.mark.parametrize("excess", [1, 30, 51, 52, 70])
@pytest.mark.parametrize("by_rows", [True, False])
def test_e21_an_rle_encoder_may_go_on_within_its_last_run(excess: int, by_rows: bool) -> None:
    """Only where every other run keeps to the rows, which proves how long they are, and for less than a row."""
    values = smooth(GREY8, 8)
    values[-1, -20:] = 7
    body = values.tobytes()[:-20]
    segment = rle_by_rows(values[:-1])[64:] if by_rows else bytes(imagecodecs.packbits_encode(body))
    if by_rows:
        segment = segment.rstrip(b"\0") + bytes([31]) + body[-32:]
    stream = struct.pack("<16I", 1, 64, *[0] * 14) + segment + bytes([257 - 20 - excess, 7])
    if by_rows and excess < 52:
        assert np.array_equal(decode(stream, replace(GREY8, transfer_syntax=RLE)).values, values)
    else:
        with pytest.raises(CodecError, match="E21"):
            decode(stream, replace(GREY8, transfer_syntax=RLE))


def test_c6_samples_wider_than_the_header_allows_are_an_error() -> None:
    for name in ("jpeg lossless", "jpeg-ls", "jpeg 2000", "jpeg xl"):
        syntax, encode = ENCODERS[name]
        with pytest.raises(CodecError, match="C6"):
            decode(encode(smooth(GREY16, 12)), replace(GREY8, transfer_syntax=syntax))


def test_l5_a_stream_that_claims_a_huge_picture_never_reaches_a_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jpeg8_decode", "jpegls_decode", "jpeg2k_decode", "jpegxl_decode"):
        monkeypatch.delattr(f"dicomfs.codecs.by_imagecodecs.{name}")
    huge = struct.pack(">HH", 65500, 65500)
    for syntax, stream in (
        (JPEG, jpeg(smooth(GREY8, 8)).replace(struct.pack(">HH", 40, 52), huge, 1)),
        (JPEGLS, bytes(imagecodecs.jpegls_encode(smooth(GREY8, 8))).replace(struct.pack(">HH", 40, 52), huge, 1)),
        (J2K, bytes(ENCODERS["jpeg 2000"][1](smooth(GREY8, 8))).replace(struct.pack(">II", 52, 40), b"\x7f" * 8)),
        (JXL, b"\xff\x0a" + b"\xff" * 60),
    ):
        with pytest.raises(CodecError, match="E21"):
            decode(stream, replace(GREY8, transfer_syntax=syntax))


def test_e22_the_spectral_selection_of_a_sequential_scan_is_corrected() -> None:
    stream = jpeg(smooth(GREY8, 8))
    scan = stream.index(b"\xff\xda")
    wrong = bytearray(stream)
    assert wrong[scan + 7 : scan + 10] == b"\0\x3f\0"
    wrong[scan + 8] = 0
    decoded = decode(bytes(wrong), GREY8)
    assert np.array_equal(decoded.values, decode(stream, GREY8).values)
    assert "E22" in decoded.repairs[0]


@pytest.mark.parametrize("name", ENCODERS)
def test_e24_content_overrules_the_transfer_syntax(name: str) -> None:
    syntax, encode = ENCODERS[name]
    values = smooth(GREY8, 8)
    for declared in (JPEG, JPEGLS, J2K, JXL, RLE):
        decoded = decode(encode(values), replace(GREY8, transfer_syntax=declared))
        assert np.array_equal(decoded.values, values)
        assert ("E24" in str(decoded.repairs)) == (CODECS[declared].extension != CODECS[syntax].extension)


def test_encapsulated_uncompressed_is_little_endian() -> None:
    values = smooth(GREY16, 12)
    fmt = replace(GREY16, transfer_syntax="1.2.840.10008.1.2.1.98")
    assert np.array_equal(decode(values.tobytes(), fmt).values, values)


def test_nothing_known_is_an_error_that_says_so() -> None:
    with pytest.raises(CodecError, match="not a JPEG baseline codestream"):
        decode(b"\x12\x34" * 100, GREY8)
    with pytest.raises(CodecError):
        decode(b"", GREY8)


def test_every_codec_works_here() -> None:
    assert [codec.name for codec in CODECS.values() if codec.missing] == []


# Hostile input: a decoder's failure is a CodecError and nothing else.

SEEDS = [
    (replace(fmt, transfer_syntax=syntax), bytes(encode(smooth(fmt, fmt.bits_stored))))
    for syntax, encode in (*ENCODERS.values(), (JPEG, jpeg))
    for fmt in (GREY8, RGB8, *([GREY16] if syntax != JPEG else []))
] + [(replace(GREY8, transfer_syntax=RLE), rle([bytes(40 * 52)]))]


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8), st.floats(0, 1))
@settings(deadline=None, max_examples=600)
def test_mutated_frames_decode_or_raise_codec_error(
    seed: tuple[PixelFormat, bytes], changes: list[tuple[float, int]], kept: float
) -> None:
    fmt, stream = seed
    mutated = bytearray(stream)
    for place, value in changes:
        # Cubing puts most changes into the header, where they do most.
        mutated[int(place**3 * (len(mutated) - 1))] = value
    data = bytes(mutated[: int(len(mutated) * kept) if kept < 0.5 else len(mutated)])
    try:
        decoded = decode(data, fmt)
    except CodecError:
        return
    assert decoded.values.shape == fmt.shape
    assert decoded.values.dtype == fmt.dtype


def streams_of(path: Path) -> list[bytes]:
    """Give the JPEG frames of a file."""
    sample = opened(path)
    streams = [bytes(data) for data, _ in sample.frames()] if sample else []
    return [stream for stream in streams if stream.startswith(b"\xff\xd8") and jpeg_stream.frame_marker(stream) != 0xF7]


def test_the_first_scan_tells_of_all() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    written = [io.BytesIO() for _ in range(3)]
    Image.fromarray(picture).save(written[0], "JPEG")
    Image.fromarray(picture).save(written[1], "JPEG", progressive=True)
    Image.fromarray(picture).save(written[2], "JPEG", restart_marker_rows=1)
    streams = [file.getvalue() for file in written] + [stream for path in samples() for stream in streams_of(path)]
    assert len(streams) > 20
    kinds = set()
    for stream in streams:
        header = jpeg_stream.read_header(stream)
        scans, (headers, _) = jpeg_stream.scans_of(stream, header.components), jpeg_stream.scan_headers(stream)
        assert scans.first == headers[0]
        assert scans.one == (len(headers) == 1)
        assert scans.restarts == (b"\xff\xdd\0\4" in stream[: headers[-1]])
        kinds.add((scans.one, scans.restarts))
    assert kinds >= {(True, False), (False, False), (True, True)}
    assert jpeg_stream.scans_of(b"\xff\xd8\xff\xd9", 1) == jpeg_stream.Scans(0, None, False, False)
    assert jpeg_stream.scans_of(written[0].getvalue()[:100], 3).first is None
