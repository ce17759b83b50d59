"""Prefetch: frames that clients will read are made before they ask.

Two kinds of clients are served. One who reads files in order will probably read the next frames: workers that have
nothing else to do make them, and the frame cache keeps them. One who composes a cine loop or a copy will certainly take
every frame: `in_order` makes a few at a time and hands them over in their order.
"""

from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from dicomfs.resources.nursery import side_by_side
from dicomfs.workers.frame_cache import FrameCache, Request
from dicomfs.workers.memory_account import MemoryAccount
from dicomfs.workers.readahead import SequentialAccess

# Seconds that prefetching one frame may take; most of them are for a source that does not answer.
PREFETCH_LIMIT_SECONDS = 60.0
# Frames that are not prefetched again because that has failed.
_MAX_FAILURES = 64
# Clients that may have prefetches queued. With more, demand alone saturates the workers.
_MAX_CLIENTS = 8


class Frames(Protocol):
    """Requests by index, as they will be made in order."""

    def __len__(self) -> int:
        """Number of frames."""

    def __getitem__(self, index: int) -> Request:
        """Return the request for one frame."""


Make = Callable[[Request], Awaitable[bytes | None]]
"""Makes the result of one request."""


class Prefetcher:
    """Queued prefetches, of which workers that are idle do the nearest first."""

    def __init__(self, frames: FrameCache) -> None:
        """Prefetch into *frames*, as long as `run` is running."""
        self.frames = frames
        self._access = SequentialAccess(frames.depth)
        self._nursery: trio.Nursery | None = None
        self._queued: OrderedDict[Hashable, deque[Request]] = OrderedDict()
        self._failed: OrderedDict[Request, None] = OrderedDict()
        self._making = 0
        self._making_bytes = 0
        frames.when_free(self._begin)

    async def run(self) -> None:
        """Prefetch until cancelled."""
        async with side_by_side() as nursery:
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    @property
    def queued(self) -> int:
        """Number of frames to prefetch."""
        return sum(map(len, self._queued.values()))

    @property
    def making(self) -> int:
        """Number of frames that are being prefetched."""
        return self._making

    @property
    def reserved_bytes(self) -> int:
        """Bytes of what is being prefetched, and of what nobody has fetched yet."""
        return self._making_bytes + self.frames.unfetched_bytes

    @property
    def failed(self) -> int:
        """Number of frames that are remembered because prefetching them has failed."""
        return len(self._failed)

    def follow(self, client: Hashable, frames: Frames, index: int, *, sequential: bool = False) -> None:
        """Note that *client* reads frame *index* of *frames*; prefetch the next ones if frames are read in order.

        A client that is known to be *sequential* need not show it first.
        """
        following = range(index + 1, index + 1 + self.frames.depth)
        if not sequential:
            following = self._access.after(client, index)
        self.expect(client, [frames[each] for each in following if each < len(frames)])

    def forget(self, client: Hashable) -> None:
        """Prefetch nothing more for *client*."""
        self._queued.pop(client, None)

    def expect(self, client: Hashable, requests: Iterable[Request]) -> None:
        """Queue what *client* will probably read, the nearest first, in place of what was queued for it before.

        Only idle workers take queued requests, while one more is read from its file, and only if there is memory for
        the result next to everything that was prefetched and is still to be fetched, and what is being read.
        """
        self._queued.pop(client, None)
        if self._nursery is not None and (queue := deque(requests)):
            self._queued[client] = queue
            if len(self._queued) > _MAX_CLIENTS:
                self._queued.popitem(last=False)
            self._begin()

    def _begin(self) -> None:
        """Begin with queued requests, as far as there are workers and memory."""
        frames = self.frames
        while self._nursery is not None and self._queued and frames.demand + self._making <= frames.pool.workers:
            client, queue = self._queued.popitem(last=False)
            request = queue.popleft()
            if queue:
                self._queued[client] = queue  # after all others: each client gets one in turn
            if frames.coming(request) or request in self._failed:
                continue
            if not frames.can_prefetch(request, self._making_bytes):
                continue
            self._making += 1
            self._making_bytes += request.size
            self._nursery.start_soon(self._make, request)

    async def _make(self, request: Request) -> None:
        try:
            # A client who waits for this frame has a limit of its own, and may try again: not at this same request.
            with trio.move_on_after(PREFETCH_LIMIT_SECONDS):
                await self.frames.prefetch(request)
        except trio.Cancelled:
            raise
        except BaseException:  # noqa: BLE001 - a client who reads the frame gets the same error, and it is reported
            self._failed[request] = None
            if len(self._failed) > _MAX_FAILURES:
                self._failed.popitem(last=False)
        finally:
            self._making -= 1
            self._making_bytes -= request.size
            self._begin()


class InOrder:
    """Results that are made a few at a time and taken in their order; see `in_order`."""

    def __init__(
        self,
        nursery: trio.Nursery,
        requests: Frames,
        make: Make,
        ahead: int,
        memory: MemoryAccount,
    ) -> None:
        """Have *make* make the results of *requests*, up to *ahead* of them next to the one that is taken."""
        self._nursery = nursery
        self._requests = requests
        self._make = make
        self._ahead = ahead
        self._memory = memory
        self._begun = 0
        self._made: dict[int, bytes | None] = {}
        self._news = trio.Condition()

    async def take(self, index: int) -> bytes | None:
        """Wait for one result, None where there is none. Each is taken once, in order."""
        while self._begun < min(len(self._requests), index + 1 + self._ahead):
            self._nursery.start_soon(self._run, self._begun)
            self._begun += 1
        async with self._news:
            while index not in self._made:
                await self._news.wait()
        return self._taken(index)

    def drop(self) -> None:
        """Drop what was not taken."""
        for index in tuple(self._made):
            self._taken(index)

    def _taken(self, index: int) -> bytes | None:
        made = self._made.pop(index)
        self._memory.release(len(made or b""))
        return made

    async def _run(self, index: int) -> None:
        made = await self._make(self._requests[index])
        async with self._news:
            self._made[index] = made
            self._memory.hold(len(made or b""))
            self._news.notify_all()


@asynccontextmanager
async def in_order(frames: FrameCache, requests: Frames, make: Make | None = None) -> AsyncIterator[InOrder]:
    """Have the results of *requests* made, each worker of *frames* one ahead of the result that is taken.

    *make* makes one, by default `FrameCache.make`; None stands for a frame that is left out. Their memory is accounted
    for by *frames*. What was begun and not taken is cancelled at the end. Raises what *make* raises.
    """
    queue = None
    try:
        async with side_by_side() as nursery:
            queue = InOrder(nursery, requests, make or frames.make, frames.pool.workers, frames.memory)
            yield queue
            nursery.cancel_scope.cancel()
    finally:
        if queue is not None:
            queue.drop()
