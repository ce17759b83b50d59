"""A level of a whole-slide image: its size, and the positions of its tiles (PS3.3 C.8.12.4, C.7.6.17.3)."""

from dataclasses import dataclass

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.iod.frame_location import location_of

# Tiles of a level that are decoded for one small picture of it: some seconds of work.
_MAX_TILES = 4096


@dataclass(frozen=True, slots=True)
class Level:
    """The Total Pixel Matrix of one object, in pixels, and the size of its tiles."""

    rows: int
    columns: int
    tile_rows: int
    tile_columns: int

    @property
    def is_small(self) -> bool:
        """Whether so few tiles make up the level that all of them can be looked at for one display image."""
        return -(-self.rows // self.tile_rows) * -(-self.columns // self.tile_columns) <= _MAX_TILES


@dataclass(frozen=True, slots=True)
class Tile:
    """One frame, counted from 0, and the place of its first pixel on the level, counted from 0."""

    frame: int
    row: int
    column: int


def level_of(dataset: DataSet, fmt: PixelFormat) -> Level | None:
    """Return the level that frames of *fmt* are tiles of; None where a frame is all there is."""
    rows, columns = dataset.integer(tags.TotalPixelMatrixRows) or 0, dataset.integer(tags.TotalPixelMatrixColumns) or 0
    if min(rows, columns) <= 0 or (rows <= fmt.rows and columns <= fmt.columns):
        return None
    return Level(rows, columns, fmt.rows, fmt.columns)


def tiles_of(dataset: DataSet, level: Level, count: int) -> tuple[Tile, ...]:
    """Return those of *count* frames that show what the first one shows: its focal plane, optical path and segment."""
    found: dict[tuple[int, int], Tile] = {}
    first = location_of(dataset, 0)
    for frame in range(count):
        place = location_of(dataset, frame)
        kind = place.focal_plane, place.optical_path, place.segment
        if place.tile is None or kind != (first.focal_plane, first.optical_path, first.segment):
            continue
        column, row = place.tile[0] - 1, place.tile[1] - 1
        if 0 <= row < level.rows and 0 <= column < level.columns:
            found.setdefault((row, column), Tile(frame, row, column))
    return tuple(found.values())
