"""Stored values of one frame to the quantities that they stand for: Hounsfield units, Gray, real world values.

Only this module does that arithmetic for arrays. What a file says arrives as a Scale, which is small enough to be sent
to a worker process with each frame.
"""

from dataclasses import dataclass

import numpy as np

from dicomfs.rendering.render import Lut


@dataclass(frozen=True, slots=True)
class Scale:
    """How stored values become rescaled values: by *lut*, by *table*, or by *slope* and *intercept*, in that order.

    *table* holds little endian float64, the first for the stored value *first*. Stored values below *first* or above
    *last* have no meaning here; the first of *further* that reaches to one has it (PS3.3 C.7.6.16.2.11).
    """

    slope: float = 1.0
    intercept: float = 0.0
    lut: Lut | None = None
    first: float | None = None
    last: float | None = None
    table: bytes = b""
    further: tuple["Scale", ...] = ()

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Scale *values* in float64 and round once, to little endian float32; what has no meaning is NaN."""
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = self._scaled(values)
            if self.first is None and self.last is None:
                return scaled.astype("<f4")
            beyond = self._beyond(values)
            for scale in self.further:
                taken = beyond & ~scale._beyond(values)
                scaled[taken] = scale._scaled(values[taken])
                beyond &= ~taken
            scaled[beyond] = np.nan
            return scaled.astype("<f4")

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        if self.lut is not None:
            return self.lut.apply(values)
        return self._looked_up(values) if self.table else values.astype(np.float64) * self.slope + self.intercept

    def _beyond(self, values: np.ndarray) -> np.ndarray:
        """Mark the values that this does not reach to."""
        beyond = np.zeros(values.shape, np.bool_)
        if self.first is not None:
            beyond |= values < self.first
        if self.last is not None:
            beyond |= values > self.last
        return beyond

    def _looked_up(self, values: np.ndarray) -> np.ndarray:
        table = np.frombuffer(self.table, "<f8")
        places = np.clip(values.astype(np.float64) - (self.first or 0.0), 0, len(table) - 1)
        return np.asarray(table[np.nan_to_num(places).astype(np.intp)])
