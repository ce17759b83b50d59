"""Where the frames lie in the patient: position, orientation and spacing of each (PS3.3 C.7.6.2, C.7.6.16.2)."""

import math
from dataclasses import dataclass

from dicomfs.dicom.elements import DataSet
from dicomfs.image.functional import in_group

_POSITION, _ORIENTATION, _SPACING, _THICKNESS = 0x00200032, 0x00200037, 0x00280030, 0x00180050
_DOSE_OFFSETS = 0x3004000C
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
    """Read the plane of *frame*, counted from 0, out of its functional groups or the object itself.

    The position of the object is that of its first frame, and of others only as the offsets of a dose grid say.
    """

    def numbers(sequence: int, tag: int, count: int) -> tuple[float, ...]:
        return _numbers(in_group(dataset, frame, sequence, tag), tag, count)

    orientation = numbers(_PLANE_ORIENTATION, _ORIENTATION, 6)
    if in_group(dataset, frame, _PLANE_POSITION, _POSITION) is not dataset:
        position = numbers(_PLANE_POSITION, _POSITION, 3)
    else:
        position = _moved(dataset, frame, _numbers(dataset, _POSITION, 3), orientation)
    thickness = in_group(dataset, frame, _PIXEL_MEASURES, _THICKNESS).number(_THICKNESS)
    return Plane(
        position,
        orientation,
        numbers(_PIXEL_MEASURES, _SPACING, 2),
        thickness if thickness is not None and math.isfinite(thickness) else None,
    )


def _numbers(dataset: DataSet, tag: int, count: int) -> tuple[float, ...]:
    """Read exactly *count* finite numbers, or none."""
    found = dataset.numbers(tag)
    # A value that is no number is left out of `numbers`, and the others would move up.
    whole = len(found) == len(dataset.texts(tag)) == count
    return found if whole and all(map(math.isfinite, found)) else ()


def _moved(
    dataset: DataSet, frame: int, position: tuple[float, ...], orientation: tuple[float, ...]
) -> tuple[float, ...]:
    """Move the position of the object to *frame* by the Grid Frame Offset Vector (PS3.3 C.8.8.3.2, M1).

    Offsets that begin with 0 count along the normal of the planes; those that begin with the position's own z are
    z themselves, of axial planes.
    """
    offsets = _numbers(dataset, _DOSE_OFFSETS, len(dataset.texts(_DOSE_OFFSETS)))
    if not position or frame == 0 or frame >= len(offsets):
        return position if frame == 0 else ()
    if offsets[0] == 0 and orientation:
        right, down = orientation[:3], orientation[3:]
        normal = [right[i - 2] * down[i - 1] - right[i - 1] * down[i - 2] for i in range(3)]
        x, y, z = (start + offsets[frame] * part for start, part in zip(position, normal, strict=True))
        return (x, y, z)
    if offsets[0] == position[2]:
        return (*position[:2], offsets[frame])
    return ()
