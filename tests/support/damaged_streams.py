"""Frames of every kind of codestream, damaged as disks and networks do it, and who notices.

Pictures are made here, so that what each frame should hold is known. A frame counts where a decoder that looks for
nothing either declines it or makes another picture of it.
"""

import io
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image
from simplejpeg import decode_jpeg

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.registry import CodecError, decode
from support.builders import dicom, encapsulated, image

SIDE = 160
TS = "1.2.840.10008.1.2"
GREY = PixelFormat(SIDE, SIDE, 1, 8, 8, 7, False, "MONOCHROME2", False, f"{TS}.4.50")
GREY12 = replace(GREY, bits_allocated=16, bits_stored=12, high_bit=11)
GREY16 = replace(GREY, bits_allocated=16, bits_stored=16, high_bit=15)
COLOUR = replace(GREY, samples=3, photometric="YBR_FULL_422")
_DECLINED = (RuntimeError, ValueError, TypeError, OverflowError, MemoryError, IndexError, OSError, zlib.error)


def picture(seed: int, bits: int = 8, samples: int = 1) -> np.ndarray:
    """Draw something like a radiograph: soft shapes, edges, noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    planes = []
    for _ in range(samples):
        plane = 0.3 + 0.2 * np.sin(3 * x + random.uniform(0, 6)) * np.cos(4 * y + random.uniform(0, 6))
        for _ in range(6):
            u, v, r = random.uniform(0.1, 0.9), random.uniform(0.1, 0.9), random.uniform(0.03, 0.2)
            plane = plane + random.uniform(-0.2, 0.4) * ((x - u) ** 2 + (y - v) ** 2 < r * r)
        planes.append(plane + random.normal(0, 0.008, plane.shape))
    values = np.clip(np.stack(planes, -1), 0.02, 0.98) * ((1 << bits) - 1)
    values = values.astype(np.uint8 if bits <= 8 else np.uint16)
    return values[..., 0] if samples == 1 else values


def pillow(values: np.ndarray, **options: object) -> bytes:
    """Encode with Pillow's libjpeg."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def lossless(values: np.ndarray, bits: int) -> bytes:
    """Encode lossless JPEG."""
    space = "RGB" if values.ndim == 3 else None
    return bytes(
        imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=bits, colorspace=space, outcolorspace=space)
    )


def rle(values: np.ndarray) -> bytes:
    """Encode RLE by rows (PS3.5 G.3.1)."""
    size = values.itemsize
    octets = values.view(np.uint8).reshape(SIDE, SIDE, -1, size)
    planes = [octets[:, :, sample, place] for sample in range(octets.shape[2]) for place in reversed(range(size))]
    segments = [bytes(imagecodecs.packbits_encode(np.ascontiguousarray(plane))) for plane in planes]
    segments = [segment + bytes(len(segment) % 2) for segment in segments]
    starts = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    return struct.pack("<16L", len(segments), *starts, *[0] * (15 - len(starts))) + b"".join(segments)


def deflate(values: np.ndarray) -> bytes:
    """Deflate (PS3.5 A.4.13)."""
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(values.tobytes()) + deflater.flush()


def inflate(stream: bytes) -> np.ndarray:
    """Inflate as far as a frame goes."""
    data = zlib.decompressobj(-15).decompress(stream, SIDE * SIDE)
    if len(data) < SIDE * SIDE:
        raise ValueError
    return np.frombuffer(data, np.uint8)


@dataclass(frozen=True)
class Kind:
    """A kind of codestream: how it is encoded, and decoded by who looks for nothing."""

    name: str
    fmt: PixelFormat
    encode: Callable[[np.ndarray], bytes]
    lenient: Callable[[bytes], np.ndarray]
    most: float
    """Per cent of damaged frames that may stay unnoticed on average over all damages."""
    dcmtk: str = ""
    gdcm: bool = False
    warnings: bool = False

    def draw(self, seed: int) -> np.ndarray:
        """Draw a picture of this format."""
        return picture(seed, self.fmt.bits_stored, self.fmt.samples)


def _jpeg(name: str, fmt: PixelFormat, encode: Callable[[np.ndarray], bytes], most: float, syntax: int) -> Kind:
    fmt = replace(fmt, transfer_syntax=f"{TS}.4.{syntax}")
    gdcm = fmt.bits_stored != 12 or "lossless" in name  # it warns of sound frames of lossy 12-bit JPEG
    return Kind(name, fmt, encode, imagecodecs.jpeg8_decode, most, "dcmdjpeg", gdcm, warnings=True)


def _of(fmt: PixelFormat, syntax: str, **other: object) -> PixelFormat:
    return replace(fmt, transfer_syntax=f"{TS}.{syntax}", **other)


def _j2k(values: np.ndarray, **options: object) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(values, codecformat="j2k", **options))


