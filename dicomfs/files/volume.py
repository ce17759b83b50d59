"""`volume.nii`: the frames of one object as a NIfTI-1 volume that lies where the patient lay.

A header, then the values of `samples` in the order of their places; the rows of each slice run from the last to the
first, as other programs that make NIfTI files write them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from dicomfs.content import Buffer, Content, Piece, Ready, Row
from dicomfs.files.dependence import Depends
from dicomfs.files.samples import Output, frame_size, values_dtype, values_row
from dicomfs.files.subject import ContentFile, Subject
from dicomfs.formats.nifti import HEADER_SIZE, Grid, nifti_header
from dicomfs.image.dimensions import Volume
from dicomfs.image.instance import Instance
from dicomfs.image.pixelformat import PixelFormat
from dicomfs.nodes import Node


class VolumeNii:
    """Stored values with one slope and intercept where these serve all frames, float32 otherwise."""

    name = "volume.nii"
    depends = Depends.DECODERS

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve it where the frames form a regular stack."""
        volume, pixels = instance.volume, instance.pixels
        if volume is None or pixels is None:
            return None
        each = frame_size(pixels.format, _output(volume))

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


def _output(volume: Volume) -> Output:
    return "rescaled" if volume.scaling is None else "rgb"


def _content(subject: Subject, instance: Instance) -> Content:
    volume, pixels = instance.volume, instance.pixels
    assert volume is not None  # noqa: S101 - the file would not be there
    assert pixels is not None  # noqa: S101
    fmt, output = pixels.format, _output(volume)
    row = values_row(subject, instance, output, order=volume.order.tolist(), flip=True)
    voxels: Piece = row
    if volume.places is not None:
        each = frame_size(fmt, output)
        voxels = Scattered(row, each, volume.places.tolist(), volume.slices * volume.volumes)
    return Content([Ready(_header(volume, fmt, output)), voxels], row.close)


def _header(volume: Volume, fmt: PixelFormat, output: Output) -> bytes:
    shape = (fmt.columns, fmt.rows, volume.slices, volume.volumes)
    grid = Grid(shape if volume.volumes > 1 else shape[:3], volume.affine, volume.in_patient, volume.seconds)
    slope, intercept = volume.scaling or (1.0, 0.0)
    return nifti_header(grid, values_dtype(fmt, output), fmt.samples, slope, intercept)
