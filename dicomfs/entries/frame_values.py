"""The values of an object's frames as a row of bytes: what arrays, volumes and other files than pictures are made of.

Only this module decides what of the values comes straight from the source and what a worker makes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from dicomfs.codecs import native
from dicomfs.codecs.colour import as_coded, shown_by
from dicomfs.codecs.encoders import source_format
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom.stream import Stream
from dicomfs.instance.handle import Subject
from dicomfs.instance.instance import Instance
from dicomfs.iod.rescale import scale_of
from dicomfs.pixeldata.frame_status import looked_at
from dicomfs.pixeldata.frames import Frames, NativeFrames
from dicomfs.pixeldata.pixel_data import NATIVE, Pixels
from dicomfs.vfs.content import Buffer, Flipped, Row, StoredRow
from dicomfs.workers.decoder_process import GREYS, Task
from dicomfs.workers.frame_cache import Make, Wish
from dicomfs.workers.pool import DecodeError, NoAnswer

Output = Literal["stored", "rgb", "rescaled", "copy"]
"""Values as stored; the same with YBR turned to RGB, as pydicom's `pixel_array`; float32 as `scale_of` says; those of
an uncompressed copy, which are as stored and what its header says of all frames, or an error."""

# A reader of one frame has the kernel read up to 1 MiB before and behind it. Who has read more reads in order.
_IN_ORDER = 2 << 20


class FrameMissing(DecodeError):
    """The header declares a frame that is not in the file."""

    def __init__(self, frame: int) -> None:
        """Name the frame, counted from 0, as the user counts."""
        super().__init__(f"frame {frame + 1} is declared but not in the file")


def encoded_frame(frames: Frames, frame: int, stream: Stream) -> bytes:
    """Read what is stored of *frame*, counted from 0. Raises FrameMissing."""
    extents = frames.extents(frame)
    if not extents:
        raise FrameMissing(frame)
    return b"".join([stream.pread(length, offset) for offset, length in extents])


def values_dtype(fmt: PixelFormat, output: Output) -> np.dtype[np.generic]:
    """Give the little endian type of the values of a frame; their shape is *fmt.shape*."""
    return np.dtype("<f4") if output == "rescaled" else fmt.dtype


def frame_size(fmt: PixelFormat, output: Output) -> int:
    """Compute the bytes of one frame's values."""
    return fmt.pixels * fmt.samples * 4 if output == "rescaled" else fmt.values_bytes


def values_row(
    subject: Subject, instance: Instance, output: Output, *, order: Sequence[int] | None = None, flip: bool = False
) -> Row:
    """Give the values of all frames of an object that has them, end to end; of those in *order*, where it is given.

    *flip* reverses the rows of each frame. Nothing is opened before the first read; give `close` to the Content that
    the row is put into. A frame that cannot be decoded raises OSError (EIO) when it is read.
    """
    assert instance.pixels is not None  # noqa: S101 - the caller looked
    fmt, frames = instance.pixels.format, instance.pixels.frames
    each = frame_size(fmt, output)
    indices = range(len(frames)) if order is None else order
    row: Row
    if is_straight(instance.pixels, output) and instance.inflated is None:
        row = _straight(subject, fmt, frames, indices)
    else:
        row = _decoded(subject, fmt, output, indices)
    return Flipped(row, len(indices), each, fmt.rows) if flip else row


def is_straight(pixels: Pixels, output: Output) -> bool:
    """Tell whether each sample of the source is a value: native, not packed, not in planes, with nothing converted."""
    fmt = pixels.format
    if fmt.transfer_syntax not in NATIVE or fmt.bits_allocated in (1, 12) or fmt.word > 1:
        return False
    if output == "rescaled" or (output == "copy" and fmt.spare_bits):
        return False
    converted = output == "rgb" and fmt.photometric.startswith("YBR")
    return fmt.samples == 1 or not (fmt.planar or fmt.halved or converted)


