"""Where things appear: the mirror of the archive, with a directory in place of every DICOM file."""

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import trio

from dicomfs.content import Content, Stored
from dicomfs.files import VIRTUAL_FILES
from dicomfs.files.subject import ContentFile, Services, Subject
from dicomfs.image.instance import Instance, load
from dicomfs.nodes import (
    Attributes,
    Child,
    Children,
    Directory,
    FixedDirectory,
    ListedChildren,
    Node,
    read_only,
)
from dicomfs.source import Entry, Kind, SourceFile

# How long the kernel may show what it saw of the archive before it asks again. A file that is opened is checked in any
# case: an old version gives ESTALE, upon which the kernel looks anew by itself.
MIRROR_SECONDS = 5.0

# What those of one object cost in memory, about.
_FILES_BYTES = 16 << 10


class MirrorDirectory(Directory):
    """A directory of the archive."""

    __slots__ = ("_ancestors", "_known", "_path", "_services")

    def __init__(self, entry: Entry, services: Services, ancestors: frozenset[tuple[int, int]] = frozenset()) -> None:
        """Mirror the directory *entry*; *ancestors* are those on the way to it, by device and inode."""
        here = (entry.fingerprint.device, entry.fingerprint.inode)
        super().__init__(_directory(entry), here)
        self._path = entry.path
        self._services = services
        self._ancestors = ancestors | {here}
        # As last listed. The kernel holds them all anyway, and most are the same the next time.
        self._known: dict[bytes, tuple[Entry, Node]] = {}

    async def current(self) -> Attributes:
        """Look at the directory again: names come and go, and its time tells."""
        entry = await trio.to_thread.run_sync(self._services.source.directory, self._path, abandon_on_cancel=True)
        self.attributes = _directory(entry)
        return self.attributes

    async def lookup(self, name: bytes) -> Child | None:
        """Find a name in the archive."""
        entry = await trio.to_thread.run_sync(self._services.source.entry, self._path, name, abandon_on_cancel=True)
        node = self._node(entry)
        return None if node is None else Child(name, node)

    async def listing(self) -> Sequence[Child]:
        """List the archive's directory."""
        known = {name: entry for name, (entry, _) in self._known.items()}
        entries = await trio.to_thread.run_sync(
            self._services.source.entries, self._path, known, abandon_on_cancel=True
        )
        found: dict[bytes, tuple[Entry, Node]] = {}
        for entry in entries:
            before, node = self._known.get(entry.name, (None, None))
            if before is not entry:
                node = self._node(entry)
            if node is not None:
                found[entry.name] = entry, node
        self._known = found
        return [Child(name, node) for name, (_, node) in found.items()]

    def _node(self, entry: Entry) -> Node | None:
        if entry.kind is Kind.DICOM:
            return InstanceDirectory(entry, self._services)
        if entry.kind is not Kind.DIRECTORY:
            return _other_file(entry, self._services)
        if (entry.fingerprint.device, entry.fingerprint.inode) in self._ancestors:
            return None  # a link back to where we came from: followed, it would never end
        return MirrorDirectory(entry, self._services, self._ancestors)


class SingleFile(Directory):
    """The root of a mount of one file: the directory of that file as it is now."""

    __slots__ = ("_current", "_services")

    def __init__(self, entry: Entry, services: Services) -> None:
        """Show the DICOM file *entry*."""
        self._services = services
        self._current = InstanceDirectory(entry, services)
        super().__init__(self._current.attributes, self._current.identity)

    async def current(self) -> Attributes:
        """Look at the file again; another version of it is another set of files."""
        entry = await trio.to_thread.run_sync(self._services.source.root_entry, abandon_on_cancel=True)
        if entry.version != self._current.identity:
            self._current = InstanceDirectory(entry, self._services)
            self.attributes = self._current.attributes
        return self.attributes

    async def extended(self) -> Mapping[bytes, bytes]:
        """Give the attributes of the version that is there now."""
        await self.current()
        return await self._current.extended()

    async def lookup(self, name: bytes) -> Child | None:
        """Find a virtual file of the version that is there now."""
        await self.current()
        child = await self._current.lookup(name)
        return None if child is None else self._here(child)

    async def listing(self) -> Sequence[Child]:
        """List the version that is there now."""
        await self.current()
        return [self._here(child) for child in await self._current.listing()]

    def _here(self, child: Child) -> Child:
        # Not by place, and not for long: the same name will be another file when the source has changed.
        child.node.identity = self._current.identity
        child.node.attributes = replace(child.node.attributes, valid=MIRROR_SECONDS)
        return Child(child.name, child.node)


