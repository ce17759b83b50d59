"""The tree without a kernel: `ls`, `cat` and `cp` for machines that cannot mount.

It walks the same nodes that the mount serves, so both show the same names, sizes and bytes.
"""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dicomfs.instance.entry_selection import USUAL, Selection
from dicomfs.instance.services import Services
from dicomfs.rendering.render import Window
from dicomfs.sources.local import Source
from dicomfs.tree.mirror import root
from dicomfs.vfs.nodes import Directory, File, Node, Unknown
from dicomfs.workers.frame_cache import FrameCache
from dicomfs.workers.pool import WorkerPool
from dicomfs.workers.prefetcher import Prefetcher

# What is read at a time: a frame of the usual size.
CHUNK = 1024 * 1024

Complain = Callable[[str, OSError], None]


@dataclass(frozen=True, slots=True)
class Tree:
    """What a path given by a user means: the tree of an archive, and the names that lead down in it.

    *pool* is started where something will surely be decoded.
    """

    path: bytes
    top: Directory
    below: tuple[bytes, ...]
    pool: WorkerPool

    async def node(self) -> Node:
        """Walk down; raises FileNotFoundError or NotADirectoryError."""
        node: Node = self.top
        for name in self.below:
            if not isinstance(node, Directory):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            child = await node.lookup(name)
            if child is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            node = child.node
        return node


@contextlib.contextmanager
def opened(
    path: bytes,
    workers: int,
    cache_memory: int,
    window: Window | None = None,
    *,
    every_film: bool = False,
    selection: Selection = USUAL,
    start: bool = True,
) -> Iterator[Tree]:
    """Open the archive that *path* leads to or into, and *start* its workers.

    The archive is as much of the path as exists on disk; the rest is inside.
    """
    archive, below = path, []
    while not os.path.exists(archive) and archive.strip(b"/"):
        archive, name = os.path.split(archive.rstrip(b"/"))
        below.append(name)
    source = Source(archive or b".")
    pool = WorkerPool(workers)
    try:
        prefetcher = Prefetcher(FrameCache(pool, cache_memory))
        top = root(Services.of(source, prefetcher, window, every_film=every_film, selection=selection))
        if start:
            pool.start()
        yield Tree(path, top, tuple(reversed(below)), pool)
    finally:
        pool.close()
        source.close()


@dataclass(frozen=True, slots=True)
class Lister:
    """Lists what is in *tree*, one name a line, which goes to *write*; *long* adds mode, size and time."""

    tree: Tree
    write: Callable[[bytes], object]
    complain: Complain
    long: bool
    recursive: bool

    async def show(self, node: Node, path: bytes) -> None:
        """List what is below *node*, or the file that it is. Raises OSError where that cannot be listed."""
        if not isinstance(node, Directory):
            await self._line(path, node, path)
            return
        if self.recursive:
            self.write(path + b":\n")
        below = []
        for child in await node.listing():
            place = os.path.join(path, child.name)
            await self._line(child.name, child.node, place)
            if isinstance(child.node, Unknown):
                self.complain(os.fsdecode(place), child.node.error)
            if self.recursive and isinstance(child.node, Directory):
                below.append(child)
        for child in below:
            self.write(b"\n")
            place = os.path.join(path, child.name)
            try:
                await self.show(child.node, place)
            except BrokenPipeError:
                raise  # the reader has seen enough
            except OSError as error:
                self.complain(os.fsdecode(place), error)

    async def _line(self, name: bytes, node: Node, path: bytes) -> None:
        if not self.long:
            self.write(name + b"\n")
            return
        if isinstance(node, Unknown):
            self.write(f"?????????? {'?':>12} {'?':<16} ".encode() + name + b"\n")
            return
        attributes = node.attributes
        size = str(attributes.size)
        if not attributes.sized:
            size = await self._measured(node, path)
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(attributes.mtime_ns // 1_000_000_000))
        self.write(f"{stat.filemode(attributes.mode)} {size:>12} {when} ".encode() + name + b"\n")

    async def _measured(self, node: Node, path: bytes) -> str:
        """Have the file made, which nothing else tells the size of; a question mark where that is not possible."""
        self.tree.pool.start()
        try:
            return str((await node.current()).size)
        except OSError as error:
            self.complain(os.fsdecode(path), error)
            return "?"


async def write_out(node: Node, write: Callable[[bytes | memoryview], object]) -> None:
    """Give the bytes of a file to *write*, piece by piece. Raises OSError where they cannot be made."""
    if isinstance(node, Unknown):
        raise node.error
    if not isinstance(node, File):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    content = await node.open()
    try:
        offset = 0
        while offset < content.size:
            data = await content.read(offset, min(offset + CHUNK, content.size))
            write(data)
            offset += len(data)
    finally:
        content.close()


async def copy(node: Node, name: bytes, target: bytes, complain: Complain) -> None:
    """Copy a file or a whole directory to *target*, with its times; what fails is told and left out."""
    if isinstance(node, Directory):
        os.makedirs(target, mode=_private(node.attributes.mode), exist_ok=True)
        for child in await node.listing():
            place = os.path.join(name, child.name)
            try:
                await copy(child.node, place, os.path.join(target, child.name), complain)
            except OSError as error:
                complain(os.fsdecode(place), error)
    elif isinstance(node, Unknown):
        raise node.error  # before anything is done to an older copy
    else:
        await _copy_file(node, target)
    when = node.attributes.mtime_ns
    os.utime(target, ns=(when, when))


async def _copy_file(node: Node, target: bytes) -> None:
    """Copy one file; half a file is never left behind."""
    mode = _private(node.attributes.mode)
    with open(target, "wb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
        try:
            await write_out(node, file.write)
        except BaseException:
            os.unlink(target)
            raise


def _private(mode: int) -> int:
    """Give a copy the source's mode, which the umask narrows, and its owner the right to write to it."""
    return stat.S_IMODE(mode) | stat.S_IWUSR
