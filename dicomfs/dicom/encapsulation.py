"""Encapsulated Pixel Data on its way into a file: one fragment a frame, and the table of where each begins.

Only this module writes offset tables: the Basic Offset Table, or the Extended Offset Table where 32 bits do not reach
(PS3.5 A.4, PS3.3 C.7.6.3.1.8).
"""

import struct
from array import array
from typing import BinaryIO

import numpy as np

from dicomfs.dicom import tags
from dicomfs.dicom.part10_writer import element_header

MOST_OFFSET = 0xFFFFFFFF
"""The last place in Pixel Data that a Basic Offset Table can state."""
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
_CHUNK = 1 << 20


class Encapsulation:
    """The element Pixel Data with *count* frames, written to *file* from where it stands."""

    def __init__(self, file: BinaryIO, count: int, most_offset: int = MOST_OFFSET) -> None:
        """Begin the element and leave room for the Basic Offset Table."""
        self._file = file
        self._most_offset = most_offset
        self._begin = file.tell()
        self._offsets = array("Q")
        self._lengths = array("Q")
        self._next = 0
        file.write(_head(bytes(4 * count)))

    def add(self, frame: bytes) -> None:
        """Write the next frame, with a pad byte where its length is odd."""
        self._offsets.append(self._next)
        self._lengths.append(len(frame))
        item = _item(frame + bytes(len(frame) % 2))
        self._file.write(item)
        self._next += len(item)

    def finish(self) -> None:
        """Write the delimiter and the table, and go to the end of the element.

        Where the Basic Offset Table cannot state all offsets, the frames are moved up to make room for the other one.
        """
        file = self._file
        file.write(_SEQUENCE_END)
        end = file.tell()
        if self._offsets[-1] <= self._most_offset:
            head = _head(np.asarray(self._offsets, "<u4").tobytes())
        else:
            head = (
                _extended(tags.ExtendedOffsetTable, self._offsets)
                + _extended(tags.ExtendedOffsetTableLengths, self._lengths)
                + _head(b"")
            )
        frames = end - self._next - len(_SEQUENCE_END)
        longer = self._begin + len(head) - frames
        if longer:
            _move(file, frames, end, longer)
        file.seek(self._begin)
        file.write(head)
        file.seek(end + longer)


def _head(table: bytes) -> bytes:
    """Write the start of Pixel Data up to the first frame."""
    return element_header(tags.PixelData, "OB", None) + _item(table)


def _item(value: bytes) -> bytes:
    return _ITEM + struct.pack("<L", len(value)) + value


def _extended(tag: int, numbers: "array[int]") -> bytes:
    return element_header(tag, "OV", 8 * len(numbers)) + np.asarray(numbers, "<u8").tobytes()


def _move(file: BinaryIO, start: int, end: int, by: int) -> None:
    """Move what is from *start* to *end* up by some bytes, the last first."""
    while end > start:
        begin = max(start, end - _CHUNK)
        file.seek(begin)
        data = file.read(end - begin)
        file.seek(begin + by)
        file.write(data)
        end = begin
