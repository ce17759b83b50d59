"""A handle of one DICOM file: how virtual files get at its header and bytes, and whose it is.

A virtual file keeps a handle and never an Instance: a listing of many thousands then costs little, and the header is
parsed again when it has fallen out of the cache.
"""

import hashlib
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

import trio

from dicomfs.dicom.stream import Extent, Stream
from dicomfs.dicom.xattrs import attributes
from dicomfs.instance.instance import Instance, load
from dicomfs.instance.services import MountServices
from dicomfs.instance.version_stream import VersionStream, lend
from dicomfs.resources.threads import Purpose, run
from dicomfs.sources.open_files import OpenFiles
from dicomfs.sources.source import Entry, SourceFile, Version
from dicomfs.vfs.content import Concatenation, Content, InflatedExtent, SourceExtent
from dicomfs.vfs.nodes import Attributes, Children, LazyDirectory, read_only

Arguments = ParamSpec("Arguments")
Read = TypeVar("Read")

# A node below a DICOM file never changes: another version of the file is another inode.
_FOREVER_SECONDS = 3600.0
# What is read at a time for the digest of a whole file.
_DIGEST_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class InstanceHandle:
    """One version of one DICOM file; handles of the same version are equal."""

    entry: Entry
    services: MountServices

    def __eq__(self, other: object) -> bool:
        """Compare versions."""
        return isinstance(other, InstanceHandle) and self.entry.version == other.entry.version

    def __hash__(self) -> int:
        """Hash the version."""
        return hash(self.entry.version)

    @property
    def version(self) -> Version:
        """What tells this version of this file from all others; part of every cache key."""
        return self.entry.version

    @property
    def place(self) -> Hashable:
        """Version, path and name: the key of nodes, which open the file again by its path and show its name."""
        return self.version, self.entry.steps, self.entry.name

    async def parsed(self) -> Instance:
        """Return the object with its data set, from the cache or by parsing it in a thread. Raises SourceChanged."""
        return await self.services.instances.get(self.version, partial(self.read, self.load))

    async def instance(self) -> Instance:
        """Return the object settled, so that reading its frames asks nothing of the source. Raises SourceChanged."""
        instance = await self.services.instances.get(self.version, partial(self.read, self._load))
        if not instance.is_settled:
            await self.read(_settle, instance)
        return instance

    def load(self, file: SourceFile) -> Instance:
        """Parse the object in *file*; it may be asked for more when the file is closed."""
        return load(VersionStream(self.version, file.size, self._open))

    async def header_attributes(self) -> Mapping[bytes, bytes]:
        """Return the header as extended attributes, from the cache or made in a thread. Raises SourceChanged."""
        return await self.services.attributes.get(self.version, self._attributes)

    async def digest(self) -> bytes:
        """Return the SHA-256 of all bytes of the file, which names it beyond this mount. Raises SourceChanged.

        Nothing less tells two files apart for certain whose headers, sizes and times are alike; to build something of
        the file, all of it is read anyway.
        """
        return await self.services.digests.get(self.version, self._digest)

    async def open(self) -> SourceFile:
        """Open this version in a thread. Raises SourceChanged."""
        opening = _Opening(self._open)
        try:
            return await run(Purpose.SOURCE, opening.work)
        except trio.Cancelled:
            opening.abandon()
            raise

    async def read(
        self, use: Callable[Concatenate[SourceFile, Arguments], Read], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Read:
        """Open this version, have *use* read it and close it, all in one thread. Raises SourceChanged."""
        return await run(Purpose.SOURCE, partial(self._use, use, *args, **kwargs))

    async def at_hand(self) -> AbstractContextManager[Stream]:
        """Return a stream of as much of this version as is in memory, opened if it is not. Raises SourceChanged.

        Reading the stream raises WouldBlock where a thread has to wait for a disk or a server.
        """
        open_files, version = self.services.open_files, self.version
        if version not in open_files:
            open_files.keep(version, await self.open())
        return _lent(open_files, version)

    async def stored(self, extents: Sequence[Extent], word: int = 1) -> Content:
        """Open some bytes of the file, or of its inflated data set; words of *word* bytes are reversed."""
        instance = await self.instance()
        if instance.inflated:  # always little endian
            return Concatenation([InflatedExtent(instance.inflated, offset, length) for offset, length in extents])
        source = await self.open()
        return Concatenation([SourceExtent(source, offset, length, word) for offset, length in extents], source)

    def file(self, size: int) -> Attributes:
        """Return the attributes of a virtual file of *size* bytes."""
        entry = self.entry
        mode = read_only(entry.mode & ~0o111)
        return Attributes(mode, entry.uid, entry.gid, size, entry.mtime_ns, _FOREVER_SECONDS)

    def directory(self) -> Attributes:
        """Return the attributes of a virtual directory."""
        entry = self.entry
        mode = read_only(entry.mode, directory=True)
        return Attributes(mode, entry.uid, entry.gid, 0, entry.mtime_ns, _FOREVER_SECONDS)

    def lazy_directory(
        self, name: str, attributes: Attributes, find: Callable[[], Awaitable[Children]]
    ) -> LazyDirectory:
        """Return a directory whose children *find* finds on request; they are kept while there is memory."""
        children = self.services.children
        return LazyDirectory(attributes, partial(children.get, (self.place, name), find), self.version)

    def _open(self) -> SourceFile:
        return self.services.source.open(self.entry.path, self.entry.fingerprint, self.entry.steps)

    def _use(self, use: Callable[[SourceFile], Read], *args: object, **kwargs: object) -> Read:
        file = self._open()
        try:
            with lend(self.version, file):
                return use(file, *args, **kwargs)
        finally:
            file.close()

    async def _attributes(self) -> Mapping[bytes, bytes]:
        parsed = (await self.parsed()).parsed
        return await run(Purpose.COMPUTING, attributes, parsed) if parsed else {}

    async def _digest(self) -> bytes:
        abandoned = threading.Event()
        try:
            return await self.read(_sha256, abandoned)
        finally:
            abandoned.set()

    def _load(self, file: SourceFile) -> Instance:
        instance = self.load(file)
        instance.settle()
        return instance


@contextmanager
def _lent(open_files: OpenFiles, version: Version) -> Iterator[Stream]:
    """Lend a file that is open to the data set as well, which may read long values of it."""
    with open_files.lent(version) as stream, lend(version, stream):
        yield stream


def _settle(_: SourceFile, instance: Instance) -> None:
    instance.settle()


class _Opening:
    """A file that is being opened in a thread, and closed at once if nobody waits for it any longer."""

    __slots__ = ("_abandoned", "_file", "_lock", "_open")

    def __init__(self, open_file: Callable[[], SourceFile]) -> None:
        self._open = open_file
        self._lock = threading.Lock()
        self._abandoned = False
        self._file: SourceFile | None = None

    def work(self) -> SourceFile:
        """Open the file, in a thread."""
        file = self._open()
        with self._lock:
            self._file = file
            if self._abandoned:
                file.close()
        return file

    def abandon(self) -> None:
        """Close the file, now or once it is open."""
        with self._lock:
            self._abandoned = True
            if self._file is not None:
                self._file.close()


def _sha256(file: SourceFile, abandoned: threading.Event) -> bytes:
    """Compute the digest of a whole file, unless that is *abandoned*: then the result is of no use."""
    digest = hashlib.sha256()
    for offset in range(0, file.size, _DIGEST_CHUNK_BYTES):
        if abandoned.is_set():
            break
        digest.update(file.pread(_DIGEST_CHUNK_BYTES, offset))
    return digest.digest()
