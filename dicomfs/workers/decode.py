"""Decoded frames on demand: a cache in front of worker processes, and the seam between trio and the code below.

Nothing above this module knows that there are processes; nothing below knows that anything waits. A worker may
crash, hang, eat memory or lie: each costs one DecodeError for one frame, and the worker is replaced.
"""

import contextlib
import errno
import hashlib
import pickle
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import trio

from dicomfs import __version__
from dicomfs.cache import Lru
from dicomfs.codecs.table import CODECS
from dicomfs.diskcache import DiskCache
from dicomfs.workers.film import Job
from dicomfs.workers.processes import Buffer, ForkServer, Serve, Worker, WorkerLost
from dicomfs.workers.sandbox import GIB
from dicomfs.workers.worker import Task

# Loading the decoders from a cold disk takes seconds; a machine that needs longer has other troubles.
_START_TIMEOUT = 60.0

# A fork server that died before it gave one worker is not started again at once: it would most likely die again.
_RESTART_PAUSE = 5.0

# Finds out what to do when it is really to be done: most results are in the cache.
Make = Callable[[], Awaitable[tuple[Task, Buffer]]]

# Seconds that decoding may take per pixel beyond the fixed limit: 1 s per 50 million.
_SECONDS_PER_PIXEL = 1 / 50e6
# And where the frame is encoded, and decoded once more to be sure: 1 s per 2 million.
_SECONDS_PER_ENCODED_PIXEL = 1 / 2e6

# Address space for an encoder, which looks at a dozen frames at a time, and seconds within which it takes the next.
_FILM_MEMORY = 4 * GIB
_SILENCE = 60.0

# Workers that are tried before a task is given up for want of one.
_ATTEMPTS = 3

# Workers that end one after another at the same frame before that is its own fault: nobody kills so many by chance.
_LOST_IN_A_ROW = 3


class DecodeError(OSError):
    """A frame could not be decoded; the text says why."""

    def __init__(self, reason: str) -> None:
        """Fail because of *reason*."""
        super().__init__(errno.EIO, reason)


class NoAnswer(DecodeError):
    """Nothing was found out about the frame: no worker started, memory was short, or it took too long."""


class WorkerEnded(NoAnswer):
    """The worker ended while it was at the frame."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What a Decoder has done since its start: *replaced* counts workers that did not end by themselves."""

    decoded: int
    failed: int
    replaced: int
    cache_hits: int