def root(services: Services) -> Directory:
    """Give the root of the tree for an archive; raises OSError when a single file is not DICOM."""
    entry = services.source.root_entry()
    if entry.kind is Kind.DIRECTORY:
        return MirrorDirectory(entry, services)
    if entry.kind is not Kind.DICOM:
        raise OSError(errno.EINVAL, "not a DICOM file", os.fsdecode(services.source.root))
    return SingleFile(entry, services)


class InstanceDirectory(FixedDirectory):
    """The directory that stands for one DICOM file. Nothing is read before somebody asks for what can be there."""

    __slots__ = ("_subject",)

    def __init__(self, entry: Entry, services: Services) -> None:
        """Stand for the version of a file that *entry* describes."""
        super().__init__(_directory(entry), entry.version)
        self._subject = Subject(entry, services)

    async def child(self, place: int) -> Node:
        """Give the virtual file of that place in VIRTUAL_FILES; raises IndexError where this object has none."""
        child = (await self._made(range(place, place + 1))).made[place]
        if child is None:
            raise IndexError(place)
        return child.node

    async def lookup(self, name: bytes) -> Child | None:
        """Find a virtual file; others are not made for it."""
        place = _places().get(name)
        return None if place is None else (await self._made(range(place, place + 1))).made[place]

    async def children(self) -> Children:
        """Give the virtual files, from the cache or by parsing the header."""
        return await self._made(range(len(VIRTUAL_FILES)))

    async def extended(self) -> Mapping[bytes, bytes]:
        """Give what the header says, as far as it is short text or numbers."""
        return await self._subject.header_attributes()

    async def _made(self, places: range) -> "_VirtualFiles":
        """Have what stands at *places* made, if it is not."""
        files = await self._subject.services.children.get((self._subject.version, ""), _VirtualFiles.none)
        assert isinstance(files, _VirtualFiles)  # noqa: S101 - the key is for these alone
        if not files.made.keys() >= set(places):
            async with files.making:
                await self._make(files, [place for place in places if place not in files.made])
        return files

    async def _make(self, files: "_VirtualFiles", places: Sequence[int]) -> None:
        subject = self._subject
        made: dict[int, Child | None] = {}

        def make(instance: Instance) -> None:
            for place in places:
                virtual = VIRTUAL_FILES[place]
                node = virtual.node(instance, subject)
                made[place] = None if node is None else Child(virtual.name.encode(), node, place)

        def look(file: SourceFile) -> Instance:
            # Header and files in one go: a hop to a thread and back costs as much as a small header.
            instance = load(file)
            make(instance)
            return instance

        instance = await subject.services.instances.get(subject.version, lambda: subject.read(look))
        if not made:
            await trio.to_thread.run_sync(make, instance, abandon_on_cancel=True)
        files.add(made)


class _VirtualFiles(ListedChildren):
    """The virtual files of one version of a DICOM file as far as they are *made*, by place; with all a sequence."""

    def __init__(self) -> None:
        self.made: dict[int, Child | None] = {}
        self.making = trio.Lock()
        self.weight = _FILES_BYTES

    @classmethod
    async def none(cls) -> "_VirtualFiles":
        return cls()

    def add(self, made: Mapping[int, Child | None]) -> None:
        self.made.update(made)
        if len(self.made) == len(VIRTUAL_FILES):
            self._children = [child for _, child in sorted(self.made.items()) if child]

    def find(self, name: bytes) -> Child | None:
        place = _places().get(name)
        return None if place is None else self.made[place]


@cache
def _places() -> dict[bytes, int]:
    """Say which place a virtual file has in its directory, whether it is there or not."""
    return {virtual.name.encode(): place for place, virtual in enumerate(VIRTUAL_FILES)}


def _other_file(entry: Entry, services: Services) -> ContentFile:
    """Pass a file that is not DICOM through, byte for byte."""
    attributes = Attributes(
        read_only(entry.mode),
        entry.uid,
        entry.gid,
        entry.fingerprint.size,
        entry.fingerprint.mtime_ns,
        MIRROR_SECONDS,
    )
    subject = Subject(entry, services)

    async def open_content() -> Content:
        file = await subject.open()
        return Content([Stored(file, 0, file.size)], file.close)

    node = ContentFile(attributes, open_content)
    node.identity = entry.version
    return node


def _directory(entry: Entry) -> Attributes:
    mode = read_only(entry.mode, directory=True)
    return Attributes(mode, entry.uid, entry.gid, 0, entry.fingerprint.mtime_ns, MIRROR_SECONDS)
