"""Stored values of one frame to the quantities that they stand for: Hounsfield units, Gray, real world values.

Only this module does that arithmetic for arrays. What a file says arrives as a Scale, which is small enough to be sent
to a worker process with each frame.
"""

from dataclasses import dataclass

import numpy as np

from dicomfs.display.render import Lut


@dataclass(frozen=True, slots=True)
class Scale:
    """How stored values become real ones: by *lut*, else by *table*, else by *slope* and *intercept*.

    *table* holds little endian float64, the first for the stored value *first*. Stored values below *first* or above
    *last* have no meaning (PS3.3 C.7.6.16.2.11).
    """

    slope: float = 1.0
    intercept: float = 0.0
    lut: Lut | None = None
    first: float | None = None
    last: float | None = None
    table: bytes = b""

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Scale *values* in float64 and round once, to little endian float32; what has no meaning is NaN."""
        with np.errstate(over="ignore", invalid="ignore"):
            if self.lut is not None:
                scaled = self.lut.apply(values)
            elif self.table:
                scaled = self._looked_up(values)
            else:
                scaled = values.astype(np.float64) * self.slope + self.intercept
            if self.first is not None:
                scaled[values < self.first] = np.nan
            if self.last is not None:
                scaled[values > self.last] = np.nan
            return scaled.astype("<f4")

    def _looked_up(self, values: np.ndarray) -> np.ndarray:
        table = np.frombuffer(self.table, "<f8")
        places = np.clip(values.astype(np.float64) - (self.first or 0.0), 0, len(table) - 1)
        return np.asarray(table[np.nan_to_num(places).astype(np.intp)])
