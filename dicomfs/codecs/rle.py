"""RLE frames (PS3.5 Annex G): byte planes, most significant first."""

import struct
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
from imagecodecs import packbits_decode

from dicomfs.codecs import native
from dicomfs.codecs.decoders import Decoded, plain_photometric, run
from dicomfs.codecs.encoded import CodecError
from dicomfs.image.pixelformat import PixelFormat


def rle(stream: bytes, fmt: PixelFormat) -> Decoded:
    """Decode RLE (PS3.5 Annex G): byte planes, most significant first, colour always by plane."""
    count = segment_count(fmt)
    if fmt.bits_allocated == 1:
        packed = _planes(stream, count, -(-fmt.pixels * fmt.samples // 8))
        return Decoded(native.unpack(packed.reshape(-1).data, replace(fmt, big_endian=False)), fmt.photometric)
    size = fmt.bits_allocated // 8
    planes = _planes(stream, count, fmt.pixels).reshape(fmt.samples, size, fmt.pixels)
    samples = np.empty((fmt.samples, fmt.pixels, size), np.uint8)
    for place in range(size):
        samples[:, :, size - 1 - place] = planes[:, place]
    values = samples.reshape(-1).view(f"<{'f' if fmt.real else 'u'}{size}")
    return Decoded(native.stored_values(native.arrange(values, fmt, planar=True), fmt), plain_photometric(fmt))


def segment_count(fmt: PixelFormat) -> int:
    """Give the number of byte planes that a frame must have (PS3.5 G.2). Raises CodecError."""
    if fmt.bits_allocated == 12:
        raise CodecError("samples of 12 bits have no byte planes (N7)")
    return 1 if fmt.bits_allocated == 1 else fmt.bits_allocated // 8 * fmt.samples


def segment_bounds(head: bytes, size: int, count: int) -> list[int]:
    """Read where the *count* segments of an RLE frame of *size* bytes lie from its header (PS3.5 G.5).

    Gives the start of each and the end of the last. Raises CodecError.
    """
    if len(head) < 64:
        raise CodecError("the codestream ends inside its header")
    segments, *offsets = struct.unpack_from("<16I", head)
    if segments != count:
        raise CodecError(f"the RLE frame has {segments} segments, the header asks for {count} (E21)")
    bounds = [*offsets[:count], size]
    if bounds[0] < 64 or any(first > last for first, last in pairwise(bounds)):
        raise CodecError("the RLE frame's segments lie outside of it (L7)")
    return bounds


def _planes(stream: bytes, count: int, length: int) -> np.ndarray:
    """Decode the *count* segments of an RLE frame to *length* bytes each (PS3.5 G.3, G.5).

    The segments are taken apart here: imagecodecs' own decoder of whole frames crashes on a wrong header.
    """
    planes = np.empty((count, length), np.uint8)
    for index, (start, end) in enumerate(pairwise(segment_bounds(stream[:64], len(stream), count))):
        # Some encoders go on behind the last pixel; one run more than a plane is allowed for.
        decoded = run(partial(_packbits, stream[start:end], length + 128))
        if len(decoded) < length:
            raise CodecError(f"an RLE segment has {len(decoded)} of {length} bytes (E16)")
        planes[index] = decoded[:length]
    return planes


def _packbits(segment: bytes, most: int) -> np.ndarray:
    """Decode one RLE segment (PS3.5 G.3) to at most *most* bytes."""
    return np.frombuffer(packbits_decode(segment, out=bytearray(most)), np.uint8)
