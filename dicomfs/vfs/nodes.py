"""What a file system is made of: files, directories, and their attributes. Nothing here knows FUSE or DICOM."""

import math
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

from dicomfs.vfs.content import Content, Wanted, always

NODE_BYTES = 800
"""What a node with its name and content costs in memory, about."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What `stat` shows of a node; the kernel may keep it for *valid* seconds.

    Unless they are *sized*, the size is not known yet and 0 here, shown to nobody; `Node.current` finds it out.
    """

    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    valid: float
    sized: bool = True


class Node:
    """A file or a directory. Its *identity* tells it from other versions of it for as long as the mount lives."""

    __slots__ = ("attributes", "identity")

    def __init__(self, attributes: Attributes, identity: Hashable = None) -> None:
        """Take *attributes* as they are now."""
        self.attributes = attributes
        self.identity = identity

    async def current(self) -> Attributes:
        """Return the attributes as they are now, with their size; may raise OSError where the source is gone."""
        return self.attributes

    async def find_size(self, wanted: Wanted = always, limit: float = math.inf) -> int:
        """Return the exact size, if need be by building the file, as `File.open` does."""
        return self.attributes.size

    async def extended(self) -> Mapping[bytes, bytes]:
        """Return the extended attributes."""
        return {}

    def replaces(self, before: "Node") -> bool:
        """Whether the inode that *before* stood for needs this node, of the same identity, from now on."""
        return self.attributes != before.attributes


class Unknown(Node):
    """A name of which nothing else can be learnt at the moment; every request for it fails.

    Its attributes are none: mode 0 is of no type, and nobody may be shown them.
    """

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        """Answer with the errno *number*."""
        super().__init__(Attributes(0, 0, 0, 0, 0, 0.0))
        self._number = number

    @property
    def error(self) -> OSError:
        """Why nothing can be learnt."""
        return OSError(self._number, os.strerror(self._number))

    async def current(self) -> Attributes:
        """Raise the error."""
        raise self.error


class File(Node, ABC):
    """Something that can be read. A *slow* one may take minutes to open, since it is built as a whole then."""

    __slots__ = ()
    slow = False

    @abstractmethod
    async def open(self, wanted: Wanted = always, limit: float = math.inf) -> Content:
        """Return the content, of the size that `attributes` states. The caller closes it.

        What must be built is built as long as *wanted* answers true, and for at most *limit* seconds. Raises OSError.
        """


class Child(NamedTuple):
    """One name in a directory. Two of the same name and *mark* are the same inode, in every mount.

    The mark names whatever the bytes depend on apart from the place, and from the version of a fixed directory that it
    is in. Where the directory is a fixed one, *place* is the index in it, of so many *places*. What the attributes say
    was so at the time *seen* (`time.monotonic`), where that may be a while ago.
    """

    name: bytes
    node: Node
    place: int | None = None
    mark: bytes = b""
    places: int = 1
    seen: float | None = None


class Directory(Node, ABC):
    """Something that has children."""

    __slots__ = ()

    @abstractmethod
    async def lookup(self, name: bytes) -> Child | None:
        """Find a child."""

    @abstractmethod
    async def listing(self) -> Sequence[Child]:
        """Return all children as they are now; the sequence does not change afterwards."""


class Children(Sequence[Child], ABC):
    """The children of a fixed directory; *weight* is what they cost in memory, in bytes.

    *shared_attributes* are set where the children are files that differ only in name.
    """

    weight: int
    shared_attributes: Attributes | None = None

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
        """Return one by its place."""
        return self._children[place]


class NamedChildren(ListedChildren):
    """A handful of children, each with a name of its own."""

    def __init__(self, named: Sequence[tuple[bytes, Node]]) -> None:
        """Keep *named* in their order."""
        self._children = [Child(name, node, place, places=len(named)) for place, (name, node) in enumerate(named)]
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
        shared_attributes: Attributes | None = None,
        first: int = 1,
        digits: int = 4,
        weight: int = 0,
    ) -> None:
        """Number *count* files; *file* and *extension* (with its dot) are asked with the index from 0.

        *shared_attributes* are given where all files have the same; *weight* is the memory that the functions hold.
        """
        self.shared_attributes = shared_attributes
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
        return Child(self.name(place), self._file(place), place, places=self._count)

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
        """Return a child by its place; raises IndexError where there is none."""
        return (await self.children())[place].node

    async def lookup(self, name: bytes) -> Child | None:
        """Find a child."""
        return (await self.children()).find(name)

    async def listing(self) -> Sequence[Child]:
        """Return all children."""
        return await self.children()


class ReadyDirectory(FixedDirectory):
    """A fixed directory that has its children from the start."""

    __slots__ = ("_children",)

    def __init__(self, attributes: Attributes, children: Children) -> None:
        """Hold *children*."""
        super().__init__(attributes)
        self._children = children

    async def children(self) -> Children:
        """Return the children."""
        return self._children


class LazyDirectory(FixedDirectory):
    """A fixed directory whose children are found when it is looked up or listed."""

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


def read_only(mode: int, *, directory: bool = False) -> int:
    """Take the write and set-id bits off a source's mode; a directory made of a file is searched by who may read it."""
    bits = stat.S_IMODE(mode) & 0o555
    if not directory:
        return stat.S_IFREG | bits
    if not stat.S_ISDIR(mode):
        bits = (bits & 0o444) | (bits & 0o444) >> 2
    return stat.S_IFDIR | bits
