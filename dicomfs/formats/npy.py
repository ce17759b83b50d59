"""NumPy's file format for one array: a head that says type and shape, then the values (NEP 1, version 1.0)."""

import struct

import numpy as np

_MAGIC = b"\x93NUMPY\x01\x00"
# The values begin at a multiple of this, and the first axis has room for this many digits, so that it can grow.
_ALIGNMENT, _DIGITS = 64, 21


def npy_head(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> bytes:
    """Make the head of an array in C order, byte for byte as `numpy.save` does; the values follow it."""
    described = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': {shape!r}, }}"
    described += " " * (_DIGITS - len(str(shape[0])))
    length = len(_MAGIC) + 2 + len(described) + 1
    described += " " * (_ALIGNMENT - length % _ALIGNMENT) + "\n"
    return _MAGIC + struct.pack("<H", len(described)) + described.encode("ascii")