_RGB = replace(COLOUR, photometric="RGB")
KINDS = [
    _jpeg("JPEG grey", GREY, pillow, 14, 50),
    _jpeg("JPEG grey, restarts", GREY, lambda v: pillow(v, restart_marker_rows=1), 14, 50),
    _jpeg("JPEG 4:4:4", COLOUR, lambda v: pillow(v, subsampling=0), 14, 50),
    _jpeg("JPEG 4:2:0", COLOUR, lambda v: pillow(v, subsampling=2), 14, 50),
    _jpeg("JPEG 4:2:0, restarts", COLOUR, lambda v: pillow(v, subsampling=2, restart_marker_rows=1), 14, 50),
    _jpeg("JPEG progressive", GREY, lambda v: pillow(v, progressive=True), 14, 55),
    _jpeg("JPEG 12 bit", GREY12, lambda v: bytes(imagecodecs.jpeg8_encode(v, 90, bitspersample=12)), 18, 51),
    _jpeg("JPEG lossless 8", GREY, lambda v: lossless(v, 8), 12, 70),
    _jpeg("JPEG lossless RGB", _RGB, lambda v: lossless(v, 8), 12, 70),
    _jpeg("JPEG lossless 12", GREY12, lambda v: lossless(v, 12), 18, 70),
    _jpeg("JPEG lossless 16", GREY16, lambda v: lossless(v, 16), 22, 70),
    Kind("JPEG-LS 8", _of(GREY, "4.80"), imagecodecs.jpegls_encode, imagecodecs.jpegls_decode, 2, "dcmdjpls"),
    Kind("JPEG-LS 16", _of(GREY16, "4.80"), imagecodecs.jpegls_encode, imagecodecs.jpegls_decode, 3, "dcmdjpls"),
    Kind(
        "JPEG 2000 lossless",
        _of(GREY, "4.90"),
        lambda v: _j2k(v, reversible=True),
        imagecodecs.jpeg2k_decode,
        3,
        gdcm=True,
    ),
    # A frame of 1 KB, in which every bit counts, and one of the quality that is used for diagnosis.
    Kind("JPEG 2000 lossy", _of(GREY, "4.91"), lambda v: _j2k(v, level=38), imagecodecs.jpeg2k_decode, 12, gdcm=True),
    Kind("JPEG 2000 fine", _of(GREY, "4.91"), lambda v: _j2k(v, level=50), imagecodecs.jpeg2k_decode, 4, gdcm=True),
    Kind(
        "JPEG 2000 colour",
        _of(_RGB, "4.90", photometric="YBR_RCT"),
        lambda v: _j2k(v, reversible=True, mct=True),
        imagecodecs.jpeg2k_decode,
        6,
        gdcm=True,
    ),
    Kind("HTJ2K", _of(GREY, "4.201"), imagecodecs.htj2k_encode, imagecodecs.jpeg2k_decode, 30),
    Kind(
        "JPEG XL",
        _of(GREY, "4.110"),
        lambda v: imagecodecs.jpegxl_encode(v, lossless=True),
        imagecodecs.jpegxl_decode,
        5,
    ),
    Kind("RLE 16", _of(GREY16, "5"), rle, lambda s: _lenient_rle(s, 2), 16, "dcmdrle", gdcm=True),
    Kind("RLE colour", _of(_RGB, "5"), rle, lambda s: _lenient_rle(s, 3), 16, "dcmdrle", gdcm=True),
    Kind("deflated", _of(GREY, "8.1"), deflate, inflate, 12),
]


def _lenient_rle(stream: bytes, count: int) -> np.ndarray:
    """Decode the segments of an RLE frame, as far as each has what a plane needs."""
    segments, *offsets = struct.unpack_from("<16L", stream)
    bounds = [*offsets[:count], len(stream)]
    if segments != count or bounds[0] < 64 or bounds != sorted(bounds):
        raise ValueError
    planes = []
    for start, stop in pairwise(bounds):
        plane = imagecodecs.packbits_decode(stream[start:stop])[: SIDE * SIDE]
        if len(plane) < SIDE * SIDE:
            raise ValueError
        planes.append(np.frombuffer(plane, np.uint8))
    return np.stack(planes)


# Damages


def _flip(data: bytearray, place: int, other: bytes) -> None:
    data[place] ^= 1 << place % 8


def _zero(data: bytearray, place: int, other: bytes) -> None:
    data[place : place + 512] = bytes(len(data[place : place + 512]))


def _foreign(data: bytearray, place: int, other: bytes) -> None:
    length = len(data[place : place + 512])
    start = len(other) // 3
    data[place : place + length] = other[start : start + length]


def _remove(data: bytearray, place: int, other: bytes) -> None:
    del data[place : place + 512]


