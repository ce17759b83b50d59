"""The bytes of a virtual file as a row of pieces whose sizes are known before any is made.

All slicing is done here. A piece is a few literal bytes, an extent of a source file, or something that is made
whole when its first byte is wanted. What is made must have the size that was promised, or the read fails.
"""

import errno
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np

from dicomfs.image.fragments import Joined
from dicomfs.source import SourceFile
from dicomfs.threads import Purpose, run

Buffer = bytes | memoryview

# Requests of one reader skip no more than this when they overtake each other, and reach back no further than that.
_SKIPPED, _READ_AGAIN = 128 << 10, 1 << 20


class WrongSize(OSError):
    """What was made is not as long as its size said."""

    def __init__(self, promised: int, made: int) -> None:
        """Carry EIO."""
        super().__init__(errno.EIO, f"{made} bytes were made where {promised} were promised")


class Piece(Protocol):
    """Some bytes of known size."""

    @property
    def size(self) -> int:
        """Bytes in the piece."""

    async def read(self, start: int, stop: int) -> Buffer:
        """Give the bytes from *start* to *stop*, both within the piece."""


class Ready:
    """Bytes that are there already."""

    __slots__ = ("_data",)

    def __init__(self, data: Buffer) -> None:
        """Serve *data*."""
        self._data = memoryview(data)

    @property
    def size(self) -> int:
        """Bytes in the piece."""
        return len(self._data)

    async def read(self, start: int, stop: int) -> Buffer:
        """Slice."""
        return self._data[start:stop]


