"""What the virtual files of one DICOM file share: how to get at it again, and whose it is.

A virtual file keeps a Subject and never an Instance: a listing of many thousands then costs little, and the
header is parsed again when it has fallen out of the cache.
"""

import hashlib
import threading
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from dicomfs.cache.disk import DiskCache
from dicomfs.cache.memory import Lru
from dicomfs.dicom.stream import Extent, Stream
from dicomfs.dicom.xattrs import attributes
from dicomfs.instance.instance import Instance, load
from dicomfs.instance.remark_log import RemarkLog
from dicomfs.instance.view_options import USUAL_VIEW, ViewOptions
from dicomfs.resources.threads import Purpose, run
from dicomfs.sources.open_files import NotAtHand, RecentFiles
from dicomfs.sources.source import Entry, Source, SourceFile, Version
from dicomfs.vfs.builds import Builds
from dicomfs.vfs.content import Content, Extracted, Ready, Stored
from dicomfs.vfs.nodes import Attributes, Children, File, LateDirectory, read_only
from dicomfs.workers.frame_cache import Decoder
from dicomfs.workers.readahead import Ahead

Read = TypeVar("Read")

# A node below a DICOM file never changes: another version of the file is another inode.
FOREVER = 3600.0
# A header costs 20 to 100 KB in memory, the names and sizes of one file 20 KB: room for some hundred headers in use and
# for the listings of some six thousand files, so that listing them again reads nothing. A header that is larger than
# all that is kept alone: without it each frame of a large Enhanced object would parse it again.
HEADER_BYTES = 32 << 20
TEXT_BYTES = 8 << 20
CHILDREN_BYTES = 120 << 20
# What Python and malloc take beside what is weighed, measured over 9,000 small objects and over many kinds of files.
_OVERHEAD = 9 / 8
# Files, each with some 20 KB of attributes at most.
ATTRIBUTES = 200
# Digests of whole files, 32 bytes each, and bytes that are read at a time for one.
DIGESTS, DIGESTED = 10_000, 1 << 20
# On disk, for what was built or decoded.
BUILT_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Services:
    """What serves every file of a mount: the archive, the decoders, and what was used last of headers and names.

    *view* is what the user chose about the virtual files.
    """

    source: Source
    decoder: Decoder
    instances: Lru[Instance]
    texts: Lru[bytes]
    children: Lru[Children]
    attributes: Lru[Mapping[bytes, bytes]]
    digests: Lru[bytes]
    ahead: Ahead
    recent: RecentFiles
    builds: Builds
    view: ViewOptions = USUAL_VIEW
    remark_log: RemarkLog = field(default_factory=RemarkLog)

    @classmethod
    def of(
        cls,
        source: Source,
        decoder: Decoder,
        view: ViewOptions = USUAL_VIEW,
        built: int = BUILT_BYTES,
        disk: DiskCache | None = None,
    ) -> "Services":
        """Serve *source* with *decoder* and caches of the usual size; *built* is for built files that *disk* lacks."""
        return cls(
            source,
            decoder,
            Lru(HEADER_BYTES, lambda instance: min(int(instance.weight * _OVERHEAD), HEADER_BYTES)),
            Lru(TEXT_BYTES, len),
            Lru(CHILDREN_BYTES, lambda children: min(int(children.weight * _OVERHEAD), CHILDREN_BYTES)),
            Lru(ATTRIBUTES, lambda _: 1),
            Lru(DIGESTS, lambda _: 1),
            Ahead(decoder.depth),
            RecentFiles(),
            Builds(built, max(2, decoder.workers), disk, source.descriptors),
            view,
        )


