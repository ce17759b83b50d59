"""The directory that stands for one DICOM file: its virtual files, made when they are looked up or listed."""

from collections.abc import Mapping, Sequence
from functools import cache, partial

import trio

from dicomfs.entries import VIRTUAL_FILES
from dicomfs.entries.dependence import mark_of
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.instance.services import MountServices
from dicomfs.sources.source import Entry, SourceFile
from dicomfs.tree.attributes import directory_attributes
from dicomfs.vfs.nodes import Child, Children, FixedDirectory, ListedChildren, Node

# Memory that the virtual files of one object take, about.
_FILES_BYTES = 16 << 10


class InstanceDirectory(FixedDirectory):
    """The directory that stands for one DICOM file. Nothing is read before a name is looked up or listed."""

    __slots__ = ("_subject",)

    def __init__(self, entry: Entry, services: MountServices) -> None:
        """Stand for the version of a file that *entry* describes."""
        super().__init__(directory_attributes(entry), entry.version)
        self._subject = InstanceHandle(entry, services)

    @property
    def version(self) -> bytes:
        """The identity of this version of the file, the same in every mount."""
        return self._subject.entry.identity

    async def child(self, place: int) -> Node:
        """Return the virtual file at *place* in VIRTUAL_FILES; raises IndexError where this object lacks it."""
        child = (await self._made(range(place, place + 1))).made[place]
        if child is None:
            raise IndexError(place)
        return child.node

    async def lookup(self, name: bytes) -> Child | None:
        """Find a virtual file, listed or not, without making the others."""
        place = _places().get(name)
        if place is None or not self._subject.services.view.selection.exists(name.decode()):
            return None
        return (await self._made(range(place, place + 1))).made[place]

    async def children(self) -> Children:
        """Return the virtual files that are listed, from the cache or by parsing the header."""
        selection = self._subject.services.view.selection
        listed = [
            place for place, (virtual, usually) in enumerate(VIRTUAL_FILES) if selection.lists(virtual.name, usually)
        ]
        files = await self._made(listed)
        return files.listing(listed)

    def replaces(self, before: Node) -> bool:
        """Return whether this is somewhere else than *before*, or looks different."""
        moved = isinstance(before, InstanceDirectory) and before._subject.place != self._subject.place
        return moved or super().replaces(before)

    async def extended(self) -> Mapping[bytes, bytes]:
        """Return the header values that are numbers or short text."""
        return await self._subject.header_attributes()

    async def _made(self, places: Sequence[int]) -> "_VirtualFiles":
        """Return the virtual files, those at *places* made."""
        files = await self._subject.services.children.get((self._subject.place, ""), _VirtualFiles.none)
        assert isinstance(files, _VirtualFiles)  # noqa: S101 - the key is for these alone
        if not files.made.keys() >= set(places):
            async with files.making:
                await self._make(files, [place for place in places if place not in files.made])
        return files

    async def _make(self, files: "_VirtualFiles", places: Sequence[int]) -> None:
        subject, making = self._subject, _Making(self._subject, places)
        instance = await subject.services.instances.get(subject.version, partial(subject.read, making.load))
        if not making.made:
            await subject.read(making.make_of, instance)
        files.made.update(making.made)


class _Making:
    """Makes the virtual files at *places*, in a thread."""

    def __init__(self, subject: InstanceHandle, places: Sequence[int]) -> None:
        self._subject = subject
        self._places = places
        self.made: dict[int, Child | None] = {}

    def load(self, file: SourceFile) -> Instance:
        """Parse the header and make the files at once: a hop to a thread and back costs as much as a small header."""
        instance = self._subject.load(file)
        self.make(instance)
        return instance

    def make_of(self, _: SourceFile, instance: Instance) -> None:
        """Make the files of an *instance* that is parsed already, whose data set may read more of the open file."""
        self.make(instance)

    def make(self, instance: Instance) -> None:
        for place in self._places:
            virtual, _ = VIRTUAL_FILES[place]
            node = virtual.node(instance, self._subject)
            mark = mark_of(virtual.depends, instance, self._subject.services.view.window)
            name = virtual.name.encode()
            self.made[place] = None if node is None else Child(name, node, place, mark, len(VIRTUAL_FILES))
        if instance.is_begun:  # frames will be read next, or a listing computed the most part anyway
            instance.settle()


class _VirtualFiles(ListedChildren):
    """The virtual files of one version of a DICOM file: those *made*, by place; a sequence of those listed."""

    def __init__(self) -> None:
        self.made: dict[int, Child | None] = {}
        self.making = trio.Lock()
        self.weight = _FILES_BYTES

    @classmethod
    async def none(cls) -> "_VirtualFiles":
        return cls()

    def listing(self, places: Sequence[int]) -> "_VirtualFiles":
        """List those at *places*, which are made and the same each time."""
        if not self._children:
            self._children = [child for child in map(self.made.__getitem__, places) if child]
        return self

    def find(self, name: bytes) -> Child | None:
        place = _places().get(name)
        return None if place is None else self.made.get(place)


@cache
def _places() -> dict[bytes, int]:
    """Map the name of each virtual file to its place in VIRTUAL_FILES."""
    return {virtual.name.encode(): place for place, (virtual, _) in enumerate(VIRTUAL_FILES)}
