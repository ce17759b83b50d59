"""RLE frames (PS3.5 Annex G): byte planes, most significant first."""

import struct
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from dicomfs.codecs import decoder_table, native
from dicomfs.codecs.bitstream import CodecError
from dicomfs.codecs.colour import plain_photometric
from dicomfs.codecs.decoders import Decoded
from dicomfs.codecs.encoded import Kind
from dicomfs.codecs.packbits import NO_RUN
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.remarks import Remark

Unpack = Callable[[bytes, int], bytes | bytearray]


def rle(stream: bytes, fmt: PixelFormat, *, first_left_out: bool = False) -> Decoded:
    """Decode RLE (PS3.5 Annex G) by the first decoder that does not decline it. Raises CodecError."""
    reason: Exception | None = None
    for unpack, second in decoder_table.usable(Kind.RLE, first_left_out=first_left_out):
        try:
            decoded = _decoded(stream, fmt, unpack)
        except CodecError:
            raise
        except decoder_table.DECLINED as error:
            reason = error
        else:
            return replace(decoded, remarks=(Remark.SECOND_DECODER,)) if second else decoded
    raise CodecError(f"the frame cannot be decoded: {reason}")


def _decoded(stream: bytes, fmt: PixelFormat, unpack: Unpack) -> Decoded:
    """Join byte planes, most significant first; colour always is by plane."""
    count = segment_count(fmt)
    if fmt.bits_allocated == 1:
        packed = _planes(stream, count, -(-fmt.pixels * fmt.samples // 8), 0, unpack)
        return Decoded(native.unpack(packed.reshape(-1).data, replace(fmt, big_endian=False)), fmt.photometric)
    size = fmt.bits_allocated // 8
    planes = _planes(stream, count, fmt.pixels, fmt.columns, unpack).reshape(fmt.samples, size, fmt.pixels)
    samples = np.empty((fmt.samples, fmt.pixels, size), np.uint8)
    for place in range(size):
        samples[:, :, size - 1 - place] = planes[:, place]
    values = samples.reshape(-1).view(f"<{'f' if fmt.real else 'u'}{size}")
    return Decoded(native.stored_values(native.arrange(values, fmt, planar=True), fmt), plain_photometric(fmt))


def segment_count(fmt: PixelFormat) -> int:
    """Return the number of byte planes that a frame must have (PS3.5 G.2). Raises CodecError."""
    if fmt.bits_allocated == 12:
        raise CodecError("samples of 12 bits have no byte planes (N7)")
    return 1 if fmt.bits_allocated == 1 else fmt.bits_allocated // 8 * fmt.samples


def segment_bounds(head: bytes, size: int, count: int) -> list[int]:
    """Read the offsets of the *count* segments of an RLE frame of *size* bytes from its header (PS3.5 G.5).

    Returns the start of each and the end of the last. Raises CodecError.
    """
    if len(head) < 64:
        raise CodecError("the codestream ends inside its header")
    segments, *offsets = struct.unpack_from("<16I", head)
    if segments != count:
        raise CodecError(f"the RLE frame has {segments} segments, the header asks for {count} (E21)")
    bounds = [*offsets[:count], size]
    if bounds[0] < 64 or any(first > last for first, last in pairwise(bounds)):
        raise CodecError("the segments of the RLE frame are outside of it (L7)")
    return bounds


def _planes(stream: bytes, count: int, length: int, row: int, unpack: Unpack) -> np.ndarray:
    """Decode the *count* segments of an RLE frame to *length* bytes each, *row* bytes a row (PS3.5 G.3, G.5).

    The segments are taken apart here: imagecodecs' own decoder of whole frames crashes on a wrong header.
    """
    planes = np.empty((count, length), np.uint8)
    for index, (start, end) in enumerate(pairwise(segment_bounds(stream[:64], len(stream), count))):
        segment = stream[start:end]
        try:
            decoded = unpack(segment, length)
        except (RuntimeError, ValueError):  # it is longer, or ends inside a run
            stop, excess = _end_of_plane(segment, length, row)
            decoded = unpack(segment[:stop], length + excess)[:length]
        if len(decoded) < length:
            raise CodecError(_short(len(decoded), length))
        planes[index] = np.frombuffer(decoded, np.uint8)
    return planes


def _end_of_plane(segment: bytes, length: int, row: int) -> tuple[int, int]:
    """Find the end of the run in which a plane of *length* bytes ends, and its length beyond the plane.

    An RLE frame does not state its size, and some encoders write more than it has. What follows must be zeros, which
    PS3.5 G.3 asks for one of, or a single byte of any other value, which is no run either. The last run may go on
    where all others keep to the rows (G.3.1), for that proves their length; by a whole row or more it may not. Anything
    else may be a larger frame, which would be shown askew or cut. Raises CodecError.
    """
    position = reached = 0
    keeps_to_rows = row > 0
    while reached < length:
        head = segment[position] if position < len(segment) else 0
        count = head + 1 if head < NO_RUN else 0 if head == NO_RUN else 2 * NO_RUN + 1 - head
        stop = position + 1 + (count if head < NO_RUN else int(count > 0))
        if stop > len(segment):
            raise CodecError(_short(reached, length))
        if keeps_to_rows and count:
            keeps_to_rows = reached // row == (min(reached + count, length) - 1) // row
        position, reached = stop, reached + count
    excess = reached - length
    if (len(segment) - position > 1 and any(segment[position:])) or (excess and not (keeps_to_rows and excess < row)):
        raise CodecError(f"an RLE segment has more than the {length} bytes that the header asks for (E21)")
    return position, excess


def _short(there: int, length: int) -> str:
    return f"an RLE segment has {there} of {length} bytes (E16)"
