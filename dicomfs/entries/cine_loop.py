"""`video.mp4` of cine loops: objects whose frames follow each other in time, encoded when the file is opened.

Its size follows from the number and the size of its frames (see `video.film_size`); what the film does not need of it
is a `free` box. The pictures are those of `frames/`. While the film's process encodes one frame, workers decode the
next ones; there is never more than one frame for each of them in memory.
"""

import io
import logging
import struct
from functools import partial
from typing import BinaryIO

from dicomfs.entries.built_file import BuiltFile, Recipe
from dicomfs.entries.dependence import Depends
from dicomfs.entries.display_images import display_pixels
from dicomfs.entries.frame_request import FrameRequest
from dicomfs.entries.frame_values import pixels_of
from dicomfs.entries.stored_video import remuxed_video, stored_video
from dicomfs.formats.mp4 import fill_up, leaves_room
from dicomfs.instance.cine_loop import is_cine_loop
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.iod.cine import Timing, cine_loop_timing, shown_frames
from dicomfs.iod.image_display import GroupMissing
from dicomfs.iod.pixel_size import physical
from dicomfs.pixeldata.pixel_data import PixelData
from dicomfs.resources.threads import Purpose, run
from dicomfs.vfs.nodes import Node
from dicomfs.video.films import Encode, FilmHost, TooLarge, efforts, film_size
from dicomfs.workers.frame_cache import FrameCache, Request
from dicomfs.workers.pool import DecodeError, NoAnswer, WorkerEnded
from dicomfs.workers.prefetcher import in_order

log = logging.getLogger(__name__)

# Goes up whenever the bytes of a cine loop change.
_VERSION = 4
# The aspect ratio of pixels is two numbers of 16 bits (H.264 E.2.1).
_MAX_ASPECT = 0xFFFF
# Attempts at a frame at which workers end.
_MAX_ATTEMPTS = 3


class VideoMp4:
    """A stored MP4 verbatim, another stored video remuxed, or the frames encoded as a cine loop."""

    name = "video.mp4"
    depends = Depends.WINDOW

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve cine loops, or all multi-frame objects where the user asked for that."""
        if instance.video is not None:
            if instance.video.kind == "mp4":
                return stored_video(handle, instance.video.size)
            return remuxed_video(instance, handle)
        if instance.pixels is None or not is_cine_loop(instance.pixels, every=handle.services.view.every_cine_loop):
            return None
        window = handle.services.view.window
        fmt, shown = instance.pixels.format, _shown(instance.pixels)
        size = film_size(fmt.rows, fmt.columns, len(shown))
        return BuiltFile(handle, Recipe(f"film {_VERSION} {window}", size, partial(_encode_to_fit, handle, size)))


async def _encode_to_fit(handle: InstanceHandle, size: int, file: BinaryIO) -> None:
    """Write the cine loop into *file*, exactly *size* bytes, as good as that allows. Raises OSError."""
    instance = await handle.instance()
    pixels = pixels_of(instance)
    shown, fmt = _shown(pixels), pixels.format
    timing = cine_loop_timing(pixels.dataset, len(pixels.frames)).part(shown)
    times, aspect = _microseconds(timing), _aspect(instance)
    broken: set[int] = set()
    for effort in efforts(fmt.rows, fmt.columns, len(shown)):
        job = Encode(fmt.columns, fmt.rows, pixels.picture_samples, aspect, times, effort)
        try:
            await _encode(instance, handle, job, file, size, broken)
        except TooLarge:
            log.info("a film does not fit into its %d bytes and is encoded more coarsely", size)
        else:
            if leaves_room(await run(Purpose.DISK, file.seek, 0, io.SEEK_END, finish=True), size):
                await run(Purpose.DISK, fill_up, file, size, finish=True)
                return
        await run(Purpose.DISK, file.truncate, 0, finish=True)
    raise TooLarge(f"even the coarsest film takes more than the {size} bytes that it was promised to take")


async def _encode(
    instance: Instance, handle: InstanceHandle, job: Encode, file: BinaryIO, size: int, broken: set[int]
) -> None:
    """Have *job* done on the frames of *instance*; note those that are *broken*. Raises TooLarge and other OSErrors."""
    requests = display_pixels(handle, instance, _shown(pixels_of(instance)))
    frames = handle.services.frames
    async with in_order(frames, requests, partial(_decode, frames, broken)) as images:
        host = FilmHost(file, size, frames=images, frame_count=len(requests))
        await host.run(frames.pool, job, job.rows * job.columns * job.samples)


def _shown(pixels: PixelData) -> range:
    """Return the frames that the cine loop shows, counted from 0."""
    return shown_frames(pixels.dataset, len(pixels.frames))


def _microseconds(timing: Timing) -> tuple[int, ...]:
    """Return the times of all frames and the end, each later than the one before it, as MP4 requires."""
    times: list[int] = []
    for milliseconds in (*timing.offsets, timing.duration):
        time = round(1000 * milliseconds)
        times.append(max(time, times[-1] + 1) if times else time)
    return tuple(times)


async def _decode(frames: FrameCache, broken: set[int], request: Request) -> bytes | None:
    """Return the pixels of a display image; None where the frame is *broken*, which is logged the first time.

    Raises OSError where that is not known.
    """
    assert isinstance(request, FrameRequest)  # noqa: S101 - no others are made here
    for attempt in range(_MAX_ATTEMPTS):
        try:
            return await frames.make(request)
        except WorkerEnded:
            if attempt < _MAX_ATTEMPTS - 1:
                continue
            reason = "decoders end unexpectedly at it"
        except NoAnswer:
            raise
        except (DecodeError, GroupMissing) as error:
            reason = str(error.strerror)
        if request.frame not in broken:
            log.warning("frame %d is left out of a film: %s", request.frame + 1, reason)
            broken.add(request.frame)
        return None
    return None


def _aspect(instance: Instance) -> tuple[int, int]:
    """Return the width and height of a pixel, as the pictures of the frames state them."""
    across, down = struct.unpack_from(">II", physical(pixels_of(instance).dataset, 0), 8)
    while max(across, down) > _MAX_ASPECT:
        across, down = across // 2, down // 2
    # pHYs counts pixels per metre, so the size is the reciprocal.
    return (down, across) if across and down else (1, 1)
