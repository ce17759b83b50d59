"""Boxes of an MP4 (ISO/IEC 14496-12 4.2), and the `free` box that fills a film up to the size that was promised."""

import errno
import io
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

_HEADER, _LARGE = struct.Struct(">I4s"), struct.Struct(">Q")
# A length that is too large for 32 bits follows the header, which then says 1.
_MOST_SHORT, _FOLLOWS = 0xFFFFFFFF, 1
# A film has a handful of boxes; more are read of nothing.
_MOST_BOXES = 16


class NoFilm(OSError):
    """What is to be filled up is no film that players would find their way in."""

    def __init__(self, reason: str) -> None:
        """Carry EIO."""
        super().__init__(errno.EIO, reason)


def leaves_room(length: int, size: int) -> bool:
    """Return whether a film of *length* bytes can be filled up to *size* bytes: no box is smaller than its header."""
    return length == size or length + _HEADER.size <= size


def free_header(length: int) -> bytes:
    """Return the header of a `free` box of *length* bytes, 8 at least, header included."""
    if length <= _MOST_SHORT:
        return _HEADER.pack(length, b"free")
    return _HEADER.pack(_FOLLOWS, b"free") + _LARGE.pack(length)


def fill_up(file: BinaryIO, size: int) -> None:
    """Make the film in *file* exactly *size* bytes long, with a `free` box of zeros at its end.

    The film must be of whole boxes, `ftyp` first and `moov` before `mdat`, and must leave room. Raises NoFilm.
    """
    length = file.seek(0, io.SEEK_END)
    kinds = list(_kinds(file, length))
    if kinds[:1] != [b"ftyp"] or b"mdat" not in kinds or b"moov" not in kinds[: kinds.index(b"mdat")]:
        raise NoFilm("what was made is no MP4 with its index before its pictures")
    if not leaves_room(length, size):
        raise NoFilm(f"the film takes {length} bytes, which do not fit into {size}")
    if length < size:
        file.seek(length, os.SEEK_SET)
        file.write(free_header(size - length))
        file.truncate(size)


def _kinds(file: BinaryIO, end: int) -> Iterator[bytes]:
    """Name the boxes of *file*, which must reach to its *end*. Raises NoFilm."""
    place = 0
    for _ in range(_MOST_BOXES):
        if place == end:
            return
        file.seek(place, os.SEEK_SET)
        head = file.read(_HEADER.size + _LARGE.size)
        length, kind = _HEADER.unpack_from(head) if len(head) >= _HEADER.size else (0, b"")
        if length == _FOLLOWS and len(head) == _HEADER.size + _LARGE.size:
            (length,) = _LARGE.unpack_from(head, _HEADER.size)
        if length < _HEADER.size or place + length > end:
            break
        yield kind
        place += length
    raise NoFilm("what was made does not consist of whole boxes")
