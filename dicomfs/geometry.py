"""Where the frames lie in the patient: position, orientation and spacing of each (PS3.3 C.7.6.2, C.7.6.16.2)."""

import math
from dataclasses import dataclass

from dicomfs.elements import DataSet
from dicomfs.functional import in_group

_POSITION, _ORIENTATION, _SPACING, _THICKNESS = 0x00200032, 0x00200037, 0x00280030, 0x00180050
_PLANE_POSITION, _PLANE_ORIENTATION, _PIXEL_MEASURES = 0x00209113, 0x00209116, 0x00289110


@dataclass(frozen=True, slots=True)
class Plane:
    """The plane of one frame in the patient's coordinates, in mm; empty where the object does not say.

    *position* is the centre of the first pixel, *orientation* the directions of a row and of a column, *spacing* the
    distances between rows and between columns.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    thickness: float | None


def plane_of(dataset: DataSet, frame: int) -> Plane:
    """Read the plane of *frame*, counted from 0, out of its functional groups or the object itself."""

    def numbers(sequence: int, tag: int, count: int) -> tuple[float, ...]:
        where = in_group(dataset, frame, sequence, tag)
        found = where.numbers(tag)
        # A value that is no number is left out of `numbers`, and the others would move up.
        whole = len(found) == len(where.texts(tag)) == count
        return found if whole and all(map(math.isfinite, found)) else ()

    thickness = in_group(dataset, frame, _PIXEL_MEASURES, _THICKNESS).number(_THICKNESS)
    return Plane(
        numbers(_PLANE_POSITION, _POSITION, 3),
        numbers(_PLANE_ORIENTATION, _ORIENTATION, 6),
        numbers(_PIXEL_MEASURES, _SPACING, 2),
        thickness if thickness is not None and math.isfinite(thickness) else None,
    )
