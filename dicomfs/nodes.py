"""What a file system is made of: files, directories, their attributes, and the numbers that the kernel knows them by.

Nothing here knows FUSE or DICOM. A directory whose children never change (those of one DICOM file) numbers them by
their place, so that a listing of 100,000 frames leaves no object behind; everything else gets a number of its own.
"""

import errno
import stat
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

from dicomfs.content import Content

ROOT = 1
# Places in one directory; what is left of 64 bits numbers the directories, never reused in the life of a mount.
PLACES = 1 << 24


# What a node with its name and content costs in memory, about.
NODE_BYTES = 800


class Stale(OSError):
    """The kernel asked for a number that it has already forgotten."""

    def __init__(self) -> None:
        """Carry ESTALE."""
        super().__init__(errno.ESTALE, "no such inode")


@dataclass(frozen=True, slots=True)
class Attributes:
    """What `stat` shows of a node; the kernel may keep it for *valid* seconds."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    valid: float


class Node:
    """A file or a directory. Two nodes of the same name and identity in one directory are the same inode."""

    __slots__ = ("attributes", "identity")

    def __init__(self, attributes: Attributes, identity: Hashable = None) -> None:
        """Take *attributes* as they are now."""
        self.attributes = attributes
        self.identity = identity

    async def current(self) -> Attributes:
        """Give the attributes as they are now; may raise OSError where the source is gone."""
        return self.attributes

    async def extended(self) -> Mapping[bytes, bytes]:
        """Give the extended attributes."""
        return {}


class File(Node, ABC):
    """Something that can be read."""

    __slots__ = ()

    @abstractmethod
    async def open(self) -> Content:
        """Make the content ready; its size is the one that `attributes` shows. The caller closes it."""


class Child(NamedTuple):
    """One name in a directory; *place* is its index where the directory is a fixed one."""

    name: bytes
    node: Node
    place: int | None = None


class Directory(Node, ABC):
    """Something that has children."""

    __slots__ = ()

    @abstractmethod
    async def lookup(self, name: bytes) -> Child | None:
        """Find a child."""

    @abstractmethod
    async def listing(self) -> Sequence[Child]:
        """Give all children as they are now; the sequence does not change afterwards."""


class Children(Sequence[Child], ABC):
    """The children of a fixed directory; *weight* is what they cost in memory, in bytes.

    *alike* is what all of them show where they are files that differ in nothing but their names.
    """

    weight: int
    alike: Attributes | None = None

    @abstractmethod
    def name(self, place: int) -> bytes:
        """Name one by its place, without making it."""

    @abstractmethod
    def find(self, name: bytes) -> Child | None:
        """Find a child by its name."""


class ListedChildren(Children):
    """Children that are there already, in a list."""

    _children: Sequence[Child] = ()

    def __len__(self) -> int:
        """Count them."""
        return len(self._children)

    def name(self, place: int) -> bytes:
        """Name one."""
        return self._children[place].name

    @overload
    def __getitem__(self, place: int) -> Child: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Child]: ...
    def __getitem__(self, place: int | slice) -> Child | Sequence[Child]:
        """Give one by its place."""
        return self._children[place]


class NamedChildren(ListedChildren):
    """A handful of children, each with a name of its own."""

    def __init__(self, named: Sequence[tuple[bytes, Node]]) -> None:
        """Keep *named* in their order."""
        self._children = [Child(name, node, place) for place, (name, node) in enumerate(named)]
        self._places = {name: place for place, (name, _) in enumerate(named)}
        self.weight = NODE_BYTES * len(named)

    def find(self, name: bytes) -> Child | None:
        """Find a child by its name."""
        place = self._places.get(name)
        return None if place is None else self._children[place]


class NumberedChildren(Children):
    """Files named by their number, from 1; each is made when it is looked at."""

    def __init__(
        self,
        count: int,
        file: Callable[[int], File],
        extension: str | Callable[[int], str],
        *,
        alike: Attributes | None = None,
        first: int = 1,
        digits: int = 4,
        weight: int = 0,
    ) -> None:
        """Number *count* files; *file* and *extension* (with its dot) are asked with the index from 0.

        *alike* is given where all files have the same attributes; *weight* is what the functions hold in memory.
        """
        self.alike = alike
        self.weight = NODE_BYTES + weight
        self._count = count
        self._file = file
        self._first = first
        self._digits = max(digits, len(str(count)))
        self._extension = extension if callable(extension) else None
        self._pattern = b"%%0%dd%s" % (self._digits, b"%s" if callable(extension) else extension.encode())

    def __len__(self) -> int:
        """Count them."""
        return self._count

    @overload
    def __getitem__(self, place: int) -> Child: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Child]: ...
    def __getitem__(self, place: int | slice) -> Child | Sequence[Child]:
        """Make one by its place."""
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(self._count))]
        if not 0 <= place < self._count:
            raise IndexError(place)
        return Child(self.name(place), self._file(place), place)

    def name(self, place: int) -> bytes:
        """Name one."""
        number = place + self._first
        if self._extension is None:
            return self._pattern % number
        return self._pattern % (number, self._extension(place).encode())

    def find(self, name: bytes) -> Child | None:
        """Find a child by its name."""
        number = name.partition(b".")[0]
        # Of one length all of them, and never so many digits that Python refuses to read them.
        if len(number) != self._digits or not number.isdigit():
            return None
        place = int(number) - self._first
        return self[place] if 0 <= place < self._count and self.name(place) == name else None


class FixedDirectory(Directory):
    """A directory whose children never change as long as it is this inode."""

    __slots__ = ()

    @abstractmethod
    async def children(self) -> Children:
        """Make the children ready."""

    async def child(self, place: int) -> Node:
        """Give a child by its place; raises IndexError where there is none."""
        return (await self.children())[place].node

    async def lookup(self, name: bytes) -> Child | None:
        """Find a child."""
        return (await self.children()).find(name)

    async def listing(self) -> Sequence[Child]:
        """Give all children."""
        return await self.children()


class ReadyDirectory(FixedDirectory):
    """A fixed directory that has its children from the start."""

    __slots__ = ("_children",)

    def __init__(self, attributes: Attributes, children: Children) -> None:
        """Hold *children*."""
        super().__init__(attributes)
        self._children = children

    async def children(self) -> Children:
        """Give the children."""
        return self._children


class LateDirectory(FixedDirectory):
    """A fixed directory whose children are found when somebody looks into it."""

    __slots__ = ("_find",)

    def __init__(
        self, attributes: Attributes, find: Callable[[], Awaitable[Children]], identity: Hashable = None
    ) -> None:
        """Find the children with *find*, which gives the same ones each time and keeps them as long as it likes."""
        super().__init__(attributes, identity)
        self._find = find

    async def children(self) -> Children:
        """Find the children."""
        return await self._find()


class _Numbered:
    """What the table knows of a number of its own: a node, or the place of one in the fixed directory *parent*."""

    __slots__ = ("held", "key", "node", "parent", "place")

    def __init__(self, key: Hashable, node: Node | None, parent: int = 0, place: int = 0) -> None:
        self.key = key
        self.node = node
        self.parent = parent
        self.place = place
        self.held = 0


class InodeTable:
    """Which node has which number, and how often the kernel holds it.

    The files of a fixed directory have no entry: their numbers are made of the directory's and their place. Its
    directories have one without a node, which is found again through the parent, so that what the kernel has seen of
    a large archive costs little here.
    """

    def __init__(self, root: Directory) -> None:
        """Number *root* as the kernel expects; it is never forgotten."""
        self._numbered: dict[int, _Numbered] = {0: _Numbered(None, root)}
        self._serials: dict[Hashable, int] = {}
        self._next = 1

    def __len__(self) -> int:
        """Entries that are kept in memory, the root included."""
        return len(self._numbered)

    async def node(self, inode: int) -> Node:
        """Give the node of a number; raises Stale when it was forgotten, and OSError when its source is gone."""
        serial, place = divmod(inode - ROOT, PLACES)
        node = await self._own(serial)
        return node if place == 0 else await _child(node, place - 1)

    async def directory(self, inode: int) -> Directory:
        """Give the node of a number that must be a directory."""
        node = await self.node(inode)
        if not isinstance(node, Directory):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory")
        return node

    def hold(self, parent: int, child: Child) -> int:
        """Number a child of *parent* and count one lookup, which `forget` takes back. Raises Stale."""
        directory, serial = self._fixed(parent), (parent - ROOT) // PLACES
        if child.place is not None and isinstance(child.node, File):
            directory.held += 1
            return ROOT + serial * PLACES + child.place + 1
        key = (serial, child.name, child.node.identity)
        own = self._serials.get(key)
        if own is None:
            own = self._next
            self._next += 1
            self._serials[key] = own
            self._numbered[own] = (
                _Numbered(key, child.node) if child.place is None else _Numbered(key, None, serial, child.place)
            )
        entry = self._numbered[own]
        if entry.node is not None and entry.node is not child.node and entry.node.attributes != child.node.attributes:
            entry.node = child.node
        entry.held += 1
        return ROOT + own * PLACES

    def hold_alike(self, parent: int, count: int) -> None:
        """Count one lookup of each of *count* files of a fixed directory. Raises Stale."""
        self._fixed(parent).held += count

    def first_place(self, parent: int) -> int:
        """Give the number of the first file of a fixed directory, which the others follow. Raises Stale."""
        self._fixed(parent)
        return parent + 1

    def _fixed(self, parent: int) -> _Numbered:
        serial, below = divmod(parent - ROOT, PLACES)
        directory = self._numbered.get(serial)
        if directory is None or below:
            raise Stale
        return directory

    def forget(self, inode: int, lookups: int) -> None:
        """Take *lookups* back; a node that the kernel no longer holds is let go."""
        serial = (inode - ROOT) // PLACES
        entry = self._numbered.get(serial)
        if entry is None or serial == 0:
            return
        entry.held -= lookups
        if entry.held <= 0:
            del self._numbered[serial], self._serials[entry.key]

    async def _own(self, serial: int) -> Node:
        entry = self._numbered.get(serial)
        if entry is None:
            raise Stale
        return entry.node if entry.node is not None else await _child(await self._own(entry.parent), entry.place)


async def _child(node: Node, place: int) -> Node:
    if not isinstance(node, FixedDirectory):
        raise Stale
    try:
        return await node.child(place)
    except IndexError:
        raise Stale from None


def read_only(mode: int, *, directory: bool = False) -> int:
    """Take the write and set-id bits off a source's mode; a directory made of a file is searched by who may read it."""
    bits = stat.S_IMODE(mode) & 0o555
    if not directory:
        return stat.S_IFREG | bits
    if not stat.S_ISDIR(mode):
        bits = (bits & 0o444) | (bits & 0o444) >> 2
    return stat.S_IFDIR | bits
