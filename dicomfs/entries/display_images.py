"""One picture: what is stored of a frame is read, how it is shown is looked up, and a worker draws it as PNG.

Every picture in the directory of a file is made here, so that all of them follow the same rules: those of frames
through any window, small ones, the icon's, and overlay planes.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from dicomfs.codecs.remarks import LONGEST, Remark, read
from dicomfs.dicom.stream import Stream
from dicomfs.entries.frame_values import FrameMissing, encoded_frame, is_straight, settled
from dicomfs.formats.png import PHYSICAL_SIZE, png_size, profile_chunk, profile_size, text_of, text_size
from dicomfs.instance.handle import ContentFile, Subject
from dicomfs.instance.instance import Instance
from dicomfs.iod.automatic_window import chosen, frames_alike, kind_of, stated_range
from dicomfs.iod.icc_profile import Profile
from dicomfs.iod.image_display import check_groups, frame_display, has_groups, wants_automatic_window
from dicomfs.iod.pixel_size import physical
from dicomfs.iod.voi_lut import UNUSABLE
from dicomfs.pixeldata.overlays import Overlay
from dicomfs.pixeldata.pixel_data import Pixels
from dicomfs.rendering.render import Display, Window, automatic_window
from dicomfs.rendering.resize import Placed, Shrunk
from dicomfs.vfs.content import Buffer, Content, Made
from dicomfs.vfs.nodes import File
from dicomfs.workers.decoder_process import RANGE, Task
from dicomfs.workers.frame_cache import Make, Wish
from dicomfs.workers.pool import DecodeError, NoAnswer

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True, slots=True)
class Look:
    """Which picture of a frame is wanted: the icon's, through which window of the file (see `voi_lut`), how small."""

    icon: bool = False
    place: int | None = None
    shrunk: Shrunk | None = None


class _Prepared(NamedTuple):
    """What a worker needs; the frame *window_for* says which automatic window must be found for it first."""

    task: Task
    data: bytes
    window_for: int | None = None


_Prepare = Callable[[Instance, Stream], _Prepared]


def frame_pictures(subject: Subject, instance: Instance, look: Look) -> Callable[[int], File]:
    """Give what makes the file of each frame, counted from 0, of an object that has them."""
    pixels = _pixels(instance, look)
    shape = look.shrunk or pixels.format
    profile = _profile(instance, look)
    ancillary = text_size(LONGEST) + PHYSICAL_SIZE + (profile_size(profile.length) if profile else 0)
    size = png_size(shape.rows, shape.columns, pixels.picture_samples, ancillary)
    window = subject.services.view.window

    def prepare(frame: int) -> _Prepare:
        return lambda instance, stream: _frame(instance, stream, frame, look, "png", size, window)

    def note(picture: bytes) -> None:
        if said := read(text_of(picture, LONGEST)):
            subject.services.remark_log.note(subject.version, said)

    return _files(subject, len(pixels.frames), size, lambda frame: ("picture", frame, look), prepare, note)


def frame_pixels(subject: Subject, instance: Instance, shrunk: Shrunk | None = None) -> Callable[[int], Make]:
    """Give what prepares making the pixels of the picture of each frame, 8 bits a sample in rows, without the PNG.

    They are *shrunk* where the pictures shall be smaller than the frames.
    """
    look = Look(shrunk=shrunk)
    pixels = _pixels(instance, look)
    shape = shrunk or pixels.format
    size = shape.rows * shape.columns * pixels.picture_samples
    window = subject.services.view.window

    def prepare(frame: int) -> _Prepare:
        return lambda instance, stream: _frame(instance, stream, frame, look, "picture", size, window)

    return lambda frame: _task(subject, prepare(frame))


