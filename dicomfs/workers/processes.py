"""The worker processes as the daemon sees them: the fork server, the memory shared with each worker, one exchange.

Only this module starts and ends processes and talks to them. What a worker says is believed only as far as a sound
worker would say it; whatever else happens is WorkerLost.
"""

import contextlib
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
from collections.abc import Hashable
from dataclasses import dataclass

import trio

import dicomfs
from dicomfs.dicom.printable import printable
from dicomfs.workers.decoder_process import ANSWER, REASON_LIMIT, REQUEST, START, Task

Buffer = bytes | bytearray | memoryview

# A slot is made anew when it is too small; its size is a multiple of this.
_SLOT_STEP = 1 << 20

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class WorkerLost(Exception):
    """A worker ended, or answered what no sound worker answers."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker made of a task, or why it could not; one that *retires* takes no further task."""

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
        """Return the descriptor of a slot that its worker does not know yet, once; the caller closes it."""
        file, self._file = self._file, -1
        return file

    def close(self) -> None:
        self.memory.close()
        if self._file >= 0:
            os.close(self.hand_over())


class Worker:
    """The daemon's end of one worker process."""

    __slots__ = ("_channel", "_owners", "_pidfd", "_sequence", "_served", "_slot", "failed", "protections")

    def __init__(self, channel: socket.socket) -> None:
        """Take over the end of a *channel* whose other end a new process has."""
        channel.setblocking(False)
        self._channel = channel
        self._pidfd = -1
        self._slot: _Slot | None = None
        self._sequence = 0
        self.protections: tuple[str, ...] = ()
        self._owners: set[Hashable] = set()
        self._served: Hashable = None
        self.failed = False

    @property
    def greeted(self) -> bool:
        """Whether the process has said that it is there."""
        return self._pidfd >= 0

    async def greeting(self) -> None:
        """Wait for a new process, until it is there or has ended."""
        await trio.lowlevel.wait_readable(self._channel)
        with contextlib.suppress(OSError):
            message, descriptors, _, _ = socket.recv_fds(self._channel, 1000, 1)
            if descriptors:
                self._pidfd = descriptors[0]
                self.protections = tuple(message.decode().split(", "))

    @property
    def ready(self) -> bool:
        """Whether the process is there, lives, and is silent as it should be."""
        if not self.greeted:
            return False
        try:
            self._channel.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def may_serve(self, owner: Hashable, *, lasting: bool) -> bool:
        """Whether bytes of the object *owner* may be decoded here; *lasting* are results that outlive the mount.

        What was decoded before may have subverted the process. One that has failed serves only the object whose bytes
        it failed at, and what outlives the mount is made where no bytes of other objects were.
        """
        if self.failed and owner != self._served:
            return False
        return not lasting or self._owners <= {owner}

    def request(self, task: Task, data: Buffer, owner: Hashable) -> None:
        """Ask for *task* to be done on *data* of *owner*, which is copied. Raises WorkerLost."""
        self._served = owner
        self._owners.add(owner)
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
            raise WorkerLost from error
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def begin(self, job: bytes, room: int) -> None:
        """Have a process for films begin a pickled *job*, with a slot of *room* bytes or more. Raises WorkerLost."""
        descriptors = self._fit_slot(max(len(job), room))
        try:
            self.memory[: len(job)] = job
            self.send(REQUEST.pack(0, len(job), 0, len(self.memory)), descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    @property
    def memory(self) -> mmap.mmap:
        """The slot that is shared with the process, once it was asked for anything."""
        assert self._slot is not None  # noqa: S101  a request was sent
        return self._slot.memory

    async def receive_within(self, seconds: float) -> bytes:
        """Wait for a message, but no longer than that. Raises WorkerLost."""
        with trio.move_on_after(seconds):
            return await self.receive()
        raise WorkerLost

    def send(self, message: bytes, descriptors: list[int] | None = None) -> None:
        """Send a message, with the descriptors that go along. Raises WorkerLost."""
        try:
            socket.send_fds(self._channel, [message], descriptors or [])
        except OSError as error:
            raise WorkerLost from error

    def _fit_slot(self, needed: int) -> list[int]:
        """Have a slot of at least *needed* bytes; return its descriptor when the worker has yet to get it."""
        if self._slot is not None and self._slot.size >= needed:
            return []
        self._free_slot()
        self._slot = _Slot(needed)
        return [self._slot.hand_over()]

    async def receive(self) -> bytes:
        """Wait for a message of the worker. Raises WorkerLost where the connection is broken."""
        while True:
            try:
                # Without room for ancillary data the kernel drops descriptors that a worker might send.
                return self._channel.recv(ANSWER.size + REASON_LIMIT)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._channel)
            except OSError as error:
                raise WorkerLost from error

    def understand(self, message: bytes, task: Task) -> Answer:
        """Take the result of *task* out of the slot. Raises WorkerLost where *message* is no sound answer to it."""
        try:
            sequence, length, made, retires = ANSWER.unpack_from(message)
        except struct.error:
            raise WorkerLost from None
        assert self._slot is not None  # noqa: S101  a request was sent
        wrong = length > task.size or (length < task.size and not task.at_most)
        if sequence != self._sequence or (made and wrong):
            raise WorkerLost
        payload = self._slot.memory[:length] if made else None
        return Answer(payload, _reason(message[ANSWER.size :]), bool(retires))

    def shrink(self, size: int) -> None:
        """Return the slot back if it is larger than *size* bytes; the next request makes another."""
        if self._slot is not None and self._slot.size > size:
            self._free_slot()

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


def python(module: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return the command line that runs a *module* of ours in another process, and its environment.

    It finds the modules that this one found, and never one in the current directory.
    """
    ours = os.path.dirname(os.path.dirname(os.path.abspath(dicomfs.__file__)))
    path = dict.fromkeys([*(os.path.abspath(entry) for entry in sys.path if entry), ours])
    return [sys.executable, "-P", "-m", module, *arguments], os.environ | {"PYTHONPATH": os.pathsep.join(path)}


def _reason(text: bytes) -> str:
    """Read why something failed, as it may be logged."""
    return printable(text.decode("utf-8", "replace"))


class ForkServer:
    """The daemon's end of the process that starts workers."""

    __slots__ = ("_control", "_process", "proved", "started")

    def __init__(self) -> None:
        """Start the process and return at once, while it is still loading the decoders."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self.started = time.monotonic()
        self.proved = False
        command, environment = python("dicomfs.workers.decoder_process", str(theirs.fileno()), str(os.getpid()))
        # Threads of numerical libraries would not survive the fork.
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
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

    def engage(self, memory: int, filming: bool = False) -> Worker | None:
        """Ask for a worker that may use *memory* bytes, or one for films; None when the process has ended or hangs."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                socket.send_fds(self._control, [START.pack(memory, filming)], [theirs.fileno()])
            except OSError:
                ours.close()
                return None
        return Worker(ours)

    def end(self) -> None:
        """End the process, and with it its workers."""
        self._control.close()
        self._process.kill()
        self._process.wait()
