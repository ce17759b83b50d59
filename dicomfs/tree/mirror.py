"""Where things appear: the mirror of the archive, with a directory in place of every DICOM file."""

import errno
import os
import threading
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import trio

from dicomfs.entries import VIRTUAL_FILES
from dicomfs.entries.dependence import mark_of
from dicomfs.instance.handle import ContentFile, Services, Subject
from dicomfs.instance.instance import Instance, load
from dicomfs.resources.threads import Purpose, run
from dicomfs.sources.gather import Learnt
from dicomfs.sources.source import Entry, Kind, Look, SourceFile, Steps, Unseen
from dicomfs.vfs.content import Content, Stored
from dicomfs.vfs.nodes import (
    Attributes,
    Child,
    Children,
    Directory,
    FixedDirectory,
    ListedChildren,
    Node,
    Unknown,
    read_only,
)

# How long the kernel may show what it saw of the archive before it asks again. A file that is opened is checked in any
# case: an old version gives ESTALE, upon which the kernel looks anew by itself.
MIRROR_SECONDS = 5.0

# What those of one object cost in memory, about.
_FILES_BYTES = 16 << 10


class MirrorDirectory(Directory):
    """A directory of the archive: this very one, not whatever has its name.

    Where it was moved away, or another one put into its place, whoever looks gets ESTALE, and the kernel looks for the
    name anew: what is there now may be closed to those who could read this one.
    """

    __slots__ = ("_ancestors", "_entry", "_known", "_learnt", "_services")

    def __init__(self, entry: Entry, services: Services, ancestors: frozenset[Hashable] = frozenset()) -> None:
        """Mirror the directory *entry*; *ancestors* are those on the way to it (`Entry.object_id`)."""
        super().__init__(_directory(entry), entry.object_id)
        self._entry = entry
        self._services = services
        self._ancestors = ancestors | {entry.object_id}
        # As last listed. The kernel holds them all anyway, and most are the same the next time.
        self._known: dict[bytes, tuple[Entry, Node]] = {}
        # By listings that were cut short.
        self._learnt: Learnt[Look] | None = None

    async def current(self) -> Attributes:
        """Look at the directory again: names come and go, and its time tells. Raises SourceChanged."""
        entry = await run(Purpose.SOURCE, self._services.source.directory, self._entry.path, self._entry.inside)
        self.attributes = _directory(replace(entry, left=self._entry.left))
        return self.attributes

    async def lookup(self, name: bytes) -> Child | None:
        """Find a name in the archive. Raises SourceChanged."""
        known, node = self._known.get(name, (None, None))
        here = self._entry
        entry = await run(Purpose.SOURCE, self._services.source.entry, here.path, name, known, here.inside)
        if entry is not known:
            node = self._node(entry)
        return None if node is None else Child(name, node, mark=entry.identity)

    async def listing(self) -> Sequence[Child]:
        """List the archive's directory. What a listing that is cut short has learnt, the next one need not learn."""
        known = {name: entry for name, (entry, _) in self._known.items()}
        learnt = self._learnt
        if learnt is not None and learnt.old:
            known |= {name: entry for name, (entry, _) in learnt.values.items() if isinstance(entry, Entry)}
            learnt = None
        if learnt is None:
            learnt = Learnt()
        self._learnt = learnt
        here, stop = self._entry, threading.Event()
        try:
            entries = await run(
                Purpose.SOURCE, self._services.source.entries, here.path, known, here.inside, learnt, stop
            )
        finally:
            stop.set()
        if self._learnt is learnt:
            self._learnt = None
        return self._children(entries, learnt)

    def replaces(self, before: Node) -> bool:
        """Tell whether this is somewhere else than *before*, or looks different."""
        moved = isinstance(before, MirrorDirectory) and before._place != self._place
        return moved or super().replaces(before)

    @property
    def _place(self) -> tuple[bytes, Steps]:
        return self._entry.path, self._entry.inside

    def _children(self, entries: Sequence[Entry | Unseen], learnt: Learnt[Look]) -> Sequence[Child]:
        found: dict[bytes, tuple[Entry, Node]] = {}
        children = []
        for entry in entries:
            if isinstance(entry, Unseen):
                children.append(Child(entry.name, Unknown(entry.error.errno or errno.EIO)))
                continue
            before, node = self._known.get(entry.name, (None, None))
            if before is not entry:
                node = self._node(entry)
            if node is not None:
                found[entry.name] = entry, node
                children.append(Child(entry.name, node, mark=entry.identity, seen=learnt.values[entry.name][1]))
        self._known = found
        return children

    def _node(self, entry: Entry) -> Node | None:
        if entry.kind is Kind.DICOM:
            return InstanceDirectory(entry, self._services)
        if entry.kind is not Kind.DIRECTORY:
            return _other_file(entry, self._services)
        if entry.object_id in self._ancestors:
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
        entry = await run(Purpose.SOURCE, self._services.source.root_entry)
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
        child.node.attributes = replace(child.node.attributes, valid=MIRROR_SECONDS)
        return Child(child.name, child.node, mark=self._current.version + child.mark)