def overlay_pictures(subject: Subject, instance: Instance, overlay: Overlay) -> Callable[[int], File]:
    """Give what makes the file of an overlay plane for each frame, counted from 0: white on black, as large as it."""
    shape = instance.pixels.format if instance.pixels else overlay.format
    size = png_size(shape.rows, shape.columns, 1, PHYSICAL_SIZE)

    def prepare(frame: int) -> _Prepare:
        return lambda instance, stream: _plane(instance, stream, frame, overlay, size)

    count = len(instance.pixels.frames) if instance.pixels else len(overlay.frames or ())
    return _files(subject, count, size, lambda frame: ("overlay", frame, overlay.number), prepare)


def _files(
    subject: Subject,
    count: int,
    size: int,
    key: Callable[[int], tuple[Hashable, ...]],
    prepare: Callable[[int], _Prepare],
    note: Callable[[bytes], None] = lambda _: None,
) -> Callable[[int], File]:
    """Give what makes the file of each frame; *note* is shown each picture that is made for a reader."""
    attributes = subject.file(size)
    decoder, ahead = subject.services.decoder, subject.services.ahead
    reader = subject.version, key(0)

    def wish(frame: int) -> Wish:
        return Wish((subject.version, *key(frame)), _task(subject, prepare(frame)), size, subject.version)

    def file(frame: int) -> File:
        async def open_content() -> Content:
            wanted, begun = wish(frame), False

            async def picture() -> bytes:
                nonlocal begun
                if not begun:
                    # While whoever reads in order takes this one away, idle workers make the next.
                    decoder.ahead(reader, [wish(each) for each in ahead.after(reader, frame) if each < count])
                made = await decoder.serve(wanted.key, wanted.make, wanted.owner)
                if not begun:
                    note(made)
                begun = True
                return made

            made = Made(size, picture)

            def close() -> None:
                decoder.left(wanted.key)
                if made.given >= size:
                    decoder.spent(wanted.key)
                elif made.given:  # who leaves in the middle does not come for the next
                    decoder.ahead(reader, ())

            return Content([made], close)

        return ContentFile(attributes, open_content)

    return file


def _task(subject: Subject, prepare: _Prepare) -> Make:
    """Give what prepares the task of making one picture or range, when it is to be made."""

    async def make() -> tuple[Task, Buffer]:
        task, data, window_for = await subject.glance(prepare)
        task = await settled(subject, task)
        if window_for is not None and task.display:
            window = await _window(subject, window_for)
            task = replace(task, display=replace(task.display, window=window, automatic=window is not None))
        return task, data

    return make


async def _window(subject: Subject, frame: int) -> Window | None:
    """Find the window of all frames of one kind: a film must not flicker. None where they have no values."""
    instance = await subject.instance()
    pixels = _pixels(instance, Look())
    kind = kind_of(pixels.dataset, frame)

    async def make() -> bytes:
        return await _range(subject, pixels, frame)

    low, high = RANGE.unpack(await subject.services.texts.get((subject.version, "window", kind), make))
    return None if math.isnan(low) else automatic_window(low, high)


async def _range(subject: Subject, pixels: Pixels, frame: int) -> bytes:
    """Find the range of the values of frames like *frame*, in as many of them as are cheap, as a worker writes it."""
    inflated = (await subject.instance()).inflated
    batches, ranges = await subject.read(lambda file: _plan(pixels, frame, inflated or file))
    for batch in batches:
        key = subject.version, "range", batch
        try:
            making = subject.services.decoder.verdict(key, _task(subject, _ranged(batch)), subject.version)
            low, high = RANGE.unpack(await making)
        except NoAnswer:
            raise  # without these frames the window would be another one than next time
        except DecodeError:
            continue  # a broken frame says nothing about the others
        if not math.isnan(low):
            ranges.append((low, high))
    if not ranges:
        return RANGE.pack(math.nan, math.nan)
    return RANGE.pack(min(low for low, _ in ranges), max(high for _, high in ranges))


