"""Worker processes that do one task at a time, and the seam between trio and the code below.

Nothing above this module knows that there are processes; nothing below knows that anything waits. A worker may
crash, hang, eat memory or lie: each costs one DecodeError for one frame, and the worker is replaced.
"""

import contextlib
import errno
import time
from collections import deque
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import trio

from dicomfs.codecs import registry
from dicomfs.resources.descriptors import Descriptors
from dicomfs.workers.decoder_process import Task
from dicomfs.workers.processes import Buffer, ForkServer, Worker, WorkerLost
from dicomfs.workers.sandbox import GIB

SLOT_BYTES = 64 << 20
"""Memory that all idle workers together go on sharing with the daemon, so that the next frame finds it."""

# Loading the decoders from a cold disk takes seconds; a machine that needs longer has other troubles.
START_TIMEOUT_SECONDS = 60.0

# A fork server that died before it gave one worker is not started again at once: it would most likely die again.
_RESTART_PAUSE = 5.0

# Seconds that decoding may take per pixel beyond the fixed limit: 1 s per 50 million.
_SECONDS_PER_PIXEL = 1 / 50e6
# And where the frame is encoded, and decoded once more to be sure: 1 s per 2 million.
_SECONDS_PER_ENCODED_PIXEL = 1 / 2e6

# Address space for an encoder, which looks at a dozen frames at a time.
_FILM_MEMORY = 4 * GIB

# Workers that are tried before a task is given up for want of one.
_ATTEMPTS = 3


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
    """Tasks since the start, and workers that were *replaced* because they did not end by themselves."""

    decoded: int
    failed: int
    replaced: int


