"""Decoded frames on demand: a cache in front of worker processes, and the seam between trio and the code below.

Nothing above this module knows that there are processes; nothing below knows that anything waits. A worker may
crash, hang, eat memory or lie: each costs one DecodeError for one frame, and the worker is replaced.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import trio

from dicomfs.cache import Lru
from dicomfs.sandbox import GIB
from dicomfs.worker import ANSWER, REASON_LIMIT, REQUEST, START, Task

Buffer = bytes | bytearray | memoryview

# Loading the decoders from a cold disk takes seconds; a machine that needs longer has other troubles.
_START_TIMEOUT = 60.0

# A fork server that died before it gave one worker is not started again at once: it would most likely die again.
_RESTART_PAUSE = 5.0

# A slot is made anew when it is too small, and given back when it is larger than this.
_SLOT_KEPT = 32 << 20
_SLOT_STEP = 1 << 20

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

# Seconds that decoding may take per pixel beyond the fixed limit: 1 s per 50 million.
_SECONDS_PER_PIXEL = 1 / 50e6

# Workers that are tried before a task is given up for want of one.
_ATTEMPTS = 3


class DecodeError(OSError):
    """A frame could not be decoded; the text says why."""

    def __init__(self, reason: str) -> None:
        """Fail because of *reason*."""
        super().__init__(errno.EIO, reason)


class _WorkerLost(Exception):
    """A worker ended, or answered what no sound worker answers."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What a Decoder has done since its start: *replaced* counts workers that did not end by themselves."""

    decoded: int
    failed: int
    replaced: int
    cache_hits: int


@dataclass(frozen=True, slots=True)
class _Answer:
    payload: bytes | None
    reason: str
    retires: bool


class _Slot:
    """Memory shared with one worker. Its size is sealed, so that touching it cannot fail in the daemon (SIGBUS)."""

    __slots__ = ("_file", "memory", "size")

    def __init__(self, needed: int) -> None:
        self.size = -(-needed // _SLOT_STEP) * _SLOT_STEP
        self._file = os.memfd_create("dicomfs", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._file, self.size)
            fcntl.fcntl(self._file, fcntl.F_ADD_SEALS, _SEALS)
            self.memory = mmap.mmap(self._file, self.size)
        except BaseException:
            os.close(self._file)
            raise

    def hand_over(self) -> int:
        """Give the descriptor of a slot that its worker does not know yet, once; the caller closes it."""
        file, self._file = self._file, -1
        return file

    def close(self) -> None:
        self.memory.close()
        if self._file >= 0:
            os.close(self.hand_over())


class _Worker:
    """The daemon's end of one worker process."""

    __slots__ = ("_channel", "_pidfd", "_sequence", "_slot", "protections")

    def __init__(self, channel: socket.socket) -> None:
        channel.setblocking(False)
        self._channel = channel
        self._pidfd = -1
        self._slot: _Slot | None = None
        self._sequence = 0
        self.protections: tuple[str, ...] = ()

    async def ready(self) -> bool:
        """Wait for the greeting of a new worker; tell whether the worker lives and is silent as it should be."""
        if self._pidfd < 0:
            await trio.lowlevel.wait_readable(self._channel)
            try:
                message, descriptors, _, _ = socket.recv_fds(self._channel, 1000, 1)
            except OSError:
                return False
            if not descriptors:
                return False
            self._pidfd = descriptors[0]
            self.protections = tuple(message.decode().split(", "))
        try:
            self._channel.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    async def perform(self, task: Task, data: Buffer) -> _Answer:
        """Have *task* done; raises _WorkerLost when there is no sound answer."""
        described = pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
        encoded = memoryview(data).nbytes
        descriptors = self._fit_slot(max(len(described) + encoded, task.size))
        assert self._slot is not None  # noqa: S101  it fits now
        self._sequence += 1
        request = REQUEST.pack(self._sequence, len(described), encoded, self._slot.size)
        try:
            self._slot.memory[: len(described)] = described
            self._slot.memory[len(described) : len(described) + encoded] = data
            socket.send_fds(self._channel, [request], descriptors)
        except OSError as error:
            raise _WorkerLost from error
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return self._understand(await self._receive(), task.size)

    def _fit_slot(self, needed: int) -> list[int]:
        """Have a slot of at least *needed* bytes; give its descriptor when the worker has yet to get it."""
        if self._slot is not None and self._slot.size >= needed:
            return []
        self._free_slot()
        self._slot = _Slot(needed)
        return [self._slot.hand_over()]

    async def _receive(self) -> bytes:
        while True:
            try:
                # Without room for ancillary data the kernel drops descriptors that a worker might send.
                return self._channel.recv(ANSWER.size + REASON_LIMIT)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._channel)
            except OSError as error:
                raise _WorkerLost from error

    def _understand(self, message: bytes, size: int) -> _Answer:
        try:
            sequence, length, made, retires = ANSWER.unpack_from(message)
        except struct.error:
            raise _WorkerLost from None
        assert self._slot is not None  # noqa: S101  a request was sent
        if sequence != self._sequence or (made and length != size):
            raise _WorkerLost
        payload = self._slot.memory[:size] if made else None
        if self._slot.size > _SLOT_KEPT:
            self._free_slot()
        return _Answer(payload, message[ANSWER.size :].decode("utf-8", "replace"), bool(retires))

    def _free_slot(self) -> None:
        if self._slot is not None:
            self._slot.close()
            self._slot = None

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        if self._pidfd >= 0:
            with contextlib.suppress(OSError):  # ended already
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def dispose(self) -> None:
        """End the process and give everything back; nobody may be waiting for it."""
        self.kill()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        self._channel.close()  # ends a worker that has not greeted yet
        self._free_slot()