def _insert(data: bytearray, place: int, other: bytes) -> None:
    data[place:place] = other[len(other) // 3 :][:512]


def _swap(data: bytearray, place: int, other: bytes) -> None:
    """Exchange two blocks that follow each other, of 4 KiB where there is so much."""
    size = min(4096, (len(data) - place) // 2)
    data[place : place + 2 * size] = data[place + size : place + 2 * size] + data[place : place + size]


def _cut(part: float) -> Callable[[bytearray, int, bytes], None]:
    def cut(data: bytearray, place: int, other: bytes) -> None:
        del data[int(len(data) * (1 - part)) :]

    return cut


DAMAGES: dict[str, Callable[[bytearray, int, bytes], None]] = {
    "flip": _flip,
    "zero": _zero,
    "foreign": _foreign,
    "remove": _remove,
    "insert": _insert,
    "swap": _swap,
    "cut 1": _cut(0.01),
    "cut 10": _cut(0.1),
}


def damaged(kind: Kind, frames: int, places: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Give each damage's name, the frame that it was done to, and what became of it."""
    random = np.random.default_rng(len(kind.name))
    streams = [bytes(kind.encode(kind.draw(seed))) for seed in range(frames + 1)]
    for frame in range(frames):
        stream, other = streams[frame], streams[frame + 1]
        for name, act in DAMAGES.items():
            for _ in range(1 if name.startswith("cut") else places):
                data = bytearray(stream)
                act(data, int(random.integers(16, len(data) - 16)), other)
                if bytes(data) != stream:
                    yield name, stream, bytes(data)


# Who notices


def differs(kind: Kind, stream: bytes, data: bytes) -> bool:
    """Whether a decoder that looks for nothing declines *data*, or makes another picture of it."""
    try:
        return not np.array_equal(kind.lenient(data), kind.lenient(stream))
    except _DECLINED:
        return True


def we_notice(kind: Kind, data: bytes) -> bool:
    """Whether the frame is an error here."""
    try:
        decode(data, kind.fmt)
    except CodecError:
        return True
    return False


def unnoticed(kind: Kind, stream: bytes, data: bytes) -> bool:
    """Whether what we make of *data* is another picture, without a word."""
    try:
        return not np.array_equal(decode(data, kind.fmt).values, decode(stream, kind.fmt).values)
    except CodecError:
        return False


def libjpeg_warns(kind: Kind, data: bytes) -> bool:
    """Whether libjpeg-turbo declines a JPEG or warns; it is told of 8 bits, for which alone there is a binding."""
    eight = bytearray(data)
    for marker in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2", b"\xff\xc3"):
        place = data.find(marker + b"\0")
        if place >= 0:
            eight[place + 4] = 8
    try:
        values = decode_jpeg(bytes(eight), "RGB" if kind.fmt.samples == 3 else "GRAY", strict=True)
    except ValueError:
        return True
    return values.shape[:2] != (SIDE, SIDE)


def program_warns(kind: Kind, data: bytes, command: list[str], folder: Path) -> bool:
    """Whether a program that decompresses a file, as *command* calls it, declines a frame or says anything."""
    fmt = kind.fmt
    elements = image(
        SIDE,
        SIDE,
        encapsulated([data]),
        samples=fmt.samples,
        bits=fmt.bits_allocated,
        stored=fmt.bits_stored,
        photometric=fmt.photometric,
        vr="OB",
    )
    source, plain = folder / "damaged.dcm", folder / "plain.dcm"
    source.write_bytes(dicom(elements, fmt.transfer_syntax))
    plain.unlink(missing_ok=True)
    done = subprocess.run([*command, source, plain], capture_output=True, check=False, timeout=60)
    return bool(done.returncode or done.stdout or done.stderr)


@dataclass
class Row:
    """What became of the damaged frames of one kind."""

    tries: int = 0
    different: int = 0
    ours: int = 0
    libjpeg: int | None = None
    dcmtk: int | None = None
    gdcm: int | None = None
    asked: int = 0
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Per cent unnoticed by us, all damages alike."""
        return 100 * sum(self.shares.values()) / max(1, len(self.shares))


@dataclass
class DamageTable:
    """Damaged frames by kind."""

    rows: dict[str, Row] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Print it."""
        head = f"{'kind':<22}{'damaged':>8}{'different':>10}{'by us':>7}{'libjpeg-turbo':>14}{'DCMTK':>7}{'GDCM':>6}"
        yield f"{head}{'of':>5}  unnoticed by us, mean"
        for name, row in self.rows.items():
            others = "".join(
                f"{'-' if count is None else count:>{width}}"
                for count, width in ((row.libjpeg, 14), (row.dcmtk, 7), (row.gdcm, 6), (row.asked or None, 5))
            )
            yield f"{name:<22}{row.tries:>8}{row.different:>10}{row.ours:>7}{others}  {row.mean:.1f} %"
