"""Codestreams decoded by imagecodecs, the first decoder of every kind.

Decoders return samples as they are coded, but lossy JPEG of three components and JPEG 2000 with smaller chrominance as
RGB. imagecodecs raises RuntimeErrors where it declines a stream, and ImportErrors where its build lacks a codec.
"""

import imagecodecs
import numpy as np
from imagecodecs import jpeg2k_decode, jpeg8_decode, jpegls_decode, jpegxl_decode, packbits_decode

from dicomfs.codecs import jpeg as jpeg_stream
from dicomfs.codecs import jpeg2000 as jpeg2000_stream
from dicomfs.codecs.encoded import Encoded
from dicomfs.codecs.openjpeg_log import raising_of_damage

# Bits of the samples to which narrower ones are decoded where more of them are to be seen.
_WIDE_BITS = 12


def jpeg(encoded: Encoded) -> np.ndarray:
    """Decode lossy JPEG to grey, RGB or CMYK."""
    target = {1: None, 3: "RGB", 4: "CMYK"}.get(encoded.header.components)
    source = {3: "YCbCr", 4: "YCCK"}[encoded.header.components] if encoded.ybr else target
    return jpeg8_decode(encoded.stream, colorspace=source, outcolorspace=target)


def jpeg_lossless(encoded: Encoded) -> np.ndarray:
    """Decode lossless JPEG; samples of up to 8 bits to uint16, so that those which no such picture has are seen.

    They are coded as differences from half of the range (T.81 H.1.2.1), which is larger for the wider samples.
    """
    header, stream = encoded.header, encoded.stream
    space = {1: None, 3: "RGB", 4: "CMYK"}.get(header.components)
    if header.precision > 8:
        return jpeg8_decode(stream, colorspace=space, outcolorspace=space)
    wide = jpeg8_decode(jpeg_stream.with_precision(stream, _WIDE_BITS), colorspace=space, outcolorspace=space)
    return wide - np.uint16((1 << (_WIDE_BITS - 1)) - (1 << (header.precision - 1)))


def jpeg_ls(encoded: Encoded) -> np.ndarray:
    """Decode JPEG-LS; planes come first where the stream has them one after the other."""
    return jpegls_decode(encoded.stream)


def jpeg_2000(encoded: Encoded) -> np.ndarray:
    """Decode JPEG 2000 and HTJ2K by OpenJPEG, and raise CodecError of what it says of damaged code-blocks.

    imagecodecs' OpenJPH is twice as fast at HTJ2K, but drops the errors of damaged streams and lets samples beyond the
    range wrap around, so that white shows as black.
    """
    stream = jpeg2000_stream.with_termination(encoded.stream)
    with raising_of_damage("imagecodecs"):
        return jpeg2k_decode(stream, verbose=2)


def jpeg_xl(encoded: Encoded) -> np.ndarray:
    """Decode the first frame of JPEG XL; a recompressed JPEG comes out as RGB."""
    return jpegxl_decode(encoded.stream, index=0)


def packbits(segment: bytes, length: int) -> bytes | bytearray:
    """Decode one RLE segment to at most *length* bytes."""
    return packbits_decode(segment, out=bytearray(length))


def has(feature: str) -> bool:
    """Return whether this build of imagecodecs has a codec."""
    return bool(getattr(imagecodecs, feature).available)
