"""Inode numbers: the same in every mount, with the lookup count of each.

A number is a digest of the place in the mount, of the file or directory there (`Entry.identity`: which file of the
source, in which version), and of whatever else the bytes depend on (`entries.dependence`). So two mounts of an archive
have the same numbers, whatever is looked up first. A number that comes again after the kernel forgot it means the same
bytes: its generation is always 0. What follows from that:

* The path of the archive is no part, nor is its device. A copy of the archive on a file system that keeps inode numbers
  has other inodes and hence other numbers; on one that keeps none, a copy with the same times has the same numbers.
* Each name has a number of its own. Hard and symbolic links in the source to one file are two files here.
* A directory that was replaced is another one, but what is below it keeps its numbers where it is the same files (hard
  links, as in snapshots): what counts of the directories above a file is their names.

A number is `tag << 60 | prefix << width | place`, less than 2 ** 63, so that signed integers of 64 bits hold it. A
fixed directory (one whose children never change, such as those of one DICOM file) numbers its files by their places
after a prefix that they share: a listing of 100,000 frames leaves no objects in memory. The tag tells how wide the
place is; tag 0 is for everything that has a number of its own.

Digests may be equal in the bits that are used. The next free number is then taken, so that no two live nodes ever share
one; who gets it depends on who comes first. With a million objects in use at a time, there is such a pair with a
probability of 1 in 4,000.
"""

import errno
from bisect import bisect_left
from hashlib import blake2b

from dicomfs.vfs.nodes import Child, Directory, File, FixedDirectory, Node

ROOT = 1
# Bits below the tag.
_BITS = 60
# By tag: bits of the place. One frame after the other, and what the longest file could hold.
WIDTHS = (0, 5, 8, 11, 14, 17, 24, 40)
_ROOM = [1 << width for width in WIDTHS]


class Stale(OSError):
    """The kernel asked for a number that it has already forgotten."""

    def __init__(self) -> None:
        """Carry ESTALE."""
        super().__init__(errno.ESTALE, "no such inode")


class _Numbered:
    """What the table knows of a number of its own: a node, or the place of one in the fixed directory *parent*.

    *above* begins the digests of the children. *blocks* are the first numbers of its files by place, with what they
    depend on.
    """

    __slots__ = ("above", "blocks", "digest", "held", "node", "number", "parent", "place")

    def __init__(self, digest: bytes, above: bytes, node: Node | None, place: int = 0) -> None:
        self.digest = digest
        self.above = above
        self.node = node
        self.place = place
        self.parent = self.number = self.held = 0
        self.blocks: tuple[tuple[bytes, int], ...] = ()


