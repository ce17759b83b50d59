"""JPEG 2000 and HTJ2K streams, read without decoding: size, tile-parts, boxes (ITU-T T.800 Annexes A and I).

Only this module walks their marker segments, and only it repairs them.
"""

import struct
from collections.abc import Iterator

from dicomfs.codecs.bitstream import JP2_SIGNATURE, CodecError, Codestream, box, end_without
from dicomfs.dicom.stream import Stream

CUT = "the JPEG 2000 frame is cut short (E16)"
REPAIRED = "dropped a misplaced comment from the JPEG 2000 stream (C9)"
EOC, COMMENT = b"\xff\xd9", b"\xff\x64"
# Bits of the style of code-blocks (T.800 table A.19, T.814 table A.4).
_PREDICTABLE, _HIGH_THROUGHPUT = 0x10, 0x40
UNSCRAMBLED = "undid the scrambling of a Zeiss JPEG 2000 file (C12)"


def codestream_offset(data: bytes) -> int:
    """Find the offset of the contiguous codestream in a JP2 or JPH file (T.800 I.5.4); 0 in a bare codestream."""
    if not data.startswith(JP2_SIGNATURE):
        return 0
    found = box(data, b"jp2c")
    if found is None:
        raise CodecError("the JP2 file holds no codestream")
    return found[1]


