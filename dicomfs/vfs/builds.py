"""Files that are built as a whole: once for all clients that wait, and kept on disk while there is space.

Only this module starts builds. Each runs in a task of its own. It outlives the client that began it as long as another
one waits, and is cancelled with the last, unless that one has only run out of time.
"""

import errno
import hashlib
import io
import logging
import math
import os
import traceback
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import trio

from dicomfs.cache.disk import FULL, DiskCache
from dicomfs.cache.edition import edition
from dicomfs.resources.descriptors import Descriptors, Kept
from dicomfs.resources.nursery import first_of
from dicomfs.resources.threads import Purpose, run
from dicomfs.sources.source import Version
from dicomfs.vfs.build_file import BuildFile
from dicomfs.vfs.content import Buffer, Content, Wanted, WrongSize, always

log = logging.getLogger(__name__)

Build = Callable[[BinaryIO], Awaitable[None]]
"""Writes the whole content into a file that is empty at first. Raises OSError; may be cancelled."""

Name = Callable[[], Awaitable[bytes]]
"""Returns the `lasting_key` of a content. It may read the whole source, so builds call it and listings do not."""

# Interval at which a waiting client is checked for interruption, in seconds; its system call lasts as long.
POLL_SECONDS = 1.0
# Time that a file too large to be kept stays for the client that has asked for its size, in seconds.
LINGER_SECONDS = 60.0
# Files whose size and identity are remembered, and the memory that each takes; an idle file takes as much.
_MAX_KNOWN = 50_000
_KNOWN_BYTES = 450
_BUFFER = 1 << 20


class BuildFailed(OSError):
    """The content could not be made; the text says why."""

    def __init__(self, reason: str) -> None:
        """Carry EIO."""
        super().__init__(errno.EIO, reason)


class OpenAbandoned(OSError):
    """No client waits for the content any longer."""

    def __init__(self) -> None:
        """Carry EINTR."""
        super().__init__(errno.EINTR, "the opener was interrupted")


class BuildUnfinished(OSError):
    """The content was not made in time; the build goes on, and a later opener finds what it makes."""

    def __init__(self) -> None:
        """Carry ETIMEDOUT."""
        super().__init__(errno.ETIMEDOUT, "the file is still being made")


@dataclass(frozen=True, slots=True)
class BuildStats:
    """Numbers of builds begun, failed, and cancelled because no client waited any longer."""

    begun: int
    failed: int
    cancelled: int


def build_key(version: Version, recipe: str) -> bytes:
    """Return the key, within one mount, of the result of *recipe* on one version of a file: a digest of both."""
    return hashlib.blake2b(repr((version, recipe)).encode(), digest_size=20).digest()


def lasting_key(content: bytes, recipe: str) -> bytes:
    """Return the key, for later mounts too, of what *recipe* makes of a file whose bytes have the digest *content*.

    Nothing that `stat` tells is part of it: many file systems number inodes by the order of lookups, and copies have
    the times of their originals.
    """
    return hashlib.blake2b(repr((edition(), content, recipe)).encode(), digest_size=20).digest()


class _BuiltFile:
    """One built file.

    It stays open as long as it is held. A file that is only kept gives way when descriptors are short, and is lost
    then, since it has no name.
    """

    __slots__ = ("_descriptors", "_kept", "cached", "holders", "mark", "size")

    def __init__(self, descriptors: Descriptors, descriptor: int, size: int, cached: bool) -> None:
        """Own *descriptor*, held once. Raises OSError (EMFILE) where there is no room for it."""
        status = os.fstat(descriptor)
        self._descriptors = descriptors
        self._kept = Kept()
        self.size = size
        self.cached = cached
        self.mark = status.st_dev, status.st_ino, status.st_mtime_ns
        self.holders = 1
        descriptors.adopt(self._kept, descriptor, must=True)

    @property
    def lost(self) -> bool:
        """Whether it has given way."""
        return self._kept.descriptor < 0

    def hold(self) -> bool:
        """Hold it again, after `keep`; return whether it is still there."""
        self.holders = 1
        return self._descriptors.use(self._kept) >= 0

    def keep(self) -> None:
        """Let it give way from now on."""
        self._descriptors.done(self._kept)

    async def read(self, start: int, stop: int) -> Buffer:
        """Read at once from the page cache, otherwise in a thread."""
        buffer = np.empty(stop - start, np.uint8).data  # unlike a bytearray not filled with zeros first
        try:
            if os.preadv(self._kept.descriptor, [buffer], start, os.RWF_NOWAIT) == len(buffer):
                return buffer
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR, errno.EOPNOTSUPP):
                raise
        return await run(Purpose.DISK, self._wait_for, stop - start, start)

    def close(self) -> None:
        """Close it, held or kept; what is read at this moment is read to its end."""
        self._descriptors.close(self._kept)
        if self.holders:
            self._descriptors.done(self._kept)

    def _wait_for(self, length: int, offset: int) -> bytes:
        descriptor = self._descriptors.use(self._kept)
        try:
            return os.pread(descriptor, length, offset)
        finally:
            self._descriptors.done(self._kept)


