"""One codestream as it is handed to a decoder: its bytes, its header, and what to make of its colours."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from dicomfs.codecs.bitstream import Codestream


class Kind(Enum):
    """A kind of codestream, as fine as decoders differ in what they read; its value names it."""

    JPEG_8 = "JPEG of 8 bits"
    JPEG_12 = "JPEG of 12 bits"
    JPEG_LOSSLESS_8 = "lossless JPEG of 8 bits"
    JPEG_LOSSLESS = "lossless JPEG of any other precision"
    JPEG_LS = "JPEG-LS"
    JPEG_2000 = "JPEG 2000"
    HTJ2K = "HTJ2K"
    JPEG_XL = "JPEG XL"
    RLE = "RLE"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A codestream with its *header*, checked against the Image Pixel attributes.

    *ybr* says that the three components of a lossy JPEG are YCbCr, or its four YCCK.
    """

    stream: bytes
    header: Codestream
    ybr: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded samples: (rows, columns), or (rows, columns, components)."""
        header = self.header
        size = (header.rows, header.columns)
        return size if header.components == 1 else (*size, header.components)


def demand_shape(values: np.ndarray, encoded: Encoded) -> np.ndarray:
    """Return *values*, if a decoder gave as many of them as the header of the codestream states. Raises ValueError."""
    if values.shape != encoded.shape:
        raise ValueError(f"it decodes to {values.shape} samples, its header says {encoded.shape}")
    return values
