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

from dicomfs.display.render import Window
from dicomfs.files.subject import Services
from dicomfs.nodes import Directory, File, Node, Unknown
from dicomfs.source import Source
from dicomfs.tree import root
from dicomfs.workers.decode import Decoder

# What is read at a time: a frame of the usual size.
CHUNK = 1024 * 1024

Complain = Callable[[str, OSError], None]


@dataclass(frozen=True, slots=True)
class Tree:
    """What a path given by a user means: the tree of an archive, and the names that lead down in it."""

    path: bytes
    top: Directory
    below: tuple[bytes, ...]

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
    path: bytes, workers: int, cache_memory: int, window: Window | None = None, *, every_film: bool = False
) -> Iterator[Tree]:
    """Open the archive that *path* leads to or into; without *workers* nothing can be decoded.

    The archive is as much of the path as exists on disk; the rest is inside.
    """
    archive, below = path, []
    while not os.path.exists(archive) and archive.strip(b"/"):
        archive, name = os.path.split(archive.rstrip(b"/"))
        below.append(name)
    source = Source(archive or b".")
    decoder = Decoder(max(1, workers), cache_bytes=cache_memory)
    try:
        top = root(Services.of(source, decoder, window, every_film=every_film))
        if workers:
            decoder.start()
        yield Tree(path, top, tuple(reversed(below)))
    finally:
        decoder.close()
        source.close()


async def list_tree(
    node: Node, path: bytes, write: Callable[[bytes], object], complain: Complain, *, long: bool, recursive: bool
) -> None:
    """Write the names below *node*, one a line; *long* adds mode, size and time."""
    if not isinstance(node, Directory):
        write(_line(path, node, long))
        return
    if recursive:
        write(path + b":\n")
    below = []
    for child in await node.listing():
        write(_line(child.name, child.node, long))
        if isinstance(child.node, Unknown):
            complain(os.fsdecode(os.path.join(path, child.name)), child.node.error)
        if recursive and isinstance(child.node, Directory):
            below.append(child)
    for child in below:
        write(b"\n")
        place = os.path.join(path, child.name)
        try:
            await list_tree(child.node, place, write, complain, long=long, recursive=True)
        except BrokenPipeError:
            raise  # the reader has seen enough
        except OSError as error:
            complain(os.fsdecode(place), error)


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
            data = await content.read(offset, CHUNK)
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


def _line(name: bytes, node: Node, long: bool) -> bytes:
    if not long:
        return name + b"\n"
    if isinstance(node, Unknown):
        return f"?????????? {'?':>12} {'?':<16} ".encode() + name + b"\n"
    attributes = node.attributes
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(attributes.mtime_ns // 1_000_000_000))
    return f"{stat.filemode(attributes.mode)} {attributes.size:>12} {when} ".encode() + name + b"\n"
