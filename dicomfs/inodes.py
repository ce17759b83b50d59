"""The numbers that the kernel knows nodes by, and how often it holds each.

A directory whose children never change (those of one DICOM file) numbers them by their place, so that a listing of
100,000 frames leaves no object behind; everything else gets a number of its own.
"""

import errno
from collections.abc import Hashable

from dicomfs.nodes import Child, Directory, File, FixedDirectory, Node

ROOT = 1
# Places in one directory; what is left of 64 bits numbers the directories, never reused in the life of a mount.
PLACES = 1 << 24


class Stale(OSError):
    """The kernel asked for a number that it has already forgotten."""

    def __init__(self) -> None:
        """Carry ESTALE."""
        super().__init__(errno.ESTALE, "no such inode")


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
        if entry.node is not None and entry.node is not child.node and child.node.replaces(entry.node):
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
