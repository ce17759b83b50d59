"""One version of an archive file as a stream that outlives each open file.

A parsed object is kept for long, an open file is not. So the stream of its data set reads through the file of that
version that the calling thread has open (`lend`), and opens one itself where there is none.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Protocol

from dicomfs.dicom.stream import Stream


class OpenFile(Stream, Protocol):
    """A stream that must be closed."""

    def close(self) -> None:
        """Close it."""


class _Lent(threading.local):
    """The streams that this thread has open, by the version of the file."""

    def __init__(self) -> None:
        self.streams: dict[Hashable, Stream] = {}


_lent = _Lent()


@contextmanager
def lend(version: Hashable, stream: Stream) -> Iterator[None]:
    """Have data sets of *version* read through *stream* in this thread, as long as the context lasts."""
    streams = _lent.streams
    before = streams.get(version)
    streams[version] = stream
    try:
        yield
    finally:
        if before is None:
            del streams[version]
        else:
            streams[version] = before


class VersionStream:
    """The bytes of one version of a file."""

    __slots__ = ("_open", "_version", "size")

    def __init__(self, version: Hashable, size: int, open_file: Callable[[], OpenFile]) -> None:
        """Read *size* bytes of *version*; *open_file* opens it, and raises where another version is in its place."""
        self._version = version
        self._open = open_file
        self.size = size

    def pread(self, length: int, offset: int) -> bytes:
        """Read *length* bytes at *offset*; fewer only at the end. Raises OSError, and what a lent stream raises."""
        stream = _lent.streams.get(self._version)
        if stream is not None:
            return stream.pread(length, offset)
        file = self._open()
        try:
            return file.pread(length, offset)
        finally:
            file.close()
