"""Which part of a larger whole a frame is: a tile of a slide, a frame of a concatenation, a plane of a segment.

Frames of such objects may be missing, so their number alone says nothing (PS3.3 C.7.6.16, C.7.6.17, C.8.20).
"""

from dataclasses import dataclass

from dicomfs.dicom.data_set import DataSet
from dicomfs.iod.functional_groups import PER_FRAME_GROUPS, functional_group

_ORGANIZATION_TYPE, _CONCATENATION_OFFSET = 0x00209311, 0x00209228
_ROWS, _COLUMNS, _MATRIX_COLUMNS, _MATRIX_ROWS = 0x00280010, 0x00280011, 0x00480006, 0x00480007
_FOCAL_PLANES, _OPTICAL_PATHS, _OPTICAL_PATH = 0x00480303, 0x00480105, 0x00480106
_POSITION_SLIDE, _COLUMN_POSITION, _ROW_POSITION = 0x0048021A, 0x0048021E, 0x0048021F
_OPTICAL_PATH_GROUP = 0x00480207
_SEGMENTATION_TYPE, _SEGMENTS, _SEGMENT_NUMBER = 0x00620001, 0x00620002, 0x00620004
_SEGMENT_GROUP, _REFERENCED_SEGMENT = 0x0062000A, 0x0062000B


@dataclass(frozen=True, slots=True)
class Place:
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


def place_of(dataset: DataSet, frame: int) -> Place:
    """Find the place of *frame*, counted from 0, in its groups or by the order that TILED_FULL implies."""
    offset = dataset.integer(_CONCATENATION_OFFSET)
    offset = offset if offset is not None and offset >= 0 else None
    number = None if offset is None else offset + frame + 1
    if dataset.text(_ORGANIZATION_TYPE) == "TILED_FULL":
        implied = _implied(dataset, (offset or 0) + frame, number)
        if implied is not None:
            return implied
    slide = functional_group(dataset, frame, _POSITION_SLIDE)
    column, row = (slide.integer(_COLUMN_POSITION), slide.integer(_ROW_POSITION)) if slide else (None, None)
    path = functional_group(dataset, frame, _OPTICAL_PATH_GROUP)
    segment = functional_group(dataset, frame, _SEGMENT_GROUP)
    return Place(
        number,
        None if column is None or row is None else (column, row),
        None,
        (path.text(_OPTICAL_PATH) or "") if path else "",
        segment.integer(_REFERENCED_SEGMENT) if segment else None,
    )


def places_alike(dataset: DataSet) -> bool:
    """Tell whether all frames certainly have one place, as where neither groups nor their order say anything."""
    return not any(tag in dataset for tag in (PER_FRAME_GROUPS, _ORGANIZATION_TYPE, _CONCATENATION_OFFSET))


def _implied(dataset: DataSet, index: int, number: int | None) -> Place | None:
    """Count through the tiles: along a row, then the rows, focal planes, and optical paths or segments last.

    PS3.3 C.7.6.17.3. None where the sizes that this takes are not there.
    """
    rows, columns, high, wide = (dataset.integer(tag) or 0 for tag in (_ROWS, _COLUMNS, _MATRIX_ROWS, _MATRIX_COLUMNS))
    if min(rows, columns, high, wide) <= 0:
        return None
    across, down = -(-wide // columns), -(-high // rows)
    planes = max(dataset.integer(_FOCAL_PLANES) or 1, 1)
    index, column = divmod(index, across)
    index, row = divmod(index, down)
    channel, plane = divmod(index, planes)
    path, segment = "", None
    if dataset.text(_SEGMENTATION_TYPE) in ("BINARY", "FRACTIONAL"):
        numbers = [item.integer(_SEGMENT_NUMBER) for item in dataset.items(_SEGMENTS)[channel : channel + 1]]
        segment = numbers[0] if numbers else None
    else:
        path = next(
            (item.text(_OPTICAL_PATH) or "" for item in dataset.items(_OPTICAL_PATHS)[channel : channel + 1]), ""
        )
    return Place(number, (column * columns + 1, row * rows + 1), plane + 1, path, segment)
