"""Frames that do not begin where Items do: several in one, or laid over Items without regard to where these end.

PS3.5 A.4 wants a fragment, or several, for each frame alone. Where there are fewer starts of codestreams than frames,
the codestreams are walked from the end of each to the start of the next, through the values of all Items end to end.
"""

import re
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dicomfs.codecs.codestream_ends import end_of, next_start
from dicomfs.dicom.fragments import Fragments, Joined, JoinedStream
from dicomfs.dicom.stream import Extent, Stream
from dicomfs.pixeldata.frames import MAX_MISSING_FRAMES

MAX_SCANNED_BYTES = 256 << 20
"""Bytes that are read to find frames in one object: a second or two."""
_RLE_HEADER_BYTES = 64
_RLE = re.compile(rb"[\x01-\x0f]\0\0\0\x40\0\0\0")
_WINDOW_BYTES = 1 << 20
# Reads that are short enough for a window, what is read for one, and what a read counts in addition to its bytes.
_MAX_SHORT_BYTES, _SHORT_WINDOW_BYTES, _CALL_BYTES = 256, 4096, 512


@dataclass(frozen=True, slots=True)
class FramesWithin:
    """Frames by where they begin and end in the *joined* values of the Items; *count* are listed."""

    joined: Joined
    starts: "array[int]"
    ends: "array[int]"
    count: int
    found_by: str

    def __len__(self) -> int:
        """Frames that are listed."""
        return self.count

    def extents(self, frame: int) -> tuple[Extent, ...]:
        """Return the bytes of one frame; empty when the frame is declared but not there."""
        if frame >= len(self.starts):
            return ()
        return tuple(self.joined.extents(self.starts[frame], self.ends[frame]))

    def bit_offset(self, frame: int) -> int:
        """Encapsulated frames start on a byte."""
        return 0

    def max_extents(self, frame: int) -> int:
        """Count the Items that a frame is in."""
        return len(self.extents(frame))

    @property
    def max_extents_of_all(self) -> int:
        """Count the Items that frames are in, one more for each frame that shares them."""
        return sum([len(self.extents(frame)) for frame in range(self.count)])

    @property
    def some_missing(self) -> bool:
        """Whether frames are declared and not there."""
        return self.count > len(self.starts)


@dataclass(frozen=True, slots=True)
class Found:
    """Codestreams in joined values: where each begins and ends, and how many bytes that are none follow the last."""

    joined: Joined
    starts: "array[int]"
    ends: "array[int]"
    rest: int


def found_within(stream: Stream, fragments: Fragments, kind: str, declared: int) -> Found | None:
    """Find codestreams of *kind* that are one after the other; None where the values do not begin with one.

    One that is cut short, or not found within `MAX_SCANNED_BYTES`, is left out with all after it. RLE has no end
    marker: its headers are looked for instead, and count only if they are as many as are *declared*.
    """
    joined = Joined([fragments.extent(index) for index in range(1, len(fragments))])
    values = JoinedStream(joined, stream)
    source = _Bounded(values)
    starts, ends = _rle(source, declared) if kind == "rle" else _walked(source, kind, declared + MAX_MISSING_FRAMES)
    if not starts:
        return None
    rest = values.pread(_RLE_HEADER_BYTES, ends[-1]) if kind != "rle" else b""
    return Found(joined, starts, ends, joined.size - ends[-1] if rest.strip(b"\0\xff") else 0)


