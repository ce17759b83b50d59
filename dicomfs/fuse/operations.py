"""The pyfuse3 adapter: numbers to nodes, handles to contents, errors to replies. Nothing else is decided here.

pyfuse3 ends the mount on any exception that is not a FUSEError, so every handler answers through one guard,
`_Reply`. The kernel never takes a request back, so every handler has a time limit.
"""

import errno
import logging
import math
import os
import stat
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import NoReturn

import pyfuse3
import trio

from dicomfs.dicom.xattrs import PREFIX
from dicomfs.fuse.inodes import InodeTable
from dicomfs.fuse.reported_sizes import ReportedSizes
from dicomfs.fuse.requester import Requester
from dicomfs.resources.threads import Purpose, run
from dicomfs.sources.source import Space
from dicomfs.vfs.content import Content, always
from dicomfs.vfs.nodes import Attributes, Child, Children, Directory, File, FixedDirectory, Unknown

log = logging.getLogger(__name__)

# Nothing local takes this long; what does is a dead server or disk, and the caller may try again. Handlers that never
# wait need no limit, and listings are many requests; handlers that may build a file have limits of their own.
TIME_LIMIT_SECONDS = 120.0
# Limit for a hung build, in seconds; real ones take minutes. Clients that will not wait can interrupt open().
BUILD_LIMIT_SECONDS = 3600.0
# How long the kernel may remember that a name is missing: in a fixed directory for as long as that lives, in others
# as briefly as it remembers the names that there are.
MISSING_FIXED_SECONDS, MISSING_SECONDS = 3600.0, 5.0
# The inode number of names that are listed but cannot be examined; no node has it.
NOBODY = (1 << 64) - 1
# What `cp` and `cat` take as their unit; the kernel's own read-ahead is the same.
BLOCK_SIZE = 128 * 1024
# Ordinary answers, which are not logged.
_ORDINARY = frozenset(
    (
        errno.ENOENT,
        errno.EROFS,
        errno.ENOSYS,
        errno.EACCES,
        errno.EINTR,
        errno.ENODATA,
        errno.EPERM,
        errno.ESTALE,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENAMETOOLONG,
    )
)


@dataclass(slots=True)
class Statistics:
    """What the adapter has answered so far."""

    requests: int = 0
    failures: dict[str, int] = field(default_factory=dict)


class _Reply:
    """Turns whatever a handler raises into a reply, as a context manager; only cancellation passes."""

    __slots__ = ("_name", "_operations", "_scope")

    def __init__(self, operations: "Operations", name: str, *, limited: bool) -> None:
        """Answer for the handler *name*, within TIME_LIMIT_SECONDS if that is *limited*."""
        self._operations = operations
        self._name = name
        # What `trio.fail_after` does, at a third of its cost, which every request pays.
        self._scope = trio.CancelScope(deadline=trio.current_time() + TIME_LIMIT_SECONDS) if limited else None

    def __enter__(self) -> None:
        self._operations.statistics.requests += 1
        if self._scope is not None:
            self._scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scope is not None:
            self._scope.__exit__(kind, error, trace)
            if self._scope.cancelled_caught:
                error = trio.TooSlowError()
        if error is None or isinstance(error, trio.Cancelled | pyfuse3.FUSEError):
            return
        if isinstance(error, trio.TooSlowError):
            error = OSError(errno.ETIMEDOUT, "took too long")
        if isinstance(error, OSError):
            self._operations.fail(self._name, error)
        self._operations.fail_unexpectedly(self._name, error)