class WorkerPool:
    """Worker processes that make display images and arrays of encoded frames.

    *workers* frames are decoded at a time, each within *timeout* seconds and 1 s per 50 million pixels, and with
    *memory* bytes of address space.
    """

    def __init__(
        self, workers: int, timeout: float = 10.0, memory: int = 2 * GIB, descriptors: Descriptors | None = None
    ) -> None:
        """Prepare, without starting a process; what *descriptors* keep open gives way to the processes."""
        self.workers = workers
        self._descriptors = descriptors or Descriptors.of_process(workers)
        self._timeout = timeout
        self._memory = memory
        self._server: ForkServer | None = None
        self._idle: deque[Worker] = deque()
        self._busy: set[Worker] = set()
        self._permits = trio.Semaphore(workers)
        self._slot_bytes = SLOT_BYTES // max(1, workers)
        self._decoded = self._failed = self._replaced = 0
        self._protections: tuple[str, ...] = ()

    def start(self) -> None:
        """Start the processes, unless that is done, and return at once; they get ready meanwhile.

        Call it after daemonising, before the FUSE device is opened and in the thread that will run trio: the
        kernel ends the processes when that thread ends.
        """
        if self._server is not None:
            return
        self._server = ForkServer()
        for _ in range(self.workers):
            if worker := self._server.engage(self._memory):  # otherwise the first task finds out why not
                self.adopt(worker)

    def adopt(self, worker: Worker) -> None:
        """Take over a worker that gets ready, or is; it is the first to be used."""
        self._idle.append(worker)

    async def __aenter__(self) -> Self:
        """Start."""
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

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
    def protections(self) -> tuple[str, ...]:
        """Names of the protections that are in force in the workers; empty before the first one was used."""
        return self._protections

    @property
    def stats(self) -> Stats:
        """What was done so far."""
        return Stats(self._decoded, self._failed, self._replaced)

    @property
    def busy(self) -> int:
        """Number of workers that are at a task."""
        return len(self._busy)

    async def run(self, task: Task, data: Buffer, owner: Hashable = None, *, lasting: bool = False) -> bytes:
        """Have a worker do *task* on the encoded frame *data* of *owner*: as many bytes as it says, or DecodeError.

        A worker that fails at it does nothing for any other owner afterwards, and one that has done something for
        another owner makes nothing *lasting*, which outlives the mount. Tasks are taken in the order of their calls.
        A cancelled one ends its worker, which is replaced. Where a worker ends at a frame that another decoder reads,
        too, the task is repeated with that one, once and in another worker.
        """
        again = data if registry.has_second(task.fmt) and not task.first_left_out else None
        running = self._run_once(task, data, owner, lasting=lasting)
        del data  # the worker gets it, and frames may be large
        try:
            return await running
        except WorkerEnded:
            if again is not None:
                with contextlib.suppress(DecodeError):  # chance may have ended the first, which says so
                    return await self._run_once(replace(task, first_left_out=True), again, owner, lasting=lasting)
            raise

    async def _run_once(self, task: Task, data: Buffer, owner: Hashable, *, lasting: bool) -> bytes:
        try:
            async with self._permits:
                worker = await self._take(owner, lasting=lasting)
                self._busy.add(worker)
                answer = None
                per_pixel = _SECONDS_PER_ENCODED_PIXEL if task.at_most else _SECONDS_PER_PIXEL
                patience = self._timeout + task.fmt.pixels * per_pixel
                try:
                    with trio.move_on_after(patience) as limit:
                        self._descriptors.opening_at_once(worker.request, task, data, owner)
                        del data  # the worker has it, and frames may be large
                        answer = worker.understand(await worker.receive(), task)
                        worker.shrink(self._slot_bytes)
                except WorkerLost:
                    raise WorkerEnded("the decoder ended unexpectedly") from None
                except OSError as error:
                    raise NoAnswer(f"no memory for the frame ({error.strerror})") from error
                finally:
                    self._busy.discard(worker)
                    if answer is None or answer.payload is None:
                        worker.failed = True
                    self._put_back(worker, sound=answer is not None, retires=answer is not None and answer.retires)
            if answer is None:
                assert limit.cancelled_caught  # noqa: S101  nothing else leaves no answer
                raise NoAnswer(f"decoding took longer than {patience:.3g} s")
            if answer.payload is None:
                raise DecodeError(answer.reason)
        except DecodeError:
            self._failed += 1
            raise
        self._decoded += 1
        return answer.payload

    @contextlib.asynccontextmanager
    async def film_process(self, job: bytes, room: int) -> AsyncIterator[Worker]:
        """Start a process for films (see `video.film_host.FilmPool`); it ends with the context.

        Raises DecodeError where it does not start, or has ended before that.
        """
        worker = self._engage(filming=True)
        self._busy.add(worker)
        try:
            await _greeted(worker)
            if not worker.ready:
                raise NoAnswer("the process for films does not start")
            worker.begin(job, room)
            yield worker
        except WorkerLost:
            raise WorkerEnded("the process for films ended unexpectedly") from None
        finally:
            self._busy.discard(worker)
            worker.dispose()

    async def _take(self, owner: Hashable, *, lasting: bool) -> Worker:
        """Wait for a worker that is ready for *owner*, passing over those that have ended."""
        engaged = 0
        while self._idle or engaged < _ATTEMPTS:
            worker = self._fit_for(owner, lasting=lasting)
            if worker is None:
                worker = self._engage()
                engaged += 1
            server, hangs = self._server, False
            if not worker.greeted:
                try:
                    hangs = not await _greeted(worker)
                except BaseException:
                    # Cancelled, but nothing has happened to it.
                    self._put_back(worker, sound=True, retires=False)
                    raise
            if worker.ready:
                self._note(worker)
                return worker
            worker.dispose()
            self._replaced += 1
            if hangs and server is not None and server is self._server:
                server.end()  # the next call starts another
        raise NoAnswer("no decoding process starts")

    def _fit_for(self, owner: Hashable, *, lasting: bool) -> Worker | None:
        """Take the idle worker that was used last of those that may serve *owner*, if one may."""
        fit = [worker for worker in self._idle if worker.may_serve(owner, lasting=lasting)]
        for worker in [worker for worker in self._idle if worker not in fit]:
            # The object has changed. One that has failed retires now; another does where no other would be left, so
            # that its successor gets ready while the one that is taken works.
            if worker.failed or len(fit) < 2:
                self._idle.remove(worker)
                worker.dispose()
                if not fit:
                    return None
                self._put_in()
        if fit:
            self._idle.remove(fit[-1])
        return fit[-1] if fit else None

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
            if worker := self._descriptors.opening_at_once(self._server.engage, memory, filming):
                return worker
            self._server.end()
            if self._server.proved or time.monotonic() - self._server.started > _RESTART_PAUSE:
                self._server = self._descriptors.opening_at_once(ForkServer)
                if worker := self._server.engage(memory, filming):
                    return worker
        except OSError as error:
            raise NoAnswer(f"no decoding process can be started ({error.strerror})") from error
        raise NoAnswer("the decoding processes do not start")

    def _put_back(self, worker: Worker, *, sound: bool, retires: bool) -> None:
        """Have *worker* ready for the next task, or another in its place."""
        if sound and not retires and self._server is not None:
            self.adopt(worker)
            return
        worker.dispose()
        if not retires:
            self._replaced += 1
        self._put_in()

    def _put_in(self) -> None:
        """Have a new worker get ready; it is the last to be used."""
        if self._server is not None:
            with contextlib.suppress(OSError):  # then the next task tries, and says so
                self._idle.appendleft(self._engage())


async def _greeted(worker: Worker) -> bool:
    """Wait for a new worker; return whether it was heard of in time."""
    with trio.move_on_after(START_TIMEOUT_SECONDS) as limit:
        await worker.greeting()
    return not limit.cancelled_caught