class Stored:
    """An extent of a source file; *word* bytes at a time are reversed when it is more than 1."""

    __slots__ = ("_file", "_offset", "_word", "size")

    def __init__(self, file: SourceFile, offset: int, size: int, word: int = 1) -> None:
        """Serve *size* bytes at *offset* of *file*, which stays the caller's to close."""
        self._file = file
        self._offset = offset
        self._word = word
        self.size = size

    async def read(self, start: int, stop: int) -> Buffer:
        """Read just the part that is wanted."""
        word = self._word
        first = start // word * word
        last = min(self.size, -(-stop // word) * word)
        data = await read_source(self._file, last - first, self._offset + first)
        if len(data) != last - first:
            raise WrongSize(last - first, len(data))
        if word > 1:
            data = reverse_words(data, word)
        return memoryview(data)[start - first : stop - first]


class Gathered:
    """Extents of a source file end to end, with little between them: one object, and one read, for any number."""

    __slots__ = ("_file", "_joined", "size")

    def __init__(self, file: SourceFile, joined: Joined, size: int) -> None:
        """Serve the first *size* bytes of *joined* out of *file*, which stays the caller's to close."""
        self._file = file
        self._joined = joined
        self.size = size

    async def read(self, start: int, stop: int) -> Buffer:
        """Read just the part that is wanted, and what is between."""
        offset, length = self._joined.span(start, stop)
        data = await read_source(self._file, length, offset)
        if len(data) != length:
            raise WrongSize(length, len(data))
        return self._joined.cut(data, start, stop)


class Made:
    """Bytes that are made as a whole by *make*; the last result is kept as long as the content is open.

    *given* counts those that were read, in whatever order.
    """

    __slots__ = ("_data", "_make", "given", "size")

    def __init__(self, size: int, make: Callable[[], Awaitable[Buffer]]) -> None:
        """Promise *size* bytes from *make*."""
        self._make = make
        self._data: Buffer | None = None
        self.given = 0
        self.size = size

    async def read(self, start: int, stop: int) -> Buffer:
        """Make what is not made yet, check it and slice it."""
        if self._data is None:
            data = await self._make()
            if len(data) != self.size:
                raise WrongSize(self.size, len(data))
            self._data = data
        self.given += stop - start
        return memoryview(self._data)[start:stop]


class Row:
    """Equal pieces end to end, made one by one when they are wanted; there is no object for each.

    The last one made is kept as long as the content is open. Give `close` to the Content that the row is put into.
    """

    __slots__ = ("_close", "_each", "_first", "_last", "_make", "_stop", "size")

    def __init__(
        self, count: int, each: int, make: Callable[[int], Awaitable[Buffer]], close: Callable[[], None] | None = None
    ) -> None:
        """Promise *count* pieces of *each* bytes, at least 1, from *make*, which is given the index from 0."""
        self._each = each
        self._make = make
        self._close = close
        self._last: tuple[int, Buffer] | None = None
        self._first = self._stop = 0
        self.size = count * each

    @property
    def in_order(self) -> int:
        """Bytes that were read one after the other up to now; a jump begins anew."""
        return self._stop - self._first

    async def read(self, start: int, stop: int) -> Buffer:
        """Read across pieces."""
        if not self._stop - _READ_AGAIN <= start <= self._stop + _SKIPPED:
            self._first = self._stop = start
        self._stop = max(self._stop, stop)
        parts = []
        while start < stop:
            index, offset = divmod(start, self._each)
            end = min(stop - start + offset, self._each)
            parts.append(await self.part(index, offset, end))
            start += end - offset
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def part(self, index: int, start: int, stop: int) -> Buffer:
        """Give a part of one piece, which is made as a whole unless it is the last one made."""
        last = self._last
        if last is None or last[0] != index:
            data = await self._make(index)
            if len(data) != self._each:
                raise WrongSize(self._each, len(data))
            self._last = last = index, data
        return memoryview(last[1])[start:stop]

    def close(self) -> None:
        """Give back what the pieces are made from."""
        if self._close is not None:
            self._close()


class StoredRow(Row):
    """Equal pieces of a source file, *each* bytes at the place that *offset* gives; only what is wanted is read.

    The file is opened with *open_source* when first read. *change* is applied to what was read, always whole words of
    *word* bytes, and keeps their number.
    """

    __slots__ = ("_change", "_file", "_offset", "_open", "_word")

    def __init__(
        self,
        count: int,
        each: int,
        offset: Callable[[int], int],
        open_source: Callable[[], Awaitable[SourceFile]],
        word: int = 1,
        change: Callable[[Buffer], Buffer] | None = None,
    ) -> None:
        """Promise *count* pieces."""
        super().__init__(count, each, self._whole)
        self._offset = offset
        self._open = open_source
        self._word = word
        self._change = change
        self._file: SourceFile | None = None

    async def part(self, index: int, start: int, stop: int) -> Buffer:
        """Read a part of one piece."""
        first, last = start // self._word * self._word, -(-stop // self._word) * self._word
        offset = self._offset(index) + first
        data = await read_source(self._file or await self._opened(), last - first, offset)
        if len(data) != last - first:
            raise WrongSize(last - first, len(data))
        if self._change is not None:
            data = self._change(data)
        return data if last - first == stop - start else memoryview(data)[start - first : stop - first]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    async def _opened(self) -> SourceFile:
        file = await self._open()
        if self._file is None:
            self._file = file
        else:
            file.close()  # another reader was faster
        return self._file

    async def _whole(self, index: int) -> Buffer:
        return await self.part(index, 0, self._each)


class Content:
    """A row of pieces, read as one; `close` gives back what the pieces hold."""

    __slots__ = ("_close", "_pieces", "_starts", "size")

    def __init__(self, pieces: Sequence[Piece], close: Callable[[], None] | None = None) -> None:
        """Put *pieces* end to end."""
        self._pieces = pieces
        self._starts = [0, *accumulate(piece.size for piece in pieces)]
        self._close = close
        self.size = self._starts[-1]

    async def read(self, offset: int, length: int) -> Buffer:
        """Read up to *length* bytes at *offset*; fewer only at the end."""
        stop = min(offset + length, self.size)
        if offset >= stop:
            return b""
        index = bisect_right(self._starts, offset) - 1
        parts = []
        while offset < stop:
            start, end = self._starts[index], self._starts[index + 1]
            if offset < end:
                part = await self._pieces[index].read(offset - start, min(stop, end) - start)
                if len(part) != min(stop, end) - offset:
                    # The kernel would take it for the end of the file.
                    raise WrongSize(min(stop, end) - offset, len(part))
                parts.append(part)
                offset = min(stop, end)
            index += 1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Give back what the pieces hold."""
        if self._close is not None:
            self._close()


async def read_source(file: SourceFile, length: int, offset: int) -> Buffer:
    """Read a source file: at once what is in the page cache, from a thread what would have to wait for a disk."""
    data = file.pread_cached(length, offset)
    if data is not None:
        return data
    return await run(Purpose.SOURCE, file.pread, length, offset)


def reverse_words(data: Buffer, word: int) -> bytes:
    """Reverse the bytes of each *word*; a rest shorter than a word stays as it is."""
    whole = len(data) // word * word
    return np.frombuffer(data, f">u{word}", whole // word).astype(f"<u{word}").tobytes() + bytes(data[whole:])