@dataclass(frozen=True, slots=True)
class Subject:
    """One version of one DICOM file."""

    entry: Entry
    services: Services

    @property
    def version(self) -> Version:
        """What tells this version of this file from all others; part of every cache key."""
        return self.entry.version

    @property
    def place(self) -> Hashable:
        """This version where it is: what keys nodes, which open the file again by its path and show its name."""
        return self.version, self.entry.steps, self.entry.name

    async def instance(self) -> Instance:
        """Give the parsed object, from the cache or by parsing it in a thread. Raises SourceChanged."""
        return await self.services.instances.get(self.version, self._load)

    async def header_attributes(self) -> Mapping[bytes, bytes]:
        """Give the header as extended attributes, from the cache or made in a thread. Raises SourceChanged."""
        return await self.services.attributes.get(self.version, self._attributes)

    async def digest(self) -> bytes:
        """Give the SHA-256 of all bytes of the file: what names it beyond this mount. Raises SourceChanged.

        Nothing less tells two files apart for certain whose headers, sizes and times are alike; to build something of
        the file, all of it is read anyway.
        """
        return await self.services.digests.get(self.version, self._digest)

    async def open(self) -> SourceFile:
        """Open this version in a thread. Raises SourceChanged."""
        opened: list[SourceFile] = []
        lock, late = threading.Lock(), False

        def work() -> SourceFile:
            file = self.services.source.open(self.entry.path, self.entry.fingerprint, self.entry.steps)
            with lock:
                opened.append(file)
                if late:
                    file.close()
            return file

        try:
            return await run(Purpose.SOURCE, work)
        except trio.Cancelled:
            with lock:
                late = True
                for file in opened:
                    file.close()
            raise

    async def read(self, use: Callable[[SourceFile], Read]) -> Read:
        """Open this version, let *use* read it and close it, all in one thread. Raises SourceChanged."""

        def work() -> Read:
            file = self.services.source.open(self.entry.path, self.entry.fingerprint, self.entry.steps)
            try:
                return use(file)
            finally:
                file.close()

        return await run(Purpose.SOURCE, work)

    async def glance(self, look: Callable[[Instance, Stream], Read]) -> Read:
        """Have *look* read a little of the object, whose extents refer to the stream that it is given.

        That is done at once where it is in memory, else as `read` does it. Raises SourceChanged.
        """
        instance, recent, version = await self.instance(), self.services.recent, self.version

        def use(file: Stream) -> Read:
            return look(instance, instance.inflated or file)

        if version not in recent:
            recent.keep(version, await self.open())
        try:
            return recent.use(version, use)
        except NotAtHand:
            return await self.read(use)

    async def stored(self, extents: Sequence[Extent], word: int = 1) -> Content:
        """Open some bytes of the file, or of its inflated data set; words of *word* bytes are reversed."""
        instance = await self.instance()
        if instance.inflated:  # always little endian
            return Content([Extracted(instance.inflated, offset, length) for offset, length in extents])
        source = await self.open()
        return Content([Stored(source, offset, length, word) for offset, length in extents], source.close)

    def file(self, size: int) -> Attributes:
        """Describe a virtual file of *size* bytes."""
        entry = self.entry
        mode = read_only(entry.mode & ~0o111)
        return Attributes(mode, entry.uid, entry.gid, size, entry.mtime_ns, FOREVER)

    def directory(self) -> Attributes:
        """Describe a virtual directory."""
        entry = self.entry
        mode = read_only(entry.mode, directory=True)
        return Attributes(mode, entry.uid, entry.gid, 0, entry.mtime_ns, FOREVER)

    def late_directory(
        self, name: str, attributes: Attributes, find: Callable[[], Awaitable[Children]]
    ) -> LateDirectory:
        """Give a directory whose children are found with *find* when they are wanted and kept while there is room."""
        children, key = self.services.children, (self.place, name)
        return LateDirectory(attributes, lambda: children.get(key, find), self.version)

    async def _attributes(self) -> Mapping[bytes, bytes]:
        parsed = (await self.instance()).parsed
        return await run(Purpose.COMPUTING, attributes, parsed) if parsed else {}

    async def _digest(self) -> bytes:
        wanted = True

        def take(file: SourceFile) -> bytes:
            digest = hashlib.sha256()
            for offset in range(0, file.size, DIGESTED):
                if wanted:
                    digest.update(file.pread(DIGESTED, offset))
            return digest.digest()

        try:
            return await self.read(take)
        finally:
            wanted = False  # a thread that nobody waits for any longer need not read on

    async def _load(self) -> Instance:
        return await self.read(load)


class ContentFile(File):
    """A file whose content is opened by a function of its own."""

    __slots__ = ("_open",)

    def __init__(self, attributes: Attributes, open_content: Callable[[], Awaitable[Content]]) -> None:
        """Open the content with *open_content*."""
        super().__init__(attributes)
        self._open = open_content

    async def open(self) -> Content:
        """Make the content ready."""
        return await self._open()


class TextFile(File):
    """A text that is made from the header alone; its size is known by making it once."""

    __slots__ = ("_key", "_make", "_subject")

    def __init__(self, subject: Subject, instance: Instance, key: Hashable, make: Callable[[Instance], bytes]) -> None:
        """Serve what *make* returns; it must return the same for the same Instance each time."""
        super().__init__(subject.file(len(make(instance))))
        self._subject = subject
        self._key = (subject.version, key)
        self._make = make

    async def open(self) -> Content:
        """Give the text, made anew if it is no longer in the cache."""
        return Content([Ready(await self._subject.services.texts.get(self._key, self._text))])

    async def _text(self) -> bytes:
        instance = await self._subject.instance()
        return await run(Purpose.COMPUTING, self._make, instance)
