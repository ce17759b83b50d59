"""Files of the archive that were read a moment ago, still open, so that what follows in them is read without a thread.

A thread to open the file, read a frame and close it again costs more than all else that is done for a small picture.
Everything here happens on the event loop and never waits for a disk or a server.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from dicomfs.dicom.stream import Stream
from dicomfs.sources.source import SourceChanged, SourceFile, Version

# Objects that are read at the same time, mostly one; descriptors that may be open besides those of readers.
_MOST = 4
# How long a file that nobody reads any more may keep its file system from being unmounted, in seconds; or twice that.
_SECONDS = 0.5
# Copying more than this at once would keep everybody else waiting.
_LONGEST = 2 << 20


class NotAtHand(Exception):
    """No file of that version is open, or not all of what is wanted of it is in memory."""


class _AtHand:
    """A file as far as it is in memory."""

    __slots__ = ("_file", "size")

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self.size = file.size

    def pread(self, length: int, offset: int) -> bytes:
        data = self._file.pread_cached(length, offset) if length <= _LONGEST else None
        if data is None:
            raise NotAtHand
        return bytes(data)


class RecentFiles:
    """The files that were read last."""

    def __init__(self) -> None:
        """Start without any."""
        self._files: OrderedDict[Version, SourceFile] = OrderedDict()
        self._unused: set[Version] = set()
        self._watched = False

    def __contains__(self, version: Version) -> bool:
        """Tell whether that version is open."""
        file = self._files.get(version)
        return file is not None and file.is_open

    @contextmanager
    def lent(self, version: Version) -> Iterator[Stream]:
        """Lend a version that is open, as far as it is in memory. Raises NotAtHand, as reading it does."""
        file = self._files.get(version)
        if file is None:
            raise NotAtHand
        self._unused.discard(version)
        try:
            yield _AtHand(file)
        except SourceChanged:
            self._drop(version)
            raise

    def keep(self, version: Version, file: SourceFile) -> None:
        """Take over *file*, to be closed when it was not used for a while."""
        self._drop(version)
        self._files[version] = file
        while len(self._files) > _MOST:
            self._drop(next(iter(self._files)))
        if not self._watched:
            self._watched = True
            trio.lowlevel.spawn_system_task(self._watch)

    async def _watch(self) -> None:
        """Close what was not used between two looks, until nothing is left; all of it when the event loop ends."""
        try:
            while self._files:
                self._unused = set(self._files)
                await trio.sleep(_SECONDS)
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
