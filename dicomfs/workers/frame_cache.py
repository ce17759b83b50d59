"""The frame cache: results of workers by their requests, in memory and, where they are expensive, on disk.

A request is the key of its result, and prepares the task that a worker does for it. Every frame that is decoded comes
through here, so that its memory is accounted for in one place.
"""

import contextlib
import hashlib
import pickle
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple, Protocol

import trio

from dicomfs.cache.disk import DiskCache
from dicomfs.cache.edition import edition
from dicomfs.cache.memory import Lru, Making
from dicomfs.codecs.registry import CODECS
from dicomfs.resources.threads import Purpose, run
from dicomfs.workers.decoder_process import Task
from dicomfs.workers.memory_account import MemoryAccount
from dicomfs.workers.pool import DecodeError, WorkerEnded, WorkerPool
from dicomfs.workers.processes import Buffer

WORKING_BYTES = 64 << 20
"""Memory for each worker, in addition to the cache, for frames that are made and that open files are read from."""

# Frames that are prefetched beyond one for each worker, so that no worker waits while the client takes one away.
_EXTRA_DEPTH = 2
# Seconds after which a prefetched frame that nobody has fetched gives way to others: its client has left.
UNFETCHED_SECONDS = 2.0
# Workers that end one after another at the same frame before the frame is at fault: chance does not end so many.
_MAX_LOST_WORKERS = 3


class Request(Hashable, Protocol):
    """What is wanted of a frame: equal requests have equal results."""

    @property
    def owner(self) -> Hashable:
        """The object whose bytes are decoded (see `WorkerPool.run`)."""

    @property
    def size(self) -> int:
        """Bytes of the result, at most."""

    @property
    def room(self) -> int:
        """Bytes of memory that are needed while it is made."""

    async def prepare(self) -> tuple[Task, Buffer]:
        """Read the encoded bytes from the source, and describe what a worker makes of them. Raises OSError."""


class _Unfetched(NamedTuple):
    size: int
    since: float