def root(services: Services) -> Directory:
    """Give the root of the tree for an archive; raises OSError when a single file is not DICOM."""
    entry = services.source.root_entry()
    if entry.kind is Kind.DIRECTORY:
        return MirrorDirectory(entry, services)
    if entry.kind is not Kind.DICOM:
        raise OSError(errno.EINVAL, "not a DICOM file", os.fsdecode(services.source.name))
    return SingleFile(entry, services)


class InstanceDirectory(FixedDirectory):
    """The directory that stands for one DICOM file. Nothing is read before somebody asks for what can be there."""

    __slots__ = ("_subject",)

    def __init__(self, entry: Entry, services: Services) -> None:
        """Stand for the version of a file that *entry* describes."""
        super().__init__(_directory(entry), entry.version)
        self._subject = Subject(entry, services)

    @property
    def version(self) -> bytes:
        """What tells this version of the file from others in every mount."""
        return self._subject.entry.identity

    async def child(self, place: int) -> Node:
        """Give the virtual file of that place in VIRTUAL_FILES; raises IndexError where this object has none."""
        child = (await self._made(range(place, place + 1))).made[place]
        if child is None:
            raise IndexError(place)
        return child.node

    async def lookup(self, name: bytes) -> Child | None:
        """Find a virtual file, also one that is not listed; others are not made for it."""
        place = _places().get(name)
        if place is None or not self._subject.services.view.selection.exists(name.decode()):
            return None
        return (await self._made(range(place, place + 1))).made[place]

    async def children(self) -> Children:
        """Give the virtual files that are listed, from the cache or by parsing the header."""
        selection = self._subject.services.view.selection
        listed = [
            place for place, (virtual, usually) in enumerate(VIRTUAL_FILES) if selection.lists(virtual.name, usually)
        ]
        files = await self._made(listed)
        return files.listing(listed)

    def replaces(self, before: Node) -> bool:
        """Tell whether this is somewhere else than *before*, or looks different."""
        moved = isinstance(before, InstanceDirectory) and before._subject.place != self._subject.place
        return moved or super().replaces(before)

    async def extended(self) -> Mapping[bytes, bytes]:
        """Give what the header says, as far as it is short text or numbers."""
        return await self._subject.header_attributes()

    async def _made(self, places: Sequence[int]) -> "_VirtualFiles":
        """Have what stands at *places* made, if it is not."""
        files = await self._subject.services.children.get((self._subject.place, ""), _VirtualFiles.none)
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
                virtual, _ = VIRTUAL_FILES[place]
                node = virtual.node(instance, subject)
                mark = mark_of(virtual.depends, instance, subject.services.view.window)
                name = virtual.name.encode()
                made[place] = None if node is None else Child(name, node, place, mark, len(VIRTUAL_FILES))

        def look(file: SourceFile) -> Instance:
            # Header and files in one go: a hop to a thread and back costs as much as a small header.
            instance = load(file)
            make(instance)
            return instance

        instance = await subject.services.instances.get(subject.version, lambda: subject.read(look))
        if not made:
            await run(Purpose.COMPUTING, make, instance)
        files.made.update(made)


class _VirtualFiles(ListedChildren):
    """Virtual files of one version of a DICOM file as far as they are *made*, by place; a sequence of those listed."""

    def __init__(self) -> None:
        self.made: dict[int, Child | None] = {}
        self.making = trio.Lock()
        self.weight = _FILES_BYTES

    @classmethod
    async def none(cls) -> "_VirtualFiles":
        return cls()

    def listing(self, places: Sequence[int]) -> "_VirtualFiles":
        """List those at *places*, which are made; they are the same each time."""
        if not self._children:
            self._children = [child for child in map(self.made.__getitem__, places) if child]
        return self

    def find(self, name: bytes) -> Child | None:
        place = _places().get(name)
        return None if place is None else self.made.get(place)


@cache
def _places() -> dict[bytes, int]:
    """Say which place a virtual file has in its directory, whether it is there or not."""
    return {virtual.name.encode(): place for place, (virtual, _) in enumerate(VIRTUAL_FILES)}


def _other_file(entry: Entry, services: Services) -> ContentFile:
    """Pass a file that is not DICOM through, byte for byte."""
    attributes = Attributes(
        read_only(entry.mode & ~0o777 | entry.mode & entry.left),
        entry.uid,
        entry.gid,
        entry.size,
        entry.mtime_ns,
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
    mode = read_only(entry.mode & ~0o777 | entry.mode & entry.left, directory=True)
    return Attributes(mode, entry.uid, entry.gid, 0, entry.mtime_ns, MIRROR_SECONDS)