def _plan(pixels: Pixels, frame: int, stream: Stream) -> tuple[list[tuple[int, ...]], list[tuple[float, float]]]:
    """Choose the frames to look at for the window of *frame*, those that a worker takes at once together; and ranges.

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
    """Give what of a display decides about the range of a frame."""
    return display.slope, display.intercept, display.modality_lut, display.padding


def _ranged(batch: Sequence[int]) -> _Prepare:
    """Ask for the range of the values of frames that are rescaled alike, after the Modality LUT, without padding.

    Several are given to a worker as one tall frame.
    """

    def prepare(instance: Instance, stream: Stream) -> _Prepared:
        task, data, _ = _frame(instance, stream, batch[0], Look(), "range", RANGE.size, None)
        if len(batch) == 1:
            return _Prepared(task, data)
        pixels = _pixels(instance, Look())
        rest = [encoded_frame(pixels.frames, frame, stream) for frame in batch[1:]]
        tall = replace(task.fmt, rows=task.fmt.rows * len(batch))
        return _Prepared(replace(task, fmt=tall), b"".join((data, *rest)))

    return prepare


def _frame(
    instance: Instance,
    stream: Stream,
    frame: int,
    look: Look,
    output: Literal["png", "picture", "range"],
    size: int,
    window: Window | None,
) -> _Prepared:
    """Read what is stored of one frame, and how it is shown; *window* takes the place of what the file says first."""
    pixels = _pixels(instance, look)
    fmt = pixels.format
    data = encoded_frame(pixels.frames, frame, stream)
    check_groups(pixels.dataset, frame)
    display, problems = frame_display(pixels.dataset, frame, fmt, look.place)
    if window is not None and not look.icon and look.place is None and fmt.photometric in MONOCHROME:
        display = replace(display, window=window, voi_lut=None)
    chunks = b""
    if output == "png":
        factors = (fmt.rows / look.shrunk.rows, fmt.columns / look.shrunk.columns) if look.shrunk else (1.0, 1.0)
        chunks = physical(pixels.dataset, frame, factors)
        if profile := _profile(instance, look):
            chunks += profile_chunk(stream.pread(profile.length, profile.offset))
    task = Task(fmt, pixels.frames.bit_offset(frame), output, display, size, chunks, look.shrunk)
    if output == "png":
        task = replace(task, remarks=(Remark.WINDOW_UNUSABLE,) if UNUSABLE in problems else ())
    # An automatic window is found in the frames of an object; an icon's values are shown as they are.
    automatic = not look.icon and wants_automatic_window(pixels.dataset, fmt, display)
    return _Prepared(task, data, frame if automatic else None)


def _plane(instance: Instance, stream: Stream, frame: int, overlay: Overlay, size: int) -> _Prepared:
    """Read what is stored of an overlay plane for one frame of the image, and where it lies on it."""
    pixels, fmt = instance.pixels, overlay.format
    index = 0 if overlay.repeated else frame - overlay.first
    frames = overlay.frames or (pixels.frames if pixels else None)
    if frames is None or instance.parsed is None:
        raise FrameMissing(frame)
    fit = Placed(pixels.format.rows, pixels.format.columns, overlay.top, overlay.left) if pixels else None
    chunks = physical(instance.parsed.dataset, frame)
    task = Task(fmt, frames.bit_offset(index), "png", Display(), size, chunks, fit)
    return _Prepared(task, encoded_frame(frames, index, stream))


def _pixels(instance: Instance, look: Look) -> Pixels:
    pixels = instance.icon if look.icon else instance.pixels
    assert pixels is not None  # noqa: S101 - no file is made where there are none
    return pixels


def profile_of(instance: Instance) -> Profile | None:
    """Give the ICC profile that goes along with pictures of the frames."""
    return _profile(instance, Look())


def _profile(instance: Instance, look: Look) -> Profile | None:
    """Give the ICC profile that goes along: one for RGB or grey as the picture is."""
    profile = instance.profile
    fits = profile is not None and not look.icon and profile.samples == _pixels(instance, look).picture_samples
    return profile if fits else None
