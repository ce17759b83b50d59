"""Decoded frames on demand: a cache in front of the worker processes, and what they make while nobody waits."""

import contextlib
import hashlib
import pickle
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import trio

from dicomfs.cache.disk import DiskCache
from dicomfs.cache.edition import edition
from dicomfs.cache.memory import Lru
from dicomfs.codecs.registry import CODECS
from dicomfs.resources.descriptors import Descriptors
from dicomfs.resources.nursery import side_by_side
from dicomfs.resources.threads import Purpose, run
from dicomfs.workers.decoder_process import Task
from dicomfs.workers.pool import DecodeError, Pool, WorkerEnded
from dicomfs.workers.processes import Buffer
from dicomfs.workers.sandbox import GIB

# Finds out what to do when it is really to be done: most results are in the cache.
Make = Callable[[], Awaitable[tuple[Task, Buffer]]]

# Frames that are made ahead of a reader beyond one for each worker, so that none waits while the reader takes one away.
_FURTHER = 2
# Seconds after which a frame that was made ahead and not fetched makes room for others: its reader has left.
_LEFT = 2.0
# Seconds that making one ahead may take, of which most are for a source that does not answer.
_PATIENCE = 60.0
# Frames that are not tried ahead again because they failed.
_FAILURES = 64
# Readers whose wishes wait. More at once keep all workers busy without any, and may have left before one is idle.
_READERS = 8

# Workers that end one after another at the same frame before that is its own fault: nobody kills so many by chance.
_LOST_IN_A_ROW = 3


class Wish(NamedTuple):
    """A result of *size* bytes that will probably be wanted: the arguments of a `get` to come."""

    key: Hashable
    make: Make
    size: int
    owner: Hashable = None


class _Unfetched(NamedTuple):
    size: int
    since: float


@dataclass(frozen=True, slots=True)
class Stats:
    """What a Decoder has done since its start: *replaced* counts workers that did not end by themselves."""

    decoded: int
    failed: int
    replaced: int
    cache_hits: int


