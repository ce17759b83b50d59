"""The location of a frame in a larger whole: a tile of a slide, a frame of a concatenation, a plane of a segment.

Frames of such objects may be missing, so the number of a frame does not locate it (PS3.3 C.7.6.16, C.7.6.17, C.8.20).
"""

from dataclasses import dataclass

from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.iod.functional_groups import functional_group

MAX_INTEGER_DIGITS = 11
"""Characters of the integers of a location, which are all stated as, or computed from, numbers of 32 bits."""
_MAX_INTEGER = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class FrameLocation:
    """Where a frame belongs; None or empty where the object does not say.

    *tile* is the column and the row of the frame's first pixel in the total pixel matrix, counted from 1;
    *focal_plane* counts from 1 where the order of the frames tells it. *number* is the frame's number in the whole
    concatenation, counted from 1.
    """

    number: int | None
    tile: tuple[int, int] | None
    focal_plane: int | None
    optical_path: str
    segment: int | None


def location_of(dataset: DataSet, frame: int) -> FrameLocation:
    """Find the place of *frame*, counted from 0, in its groups or by the order that TILED_FULL implies."""
    offset = _integer(dataset, tags.ConcatenationFrameOffsetNumber)
    offset = offset if offset is not None and offset >= 0 else None
    number = None if offset is None else offset + frame + 1
    if dataset.text(tags.DimensionOrganizationType) == "TILED_FULL":
        implied = _implied(dataset, (offset or 0) + frame, number)
        if implied is not None:
            return implied
    slide = functional_group(dataset, frame, tags.PlanePositionSlideSequence)
    column, row = (
        (
            _integer(slide, tags.ColumnPositionInTotalImagePixelMatrix),
            _integer(slide, tags.RowPositionInTotalImagePixelMatrix),
        )
        if slide
        else (None, None)
    )
    path = functional_group(dataset, frame, tags.OpticalPathIdentificationSequence)
    segment = functional_group(dataset, frame, tags.SegmentIdentificationSequence)
    return FrameLocation(
        number,
        None if column is None or row is None else (column, row),
        None,
        (path.text(tags.OpticalPathIdentifier) or "") if path else "",
        _integer(segment, tags.ReferencedSegmentNumber) if segment else None,
    )


def locations_alike(dataset: DataSet) -> bool:
    """Return whether all frames certainly have the same location: neither groups nor their order state any."""
    return not any(
        tag in dataset
        for tag in (
            tags.PerFrameFunctionalGroupsSequence,
            tags.DimensionOrganizationType,
            tags.ConcatenationFrameOffsetNumber,
        )
    )


def _implied(dataset: DataSet, index: int, number: int | None) -> FrameLocation | None:
    """Count through the tiles: along a row, then the rows, focal planes, and optical paths or segments last.

    PS3.3 C.7.6.17.3. None where the sizes that this takes are not there.
    """
    rows, columns, high, wide = (
        _integer(dataset, tag) or 0
        for tag in (tags.Rows, tags.Columns, tags.TotalPixelMatrixRows, tags.TotalPixelMatrixColumns)
    )
    if min(rows, columns, high, wide) <= 0:
        return None
    across, down = -(-wide // columns), -(-high // rows)
    planes = max(_integer(dataset, tags.TotalPixelMatrixFocalPlanes) or 1, 1)
    index, column = divmod(index, across)
    index, row = divmod(index, down)
    channel, plane = divmod(index, planes)
    path, segment = "", None
    if dataset.text(tags.SegmentationType) in ("BINARY", "FRACTIONAL"):
        numbers = [
            _integer(item, tags.SegmentNumber) for item in dataset.items(tags.SegmentSequence)[channel : channel + 1]
        ]
        segment = numbers[0] if numbers else None
    else:
        path = next(
            (
                item.text(tags.OpticalPathIdentifier) or ""
                for item in dataset.items(tags.OpticalPathSequence)[channel : channel + 1]
            ),
            "",
        )
    return FrameLocation(number, (column * columns + 1, row * rows + 1), plane + 1, path, segment)


def _integer(dataset: DataSet, tag: int) -> int | None:
    """Read an integer; None also where it is beyond the 32 bits that such an attribute has (US, UL, SL)."""
    number = dataset.integer(tag)
    return number if number is not None and abs(number) <= _MAX_INTEGER else None
