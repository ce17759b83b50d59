"""The bytes of a virtual file as a row of pieces whose sizes are known before any is made.

All slicing is done here. A piece is a few literal bytes, an extent of a source file, or something that is made
whole when a byte of it is wanted. What is made must have the size that was promised, or the read fails. It is not kept
here, whatever the number of open files: whoever makes it keeps it, where the memory for that is counted.
"""

import errno
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np

from dicomfs.dicom.fragments import Joined
from dicomfs.dicom.stream import Stream
from dicomfs.resources.threads import Purpose, run
from dicomfs.sources.source import SourceFile

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


class Extracted:
    """An extent of an inflated data set, which is in memory or in a temporary file."""

    __slots__ = ("_offset", "_stream", "size")

    def __init__(self, stream: Stream, offset: int, size: int) -> None:
        """Serve *size* bytes at *offset* of *stream*."""
        self._stream = stream
        self._offset = offset
        self.size = size

    async def read(self, start: int, stop: int) -> Buffer:
        """Read just the part that is wanted."""
        if getattr(self._stream, "in_memory", False):
            return self._stream.pread(stop - start, self._offset + start)
        return await run(Purpose.DISK, self._stream.pread, stop - start, self._offset + start)


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
    """Bytes that *make* gives as a whole for each read; it keeps them meanwhile.

    *given* counts those that were read, in whatever order.
    """

    __slots__ = ("_make", "given", "size")

    def __init__(self, size: int, make: Callable[[], Awaitable[Buffer]]) -> None:
        """Promise *size* bytes from *make*."""
        self._make = make
        self.given = 0
        self.size = size

    async def read(self, start: int, stop: int) -> Buffer:
        """Have it made, check it and slice it."""
        data = await self._make()
        if len(data) != self.size:
            raise WrongSize(self.size, len(data))
        self.given += stop - start
        return memoryview(data)[start:stop]


class Row:
    """Equal pieces end to end, made one by one when they are wanted; there is no object for each.

    *make* is asked for each read and keeps what it gives meanwhile. Give `close` to the Content that the row is put
    into.
    """

    __slots__ = ("_close", "_each", "_first", "_make", "_stop", "size")

    def __init__(
        self, count: int, each: int, make: Callable[[int], Awaitable[Buffer]], close: Callable[[], None] | None = None
    ) -> None:
        """Promise *count* pieces of *each* bytes, at least 1, from *make*, which is given the index from 0."""
        self._each = each
        self._make = make
        self._close = close
        self._first = self._stop = 0
        self.size = count * each

    @property
    def in_order(self) -> int:
        """Bytes that were read one after the other up to now; a jump begins anew."""
        return self._stop - self._first

    async def read(self, start: int, stop: int) -> Buffer:
        """Read across pieces."""
        self.note(start, stop)
        return await self.across(start, stop)

    async def across(self, start: int, stop: int) -> Buffer:
        """Do the same without noting it."""
        parts = []
        while start < stop:
            index, offset = divmod(start, self._each)
            end = min(stop - start + offset, self._each)
            parts.append(await self.part(index, offset, end))
            start += end - offset
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def note(self, start: int, stop: int) -> None:
        """Note that this is read, for `in_order`."""
        if not self._stop - _READ_AGAIN <= start <= self._stop + _SKIPPED:
            self._first = self._stop = start
        self._stop = max(self._stop, stop)

    async def part(self, index: int, start: int, stop: int) -> Buffer:
        """Give a part of one piece, which is made as a whole."""
        data = await self._make(index)
        if len(data) != self._each:
            raise WrongSize(self._each, len(data))
        return memoryview(data)[start:stop]

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


class Flipped(Row):
    """The pieces of *row*, each with its *lines* in the opposite order; only those that are wanted are read."""

    __slots__ = ("_line", "_row")

    def __init__(self, row: Row, count: int, each: int, lines: int) -> None:
        """Turn *count* pieces of *each* bytes over."""
        super().__init__(count, each, self._whole, row.close)
        self._row = row
        self._line = each // lines

    def note(self, start: int, stop: int) -> None:
        """Have the row know how far it is read: within a piece, it is read backwards."""
        self._row.note(start, stop)

    async def part(self, index: int, start: int, stop: int) -> Buffer:
        """Read the lines in which the part is, and turn them over."""
        line, each = self._line, self._each
        first, last = start // line, -(-stop // line)
        data = await self._row.across((index + 1) * each - last * line, (index + 1) * each - first * line)
        turned = np.frombuffer(data, np.uint8).reshape(-1, line)[::-1].tobytes()
        return memoryview(turned)[start - first * line : stop - first * line]

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
