"""The bytes of a virtual file: one protocol, `Content`, and the parts that files are composed of.

Sizes are known before any byte is made. Literal bytes, extents of a source file and runs of equal frames are joined end
to end by `Concatenation`, which has the only slicing code. Open contents keep no frames: the frame cache holds them,
where their memory is accounted for.
"""

import errno
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np

from dicomfs.dicom.fragments import Joined
from dicomfs.dicom.stream import Stream
from dicomfs.resources.threads import Purpose, run
from dicomfs.sources.source import SourceFile

Buffer = bytes | memoryview

Wanted = Callable[[], bool]
"""Whether the client that has asked for something still waits for it."""

# Read-ahead reorders the requests of a sequential client: gaps of 128 KiB forward and 1 MiB back are sequential.
_MAX_GAP_BYTES, _MAX_STEP_BACK_BYTES = 128 << 10, 1 << 20


class WrongSize(OSError):
    """A part made another number of bytes than it had promised."""

    def __init__(self, promised: int, made: int) -> None:
        """Carry EIO."""
        super().__init__(errno.EIO, f"{made} bytes were made where {promised} were promised")


def always() -> bool:
    """Wait without end."""
    return True


class Content(ABC):
    """Bytes of known *size* that are made when they are read.

    *fresh* content was built anew since the file was last opened: whatever the kernel has kept of it is void.
    """

    __slots__ = ("size",)

    size: int
    fresh: bool = False

    @abstractmethod
    def read(self, start: int, stop: int) -> Coroutine[object, object, Buffer]:
        """Return the bytes from *start* to *stop*, where 0 <= start <= stop <= size. Raises OSError."""

    def close(self) -> None:
        """Release what reading needs."""
        return


class Closable(Protocol):
    """A resource that a content owns."""

    def close(self) -> None:
        """Release it."""


class Literal(Content):
    """Bytes in memory."""

    __slots__ = ("_data",)

    def __init__(self, data: Buffer) -> None:
        """Serve *data*."""
        self._data = memoryview(data)
        self.size = len(data)

    async def read(self, start: int, stop: int) -> Buffer:
        """Slice the data."""
        return self._data[start:stop]


