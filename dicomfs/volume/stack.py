"""Frames to a regular grid in the patient: origin, steps, and the slice of each frame.

Pure arithmetic over positions, orientations and spacings (PS3.3 C.7.6.2.1.1), for the frames of one object as for the
slices of a series. What is not a grid is refused with the reason; nothing is resampled, and no slice is made up.
"""

import errno
import math
from dataclasses import dataclass

import numpy as np

from dicomfs.iod.image_plane import Array, Planes

Vector = tuple[float, float, float]
Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

# A slice may be this far from its place, in parts of the distance between slices or pixels: beyond the rounding of
# decimal strings and the wobble of tables, far below what can be seen.
_SLACK = 0.05
# Rounded positions may be further from it, by as much as their last decimal; but a slice that is missing shifts the
# others by a third of the distance and more.
_MAX_ROUNDING = 0.2
# Directions of three decimals differ by less from right angles and from each other when they mean the same.
_TURNED, _OBLIQUE = 1e-3, 5e-3
# Planes nearer to each other than a tenth of a micrometre are one.
_SAME_MM = 1e-4
# Nothing that is imaged is further away than a kilometre, and no pixel smaller than a nanometre.
_MAX_MM, _MIN_MM = 1e6, 1e-6
MAX_NIFTI_LENGTH = 32767
"""The largest size of a dimension in NIfTI-1, whose header has 16 bits for it."""