class Decoder(Pool):
    """A pool of worker processes, and a cache of what they made.

    Results of `get` are kept up to *cache_bytes*, those of slow codecs in *disk* too.
    """

    def __init__(
        self,
        workers: int,
        timeout: float = 10.0,
        cache_bytes: int = 32 << 20,
        memory: int = 2 * GIB,
        disk: DiskCache | None = None,
        descriptors: Descriptors | None = None,
    ) -> None:
        """Prepare, without starting a process."""
        super().__init__(workers, timeout, memory, descriptors)
        self.depth = workers + _FURTHER
        self._cache: Lru[bytes] = Lru(cache_bytes, len)
        self._cache_bytes = cache_bytes
        self._disk = disk
        # What open files are being read from, whatever has become of it in the cache; as many as are made at a time.
        self._served: OrderedDict[Hashable, bytes] = OrderedDict()
        self._nursery: trio.Nursery | None = None
        self._wishes: OrderedDict[Hashable, deque[Wish]] = OrderedDict()
        self._making = 0
        # What was made ahead and nobody has fetched yet, the oldest first; bytes of all that and of what is being made
        # ahead; what could not be made.
        self._unfetched: OrderedDict[Hashable, _Unfetched] = OrderedDict()
        self._reserved = 0
        self._failed_ahead: OrderedDict[Hashable, None] = OrderedDict()

    async def look_ahead(self) -> None:
        """Let `ahead` work for as long as this is not cancelled."""
        async with side_by_side() as nursery:
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    @property
    def stats(self) -> Stats:
        """What was done so far."""
        return Stats(self._decoded, self._failed, self._replaced, self._cache.hits)

    async def run(self, task: Task, data: Buffer, owner: Hashable = None, *, lasting: bool = False) -> bytes:
        """Have a worker do *task*, as `Pool.run` does; nothing is kept."""
        running = super().run(task, data, owner, lasting=lasting)
        del data  # see there
        with self._at_work():
            return await running

    async def get(self, key: Hashable, make: Make, owner: Hashable = None) -> bytes:
        """Give the result kept under *key*, or have the task that *make* gives done once for all who ask.

        *owner* is the object whose bytes are decoded (see `Pool.run`).
        """

        async def result() -> bytes:
            with self._at_work():
                return await self._made(make, owner)

        made = await self._cache.get(key, result)
        if self._release(key):
            self._cache.demote(key)  # those that are still to be fetched shall outlive it
        return made

    async def serve(self, key: Hashable, make: Make, owner: Hashable = None) -> bytes:
        """Give what `get` gives to an open file that is read piece by piece, and calls this for each piece.

        The last results stay for that, one for each frame that may be made at a time, also where they are too large
        for the cache. Readers beyond that share the cache.
        """
        made = self._served.get(key)
        if made is None:
            made = self._served[key] = await self.get(key, make, owner)
            if len(self._served) > self.depth:
                self._served.popitem(last=False)
        else:
            self._served.move_to_end(key)
        return made

    def left(self, key: Hashable) -> None:
        """Note that the file is closed that the result of *key* was served to."""
        self._served.pop(key, None)

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        """Count one who uses a worker or will soon."""
        self._making += 1
        self._grant()
        try:
            yield
        finally:
            self._making -= 1
            self._grant()

    def spent(self, key: Hashable) -> None:
        """Keep the result of *key* no longer: somebody has read all of it, and the kernel keeps what it was sent.

        Memory that is used again at once costs far less than fresh memory.
        """
        self._release(key)
        self._cache.forget(key)

    async def verdict(self, key: Hashable, make: Make, owner: Hashable = None) -> bytes:
        """Give what `get` gives, where a failure decides about more than this read.

        Raises NoAnswer where chance may have had a hand in it, and any other DecodeError where it is the frame's own
        fault, so that it will be the same next time. A frame at which worker after worker ends is such a one.
        """
        for _ in range(_LOST_IN_A_ROW):
            with contextlib.suppress(WorkerEnded):
                return await self.get(key, make, owner)
        raise DecodeError("decoders end unexpectedly at this frame")

    async def _made(self, make: Make, owner: Hashable) -> bytes:
        task, data = await make()
        codec = CODECS.get(task.fmt.transfer_syntax)
        if self._disk is None or codec is None or not codec.slow or task.at_most:
            making = super().run(task, data, owner)
        else:
            making = self._kept(self._disk, task, data, owner)
        del data  # it need not be kept beside what is made of it
        return await making

    async def _kept(self, disk: DiskCache, task: Task, data: Buffer, owner: Hashable) -> bytes:
        """Take a result from the disk cache, or add it. Its key is a digest of all that it is made of and with."""
        digest = hashlib.blake2b(pickle.dumps((edition(), task)), digest_size=20)
        digest.update(data)
        key = digest.digest()
        result = await run(Purpose.DISK, disk.load, key, task.size)
        if result is None:
            running = super().run(task, data, owner, lasting=True)
            del data
            result = await running
            await run(Purpose.DISK, disk.store, key, result)
        return result

    def ahead(self, reader: Hashable, wishes: Iterable[Wish]) -> None:
        """Have made what *reader* will probably want, the nearest first, in place of what was said of it before.

        Only workers that have nothing else to do take wishes, while one more is read from its file, and only if there
        is room to keep the result beside all that was made ahead and is still to be fetched, and what is being read.
        """
        self._wishes.pop(reader, None)
        if self._nursery is not None and (waiting := deque(wishes)):
            self._wishes[reader] = waiting
            if len(self._wishes) > _READERS:
                self._wishes.popitem(last=False)
            self._grant()

    def _grant(self) -> None:
        """Begin with what is wished, as far as there are workers and room."""
        while self._nursery is not None and self._wishes and self._making <= self.workers:
            reader, waiting = self._wishes.popitem(last=False)
            wish = waiting.popleft()
            if waiting:
                self._wishes[reader] = waiting  # behind all others: everybody gets one in turn
            if self._cache.coming(wish.key) or wish.key in self._failed_ahead or not self._has_room(2 * wish.size):
                continue
            self._making += 1
            self._reserved += wish.size
            self._nursery.start_soon(self._try, wish)

    def _has_room(self, size: int) -> bool:
        """Tell whether *size* bytes are left; what was made for those who have left goes first."""
        long_ago = trio.current_time() - _LEFT
        while self._reserved + size > self._cache_bytes and self._unfetched:
            key, oldest = next(iter(self._unfetched.items()))
            if oldest.since > long_ago:
                break
            self._release(key)
            self._cache.forget(key)
        return self._reserved + size <= self._cache_bytes

    def _release(self, key: Hashable) -> bool:
        """Give back the room of a result that waits to be fetched; tell whether it did wait."""
        waiting = self._unfetched.pop(key, None)
        self._reserved -= waiting.size if waiting else 0
        return waiting is not None

    async def _try(self, wish: Wish) -> None:
        async def result() -> bytes:
            made = await self._made(wish.make, wish.owner)
            self._release(wish.key)  # it may have been made ahead before, and dropped from the cache
            self._unfetched[wish.key] = _Unfetched(wish.size, trio.current_time())
            self._reserved += wish.size
            return made

        try:
            # A reader who joins has a limit of its own, after which it tries again; that must not be this one again.
            with trio.move_on_after(_PATIENCE):
                await self._cache.get(wish.key, result)
        except trio.Cancelled:
            raise
        except BaseException:  # noqa: BLE001 - whoever really wants the frame gets the same error, and is told
            self._failed_ahead[wish.key] = None
            if len(self._failed_ahead) > _FAILURES:
                self._failed_ahead.popitem(last=False)
        finally:
            self._making -= 1
            self._reserved -= wish.size
            self._grant()
