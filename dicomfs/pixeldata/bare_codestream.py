"""Codestreams that stand in Pixel Data as they are: of stated length, without Items around them (E19).

Only this module tells them from native pixels, whose first bytes may look like anything.
"""

import contextlib
import struct
from array import array
from dataclasses import replace

from dicomfs.codecs import rle
from dicomfs.codecs.bitstream import CodecError
from dicomfs.codecs.codestream import sniff
from dicomfs.codecs.decoders import check_header
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import uids
from dicomfs.dicom.fragments import Fragments
from dicomfs.dicom.stream import Extent, Stream
from dicomfs.pixeldata.frame_status import header_of

BARE = "Pixel Data states a length, but is a codestream without Items; it is decoded by its content (E19)"

SYNTAXES = {
    "jpg": uids.JPEGBaseline8Bit,
    "jls": uids.JPEGLSLossless,
    "j2k": uids.JPEG2000Lossless,
    "jp2": uids.JPEG2000Lossless,
    "jph": uids.HTJ2KLossless,
    "jxl": uids.JPEGXLLossless,
    "rle": uids.RLELossless,
}
"""One transfer syntax for each kind of codestream; within a kind, decoders go by the content."""


def bare_codestream(
    stream: Stream, extent: Extent, fmt: PixelFormat, declared: int
) -> tuple[PixelFormat, Fragments] | None:
    """Return how to decode a value that is a codestream, and give it as the only fragment; None for native pixels.

    A header that states the size of the frames is proof. Without that, native pixels are as long as their frames.
    """
    kind = sniff(stream.pread(min(64, extent.length), extent.offset))
    if kind not in SYNTAXES:
        return None
    fmt = replace(fmt, transfer_syntax=SYNTAXES[kind], big_endian=False)
    native = -(-fmt.frame_bits * declared // 8)
    proved = _states_size(stream, extent, fmt)
    # Two bytes, or a few small numbers, may be there by chance.
    weak = kind in ("jxl", "rle")
    if extent.length in (native, native + 1) and (weak or not proved):
        return None
    if weak and not proved:
        return None
    return fmt, Fragments(array("Q", [extent.offset, extent.offset]), array("Q", [0, extent.length]), 0, True, False)


def _states_size(stream: Stream, extent: Extent, fmt: PixelFormat) -> bool:
    """Whether the header of the codestream can be read and is that of a frame of *fmt*."""
    with contextlib.suppress(CodecError, struct.error):
        header = header_of(stream, fmt, [extent])
        if header is not None:
            check_header(header, fmt)
        else:
            rle.segment_bounds(stream.pread(64, extent.offset), extent.length, rle.segment_count(fmt))
        return True
    return False
