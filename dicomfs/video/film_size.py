"""How many bytes a film takes, known before it is made: what its encoder may spend, and room for everything else.

The encoder is given so many bits a frame, whatever the time that a frame is shown, and a buffer from which it may take
more for those that need it (the video buffering verifier, VBV, of H.264 annex C). That holds but for frames that turn
out larger than expected; the film is encoded more coarsely then.
"""

from dataclasses import dataclass

# Side of a macroblock, of which H.264 encodes whole ones.
_BLOCK = 16
# Bits a pixel and frame. Real cines take 0.1 to 1.0 at the rate factor 18. Speckle over the whole picture that is new
# in each frame, with some noise of an amplifier over it, takes this much at 38 dB.
_BITS = 9 / 8
# More of them for small pictures, in which little can be predicted: so many a pixel, up to so many a frame.
_SMALL_BITS, _MOST_SMALL = 8, 8192
# Frames in the encoder's buffer: room for those that take more than the others, as those that stand alone do. A short
# film has a part of itself as room, too little for a buffer to work; it costs so little time that quantisers are tried.
_BUFFERED, _SHORT, _PART = 4, 15, 4
_QUANTISERS = (4, 8, 12, 16, 20, 25, 32, 40)
# Bytes of a frame in the index of an MP4 (at most 4 of its size, 8 of its duration, 4 as a key frame, 20 of its chunk),
# and before it; bytes of everything else, such as the description and what the encoder says of itself.
_FRAME_BYTES, _FILM_BYTES = 48, 4096
# Rate factors, and parts of the bits. With the first one nothing is seen to be missing, even where a picture stands
# still.
_FACTORS = ((6, 1.0), (12, 0.75), (18, 0.4))
# The highest quantiser of H.264.
_COARSEST = 51

# An MP4 of stored pictures takes what the stream took, and an eighth, so many bytes a frame and so many at any rate.
_SHARE, _REMUXED_FRAME, _REMUXED = 8, 64, 64 << 10
# No picture of a stream takes fewer bytes, its start code included.
_LEAST_PICTURE = 8


@dataclass(frozen=True, slots=True)
class Effort:
    """How a film is encoded: at a constant rate *factor*, held back to *frame_bits* a frame.

    The buffer from which single frames may take more has *buffer_bits*. Without *frame_bits* the factor is a constant
    quantiser.
    """

    factor: int
    frame_bits: int = 0
    buffer_bits: int = 0


def film_size(rows: int, columns: int, frames: int) -> int:
    """Give the bytes of a film of *frames* pictures, its filling included."""
    return _FILM_BYTES + _FRAME_BYTES * frames + -(-_bits(rows, columns, frames) // 8)


def efforts(rows: int, columns: int, frames: int) -> tuple[Effort, ...]:
    """Give the ways in which such a film is encoded until it fits, the best first."""
    if frames <= _SHORT:
        return tuple(Effort(quantiser) for quantiser in (*_QUANTISERS, _COARSEST))
    each = _bits(rows, columns, frames) // (frames + _BUFFERED)
    capped = (Effort(factor, int(part * each), int(part * each) * _BUFFERED) for factor, part in _FACTORS)
    return (*capped, Effort(_COARSEST))


def remuxed_size(size: int, frames: int) -> int:
    """Give the bytes of an MP4 into which a stream of *size* bytes is put, its filling included.

    *frames* is what the header declares; no more of them count than the stream can hold.
    """
    return size + size // _SHARE + _REMUXED_FRAME * max(0, min(frames, size // _LEAST_PICTURE)) + _REMUXED


def _bits(rows: int, columns: int, frames: int) -> int:
    """Give the bits that all pictures may take together."""
    blocks = -(-rows // _BLOCK) * -(-columns // _BLOCK)
    pixels = blocks * _BLOCK * _BLOCK
    each = int(_BITS * pixels) + min(_SMALL_BITS * pixels, _MOST_SMALL)
    return each * frames + (each * frames // _PART if frames <= _SHORT else each * _BUFFERED)