class FrameCache:
    """Results of a pool of workers: kept, held for open files, or prefetched and not fetched yet.

    Results are kept up to *cache_bytes*, those of slow codecs in *disk* too. `memory` accounts for all others.
    """

    def __init__(self, pool: WorkerPool, cache_bytes: int = 32 << 20, disk: DiskCache | None = None) -> None:
        """Start empty."""
        self.pool = pool
        self.depth = pool.workers + _EXTRA_DEPTH
        self.memory = MemoryAccount(pool.workers * WORKING_BYTES, self._drop_held)
        self.demand = 0
        self._kept: Lru[bytes] = Lru(cache_bytes, len)
        self._cache_bytes = cache_bytes
        self._disk = disk
        # Results that open files are read from, the one used last at the end.
        self._held: OrderedDict[Request, bytes] = OrderedDict()
        # Prefetched results that nobody has fetched, the oldest first.
        self._unfetched: OrderedDict[Request, _Unfetched] = OrderedDict()
        self._unfetched_bytes = 0
        self._when_free: list[Callable[[], None]] = []

    @property
    def hits(self) -> int:
        """Number of results that were in the cache."""
        return self._kept.hits

    @property
    def held(self) -> tuple[Request, ...]:
        """Requests whose results are held for open files, the one used last at the end."""
        return tuple(self._held)

    @property
    def unfetched_bytes(self) -> int:
        """Bytes of all prefetched results that nobody has fetched."""
        return self._unfetched_bytes

    def __len__(self) -> int:
        """Count the results kept in memory."""
        return len(self._kept)

    def __contains__(self, request: Request) -> bool:
        """Whether the result is kept in memory."""
        return request in self._kept

    def coming(self, request: Request) -> bool:
        """Whether the result is kept in memory or being made."""
        return self._kept.coming(request)

    def when_free(self, call: Callable[[], None]) -> None:
        """Have *call* called whenever a worker may have nothing to do."""
        self._when_free.append(call)

    async def get(self, request: Request, *, hold: bool = False, needed: bool = False) -> bytes:
        """Return the result of *request*, made once for all who ask. Raises DecodeError and OSError of the source.

        A client that reads an open file piece by piece has the result *held* until `left`, also where it is too large
        for the cache; more than `depth` results, or more than there is memory for, are not held. A result that is
        *needed* to prepare another frame waits for no memory.
        """
        result = self._held.get(request)
        if result is not None:
            self._held.move_to_end(request)
            return result
        result = await self._kept.found(request)
        if result is None:
            with Making(self._kept, request) as making, self.busy():
                making.value = result = await self._make(request, hold=hold, waits=not needed)
        elif hold and request not in self._held:
            self.memory.hold(len(result))
            self._hold(request, result)
        if self._fetched(request):
            self._kept.demote(request)  # results that are still to be fetched must outlive it
        return result

    async def verdict(self, request: Request, *, needed: bool = False) -> bytes:
        """Return the result as `get` does, where a failure decides about more than this read.

        Raises NoAnswer where chance may have had a hand in it, and any other DecodeError where the frame itself is at
        fault, so that it will fail the next time too. A frame at which worker after worker ends is at fault.
        """
        for _ in range(_MAX_LOST_WORKERS):
            with contextlib.suppress(WorkerEnded):
                return await self.get(request, needed=needed)
        raise DecodeError("decoders end unexpectedly at this frame")

    async def make(self, request: Request) -> bytes:
        """Return a result that goes into a file that outlives the mount; it is not kept here."""
        with self.busy():
            return await self._make(request, lasting=True)

    async def prefetch(self, request: Request) -> None:
        """Have the result made and kept until it is fetched, unless that is under way. Raises as `get` does."""
        if await self._kept.found(request) is None:
            with Making(self._kept, request) as making:
                making.value = await self._make(request)
                self._fetched(request)  # it may have been prefetched before, and dropped from the cache
                self._unfetched[request] = _Unfetched(request.size, trio.current_time())
                self._unfetched_bytes += request.size

    def can_prefetch(self, request: Request, reserved: int) -> bool:
        """Whether there is memory for one more result next to those still to be fetched, *reserved* bytes and one read.

        Results that were prefetched for clients who have left are dropped.
        """
        wanted = reserved + 2 * request.size
        long_ago = trio.current_time() - UNFETCHED_SECONDS
        while self._unfetched_bytes + wanted > self._cache_bytes and self._unfetched:
            oldest, unfetched = next(iter(self._unfetched.items()))
            if unfetched.since > long_ago:
                break
            self.spent(oldest)
        return self._unfetched_bytes + wanted <= self._cache_bytes and self.memory.has_room(request.room)

    def left(self, request: Request) -> None:
        """Note that a file was closed that the result was held for."""
        result = self._held.pop(request, None)
        if result is not None:
            self.memory.release(len(result))

    def spent(self, request: Request) -> None:
        """Drop a result that was read to its end: the kernel keeps what it was sent.

        Memory that is reused at once costs far less than fresh memory.
        """
        self._fetched(request)
        self._kept.forget(request)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Count one who uses a worker or soon will."""
        self.demand += 1
        try:
            yield
        finally:
            self.demand -= 1
            for call in self._when_free:
                call()

    async def _make(self, request: Request, *, lasting: bool = False, hold: bool = False, waits: bool = True) -> bytes:
        """Have the result made, or take it from the disk cache."""
        async with self.memory.room(request.room, waits=waits) as room:
            self.memory.reading(room)
            task, data = await request.prepare()
            self.memory.read(room)
            codec = CODECS.get(task.fmt.transfer_syntax)
            disk = None if lasting or task.at_most or codec is None or not codec.slow else self._disk
            key, result = b"", None
            if disk is not None:
                key = _lasting_key(task, data)
                result = await run(Purpose.DISK, disk.load, key, task.size)
            if result is None:
                running = self.pool.run(task, data, request.owner, lasting=lasting or disk is not None)
                del data  # it need not be kept next to the result
                result = await running
                if disk is not None:
                    await run(Purpose.DISK, disk.store, key, result)
            if hold:
                self.memory.hold_of(room, len(result))
                self._hold(request, result)
            return result

    def _hold(self, request: Request, result: bytes) -> None:
        """Hold a result for an open file; it is accounted for."""
        self._held[request] = result
        if len(self._held) > self.depth:
            self.left(next(iter(self._held)))

    def _drop_held(self) -> int:
        """Drop the held result that was not used for the longest time; return its bytes."""
        return len(self._held.popitem(last=False)[1]) if self._held else 0

    def _fetched(self, request: Request) -> bool:
        """Count a result as fetched; return whether it was waiting for that."""
        unfetched = self._unfetched.pop(request, None)
        self._unfetched_bytes -= unfetched.size if unfetched else 0
        return unfetched is not None


def _lasting_key(task: Task, data: Buffer) -> bytes:
    """Return a digest of everything that a result is made of and with."""
    digest = hashlib.blake2b(pickle.dumps((edition(), task)), digest_size=20)
    digest.update(data)
    return digest.digest()
