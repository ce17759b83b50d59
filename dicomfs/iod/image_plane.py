"""The image plane of each frame in the patient: position, orientation and spacing (PS3.3 C.7.6.2, C.7.6.16.2)."""

import math
from dataclasses import dataclass

import numpy as np

from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.values import TEXT, decimal_unit
from dicomfs.iod.functional_groups import GroupValues, all_in_groups, in_group

# What Siemens and United Imaging call a picture that is tiled from the slices of a volume (M6).
_MOSAICS = frozenset(("MOSAIC", "VFRAME"))

# Offsets nearer to 0 than this, in mm, are 0; and numbers without decimals are rounded by half of one at most.
_NOTHING, _HALF = 1e-6, 0.5
# The attributes of a plane, each with its functional group: in the patient, and in the system of an ultrasound device.
_IN_PATIENT = (
    (tags.PlanePositionSequence, tags.ImagePositionPatient),
    (tags.PlaneOrientationSequence, tags.ImageOrientationPatient),
    (tags.PixelMeasuresSequence, tags.PixelSpacing),
)
_IN_VOLUME = (
    (tags.PlanePositionVolumeSequence, tags.ImagePositionVolume),
    (tags.PlaneOrientationVolumeSequence, tags.ImageOrientationVolume),
)
# Frames whose positions are looked at for their decimals.
_LOOKED_AT = 64

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


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


@dataclass(frozen=True, slots=True)
class Planes:
    """The planes of all frames as in `Plane`, a row each in arrays of float64; NaN where the object does not say.

    The last row of an array holds for all frames that follow. *between* is the Spacing Between Slices and *thickness*
    the Slice Thickness of the first frame, where they are more than 0. *in_patient* is false where the coordinates are
    those of an ultrasound volume. *rounding* is the last decimal place that the positions of frames are written to,
    0 where they are written without decimals or as binary numbers.
    """

    positions: Array
    orientations: Array
    spacings: Array
    between: float | None
    thickness: float | None
    in_patient: bool
    rounding: float = 0.0


def planes_of(dataset: DataSet, frames: int) -> Planes:
    """Read the planes of all *frames* at once."""
    placed, turned, spaced = all_in_groups(dataset, frames, _IN_PATIENT)
    orientations = _rows(turned, tags.ImageOrientationPatient, 6)
    in_patient, one_position = True, len(placed) == 1 and placed[0] is dataset
    if one_position and tags.SliceVector in dataset:
        positions, orientations = _reconstructed(dataset, frames)
    elif one_position:
        positions = _moved_rows(dataset, frames, orientations[0])
    else:
        # The position of the object is not that of frames whose own is missing.
        positions = _rows(placed, tags.ImagePositionPatient, 3, but=dataset)
    if np.isnan(positions).all():
        placed_in_volume, turned_in_volume = all_in_groups(dataset, frames, _IN_VOLUME)
        inside = _rows(placed_in_volume, tags.ImagePositionVolume, 3)
        if not np.isnan(inside).all():
            in_patient = False
            positions = inside
            orientations = _rows(turned_in_volume, tags.ImageOrientationVolume, 6)
    rounding = _rounding(placed) if len(positions) > 1 else 0.0
    spacings = _rows(spaced, tags.PixelSpacing, 2)
    between, thickness = (
        in_group(dataset, 0, tags.PixelMeasuresSequence, tag).number(tag)
        for tag in (tags.SpacingBetweenSlices, tags.SliceThickness)
    )
    return Planes(positions, orientations, spacings, _positive(between), _positive(thickness), in_patient, rounding)


def is_mosaic(dataset: DataSet) -> bool:
    """Return whether each frame is tiled from the slices of a volume, so that its plane says nothing (M6)."""
    return not _MOSAICS.isdisjoint(dataset.texts(tags.ImageType))


def plane_of(dataset: DataSet, frame: int) -> Plane:
    """Read the plane of *frame*, counted from 0, out of its functional groups or the object itself.

    The position of the object is that of its first frame, and of others only as the offsets of a dose grid say.
    """

    def numbers(sequence: int, tag: int, count: int) -> tuple[float, ...]:
        return _numbers(in_group(dataset, frame, sequence, tag), tag, count)

    orientation = numbers(tags.PlaneOrientationSequence, tags.ImageOrientationPatient, 6)
    if in_group(dataset, frame, tags.PlanePositionSequence, tags.ImagePositionPatient) is not dataset:
        position = numbers(tags.PlanePositionSequence, tags.ImagePositionPatient, 3)
    else:
        position = _moved(dataset, frame, _numbers(dataset, tags.ImagePositionPatient, 3), orientation)
    thickness = in_group(dataset, frame, tags.PixelMeasuresSequence, tags.SliceThickness).number(tags.SliceThickness)
    return Plane(
        position,
        orientation,
        numbers(tags.PixelMeasuresSequence, tags.PixelSpacing, 2),
        thickness if thickness is not None and math.isfinite(thickness) else None,
    )


def planes_alike(dataset: DataSet) -> bool:
    """Return whether all frames after the first certainly have one plane: nothing is stated for each frame."""
    return tags.PerFrameFunctionalGroupsSequence not in dataset and tags.GridFrameOffsetVector not in dataset


def _positive(number: float | None) -> float | None:
    return number if number is not None and 0 < number < math.inf else None


def _numbers(dataset: DataSet, tag: int, count: int) -> tuple[float, ...]:
    """Read exactly *count* finite numbers, or none."""
    element = dataset.get(tag)
    found = dataset.numbers(tag)
    if element is None or len(found) != count or not all(map(math.isfinite, found)):
        return ()
    # A value that is no number is left out of `numbers`, and the others would move up.
    return found if element.vr not in TEXT or (element.value or b"").count(b"\\") == count - 1 else ()