class Irregular(OSError):
    """Planes do not form a regular grid."""

    def __init__(self, reason: str) -> None:
        """Carry the reason, a sentence for a user."""
        super().__init__(errno.EIO, reason)


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Parallel slices at equal distances, in DICOM's coordinates (LPS) and mm.

    *origin* is the centre of the first pixel of the first slice; one *right* along a row, one *down* along a column and
    one *step* to the next slice lead to its neighbours. Slices ascend along the normal, *right* x *down*. *index* has
    the slice of each plane, and a slice without a plane only where that was allowed.
    """

    origin: Vector
    right: Vector
    down: Vector
    step: Vector
    slices: int
    index: Places


def stack_of(planes: Planes, count: int, *, gaps: bool = False) -> Stack:
    """Stack *count* planes; with *gaps*, slices may be missing on the way. Raises Irregular.

    A lone slice is as thick as stated, or 1 mm.
    """
    right, down, (between_rows, between_columns) = _axes(planes.orientations, planes.spacings)
    normal = _cross(right, down)
    if np.isnan(planes.positions).any():
        raise Irregular("not every frame has a position")
    if np.abs(planes.positions).max() > _MAX_MM:
        raise Irregular("the positions make no sense")
    smallest = min(between_rows, between_columns)
    slack = max(_SLACK * smallest, min(planes.rounding, _MAX_ROUNDING * smallest))
    origin, step, slices, index = _piled(planes, count, normal, slack, gaps)
    return Stack(origin, _scaled(right, between_columns), _scaled(down, between_rows), step, slices, index)


def affine_of(stack: Stack, rows: int) -> Array:
    """Lead from voxels to RAS in mm, 3 x 4; the second index counts the *rows* from the last one, as NIfTI tools do."""
    signs = (-1.0, -1.0, 1.0)
    return np.array([
        [sign * right, -sign * down, sign * step, sign * (start + (rows - 1) * down)]
        for sign, right, down, step, start in zip(
            signs, stack.right, stack.down, stack.step, stack.origin, strict=True
        )
    ])  # fmt: skip


def grid_positions_of(stack: Stack, which: Places, volumes: int, *, gaps: bool = False) -> Places:
    """Number the place of each plane, slices first; plane k belongs to volume *which[k]* of *volumes*.

    With *gaps*, places may stay empty. Raises Irregular.
    """
    places: Places = which * stack.slices + stack.index
    if len(np.unique(places)) < len(places):
        raise Irregular("several frames lie in one place, and nothing that is understood tells them apart")
    if len(places) < volumes * stack.slices and not gaps:
        raise Irregular("the volumes that the frames make up do not have the same slices")
    return places


def _axes(orientations: Array, spacings: Array) -> tuple[Vector, Vector, tuple[float, float]]:
    """Return the directions of rows and columns, made exactly perpendicular and of length 1, and the spacings."""
    if np.isnan(orientations).any():
        raise Irregular("not every frame has an orientation")
    if np.isnan(spacings).any():
        raise Irregular("not every frame has a pixel spacing")
    if len(orientations) > 1 and (np.abs(orientations - orientations[0]) > _TURNED).any():
        raise Irregular("the frames are turned against each other")
    between_rows, between_columns = spacings[0].tolist()
    if not (_MIN_MM < between_rows < _MAX_MM and _MIN_MM < between_columns < _MAX_MM):
        raise Irregular("the pixel spacing makes no sense")
    if len(spacings) > 1 and (np.abs(spacings / spacings[0] - 1) > _TURNED).any():
        raise Irregular("the frames differ in their pixel spacing")
    a, b, c, d, e, f = orientations[0].tolist()
    lengths = math.hypot(a, b, c), math.hypot(d, e, f)
    skew = a * d + b * e + c * f
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(skew)) > _OBLIQUE:
        raise Irregular("the orientation is not that of two perpendicular directions")
    right = _scaled((a, b, c), 1 / lengths[0])
    skew /= lengths[0]
    down = (d - skew * right[0], e - skew * right[1], f - skew * right[2])
    return right, _scaled(down, 1 / math.hypot(*down)), (between_rows, between_columns)


def _piled(planes: Planes, count: int, normal: Vector, slack: float, gaps: bool) -> tuple[Vector, Vector, int, Places]:
    """Find the first position, the way from slice to slice, the number of slices, and the slice of each plane."""
    if len(planes.positions) == 1:
        return _vector(planes.positions[0]), _scaled(normal, _depth(planes)), 1, np.zeros(count, np.int64)
    positions = _filled(planes.positions, count)
    depths = positions @ normal
    order = np.argsort(depths, kind="stable")
    first = positions[order[0]]
    ascending = depths[order] - depths[order[0]]
    # Positions that differ in their last digit alone are one, if slices are much further apart than that.
    rounded = min(1.01 * planes.rounding, 0.1 * (planes.between or planes.thickness or 0.0))
    apart = ascending[-1] > max(_SAME_MM, rounded)
    numbers = _indices(ascending, planes, gaps) if apart else np.zeros(count, np.int64)
    slices = int(numbers[-1]) + 1
    index = np.empty(count, np.int64)
    index[order] = numbers
    aside = positions - first - np.outer(depths - depths[order[0]], normal)
    shear = _shear(aside, index, order[-1], slack)
    distance = float(ascending[-1]) / (slices - 1) if apart else _depth(planes)
    return _vector(first), _vector(np.array(_scaled(normal, distance)) + shear), slices, index


def _depth(planes: Planes) -> float:
    """Return the thickness of a lone slice."""
    depth = planes.between or planes.thickness or 1.0
    if not _MIN_MM < depth < _MAX_MM:
        raise Irregular("the thickness of the slice makes no sense")
    return depth


def _filled(rows: Array, count: int) -> Array:
    """Repeat the last of *rows* until there are *count*."""
    return np.concatenate([rows, np.repeat(rows[-1:], count - len(rows), axis=0)])


def _indices(ascending: Array, planes: Planes, gaps: bool) -> Places:
    """Number planes by their distances from the first one, which ascend."""
    steps = np.diff(ascending)
    index: Places
    if not gaps:
        apart = steps > max(_SLACK * steps.max(), min(planes.rounding, _MAX_ROUNDING * steps.max()))
        index = np.cumsum(np.concatenate([[0], apart]))
        if not _fits(ascending, index, planes.rounding):
            raise Irregular("the distances between the slices differ")
        return index
    least = max(_SAME_MM, 0.01 * (planes.thickness or 0.0))
    for unit in (planes.between, float(steps[steps > least].min(initial=np.inf))):
        if unit and ascending[-1] / unit < MAX_NIFTI_LENGTH:
            index = np.rint(ascending / unit).astype(np.int64)
            if index[-1] and _fits(ascending, index, planes.rounding):
                return index
    raise Irregular("the distances between the slices are not multiples of one of them")


def _fits(ascending: Array, index: Places, rounding: float) -> bool:
    """Return whether the places of *index* on an even grid are the distances, which were rounded."""
    step = ascending[-1] / index[-1]
    slack = max(_SLACK * step, min(rounding, _MAX_ROUNDING * step))
    return bool((np.abs(ascending - index * step) <= slack).all())


def _shear(aside: Array, index: Places, last: int, slack: float) -> Array:
    """Find how far each slice is shifted against the one before; what is below *slack* in all is none."""
    if np.linalg.norm(aside, axis=1).max() <= slack:
        return np.zeros(3)
    if not index[last]:
        raise Irregular("the frames lie side by side")
    shear: Array = aside[last] / index[last]
    if np.linalg.norm(aside - np.outer(index, shear), axis=1).max() > slack:
        raise Irregular("the slices are shifted against each other")
    return shear


def _cross(one: Vector, other: Vector) -> Vector:
    (a, b, c), (d, e, f) = one, other
    return b * f - c * e, c * d - a * f, a * e - b * d


def _scaled(vector: Vector, factor: float) -> Vector:
    a, b, c = vector
    return a * factor, b * factor, c * factor


def _vector(array: Array) -> Vector:
    x, y, z = array.tolist()
    return x, y, z
