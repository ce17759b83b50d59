"""NumPy's file format for one array (NEP 1, version 1.0): a head that states type and shape, then the values."""

import io

import numpy as np
from numpy.lib import format as npy_format


def npy_head(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> bytes:
    """Return the head of an array in C order, as `numpy.save` writes it; the values follow it."""
    head = io.BytesIO()
    stated = {"descr": npy_format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy_format.write_array_header_1_0(head, stated)
    return head.getvalue()
