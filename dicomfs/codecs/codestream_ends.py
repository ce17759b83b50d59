"""The ends of codestreams that follow each other: JPEG, JPEG-LS, JPEG 2000 and the files of JPEG 2000 and JPEG XL.

Markers, tile-parts and boxes are walked from each to the next, so that a thumbnail inside of a segment is
passed over. Only the coded data of JPEG, which states no length, is read as a whole, a window at a time.
"""

import re
import struct

from dicomfs.dicom.stream import Memory, Stream

# A marker in coded data but restarts: what follows a byte of ones there is 0 in JPEG, less than 128 in JPEG-LS.
_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_WINDOW_BYTES = 1 << 15
# Segments, tile-parts or boxes of one codestream.
_MAX_SEGMENTS = 100_000
# Padding between codestreams in which the next start is looked for.
_MAX_PADDING_BYTES = 64
_NEXT = {
    "jpeg": re.compile(rb"[\0\xff]*?(\xff\xd8\xff)"),
    "j2k": re.compile(rb"[\0\xff]*?(\xff\x4f\xff\x51)"),
    "jp2": re.compile(rb"[\0\xff]*?(\0\0\0\x0cjP  \r\n)"),
    "jxl": re.compile(rb"[\0\xff]*?(\0\0\0\x0cJXL \r\n)"),
}
_BOX_HEAD = 8


def end_of(kind: str, stream: Stream, start: int) -> int | None:
    """Return the offset after the codestream of *kind* at *start*; None where it is cut short or states no end.

    *kind* is jpeg (with JPEG-LS), j2k, jp2 or jxl, which is found in its container alone.
    """
    try:
        if kind == "jpeg":
            return _end_of_jpeg(stream, start)
        if kind == "j2k":
            return _end_of_tiles(stream, start)
        return _end_of_boxes(stream, start) if kind in _NEXT else None
    except struct.error:
        return None


def next_start(kind: str, stream: Stream, end: int) -> int | None:
    """Return the start of another codestream of *kind* at *end*, or after a little padding there."""
    found = _NEXT[kind].match(stream.pread(_MAX_PADDING_BYTES + 16, end))
    return end + found.start(1) if found else None


def followed(kind: str, data: bytes) -> bool:
    """Return whether another codestream follows the one in *data*; no decoder looks at it."""
    if kind not in _NEXT or data.find({"jpeg": b"\xff\xd8\xff", "j2k": b"\xff\x4f\xff\x51"}.get(kind, b""), 2) < 0:
        return False
    stream = Memory(data)
    end = end_of(kind, stream, 0)
    return end is not None and next_start(kind, stream, end) is not None


def _end_of_jpeg(stream: Stream, start: int) -> int | None:
    """Walk the segments and search through the scans (T.81 B.1, T.87 C.1)."""
    position = start
    while stream.pread(2, position) == b"\xff\xff":
        position += 1
    position += 2
    for _ in range(_MAX_SEGMENTS):
        head = stream.pread(4, position)
        if head[:2] == b"\xff\xff":
            position += 1
            continue
        if len(head) < 2 or head[0] != 0xFF or head[1] in (0x00, 0xD8):
            return None
        if head[1] == 0xD9:
            return position + 2
        if head[1] == 0x01 or 0xD0 <= head[1] <= 0xD7:
            position += 2
            continue
        length = struct.unpack(">H", head[2:])[0]
        position += 2 + max(2, length)
        if head[1] == 0xDA:
            marker = _marker(stream, position)
            if marker is None:
                return None
            position = marker
    return None


def _marker(stream: Stream, position: int) -> int | None:
    """Find the marker that ends the coded data at *position*."""
    while window := stream.pread(_WINDOW_BYTES, position):
        found = _MARKER.search(window)
        if found:
            return position + found.start()
        if len(window) < 2:
            return None
        position += len(window) - 1  # its last byte may begin a marker
    return None


def _end_of_tiles(stream: Stream, start: int) -> int | None:
    """Walk the main header and the tile-parts (T.800 A.2); the last may state no length and is then searched."""
    position = start + 2
    for _ in range(_MAX_SEGMENTS):
        head = stream.pread(10, position)
        if head[:2] == b"\xff\xd9":
            return position + 2
        if len(head) < 4 or head[0] != 0xFF:
            return None
        if head[1] != 0x90:
            position += 2 + struct.unpack(">H", head[2:4])[0]
            continue
        length = struct.unpack(">I", head[6:])[0]
        if length:
            position += max(14, length)
        else:
            return _end_marker(stream, position + 12)
    return None


def _end_marker(stream: Stream, position: int) -> int | None:
    """Find EOC in a tile-part: no packet holds a byte of ones and one of more than 143 (T.800 B.10.1)."""
    while window := stream.pread(_WINDOW_BYTES, position):
        found = window.find(b"\xff\xd9")
        if found >= 0:
            return position + found + 2
        if len(window) < 2:
            return None
        position += len(window) - 1
    return None


def _end_of_boxes(stream: Stream, start: int) -> int | None:
    """Walk top-level boxes up to bytes that are no box, or to the signature of another file (T.800 I.4)."""
    position, coded = start, False
    for step in range(_MAX_SEGMENTS):
        head = stream.pread(16, position)
        kind = head[4:8]
        another = step > 0 and kind in (b"jP  ", b"JXL ")
        if len(head) < _BOX_HEAD or another or not kind.isascii() or not kind.strip(b"\0"):
            break
        length = struct.unpack(">I", head[:4])[0]
        if length == 1:
            length = struct.unpack(">Q", head[8:16])[0]
        if length == 0 and kind == b"jp2c":
            return _end_of_tiles(stream, position + _BOX_HEAD)
        if length < _BOX_HEAD or position + length > stream.size:
            break
        coded = coded or kind in (b"jp2c", b"jxlc", b"jxlp")
        position += length
    return position if coded else None
