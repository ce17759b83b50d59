"""The Items of encapsulated Pixel Data, where they are, and their values as one stream (PS3.5 A.4).

Only this module walks Items. It reads their headers, never their values: a file's cost is the number of its Items.
"""

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from dicomfs.dicom.stream import Extent, Stream

ITEM = b"\xfe\xff\x00\xe0"
SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0"
_TAGS = (ITEM, SEQUENCE_DELIMITER)
# A one gigabyte file made of empty Items would have 134 million; no real object comes near one, and a walk over
# one million takes a second or two.
MAX_FRAGMENTS = 1_000_000
# Where Items are shorter than a quarter of this, several headers are had with one read.
_WINDOW_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Fragments:
    """The Items of encapsulated Pixel Data; index 0 is the Basic Offset Table (PS3.5 A.4).

    *offsets* and *lengths* describe the values of the Items, *end* is the offset after the Sequence
    Delimitation Item or where the walk stopped, *delimited* says which, *cut* that the last value is shorter
    than its Item says.
    """

    offsets: "array[int]"
    lengths: "array[int]"
    end: int
    delimited: bool
    cut: bool

    def __len__(self) -> int:
        """Count the Items, the Basic Offset Table included."""
        return len(self.offsets)

    def extent(self, index: int) -> Extent:
        """Return the value of one Item."""
        return Extent(self.offsets[index], self.lengths[index])


def scan_fragments(stream: Stream, offset: int) -> Fragments:
    """Walk the Items that begin at *offset*, reading their headers only (PS3.5 A.4)."""
    offsets, lengths = array("Q"), array("Q")
    position, cut = offset, False
    buffer, base = b"", offset
    while len(offsets) < MAX_FRAGMENTS:
        if position + 9 > base + len(buffer):
            short = len(offsets) > 1 and lengths[-1] < _WINDOW_BYTES // 4
            buffer, base = stream.pread(_WINDOW_BYTES if short else 9, position), position
        head = buffer[position - base : position - base + 9]
        if offsets and lengths[-1] % 2 and head[:4] not in _TAGS and head[1:5] in _TAGS:
            # An odd Item length counts its pad byte or does not (E20); the tag after it tells.
            position, head = position + 1, head[1:]
        if len(head) < 8 or head[:4] != ITEM:
            break
        (length,) = struct.unpack_from("<L", head, 4)
        if length == 0xFFFFFFFF:
            break
        start = position + 8
        present = max(0, min(length, stream.size - start))
        offsets.append(start)
        lengths.append(present)
        position = start + present
        if present < length:
            cut = True
            break
    delimited = stream.pread(4, position) == SEQUENCE_DELIMITER
    end = min(position + 8, stream.size) if delimited else position
    return Fragments(offsets, lengths, end, delimited, cut)


class Joined:
    """The values of Items end to end, as one stream (PS3.5 A.4): where in the source each of its bytes is."""

    __slots__ = ("_ends", "_offsets")

    def __init__(self, extents: Iterable[Extent]) -> None:
        """Join *extents*, which follow each other in the source with no more between them than Items have."""
        filled = [extent for extent in extents if extent.length]
        self._offsets = array("Q", [offset for offset, _ in filled])
        self._ends = array("Q", accumulate(length for _, length in filled))

    @property
    def size(self) -> int:
        """Bytes in the whole stream."""
        return self._ends[-1] if self._ends else 0

    @property
    def weight(self) -> int:
        """Bytes of memory that this costs."""
        return 16 * len(self._ends)

    def span(self, start: int, stop: int) -> Extent:
        """Return the bytes of the source in which those from *start* to *stop* are; there is at least one."""
        first, last = self._place(start), self._place(stop - 1)
        return Extent(first, last + 1 - first)

    def extents(self, start: int, stop: int) -> list[Extent]:
        """Return where the bytes from *start* to *stop* are in the source."""
        found, index = [], bisect_right(self._ends, start)
        while start < stop:
            until = min(stop, self._ends[index])
            found.append(Extent(self._place(start), until - start))
            start, index = until, index + 1
        return found

    def position_of(self, offset: int) -> int | None:
        """Return the place in the joined stream of the byte at *offset* of the source; None between values."""
        index = bisect_right(self._offsets, offset) - 1
        if index < 0:
            return None
        begin = self._ends[index - 1] if index else 0
        place = begin + offset - self._offsets[index]
        return place if place < self._ends[index] else None

    def cut(self, data: bytes | memoryview, start: int, stop: int) -> bytes | memoryview:
        """Leave out of the *data* of such a span what is between the values."""
        index = bisect_right(self._ends, start)
        if stop <= self._ends[index]:
            return data
        origin, parts, view = self._place(start), [], memoryview(data)
        while start < stop:
            until, at = min(stop, self._ends[index]), self._place(start) - origin
            parts.append(view[at : at + until - start])
            start, index = until, index + 1
        return b"".join(parts)

    def _place(self, position: int) -> int:
        """Return the offset in the source of a byte of the joined stream."""
        index = bisect_right(self._ends, position)
        return self._offsets[index] + position - (self._ends[index - 1] if index else 0)


class JoinedStream:
    """Joined values, read out of the stream that they are in."""

    __slots__ = ("_joined", "_stream")

    def __init__(self, joined: Joined, stream: Stream) -> None:
        """Read *joined* out of *stream*."""
        self._joined = joined
        self._stream = stream

    @property
    def size(self) -> int:
        """Bytes in the whole stream."""
        return self._joined.size

    def pread(self, length: int, offset: int) -> bytes:
        """Read *length* bytes at *offset*; fewer only where the stream ends."""
        stop = min(offset + length, self.size)
        if offset >= stop:
            return b""
        start, there = self._joined.span(offset, stop)
        return bytes(self._joined.cut(self._stream.pread(there, start), offset, stop))