def by_table(
    stream: Stream, fragments: Fragments, kind: str, table: Sequence[int], declared: int
) -> "tuple[Joined, array[int], array[int]] | None":
    """Turn offsets that lead into fragments into starts and ends; None unless each leads to a codestream of *kind*.

    Offsets count from the tag of the first Item. Writers that put all frames into one Item leave its tag and length
    out of the count, or do not.
    """
    if len(table) != declared or len(fragments) < 2 or any(one >= other for one, other in pairwise(table)):
        return None
    joined = Joined([fragments.extent(index) for index in range(1, len(fragments))])
    source = JoinedStream(joined, stream)
    origin = fragments.offsets[1]
    for heads in (0, 8):
        places = [joined.position_of(origin + entry - table[0] - (heads if entry > table[0] else 0)) for entry in table]
        if all(place is not None and _begins(source, kind, place) for place in places):
            starts = array("Q", [place for place in places if place is not None])
            if kind == "rle" or all(_closed(source, start) for start in starts[1:]):
                return joined, starts, array("Q", [*starts[1:], joined.size])
    return None


class _Bounded:
    """A stream that ends where enough of it has been read, or often enough; short reads are had from a window."""

    def __init__(self, stream: JoinedStream) -> None:
        self._stream = stream
        self._left = MAX_SCANNED_BYTES
        self._window, self._base = b"", 0

    @property
    def size(self) -> int:
        """Bytes in the stream."""
        return self._stream.size

    def pread(self, length: int, offset: int) -> bytes:
        """Read, or give nothing when too much has been read."""
        self._left -= _CALL_BYTES
        if self._left <= 0:
            return b""
        if length > _MAX_SHORT_BYTES:
            self._left -= length
            return self._stream.pread(length, offset)
        if not self._base <= offset <= self._base + len(self._window) - length:
            self._window, self._base = self._stream.pread(_SHORT_WINDOW_BYTES, offset), offset
            self._left -= len(self._window)
        return self._window[offset - self._base : offset - self._base + length]


def _walked(source: _Bounded, kind: str, most: int) -> "tuple[array[int], array[int]]":
    starts, ends = array("Q"), array("Q")
    start: int | None = 0
    while start is not None and len(starts) < most:
        end = end_of(kind, source, start)
        if end is None or end > source.size:
            break
        starts.append(start)
        ends.append(end)
        start = next_start(kind, source, end)
    return starts, ends


def _rle(source: _Bounded, declared: int) -> "tuple[array[int], array[int]]":
    starts, position, segments = array("Q"), 0, 0
    while (window := source.pread(_WINDOW_BYTES + _RLE_HEADER_BYTES, position)) and len(starts) <= declared:
        for found in _RLE.finditer(window):
            at = position + found.start()
            head = window[found.start() : found.start() + _RLE_HEADER_BYTES]
            last = _last_segment(head) if found.start() < _WINDOW_BYTES else 0
            if last and at + last < source.size and segments in (0, head[0]):
                # A header cannot lie among the segments of the one before, unless by chance.
                segments = head[0]
                starts.append(at)
        position += _WINDOW_BYTES
    if len(starts) != declared or starts[0] != 0:
        return array("Q"), array("Q")
    return starts, array("Q", [*starts[1:], source.size])


def _last_segment(head: bytes) -> int:
    """Return the offset of the last segment of an RLE header (PS3.5 G.5); 0 where it is none."""
    if len(head) < _RLE_HEADER_BYTES:
        return 0
    count, *offsets = struct.unpack("<16L", head)
    used = offsets[:count]
    rising = all(low < high for low, high in pairwise(used))
    return used[-1] if 1 <= count <= 15 and used[0] == _RLE_HEADER_BYTES and rising and not any(offsets[count:]) else 0


def _begins(source: JoinedStream, kind: str, place: int) -> bool:
    if kind == "rle":
        return _last_segment(source.pread(_RLE_HEADER_BYTES, place)) > 0
    return next_start(kind, source, place) == place


def _closed(source: JoinedStream, start: int) -> bool:
    """Whether what is before *start* is the end marker of JPEG or JPEG 2000, but for padding."""
    before = source.pread(min(16, start), max(0, start - 16))
    return before.rstrip(b"\0\xff").endswith(b"\xff\xd9") or before.rstrip(b"\0").endswith(b"\xff\xd9")
