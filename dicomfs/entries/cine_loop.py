"""`video.mp4` of objects whose frames follow each other in time: encoded as a film when somebody opens it.

Its size follows from the number and the size of its frames (see `video.film_size`); what the film does not need of it
is a `free` box. The pictures are those of `frames/`. While the film's process encodes one frame, workers decode the
next ones; there is never more than one frame for each of them in memory.
"""

import io
import logging
import mmap
import struct
from collections.abc import Awaitable, Callable
from typing import BinaryIO

import trio

from dicomfs.entries.built_file import BuiltFile, Recipe
from dicomfs.entries.dependence import Depends
from dicomfs.entries.display_images import frame_pixels
from dicomfs.entries.stored_video import remuxed_video, stored_video
from dicomfs.formats.mp4 import fill_up, leaves_room
from dicomfs.instance.cine_loop import is_film
from dicomfs.instance.handle import Subject
from dicomfs.instance.instance import Instance
from dicomfs.iod.cine import Timing, film_timing, shown_frames
from dicomfs.iod.image_display import GroupMissing
from dicomfs.iod.pixel_size import physical
from dicomfs.pixeldata.pixel_data import Pixels
from dicomfs.resources.nursery import side_by_side
from dicomfs.resources.threads import Purpose, run
from dicomfs.vfs.nodes import Node
from dicomfs.video.film_size import efforts, film_size
from dicomfs.video.process import Encode
from dicomfs.video.protocol import FRAME, ROOM
from dicomfs.workers.film_host import Exchange, TooLarge
from dicomfs.workers.frame_cache import Make
from dicomfs.workers.pool import DecodeError, NoAnswer, WorkerEnded
from dicomfs.workers.processes import Call

log = logging.getLogger(__name__)

# Goes up whenever the bytes of a film change.
_VERSION = 4
# The aspect ratio of pixels is two numbers of 16 bits (H.264 E.2.1).
_MOST_ASPECT = 0xFFFF
# Tries of a frame at which workers end.
_TRIES = 3


