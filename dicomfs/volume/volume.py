"""Arranges the frames of one object into a 3-D or 4-D volume with one scale.

Only this module reads what tells apart frames that are in one place: segments, and the dimension indices of
multi-frame objects (PS3.3 C.7.6.17).
"""

import math
from dataclasses import dataclass

import numpy as np

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.dictionary import keyword
from dicomfs.iod.frame_times import TIMES
from dicomfs.iod.functional_groups import Integers, in_group, in_groups
from dicomfs.iod.image_plane import Array, Planes, is_mosaic, planes_of
from dicomfs.iod.rescale import shared_scale
from dicomfs.pixeldata.pixel_data import PixelData
from dicomfs.volume.frame_traits import Split, Value, split_by_traits
from dicomfs.volume.mosaic import Mosaic, mosaic_of
from dicomfs.volume.stack import MAX_NIFTI_LENGTH, Irregular, Places, Stack, affine_of, grid_positions_of, stack_of

# Objects that are volumes, so that one without geometry is a surprise: enhanced CT, MR (also in colour) and PET, their
# converted kin, and dose grids.
_VOLUMES = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2.1", "2.2", "4.1", "4.3", "4.4", "128.1", "130", "481.2")
)
# The Items that a header is read to (see the reader): no more frames than these can have a place of their own.
_MAX_FRAMES = 200_000
# What a place is made of: a key of these would tell slices apart and not volumes.
_SPATIAL = frozenset(
    (
        tags.ImagePositionPatient,
        tags.PlanePositionSequence,
        tags.InStackPositionNumber,
        tags.ImagePositionVolume,
        tags.PlanePositionVolumeSequence,
    )
)
_TIMES = frozenset(
    (
        tags.TemporalPositionIndex,
        tags.TemporalPositionTimeOffset,
        tags.FrameReferenceDateTime,
        tags.FrameAcquisitionDateTime,
        tags.NominalCardiacTriggerDelayTime,
    )
)
# Indices beyond this are nonsense; numbers of 64 bits hold it.
_MAX_INDEX = 1 << 62
# Seconds between volumes that make sense: up to a day.
_MAX_SECONDS = 86400.0
# Numbers that float32 holds with all its digits.
_MIN_FLOAT32, _MAX_FLOAT32 = 1e-37, 1e37


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """The frames of one object on a regular grid.

    There are *slices* in each of *volumes*; *order* has the frames as they follow each other there, at *places* where
    some places have no frame and hold zeros. *affine* is that of `affine_of`, in the patient or, unless *in_patient*,
    in the system of the device. *seconds* are between volumes, 0 where that is unknown. *scaling* is the slope and the
    intercept of all values, None where they are not the same for all.
    """

    slices: int
    volumes: int
    order: Places
    places: Places | None
    affine: Array
    in_patient: bool
    seconds: float
    scaling: tuple[float, float] | None
    names: tuple[str, ...] = ()
    values: tuple[tuple[Value | None, ...], ...] = ()
    mosaic: Mosaic | None = None


@np.errstate(all="ignore")
def volume_of(pixels: PixelData) -> tuple[Volume | None, tuple[str, ...]]:
    """Find the volume that the frames form; a sentence says why there is none, or what had to be assumed."""
    dataset, count = pixels.dataset, len(pixels.frames)
    planes = planes_of(dataset, count) if count else None
    if planes is None or np.isnan(planes.positions).all():
        surprise = count > 1 and dataset.text(tags.SOPClassUID) in _VOLUMES
        return None, (_left_out("no frame has a position"),) if surprise else ()
    try:
        if count > _MAX_FRAMES:
            raise Irregular(f"there are more than {_MAX_FRAMES} frames")
        if is_mosaic(dataset):
            return _tiled(pixels, planes), ()
        _check(pixels.format)
        kind = dataset.text(tags.SegmentationType)
        segmented = kind in ("BINARY", "FRACTIONAL")
        # Frames of segmentations that are empty may be left out (PS3.3 C.8.20.2.1).
        gaps = segmented or (kind == "LABELMAP" and not dataset.integer(tags.PixelPaddingValue))
        stack = stack_of(planes, count, gaps=gaps)
        split = _segments(dataset, count) if segmented else _volumes(dataset, count, stack)
        if max(stack.slices, split.count) > MAX_NIFTI_LENGTH:
            raise Irregular(f"NIfTI-1 has no room for more than {MAX_NIFTI_LENGTH} slices or volumes")
        places = grid_positions_of(stack, split.which, split.count, gaps=gaps)
    except Irregular as error:
        return None, (_left_out(error.strerror or ""),)
    order, volumes = np.argsort(places), split.count
    volume = Volume(
        stack.slices,
        volumes,
        order,
        places[order] if count < stack.slices * volumes else None,
        affine_of(stack, pixels.format.rows),
        planes.in_patient,
        _seconds(dataset, order[:: stack.slices], split.timed) if volumes > 1 else _repetition(dataset),
        _scaling(pixels, count),
        split.names,
        split.values,
    )
    assumed = stack.slices == 1 and not (planes.between or planes.thickness)
    return volume, ("the only slice has no thickness; volume.nii takes 1 mm",) if assumed else ()


