"""JPEG 2000 and HTJ2K streams, read without decoding: size, tile-parts, boxes (ITU-T T.800 Annexes A and I).

Only this module walks their marker segments, and only it mends them.
"""

import struct

from dicomfs.encoded import JP2_SIGNATURE, CodecError, Codestream, box


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
    mct, position = False, start + 4
    while True:
        position += struct.unpack_from(">H", data, position)[0]
        marker = struct.unpack_from(">H", data, position)[0]
        if marker == 0xFF52:
            mct = data[position + 8] == 1
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
        mct=mct,
    )


def is_whole(data: bytes) -> bool:
    """Tell whether every tile-part of a JPEG 2000 stream is there: OpenJPH decodes a cut stream in silence (E16)."""
    return _end_of_tiles(data) is not None


def mend_after_tiles(data: bytes) -> bytes | None:
    """Drop comments that were written between the last tile-part and the end (C9); None without any.

    T.800 A.3 allows comments in headers only, and OpenJPEG refuses the stream for one that is elsewhere.
    """
    end = _end_of_tiles(data)
    if end is None or data[end : end + 2] != b"\xff\x64":
        return None
    return data[:end] + b"\xff\xd9"


def _end_of_tiles(data: bytes) -> int | None:
    """Walk the tile-parts; give the offset after the last one, None where one is cut short or EOC is missing."""
    position = 2 + codestream_offset(data)
    end: int | None = None
    try:
        while True:
            marker = struct.unpack_from(">H", data, position)[0]
            if marker == 0xFFD9:
                return position if end is None else end
            if marker == 0xFF90:
                length = struct.unpack_from(">I", data, position + 6)[0]
                if length == 0:  # the last tile-part reaches to the end of the stream
                    last = data.rstrip(b"\0")
                    return len(last) - 2 if last.endswith(b"\xff\xd9") else None
                if length < 14:
                    return None
                position += length
                end = position
            else:
                position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    except struct.error:
        return None


def unscramble(data: bytes) -> bytes | None:
    """Undo the scrambling that Zeiss ophthalmic devices apply to a JP2 file (C12); None when this is not one.

    Every seventh byte is inverted in part and three regions are exchanged, so that the JP2 signature lies at
    three fifths of the length: finding it there is the proof.
    """
    middle = 3 * len(data) // 5
    if middle < 1016 or middle + 253 > len(data):
        return None
    plain = bytearray(data)
    plain[::7] = bytes(byte ^ 0x5A for byte in plain[::7])
    if not plain.startswith(JP2_SIGNATURE, middle):
        return None
    order = ((middle, middle + 253), (993, 1016), (276, 763), (23, 276), (1016, middle), (0, 23), (763, 993))
    return b"".join([plain[start:stop] for start, stop in order]) + plain[middle + 253 :]