class BuiltContent(Content):
    """An open built file; *fresh* when it was rebuilt since it was last opened, so that cached pages are void."""

    __slots__ = ("_builds", "_built", "_key", "fresh")

    def __init__(self, builds: "BuildCache", key: bytes, built: _BuiltFile, *, fresh: bool) -> None:
        """Serve *built*, which *builds* releases when this is closed."""
        self._builds = builds
        self._key = key
        self._built = built
        self.fresh = fresh
        self.size = built.size

    async def read(self, start: int, stop: int) -> Buffer:
        """Read the file."""
        data = await self._built.read(start, stop)
        if len(data) != stop - start:
            # The kernel would take a short answer for the end of the file.
            raise WrongSize(stop - start, len(data))
        return data

    def close(self) -> None:
        """Release the file."""
        self._builds.release(self._key, self._built)


class _BuildTask:
    """One build under way, its number of clients, and its outcome; *goes_on* if it outlives them."""

    __slots__ = ("built", "ended", "error", "fresh", "goes_on", "openers", "scope")

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.scope = trio.CancelScope()
        self.openers = 0
        self.fresh = self.goes_on = False
        self.built: _BuiltFile | None = None
        self.error: OSError | None = None


class BuildCache:
    """The builds under way, and built files.

    Files that nobody has open are in *cache*; those that it does not take, or all without one, are kept up to *limit*
    bytes, and as far as *descriptors* has room, by default a budget of their own. Up to *at_once* builds run at a time;
    the others wait for their turn.
    """

    def __init__(
        self, limit: int, at_once: int, cache: DiskCache | None = None, descriptors: Descriptors | None = None
    ) -> None:
        """Start with nothing built but what is in *cache*."""
        self._limit = limit
        self._cache = cache
        self._descriptors = descriptors or Descriptors.of_process()
        self._tasks: dict[bytes, _BuildTask] = {}
        self._held: dict[bytes, _BuiltFile] = {}
        self._idle: OrderedDict[bytes, _BuiltFile] = OrderedDict()
        self._idle_bytes = 0
        self._known: OrderedDict[bytes, tuple[int, tuple[int, int, int]]] = OrderedDict()
        self._permits = trio.Semaphore(at_once)
        self._begun = self._failed = self._cancelled = 0

    @property
    def stats(self) -> BuildStats:
        """What was done so far."""
        return BuildStats(self._begun, self._failed, self._cancelled)

    @property
    def under_way(self) -> int:
        """Number of builds that have not ended."""
        return len(self._tasks)

    @property
    def weight(self) -> int:
        """Bytes of memory that is used to know what was built."""
        return _KNOWN_BYTES * (len(self._known) + len(self._idle))

    @property
    def idle_files(self) -> int:
        """Built files that are kept although nobody has them open."""
        return len(self._idle)

    def size(self, key: bytes) -> int | None:
        """Return the size of what was built or found in this mount, if any; this never waits and asks no disk."""
        known = self._known.get(key)
        return known and known[0]

    async def open(
        self,
        key: bytes,
        build: Build,
        wanted: Wanted = always,
        name: Name | None = None,
        limit: float = math.inf,
    ) -> BuiltContent:
        """Return the content of *key*, kept or made by *build* once for all who ask meanwhile.

        Only what has a *name* is looked for in the disk cache, and kept there. Raises OSError where it cannot be made;
        OpenAbandoned when *wanted* says, while it is made, that it no longer is; BuildUnfinished when it is not made
        within *limit* seconds.
        """
        built, fresh = self._hold(key), False
        if built is None:
            built, fresh = await self._wait(key, build, wanted, name, limit)
        return BuiltContent(self, key, built, fresh=fresh)

    def close_soon(self, content: BuiltContent) -> None:
        """Close *content*, of which only the size was wanted: one too large to be kept is left for who now opens it."""
        if content.size <= self._limit:
            content.close()
        else:
            trio.lowlevel.spawn_system_task(_close_later, content)

    def close(self) -> None:
        """Let go what is kept."""
        while self._idle:
            self._idle.popitem()[1].close()
        self._idle_bytes = 0

    def _hold(self, key: bytes) -> _BuiltFile | None:
        if built := self._held.get(key):
            built.holders += 1
        elif built := self._idle.pop(key, None):
            self._idle_bytes -= built.size
            if not built.hold():
                return None
            self._held[key] = built
        return built

    def release(self, key: bytes, built: _BuiltFile) -> None:
        """Let one holder of a built file go, for `BuiltContent.close`."""
        built.holders -= 1
        if built.holders:
            return
        del self._held[key]
        built.keep()
        if built.cached or built.size > self._limit:
            built.close()
            return
        self._idle[key] = built
        self._idle_bytes += built.size
        # Descriptors give way in this same order.
        while self._idle and (self._idle_bytes > self._limit or next(iter(self._idle.values())).lost):
            _, oldest = self._idle.popitem(last=False)
            self._idle_bytes -= oldest.size
            oldest.close()

    async def _wait(
        self, key: bytes, build: Build, wanted: Wanted, name: Name | None, limit: float
    ) -> tuple[_BuiltFile, bool]:
        """Wait for the build of *key*, with others perhaps; hold what it gives and tell whether it is fresh."""
        deadline = trio.current_time() + limit
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = _BuildTask()
            trio.lowlevel.spawn_system_task(self._run, key, build, name, task)
        task.openers += 1
        try:
            while not task.ended.is_set():
                with trio.move_on_at(min(trio.current_time() + POLL_SECONDS, deadline)):
                    await task.ended.wait()
                if task.ended.is_set():
                    break
                if not wanted():
                    raise OpenAbandoned
                if trio.current_time() >= deadline:
                    task.goes_on = True
                    raise BuildUnfinished
            if task.error is not None:
                raise task.error
            assert task.built is not None  # noqa: S101 - neither an error nor cancelled
            task.built.holders += 1
            return task.built, task.fresh
        finally:
            task.openers -= 1
            if not task.openers:
                self._leave(key, task)

    def _leave(self, key: bytes, task: _BuildTask) -> None:
        """Nobody waits any longer: end the build, or let go what it has made."""
        if task.built is not None:
            self.release(key, task.built)
        elif not task.ended.is_set() and not task.goes_on:
            del self._tasks[key]
            task.scope.cancel()
            self._cancelled += 1

    async def _run(self, key: bytes, build: Build, name: Name | None, task: _BuildTask) -> None:
        """Run one build, in a task of its own."""
        try:
            with task.scope:
                lasting = await name() if name and self._cache else None
                built = await self._found(lasting) or await self._build(lasting, build)
                if task.scope.cancel_called:
                    built.close()
                else:
                    task.built = self._held[key] = built
                    task.fresh = self._remember(key, built)
                    if not task.openers:
                        self.release(key, built)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - a codec's panic is no Exception, and this task has no parent
            self._failed += 1
            task.error = _said(error)
            if task.goes_on and not task.openers:
                log.warning("a build that took too long failed in the end: %s", task.error.strerror)
        finally:
            if self._tasks.get(key) is task:
                del self._tasks[key]
            task.ended.set()

    async def _found(self, lasting: bytes | None) -> _BuiltFile | None:
        """Open the entry of the disk cache; checking a large one takes its time."""
        cache = self._cache
        if cache is None or lasting is None:
            return None
        entry = await run(Purpose.DISK, cache.open, lasting, finish=True)
        return entry and _BuiltFile(self._descriptors, *entry, cached=True)

    async def _build(self, lasting: bytes | None, build: Build) -> _BuiltFile:
        async with self._permits:
            self._begun += 1
            if self._descriptors.full():
                raise OSError(errno.EMFILE, "too many built files are open")
            try:
                return await self._made(lasting, build)
            except OSError as error:
                if error.errno not in FULL or not self._idle:
                    raise
            # The disk is full, and what is only kept in case of need fills it.
            self.close()
            return await self._made(lasting, build)

    async def _made(self, lasting: bytes | None, build: Build) -> _BuiltFile:
        """Build into a file that only this process can reach."""
        spool = BuildFile(self._cache if lasting else None, self._descriptors)
        try:
            file = io.BufferedRandom(spool, _BUFFER)
            await build(file)
            if not file.closed:
                await run(Purpose.DISK, file.flush, finish=True)
            descriptor, size, cached = await run(Purpose.DISK, spool.finish, lasting or b"", finish=True)
        finally:
            spool.discard()
        built = _BuiltFile(self._descriptors, descriptor, size, cached)
        if not size:
            built.close()
            raise BuildFailed("nothing was made")
        return built

    def _remember(self, key: bytes, built: _BuiltFile) -> bool:
        """Note the exact size; return whether there was another file of this key before."""
        before = self._known.pop(key, None)
        self._known[key] = built.size, built.mark
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return before is not None and before[1] != built.mark


async def _close_later(content: BuiltContent) -> None:
    try:
        await trio.sleep(LINGER_SECONDS)
    finally:
        content.close()


def _said(error: BaseException) -> OSError:
    """Turn what a builder raised into what its openers get."""
    error = first_of(error)
    if isinstance(error, OSError):
        return error
    # The message may quote a patient's values; where it happened does not.
    frame = traceback.extract_tb(error.__traceback__)[-1]
    log.error("a build: unexpected %s at %s:%d", type(error).__name__, os.path.basename(frame.filename), frame.lineno)
    return BuildFailed(f"the file cannot be made ({type(error).__name__})")
