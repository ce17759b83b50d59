"""The daemon as a process for films sees it: the calls over their channel, and files for PyAV that are made of them.

Such a process opens nothing. It calls the daemon for each frame and each stretch of a stream, and hands over what it
has written, in a slot of shared memory. Only this module opens containers with PyAV.
"""

import mmap
import socket
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NoReturn

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


class Stopped(Exception):
    """The daemon does not answer any more."""


class Unusable(Exception):
    """The job cannot be done; the text says why."""


class Daemon:
    """The other end of the channel, as a job sees it."""

    __slots__ = ("_channel", "_slot")

    def __init__(self, channel: socket.socket, slot: mmap.mmap) -> None:
        """Call over *channel*; data is in *slot*."""
        self._channel = channel
        self._slot = slot

    def frame(self, index: int) -> memoryview | None:
        """Get the picture of a frame, in rows, which is there until the next call; None when it is broken."""
        length = self._call(FRAME, index, 0)
        return memoryview(self._slot)[:length] if length else None

    def read(self, offset: int, length: int) -> bytes:
        """Read the stream."""
        return self._slot[: self._call(READ, offset, min(length, len(self._slot)))]

    def read_back(self, offset: int, length: int) -> bytes:
        """Read what was written."""
        return self._slot[: self._call(READ_BACK, offset, min(length, len(self._slot)))]

    def write(self, offset: int, data: memoryview) -> None:
        """Have *data* written."""
        for start in range(0, len(data), len(self._slot)):
            part = data[start : start + len(self._slot)]
            self._slot[: len(part)] = part
            self._call(WRITE, offset + start, len(part))

    def leave_out(self, streams: int) -> None:
        """Say that so many streams of a video are not in its film."""
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


def mp4(daemon: Daemon) -> "av.container.OutputContainer":
    """Begin an MP4 whose index comes first, so that players can begin before they have all of it."""
    import av

    def refuse(*_: object) -> NoReturn:
        raise Unusable("the file is not there to be read")

    def reopen(*_: object) -> _File:
        return _File(daemon.read_back, refuse, 0)

    options = {"movflags": "faststart", "fflags": "+bitexact", "flush_packets": "0"}
    file = _File(refuse, daemon.write, 0)
    return av.open(file, "w", format="mp4", options=options, buffer_size=ROOM, io_open=reopen)


def opened(daemon: Daemon, size: int, demuxer: str, options: dict[str, str]) -> "av.container.InputContainer":
    """Open the stream of *size* bytes as what *demuxer* reads, with *options* of that, and nothing else."""
    import av

    def refuse(*_: object) -> NoReturn:
        raise Unusable("the stream is not all of the video")

    def write(*_: object) -> NoReturn:
        raise Unusable("the stream is not there to be written")

    file = _File(daemon.read, write, size)
    # Titles in whatever character set, which nobody looks at, shall not matter.
    return av.open(
        file, "r", format=demuxer, options=options, buffer_size=ROOM, io_open=refuse, metadata_errors="replace"
    )


def packets(container: "av.container.InputContainer", *streams: "Stream") -> "Iterator[Packet[Stream]]":
    """Read the packets of *streams* up to the end."""
    try:
        yield from (packet for packet in container.demux(*streams) if packet.size)
    except IndexError:
        # At the end the library looks for streams that it did not know at the start, and does not find them.
        return
