"""Films in a process of their own: frames are encoded to MP4, and stored videos are put into MP4 or looked at.

Only this module uses PyAV, which is not part of the package: its wheels contain encoders under the GPL. The process is
forked like a decoder and shut in like one (see `sandbox`) before it sees anything of a file. It opens nothing: it calls
the daemon for each frame and each stretch of a stream, and hands over what it has written, in a slot of shared memory.
"""

import importlib
import mmap
import os
import pickle
import pkgutil
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, NoReturn, Protocol

import numpy as np

if TYPE_CHECKING:
    import av
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter

CALL = struct.Struct("<BQQ")
"""What is wanted, and two numbers *a* and *b*. The last call may be followed by a reason (UTF-8)."""

REPLY = struct.Struct("<Q")
"""Bytes in the slot."""

FRAME, READ, WRITE, READ_BACK, DONE, FAILED = range(6)
"""Frame *a*, of which there may be none; *b* bytes of the stream at *a*; *b* bytes in the slot to be written at *a*;
*b* of the written bytes at *a*; the end."""

ROOM = 1 << 20
"""Bytes that a slot must have at least."""

MICROSECONDS = Fraction(1, 1_000_000)

# Text on the pictures stays sharp; every frame of real films comes back with 43 dB or more. Without frames that refer
# to later ones, times are what they are, and players find any frame quickly.
_OPTIONS = {"preset": "veryfast", "crf": "16", "bf": "0", "g": "30"}
# ITU-T H.273: the primaries, the transfer function and the matrix of BT.709, and values from 16 to 235.
_BT709, _LIMITED = 1, 1
# Luma of each level of grey.
_LEVELS = np.round(16 + np.arange(256) * (219 / 255)).astype(np.uint8)
# The same bytes each time ask for the same number of threads; more than a few gain little.
_MOST_THREADS = 4


class Stopped(Exception):
    """The daemon does not answer any more."""


class Unusable(Exception):
    """The job cannot be done; the text says why."""


class Job(Protocol):
    """What such a process is asked to do."""

    def run(self, daemon: "Daemon") -> None:
        """Do it. Raises Unusable, and whatever PyAV raises."""


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

    def _call(self, wanted: int, first: int, second: int) -> int:
        self._channel.send(CALL.pack(wanted, first, second))
        message = self._channel.recv(REPLY.size)
        if not message:
            raise Stopped
        length: int = REPLY.unpack(message)[0]
        return length


@dataclass(frozen=True, slots=True)
class Encode:
    """A film of *times*, in microseconds, each of a frame but the last, which is the end.

    Pictures have *samples* of 8 bits, 1 or 3, a pixel; *aspect* is the width and height of a pixel.
    """

    columns: int
    rows: int
    samples: int
    aspect: tuple[int, int]
    times: tuple[int, ...]

    def run(self, daemon: Daemon) -> None:
        """Encode frame by frame. What is broken is left out: the frame before it stays, the first one comes earlier."""
        with _mp4(daemon) as container:
            stream = container.add_stream("libx264", options=_OPTIONS | {"threads": str(_threads())})
            stream.width, stream.height = self.columns + self.columns % 2, self.rows + self.rows % 2
            stream.pix_fmt = "yuv420p"
            context = stream.codec_context
            # Threads take pictures each, not parts of one as is the default: they wait less for each other.
            context.thread_type = "FRAME"
            context.time_base = MICROSECONDS
            context.framerate = Fraction((len(self.times) - 1) * 1_000_000, self.times[-1])
            context.sample_aspect_ratio = Fraction(*self.aspect)
            context.color_primaries = context.color_trc = context.colorspace = _BT709
            context.color_range = _LIMITED
            last = None  # held back until it is known how long it is shown
            for frame in self._frames(daemon):
                for packet in stream.encode(frame):
                    if last is not None:
                        last.duration = _known(packet.pts) - _known(last.pts)
                        container.mux(last)
                    last = packet
            if last is None:
                raise Unusable("no frame of the film can be decoded")
            last.duration = self.times[-1] - _known(last.pts)
            container.mux(last)

    def _frames(self, daemon: Daemon) -> "Iterator[VideoFrame | None]":
        """Get the frames that are not broken, each with its time, and None for the end."""
        from av.video.reformatter import VideoReformatter

        begun = False
        converter = VideoReformatter()
        for index, time in enumerate(self.times[:-1]):
            picture = daemon.frame(index)
            if picture is not None:
                frame = self._frame(picture, converter)
                frame.time_base, frame.pts = MICROSECONDS, time if begun else 0
                begun = True
                yield frame
        if begun:
            yield None

    def _frame(self, picture: memoryview, converter: "VideoReformatter") -> "VideoFrame":
        """Convert a picture, its last column and row repeated where their number is odd."""
        from av.video.frame import VideoFrame

        shape = (self.rows, self.columns, self.samples)[: 2 if self.samples == 1 else 3]
        values = np.frombuffer(picture, np.uint8).reshape(shape)
        if self.rows % 2 or self.columns % 2:
            values = np.pad(values, [(0, self.rows % 2), (0, self.columns % 2), (0, 0)][: values.ndim], "edge")
        if self.samples == 1:
            # By hand: the library leaves grey not quite without colour.
            neutral = np.full((values.shape[0] // 2, values.shape[1]), 128, np.uint8)
            return VideoFrame.from_ndarray(np.concatenate([_LEVELS[values], neutral]), "yuv420p")
        return converter.reformat(
            VideoFrame.from_ndarray(values, "rgb24"),
            format="yuv420p",
            dst_colorspace=_BT709,
            dst_color_range=_LIMITED,
            interpolation="AREA",
        )


def _known(time: int | None) -> int:
    assert time is not None  # noqa: S101 - the frame had one
    return time


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


def _mp4(daemon: Daemon) -> "av.container.OutputContainer":
    """Begin an MP4 whose index comes first, so that players can begin before they have all of it."""
    import av

    def refuse(*_: object) -> NoReturn:
        raise Unusable("the file is not there to be read")

    def reopen(*_: object) -> _File:
        return _File(daemon.read_back, refuse, 0)

    options = {"movflags": "faststart", "fflags": "bitexact"}
    file = _File(refuse, daemon.write, 0)
    return av.open(file, "w", format="mp4", options=options, buffer_size=ROOM, io_open=reopen)


def _threads() -> int:
    return min(_MOST_THREADS, len(os.sched_getaffinity(0)))


def prepare() -> None:
    """Load the libraries, also those parts that PyAV would load when it first needs them: this opens files."""
    import av

    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in ("av.__main__", "av.datasets"):  # a program, and one that fetches samples
            importlib.import_module(module.name)
    av.logging.set_level(None)  # messages may quote what is read


def serve(channel: socket.socket, slot: mmap.mmap, described: int) -> None:
    """Do the job that is described in *slot*, and say how it ended."""
    job: Job = pickle.loads(slot[:described])  # noqa: S301  from the daemon
    end, reason = FAILED, ""
    try:
        job.run(Daemon(channel, slot))
        end = DONE
    except Unusable as error:
        reason = str(error)
    except MemoryError:
        reason = "the film needs more memory than its process may use"
    except BaseException as error:  # noqa: BLE001  the worker boundary; the text may quote what was read
        reason = f"the film could not be made ({type(error).__name__})"
    channel.send(CALL.pack(end, 0, 0) + reason.encode())
