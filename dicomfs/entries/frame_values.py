"""The values of an object's frames end to end: what arrays, volumes and other files than display images consist of.

Only this module decides which values come straight from the source and which ones a worker makes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from dicomfs.codecs import native
from dicomfs.codecs.colour import as_coded, shown_by
from dicomfs.codecs.encoders import source_format
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom.stream import Stream
from dicomfs.entries.frame_request import FrameRequest, FrameSequence, room_for
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.iod.rescale import scale_of
from dicomfs.pixeldata.frame_status import looked_at
from dicomfs.pixeldata.frames import Frames, NativeFrames
from dicomfs.pixeldata.pixel_data import NATIVE, PixelData
from dicomfs.sources.source import SourceFile
from dicomfs.vfs.content import Buffer, FrameRun, NativeFrameRun, UpsideDown, part_of
from dicomfs.workers.decoder_process import GREYS, REPAIRS, Task
from dicomfs.workers.pool import DecodeError, NoAnswer

Output = Literal["stored", "rgb", "rescaled", "copy"]
"""Values as stored; the same with YBR turned to RGB, as pydicom's `pixel_array`; float32 as `scale_of` says; those of
an uncompressed copy, which are as stored and what its header says of all frames, or an error."""

# The kernel reads up to 1 MiB before and after what a client reads. A client of more reads sequentially.
_SEQUENTIAL_BYTES = 2 << 20


class FrameMissing(DecodeError):
    """The header declares a frame that is not in the file."""

    def __init__(self, frame: int) -> None:
        """Name the frame, counted from 0, as the user counts."""
        super().__init__(f"frame {frame + 1} is declared but not in the file")


def encoded_frame(frames: Frames, frame: int, stream: Stream) -> bytes:
    """Read the stored bytes of *frame*, counted from 0. Raises FrameMissing."""
    extents = frames.extents(frame)
    if not extents:
        raise FrameMissing(frame)
    return b"".join([stream.pread(length, offset) for offset, length in extents])


def values_dtype(fmt: PixelFormat, output: Output) -> np.dtype[np.generic]:
    """Return the little endian type of the values of a frame; their shape is *fmt.shape*."""
    return np.dtype("<f4") if output == "rescaled" else fmt.dtype


def frame_size(fmt: PixelFormat, output: Output) -> int:
    """Compute the bytes of one frame's values."""
    return fmt.pixels * fmt.samples * 4 if output == "rescaled" else fmt.values_bytes


def frame_values(
    handle: InstanceHandle,
    instance: Instance,
    output: Output,
    *,
    order: Sequence[int] | None = None,
    flip: bool = False,
) -> FrameRun:
    """Return the values of all frames of an object that has some, end to end; of those in *order*, where it is given.

    *flip* reverses the rows of each frame. Nothing is opened before the first read. A frame that cannot be decoded
    raises OSError (EIO) when it is read.
    """
    pixels = pixels_of(instance)
    indices = range(len(pixels.frames)) if order is None else order
    values: FrameRun
    if is_straight(pixels, output) and instance.inflated is None:
        values = _native_run(handle, pixels, indices)
    else:
        values = _DecodedFrames(handle, pixels.format, output, indices)
    return UpsideDown(values, len(indices), pixels.format.rows) if flip else values


def pixels_of(instance: Instance) -> PixelData:
    """Return the pixels of an object of which a file with frames was made."""
    assert instance.pixels is not None  # noqa: S101 - the object has not changed since
    return instance.pixels


def is_straight(pixels: PixelData, output: Output) -> bool:
    """Whether each sample of the source is a value: native, not packed, not planar, without conversion."""
    fmt = pixels.format
    if fmt.transfer_syntax not in NATIVE or fmt.bits_allocated in (1, 12) or fmt.word > 1:
        return False
    if output == "rescaled" or (output == "copy" and fmt.spare_bits):
        return False
    converted = output == "rgb" and fmt.photometric.startswith("YBR")
    return fmt.samples == 1 or not (fmt.planar or fmt.halved or converted)


def _native_run(handle: InstanceHandle, pixels: PixelData, indices: Sequence[int]) -> "_NativeValues":
    """Serve extents of the source. All frames are one extent when they are there, end to end, and in their own order.

    Frames that are declared and missing come last; some writers leave padding between frames.
    """
    frames, each, count = pixels.frames, frame_size(pixels.format, "stored"), len(indices)
    end_to_end = isinstance(frames, NativeFrames) and not frames.padded
    if end_to_end and indices == range(len(frames)) and frames.extents(count - 1):
        return _NativeValues(handle, pixels, indices, 1, count * each)
    return _NativeValues(handle, pixels, indices, count, each)


