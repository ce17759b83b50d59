"""`dicomfs ls`, `cat` and `cp`: the tree without a kernel, for machines that cannot mount.

They walk the nodes that the mount serves, so both show the same names, sizes and bytes.
"""

import argparse
import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

import trio

from dicomfs.cli.option_values import UsageError
from dicomfs.cli.outcome import Complaints
from dicomfs.cli.usage import check_archive
from dicomfs.cli.view import view_options
from dicomfs.dicom.printable import printable
from dicomfs.instance.services import MountServices
from dicomfs.instance.view_options import USUAL_VIEW, ViewOptions
from dicomfs.sources.local import LocalSource
from dicomfs.tree.mirror import root
from dicomfs.vfs.nodes import Directory, File, Node, Unknown
from dicomfs.workers.frame_cache import FrameCache
from dicomfs.workers.pool import WorkerPool
from dicomfs.workers.prefetcher import Prefetcher

# Bytes that are read at a time: a frame of usual size.
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Tree:
    """A path as a user gives it: the tree of an archive, and the names *below* its *top* that lead to a node."""

    path: bytes
    top: Directory
    below: tuple[bytes, ...]
    pool: WorkerPool

    async def node(self) -> Node:
        """Return the node that the path names. Raises FileNotFoundError or NotADirectoryError."""
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
    view: ViewOptions = USUAL_VIEW,
    *,
    start: bool = True,
) -> Iterator[Tree]:
    """Open the archive that *path* leads to or into; *start* its workers unless little will be decoded.

    The archive is the longest part of the path that exists on disk; the rest is within the archive.
    """
    archive, below = path, []
    while not os.path.exists(archive) and archive.strip(b"/"):
        archive, name = os.path.split(archive.rstrip(b"/"))
        below.append(name)
    source = LocalSource(archive or b".")
    pool = WorkerPool(workers)
    try:
        top = root(MountServices.of(source, Prefetcher(FrameCache(pool, cache_memory)), view))
        if start:
            pool.start()
        yield Tree(path, top, tuple(reversed(below)), pool)
    finally:
        pool.close()
        source.close()


@dataclass(frozen=True, slots=True)
class Lister:
    """Lists *tree*, one name per line, to *write*. *long* adds mode, size and time."""

    tree: Tree
    write: Callable[[bytes], object]
    complaints: Complaints
    long: bool
    recursive: bool

    async def show(self, node: Node, path: bytes) -> None:
        """List the children of *node*, or the file that it is. Raises OSError where it cannot be listed."""
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
                self.complaints.add(os.fsdecode(place), child.node.error)
            if self.recursive and isinstance(child.node, Directory):
                below.append(child)
        for child in below:
            self.write(b"\n")
            place = os.path.join(path, child.name)
            try:
                await self.show(child.node, place)
            except BrokenPipeError:
                raise  # the reader of the listing has closed it
            except OSError as error:
                self.complaints.add(os.fsdecode(place), error)

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
        """Return the size of a file that must be built to be measured, or a question mark where that fails."""
        self.tree.pool.start()
        try:
            return str((await node.current()).size)
        except OSError as error:
            self.complaints.add(os.fsdecode(path), error)
            return "?"


async def write_out(node: Node, write: Callable[[bytes | memoryview], object]) -> None:
    """Pass the bytes of a file to *write*, piece by piece. Raises OSError where they cannot be made."""
    if isinstance(node, Unknown):
        raise node.error
    if not isinstance(node, File):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    content = await node.open()
    try:
        offset = 0
        while offset < content.size:
            data = await content.read(offset, min(offset + CHUNK_BYTES, content.size))
            write(data)
            offset += len(data)
    finally:
        content.close()


async def copy(node: Node, name: bytes, target: bytes, complaints: Complaints) -> None:
    """Copy a file or a whole directory to *target*, with its times. What fails is reported and left out."""
    if isinstance(node, Directory):
        os.makedirs(target, mode=_private(node.attributes.mode), exist_ok=True)
        for child in await node.listing():
            place = os.path.join(name, child.name)
            try:
                await copy(child.node, place, os.path.join(target, child.name), complaints)
            except OSError as error:
                complaints.add(os.fsdecode(place), error)
    elif isinstance(node, Unknown):
        raise node.error  # before anything is done to an older copy
    else:
        await _copy_file(node, target)
    when = node.attributes.mtime_ns
    os.utime(target, ns=(when, when))


async def _copy_file(node: Node, target: bytes) -> None:
    """Copy one file. Where that fails, no part of it remains."""
    mode = _private(node.attributes.mode)
    with open(target, "wb", opener=partial(os.open, mode=mode)) as file:
        try:
            await write_out(node, file.write)
        except BaseException:
            os.unlink(target)
            raise


def _private(mode: int) -> int:
    """Return the mode of a copy: that of the source, and its owner may write to it."""
    return stat.S_IMODE(mode) | stat.S_IWUSR


Act = Callable[[Tree, Complaints], Awaitable[None]]


def ls(options: argparse.Namespace) -> int:
    """List each path; return the exit code."""
    return _for_each_path(options, partial(_list, options), decodes=False)


def cat(options: argparse.Namespace) -> int:
    """Print the bytes of each path; return the exit code."""
    return _for_each_path(options, _print)


def cp(options: argparse.Namespace) -> int:
    """Copy each path to the target, or into it if it is a directory; return the exit code."""
    target = os.fsencode(options.target)
    into = os.path.isdir(target)
    if len(options.paths) > 1 and not into:
        raise UsageError(f"{options.target} is not a directory; several paths can only be copied into one")
    return _for_each_path(options, partial(_copy_to, target, into))


async def _list(options: argparse.Namespace, tree: Tree, complaints: Complaints) -> None:
    write = _write_printable if sys.stdout.isatty() else sys.stdout.buffer.write
    lister = Lister(tree, write, complaints, options.long, options.recursive)
    await lister.show(await tree.node(), tree.path)


async def _print(tree: Tree, _: Complaints) -> None:
    await write_out(await tree.node(), sys.stdout.buffer.write)


async def _copy_to(target: bytes, into: bool, tree: Tree, complaints: Complaints) -> None:
    place = os.path.join(target, os.path.basename(tree.path.rstrip(b"/"))) if into else target
    await copy(await tree.node(), tree.path, place, complaints)


def _for_each_path(options: argparse.Namespace, act: Act, *, decodes: bool = True) -> int:
    """Call *act* for each path of the command line. One that fails is reported and does not stop the others."""
    complaints, view = Complaints(), view_options(options)
    for path in options.paths:
        check_archive(path)
        try:
            with opened(os.fsencode(path), options.workers, options.cache_memory, view, start=decodes) as tree:
                trio.run(act, tree, complaints)
        except BrokenPipeError:
            raise
        except OSError as error:
            complaints.add(path, error)
    sys.stdout.flush()
    return complaints.code


def _write_printable(line: bytes) -> int:
    """Print a line with names to a terminal, which would obey control characters in them. A pipe gets the names."""
    text = line.removesuffix(b"\n").decode("utf-8", "backslashreplace")
    return sys.stdout.buffer.write(printable(text, None).encode() + b"\n")
