"""The daemon as the process for films sees it: the calls over their channel, and files for PyAV made of them.

The process opens nothing. It calls the daemon for each frame and each stretch of a stream, and hands over what it has
written, in a slot of shared memory. Only this module opens containers with PyAV.
"""

import mmap
import socket
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    import av
    from av.packet import Packet
    from av.stream import Stream

CALL = struct.Struct("<BQQ")
"""What is wanted, and two numbers *a* and *b*. The last call may be followed by a reason (UTF-8)."""

REPLY = struct.Struct("<Q")
"""Bytes in the slot."""

FRAME, READ, WRITE, READ_BACK, LEFT_OUT, DONE, FAILED = range(7)
"""Frame *a*, of which there may be none; *b* bytes of the stream at *a*; *b* bytes in the slot to be written at *a*;
*b* of the written bytes at *a*; *a* streams are left out of a film; the end."""

ROOM = 1 << 20
"""Bytes that a slot must have at least."""


class Call(NamedTuple):
    """What the process wants: *wanted* is one of the constants above, *place* and *length* are *a* and *b*."""

    wanted: int
    place: int
    length: int


class Stopped(Exception):
    """The daemon does not answer any more."""


class Unusable(Exception):
    """The job cannot be done; the text says why."""


class HostClient:
    """The daemon at the other end of the channel (`film_host.FilmHost`), as a job sees it."""

    __slots__ = ("_channel", "_slot")

    def __init__(self, channel: socket.socket, slot: mmap.mmap) -> None:
        """Call over *channel*; data is in *slot*."""
        self._channel = channel
        self._slot = slot

    def frame(self, index: int) -> memoryview | None:
        """Return the display image of a frame, in rows, valid until the next call; None if the frame is broken."""
        length = self._call(FRAME, index, 0)
        return memoryview(self._slot)[:length] if length else None

    def read(self, offset: int, length: int) -> bytes:
        """Read the stream."""
        return self._slot[: self._call(READ, offset, min(length, len(self._slot)))]

    def read_back(self, offset: int, length: int) -> bytes:
        """Read back what was written."""
        return self._slot[: self._call(READ_BACK, offset, min(length, len(self._slot)))]

    def write(self, offset: int, data: memoryview) -> None:
        """Write *data* to the file."""
        for start in range(0, len(data), len(self._slot)):
            part = data[start : start + len(self._slot)]
            self._slot[: len(part)] = part
            self._call(WRITE, offset + start, len(part))

    def leave_out(self, streams: int) -> None:
        """Report that so many streams of a video are not in its MP4."""
        self._call(LEFT_OUT, streams, 0)

    def _call(self, wanted: int, first: int, second: int) -> int:
        self._channel.send(CALL.pack(wanted, first, second))
        message = self._channel.recv(REPLY.size)
        if not message:
            raise Stopped
        length: int = REPLY.unpack(message)[0]
        return length


class _File:
    """A file as PyAV wants one."""

    def __init__(self, read: Callable[[int, int], bytes], write: Callable[[int, memoryview], None], size: int) -> None:
        self.name = "film.mp4"
        self._read = read
        self._write = write
        self._size = size
        self._position = 0

    def read(self, length: int) -> bytes:
        data = self._read(self._position, length)
        self._position += len(data)
        return data

    def write(self, data: bytes) -> int:
        self._write(self._position, memoryview(data))
        self._position += len(data)
        self._size = max(self._size, self._position)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        """Nothing is open."""


def _no_reading(*_: object) -> NoReturn:
    raise Unusable("the file is not there to be read")


def _no_writing(*_: object) -> NoReturn:
    raise Unusable("the stream is not there to be written")


def _no_other_file(*_: object) -> NoReturn:
    raise Unusable("the stream is not all of the video")


def _reopened(read_back: Callable[[int, int], bytes], *_: object) -> _File:
    """Open the MP4 that is being written, to move its index to the front."""
    return _File(read_back, _no_reading, 0)


def mp4(host: HostClient) -> "av.container.OutputContainer":
    """Begin an MP4 whose index comes first, so that players can start before they have all of it."""
    import av

    options = {"movflags": "faststart", "fflags": "+bitexact", "flush_packets": "0"}
    file = _File(_no_reading, host.write, 0)
    return av.open(
        file, "w", format="mp4", options=options, buffer_size=ROOM, io_open=partial(_reopened, host.read_back)
    )


def opened(host: HostClient, size: int, demuxer: str, options: dict[str, str]) -> "av.container.InputContainer":
    """Open the stream of *size* bytes with the *demuxer* and its *options*, and nothing else."""
    import av

    file = _File(host.read, _no_writing, size)
    # Nobody looks at titles, so their character set does not matter.
    return av.open(
        file, "r", format=demuxer, options=options, buffer_size=ROOM, io_open=_no_other_file, metadata_errors="replace"
    )


def packets(container: "av.container.InputContainer", *streams: "Stream") -> "Iterator[Packet[Stream]]":
    """Read the packets of *streams* up to the end."""
    try:
        yield from (packet for packet in container.demux(*streams) if packet.size)
    except IndexError:
        # At the end the library looks for streams that it did not know at the start, and does not find them.
        return
