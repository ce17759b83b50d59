"""TIFF 6.0 with the values of one frame as they are: little endian, uncompressed, in one strip after the directory.

Only this module lays out TIFF. The head has the same length for all frames of an object, so that the size of a file
follows from the shape of the frame alone.
"""

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

PALETTE_ENTRIES = 256
"""Colours of a palette, which goes with 8-bit values only."""

GREY, RGB, PALETTE, CMYK = 1, 2, 3, 5
"""Photometric interpretations (TIFF 6.0, section 8 and Appendix A). White is the greatest value in all of them."""

NO_UNIT, CENTIMETRE = 1, 3

_SHORT, _LONG, _RATIONAL = 3, 4, 5
_CODES = {_SHORT: "H", _LONG: "L", _RATIONAL: "LL"}
# Sample formats (section 19).
_FORMATS = {"u": 1, "i": 2, "f": 3}
_COLOUR_MAP = 320
# What the head needs at most, with values on even places, and the colours of a palette after that.
_HEAD, _COLOURS = 256, 3 * 2 * PALETTE_ENTRIES


@dataclass(frozen=True, slots=True)
class Resolution:
    """Pixels per *unit*, across and down."""

    across: Fraction = Fraction(1)
    down: Fraction = Fraction(1)
    unit: int = NO_UNIT


def head_size(photometric: int) -> int:
    """Compute the bytes in front of the values."""
    return _HEAD + (_COLOURS if photometric == PALETTE else 0)


def tiff_head(
    rows: int,
    columns: int,
    samples: int,
    dtype: np.dtype[np.generic],
    photometric: int,
    resolution: Resolution,
    palette: bytes = b"",
) -> bytes:
    """Make what stands in front of the values of a frame, which are little endian and interleaved.

    *palette* has 256 red, then green, then blue entries of 16 bits, little endian.
    """
    bits = dtype.itemsize * 8
    colours = {RGB: 3, CMYK: 4}.get(photometric, 1)
    tags: dict[int, tuple[int, tuple[int, ...]]] = {
        256: (_LONG, (columns,)),
        257: (_LONG, (rows,)),
        258: (_SHORT, (bits,) * samples),
        259: (_SHORT, (1,)),  # not compressed
        262: (_SHORT, (photometric,)),
        273: (_LONG, (head_size(photometric),)),
        277: (_SHORT, (samples,)),
        278: (_LONG, (rows,)),  # all rows in one strip
        279: (_LONG, (rows * columns * samples * dtype.itemsize,)),
        282: (_RATIONAL, _rational(resolution.across)),
        283: (_RATIONAL, _rational(resolution.down)),
        284: (_SHORT, (1,)),  # interleaved
        296: (_SHORT, (resolution.unit,)),
        339: (_SHORT, (_FORMATS[dtype.kind],) * samples),
    }
    if samples > colours:
        tags[338] = (_SHORT, (0,) * (samples - colours))  # extra samples of no stated meaning
    entries, values = [], b""
    # The directory follows the 8 bytes of the header; values that do not fit into an entry follow the directory.
    count = len(tags) + (photometric == PALETTE)
    after = 8 + 2 + 12 * count + 4
    for tag in sorted(tags):
        kind, numbers = tags[tag]
        packed = struct.pack(f"<{_CODES[kind] * (len(numbers) // len(_CODES[kind]))}", *numbers)
        if len(packed) > 4:
            place, values = after + len(values), values + packed
            packed = struct.pack("<L", place)
        entries.append(struct.pack("<HHL4s", tag, kind, len(numbers) // len(_CODES[kind]), packed))
    if photometric == PALETTE:
        colour_map = struct.pack("<HHLL", _COLOUR_MAP, _SHORT, len(palette) // 2, _HEAD)
        entries = sorted((*entries, colour_map), key=lambda entry: struct.unpack_from("<H", entry))
    head = struct.pack("<2sHLH", b"II", 42, 8, count) + b"".join(entries) + bytes(4) + values
    return head.ljust(_HEAD, b"\0") + palette


def resolution_of(spacings: Iterable[tuple[float, ...]]) -> Resolution:
    """Turn distances between rows and between columns in mm into pixels per centimetre.

    The first pair that can be the size of a pixel is taken; without one there is no unit.
    """
    for spacing in spacings:
        if len(spacing) == 2 and all(1e-6 < distance < 1e6 for distance in spacing):
            down, across = (10 / Fraction(distance).limit_denominator(10**9) for distance in spacing)
            return Resolution(across, down, CENTIMETRE)
    return Resolution()


def _rational(number: Fraction) -> tuple[int, int]:
    """Return numerator and denominator in 32 bits each."""
    near = number.limit_denominator(0xFFFFFFFF // max(1, math.ceil(number)))
    return near.numerator, near.denominator
