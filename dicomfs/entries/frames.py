"""The frames as pictures: `frames/`, the same through each further window in `windows/`, one of them small."""

from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.entries.dependence import Depends
from dicomfs.entries.display_images import MONOCHROME, display_images
from dicomfs.entries.frame_values import pixels_of
from dicomfs.entries.slide_thumbnail import slide_thumbnail_file
from dicomfs.entries.stored_video import poster_file
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.iod.voi_lut import voi_names
from dicomfs.iod.whole_slide import level_of
from dicomfs.pixeldata.pixel_data import PixelData
from dicomfs.rendering.resize import shrunk_to
from dicomfs.vfs.names import safe_name
from dicomfs.vfs.nodes import NamedChildren, Node, NumberedChildren, ReadyDirectory

THUMBNAIL = 256
"""PixelData along the longer side of a small picture: the "large" size of the freedesktop thumbnail specification."""


class FramesDirectory:
    """One display picture a frame: 8-bit grey or RGB."""

    name = "frames"
    depends = Depends.WINDOW

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve a picture for every frame; sizes follow from the header."""
        return _directory(instance, handle) if _pixels(instance) else None


class Windows:
    """The frames again through each further window or VOI LUT of the file.

    A directory is numbered by the place in the file, VOI LUTs before windows; the first is the one of `frames/` and
    is not here, unless the mount has a window of its own.
    """

    name = "windows"
    depends = Depends.DECODERS

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve the windows that some frame has; where one has it not, its picture cannot be read."""
        pixels = _pixels(instance)
        if pixels is None or pixels.format.photometric not in MONOCHROME:
            return None
        names = enumerate(voi_names(pixels.dataset, len(pixels.frames)))
        shown = [(place, name) for place, name in names if name is not None]
        if handle.services.view.window is None:
            shown = shown[1:]
        directories = [
            (f"{place + 1}-{safe_name(name)}".encode(), _directory(instance, handle, voi=place))
            for place, name in shown
        ]
        return ReadyDirectory(handle.directory(), NamedChildren(directories)) if directories else None


class Thumbnail:
    """The representative or middle frame, small; the whole level of a slide; of a stored video the first picture."""

    name = "thumbnail.png"
    depends = Depends.WINDOW

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve it where there are frames or a video; of a level of very many tiles the icon, if there is one."""
        if instance.video is not None:
            return poster_file(instance, handle, THUMBNAIL)
        pixels = _pixels(instance)
        if pixels is None:
            return None
        level = level_of(pixels.dataset, pixels.format)
        if level is None:
            small = shrunk_to(THUMBNAIL, pixels.format.rows, pixels.format.columns)
            image = display_images(handle, instance, shrunk=small)
            return image(representative(pixels.dataset, len(pixels.frames)))
        if level.is_small:
            return slide_thumbnail_file(handle, instance, level, THUMBNAIL)
        return display_images(handle, instance, icon=True)(0) if instance.icon else None


def _pixels(instance: Instance) -> PixelData | None:
    """Return the pixels of an object that has at least one frame."""
    return instance.pixels if instance.pixels and len(instance.pixels.frames) else None


def representative(dataset: DataSet, count: int) -> int:
    """Return the frame, counted from 0, that stands for all *count*: the stated one, or else the middle one.

    PS3.3 C.7.6.6 states Representative Frame Number, counted from 1.
    """
    stated = dataset.integer(tags.RepresentativeFrameNumber) or 0
    return stated - 1 if 1 <= stated <= count else count // 2


def _directory(instance: Instance, handle: InstanceHandle, voi: int | None = None) -> ReadyDirectory:
    """Return a directory with one display image a frame."""
    image = display_images(handle, instance, voi=voi)
    children = NumberedChildren(len(pixels_of(instance).frames), image, ".png", shared_attributes=image(0).attributes)
    return ReadyDirectory(handle.directory(), children)