class _ForkServer:
    """The daemon's end of the process that starts workers."""

    __slots__ = ("_control", "_process", "proved", "started")

    def __init__(self) -> None:
        """Start the process and return at once, while it is still loading the decoders."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self.started = time.monotonic()
        self.proved = False
        # The same modules that the daemon found, and never one from the current directory. Threads of numerical
        # libraries would not survive the fork.
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-P", "-m", "dicomfs.worker", str(theirs.fileno()), str(os.getpid())]
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    cwd="/",
                    env=environment,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except OSError:
                self._control.close()
                raise

    def engage(self, memory: int) -> _Worker | None:
        """Ask for a worker that may use *memory* bytes; None when the process has ended or hangs."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                socket.send_fds(self._control, [START.pack(memory)], [theirs.fileno()])
            except OSError:
                ours.close()
                return None
        return _Worker(ours)

    def end(self) -> None:
        """End the process, and with it its workers."""
        self._control.close()
        self._process.kill()
        self._process.wait()


class Decoder:
    """Worker processes that make pictures and arrays of encoded frames, and a cache of what they made.

    *workers* frames are decoded at a time, each within *timeout* seconds and 1 s per 50 million pixels, and with
    *memory* bytes of address space. Results of `get` are kept up to *cache_bytes*.
    """

    def __init__(self, workers: int, timeout: float = 10.0, cache_bytes: int = 64 << 20, memory: int = 2 * GIB) -> None:
        """Prepare, without starting a process."""
        self._workers = workers
        self._timeout = timeout
        self._memory = memory
        self._cache: Lru[bytes] = Lru(cache_bytes, len)
        self._server: _ForkServer | None = None
        self._idle: deque[_Worker] = deque()
        self._busy: set[_Worker] = set()
        self._permits = trio.Semaphore(workers)
        self._decoded = self._failed = self._replaced = 0
        self._protections: tuple[str, ...] = ()

    def start(self) -> None:
        """Start the processes and return at once; they get ready meanwhile.

        Call it after daemonising, before the FUSE device is opened and in the thread that will run trio: the
        kernel ends the processes when that thread ends.
        """
        self._server = _ForkServer()
        for _ in range(self._workers):
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

    async def get(self, key: Hashable, make: Callable[[], Awaitable[tuple[Task, Buffer]]]) -> bytes:
        """Give the result kept under *key*, or have the task that *make* gives done once for all who ask."""

        async def result() -> bytes:
            return await self.run(*await make())

        return await self._cache.get(key, result)

    async def run(self, task: Task, data: Buffer) -> bytes:
        """Have a worker do *task* on the encoded frame *data*: exactly task.size bytes, or DecodeError.

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
            patience = self._timeout + task.fmt.pixels * _SECONDS_PER_PIXEL
            try:
                with trio.move_on_after(patience) as limit:
                    answer = await worker.perform(task, data)
            except _WorkerLost:
                raise DecodeError("the decoder ended unexpectedly") from None
            except OSError as error:
                raise DecodeError(f"no memory for the frame ({error.strerror})") from error
            finally:
                self._busy.discard(worker)
                self._put_back(worker, sound=answer is not None, retires=answer is not None and answer.retires)
        if answer is None:
            assert limit.cancelled_caught  # noqa: S101  nothing else leaves no answer
            raise DecodeError(f"decoding took longer than {patience:.3g} s")
        if answer.payload is None:
            raise DecodeError(answer.reason)
        return answer.payload

    async def _take(self) -> _Worker:
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
        raise DecodeError("no decoding process starts")

    def _note(self, worker: _Worker) -> None:
        self._protections = worker.protections
        if self._server is not None:
            self._server.proved = True

    def _engage(self) -> _Worker:
        """Ask for a new worker, of a new fork server if need be."""
        if self._server is None:
            raise DecodeError("the decoder is closed")
        try:
            if worker := self._server.engage(self._memory):
                return worker
            self._server.end()
            if self._server.proved or time.monotonic() - self._server.started > _RESTART_PAUSE:
                self._server = _ForkServer()
                if worker := self._server.engage(self._memory):
                    return worker
        except OSError as error:
            raise DecodeError(f"no decoding process can be started ({error.strerror})") from error
        raise DecodeError("the decoding processes do not start")

    def _put_back(self, worker: _Worker, *, sound: bool, retires: bool) -> None:
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