class Operations(pyfuse3.Operations):
    """Answers the kernel out of a tree of nodes."""

    enable_acl = False
    supports_dot_lookup = False

    def __init__(self, root: Directory, space: Callable[[], Space], *, xattrs: bool = False) -> None:
        """Serve *root*, with extended attributes if asked for; *space* measures the archive's storage."""
        super().__init__()
        self.inodes = InodeTable(root)
        self._sizes = ReportedSizes()
        self.statistics = Statistics()
        self.started = trio.Event()
        self._space = space
        self._xattrs = xattrs
        self._contents: dict[int, Content] = {}
        self._listings: dict[int, tuple[int, Sequence[Child]]] = {}
        self._next_handle = 1

    def init(self) -> None:
        """Note that the kernel has introduced itself."""
        self.started.set()

    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Find a name; a missing one is answered too, so that the kernel remembers it."""
        with _Reply(self, "lookup", limited=True):
            directory = await self.inodes.directory(parent_inode)
            try:
                child = await directory.lookup(name)
            except FileNotFoundError:
                child = None
            if child is None:
                missing = pyfuse3.EntryAttributes()
                missing.st_ino = 0
                missing.entry_timeout = (
                    MISSING_FIXED_SECONDS if isinstance(directory, FixedDirectory) else MISSING_SECONDS
                )
                return missing
            return _entry(*self._held(parent_inode, child))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """Take lookups back; this has no reply, hence no guard, and cannot fail."""
        for inode, lookups in inode_list:
            if inode != NOBODY:
                self._forget(inode, lookups)

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Describe a node; where only that tells its size, it is built first, for as long as the caller waits."""
        with _Reply(self, "getattr", limited=False):
            with trio.CancelScope(deadline=trio.current_time() + TIME_LIMIT_SECONDS) as scope:
                node = await self.inodes.node(inode)
                if node.attributes.sized:
                    return _entry(inode, await node.current())
                scope.deadline = math.inf
                size = self._sizes.get(inode)
                if size is None:
                    size = self._sizes.report(
                        inode, await node.find_size(Requester(ctx.pid).is_waiting, BUILD_LIMIT_SECONDS)
                    )
                return _entry(inode, replace(node.attributes, size=size, sized=True))
            raise trio.TooSlowError

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """Take the listing that this handle will show to its end."""
        with _Reply(self, "opendir", limited=True):
            listing = await (await self.inodes.directory(inode)).listing()
            handle = self._handle()
            self._listings[handle] = inode, listing
            return handle

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Return names with their attributes, as many as fit."""
        with _Reply(self, "readdir", limited=False):
            inode, listing = self._listings[fh]
            if isinstance(listing, Children) and listing.shared_attributes is not None:
                self._show_uniform(inode, listing, listing.shared_attributes, start_id, token)
                return
            now = time.monotonic()
            for place in range(start_id, len(listing)):
                child = listing[place]
                if isinstance(child.node, Unknown):
                    # Of no type, so that the kernel keeps nothing of it and asks again.
                    if not pyfuse3.readdir_reply(token, child.name, _entry(NOBODY, child.node.attributes), place + 1):
                        break
                    continue
                number, attributes = self._held(inode, child)
                entry = _entry(number, attributes)
                if child.seen is not None:
                    # The kernel may keep it as long as if it had come at once.
                    valid = max(0.0, attributes.valid - (now - child.seen))
                    entry.entry_timeout = entry.attr_timeout = valid
                if not pyfuse3.readdir_reply(token, child.name, entry, place + 1):
                    self._forget(number, 1)
                    break

    def _show_uniform(
        self, inode: int, listing: Children, attributes: Attributes, start: int, token: pyfuse3.ReaddirToken
    ) -> None:
        """Return names of which there may be a hundred thousand, so nothing is made for each but the name."""
        first = self.inodes.first_place(inode, len(listing))
        entry = _entry(first, attributes)
        place, name, reply = start, listing.name, pyfuse3.readdir_reply
        for place in range(start, len(listing)):
            entry.st_ino = first + place
            if not reply(token, name(place), entry, place + 1):
                break
        else:
            place = len(listing)
        self.inodes.hold_uniform(inode, place - start)

    async def releasedir(self, fh: int) -> None:
        """Let a listing go."""
        with _Reply(self, "releasedir", limited=False):
            del self._listings[fh]

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Open a file; the kernel may keep its pages, since an inode never changes its bytes."""
        with _Reply(self, "open", limited=False):
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC):
                raise OSError(errno.EROFS, "read-only")
            with trio.fail_after(TIME_LIMIT_SECONDS) as scope:
                node = await self.inodes.node(inode)
                if not isinstance(node, File):
                    raise IsADirectoryError(errno.EISDIR, "a directory")
                if node.slow:
                    scope.deadline = math.inf
                content = await node.open(Requester(ctx.pid).is_waiting if node.slow else always, BUILD_LIMIT_SECONDS)
            if not node.attributes.sized:
                try:
                    self._sizes.report(inode, content.size)
                except OSError:
                    content.close()
                    raise
            handle = self._handle()
            self._contents[handle] = content
            # What was built anew is read anew, should a builder not give the same bytes each time.
            return pyfuse3.FileInfo(fh=handle, keep_cache=not content.fresh, direct_io=False)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Read from an open file; a contiguous memoryview is as good as bytes to pyfuse3."""
        with _Reply(self, "read", limited=True):
            content = self._contents[fh]
            return await content.read(min(off, content.size), min(off + size, content.size))  # type: ignore[return-value]

    async def release(self, fh: int) -> None:
        """Close an open file."""
        with _Reply(self, "release", limited=True):
            self._contents.pop(fh).close()

    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """Return one extended attribute; ENOSYS is said once, and the kernel never asks again."""
        with _Reply(self, "getxattr", limited=True):
            if not self._xattrs:
                raise OSError(errno.ENOSYS, "no extended attributes")
            # The kernel and `ls` ask every file for what concerns others; that must not cost a header.
            value = (await self._extended(inode)).get(name) if name.startswith(PREFIX) else None
            if value is None:
                raise OSError(errno.ENODATA, "no such attribute")
            return value

    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        """Name the extended attributes."""
        with _Reply(self, "listxattr", limited=True):
            if not self._xattrs:
                raise OSError(errno.ENOSYS, "no extended attributes")
            return list(await self._extended(inode))

    async def _extended(self, inode: int) -> Mapping[bytes, bytes]:
        return await (await self.inodes.node(inode)).extended()

    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """Describe the file system: the archive's size, and nothing free."""
        with _Reply(self, "statfs", limited=True):
            space = await run(Purpose.SPACE, self._space)
            answer = pyfuse3.StatvfsData()
            answer.f_bsize = space.transfer_size
            answer.f_frsize = space.block_size
            answer.f_blocks = space.blocks
            answer.f_bfree = answer.f_bavail = 0
            answer.f_files = space.files
            answer.f_ffree = answer.f_favail = 0
            answer.f_namemax = 255
            return answer

    def close(self) -> None:
        """Close what clients left open."""
        while self._contents:
            self._contents.popitem()[1].close()
        self._listings.clear()

    def _held(self, parent: int, child: Child) -> tuple[int, Attributes]:
        """Number a child of *parent*, count one lookup, and return the attributes known without building it."""
        number, attributes = self.inodes.hold(parent, child), child.node.attributes
        if not attributes.sized and (size := self._sizes.hold(number)) is not None:
            # A size is reported again each time: the kernel takes over what lookups and listings say.
            attributes = replace(attributes, size=size, sized=True)
        return number, attributes

    def _forget(self, inode: int, lookups: int) -> None:
        self.inodes.forget(inode, lookups)
        self._sizes.forget(inode, lookups)

    def _handle(self) -> int:
        self._next_handle += 1
        return self._next_handle

    def fail(self, operation: str, error: OSError) -> NoReturn:
        """Raise the reply to an error; what is not ordinary is logged."""
        number = error.errno or errno.EIO
        if number not in _ORDINARY:
            name = errno.errorcode.get(number, str(number))
            self.statistics.failures[name] = self.statistics.failures.get(name, 0) + 1
            # `strerror` only: `str` would show the path, and paths name patients.
            log.warning("%s: %s: %s", operation, name, error.strerror)
        raise pyfuse3.FUSEError(number) from None

    def fail_unexpectedly(self, operation: str, error: BaseException) -> NoReturn:
        """Raise EIO for an error that nobody foresaw, a decoder's panic (no Exception) too: it would end the mount."""
        # The message may quote a patient's values; the place of the error does not.
        frames = traceback.extract_tb(error.__traceback__)
        places = " < ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in reversed(frames))
        log.error("%s: unexpected %s at %s", operation, type(error).__name__, places)
        self.statistics.failures["EIO"] = self.statistics.failures.get("EIO", 0) + 1
        raise pyfuse3.FUSEError(errno.EIO) from None


def _entry(inode: int, attributes: Attributes) -> pyfuse3.EntryAttributes:
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = inode
    entry.generation = 0
    entry.entry_timeout = attributes.valid
    # Without a size the attributes are out of date at once: before anybody is shown them the kernel asks `getattr`,
    # which other than lookups and listings holds no directory up. Nothing is opened, either, before that was answered.
    entry.attr_timeout = attributes.valid if attributes.sized else 0
    entry.st_mode = attributes.mode
    # One is the convention for directories whose subdirectories were not counted; `find` then looks by itself.
    entry.st_nlink = 1
    entry.st_uid = attributes.uid
    entry.st_gid = attributes.gid
    entry.st_rdev = 0
    entry.st_size = 0 if stat.S_ISDIR(attributes.mode) else attributes.size
    entry.st_blksize = BLOCK_SIZE
    entry.st_blocks = -(-entry.st_size // 512)
    entry.st_atime_ns = entry.st_ctime_ns = entry.st_mtime_ns = attributes.mtime_ns
    return entry