def _straight(subject: Subject, fmt: PixelFormat, frames: Frames, indices: Sequence[int]) -> Row:
    """Serve extents of the source, their bits cut out where not all are the value's (PS3.5 8.1.1).

    That is a few operations a byte, done for just the bytes that are wanted; a worker would cost more than that, and
    the whole frame. All frames are one piece when they are there and in their own order.
    """

    def offset(place: int) -> int:
        extents = frames.extents(indices[place])
        if not extents:
            raise FrameMissing(indices[place])
        return extents[0].offset

    def change(data: Buffer) -> Buffer:
        words = np.frombuffer(data, f"{'>' if fmt.big_endian else '<'}{kind}").astype(f"<{kind}", copy=False)
        return native.stored_values(words, fmt).view(np.uint8).data

    size, count, each = fmt.dtype.itemsize, len(indices), frame_size(fmt, "stored")
    kind = f"{'f' if fmt.real else 'u'}{size}"
    plain = not fmt.big_endian and fmt.bits_stored == fmt.bits_allocated
    how = (1, None) if plain else (size, change)
    # Frames that are declared and not there come last; some writers leave padding between frames.
    end_to_end = isinstance(frames, NativeFrames) and not frames.padded
    if end_to_end and indices == range(len(frames)) and frames.extents(count - 1):
        return StoredRow(1, each * count, offset, subject.open, *how)
    return StoredRow(count, each, offset, subject.open, *how)


def _decoded(subject: Subject, fmt: PixelFormat, output: Output, indices: Sequence[int]) -> Row:
    """Have workers make the values, ahead of who reads in order."""
    decoder = subject.services.decoder
    each, count = frame_size(fmt, output), len(indices)
    # Where nothing is scaled or converted, outputs are the same, and kept once.
    kind = "stored" if output == "rgb" and fmt.samples == 1 else output

    def key(place: int) -> tuple[object, ...]:
        return subject.version, "values", kind, indices[place]

    def task(place: int) -> Make:
        return _task(subject, indices[place], output, each)

    last = -1

    async def make(place: int) -> Buffer:
        nonlocal last
        if place != last and row.in_order > each + _IN_ORDER:
            following = range(place + 1, min(place + 1 + decoder.depth, count))
            decoder.ahead(row, [Wish(key(other), task(other), each, subject.version) for other in following])
        last = place
        return await decoder.serve(key(place), task(place), subject.version)

    def close() -> None:
        decoder.ahead(row, ())
        if last >= 0:
            decoder.left(key(last))

    row = Row(count, each, make, close)
    return row


def _task(subject: Subject, frame: int, output: Output, size: int) -> Make:
    """Give what prepares the task of making the values of *frame*, when they are to be made."""

    def prepare(instance: Instance, stream: Stream) -> tuple[Task, Buffer]:
        pixels = instance.pixels
        assert pixels is not None  # noqa: S101 - it is the same file
        data = encoded_frame(pixels.frames, frame, stream)
        scale = scale_of(pixels.dataset, frame, pixels.format) if output == "rescaled" else None
        copy = instance.plain if output == "copy" else None
        fmt = source_format(pixels.format) if copy else pixels.format
        return Task(fmt, pixels.frames.bit_offset(frame), output, None, size, scale=scale, copy=copy), data

    async def make() -> tuple[Task, Buffer]:
        task, data = await subject.glance(prepare)
        return await settled(subject, task), data

    return make


async def settled(subject: Subject, task: Task) -> Task:
    """Give the task of decoding a frame with what the pictures show of their colours, where clues leave doubt (C1).

    That is found once for all frames, from those that stand for all: a film must not change its colours. Raises
    NoAnswer if it fails by chance.
    """
    pixels = (await subject.instance()).pixels
    if pixels is None or not pixels.doubtful_colours or task.fmt.samples != 3 or task.fmt != pixels.format:
        return task
    shares = []
    for frame in looked_at(len(pixels.frames)):
        try:
            key = subject.version, "greys", frame
            found = await subject.services.decoder.verdict(key, _greys(subject, frame), subject.version)
        except NoAnswer:
            raise  # without this frame the colours would be others than next time
        except DecodeError:
            continue  # a broken frame says nothing about the others
        shares.append(GREYS.unpack(found))
    shown = shown_by(shares)
    return replace(task, fmt=replace(task.fmt, colour=shown)) if shown else task


def _greys(subject: Subject, frame: int) -> Make:
    """Give what prepares measuring the grey in a frame as it is coded."""

    def prepare(instance: Instance, stream: Stream) -> tuple[Task, Buffer]:
        pixels = instance.pixels
        assert pixels is not None  # noqa: S101 - it is the same file
        data = encoded_frame(pixels.frames, frame, stream)
        return Task(as_coded(pixels.format), pixels.frames.bit_offset(frame), "greys", None, GREYS.size), data

    async def make() -> tuple[Task, Buffer]:
        return await subject.glance(prepare)

    return make
