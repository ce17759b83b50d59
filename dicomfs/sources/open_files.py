"""Recently used source files, kept open for a moment so that the next read needs no thread.

A thread that opens a file, reads a frame and closes the file costs more than everything else that is done for a small
frame. Everything here happens on the event loop and never waits for a disk or a server.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from dicomfs.dicom.stream import Stream
from dicomfs.sources.source import SourceChanged, SourceFile, Version

# Mostly one object is read at a time. These descriptors are open in addition to those of clients.
_MAX_FILES = 4
# An idle file keeps its file system from being unmounted for this long, or up to twice as long.
_IDLE_SECONDS = 0.5
# Copying more than this at once would delay all other requests.
_MAX_READ_BYTES = 2 << 20


class WouldBlock(Exception):
    """That version is not open, or some of the bytes are not in memory."""


class _PageCacheView:
    """The part of a file that is in the page cache."""

    __slots__ = ("_file", "size")

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self.size = file.size

    def pread(self, length: int, offset: int) -> bytes:
        data = self._file.pread_cached(length, offset) if length <= _MAX_READ_BYTES else None
        if data is None:
            raise WouldBlock
        return bytes(data)


class OpenFiles:
    """The files that were read last."""

    def __init__(self) -> None:
        """Start without any."""
        self._files: OrderedDict[Version, SourceFile] = OrderedDict()
        self._unused: set[Version] = set()
        self._watched = False

    def __contains__(self, version: Version) -> bool:
        """Return whether that version is open."""
        file = self._files.get(version)
        return file is not None and file.is_open

    @contextmanager
    def lent(self, version: Version) -> Iterator[Stream]:
        """Lend the part of a version that is in memory. Raises WouldBlock if it is not open; reads raise it too."""
        file = self._files.get(version)
        if file is None:
            raise WouldBlock
        self._unused.discard(version)
        try:
            yield _PageCacheView(file)
        except SourceChanged:
            self._drop(version)
            raise

    def keep(self, version: Version, file: SourceFile) -> None:
        """Take over *file*, and close it when it has been idle."""
        self._drop(version)
        self._files[version] = file
        while len(self._files) > _MAX_FILES:
            self._drop(next(iter(self._files)))
        if not self._watched:
            self._watched = True
            trio.lowlevel.spawn_system_task(self._watch)

    async def _watch(self) -> None:
        """Close files that have been idle for an interval, until none is left; all of them when the event loop ends."""
        try:
            while self._files:
                self._unused = set(self._files)
                await trio.sleep(_IDLE_SECONDS)
                for version in self._unused:
                    self._drop(version)
        finally:
            self._watched = False
            while self._files:
                self._drop(next(iter(self._files)))

    def _drop(self, version: Version) -> None:
        file = self._files.pop(version, None)
        if file is not None:
            file.close()