def _tiled(pixels: PixelData, planes: Planes) -> Volume:
    """Take the frames of *pixels* apart, each a mosaic. Raises Irregular."""
    dataset, count = pixels.dataset, len(pixels.frames)
    mosaic, stack = mosaic_of(dataset, pixels.format, planes)
    _check(pixels.format)
    if max(mosaic.slices, count) > MAX_NIFTI_LENGTH:
        raise Irregular(f"NIfTI-1 has no room for more than {MAX_NIFTI_LENGTH} slices or volumes")
    affine, scaling = affine_of(stack, mosaic.rows), _scaling(pixels, count)
    seconds = _repetition(dataset) if count == 1 else 0.0
    return Volume(mosaic.slices, count, np.arange(count), None, affine, True, seconds, scaling, mosaic=mosaic)


def _left_out(reason: str) -> str:
    return f"volume.nii is left out: {reason}"


def _check(fmt: PixelFormat) -> None:
    """Refuse what NIfTI-1 cannot hold."""
    if max(fmt.rows, fmt.columns) > MAX_NIFTI_LENGTH:
        raise Irregular(f"NIfTI-1 has no room for more than {MAX_NIFTI_LENGTH} rows or columns")
    if fmt.samples != 1 and not (fmt.samples == 3 and fmt.dtype == np.uint8):
        raise Irregular("NIfTI-1 has no colour but RGB of 8 bits")


# What tells frames in one place apart


def _segments(dataset: DataSet, count: int) -> Split:
    """Put each frame into the volume of its segment among all segments."""
    holders = in_groups(dataset, count, tags.SegmentIdentificationSequence, tags.ReferencedSegmentNumber)
    stated = [holder.integer(tags.ReferencedSegmentNumber) for holder in holders.distinct]
    found = [stated[index] for index in holders.which]
    declared = [item.integer(tags.SegmentNumber) for item in dataset.items(tags.SegmentSequence)]
    numbers = sorted({number for number in (*found, *declared) if number is not None})
    places = {number: place for place, number in enumerate(numbers)}
    if None in found:
        raise Irregular("not every frame names its segment")
    which = [places[number] for number in found if number is not None]
    told = tuple((float(number),) for number in numbers) if len(numbers) > 1 else ()
    names = ("Segment Number",) if told else ()
    return Split(np.array(which + which[-1:] * (count - len(which)), np.int64), len(numbers), False, names, told)


def _volumes(dataset: DataSet, count: int, stack: Stack) -> Split:
    """Put frames into volumes: by their dimension indices, or by what else tells apart those in one place."""
    one = Split(np.zeros(count, np.int64), 1, False, (), ())
    if count == stack.slices:
        return one
    keys, pointers = _keys(dataset, count)
    split = _by_keys(keys, pointers) if keys is not None else one
    if len(np.unique(split.which * stack.slices + stack.index)) == count:
        return split
    found, differing = split_by_traits(dataset, stack.index, stack.slices)
    if found is None and differing:
        named = ", ".join(differing)
        reason = "several frames lie in one place, and what they differ in does not make whole volumes"
        raise Irregular(f"{reason}: {named}")
    return found or split


