"""Pictures brought to another size: an overlay laid out on its image, a frame made small (pure numpy)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Placed:
    """A picture on a black ground of *rows* x *columns*, its first pixel at *top*, *left*; what sticks out is cut."""

    rows: int
    columns: int
    top: int
    left: int

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Place *picture*."""
        ground = np.zeros((self.rows, self.columns, *picture.shape[2:]), picture.dtype)
        inner, outer = zip(
            _overlap(self.top, picture.shape[0], self.rows),
            _overlap(self.left, picture.shape[1], self.columns),
            strict=True,
        )
        ground[outer] = picture[inner]
        return ground


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A picture made *rows* x *columns*, neither more than it has: each pixel is the mean of those it stands for."""

    rows: int
    columns: int

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Shrink *picture*."""
        sums = picture
        counts = []
        for axis, length in enumerate((self.rows, self.columns)):
            starts = np.arange(length) * picture.shape[axis] // length
            sums = np.add.reduceat(sums, starts, axis=axis, dtype=np.uint64)
            counts.append(np.diff(starts, append=picture.shape[axis]).astype(np.uint64))
        areas = np.multiply.outer(*counts).reshape(self.rows, self.columns, *[1] * (picture.ndim - 2))
        return np.asarray((sums + areas // 2) // areas).astype(picture.dtype)


def shrunk_to(most: int, rows: int, columns: int) -> Shrunk:
    """Say how to make a picture at most *most* pixels long and wide, in proportion."""
    longest = max(rows, columns)
    if longest <= most:
        return Shrunk(rows, columns)
    return Shrunk(*(max(1, (length * most + longest // 2) // longest) for length in (rows, columns)))


def _overlap(start: int, length: int, room: int) -> tuple[slice, slice]:
    """Give the part of *length* pixels that falls into *room* when they begin at *start*, and where it falls."""
    first, stop = min(max(0, -start), length), max(0, min(length, room - start))
    stop = max(first, stop)
    return slice(first, stop), slice(start + first, start + stop) if stop > first else slice(0, 0)
