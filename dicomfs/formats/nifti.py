"""NIfTI-1 in one file (.nii): the 352 bytes in front of the voxels, little endian.

The voxels follow end to end, the first index fastest. Nothing of a patient is written: the fields for free text are
left empty.
"""

import struct
from dataclasses import dataclass

import numpy as np

HEADER_SIZE = 352
"""Bytes in front of the voxels: the header, and four that say that no extension follows."""

_HEADER = struct.Struct("<i10s18sihcB8h3fhhhh8f3fhBB4fii80s24shh6f12f16s4s4s")
# NIFTI_XFORM_UNKNOWN and NIFTI_XFORM_SCANNER_ANAT.
_UNKNOWN, _SCANNER = 0, 1
_MILLIMETRES, _SECONDS = 2, 8
_RGB24 = 128
_TYPES = {
    "u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280,
}  # fmt: skip
# Columns of an affine further from right angles than this, as cosines, cannot be stated by a quaternion.
_PERPENDICULAR = 1e-4

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The voxels of a volume and their position in the patient.

    *shape* is columns, rows, slices and, where there is more than one, volumes. *affine* (3 x 4) leads from voxels to
    RAS in mm; unless *anatomical* only its lengths are written, for its directions are not those of the patient.
    *seconds* are between volumes, 0 where that is unknown.
    """

    shape: tuple[int, ...]
    affine: Array
    anatomical: bool
    seconds: float


def nifti_header(grid: Grid, dtype: np.dtype[np.generic], samples: int, slope: float, intercept: float) -> bytes:
    """Write the header of a file with voxels of *samples* values of *dtype*: 1, or 3 of 8 bits for RGB."""
    sizes = np.linalg.norm(grid.affine[:, :3], axis=0)
    axes = grid.affine[:, :3] / sizes
    sign = 1.0 if np.linalg.det(axes) > 0 else -1.0
    rotation = axes * [1.0, 1.0, sign]
    origin = grid.affine[:, 3]
    square = np.abs(rotation.T @ rotation - np.eye(3)).max() <= _PERPENDICULAR
    quaternion = _quaternion(rotation) if grid.anatomical and square else (0.0, 0.0, 0.0)
    rows = grid.affine.ravel() if grid.anatomical else np.zeros(12)
    placed = origin if grid.anatomical else np.zeros(3)
    code = _SCANNER if grid.anatomical else _UNKNOWN
    padding = (1,) * (7 - len(grid.shape))
    # Time has no meaning for other volumes, but a size of 0 confuses some programs.
    apart = grid.seconds or (1.0 if len(grid.shape) > 3 else 0.0)
    return _HEADER.pack(
        348, b"", b"", 0, 0, b"r", 0,
        len(grid.shape), *grid.shape, *padding,
        0.0, 0.0, 0.0, 0,
        _RGB24 if samples == 3 else _TYPES[dtype.str[1:]], 8 * samples * dtype.itemsize, 0,
        sign, *sizes, apart, 0.0, 0.0, 0.0,
        float(HEADER_SIZE), slope, intercept, 0, 0, _MILLIMETRES | (_SECONDS if grid.seconds else 0),
        0.0, 0.0, 0.0, 0.0, 0, 0,
        b"", b"",
        code if square else _UNKNOWN, code, *quaternion, *placed, *rows,
        b"", b"n+1\0", b"\0\0\0\0",
    )  # fmt: skip


def _quaternion(rotation: Array) -> tuple[float, float, float]:
    """Return b, c and d of the unit quaternion of a proper rotation whose a is not negative (as NIfTI-1 wants)."""
    # The eigenvector of the largest eigenvalue is the quaternion, also where the rotation is not quite one.
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    matrix = np.array([
        [xx + yy + zz, zy - yz, xz - zx, yx - xy],
        [zy - yz, xx - yy - zz, xy + yx, xz + zx],
        [xz - zx, xy + yx, yy - xx - zz, yz + zy],
        [yx - xy, xz + zx, yz + zy, zz - xx - yy],
    ])  # fmt: skip
    a, b, c, d = np.linalg.eigh(matrix)[1][:, -1].tolist()
    return (-b, -c, -d) if a < 0 else (b, c, d)