def _moved(
    dataset: DataSet, frame: int, position: tuple[float, ...], orientation: tuple[float, ...]
) -> tuple[float, ...]:
    """Move the position of the object to *frame* by the Grid Frame Offset Vector (PS3.3 C.8.8.3.2, M1).

    Offsets that begin with 0 count along the normal of the planes; those that begin with the position's own z are
    z themselves, of axial planes.
    """
    offsets = _dose_offsets(dataset)
    if not position or frame == 0 or frame >= len(offsets):
        return position if frame == 0 else ()
    if _along_normal(offsets[0]) and orientation:
        right, down = orientation[:3], orientation[3:]
        normal = [right[i - 2] * down[i - 1] - right[i - 1] * down[i - 2] for i in range(3)]
        x, y, z = (start + offsets[frame] * part for start, part in zip(position, normal, strict=True))
        return (x, y, z)
    if _is_height(dataset, offsets[0], position[2]):
        return (*position[:2], offsets[frame])
    return ()


def _along_normal(first: float) -> bool:
    """Return whether offsets count from the first plane: the *first* is 0, but for what subtraction leaves of it."""
    return abs(first) < _NOTHING


def _is_height(dataset: DataSet, first: float, height: float) -> bool:
    """Return whether the *first* offset is the *height* of the position, both as far as their decimals tell.

    Both are decimal strings, which may have been rounded or cut to different places.
    """
    units = _unit(dataset, tags.GridFrameOffsetVector, 0), _unit(dataset, tags.ImagePositionPatient, 2)
    return abs(first - height) <= min(max(units) * 1.01, _HALF)


def _dose_offsets(dataset: DataSet) -> tuple[float, ...]:
    """Read the Grid Frame Offset Vector; () where a value of it is no number."""
    return _numbers(dataset, tags.GridFrameOffsetVector, len(dataset.texts(tags.GridFrameOffsetVector)))


def _moved_rows(dataset: DataSet, frames: int, orientation: Array) -> Array:
    """Return the positions of all frames where the object states that of the first, as `_moved` does for one."""
    position = _row(dataset, tags.ImagePositionPatient, 3)[0]
    offsets = np.array(_dose_offsets(dataset)[:frames])
    rows = np.full((min(frames, max(len(offsets), 1) + 1), 3), np.nan)
    rows[0] = position
    if len(offsets) and _along_normal(offsets[0]) and not np.isnan(orientation).any():
        rows[1 : len(offsets)] = position + np.outer(offsets[1:], np.cross(orientation[:3], orientation[3:]))
    elif len(offsets) and _is_height(dataset, float(offsets[0]), float(position[2])):
        rows[1 : len(offsets)] = position
        rows[1 : len(offsets), 2] = offsets[1:]
    return rows


def _rounding(holders: GroupValues) -> float:
    """Return the last decimal place that the coordinates of frames, or the offsets of a dose grid, are written to.

    Zeros at the end are often left out: the smallest place that any of them has counts for all.
    """
    step = max(1, len(holders) // _LOOKED_AT)
    chosen = [(tags.ImagePositionPatient, range(3)), (tags.GridFrameOffsetVector, range(1, 3))]
    units = [_unit(holder, tag, at) for holder in holders[::step] for tag, places in chosen for at in places]
    finest = min((unit for unit in units if unit > 0), default=1.0)
    return finest if finest < 1 else 0.0


def _unit(dataset: DataSet, tag: int, place: int) -> float:
    """Return the last decimal place that the value at *place* is written to; 0 where it is not there or binary."""
    element = dataset.get(tag)
    texts = dataset.texts(tag) if element is not None and element.vr in TEXT else ()
    return decimal_unit(texts[place]) if place < len(texts) else 0.0


def _reconstructed(dataset: DataSet, frames: int) -> tuple[Array, Array]:
    """Return positions and orientations of reconstructed nuclear medicine (PS3.3 C.8.4.11, C.8.4.15).

    The plane of the first frame is stated with the detector; the sign of Spacing Between Slices says on which side of
    it the others are.
    """
    detector = next(iter(dataset.items(tags.DetectorInformationSequence)), dataset)
    orientations = _row(detector, tags.ImageOrientationPatient, 6)
    numbers, distance = (
        np.array(dataset.integers(tags.SliceVector), float),
        _numbers(dataset, tags.SpacingBetweenSlices, 1),
    )
    if len(numbers) != frames or not distance:
        return np.full((1, 3), np.nan), orientations
    normal = np.cross(orientations[0, :3], orientations[0, 3:])
    return _row(detector, tags.ImagePositionPatient, 3) + np.outer(
        (numbers - numbers[0]) * distance, normal
    ), orientations


def _rows(holders: GroupValues, tag: int, width: int, *, but: DataSet | None = None) -> Array:
    """Read *tag* of all *holders* except *but*, a row of *width* numbers each, NaN for what is none."""
    none = (math.nan,) * width
    # Most frames say the same in the same bytes, but for their positions.
    known: dict[tuple[str, bytes | None], tuple[float, ...]] = {}
    rows = []
    for holder in holders.distinct:
        element = holder.get(tag) if holder is not but else None
        if element is None:
            rows.append(none)
            continue
        key = element.vr, element.value
        if key not in known:
            known[key] = _numbers(holder, tag, width) or none
        rows.append(known[key])
    which = np.asarray(holders.which)
    used = {rows[index] for index in np.unique(which).tolist()}
    return np.array(rows)[which] if len(used) > 1 else np.array(list(used))


def _row(dataset: DataSet, tag: int, width: int) -> Array:
    """Read *tag* of one data set, as one row."""
    return np.array([_numbers(dataset, tag, width) or (math.nan,) * width])
