"""The window of frames that state none: found in the values of all frames of one kind.

A cine loop must not flicker, so frames of one kind share the window.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from functools import partial

from dicomfs.dicom.stream import Stream
from dicomfs.entries.frame_request import FrameRequest, room_for
from dicomfs.entries.frame_values import encoded_frame, is_straight, pixels_of, settled
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.iod.automatic_window import chosen, frames_alike, kind_of, stated_range
from dicomfs.iod.image_display import check_groups, frame_display, has_groups
from dicomfs.pixeldata.pixel_data import PixelData
from dicomfs.rendering.render import Display, Window, automatic_window
from dicomfs.sources.source import SourceFile
from dicomfs.workers.decoder_process import RANGE, Task
from dicomfs.workers.pool import DecodeError, NoAnswer


@dataclass(frozen=True, slots=True)
class RangeVariant:
    """The range of the values of *frames* that are rescaled alike, after the Modality LUT, without padding.

    Several frames are given to a worker as one tall frame.
    """

    frames: tuple[int, ...]
    room: int = field(compare=False)

    @property
    def size(self) -> int:
        """Bytes of the range."""
        return RANGE.size

    def read(self, stream: Stream, instance: Instance, frame: int) -> tuple[Task, bytes]:
        """Read all of the frames; *frame* is the first."""
        pixels = pixels_of(instance)
        fmt = pixels.format
        first = encoded_frame(pixels.frames, frame, stream)
        check_groups(pixels.dataset, frame)
        display, _ = frame_display(pixels.dataset, frame, fmt)
        rest = [encoded_frame(pixels.frames, each, stream) for each in self.frames[1:]]
        tall = replace(fmt, rows=fmt.rows * len(self.frames)) if rest else fmt
        task = Task(tall, pixels.frames.bit_offset(frame), "range", display, RANGE.size)
        return task, b"".join((first, *rest)) if rest else first

    async def complete(self, handle: InstanceHandle, frame: int, task: Task) -> Task:
        """Settle the colours."""
        return await settled(handle, task)


async def automatic_window_of(handle: InstanceHandle, pixels: PixelData, frame: int) -> Window | None:
    """Find the window of all frames like *frame*; None where they have no values. Raises OSError."""
    key = (handle.version, "window", kind_of(pixels.dataset, frame))
    low, high = RANGE.unpack(await handle.services.texts.get(key, partial(_range, handle, pixels, frame)))
    return None if math.isnan(low) else automatic_window(low, high)


async def _range(handle: InstanceHandle, pixels: PixelData, frame: int) -> bytes:
    """Find the range of the values of frames like *frame*, in as many of them as are cheap, as a worker writes it."""
    batches, ranges = await handle.read(_plan, pixels, frame)
    for batch in batches:
        variant = RangeVariant(batch, room_for(len(batch) * pixels.format.values_bytes, 0))
        try:
            found = await handle.services.frames.verdict(FrameRequest(handle, batch[0], variant), needed=True)
        except NoAnswer:
            raise  # without these frames the window could be another one than next time
        except DecodeError:
            continue  # a broken frame says nothing about the others
        low, high = RANGE.unpack(found)
        if not math.isnan(low):
            ranges.append((low, high))
    if not ranges:
        return RANGE.pack(math.nan, math.nan)
    return RANGE.pack(min(low for low, _ in ranges), max(high for _, high in ranges))


def _plan(_: SourceFile, pixels: PixelData, frame: int) -> tuple[list[tuple[int, ...]], list[tuple[float, float]]]:
    """Choose the frames that tell the window of *frame*, in batches for one worker each; and ranges that are known.

    The range that the file states counts where all frames are of one kind and not all of them are looked at.
    """
    dataset, fmt = pixels.dataset, pixels.format
    straight = is_straight(pixels, "stored")
    alike, others = frames_alike(dataset, len(pixels.frames), frame)
    looked_at = chosen(alike, fmt, straight=straight)
    stated = None
    if not others and len(looked_at) < len(pixels.frames):
        stated = stated_range(dataset, fmt, frame_display(dataset, frame, fmt)[0])
    together: dict[Hashable, list[int]] = {}
    for each in looked_at:
        if pixels.frames.extents(each) and has_groups(dataset, each):
            how: Hashable = _rescaling(frame_display(dataset, each, fmt)[0]) if straight else each
            together.setdefault(how, []).append(each)
    return [tuple(batch) for batch in together.values()], [stated] if stated else []


def _rescaling(display: Display) -> Hashable:
    """Return what of a display pipeline decides about the range of a frame."""
    return display.slope, display.intercept, display.modality_lut, display.padding
