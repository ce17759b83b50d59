"""8-bit images as PNG files whose length is known before any pixel is: the only writer of PNG.

The image data are deflated without compression (stored blocks of RFC 1951 3.2.4), so that the length of the
file follows from the shape of the image alone.
"""

import struct
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from isal import isal_zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"

BLOCK = 65535
"""Most bytes that a stored deflate block holds (RFC 1951 3.2.4)."""

FRAME = 57
"""Bytes of the signature, IHDR, the head and check sum of IDAT, and IEND."""

GREY, RGB = 0, 2

PHYSICAL_SIZE = 21
"""Bytes of a pHYs chunk (PNG 11.3.5.3)."""
UNKNOWN, METRE = 0, 1
"""Units of a pHYs chunk: only the ratio of the sides is stated, or pixels per metre."""
LONGEST_SIDE = 0x7FFFFFFF
"""The largest number of a pHYs chunk."""

# Ratio of the sides of a pixel beyond which it is a mistake.
_MAX_RATIO = 10000
# Keyword of the profile and compression method 0 (PNG 11.3.3.3).
_PROFILE_HEAD = b"ICC profile\0\0"
_CHUNK_FRAME = 12
_KEYWORD = b"Comment\0"
# After the signature and IHDR, and the head of the chunk itself.
_TEXT_START = 8 + 25 + 8


def png_size(rows: int, columns: int, samples: int, ancillary: int = 0) -> int:
    """Compute the bytes of the PNG of an 8-bit image; *ancillary* is the bytes of its further chunks."""
    return FRAME + stored_size(rows * (1 + columns * samples)) + ancillary


def stored_size(length: int) -> int:
    """Compute the bytes of a zlib stream of *length* bytes, at least 1, in stored blocks."""
    return 2 + 5 * -(-length // BLOCK) + length + 4


def stored(data: bytes) -> bytes:
    """Make *data*, at least 1 byte, a zlib stream of stored blocks: the same everywhere, and of known size."""
    stream = np.empty(stored_size(len(data)), np.uint8)
    _store(np.frombuffer(data, np.uint8), stream)
    return stream.tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Frame *data* as one chunk of type *kind* (PNG 5.3)."""
    return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", isal_zlib.crc32(data, isal_zlib.crc32(kind)))


def text_size(length: int) -> int:
    """Compute the bytes of a text chunk of *length* bytes."""
    return _CHUNK_FRAME + len(_KEYWORD) + length


def text_chunk(text: bytes) -> bytes:
    """Make a text chunk, of Latin-1 without zeros (PNG 11.3.4.3)."""
    return chunk(b"tEXt", _KEYWORD + text)


def text_of(file: bytes, length: int) -> bytes:
    """Return the text of *length* bytes of a PNG whose first chunk after IHDR is that of `text_chunk`."""
    start = _TEXT_START + len(_KEYWORD)
    return file[start : start + length]


def write_png(picture: np.ndarray, chunks: Sequence[bytes] = ()) -> memoryview:
    """Write *picture* (uint8, rows x columns or rows x columns x 3) with *chunks* between IHDR and IDAT."""
    rows, columns = picture.shape[:2]
    samples = 1 if picture.ndim == 2 else picture.shape[2]
    lines = np.empty((rows, 1 + columns * samples), np.uint8)
    lines[:, 0] = 0  # filter type None
    lines[:, 1:] = picture.reshape(rows, columns * samples)
    ancillary = b"".join(chunks)
    file = np.empty(png_size(rows, columns, samples, len(ancillary)), np.uint8)
    colour = GREY if samples == 1 else RGB
    deflated = len(file) - FRAME - len(ancillary)
    head = b"".join(
        (
            SIGNATURE,
            chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, colour, 0, 0, 0)),
            ancillary,
            struct.pack(">I4s", deflated, b"IDAT"),
        )
    )
    start = len(head)
    file[:start] = np.frombuffer(head, np.uint8)
    _store(lines.reshape(-1), file[start : start + deflated])
    check = isal_zlib.crc32(file[start - 4 : start + deflated].data)
    tail = struct.pack(">I", check) + chunk(b"IEND", b"")
    file[start + deflated :] = np.frombuffer(tail, np.uint8)
    return file.data


def shape_chunk(width: Fraction, height: Fraction) -> bytes:
    """Make the pHYs chunk of pixels of such a shape; 1 to 1 where that is out of all proportion."""
    ratio = (width / height).limit_denominator(_MAX_RATIO)
    if not 1 / Fraction(_MAX_RATIO) <= ratio <= _MAX_RATIO:
        ratio = Fraction(1)
    return physical_chunk(ratio.denominator, ratio.numerator, UNKNOWN)


def profile_size(length: int) -> int:
    """Compute the bytes of an iCCP chunk with a profile of *length* bytes."""
    return _CHUNK_FRAME + len(_PROFILE_HEAD) + stored_size(length)


def profile_chunk(profile: bytes) -> bytes:
    """Make the iCCP chunk; the profile is copied and never looked into (G18, L9)."""
    return chunk(b"iCCP", _PROFILE_HEAD + stored(profile))


def physical_chunk(across: int, down: int, unit: int) -> bytes:
    """Make a pHYs chunk of so many pixels across and down, in METRE or, as a ratio, UNKNOWN (PNG 11.3.5.3)."""
    return chunk(b"pHYs", struct.pack(">IIB", across, down, unit))


def _store(data: np.ndarray, target: np.ndarray) -> None:
    """Lay *data* into *target* as a zlib stream of stored blocks."""
    target[:2] = 0x78, 0x01
    full, rest = divmod(len(data), BLOCK)
    if rest == 0:
        full, rest = full - 1, BLOCK  # the last block is marked, so it is always laid by itself
    middle = 2 + full * (5 + BLOCK)
    blocks = target[2:middle].reshape(full, 5 + BLOCK)
    blocks[:, :5] = 0, 0xFF, 0xFF, 0, 0
    blocks[:, 5:] = data[: full * BLOCK].reshape(full, BLOCK)
    target[middle : middle + 5] = np.frombuffer(struct.pack("<BHH", 1, rest, rest ^ 0xFFFF), np.uint8)
    target[middle + 5 : -4] = data[full * BLOCK :]
    target[-4:] = np.frombuffer(struct.pack(">I", isal_zlib.adler32(data.data)), np.uint8)