def _by_keys(keys: Integers, pointers: list[int]) -> Split:
    """Put frames into one volume for each of their *keys*, in ascending order."""
    volumes, which = np.unique(keys, axis=0, return_inverse=True)
    varying = [place for place in range(volumes.shape[1]) if len(np.unique(volumes[:, place])) > 1]
    timed = bool(varying) and _TIMES.issuperset(pointers[place] for place in varying)
    values = tuple(map(tuple, volumes[:, varying].astype(float).tolist())) if varying else ()
    names = tuple([f"index of {keyword(pointers[place])}" for place in varying])
    return Split(which.ravel().astype(np.int64), len(volumes), timed, names, values)


def _keys(dataset: DataSet, count: int) -> tuple[Integers | None, list[int]]:
    """Read the dimension indices of all frames but for those of space, and what they point at; otherwise times.

    Nuclear medicine has a vector for each dimension, with an index a frame (PS3.3 C.8.4.8).
    """
    if tags.SliceVector in dataset:
        vectors = {
            tag: dataset.integers(tag)
            for tag in dataset.integers(tags.FrameIncrementPointer)
            if tag != tags.SliceVector
        }
        if vectors and all(len(vector) == count for vector in vectors.values()):
            numbers = np.array([[min(max(number, -_MAX_INDEX), _MAX_INDEX) for number in v] for v in vectors.values()])
            return numbers.T, [*vectors]
    pointers = [item.integer(tags.DimensionIndexPointer) or 0 for item in dataset.items(tags.DimensionIndexSequence)]
    kept = [place for place, pointer in enumerate(pointers) if pointer not in _SPATIAL]
    if kept:
        indices = in_groups(dataset, count, tags.FrameContentSequence, tags.DimensionIndexValues)
        rows = indices.integer_rows(len(pointers), exact=True)
        if rows is not None and len(rows) == count:
            return rows[:, kept], [pointers[place] for place in kept]
    times = in_groups(dataset, count, tags.FrameContentSequence, tags.TemporalPositionIndex).integer_rows(1)
    return (times, [tags.TemporalPositionIndex]) if times is not None and len(times) == count else (None, [])


# Time


def _repetition(dataset: DataSet) -> float:
    """Read the repetition time of an MR image in seconds; a single volume of a cine loop states it, too."""
    milliseconds = in_group(dataset, 0, tags.MRTimingAndRelatedParametersSequence, tags.RepetitionTime).number(
        tags.RepetitionTime
    )
    return milliseconds / 1000 if milliseconds is not None and 0 < milliseconds < 1000 * _MAX_SECONDS else 0.0


def _seconds(dataset: DataSet, frames: Places, timed: bool) -> float:
    """Find the even time from each of *frames* to the next, one of each volume; 0 where there is none."""
    if not timed:
        return 0.0
    few = frames[[0, len(frames) // 2, -1]]
    for _, read in TIMES:
        if any(read(dataset, int(frame)) is None for frame in few):
            continue
        times = [read(dataset, int(frame)) for frame in frames]
        known = np.array([time / 1e6 for time in times if time is not None])
        steps = np.diff(known)
        if len(known) == len(frames) and 0 < steps.mean() < _MAX_SECONDS and np.ptp(steps) <= 0.05 * steps.mean():
            return float(steps.mean())
    return 0.0


# Values


def _scaling(pixels: PixelData, count: int) -> tuple[float, float] | None:
    """Return slope and intercept where one pair, as float32, makes real values of all that can be stored."""
    fmt = pixels.format
    if fmt.samples != 1 or fmt.photometric == "PALETTE COLOR":
        return 1.0, 0.0
    scale = shared_scale(pixels.dataset, count, fmt)
    if scale is None:
        return None
    low, high = -math.inf, math.inf
    if not fmt.real:
        low = -(1 << (fmt.bits_stored - 1)) if fmt.signed else 0
        high = low + (1 << fmt.bits_stored) - 1
    beyond = (scale.first is not None and scale.first > low) or (scale.last is not None and scale.last < high)
    fits = _MIN_FLOAT32 < abs(scale.slope) < _MAX_FLOAT32 and abs(scale.intercept) < _MAX_FLOAT32
    return (scale.slope, scale.intercept) if fits and not beyond else None
