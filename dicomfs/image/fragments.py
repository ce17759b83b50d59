"""The Items of encapsulated Pixel Data, and where they lie (PS3.5 A.4).

Only this module walks Items. It reads their headers, never their values: a file's cost is the number of its Items.
"""

import struct
from array import array
from dataclasses import dataclass

from dicomfs.dicom.stream import Stream
from dicomfs.image.extents import Extent

ITEM = b"\xfe\xff\x00\xe0"
SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0"
_TAGS = (ITEM, SEQUENCE_DELIMITER)
# A one gigabyte file made of empty Items would have 134 million; no real object comes near one, and a walk over
# one million takes a second or two.
MOST_FRAGMENTS = 1_000_000
# Where Items are shorter than a quarter of this, several headers are had with one read.
_WINDOW = 8192


@dataclass(frozen=True, slots=True)
class Fragments:
    """The Items of encapsulated Pixel Data; index 0 is the Basic Offset Table (PS3.5 A.4).

    *offsets* and *lengths* describe the values of the Items, *end* is the offset behind the Sequence
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
        """Give the value of one Item."""
        return Extent(self.offsets[index], self.lengths[index])


def scan_fragments(stream: Stream, offset: int) -> Fragments:
    """Walk the Items that begin at *offset*, reading their headers only (PS3.5 A.4)."""
    offsets, lengths = array("Q"), array("Q")
    position, cut = offset, False
    buffer, base = b"", offset
    while len(offsets) < MOST_FRAGMENTS:
        if position + 9 > base + len(buffer):
            short = len(offsets) > 1 and lengths[-1] < _WINDOW // 4
            buffer, base = stream.pread(_WINDOW if short else 9, position), position
        head = buffer[position - base : position - base + 9]
        if offsets and lengths[-1] % 2 and head[:4] not in _TAGS and head[1:5] in _TAGS:
            # An odd Item length counts its pad byte or does not (E20); the tag behind it tells.
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
