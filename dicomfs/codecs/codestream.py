"""The encoding of a frame and its header, recognised from its bytes without decoding.

No decoder is asked for the size of a frame: the header of a hostile stream would make it allocate gigabytes
first.
"""

import re
import struct

from dicomfs.codecs import jpeg, jpeg2000, jpegxl
from dicomfs.codecs.bitstream import JP2_SIGNATURE, JXL_SIGNATURE, CodecError, Codestream, HeaderCut

LEADING = 64
"""Most bytes of padding before a codestream that are skipped."""

_STARTS = re.compile(
    b"|".join(map(re.escape, (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", JP2_SIGNATURE, b"\xff\x0a", JXL_SIGNATURE)))
)


def sniff(head: bytes) -> str:
    """Name the extension of a codestream by its first 16 bytes, better 64: jpg jls j2k jp2 jph jxl rle bin."""
    if head.startswith(b"\xff\xd8\xff"):
        try:
            return "jls" if jpeg.frame_marker(head) == 0xF7 else "jpg"
        except (CodecError, struct.error):
            # The frame header is further on. Of the markers that come first, SPIFF's APP8 speaks for JPEG-LS.
            return "jls" if head[3:4] in (b"\xe8", b"\xf8") else "jpg"
    if head.startswith(b"\xff\x4f\xff\x51"):
        return "j2k"
    if head.startswith(JP2_SIGNATURE):
        return "jph" if head[20:24] == b"jph " else "jp2"
    if head.startswith((b"\xff\x0a", JXL_SIGNATURE)):
        return "jxl"
    if len(head) >= 8:
        count, first = struct.unpack_from("<II", head)
        if 1 <= count <= 15 and first == 64:  # PS3.5 G.5
            return "rle"
    return "bin"


def find_start(data: bytes) -> int | None:
    """Return the offset of a codestream after at most 64 bytes of padding; None where there is none."""
    match = _STARTS.search(data, 0, LEADING + 16)
    return match.start() if match else None


def read_header(data: bytes) -> Codestream:
    """Read the header of the codestream that starts at the first byte of *data*."""
    try:
        if data.startswith(b"\xff\xd8"):
            return jpeg.read_header(data)
        if data.startswith((b"\xff\x4f", JP2_SIGNATURE)):
            return jpeg2000.read_header(data)
        return jpegxl.read_header(data)
    except (struct.error, IndexError) as error:
        raise HeaderCut from error
