"""Samples out of native frames: bit packing, byte order, planes and subsampling (PS3.5 8.1 and Annex D).

Only this module knows the layout of uncompressed samples in bytes, and how a stored value is cut out of the bits
allocated for it. Codecs whose output is a native frame (RLE, deflate) end here too.
"""

import numpy as np

from dicomfs.codecs.bitstream import CodecError
from dicomfs.codecs.pixel_format import PixelFormat

Buffer = bytes | memoryview


def unpack(data: Buffer, fmt: PixelFormat, bit_offset: int = 0) -> np.ndarray:
    """Unpack one native frame that begins *bit_offset* bits into *data*; return its stored values, shape fmt.shape.

    Where 16-bit words are swapped (big endian OW), *data* begins at a word, so *bit_offset* may be up to 15.
    Raises CodecError when *data* is too short.
    """
    needed = bit_offset + fmt.frame_bits
    if len(data) * 8 < needed:
        raise CodecError(f"the frame is cut short: {len(data)} of {-(-needed // 8)} bytes (N3)")
    count = fmt.frame_bits // fmt.bits_allocated
    if fmt.big_endian:
        data = _little_endian(data, fmt)
    if fmt.bits_allocated == 1:
        samples = _bits(data, bit_offset, count)
    elif fmt.bits_allocated == 12:
        samples = _twelve(data, bit_offset, count)
    else:
        kind = "f" if fmt.real else "u"
        samples = np.frombuffer(data, f"<{kind}{fmt.bits_allocated // 8}", count, bit_offset // 8)
    return stored_values(arrange(samples, fmt), fmt)


def _little_endian(data: Buffer, fmt: PixelFormat) -> bytes:
    """Reverse big endian words: 16-bit words for packed and 8-bit samples in OW, whole samples otherwise.

    A 32-bit sample in OW is swapped as a whole (PS3.5 8.1.1 leaves it open; archives agree on it, N5).
    """
    size = fmt.word if fmt.bits_allocated in (1, 8, 12) else fmt.bits_allocated // 8
    if size == 1:
        return bytes(data)
    if len(data) % size:
        raise CodecError("the frame ends inside a 16-bit word (N4)")
    words = len(data) // size
    return np.frombuffer(data, f">u{size}", words).astype(f"<u{size}").tobytes()


def _bits(data: Buffer, bit_offset: int, count: int) -> np.ndarray:
    """Unpack *count* single bits, least significant first (PS3.5 8.1.1), to 0 and 1."""
    packed = np.frombuffer(data, np.uint8, -(-(bit_offset + count) // 8))
    return np.unpackbits(packed, bitorder="little")[bit_offset : bit_offset + count]


def _twelve(data: Buffer, bit_offset: int, count: int) -> np.ndarray:
    """Unpack *count* samples of 12 bits, two in three bytes, least significant bits first (PS3.5 Annex D)."""
    # A frame that starts in the middle of a byte starts with the second sample of a pair, one byte into its three.
    start, skipped = bit_offset // 8, (bit_offset % 8) // 4
    pairs = (skipped + count + 1) // 2
    triple = np.zeros((pairs, 3), np.uint16)
    present = np.frombuffer(data, np.uint8)[start : start + 3 * pairs - skipped]
    triple.reshape(-1)[skipped : skipped + len(present)] = present  # an odd last sample has two bytes only
    samples = np.empty((pairs, 2), "<u2")
    samples[:, 0] = triple[:, 0] | (triple[:, 1] & 0x0F) << 8
    samples[:, 1] = triple[:, 1] >> 4 | triple[:, 2] << 4
    return samples.reshape(-1)[skipped : skipped + count]


def arrange(samples: np.ndarray, fmt: PixelFormat, planar: bool | None = None) -> np.ndarray:
    """Return a row of samples in the shape of the frame: planes are interleaved and 4:2:2 chroma is repeated."""
    if fmt.halved and len(samples) == 2 * fmt.pixels:
        if fmt.columns % 2:
            raise CodecError(f"{fmt.photometric} needs an even number of columns (N13)")
        pairs = samples.reshape(-1, 4)  # Y1 Y2 Cb Cr (PS3.3 C.7.6.3.1.2)
        full = np.empty((len(pairs), 2, 3), samples.dtype)
        full[:, :, 0] = pairs[:, :2]
        full[:, :, 1:] = pairs[:, None, 2:]
        return full.reshape(fmt.shape)
    if fmt.samples > 1 and (fmt.planar if planar is None else planar):
        planes = samples.reshape(fmt.samples, fmt.rows, fmt.columns)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))
    return samples.reshape(fmt.shape)


def stored_values(samples: np.ndarray, fmt: PixelFormat) -> np.ndarray:
    """Cut the stored value out of each sample: shift by High Bit, mask to Bits Stored, extend the sign."""
    if fmt.real:
        return samples
    shift = fmt.high_bit + 1 - fmt.bits_stored
    return cut(samples, fmt.dtype, fmt.bits_stored, shift if 0 < shift + fmt.bits_stored <= fmt.bits_allocated else 0)


def cut(samples: np.ndarray, dtype: np.dtype[np.generic], bits: int, shift: int = 0) -> np.ndarray:
    """Take *bits* bits of each sample, from bit *shift* up, as values of the integer type *dtype*."""
    width = dtype.itemsize * 8
    values = samples.view(f"<u{samples.itemsize}").astype(f"<u{dtype.itemsize}", copy=False).view(dtype)
    if bits + shift > width or (bits == width and shift == 0):
        return values
    if dtype.kind == "i":
        left = dtype.type(width - bits - shift)
        return np.right_shift(np.left_shift(values, left), dtype.type(width - bits))
    if shift:
        values = np.right_shift(values, dtype.type(shift))
    return np.bitwise_and(values, dtype.type((1 << bits) - 1))
