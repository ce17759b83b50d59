"""Display images: read a frame, resolve its display pipeline, have a worker render the PNG.

Every image in the directory of a file is made here, so that all of them follow the same rules: those of frames through
any window, reduced ones, the icon's, and overlay planes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from dicomfs.codecs.remarks import LONGEST, Remark, read
from dicomfs.dicom.stream import Stream
from dicomfs.entries.automatic_window import automatic_window_of
from dicomfs.entries.frame_request import FrameRequest, FrameSequence, Variant, room_for
from dicomfs.entries.frame_values import FrameMissing, encoded_frame, settled
from dicomfs.formats.png import PHYSICAL_SIZE, png_size, profile_chunk, profile_size, text_of, text_size
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.iod.icc_profile import Profile
from dicomfs.iod.image_display import check_groups, frame_display, wants_automatic_window
from dicomfs.iod.pixel_size import physical
from dicomfs.iod.voi_lut import UNUSABLE
from dicomfs.pixeldata.overlays import Overlay
from dicomfs.pixeldata.pixel_data import PixelData
from dicomfs.rendering.render import Display, Window
from dicomfs.rendering.resize import Placed, Shrunk
from dicomfs.vfs.content import Buffer, Content, Wanted, always, part_of
from dicomfs.vfs.nodes import Attributes, File
from dicomfs.workers.decoder_process import Task

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True, slots=True)
class DisplayVariant:
    """The display image of a frame, as PNG or as its pixels, 8 bits a sample in rows.

    *icon* is the one of the file's icon. *voi* is the index of the window or VOI LUT (see `voi_lut`), None for the
    default one, in whose place the mount may have a *window* of its own. *shrunk* reduces the image.
    """

    output: Literal["png", "picture"]
    icon: bool
    voi: int | None
    shrunk: Shrunk | None
    window: Window | None
    size: int = field(compare=False)
    room: int = field(compare=False)

    def read(self, stream: Stream, instance: Instance, frame: int) -> tuple[Task, bytes]:
        """Read a frame, its display pipeline, and for a PNG what goes into its chunks."""
        pixels = shown_pixels(instance, icon=self.icon)
        fmt, dataset, shrunk = pixels.format, pixels.dataset, self.shrunk
        data = encoded_frame(pixels.frames, frame, stream)
        check_groups(dataset, frame)
        display, problems = frame_display(dataset, frame, fmt, self.voi)
        if self.window is not None and not self.icon and self.voi is None and fmt.photometric in MONOCHROME:
            display = replace(display, window=self.window, voi_lut=None)
        task = Task(fmt, pixels.frames.bit_offset(frame), self.output, display, self.size, fit=shrunk)
        if self.output == "png":
            factors = (fmt.rows / shrunk.rows, fmt.columns / shrunk.columns) if shrunk else (1.0, 1.0)
            chunks = physical(dataset, frame, factors)
            if profile := _profile(instance, icon=self.icon):
                chunks += profile_chunk(stream.pread(profile.length, profile.offset))
            remarks = (Remark.WINDOW_UNUSABLE,) if UNUSABLE in problems else ()
            task = replace(task, chunks=chunks, remarks=remarks)
        return task, data

    async def complete(self, handle: InstanceHandle, frame: int, task: Task) -> Task:
        """Settle the colours, and find the window of frames that state none; an icon's values are shown unchanged."""
        task = await settled(handle, task)
        if self.icon or task.display is None:
            return task
        pixels = shown_pixels(await handle.instance())
        if not wants_automatic_window(pixels.dataset, pixels.format, task.display):
            return task
        window = await automatic_window_of(handle, pixels, frame)
        return replace(task, display=replace(task.display, window=window, automatic=window is not None))


@dataclass(frozen=True, slots=True)
class OverlayVariant:
    """The display image of an overlay plane on a frame: white on black, as large as the frame."""

    number: int
    size: int = field(compare=False)
    room: int = field(compare=False)

    def read(self, stream: Stream, instance: Instance, frame: int) -> tuple[Task, bytes]:
        """Read the plane for one frame, and its position on it. Raises FrameMissing."""
        pixels = instance.pixels
        overlay = next(each for each in instance.overlays if each.number == self.number)
        index = 0 if overlay.repeated else frame - overlay.first
        frames = overlay.frames or (pixels.frames if pixels else None)
        if frames is None or instance.parsed is None:
            raise FrameMissing(frame)
        fit = Placed(pixels.format.rows, pixels.format.columns, overlay.top, overlay.left) if pixels else None
        chunks = physical(instance.parsed.dataset, frame)
        task = Task(overlay.format, frames.bit_offset(index), "png", Display(), self.size, chunks, fit)
        return task, encoded_frame(frames, index, stream)

    async def complete(self, handle: InstanceHandle, frame: int, task: Task) -> Task:
        """Return the task as it is: a plane has no colours."""
        return task