class InodeTable:
    """Which node has which number, and how often the kernel holds it.

    The files of a fixed directory have no entry: their numbers are made of the directory's and their place. Its
    directories have one without a node, which is found again through the parent, so that what the kernel has seen of
    a large archive costs little here.
    """

    def __init__(self, root: Directory, bits: int = _BITS) -> None:
        """Number *root* as the kernel expects; it is never forgotten. A digest counts with its last *bits* only."""
        top = _Numbered(b"", _digest(b"/"), root)
        top.number = ROOT
        self._masks = [(1 << min(bits, _BITS - width)) - 1 for width in WIDTHS]
        self._numbered: dict[int, _Numbered] = {ROOT: top}
        # By their first numbers: whose files are numbered from there.
        self._blocks: dict[int, _Numbered] = {}
        # Those that found their number taken.
        self._displaced: dict[bytes, _Numbered] = {}

    def __len__(self) -> int:
        """Entries that are kept in memory, the root included."""
        return len(self._numbered)

    async def node(self, inode: int) -> Node:
        """Return the node of a number; raises Stale when it was forgotten, and OSError when its source is gone."""
        entry, place = self._entry(inode)
        node = await self._own(entry)
        return node if place is None else await _child(node, place)

    async def directory(self, inode: int) -> Directory:
        """Return the node of a number that must be a directory."""
        node = await self.node(inode)
        if not isinstance(node, Directory):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory")
        return node

    def hold(self, parent: int, child: Child) -> int:
        """Number a child of *parent* and count one lookup, which `forget` takes back. Raises Stale."""
        directory = self._directory(parent)
        name, node, place, mark, places, _ = child
        if place is not None and isinstance(node, File):
            first = self._first(directory, mark, places)
            directory.held += 1
            return first + place
        # No name has a slash, so that no two of these texts are the same.
        digest = _digest(directory.above + name + b"/" + mark)
        start = int.from_bytes(digest, "big") & self._masks[0]
        entry = self._numbered.get(start)
        if entry is None or entry.digest != digest:
            entry = self._displaced.get(digest)
        if entry is None:
            entry = self._add(digest, start, directory, child)
        elif entry.node is not None and entry.node is not node and _differ(entry.node, node):
            entry.node = node
        entry.parent = parent
        entry.held += 1
        return entry.number

    def hold_uniform(self, parent: int, count: int) -> None:
        """Count one lookup of each of *count* files of a fixed directory. Raises Stale."""
        self._directory(parent).held += count

    def first_place(self, parent: int, places: int) -> int:
        """Return the number of the first of *places* files of a fixed directory; the others follow it. Raises Stale."""
        return self._first(self._directory(parent), b"", places)

    def forget(self, inode: int, lookups: int) -> None:
        """Take *lookups* back; a node that the kernel no longer holds is let go."""
        try:
            entry, _ = self._entry(inode)
        except Stale:
            return
        if entry.number == ROOT:
            return
        entry.held -= lookups
        if entry.held <= 0:
            del self._numbered[entry.number]
            self._displaced.pop(entry.digest, None)
            for _, first in entry.blocks:
                del self._blocks[first]

    def _entry(self, inode: int) -> tuple[_Numbered, int | None]:
        """Find what a number is: an entry, or the one of the directory and a place in it. Raises Stale."""
        tag, place = inode >> _BITS, None
        if tag == 0:
            entry = self._numbered.get(inode)
        elif 0 < tag < len(WIDTHS):
            place = inode & (_ROOM[tag] - 1)
            entry = self._blocks.get(inode - place)
        else:
            entry = None
        if entry is None:
            raise Stale
        return entry, place

    def _directory(self, parent: int) -> _Numbered:
        entry = self._numbered.get(parent)
        if entry is None:
            raise Stale
        return entry

    def _add(self, digest: bytes, start: int, directory: _Numbered, child: Child) -> _Numbered:
        # What is in a fixed directory belongs to its version, what is in another one just to its name.
        changing = isinstance(child.node, Directory) and not isinstance(child.node, FixedDirectory)
        above = _digest(directory.above + child.name) if changing else digest
        if child.place is None:
            entry = _Numbered(digest, above, child.node)
        else:
            entry = _Numbered(digest, above, None, child.place)
        entry.number = _free(self._numbered, start, 0)
        self._numbered[entry.number] = entry
        if entry.number != start:
            self._displaced[digest] = entry
        return entry

    def _first(self, directory: _Numbered, mark: bytes, places: int) -> int:
        """Return the first number of the files of a fixed directory that depend on *mark*; it has *places* in all."""
        tag = bisect_left(_ROOM, places, 1)
        for known, first in directory.blocks:
            if known == mark and first >> _BITS == tag:
                return first
        prefix = int.from_bytes(_digest(directory.above + b"/" + mark), "big") & self._masks[tag]
        first = _free(self._blocks, tag << _BITS | prefix << WIDTHS[tag], tag)
        self._blocks[first] = directory
        directory.blocks += ((mark, first),)
        return first

    async def _own(self, entry: _Numbered) -> Node:
        if entry.node is not None:
            return entry.node
        parent, _ = self._entry(entry.parent)
        return await _child(await self._own(parent), entry.place)


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).digest()


def _free(taken: dict[int, _Numbered], number: int, tag: int) -> int:
    """Return the next number of a *tag* that is not *taken*, from *number* on. 0 and the root's are none."""
    step, last = _ROOM[tag], (tag + 1 << _BITS) - _ROOM[tag]
    while number <= ROOT or number in taken:
        number = number + step if number < last else tag << _BITS
    return number


def _differ(old: Node, new: Node) -> bool:
    """Whether nodes of one number show it differently: by rights, or by what tells versions in this mount only."""
    return old.identity != new.identity or new.replaces(old)


async def _child(node: Node, place: int) -> Node:
    if not isinstance(node, FixedDirectory):
        raise Stale
    try:
        return await node.child(place)
    except IndexError:
        raise Stale from None