class Decoder:
    """Worker processes that make pictures and arrays of encoded frames, and a cache of what they made.

    *workers* frames are decoded at a time, each within *timeout* seconds and 1 s per 50 million pixels, and with
    *memory* bytes of address space. Results of `get` are kept up to *cache_bytes*, those of slow codecs in *disk* too.
    """

    def __init__(
        self,
        workers: int,
        timeout: float = 10.0,
        cache_bytes: int = 32 << 20,
        memory: int = 2 * GIB,
        disk: DiskCache | None = None,
    ) -> None:
        """Prepare, without starting a process."""
        self.workers = workers
        self._timeout = timeout
        self._memory = memory
        self._cache: Lru[bytes] = Lru(cache_bytes, len)
        self._disk = disk
        self._server: ForkServer | None = None
        self._idle: deque[Worker] = deque()
        self._busy: set[Worker] = set()
        self._permits = trio.Semaphore(workers)
        self._cache_bytes = cache_bytes
        self._promised = 0
        self._nursery: trio.Nursery | None = None
        self._decoded = self._failed = self._replaced = 0
        self._protections: tuple[str, ...] = ()

    def start(self) -> None:
        """Start the processes and return at once; they get ready meanwhile.

        Call it after daemonising, before the FUSE device is opened and in the thread that will run trio: the
        kernel ends the processes when that thread ends.
        """
        self._server = ForkServer()
        for _ in range(self.workers):
            if worker := self._server.engage(self._memory):  # else the first task finds out why not
                self._idle.append(worker)

    async def __aenter__(self) -> Self:
        """Start unless started."""
        if self._server is None:
            self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    async def look_ahead(self) -> None:
        """Let `ahead` work for as long as this is not cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def close(self) -> None:
        """End all processes; tasks under way fail."""
        server, self._server = self._server, None
        while self._idle:
            self._idle.pop().dispose()
        for worker in self._busy:
            worker.kill()
        if server is not None:
            server.end()

    @property
    def stats(self) -> Stats:
        """What was done so far."""
        return Stats(self._decoded, self._failed, self._replaced, self._cache.hits)

    @property
    def protections(self) -> tuple[str, ...]:
        """Names of the protections that are in force in the workers; empty before the first one was used."""
        return self._protections

    async def get(self, key: Hashable, make: Make) -> bytes:
        """Give the result kept under *key*, or have the task that *make* gives done once for all who ask."""

        async def result() -> bytes:
            task, data = await make()
            codec = CODECS.get(task.fmt.transfer_syntax)
            if self._disk is None or codec is None or not codec.slow or task.at_most:
                return await self.run(task, data)
            return await self._kept(self._disk, task, data)

        return await self._cache.get(key, result)

    async def verdict(self, key: Hashable, make: Make) -> bytes:
        """Give what `get` gives, where a failure decides about more than this read.

        Raises NoAnswer where chance may have had a hand in it, and any other DecodeError where it is the frame's own
        fault, so that it will be the same next time. A frame at which worker after worker ends is such a one.
        """
        for _ in range(_LOST_IN_A_ROW):
            with contextlib.suppress(WorkerEnded):
                return await self.get(key, make)
        raise DecodeError("decoders end unexpectedly at this frame")

    async def _kept(self, disk: DiskCache, task: Task, data: Buffer) -> bytes:
        """Take a result from the disk cache, or add it. The key is a digest of all that the result is made of."""
        digest = hashlib.blake2b(pickle.dumps((__version__, task)), digest_size=20)
        digest.update(data)
        key = digest.digest()
        result = await trio.to_thread.run_sync(disk.load, key, task.size, abandon_on_cancel=True)
        if result is None:
            result = await self.run(task, data)
            await trio.to_thread.run_sync(disk.store, key, result, abandon_on_cancel=True)
        return result

    def ahead(self, key: Hashable, make: Make, size: int) -> bool:
        """Have a result of *size* bytes made that will probably be wanted; tell whether that could be begun.

        Only a worker that has nothing else to do takes it, and only if there is room to keep it beside what others are
        making ahead and the one that is being read.
        """
        room = self._promised + 2 * size <= self._cache_bytes
        if self._nursery is None or not room or not self._permits.value or key in self._cache:
            return False
        self._promised += size
        self._nursery.start_soon(self._try, key, make, size)
        return True

    async def _try(self, key: Hashable, make: Make, size: int) -> None:
        try:
            await self.get(key, make)
        except trio.Cancelled:
            raise
        except BaseException:  # noqa: BLE001, S110 - whoever really wants the frame gets the same error, and is told
            pass
        finally:
            self._promised -= size

    async def run(self, task: Task, data: Buffer) -> bytes:
        """Have a worker do *task* on the encoded frame *data*: as many bytes as it says, or DecodeError.

        Tasks are taken in the order of their calls. A cancelled one ends its worker, which is replaced.
        """
        try:
            payload = await self._run(task, data)
        except DecodeError:
            self._failed += 1
            raise
        self._decoded += 1
        return payload

    async def _run(self, task: Task, data: Buffer) -> bytes:
        async with self._permits:
            worker = await self._take()
            self._busy.add(worker)
            answer = None
            per_pixel = _SECONDS_PER_ENCODED_PIXEL if task.at_most else _SECONDS_PER_PIXEL
            patience = self._timeout + task.fmt.pixels * per_pixel
            try:
                with trio.move_on_after(patience) as limit:
                    answer = await worker.perform(task, data)
            except WorkerLost:
                raise WorkerEnded("the decoder ended unexpectedly") from None
            except OSError as error:
                raise NoAnswer(f"no memory for the frame ({error.strerror})") from error
            finally:
                self._busy.discard(worker)
                self._put_back(worker, sound=answer is not None, retires=answer is not None and answer.retires)
        if answer is None:
            assert limit.cancelled_caught  # noqa: S101  nothing else leaves no answer
            raise NoAnswer(f"decoding took longer than {patience:.3g} s")
        if answer.payload is None:
            raise DecodeError(answer.reason)
        return answer.payload

    async def direct(self, job: Job, room: int, serve: Serve) -> None:
        """Have a process of its own do *job*, and answer its calls with *serve* and a slot of *room* bytes or more.

        Raises DecodeError, and what *serve* raises.
        """
        worker = self._engage(filming=True)
        self._busy.add(worker)
        ready = False
        try:
            with trio.move_on_after(_START_TIMEOUT):
                ready = await worker.ready()
            if not ready:
                raise NoAnswer("the process for films does not start")
            reason = await worker.direct(job, room, serve, _SILENCE)
        except WorkerLost:
            raise WorkerEnded("the process for films ended unexpectedly") from None
        finally:
            self._busy.discard(worker)
            worker.dispose()
        if reason:
            raise DecodeError(reason)

    async def _take(self) -> Worker:
        """Wait for a worker that is ready, passing over those that have ended."""
        engaged = 0
        while self._idle or engaged < _ATTEMPTS:
            if self._idle:
                worker = self._idle.pop()
            else:
                worker = self._engage()
                engaged += 1
            ready = False
            try:
                with trio.move_on_after(_START_TIMEOUT) as limit:
                    ready = await worker.ready()
            except BaseException:
                self._idle.append(worker)  # cancelled, but nothing has happened to it
                raise
            if ready:
                self._note(worker)
                return worker
            worker.dispose()
            self._replaced += 1
            if limit.cancelled_caught and self._server is not None:
                self._server.end()  # it hangs; the next call starts another
        raise NoAnswer("no decoding process starts")

    def _note(self, worker: Worker) -> None:
        self._protections = worker.protections
        if self._server is not None:
            self._server.proved = True

    def _engage(self, *, filming: bool = False) -> Worker:
        """Ask for a new worker, of a new fork server if need be."""
        memory = _FILM_MEMORY if filming else self._memory
        if self._server is None:
            raise NoAnswer("the decoder is closed")
        try:
            if worker := self._server.engage(memory, filming):
                return worker
            self._server.end()
            if self._server.proved or time.monotonic() - self._server.started > _RESTART_PAUSE:
                self._server = ForkServer()
                if worker := self._server.engage(memory, filming):
                    return worker
        except OSError as error:
            raise NoAnswer(f"no decoding process can be started ({error.strerror})") from error
        raise NoAnswer("the decoding processes do not start")

    def _put_back(self, worker: Worker, *, sound: bool, retires: bool) -> None:
        """Have *worker* ready for the next task, or another in its place."""
        if sound and not retires and self._server is not None:
            self._idle.append(worker)
            return
        worker.dispose()
        if not retires:
            self._replaced += 1
        if self._server is not None:
            with contextlib.suppress(OSError):  # then the next task tries, and says so
                self._idle.appendleft(self._engage())  # not ready yet, so the last to be used
