"""The size of an MP4, known before it is made: what its encoder may spend, and capacity for everything else.

The encoder may spend so many bits on each frame, whatever its duration, and more on single ones from a buffer (the
video buffering verifier, VBV, of H.264 annex C). Where frames turn out larger than that, the cine loop is encoded
again, more coarsely.
"""

from dataclasses import dataclass

# Side of a macroblock; H.264 encodes whole ones.
_BLOCK = 16
# Bits for each pixel and frame. Real cine loops take 0.1 to 1.0 at the rate factor 18. Speckle all over the image that
# is new in each frame, with some amplifier noise, takes this much at 38 dB.
_BITS_PER_PIXEL = 9 / 8
# Additional bits for small images, in which little can be predicted: for each pixel, and at most for each frame.
_SMALL_BITS_PER_PIXEL, _MAX_SMALL_BITS = 8, 8192
# Frames in the encoder's buffer: capacity for those that take more than others, as key frames do. A short cine loop has
# a part of itself instead, too little for a buffer to work; encoding it is so quick that quantisers are tried.
_BUFFERED_FRAMES, _MAX_SHORT_FRAMES, _PART = 4, 15, 4
_QUANTISERS = (4, 8, 12, 16, 20, 25, 32, 40)
# Bytes in the index of an MP4 for each frame (at most 4 for its size, 8 for its duration, 4 as a key frame, 20 for its
# chunk, and some before it); bytes of everything else, such as the description of the stream and of the encoder.
_FRAME_BYTES, _FILM_BYTES = 48, 4096
# Rate factors, each with a part of the bits. With the first one no loss is visible, even where the image stands still.
_FACTORS = ((6, 1.0), (12, 0.75), (18, 0.4))
# The highest quantiser of H.264.
_MAX_QUANTISER = 51

# A remuxed MP4 has the bytes of the stream and an eighth of that, and so many bytes for each frame and for all else.
_SHARE, _REMUXED_FRAME_BYTES, _REMUXED_BYTES = 8, 64, 64 << 10
# The smallest picture of a stream, its start code included.
_MIN_PICTURE_BYTES = 8


@dataclass(frozen=True, slots=True)
class Effort:
    """How a cine loop is encoded: at a constant rate *factor*, limited to *frame_bits* a frame.

    Single frames may take more from a buffer of *buffer_bits*. Without *frame_bits* the factor is a constant quantiser.
    """

    factor: int
    frame_bits: int = 0
    buffer_bits: int = 0


def film_size(rows: int, columns: int, frames: int) -> int:
    """Return the bytes of the MP4 of a cine loop of *frames* frames, its filling included."""
    return _FILM_BYTES + _FRAME_BYTES * frames + -(-_bits(rows, columns, frames) // 8)


def efforts(rows: int, columns: int, frames: int) -> tuple[Effort, ...]:
    """Return the efforts that are tried until such a cine loop fits, the best first."""
    if frames <= _MAX_SHORT_FRAMES:
        return tuple(Effort(quantiser) for quantiser in (*_QUANTISERS, _MAX_QUANTISER))
    each = _bits(rows, columns, frames) // (frames + _BUFFERED_FRAMES)
    capped = (Effort(factor, int(part * each), int(part * each) * _BUFFERED_FRAMES) for factor, part in _FACTORS)
    return (*capped, Effort(_MAX_QUANTISER))


def remuxed_size(size: int, frames: int) -> int:
    """Return the bytes of the MP4 that a stream of *size* bytes is put into, its filling included.

    *frames* is the number that the header declares; it counts up to what the stream can hold.
    """
    return (
        size + size // _SHARE + _REMUXED_FRAME_BYTES * max(0, min(frames, size // _MIN_PICTURE_BYTES)) + _REMUXED_BYTES
    )


def _bits(rows: int, columns: int, frames: int) -> int:
    """Return the bits that all frames may take together."""
    blocks = -(-rows // _BLOCK) * -(-columns // _BLOCK)
    pixels = blocks * _BLOCK * _BLOCK
    each = int(_BITS_PER_PIXEL * pixels) + min(_SMALL_BITS_PER_PIXEL * pixels, _MAX_SMALL_BITS)
    return each * frames + (each * frames // _PART if frames <= _MAX_SHORT_FRAMES else each * _BUFFERED_FRAMES)
