"""What a PNG says besides its pixels: how large they are (pHYs), and what their colours mean (iCCP).

Only this module makes ancillary chunks. Every picture has a pHYs chunk, which may say nothing: so the size of a
file does not depend on what the header says of its frame.
"""

import math
import struct
from collections.abc import Iterator
from fractions import Fraction

from dicomfs.dicom.elements import DataSet
from dicomfs.formats.png import chunk, stored, stored_size
from dicomfs.image.geometry import plane_of

PHYSICAL_SIZE = 21
"""Bytes of a pHYs chunk (PNG 11.3.5.3)."""

# Imager Pixel Spacing and Nominal Scanned Pixel Spacing: at the detector or on the film, not in the patient.
_DEVICE_SPACINGS = (0x00181164, 0x00182010)
_ASPECT_RATIO = 0x00280034
_UNKNOWN, _METRE = 0, 1
_MOST = 0x7FFFFFFF
_MM_PER_METRE = 1000.0
# What numbers of a ratio are multiplied with when they are not whole.
_FINE = 10000.0
# No pixel is so much longer than wide, or wider than long.
_FINEST = 10000

# Keyword of the profile and compression method 0 (PNG 11.3.3.3).
_PROFILE_HEAD = b"ICC profile\0\0"
_CHUNK_FRAME = 12


def physical(dataset: DataSet, frame: int, shrunk: tuple[float, float] = (1.0, 1.0)) -> bytes:
    """Make the pHYs chunk of *frame* (from 0): pixels per metre, else their aspect ratio, else 1 to 1 (G19).

    *shrunk* is how many rows and columns of the frame one pixel of the picture stands for.
    """
    for spacing in spacings(dataset, frame):
        # Distance of rows first, which is the height of a pixel (PS3.3 10.7.1.3).
        counts = [_MM_PER_METRE / (mm * factor) for mm, factor in zip(spacing, shrunk, strict=False) if mm > 0]
        if len(counts) == 2 and all(0.5 <= count <= _MOST for count in counts):
            return _physical(round(counts[1]), round(counts[0]), _METRE)
    ratio = _pair(dataset, _ASPECT_RATIO) or (1.0, 1.0)
    height, width = (part * factor for part, factor in zip(ratio, shrunk, strict=True))
    if not (height.is_integer() and width.is_integer()):
        height, width = height * _FINE, width * _FINE
    if not (1 <= height <= _MOST and 1 <= width <= _MOST):
        height = width = 1
    # The wider a pixel is, the more of them lie below each other in a length that is as long across.
    return _physical(round(height), round(width), _UNKNOWN)


def shaped(width: Fraction, height: Fraction) -> bytes:
    """Make the pHYs chunk of pixels of such a shape; 1 to 1 where that is out of all proportion."""
    ratio = (width / height).limit_denominator(_FINEST)
    if not 1 / Fraction(_FINEST) <= ratio <= _FINEST:
        ratio = Fraction(1)
    return _physical(ratio.denominator, ratio.numerator, _UNKNOWN)


def spacings(dataset: DataSet, frame: int) -> Iterator[tuple[float, ...]]:
    """Give what the file says of the distances between rows and between columns in mm, the most trusted first."""
    yield plane_of(dataset, frame).spacing
    for tag in _DEVICE_SPACINGS:
        yield _pair(dataset, tag)


def profile_size(length: int) -> int:
    """Compute the bytes of an iCCP chunk with a profile of *length* bytes."""
    return _CHUNK_FRAME + len(_PROFILE_HEAD) + stored_size(length)


def profile_chunk(profile: bytes) -> bytes:
    """Make the iCCP chunk; the profile is copied and never looked into (G18, L9)."""
    return chunk(b"iCCP", _PROFILE_HEAD + stored(profile))


def _physical(across: int, down: int, unit: int) -> bytes:
    return chunk(b"pHYs", struct.pack(">IIB", across, down, unit))


def _pair(dataset: DataSet, tag: int) -> tuple[float, ...]:
    """Read two positive numbers; () when these are not what the element holds."""
    numbers = dataset.numbers(tag)
    sound = len(numbers) == len(dataset.texts(tag)) == 2 and all(0 < number < math.inf for number in numbers)
    return numbers if sound else ()
