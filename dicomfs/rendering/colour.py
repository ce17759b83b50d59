"""Colour samples of full precision as red, green and blue: what arrays hold. Pictures of 8 bits are `render`'s."""

import numpy as np

_HALF = 0.5


def rgb(values: np.ndarray, photometric: str, bits: int) -> np.ndarray:
    """Turn YBR of *bits* bits to RGB of the same type; everything else stays as it is (PS3.3 C.7.6.3.1.2).

    The arithmetic is pydicom's in its order, so that its results are the same to the bit.
    """
    if values.ndim != 3 or values.shape[2] != 3 or not photometric.startswith(("YBR_FULL", "YBR_PARTIAL")):
        return values
    most, middle = (1 << bits) - 1, 1 << (bits - 1)
    converted = values.astype(np.float32)
    if photometric.startswith("YBR_PARTIAL"):
        step = 1 << max(bits - 8, 0)
        converted -= [16 * step, middle, middle]
        converted *= np.array([most / (219 * step), most / (224 * step), most / (224 * step)], np.float32)
    else:
        converted -= [0, middle, middle]
    np.matmul(converted, _MATRIX, out=converted)
    converted += _HALF
    np.floor(converted, out=converted)
    np.clip(converted, 0, most, out=converted)
    return converted.astype(values.dtype)


# Rows are Y, Cb, Cr, columns red, green, blue (ITU-R BT.601).
_MATRIX = np.array(
    [[1.0, 1.0, 1.0], [0.0, -0.114 * 1.772 / 0.587, 1.772], [1.402, -0.299 * 1.402 / 0.587, 0.0]], np.float32
)
