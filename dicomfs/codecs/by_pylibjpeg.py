"""Codestreams decoded by the plugins of pylibjpeg that are installed.

pylibjpeg-openjpeg (MIT) comes with dicomfs. pylibjpeg-libjpeg (GPL) is used where somebody has installed it.
"""

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from pylibjpeg.utils import get_decoders

from dicomfs.codecs.encoded import Encoded, demand_shape

# The kind of decoder by which pylibjpeg knows each plugin.
_KINDS = {"openjpeg": "JPEG 2000", "libjpeg": "JPEG"}


@cache
def _plugins(kind: str) -> Mapping[str, Callable[[bytes], np.ndarray]]:
    return get_decoders(kind)


def has(feature: str) -> bool:
    """Return whether a plugin is installed; load it if so."""
    return feature in _plugins(_KINDS[feature])


def jpeg_2000(encoded: Encoded) -> np.ndarray:
    """Decode JPEG 2000 and HTJ2K by OpenJPEG.

    The plugin gives all components the type of the first, and leaves smaller chrominance as YCbCr.
    """
    if encoded.header.mixed or encoded.header.smaller:
        raise ValueError("pylibjpeg-openjpeg does not keep components that differ")
    return demand_shape(_plugins("JPEG 2000")["openjpeg"](encoded.stream), encoded)


def jpeg(encoded: Encoded) -> np.ndarray:
    """Decode JPEG of any precision and JPEG-LS by libjpeg of the JPEG committee, which leaves components as coded."""
    if encoded.ybr:
        raise ValueError("pylibjpeg-libjpeg leaves YCbCr as it is")
    return demand_shape(_plugins("JPEG")["libjpeg"](encoded.stream), encoded)