def display_images(
    handle: InstanceHandle,
    instance: Instance,
    *,
    icon: bool = False,
    voi: int | None = None,
    shrunk: Shrunk | None = None,
) -> Callable[[int], File]:
    """Return what makes the file of each frame, counted from 0, of an object that has frames, or an icon."""
    pixels = shown_pixels(instance, icon=icon)
    shape = shrunk or pixels.format
    profile = _profile(instance, icon=icon)
    ancillary = text_size(LONGEST) + PHYSICAL_SIZE + (profile_size(profile.length) if profile else 0)
    size = png_size(shape.rows, shape.columns, pixels.picture_samples, ancillary)
    room = room_for(pixels.format.values_bytes, size)
    variant = DisplayVariant("png", icon, voi, shrunk, handle.services.view.window, size, room)
    return _files(handle, variant, range(len(pixels.frames)), DisplayImage)


def display_pixels(
    handle: InstanceHandle, instance: Instance, frames: Sequence[int], shrunk: Shrunk | None = None
) -> FrameSequence:
    """Return requests for the pixels of display images, 8 bits a sample in rows; they may be *shrunk*."""
    pixels = shown_pixels(instance)
    shape = shrunk or pixels.format
    size = shape.rows * shape.columns * pixels.picture_samples
    room = room_for(pixels.format.values_bytes, size)
    variant = DisplayVariant("picture", False, None, shrunk, handle.services.view.window, size, room)
    return FrameSequence(handle, variant, frames)


def overlay_images(handle: InstanceHandle, instance: Instance, overlay: Overlay) -> Callable[[int], File]:
    """Return what makes the file of an overlay plane for each of its frames, counted from 0."""
    shape = instance.pixels.format if instance.pixels else overlay.format
    size = png_size(shape.rows, shape.columns, 1, PHYSICAL_SIZE)
    variant = OverlayVariant(overlay.number, size, room_for(0, size))
    return _files(handle, variant, range(overlay.first, overlay.first + overlay.count), ImageContent)


def _files(
    handle: InstanceHandle, variant: Variant, frames: range, kind: type["ImageContent"]
) -> Callable[[int], File]:
    return partial(_ImageFile, handle.file(variant.size), FrameSequence(handle, variant, frames), kind)


class _ImageFile(File):
    """One display image."""

    __slots__ = ("_images", "_index", "_kind")

    def __init__(self, attributes: Attributes, images: FrameSequence, kind: type["ImageContent"], index: int) -> None:
        super().__init__(attributes)
        self._images = images
        self._kind = kind
        self._index = index

    async def open(self, wanted: Wanted = always, limit: float = math.inf) -> Content:
        return self._kind(self._images, self._index)


class ImageContent(Content):
    """An open display image. The first read has it made, and the next ones for clients who read images in order."""

    __slots__ = ("_begun", "_images", "_index", "_request", "_returned")

    def __init__(self, images: FrameSequence, index: int) -> None:
        """Serve image *index* of *images*."""
        self._images = images
        self._index = index
        self._request = images[index]
        self._begun = False
        self._returned = 0
        self.size = self._request.size

    async def read(self, start: int, stop: int) -> Buffer:
        """Have it made, and slice it."""
        services = self._request.handle.services
        if not self._begun:
            # While the client takes this image away, idle workers make the next.
            services.prefetcher.follow(self._client, self._images, self._index)
        image = await services.frames.get(self._request, hold=True)
        if not self._begun:
            self.made(self._request, image)
        self._begun = True
        part = part_of(image, self.size, start, stop)
        self._returned += stop - start
        return part

    def made(self, request: FrameRequest, image: bytes) -> None:
        """Look at an image that was made for a client."""

    def close(self) -> None:
        """Drop the image if all of it was read. A client who leaves in the middle does not come for the next."""
        services = self._request.handle.services
        services.frames.left(self._request)
        if self._returned >= self.size:
            services.frames.spent(self._request)
        elif self._returned:
            services.prefetcher.forget(self._client)

    @property
    def _client(self) -> tuple[InstanceHandle, Variant]:
        """Images of one directory are read by one client, as far as anybody can see."""
        return self._images.handle, self._images.variant


class DisplayImage(ImageContent):
    """An open display image that carries remarks on how it was made; the log reports them once."""

    __slots__ = ()

    def made(self, request: FrameRequest, image: bytes) -> None:
        """Report the remarks in the image."""
        if remarks := read(text_of(image, LONGEST)):
            request.handle.services.remark_log.note(request.handle.version, remarks)


def shown_pixels(instance: Instance, *, icon: bool = False) -> PixelData:
    """Return the pixels, or the icon, of an object of which a file with images was made."""
    pixels = instance.icon if icon else instance.pixels
    assert pixels is not None  # noqa: S101 - the object has not changed since
    return pixels


def profile_of(instance: Instance) -> Profile | None:
    """Return the ICC profile that the display images of the frames carry."""
    return _profile(instance, icon=False)


def _profile(instance: Instance, *, icon: bool) -> Profile | None:
    """Return the ICC profile, if it is one for RGB or grey as the images are."""
    profile = instance.profile
    if profile is None or icon or profile.samples != shown_pixels(instance).picture_samples:
        return None
    return profile
