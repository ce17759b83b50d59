"""`volume.nii`: the frames of one object as a NIfTI-1 volume in the coordinates of the patient.

A header, then the values of `frame_values` in the order of their grid positions; the rows of each slice run from the
last to the first, as other programs that make NIfTI files write them. Slices of a mosaic are cut out of its frames.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.entries.dependence import Depends
from dicomfs.entries.frame_values import Output, frame_size, frame_values, values_dtype
from dicomfs.formats.nifti import HEADER_SIZE, Grid, nifti_header
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.vfs.content import Buffer, Concatenation, Content, FrameRun, Literal, PartialFrameRun, Wanted, always
from dicomfs.vfs.nodes import Attributes, File, Node
from dicomfs.volume.mosaic import Mosaic
from dicomfs.volume.volume import Volume


class VolumeNii:
    """Stored values with one slope and intercept where these serve all frames, float32 otherwise."""

    name = "volume.nii"
    depends = Depends.DECODERS

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve it where the frames form a regular stack."""
        volume, pixels = instance.volume, instance.pixels
        if volume is None or pixels is None:
            return None
        each = _slice_size(volume, pixels.format)
        return _VolumeFile(handle.file(HEADER_SIZE + each * volume.slices * volume.volumes), handle)


class _VolumeFile(File):
    """The volume; where its slices are is looked up when it is opened."""

    __slots__ = ("_handle",)

    def __init__(self, attributes: Attributes, handle: InstanceHandle) -> None:
        super().__init__(attributes)
        self._handle = handle

    async def open(self, wanted: Wanted = always, limit: float = math.inf) -> Content:
        return _content(self._handle, await self._handle.instance())


class Scattered(Content):
    """Slices at some grid *positions*, in ascending order; all other slices hold zeros."""

    __slots__ = ("_each", "_positions", "_slices")

    def __init__(self, slices: FrameRun, each: int, positions: Sequence[int], count: int) -> None:
        """Put *slices*, of *each* bytes, at *positions* among *count*."""
        self._slices = slices
        self._each = each
        self._positions = positions
        self.size = each * count

    async def read(self, start: int, stop: int) -> Buffer:
        """Read the slices that there are, and zeros around them."""
        each, data = self._each, bytearray(stop - start)
        first, last = bisect_left(self._positions, start // each), bisect_right(self._positions, (stop - 1) // each)
        for index in range(first, last):
            position = self._positions[index] * each
            begin, end = max(start, position), min(stop, position + each)
            data[begin - start : end - start] = await self._slices.read(
                index * each + begin - position, index * each + end - position
            )
        return bytes(data)

    def close(self) -> None:
        """Close the slices."""
        self._slices.close()


class Tiles(PartialFrameRun):
    """The slices of mosaics: tiles of frames, with their rows in reverse order."""

    __slots__ = ("_frames", "_mosaic", "_pixel_bytes", "_row_bytes")

    def __init__(self, frames: FrameRun, count: int, mosaic: Mosaic, pixel_bytes: int, columns: int) -> None:
        """Take *count* frames of *columns* pixels in a row, of *pixel_bytes* each, apart."""
        super().__init__(count * mosaic.slices, mosaic.rows * mosaic.columns * pixel_bytes)
        self._frames = frames
        self._mosaic = mosaic
        self._pixel_bytes = pixel_bytes
        self._row_bytes = columns * pixel_bytes

    async def part(self, index: int, start: int, stop: int) -> Buffer:
        """Read the rows of the frame that contain the requested bytes, and cut the tile out."""
        mosaic, wide = self._mosaic, self._row_bytes
        frame, tile = divmod(index, mosaic.slices)
        top, left = mosaic.tile(tile)
        row, height = mosaic.columns * self._pixel_bytes, mosaic.rows * mosaic.across
        first, last = start // row, -(-stop // row)
        above = frame * height + top + mosaic.rows
        data = await self._frames.across((above - last) * wide, (above - first) * wide)
        rows = np.frombuffer(data, np.uint8).reshape(-1, wide)[::-1, left * self._pixel_bytes :][:, :row]
        return memoryview(rows.tobytes())[start - first * row : stop - first * row]

    def close(self) -> None:
        """Close the frames."""
        self._frames.close()


def _slice_size(volume: Volume, fmt: PixelFormat) -> int:
    """Compute the bytes of a slice, which is a frame or a tile of one."""
    rows, columns = _raster(volume, fmt)
    return frame_size(fmt, _output(volume)) // fmt.pixels * rows * columns


def _raster(volume: Volume, fmt: PixelFormat) -> tuple[int, int]:
    """Return the rows and columns of a slice."""
    return (volume.mosaic.rows, volume.mosaic.columns) if volume.mosaic else (fmt.rows, fmt.columns)


def _output(volume: Volume) -> Output:
    return "rescaled" if volume.scaling is None else "rgb"


def _content(handle: InstanceHandle, instance: Instance) -> Content:
    volume, pixels = instance.volume, instance.pixels
    assert volume is not None  # noqa: S101 - the file would not be there
    assert pixels is not None  # noqa: S101
    fmt, output = pixels.format, _output(volume)
    slices = frame_values(handle, instance, output, order=volume.order.tolist(), flip=volume.mosaic is None)
    if volume.mosaic is not None:
        pixel_bytes = frame_size(fmt, output) // fmt.pixels
        slices = Tiles(slices, volume.volumes, volume.mosaic, pixel_bytes, fmt.columns)
    voxels: Content = slices
    if volume.places is not None:
        each = frame_size(fmt, output)
        voxels = Scattered(slices, each, volume.places.tolist(), volume.slices * volume.volumes)
    return Concatenation([Literal(_header(volume, fmt, output)), voxels])


def _header(volume: Volume, fmt: PixelFormat, output: Output) -> bytes:
    rows, columns = _raster(volume, fmt)
    shape = (columns, rows, volume.slices, volume.volumes)
    grid = Grid(shape if volume.volumes > 1 else shape[:3], volume.affine, volume.in_patient, volume.seconds)
    slope, intercept = volume.scaling or (1.0, 0.0)
    return nifti_header(grid, values_dtype(fmt, output), fmt.samples, slope, intercept)
