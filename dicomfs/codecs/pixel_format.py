"""What one frame of an Instance is made of: the Image Pixel attributes as one value (PS3.3 C.7.6.3).

Only this module holds the arithmetic of native frames. It imports nothing of ours, so that a bare
worker process can use it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the samples of every frame of one Instance are stored.

    *bits_allocated* is 1, 8, 12, 16, 32 or 64; *real* is true for Float and Double Float Pixel Data, whose
    samples are IEEE numbers of *bits_allocated* bits. *photometric* is the Photometric Interpretation in upper
    case without padding. *big_endian* and *pixel_vr* (OB, OW, OL, OV, OF, OD, UN) describe native data only.
    *colour* says what else is known of colours: that *photometric* is only a default, or what the frames of the object
    show, which counts where a codestream leaves doubt.
    *spare_bits* says that the bits next to the stored value are overlays (G21), also in compressed frames.
    """

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: bool
    transfer_syntax: str
    real: bool = False
    big_endian: bool = False
    pixel_vr: str = "OW"
    spare_bits: bool = False
    colour: Literal["stated", "unstated", "RGB", "YBR"] = "stated"

    @property
    def pixels(self) -> int:
        """Pixels of one frame."""
        return self.rows * self.columns

    @property
    def halved(self) -> bool:
        """Whether native frames have half the chrominance: Y1 Y2 Cb Cr for two pixels (PS3.3 C.7.6.3.1.2)."""
        return self.samples == 3 and self.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422")

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame without padding (PS3.5 8.1.1)."""
        return self.pixels * (2 if self.halved else self.samples) * self.bits_allocated

    @property
    def word(self) -> int:
        """Bytes that only make sense together: big endian OW swaps smaller samples in pairs (PS3.5 A.3)."""
        swapped = self.big_endian and self.pixel_vr == "OW" and self.bits_allocated in (1, 8, 12)
        return 2 if swapped else 1

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Little endian type of a stored value in memory."""
        if self.real:
            return np.dtype("<f4" if self.bits_allocated == 32 else "<f8")
        size = next(size for size in (1, 2, 4, 8) if size * 8 >= self.bits_allocated)
        return np.dtype(f"<{'i' if self.signed else 'u'}{size}")

    @property
    def values_bytes(self) -> int:
        """Bytes of the stored values of one frame in memory."""
        return self.pixels * self.samples * self.dtype.itemsize

    @property
    def stored_range(self) -> tuple[int, int]:
        """Least and greatest stored value that Bits Stored allows; of no meaning for real numbers."""
        lowest = -(1 << (self.bits_stored - 1)) if self.signed else 0
        return lowest, lowest + (1 << self.bits_stored) - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stored values of one frame: (rows, columns) or (rows, columns, samples)."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)
