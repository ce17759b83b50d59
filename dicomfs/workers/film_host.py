"""What a process for films reads and writes, as far as that is sound.

The process has looked at hostile bytes, so nothing that it asks for is taken for granted: neither places nor how often.
"""

import io
import logging
import mmap
from typing import BinaryIO

from dicomfs.resources.threads import Purpose, run
from dicomfs.vfs.content import Content
from dicomfs.video.protocol import LEFT_OUT, READ, READ_BACK, WRITE
from dicomfs.workers.pool import DecodeError
from dicomfs.workers.processes import Call

log = logging.getLogger(__name__)

# A film is written, read back and written once more when its index is put before it; a stream is read twice, and in
# places more often. What needs more than this of each of its bytes goes round in circles.
_TIMES = 8
# What a call costs at least, in bytes.
_CALL = 4096
# What may be moved for the smallest of them.
_LEAST = 64 << 20


class TooLarge(DecodeError):
    """What is made takes more bytes than were promised."""


class Exchange:
    """A stream to read and a file to write, for one job."""

    def __init__(self, file: BinaryIO, most: int, stream: Content | None = None, traffic: int = 1 << 62) -> None:
        """Serve *stream*, which may be absent, and write *file*, up to *most* bytes; move *traffic* bytes at most."""
        self._file = file
        self._most = most
        self._stream = stream
        self._told = False
        self._left = min(traffic, _TIMES * (most + (stream.size if stream else 0)) + _LEAST)

    async def serve(self, call: Call, slot: mmap.mmap) -> int:
        """Do what *call* wants, with data in *slot*; give the bytes put there.

        Raises TooLarge where more is written than may be, and DecodeError if *call* is unsound.
        """
        if self._left < 0:
            raise DecodeError("making the film takes more reading and writing than it can need")
        data: bytes | memoryview = b""
        if call.wanted == READ and self._stream:
            size = self._stream.size
            data = await self._stream.read(min(call.place, size), min(call.place + call.length, size))
        elif call.wanted == READ_BACK:
            data = await run(Purpose.DISK, self._read, call.place, call.length, finish=True)
        elif call.wanted == WRITE:
            if call.place + call.length > self._most:
                raise TooLarge(f"the film takes more than the {self._most} bytes that it was promised to take")
            await run(Purpose.DISK, self._write, call.place, slot[: call.length], finish=True)
        elif call.wanted == LEFT_OUT:
            self._tell(call.place)
        else:
            raise DecodeError("the process for films wants what it cannot have")
        self._left -= max(len(data), call.length if call.wanted == WRITE else 0, _CALL)
        slot[: len(data)] = data
        return len(data)

    def _tell(self, streams: int) -> None:
        """Log what is missing in the film, once, however often the process says so."""
        if not self._told:
            self._told = True
            log.warning("%d streams of a video are left out of its film, as MP4 does not hold them", streams)

    def _write(self, place: int, data: bytes) -> None:
        self._file.seek(place, io.SEEK_SET)
        self._file.write(data)

    def _read(self, place: int, length: int) -> bytes:
        self._file.seek(place, io.SEEK_SET)
        return self._file.read(length)