class VideoMp4:
    """A stored MP4 as it is, another stored video put into one, or a film of the frames."""

    name = "video.mp4"
    depends = Depends.WINDOW

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve a film of objects that are one, or of all with several frames where the mount shall show them so."""
        if instance.video is not None:
            if instance.video.kind == "mp4":
                return stored_video(subject, instance.video.size)
            return remuxed_video(instance, subject)
        if instance.pixels is None or not is_film(instance.pixels, every=subject.services.view.every_cine_loop):
            return None
        window = subject.services.view.window
        fmt, shown = instance.pixels.format, _shown(instance.pixels)
        size = film_size(fmt.rows, fmt.columns, len(shown))

        async def build(file: BinaryIO) -> None:
            await _encode_to_fit(await subject.instance(), subject, file, size)

        return BuiltFile(subject, Recipe(f"film {_VERSION} {window}", size, build))


async def _encode_to_fit(instance: Instance, subject: Subject, file: BinaryIO, size: int) -> None:
    """Write the film of *instance* into *file*, exactly *size* bytes, as good as that allows. Raises OSError."""
    pixels = instance.pixels
    assert pixels is not None  # noqa: S101 - it is a film
    shown, fmt = _shown(pixels), pixels.format
    timing = film_timing(pixels.dataset, len(pixels.frames)).part(shown)
    times, aspect = _microseconds(timing), _aspect(instance)
    broken: set[int] = set()
    for effort in efforts(fmt.rows, fmt.columns, len(shown)):
        job = Encode(fmt.columns, fmt.rows, pixels.picture_samples, aspect, times, effort)
        try:
            await _encode(instance, subject, job, Exchange(file, size), broken)
        except TooLarge:
            log.info("a film does not fit into its %d bytes and is encoded more coarsely", size)
        else:
            if leaves_room(await run(Purpose.DISK, file.seek, 0, io.SEEK_END, finish=True), size):
                await run(Purpose.DISK, fill_up, file, size, finish=True)
                return
        await run(Purpose.DISK, file.truncate, 0, finish=True)
    raise TooLarge(f"even the coarsest film takes more than the {size} bytes that it was promised to take")


async def _encode(instance: Instance, subject: Subject, job: Encode, exchange: Exchange, broken: set[int]) -> None:
    """Have *job* done on the frames of *instance*; note those that are *broken*. Raises TooLarge and other OSErrors."""
    count, size = len(job.times) - 1, job.rows * job.columns * job.samples
    decoder = subject.services.decoder
    pictures = frame_pixels(subject, instance)
    assert instance.pixels is not None  # noqa: S101 - it is a film
    shown = _shown(instance.pixels)

    async def decode(place: int) -> bytes | None:
        return await _decode(subject, pictures(shown[place]), shown[place], broken)

    async with side_by_side() as nursery:
        frames = _Ahead(nursery, decode, count, decoder.workers)

        async def serve(call: Call, slot: mmap.mmap) -> int:
            if call.wanted == FRAME and call.place < count:
                picture = await frames.take(call.place)
                if picture is None:
                    return 0
                slot[:size] = picture
                return size
            return await exchange.serve(call, slot)

        await decoder.direct(job, max(size, ROOM), serve)
        nursery.cancel_scope.cancel()


def _shown(pixels: Pixels) -> range:
    """Give the frames that the film shows, counted from 0."""
    return shown_frames(pixels.dataset, len(pixels.frames))


def _microseconds(timing: Timing) -> tuple[int, ...]:
    """Give the times of all frames and the end, each later than the one before it, as films need them."""
    times: list[int] = []
    for milliseconds in (*timing.offsets, timing.duration):
        time = round(1000 * milliseconds)
        times.append(max(time, times[-1] + 1) if times else time)
    return tuple(times)


async def _decode(subject: Subject, make: Make, frame: int, broken: set[int]) -> bytes | None:
    """Give the pixels of a picture; None where the frame is *broken*, which is logged the first time.

    Raises OSError where that is not known.
    """
    for last in range(_TRIES):
        try:
            return await subject.services.decoder.run(*await make(), subject.version, lasting=True)
        except WorkerEnded:
            if last < _TRIES - 1:
                continue
            reason = "decoders end unexpectedly at it"
        except NoAnswer:
            raise
        except (DecodeError, GroupMissing) as error:
            reason = str(error.strerror)
        if frame not in broken:
            log.warning("frame %d is left out of a film: %s", frame + 1, reason)
            broken.add(frame)
        return None
    return None


def _aspect(instance: Instance) -> tuple[int, int]:
    """Give the width and height of a pixel, as the pictures of the frames state them."""
    assert instance.pixels is not None  # noqa: S101 - it is a film
    across, down = struct.unpack_from(">II", physical(instance.pixels.dataset, 0), 8)
    while max(across, down) > _MOST_ASPECT:
        across, down = across // 2, down // 2
    # The more of them there are in a length, the smaller they are.
    return (down, across) if across and down else (1, 1)


class _Ahead:
    """Frames that are asked for in their order, decoded a few at a time before they are."""

    def __init__(
        self, nursery: trio.Nursery, decode: Callable[[int], Awaitable[bytes | None]], count: int, ahead: int
    ) -> None:
        """Decode *count* frames with *decode*, up to *ahead* besides the one that is wanted."""
        self._nursery = nursery
        self._decode = decode
        self._count = count
        self._ahead = ahead
        self._next = 0
        self._taken = -1
        self._made: dict[int, bytes | None] = {}
        self._news = trio.Condition()

    async def take(self, frame: int) -> bytes | None:
        """Wait for the frame behind the one that was taken last."""
        if frame != self._taken + 1:
            raise DecodeError("the process for films asks for what is not its turn")
        self._taken = frame
        while self._next < min(self._count, frame + 1 + self._ahead):
            self._nursery.start_soon(self._make, self._next)
            self._next += 1
        async with self._news:
            while frame not in self._made:
                await self._news.wait()
        return self._made.pop(frame)

    async def _make(self, frame: int) -> None:
        made = await self._decode(frame)
        async with self._news:
            self._made[frame] = made
            self._news.notify_all()