class _NativeValues(NativeFrameRun):
    """Values that are stored uncompressed, without the bits that are not the value's (PS3.5 8.1.1).

    Cutting bits out takes a few operations a byte, for just the requested bytes; a worker would cost more than that,
    and the whole frame.
    """

    __slots__ = ("_fmt", "_frames", "_handle", "_indices", "_plain")

    def __init__(
        self, handle: InstanceHandle, pixels: PixelData, indices: Sequence[int], count: int, each: int
    ) -> None:
        fmt = pixels.format
        self._plain = not fmt.big_endian and fmt.bits_stored == fmt.bits_allocated
        super().__init__(count, each, 1 if self._plain else fmt.dtype.itemsize)
        self._handle = handle
        self._fmt = fmt
        self._frames = pixels.frames
        self._indices = indices

    def offset(self, index: int) -> int:
        extents = self._frames.extents(self._indices[index])
        if not extents:
            raise FrameMissing(self._indices[index])
        return extents[0].offset

    async def open_source(self) -> SourceFile:
        return await self._handle.open()

    def change(self, data: Buffer) -> Buffer:
        if self._plain:
            return data
        fmt = self._fmt
        kind = f"{'f' if fmt.real else 'u'}{fmt.dtype.itemsize}"
        words = np.frombuffer(data, f"{'>' if fmt.big_endian else '<'}{kind}").astype(f"<{kind}", copy=False)
        return native.stored_values(words, fmt).view(np.uint8).data


class _DecodedFrames(FrameRun):
    """Values that workers make, in advance for clients who read sequentially."""

    __slots__ = ("_handle", "_last", "_requests")

    def __init__(self, handle: InstanceHandle, fmt: PixelFormat, output: Output, indices: Sequence[int]) -> None:
        each = frame_size(fmt, output)
        super().__init__(len(indices), each)
        self._handle = handle
        # Where nothing is scaled or converted, both outputs are the same, and kept once.
        kind: Output = "stored" if output == "rgb" and fmt.samples == 1 else output
        self._requests = FrameSequence(handle, ValueVariant(kind, each, room_for(fmt.values_bytes, each)), indices)
        self._last = -1

    async def across(self, start: int, stop: int) -> Buffer:
        services, requests, parts = self._handle.services, self._requests, []
        for index, begin, end in self.spans(start, stop):
            if index != self._last and self.in_order > self.each + _SEQUENTIAL_BYTES:
                services.prefetcher.follow(self, requests, index, sequential=True)
            self._last = index
            values = await services.frames.get(requests[index], hold=True)
            parts.append(part_of(values, self.each, begin, end))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        services = self._handle.services
        services.prefetcher.forget(self)
        if self._last >= 0:
            services.frames.left(self._requests[self._last])


@dataclass(frozen=True, slots=True)
class ValueVariant:
    """The values of a frame."""

    output: Output
    size: int = field(compare=False)
    room: int = field(compare=False)

    def read(self, stream: Stream, instance: Instance, frame: int) -> tuple[Task, bytes]:
        """Read the frame, and how it is rescaled."""
        pixels = pixels_of(instance)
        data = encoded_frame(pixels.frames, frame, stream)
        scale = scale_of(pixels.dataset, frame, pixels.format) if self.output == "rescaled" else None
        copy = instance.uncompressed_format if self.output == "copy" else None
        fmt = source_format(pixels.format) if copy else pixels.format
        return Task(fmt, pixels.frames.bit_offset(frame), self.output, None, self.size, scale=scale, copy=copy), data

    async def complete(self, handle: InstanceHandle, frame: int, task: Task) -> Task:
        """Settle the colours."""
        return await settled(handle, task)


@dataclass(frozen=True, slots=True)
class MeasureVariant:
    """A measurement of a frame: how much of it is grey, as it is coded, or what decoding it repaired."""

    output: Literal["greys", "repairs"]
    room: int = field(compare=False)

    @property
    def size(self) -> int:
        """Bytes of the result."""
        return GREYS.size if self.output == "greys" else REPAIRS

    def read(self, stream: Stream, instance: Instance, frame: int) -> tuple[Task, bytes]:
        """Read the frame."""
        pixels = pixels_of(instance)
        data = encoded_frame(pixels.frames, frame, stream)
        fmt = as_coded(pixels.format) if self.output == "greys" else pixels.format
        return Task(fmt, pixels.frames.bit_offset(frame), self.output, None, self.size), data

    async def complete(self, handle: InstanceHandle, frame: int, task: Task) -> Task:
        """Return the task as it is."""
        return task


async def settled(handle: InstanceHandle, task: Task) -> Task:
    """Return the task of decoding a frame with the colours that the frames show, where clues leave doubt (C1).

    They are found once for all frames, from those that stand for all: a cine loop must not change its colours. Raises
    NoAnswer if that fails by chance.
    """
    pixels = (await handle.instance()).pixels
    if pixels is None or not pixels.doubtful_colours or task.fmt.samples != 3 or task.fmt != pixels.format:
        return task
    shares = []
    variant = MeasureVariant("greys", room_for(pixels.format.values_bytes, 0))
    for frame in looked_at(len(pixels.frames)):
        try:
            found = await handle.services.frames.verdict(FrameRequest(handle, frame, variant), needed=True)
        except NoAnswer:
            raise  # without this frame the colours could be others than next time
        except DecodeError:
            continue  # a broken frame says nothing about the others
        shares.append(GREYS.unpack(found))
    shown = shown_by(shares)
    return replace(task, fmt=replace(task.fmt, colour=shown)) if shown else task
