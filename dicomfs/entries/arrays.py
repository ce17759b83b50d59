"""The frames as arrays: `pixels.npy`, `rescaled.npy`, and the stored values of each frame in `stored/`.

Each is a head, then the values of `frame_values` in their order.
"""

import math
from functools import partial

import numpy as np

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.entries.dependence import Depends
from dicomfs.entries.frame_values import Output, frame_size, frame_values, pixels_of, values_dtype
from dicomfs.formats import tiff
from dicomfs.formats.npy import npy_head
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import MAX_TIFF_FRAME_BYTES, Instance
from dicomfs.iod.image_display import display_of
from dicomfs.iod.pixel_size import spacings
from dicomfs.pixeldata.pixel_data import PixelData
from dicomfs.rendering.render import WHITE
from dicomfs.sources.source import SourceFile
from dicomfs.vfs.content import Concatenation, Content, Literal, Wanted, always
from dicomfs.vfs.nodes import Attributes, File, Node, NumberedChildren, ReadyDirectory


class PixelsNpy:
    """All frames as one array of stored values, as pydicom's `pixel_array` has them."""

    name = "pixels.npy"
    depends = Depends.DECODERS

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve it where there are frames."""
        return _array(instance, handle, "rgb")


class RescaledNpy:
    """All frames as one array of float32: the rescaled values."""

    name = "rescaled.npy"
    depends = Depends.DECODERS

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve it where there are frames of one sample that is not an index into a palette."""
        pixels = instance.pixels
        if pixels is None or pixels.format.samples != 1 or pixels.format.photometric == "PALETTE COLOR":
            return None
        return _array(instance, handle, "rescaled")


class StoredDirectory:
    """The stored values of each frame as TIFF."""

    name = "stored"
    depends = Depends.DECODERS

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve one file a frame; its size follows from the shape."""
        pixels = instance.pixels
        if pixels is None or not len(pixels.frames) or pixels.format.values_bytes > MAX_TIFF_FRAME_BYTES:
            return None
        file = partial(_TiffFile, handle.file(tiff_size(pixels.format)), handle)
        return ReadyDirectory(handle.directory(), NumberedChildren(len(pixels.frames), file, ".tif"))


def _array(instance: Instance, handle: InstanceHandle, output: Output) -> Node | None:
    if instance.pixels is None or not len(instance.pixels.frames):
        return None
    return _ArrayFile(instance.pixels, handle, output)


class _ArrayFile(File):
    """All frames as one array; the axis of the frames is left out where there is but one."""

    __slots__ = ("_handle", "_head", "_output")

    def __init__(self, pixels: PixelData, handle: InstanceHandle, output: Output) -> None:
        fmt, count = pixels.format, len(pixels.frames)
        self._handle = handle
        self._output = output
        self._head = npy_head(values_dtype(fmt, output), fmt.shape if count == 1 else (count, *fmt.shape))
        super().__init__(handle.file(len(self._head) + count * frame_size(fmt, output)))

    async def open(self, wanted: Wanted = always, limit: float = math.inf) -> Content:
        values = frame_values(self._handle, await self._handle.instance(), self._output)
        return Concatenation([Literal(self._head), values])


class _TiffFile(File):
    """The stored values of one frame."""

    __slots__ = ("_frame", "_handle")

    def __init__(self, attributes: Attributes, handle: InstanceHandle, frame: int) -> None:
        super().__init__(attributes)
        self._handle = handle
        self._frame = frame

    async def open(self, wanted: Wanted = always, limit: float = math.inf) -> Content:
        handle, frame = self._handle, self._frame
        instance = await handle.instance()
        pixels = pixels_of(instance)
        fmt = pixels.format
        palette = b""
        if _photometric(fmt) == tiff.PALETTE:
            palette = await handle.read(_palette, pixels)
        resolution = tiff.resolution_of(spacings(pixels.dataset, frame))
        head = tiff.tiff_head(fmt.rows, fmt.columns, fmt.samples, fmt.dtype, _photometric(fmt), resolution, palette)
        return Concatenation([Literal(head), frame_values(handle, instance, "rgb", order=(frame,))])


def tiff_size(fmt: PixelFormat) -> int:
    """Compute the bytes of the TIFF of a frame."""
    return tiff.head_size(_photometric(fmt)) + frame_size(fmt, "rgb")


def _photometric(fmt: PixelFormat) -> int:
    """Return TIFF's photometric interpretation; values that it has no name for are grey.

    So is MONOCHROME1: programs would invert the values of TIFF's own kind.
    """
    if fmt.photometric == "PALETTE COLOR" and fmt.dtype == np.uint8:
        return tiff.PALETTE
    if fmt.samples == 4:
        return tiff.CMYK if fmt.photometric == "CMYK" else tiff.GREY
    return tiff.RGB if fmt.samples == 3 and fmt.photometric != "HSV" else tiff.GREY


def _palette(_: SourceFile, pixels: PixelData) -> bytes:
    """Make the colour map, grey without a usable palette."""
    indices = np.arange(tiff.PALETTE_ENTRIES, dtype=np.uint8)
    palette = display_of(pixels.dataset, 0, pixels.format)[0].palette
    colours = palette.apply(indices) if palette and palette.colours else np.stack((indices,) * 3, -1)
    # Full intensity has 16 bits in a colour map (TIFF 6.0, section 5).
    return (colours.T.astype("<u2") * (0xFFFF // WHITE)).tobytes()
