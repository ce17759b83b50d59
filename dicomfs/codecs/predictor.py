"""Lossless JPEG frames whose encoder computed predictor 6 in 16 bits (C8): what it meant, and whether it did.

Some encoders let Ra - Rc of predictor 6, Rb + (Ra - Rc) / 2 (T.81 table H.1), overflow for samples of 16 bits.
A right decoder then makes rubbish of a good image. Nothing in the stream tells; but the two results do, since one of
them is an image and the other is not.
"""

import numpy as np

_SMOOTHER = 2
"""How much smaller the steps between pixels must be for the faulty encoder to be believed in: measured 170 times."""


def overflows(values: np.ndarray) -> bool:
    """Return whether predictor 6 of a decoded plane (uint16) leaves 16 bits anywhere."""
    plane = values.astype(np.int32)
    return bool((np.abs(plane[1:, :-1] - plane[:-1, :-1]) > 0x7FFF).any())


def choose(plane: np.ndarray, signed: bool) -> np.ndarray | None:
    """Return the plane (uint16) that its encoder meant; None where the right decoding is rougher, but not by far."""
    other = _with_overflow(plane)
    rough, rough_other = _roughness(plane, signed), _roughness(other, signed)
    if rough <= rough_other:
        return plane
    return other if rough_other * _SMOOTHER <= rough else None


def _roughness(plane: np.ndarray, signed: bool) -> float:
    """Compute the mean step from a pixel to the next."""
    values = plane.view(np.int16 if signed else np.uint16).astype(np.int32)
    return float(np.abs(np.diff(values, axis=1)).mean())


def _with_overflow(plane: np.ndarray) -> np.ndarray:
    """Decode a plane again as its faulty encoder would have.

    The differences that were coded follow from the right decoding. Pixels of a diagonal from the lower left to the
    upper right depend on the two diagonals before it only, so that each is computed at once.
    """
    rows, columns = plane.shape
    right = plane.astype(np.int32)
    differences = np.zeros_like(right)
    differences[1:, 1:] = right[1:, 1:] - right[:-1, 1:] - ((right[1:, :-1] - right[:-1, :-1]) >> 1)
    coded, values = differences.reshape(-1), right.reshape(-1).copy()
    step = columns - 1
    for diagonal in range(2, rows + columns - 1):
        top, bottom = max(1, diagonal - columns + 1), min(rows - 1, diagonal - 1)
        first, stop = top * step + diagonal, bottom * step + diagonal + 1
        left, above, corner = (values[first - back : stop - back : step] for back in (1, columns, columns + 1))
        half = (left - corner).astype(np.int16) >> 1
        values[first:stop:step] = (coded[first:stop:step] + above + half) & 0xFFFF
    return values.astype(np.uint16).reshape(rows, columns)