def read_header(data: bytes) -> Codestream:
    """Read the SIZ marker segment, and COD for the multiple component transform."""
    start = codestream_offset(data)
    if data[start : start + 4] != b"\xff\x4f\xff\x51":
        raise CodecError("the JPEG 2000 stream does not begin with its size")
    x1, y1, x0, y0, tile_x, tile_y = struct.unpack_from(">IIIIII", data, start + 8)
    components = struct.unpack_from(">H", data, start + 40)[0]
    depth, step_x, step_y = struct.unpack_from("BBB", data, start + 42)
    if not (step_x and step_y and tile_x and tile_y and x1 > x0 and y1 > y0):
        raise CodecError("the JPEG 2000 stream states an impossible size")
    sizes = {data[place + 1 : place + 3] for place in range(start + 42, start + 42 + 3 * components, 3)}
    depths = set(data[start + 42 : start + 42 + 3 * components : 3])
    mct, high_throughput, position = False, False, start + 4
    while True:
        position += struct.unpack_from(">H", data, position)[0]
        marker = struct.unpack_from(">H", data, position)[0]
        if marker == 0xFF52:
            mct = mct or data[position + 8] == 1
            high_throughput = high_throughput or bool(data[position + 12] & _HIGH_THROUGHPUT)
        if 0xFF70 <= marker <= 0xFF79:
            # OpenJPEG passes over most of them and decodes to wrong values.
            raise CodecError("the frame uses extensions of JPEG 2000 Part 2, which no decoder here knows")
        if marker in (0xFF90, 0xFFD9) or marker < 0xFF00:
            break
        position += 2
    return Codestream(
        "j2k",
        -(-y1 // step_y) - -(-y0 // step_y),
        -(-x1 // step_x) - -(-x0 // step_x),
        components,
        (depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        smaller=len(sizes) > 1,
        mct=mct,
        mixed=len(depths) > 1,
        high_throughput=high_throughput,
    )


def with_termination(data: bytes) -> bytes:
    """Say in a codestream that each code-block ends predictably, so that a decoder looks whether it does (T.800 A.6.1).

    The samples stay the same, bit for bit. Blocks of HTJ2K have no such ending (T.814 A.3).
    """
    wide = int.from_bytes(data[40:42], "big") > 256
    marked = bytearray(data)
    for marker, position in _coding_styles(data):
        style = position + (10 if marker == 0xFF52 else 8 if wide else 7)
        if not marked[style] & _HIGH_THROUGHPUT:
            marked[style] |= _PREDICTABLE
    return bytes(marked)


def _coding_styles(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield COD and COC of the main header and of the tile-parts, and the offset of the length field of each."""
    position, part, end = 2, 0, 2
    while position + 12 <= len(data):
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFF90:
            part, end = position, position + int.from_bytes(data[position + 6 : position + 10], "big")
        elif marker in (0xFF52, 0xFF53):
            yield marker, position + 2
        if marker == 0xFF93:
            if end <= part:
                return  # the last one has no length
            position = end
        elif marker < 0xFF00 or marker == 0xFFD9:
            return
        else:
            position += 2 + length


def repair_after_tiles(data: bytes, end: int) -> bytes | None:
    """Drop comments that were written between the last tile-part and the end (C9); None without any.

    *end* is what `end_of_tiles` found. T.800 A.3 allows comments in headers only, and OpenJPEG refuses the stream for
    one that is elsewhere.
    """
    return data[:end] + EOC if data[end : end + 2] == COMMENT else None


def end_of_tiles(stream: Stream, start: int, most: int | None = None) -> int | None:
    """Walk the tile-parts; return the offset after the last one, None where one is cut short or EOC is missing (E16).

    OpenJPH decodes a cut stream in silence. *start* is the offset of the codestream; after *most* marker segments the
    walk gives up, and returns what it would for a sound stream.
    """
    position, steps = start + 2, 0
    end: int | None = None
    while True:
        head = stream.pread(10, position)
        if len(head) < 2:
            return None
        if head[:2] == EOC:
            return position if end is None else end
        if steps == most:
            return stream.size
        steps += 1
        if head[:2] == b"\xff\x90":
            if len(head) < 10:
                return None
            (length,) = struct.unpack_from(">I", head, 6)
            if length == 0:  # the last tile-part reaches to the end of the stream
                last = end_without(stream, b"\0") - 2
                return last if stream.pread(2, max(0, last)) == EOC else None
            if length < 14:
                return None
            position += length
            end = position
        elif len(head) < 4 or head[0] != 0xFF:
            return None
        else:
            position += 2 + int.from_bytes(head[2:4], "big")


# Where the regions of a scrambled file are found, in the order of the plain one; the middle stands for three fifths
# of its length.
_MIDDLE = -1
_REGIONS = ((993, 1016), (276, 763), (23, 276), (1016, _MIDDLE), (0, 23), (763, 993))
_AT_MIDDLE = 253


def scrambled_head(stream: Stream) -> bytes | None:
    """Recognise a JP2 file as Zeiss ophthalmic devices scramble it (C12), and return the start of the plain file.

    Every seventh byte is inverted in part and regions are exchanged, so that the JP2 signature is at three fifths
    of the length: finding it there is the proof. None when this is not one.
    """
    middle = 3 * stream.size // 5
    if middle < 1016 or middle + _AT_MIDDLE > stream.size:
        return None
    start = _unmasked(stream.pread(_AT_MIDDLE, middle), middle)
    if not start.startswith(JP2_SIGNATURE):
        return None
    front = _unmasked(stream.pread(1016, 0), 0)
    return start + b"".join(front[first:last] for first, last in _REGIONS[:3])


def unscramble(data: bytes) -> bytes:
    """Undo the scrambling of a file of which `scrambled_head` proved that it is one (C12)."""
    middle = 3 * len(data) // 5
    plain = _unmasked(data, 0)
    regions = [plain[first : middle if last == _MIDDLE else last] for first, last in _REGIONS]
    return plain[middle : middle + _AT_MIDDLE] + b"".join(regions) + plain[middle + _AT_MIDDLE :]


def _unmasked(data: bytes, offset: int) -> bytes:
    """Invert every seventh byte of the file back; *data* is at *offset* in it."""
    plain = bytearray(data)
    first = -offset % 7
    plain[first::7] = bytes(byte ^ 0x5A for byte in plain[first::7])
    return bytes(plain)
