"""The frames as arrays: `pixels.npy`, `rescaled.npy`, and the stored values of each frame in `stored/`.

Each is a head, then the values of `frame_values` in their order.
"""

import numpy as np

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom.stream import Stream
from dicomfs.entries.dependence import Depends
from dicomfs.entries.frame_values import Output, frame_size, values_dtype, values_row
from dicomfs.formats import tiff
from dicomfs.formats.npy import npy_head
from dicomfs.instance.handle import ContentFile, Subject
from dicomfs.instance.instance import MOST_IN_TIFF, Instance
from dicomfs.iod.image_display import display_of
from dicomfs.iod.pixel_size import spacings
from dicomfs.pixeldata.pixel_data import Pixels
from dicomfs.rendering.render import WHITE
from dicomfs.vfs.content import Content, Ready
from dicomfs.vfs.nodes import File, Node, NumberedChildren, ReadyDirectory


class PixelsNpy:
    """All frames as one array of stored values, as pydicom's `pixel_array` has them."""

    name = "pixels.npy"
    depends = Depends.DECODERS

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve it where there are frames."""
        return _array(instance, subject, "rgb")


class RescaledNpy:
    """All frames as one array of float32: what the stored values stand for."""

    name = "rescaled.npy"
    depends = Depends.DECODERS

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve it where there are frames of one sample that is no index into a palette."""
        pixels = instance.pixels
        if pixels is None or pixels.format.samples != 1 or pixels.format.photometric == "PALETTE COLOR":
            return None
        return _array(instance, subject, "rescaled")


class Stored:
    """The stored values of each frame as TIFF."""

    name = "stored"
    depends = Depends.DECODERS

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve one file a frame; its size follows from the shape."""
        pixels = instance.pixels
        if pixels is None or not len(pixels.frames) or pixels.format.values_bytes > MOST_IN_TIFF:
            return None
        attributes = subject.file(tiff_size(pixels.format))

        def file(frame: int) -> File:
            return ContentFile(attributes, lambda: _open_tiff(subject, frame))

        return ReadyDirectory(subject.directory(), NumberedChildren(len(pixels.frames), file, lambda _: ".tif"))


def _array(instance: Instance, subject: Subject, output: Output) -> Node | None:
    """Give a file of all frames; the axis of the frames is left out where there is but one."""
    if instance.pixels is None or not len(instance.pixels.frames):
        return None
    fmt, count = instance.pixels.format, len(instance.pixels.frames)
    head = npy_head(values_dtype(fmt, output), fmt.shape if count == 1 else (count, *fmt.shape))

    async def open_content() -> Content:
        row = values_row(subject, await subject.instance(), output)
        return Content([Ready(head), row], row.close)

    return ContentFile(subject.file(len(head) + count * frame_size(fmt, output)), open_content)


def tiff_size(fmt: PixelFormat) -> int:
    """Compute the bytes of the TIFF of a frame."""
    return tiff.head_size(_photometric(fmt)) + frame_size(fmt, "rgb")


async def _open_tiff(subject: Subject, frame: int) -> Content:
    instance = await subject.instance()
    pixels = instance.pixels
    assert pixels is not None  # noqa: S101 - no file is made where there are none
    fmt = pixels.format
    palette = b""
    if _photometric(fmt) == tiff.PALETTE:
        palette = await subject.read(lambda file: _palette(pixels, instance.inflated or file))
    resolution = tiff.resolution_of(spacings(pixels.dataset, frame))
    head = tiff.tiff_head(fmt.rows, fmt.columns, fmt.samples, fmt.dtype, _photometric(fmt), resolution, palette)
    row = values_row(subject, instance, "rgb", order=(frame,))
    return Content([Ready(head), row], row.close)


def _photometric(fmt: PixelFormat) -> int:
    """Name what the values are; what TIFF has no name for is samples without a meaning.

    MONOCHROME1 is no exception: readers would turn the values round.
    """
    if fmt.photometric == "PALETTE COLOR" and fmt.dtype == np.uint8:
        return tiff.PALETTE
    if fmt.samples == 4:
        return tiff.CMYK if fmt.photometric == "CMYK" else tiff.GREY
    return tiff.RGB if fmt.samples == 3 and fmt.photometric != "HSV" else tiff.GREY


def _palette(pixels: Pixels, stream: Stream) -> bytes:
    """Make the colour map: what each index looks like; grey without a usable palette."""
    indices = np.arange(tiff.PALETTE_ENTRIES, dtype=np.uint8)
    palette = display_of(pixels.dataset, 0, pixels.format)[0].palette
    colours = palette.apply(indices) if palette and palette.colours else np.stack((indices,) * 3, -1)
    # Full intensity has 16 bits in a colour map (TIFF 6.0, section 5).
    return (colours.T.astype("<u2") * (0xFFFF // WHITE)).tobytes()
