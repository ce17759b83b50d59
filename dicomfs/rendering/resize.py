"""Display images brought to another size: an overlay placed on its image, a frame made small."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True, slots=True)
class Placed:
    """An image on a black ground of *rows* x *columns*, its first pixel at *top*, *left*; pixels outside are cut."""

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
    """An image made *rows* x *columns*, neither more than it has: each pixel is the mean of those it stands for."""

    rows: int
    columns: int

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Shrink *picture*."""
        rows, columns = picture.shape[:2]
        factors = columns // self.columns, rows // self.rows
        if picture.dtype == np.uint8 and self._divides(rows, columns) and all(_is_power_of_two(f) for f in factors):
            return np.asarray(_reduced(picture, factors))
        down = [row * rows // self.rows for row in range(self.rows + 1)]
        across = [column * columns // self.columns for column in range(self.columns + 1)]
        # 32 bits hold the sum of 16 million pixels, eight times what one of 256 can stand for (L4). Rows are added
        # block by block: `reduceat` along them takes five times as long.
        blocks = [picture[first:stop].sum(axis=0, dtype=np.uint32) for first, stop in pairwise(down)]
        sums = np.add.reduceat(np.stack(blocks), across[:-1], axis=1)
        areas = (
            np.multiply.outer(np.diff(down), np.diff(across))
            .astype(np.uint32)
            .reshape(self.rows, self.columns, *[1] * (picture.ndim - 2))
        )
        return np.asarray((sums + areas // 2) // areas).astype(picture.dtype)

    def _divides(self, rows: int, columns: int) -> bool:
        return rows % self.rows == 0 and columns % self.columns == 0


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def _reduced(picture: np.ndarray, factors: tuple[int, int]) -> np.ndarray:
    """Shrink by whole factors, those of columns first.

    Pillow takes a thirtieth of the time. Where the factors are powers of two, as from 512, 1024 or 2048 to 256, it
    rounds as `Shrunk` does; with other factors it is off by more than half a step. The daemon, which draws nothing,
    does not load it.
    """
    from PIL import Image

    return np.asarray(Image.fromarray(picture).reduce(factors))


def shrunk_to(most: int, rows: int, columns: int) -> Shrunk:
    """Return how to shrink an image in proportion to at most *most* pixels a side."""
    longest = max(rows, columns)
    if longest <= most:
        return Shrunk(rows, columns)
    return Shrunk(*(max(1, (length * most + longest // 2) // longest) for length in (rows, columns)))


def _overlap(start: int, length: int, room: int) -> tuple[slice, slice]:
    """Return the part of *length* pixels from *start* on that is inside *room*, and its place there."""
    first, stop = min(max(0, -start), length), max(0, min(length, room - start))
    stop = max(first, stop)
    return slice(first, stop), slice(start + first, start + stop) if stop > first else slice(0, 0)