class SourceExtent(Content):
    """An extent of a source file; the bytes of each *word* of more than one byte are reversed."""

    __slots__ = ("_file", "_offset", "_word")

    def __init__(self, file: SourceFile, offset: int, size: int, word: int = 1) -> None:
        """Serve *size* bytes at *offset* of *file*, which stays the caller's to close."""
        self._file = file
        self._offset = offset
        self._word = word
        self.size = size

    async def read(self, start: int, stop: int) -> Buffer:
        """Read whole words around the requested bytes. Raises WrongSize beyond the end of the file."""
        word = self._word
        first = start // word * word
        last = min(self.size, -(-stop // word) * word)
        data = await read_source(self._file, last - first, self._offset + first)
        if len(data) != last - first:
            raise WrongSize(last - first, len(data))
        if word > 1:
            data = reverse_words(data, word)
        return memoryview(data)[start - first : stop - first]


class InflatedExtent(Content):
    """An extent of an inflated data set, which is in memory or in a temporary file."""

    __slots__ = ("_offset", "_stream")

    def __init__(self, stream: Stream, offset: int, size: int) -> None:
        """Serve *size* bytes at *offset* of *stream*."""
        self._stream = stream
        self._offset = offset
        self.size = size

    async def read(self, start: int, stop: int) -> Buffer:
        """Read the requested bytes, in a thread where they are on disk."""
        if getattr(self._stream, "in_memory", False):
            return self._stream.pread(stop - start, self._offset + start)
        return await run(Purpose.DISK, self._stream.pread, stop - start, self._offset + start)


class JoinedExtents(Content):
    """Extents of a source file end to end, with small gaps between them: one object, and one read, for any number."""

    __slots__ = ("_file", "_joined")

    def __init__(self, file: SourceFile, joined: Joined, size: int) -> None:
        """Serve the first *size* bytes of *joined* out of *file*, which stays the caller's to close."""
        self._file = file
        self._joined = joined
        self.size = size

    async def read(self, start: int, stop: int) -> Buffer:
        """Read the extents and the gaps between them, then cut the gaps out."""
        offset, length = self._joined.span(start, stop)
        data = await read_source(self._file, length, offset)
        if len(data) != length:
            raise WrongSize(length, len(data))
        return self._joined.cut(data, start, stop)


class FrameRun(Content, ABC):
    """Equal frames end to end, made one by one on request; there is no object for each."""

    __slots__ = ("_first", "_stop", "each")

    def __init__(self, count: int, each: int) -> None:
        """Promise *count* frames of *each* bytes, at least 1."""
        self.each = each
        self._first = self._stop = 0
        self.size = count * each

    @property
    def in_order(self) -> int:
        """Bytes that were read sequentially up to now; a jump starts from 0."""
        return self._stop - self._first

    def read(self, start: int, stop: int) -> Coroutine[object, object, Buffer]:
        """Note the request for `in_order`, then read across frames."""
        self.note(start, stop)
        return self.across(start, stop)

    @abstractmethod
    async def across(self, start: int, stop: int) -> Buffer:
        """Read across frames."""

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield the index of each frame from *start* to *stop*, and the bytes of it from where to where."""
        while start < stop:
            index, offset = divmod(start, self.each)
            end = min(stop - start + offset, self.each)
            yield index, offset, end
            start += end - offset

    def note(self, start: int, stop: int) -> None:
        """Note a request for `in_order`."""
        if not self._stop - _MAX_STEP_BACK_BYTES <= start <= self._stop + _MAX_GAP_BYTES:
            self._first = self._stop = start
        self._stop = max(self._stop, stop)


class PartialFrameRun(FrameRun):
    """Equal frames of which any part can be had without the rest."""

    __slots__ = ()

    async def across(self, start: int, stop: int) -> Buffer:
        """Read across frames; most requests are for bytes of one."""
        index, offset = divmod(start, self.each or 1)
        if start < stop <= start + self.each - offset:
            return await self.part(index, offset, offset + stop - start)
        parts = [await self.part(index, begin, end) for index, begin, end in self.spans(start, stop)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @abstractmethod
    async def part(self, index: int, start: int, stop: int) -> Buffer:
        """Return the bytes from *start* to *stop* of one frame."""


class NativeFrameRun(PartialFrameRun):
    """Equal frames of a source file, of which only the requested bytes are read.

    The file is opened by the first read.
    """

    __slots__ = ("_file", "_word")

    def __init__(self, count: int, each: int, word: int = 1) -> None:
        """Promise *count* frames of *each* bytes; `change` gets whole words of *word* bytes."""
        super().__init__(count, each)
        self._word = word
        self._file: SourceFile | None = None

    @abstractmethod
    def offset(self, index: int) -> int:
        """Return the offset of a frame in the file. Raises OSError where the frame is missing."""

    @abstractmethod
    async def open_source(self) -> SourceFile:
        """Open the file."""

    def change(self, data: Buffer) -> Buffer:
        """Convert whole words without changing their number."""
        return data

    async def part(self, index: int, start: int, stop: int) -> Buffer:
        """Read whole words around the requested bytes."""
        first, last = start // self._word * self._word, -(-stop // self._word) * self._word
        offset = self.offset(index) + first
        data = await read_source(self._file or await self._opened(), last - first, offset)
        if len(data) != last - first:
            raise WrongSize(last - first, len(data))
        data = self.change(data)
        return data if last - first == stop - start else memoryview(data)[start - first : stop - first]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    async def _opened(self) -> SourceFile:
        file = await self.open_source()
        if self._file is None:
            self._file = file
        else:
            file.close()  # a concurrent read has opened it meanwhile
        return self._file


class UpsideDown(PartialFrameRun):
    """The frames of another run, each with its rows in reverse order; only the requested rows are read."""

    __slots__ = ("_frames", "_row_bytes")

    def __init__(self, frames: FrameRun, count: int, rows: int) -> None:
        """Reverse the *rows* of each of *count* frames."""
        super().__init__(count, frames.each)
        self._frames = frames
        self._row_bytes = frames.each // rows

    def note(self, start: int, stop: int) -> None:
        """Let the other run know how far it is read: within a frame, it is read backwards."""
        self._frames.note(start, stop)

    async def part(self, index: int, start: int, stop: int) -> Buffer:
        """Read the rows that contain the requested bytes, and reverse them."""
        row, each = self._row_bytes, self.each
        first, last = start // row, -(-stop // row)
        data = await self._frames.across((index + 1) * each - last * row, (index + 1) * each - first * row)
        turned = np.frombuffer(data, np.uint8).reshape(-1, row)[::-1].tobytes()
        return memoryview(turned)[start - first * row : stop - first * row]

    def close(self) -> None:
        """Close the other run."""
        self._frames.close()


class Concatenation(Content):
    """Parts end to end, read as one; closing it closes them and the resources that it owns."""

    __slots__ = ("_owned", "_parts", "_starts")

    def __init__(self, parts: Sequence[Content], *owned: Closable) -> None:
        """Join *parts*; *owned* are files that the parts read."""
        self._parts = parts
        self._starts = [0, *accumulate(part.size for part in parts)]
        self._owned = owned
        self.size = self._starts[-1]

    async def read(self, start: int, stop: int) -> Buffer:
        """Read across parts. Raises WrongSize where a part returns too few bytes."""
        index = bisect_right(self._starts, start) - 1
        pieces = []
        while start < stop:
            begin, end = self._starts[index], self._starts[index + 1]
            if start < end:
                last = min(stop, end)
                piece = await self._parts[index].read(start - begin, last - begin)
                if len(piece) != last - start:
                    # The kernel would take a short answer for the end of the file.
                    raise WrongSize(last - start, len(piece))
                pieces.append(piece)
                start = last
            index += 1
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Close the parts, then what is owned."""
        for part in self._parts:
            part.close()
        for resource in self._owned:
            resource.close()


def part_of(data: Buffer, promised: int, start: int, stop: int) -> Buffer:
    """Slice what was made as a whole. Raises WrongSize where it is not as long as *promised*."""
    if len(data) != promised:
        raise WrongSize(promised, len(data))
    return memoryview(data)[start:stop]


async def read_source(file: SourceFile, length: int, offset: int) -> Buffer:
    """Read a source file: at once what is in the page cache, in a thread what has to wait for a disk."""
    data = file.pread_cached(length, offset)
    if data is not None:
        return data
    return await run(Purpose.SOURCE, file.pread, length, offset)


def reverse_words(data: Buffer, word: int) -> bytes:
    """Reverse the bytes of each *word*; a remainder shorter than a word keeps its order."""
    whole = len(data) // word * word
    return np.frombuffer(data, f">u{word}", whole // word).astype(f"<u{word}").tobytes() + bytes(data[whole:])
