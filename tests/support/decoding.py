"""The workers, the frame cache and the prefetcher, put together as a mount does it."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from dicomfs.cache.disk import DiskCache
from dicomfs.vfs.content import Content
from dicomfs.workers.decoder_process import Task
from dicomfs.workers.frame_cache import FrameCache
from dicomfs.workers.pool import Stats, WorkerPool
from dicomfs.workers.prefetcher import Prefetcher
from dicomfs.workers.processes import Buffer


class Decoding:
    """A pool of workers, started and closed as a context manager, and what is above it."""

    def __init__(
        self, workers: int = 2, timeout: float = 10, cache_bytes: int = 32 << 20, disk: DiskCache | None = None
    ) -> None:
        self.pool = WorkerPool(workers, timeout)
        self.frames = FrameCache(self.pool, cache_bytes, disk)
        self.prefetcher = Prefetcher(self.frames)

    async def __aenter__(self) -> Self:
        self.pool.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pool.close()

    @property
    def stats(self) -> Stats:
        """What the workers have done."""
        return self.pool.stats


@dataclass(frozen=True)
class Wanted:
    """A request by a *key*, whose task is *task* on *data*; subclasses prepare it otherwise."""

    key: Hashable
    task: Task = field(compare=False)
    data: Buffer = field(compare=False)
    owner: Hashable = field(default=None, compare=False)

    @property
    def size(self) -> int:
        return self.task.size

    @property
    def room(self) -> int:
        return 2 * self.task.size

    async def prepare(self) -> tuple[Task, Buffer]:
        return self.task, self.data


async def read_at(content: Content, offset: int, length: int) -> bytes | memoryview:
    """Read up to *length* bytes at *offset* of a content, as the kernel asks for them; fewer only at the end."""
    return await content.read(min(offset, content.size), min(offset + length, content.size))
