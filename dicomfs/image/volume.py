"""Frames to a volume: the regular grid that their pixels form in the patient, and the order that puts them there.

Pure arithmetic over positions, orientations and spacings (PS3.3 C.7.6.2.1.1), for the frames of one object as for the
slices of a series. What is not a grid is refused with the reason; nothing is resampled, and no slice is made up.
"""

import errno
from dataclasses import dataclass

import numpy as np

from dicomfs.image.geometry import Array, Planes

Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

# A slice may lie this far from its place, in parts of the distance between slices or pixels: beyond the rounding of
# decimal strings and the wobble of tables, far below what can be seen.
_SLACK = 0.05
# Directions of three decimals differ by less from right angles and from each other when they mean the same.
_TURNED, _OBLIQUE = 1e-3, 5e-3
# Planes nearer to each other than a tenth of a micrometre are one.
_SAME = 1e-4
# Nothing that is imaged is further away than a kilometre, and no pixel smaller than a nanometre.
_FAR, _NEAR = 1e6, 1e-6
MOST = 32767
"""What NIfTI-1 can count along one dimension."""


class Irregular(OSError):
    """Planes do not form a regular grid."""

    def __init__(self, reason: str) -> None:
        """Say why in a sentence for a user."""
        super().__init__(errno.EIO, reason)


@dataclass(frozen=True, slots=True)
class Stack:
    """Parallel slices at equal distances, in DICOM's coordinates (LPS) and mm.

    *origin* is the centre of the first pixel of the first slice; one *right* along a row, one *down* along a column and
    one *step* to the next slice lead to its neighbours. Slices ascend along the normal, *right* x *down*. *index* has
    the slice of each plane, and a slice without a plane only where that was allowed.
    """

    origin: Array
    right: Array
    down: Array
    step: Array
    slices: int
    index: Places


def stack_of(planes: Planes, count: int, *, gaps: bool = False) -> Stack:
    """Stack *count* planes; with *gaps*, slices may be missing on the way. Raises Irregular.

    A lone slice is as thick as stated, or 1 mm.
    """
    right, down, (between_rows, between_columns) = _axes(planes.orientations, planes.spacings)
    normal = np.cross(right, down)
    positions = _filled(planes.positions, count)
    if np.isnan(positions).any():
        raise Irregular("not every frame has a position")
    if np.abs(positions).max() > _FAR:
        raise Irregular("the positions make no sense")
    depths = positions @ normal
    order = np.argsort(depths, kind="stable")
    first = positions[order[0]]
    ascending = depths[order] - depths[order[0]]
    if ascending[-1] <= _SAME:
        index: Places = np.zeros(count, np.int64)
        slices, distance = 1, planes.between or planes.thickness or 1.0
        if not _NEAR < distance < _FAR:
            raise Irregular("the thickness of the slice makes no sense")
    else:
        index = _indices(ascending, planes, gaps)
        slices = int(index[-1]) + 1
        distance = ascending[-1] / (slices - 1)
    inverse = np.empty(count, np.int64)
    inverse[order] = index
    aside = positions - first - np.outer(depths - depths[order[0]], normal)
    shear = _shear(aside, inverse, order[-1], _SLACK * min(between_rows, between_columns))
    return Stack(first, right * between_columns, down * between_rows, normal * distance + shear, slices, inverse)


def affine_of(stack: Stack, rows: int) -> Array:
    """Lead from voxels to RAS in mm, 3 x 4; the second index counts the *rows* from the last one, as NIfTI tools do."""
    columns = (stack.right, -stack.down, stack.step, stack.origin + (rows - 1) * stack.down)
    affine: Array = np.stack(columns, axis=1) * np.array([[-1.0], [-1.0], [1.0]])
    return affine


def places_of(stack: Stack, which: Places, volumes: int, *, gaps: bool = False) -> Places:
    """Number the place of each plane, slices first; plane k belongs to volume *which[k]* of *volumes*.

    With *gaps*, places may stay empty. Raises Irregular.
    """
    places: Places = which * stack.slices + stack.index
    if len(np.unique(places)) < len(places):
        raise Irregular("several frames lie in one place, and nothing that is understood tells them apart")
    if len(places) < volumes * stack.slices and not gaps:
        raise Irregular("the volumes that the frames make up do not have the same slices")
    return places


def _axes(orientations: Array, spacings: Array) -> tuple[Array, Array, Array]:
    """Give the directions of rows and columns, made exactly perpendicular and of length 1, and the spacings."""
    if np.isnan(orientations).any():
        raise Irregular("not every frame has an orientation")
    if np.isnan(spacings).any():
        raise Irregular("not every frame has a pixel spacing")
    if spacings.min() < _NEAR or spacings.max() > _FAR:
        raise Irregular("the pixel spacing makes no sense")
    if (np.abs(orientations - orientations[0]) > _TURNED).any():
        raise Irregular("the frames are turned against each other")
    if (np.abs(spacings / spacings[0] - 1) > _TURNED).any():
        raise Irregular("the frames differ in their pixel spacing")
    right: Array = np.clip(orientations[0, :3], -2, 2)
    down: Array = np.clip(orientations[0, 3:], -2, 2)
    lengths = (float(np.linalg.norm(right)), float(np.linalg.norm(down)))
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(float(right @ down))) > _OBLIQUE:
        raise Irregular("the orientation is not that of two perpendicular directions")
    right = right / lengths[0]
    down = down - (right @ down) * right
    return right, down / np.linalg.norm(down), spacings[0]


def _filled(rows: Array, count: int) -> Array:
    """Repeat the last of *rows* until there are *count*."""
    return np.concatenate([rows, np.repeat(rows[-1:], count - len(rows), axis=0)])


def _indices(ascending: Array, planes: Planes, gaps: bool) -> Places:
    """Number planes by their distances from the first one, which ascend."""
    steps = np.diff(ascending)
    index: Places
    if not gaps:
        index = np.cumsum(np.concatenate([[0], steps > _SLACK * steps.max()]))
        if not _fits(ascending, index):
            raise Irregular("the distances between the slices differ")
        return index
    least = max(_SAME, 0.01 * (planes.thickness or 0.0))
    for unit in (planes.between, float(steps[steps > least].min(initial=np.inf))):
        if unit and ascending[-1] / unit < MOST:
            index = np.rint(ascending / unit).astype(np.int64)
            if index[-1] and _fits(ascending, index):
                return index
    raise Irregular("the distances between the slices are not multiples of one of them")


def _fits(ascending: Array, index: Places) -> bool:
    """Tell whether the places of *index* on an even grid are the distances."""
    step = ascending[-1] / index[-1]
    return bool((np.abs(ascending - index * step) <= _SLACK * step).all())


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
