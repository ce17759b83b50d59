"""The daemon's end of the process for films: it has one job done, and reads and writes for it.

The process has looked at hostile bytes, so nothing that it asks for is taken for granted: neither places nor how often.
"""

import errno
import io
import logging
import mmap
import pickle
from contextlib import AbstractAsyncContextManager
from typing import BinaryIO, Protocol

from dicomfs.dicom.printable import printable
from dicomfs.resources.threads import Purpose, run
from dicomfs.vfs.content import Content
from dicomfs.video.process import Job
from dicomfs.video.protocol import (
    CALL,
    DONE,
    FAILED,
    FRAME,
    LEFT_OUT,
    READ,
    READ_BACK,
    REPLY,
    ROOM,
    WRITE,
    Call,
)

log = logging.getLogger(__name__)

# An MP4 is written, read back, and written once more when its index moves to the front; a stream is read twice, and in
# places more often. A job that needs more than this of each of its bytes is going round in circles.
_MAX_PASSES = 8
# What each call counts at least, and what a job may move however small it is.
_CALL_BYTES, _MIN_TRAFFIC_BYTES = 4096, 64 << 20
# Seconds that the process may be silent: an encoder looks at a dozen frames before it takes the next.
_SILENCE_SECONDS = 60.0


class FilmFailed(OSError):
    """The job could not be done; the text says why."""

    def __init__(self, reason: str) -> None:
        """Carry EIO."""
        super().__init__(errno.EIO, reason)


class TooLarge(FilmFailed):
    """The result takes more bytes than were promised."""


class FilmProcess(Protocol):
    """A process that does one job, as a pool starts it. When it ends early, `FilmPool.film_process` raises OSError."""

    @property
    def memory(self) -> mmap.mmap:
        """The slot of memory that is shared with it."""

    def send(self, message: bytes) -> None:
        """Send a message."""

    async def receive_within(self, seconds: float) -> bytes:
        """Wait for its next message, but no longer than that."""


class FilmPool(Protocol):
    """What starts such processes: the pool of workers."""

    def film_process(self, job: bytes, room: int) -> AbstractAsyncContextManager[FilmProcess]:
        """Start a process on a pickled *job*, with a slot of *room* bytes or more; it ends with the context."""


class Frames(Protocol):
    """Where the display images of a cine loop come from."""

    async def take(self, index: int, /) -> bytes | None:
        """Return a display image, 8 bits a sample in rows; None where the frame is broken."""


class FilmHost:
    """Has one job done: the process reads *stream*, takes *frames*, and writes *file*."""

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        stream: Content | None = None,
        traffic: int = 1 << 62,
        frames: Frames | None = None,
        frame_count: int = 0,
    ) -> None:
        """Let the process write *size* bytes at most, and move *traffic* bytes; there are *frame_count* frames."""
        self._file = file
        self._size = size
        self._stream = stream
        self._frames = frames
        self._frame_count = frame_count
        self._next_frame = 0
        self._reported = False
        self._left = min(traffic, _MAX_PASSES * (size + (stream.size if stream else 0)) + _MIN_TRAFFIC_BYTES)

    async def run(self, pool: FilmPool, job: Job, room: int = ROOM) -> None:
        """Have a process of *pool* do *job*, with *room* bytes of shared memory or more.

        Raises FilmFailed, and what the stream, the frames and the pool raise, all of them OSErrors.
        """
        async with pool.film_process(pickle.dumps(job, pickle.HIGHEST_PROTOCOL), max(room, ROOM)) as process:
            while True:
                message = await process.receive_within(_SILENCE_SECONDS)
                if len(message) < CALL.size:
                    raise FilmFailed("the process for films ended unexpectedly")
                call = Call(*CALL.unpack_from(message))
                if call.wanted == DONE:
                    return
                if call.wanted == FAILED:
                    reason = printable(message[CALL.size :].decode("utf-8", "replace"))
                    raise FilmFailed(reason or "the film could not be made")
                process.send(REPLY.pack(await self.serve(call, process.memory)))

    async def serve(self, call: Call, slot: mmap.mmap) -> int:
        """Do what *call* wants, with data in *slot*; return the number of bytes put there.

        Raises TooLarge where more is written than may be, and FilmFailed where no sound process would make the call.
        """
        if call.length > len(slot):
            raise FilmFailed("the process for films wants more than it has room for")
        data: bytes | memoryview
        if call.wanted == FRAME:
            data = await self._frame(call.place)
        else:
            if self._left < 0:
                raise FilmFailed("making the film takes more reading and writing than it can need")
            data = await self._moved(call, slot)
            self._left -= max(len(data), call.length if call.wanted == WRITE else 0, _CALL_BYTES)
        slot[: len(data)] = data
        return len(data)

    async def _frame(self, index: int) -> bytes:
        """Return a frame, nothing if it is broken. Each is handed over once, in order."""
        if self._frames is None or index >= self._frame_count:
            raise FilmFailed("the process for films wants a frame that it cannot have")
        if index != self._next_frame:
            raise FilmFailed("the process for films asks for a frame out of turn")
        self._next_frame += 1
        return await self._frames.take(index) or b""

    async def _moved(self, call: Call, slot: mmap.mmap) -> bytes | memoryview:
        """Read or write what *call* wants; return the bytes that were read."""
        if call.wanted == READ and self._stream:
            size = self._stream.size
            return await self._stream.read(min(call.place, size), min(call.place + call.length, size))
        if call.wanted == READ_BACK:
            return await run(Purpose.DISK, self._read, call.place, call.length, finish=True)
        if call.wanted == WRITE:
            if call.place + call.length > self._size:
                raise TooLarge(f"the film takes more than the {self._size} bytes that it was promised to take")
            await run(Purpose.DISK, self._write, call.place, slot[: call.length], finish=True)
        elif call.wanted == LEFT_OUT:
            self._report(call.place)
        else:
            raise FilmFailed("the process for films wants what it cannot have")
        return b""

    def _report(self, streams: int) -> None:
        """Log what the MP4 lacks, once, however often the process says so."""
        if not self._reported:
            self._reported = True
            log.warning("%d streams of a video are left out of its film, as MP4 does not hold them", streams)

    def _write(self, offset: int, data: bytes) -> None:
        self._file.seek(offset, io.SEEK_SET)
        self._file.write(data)

    def _read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset, io.SEEK_SET)
        return self._file.read(length)
