"""One picture: what is stored of a frame is read, how it is shown is looked up, and a worker draws it as PNG.

Every picture in the directory of a file is made here, so that all of them follow the same rules: those of frames
through any window, small ones, the icon's, and overlay planes.
"""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from struct import unpack
from typing import Literal, NamedTuple

from dicomfs.content import Buffer, Content, Made
from dicomfs.dicom.stream import Stream
from dicomfs.display.display import GroupMissing, check_groups, display_of, wants_automatic_window
from dicomfs.display.fit import Placed, Shrunk
from dicomfs.display.render import Display, Window, automatic_window
from dicomfs.files.samples import FrameMissing, encoded_frame, settled
from dicomfs.files.subject import ContentFile, Subject
from dicomfs.formats.ancillary import PHYSICAL_SIZE, physical, profile_chunk, profile_size
from dicomfs.formats.png import png_size
from dicomfs.image.instance import Instance
from dicomfs.image.overlays import Overlay
from dicomfs.image.pixels import Pixels
from dicomfs.image.profile import Profile
from dicomfs.nodes import File
from dicomfs.workers.decode import Make, Wish
from dicomfs.workers.pool import DecodeError, NoAnswer
from dicomfs.workers.worker import Task

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True, slots=True)
class Look:
    """Which picture of a frame is wanted: the icon's, through which window of the file (see `voi`), how small."""

    icon: bool = False
    place: int | None = None
    shrunk: Shrunk | None = None


class _Prepared(NamedTuple):
    """What a worker needs; *wants_window* says that a window must be found for it first."""

    task: Task
    data: bytes
    wants_window: bool = False


_Prepare = Callable[[Instance, Stream], _Prepared]


def frame_pictures(subject: Subject, instance: Instance, look: Look) -> Callable[[int], File]:
    """Give what makes the file of each frame, counted from 0, of an object that has them."""
    pixels = _pixels(instance, look)
    shape = look.shrunk or pixels.format
    profile = _profile(instance, look)
    ancillary = PHYSICAL_SIZE + (profile_size(profile.length) if profile else 0)
    size = png_size(shape.rows, shape.columns, pixels.picture_samples, ancillary)
    window = subject.services.window

    def prepare(frame: int) -> _Prepare:
        return lambda instance, stream: _frame(instance, stream, frame, look, "png", size, window)

    return _files(subject, len(pixels.frames), size, lambda frame: ("picture", frame, look), prepare)


def frame_pixels(subject: Subject, instance: Instance) -> Callable[[int], Make]:
    """Give what prepares making the pixels of the picture of each frame, 8 bits a sample in rows, without the PNG."""
    pixels = _pixels(instance, Look())
    size = pixels.format.pixels * pixels.picture_samples
    window = subject.services.window

    def prepare(frame: int) -> _Prepare:
        return lambda instance, stream: _frame(instance, stream, frame, Look(), "picture", size, window)

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
) -> Callable[[int], File]:
    attributes = subject.file(size)
    decoder, ahead = subject.services.decoder, subject.services.ahead
    reader = subject.fingerprint, key(0)

    def wish(frame: int) -> Wish:
        return Wish((subject.fingerprint, *key(frame)), _task(subject, prepare(frame)), size)

    async def picture(frame: int, wanted: Wish) -> bytes:
        # While whoever reads in order takes this one away, idle workers make the next.
        decoder.ahead(reader, [wish(each) for each in ahead.after(reader, frame) if each < count])
        return await decoder.get(wanted.key, wanted.make)

    def file(frame: int) -> File:
        async def open_content() -> Content:
            wanted = wish(frame)
            made = Made(size, lambda: picture(frame, wanted))

            def close() -> None:
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
        task, data, wants_window = await subject.glance(prepare)
        task = await settled(subject, task)
        if wants_window and task.display:
            task = replace(task, display=replace(task.display, window=await _window(subject)))
        return task, data

    return make


async def _window(subject: Subject) -> Window | None:
    """Find one window for the whole object, from its first, middle and last frame: a film must not flicker."""
    instance = await subject.instance()
    count = len(instance.pixels.frames) if instance.pixels else 0
    ranges = []
    for frame in sorted({0, count // 2, count - 1}):
        try:
            key = (subject.fingerprint, "range", frame)
            low, high = unpack("<dd", await subject.services.decoder.verdict(key, _task(subject, _ranged(frame))))
        except NoAnswer:
            raise  # without this frame the window would be another one than next time
        except (DecodeError, GroupMissing):
            continue  # a broken frame says nothing about the others
        if not math.isnan(low):
            ranges.append((low, high))
    if not ranges:
        return None
    return automatic_window(min(low for low, _ in ranges), max(high for _, high in ranges))


def _ranged(frame: int) -> _Prepare:
    """Ask for the range of a frame's values, after the Modality LUT and without padding."""

    def prepare(instance: Instance, stream: Stream) -> _Prepared:
        return _frame(instance, stream, frame, Look(), "range", 16, None)._replace(wants_window=False)

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
    display, _ = display_of(pixels.dataset, frame, fmt, stream, look.place)
    if window is not None and not look.icon and look.place is None and fmt.photometric in MONOCHROME:
        display = replace(display, window=window, voi_lut=None)
    chunks = b""
    if output == "png":
        factors = (fmt.rows / look.shrunk.rows, fmt.columns / look.shrunk.columns) if look.shrunk else (1.0, 1.0)
        chunks = physical(pixels.dataset, frame, factors)
        if profile := _profile(instance, look):
            chunks += profile_chunk(stream.pread(profile.length, profile.offset))
    task = Task(fmt, pixels.frames.bit_offset(frame), output, display, size, chunks, look.shrunk)
    # The one window of an object is found in its frames; an icon's values are shown as they are.
    return _Prepared(task, data, not look.icon and wants_automatic_window(pixels.dataset, fmt, display))


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


def _profile(instance: Instance, look: Look) -> Profile | None:
    """Give the ICC profile that goes along: one for RGB or grey as the picture is."""
    profile = instance.profile
    fits = profile is not None and not look.icon and profile.samples == _pixels(instance, look).picture_samples
    return profile if fits else None
