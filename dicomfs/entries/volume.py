"""`volume.nii`: the frames of one object as a NIfTI-1 volume that lies where the patient lay.

A header, then the values of `frame_values` in the order of their grid positions; the rows of each slice run from the
last to the first, as other programs that make NIfTI files write them. Slices of a mosaic are cut out of its frames.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.entries.dependence import Depends
from dicomfs.entries.frame_values import Output, frame_size, values_dtype, values_row
from dicomfs.formats.nifti import HEADER_SIZE, Grid, nifti_header
from dicomfs.instance.handle import ContentFile, Subject
from dicomfs.instance.instance import Instance
from dicomfs.vfs.content import Buffer, Content, Piece, Ready, Row
from dicomfs.vfs.nodes import Node
from dicomfs.volume.mosaic import Mosaic
from dicomfs.volume.volume import Volume


class VolumeNii:
    """Stored values with one slope and intercept where these serve all frames, float32 otherwise."""

    name = "volume.nii"
    depends = Depends.DECODERS

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve it where the frames form a regular stack."""
        volume, pixels = instance.volume, instance.pixels
        if volume is None or pixels is None:
            return None
        each = _slice_size(volume, pixels.format)

        async def open_content() -> Content:
            return _content(subject, await subject.instance())

        return ContentFile(subject.file(HEADER_SIZE + each * volume.slices * volume.volumes), open_content)


class Scattered:
    """Some of many equal pieces, at *places* in ascending order; all others hold zeros."""

    __slots__ = ("_each", "_places", "_row", "size")

    def __init__(self, row: Row, each: int, places: Sequence[int], count: int) -> None:
        """Put the pieces of *row*, of *each* bytes, at *places* among *count*."""
        self._row = row
        self._each = each
        self._places = places
        self.size = each * count

    async def read(self, start: int, stop: int) -> Buffer:
        """Read what is there, and zeros around it."""
        each, data = self._each, bytearray(stop - start)
        first, last = bisect_left(self._places, start // each), bisect_right(self._places, (stop - 1) // each)
        for index in range(first, last):
            place = self._places[index] * each
            begin, end = max(start, place), min(stop, place + each)
            data[begin - start : end - start] = await self._row.read(
                index * each + begin - place, index * each + end - place
            )
        return bytes(data)


class Tiles(Row):
    """The slices of mosaics: tiles of the frames of *row*, with their lines in the opposite order."""

    __slots__ = ("_mosaic", "_pixel", "_row", "_wide")

    def __init__(self, row: Row, frames: int, mosaic: Mosaic, pixel: int, columns: int) -> None:
        """Take *frames* of *columns* pixels in a line, of *pixel* bytes each, apart."""
        super().__init__(frames * mosaic.slices, mosaic.rows * mosaic.columns * pixel, self._whole, row.close)
        self._row = row
        self._mosaic = mosaic
        self._pixel = pixel
        self._wide = columns * pixel

    async def part(self, index: int, start: int, stop: int) -> Buffer:
        """Read the lines of the frame in which the part is, and cut the tile out."""
        mosaic, wide = self._mosaic, self._wide
        frame, place = divmod(index, mosaic.slices)
        top, left = mosaic.tile(place)
        line, height = mosaic.columns * self._pixel, mosaic.rows * mosaic.across
        first, last = start // line, -(-stop // line)
        above = frame * height + top + mosaic.rows
        data = await self._row.across((above - last) * wide, (above - first) * wide)
        lines = np.frombuffer(data, np.uint8).reshape(-1, wide)[::-1, left * self._pixel :][:, :line]
        return memoryview(lines.tobytes())[start - first * line : stop - first * line]

    async def _whole(self, index: int) -> Buffer:
        return await self.part(index, 0, self._each)


def _slice_size(volume: Volume, fmt: PixelFormat) -> int:
    """Compute the bytes of a slice, which is a frame or a tile of one."""
    rows, columns = _raster(volume, fmt)
    return frame_size(fmt, _output(volume)) // fmt.pixels * rows * columns


def _raster(volume: Volume, fmt: PixelFormat) -> tuple[int, int]:
    """Give the rows and columns of a slice."""
    return (volume.mosaic.rows, volume.mosaic.columns) if volume.mosaic else (fmt.rows, fmt.columns)


def _output(volume: Volume) -> Output:
    return "rescaled" if volume.scaling is None else "rgb"


def _content(subject: Subject, instance: Instance) -> Content:
    volume, pixels = instance.volume, instance.pixels
    assert volume is not None  # noqa: S101 - the file would not be there
    assert pixels is not None  # noqa: S101
    fmt, output = pixels.format, _output(volume)
    row = values_row(subject, instance, output, order=volume.order.tolist(), flip=volume.mosaic is None)
    if volume.mosaic is not None:
        pixel = frame_size(fmt, output) // fmt.pixels
        row = Tiles(row, volume.volumes, volume.mosaic, pixel, fmt.columns)
    voxels: Piece = row
    if volume.places is not None:
        each = frame_size(fmt, output)
        voxels = Scattered(row, each, volume.places.tolist(), volume.slices * volume.volumes)
    return Content([Ready(_header(volume, fmt, output)), voxels], row.close)


def _header(volume: Volume, fmt: PixelFormat, output: Output) -> bytes:
    rows, columns = _raster(volume, fmt)
    shape = (columns, rows, volume.slices, volume.volumes)
    grid = Grid(shape if volume.volumes > 1 else shape[:3], volume.affine, volume.in_patient, volume.seconds)
    slope, intercept = volume.scaling or (1.0, 0.0)
    return nifti_header(grid, values_dtype(fmt, output), fmt.samples, slope, intercept)
