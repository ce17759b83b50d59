"""Codestreams decoded by Pillow: JPEG of 8 bits by libjpeg-turbo, JPEG 2000 by OpenJPEG where it is built with it.

The conversions of colour that Pillow's file formats do are passed by: its decoders are told what the components are.
"""

import io

import numpy as np
from PIL import Image, Jpeg2KImagePlugin, features

from dicomfs.codecs.encoded import Encoded, demand_shape

_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
# Names of colour spaces in Pillow's JPEG decoder.
_YBR = {3: "YCbCr", 4: "YCbCrK"}


def jpeg(encoded: Encoded) -> np.ndarray:
    """Decode JPEG of 8 bits, lossy to grey, RGB or CMYK, lossless to what was coded."""
    header = encoded.header
    mode = _MODES.get(header.components)
    if mode is None or header.precision != 8:
        raise ValueError(f"Pillow reads no {header.components} components of {header.precision} bits")
    source = _YBR[header.components] if encoded.ybr else mode
    picture = Image.frombytes(mode, (header.columns, header.rows), encoded.stream, "jpeg", mode, source)
    return demand_shape(np.asarray(picture), encoded)


def jpeg_2000(encoded: Encoded) -> np.ndarray:
    """Decode JPEG 2000 and HTJ2K of grey up to 16 bits, and of colours of 8 bits."""
    header = encoded.header
    if header.signed or header.mixed or header.smaller or header.components not in (1, 3):
        raise ValueError("Pillow does not keep such samples as they are")
    if header.precision > (16 if header.components == 1 else 8):
        raise ValueError(f"Pillow cuts samples of {header.precision} bits")
    with Jpeg2KImagePlugin.Jpeg2KImageFile(io.BytesIO(encoded.stream)) as picture:
        picture.load()
        values = demand_shape(np.asarray(picture), encoded)
    # Pillow fills the room of its samples with those of fewer bits.
    room = 8 if header.precision <= 8 else 16
    return np.asarray(values.astype(f"<u{room // 8}") >> (room - header.precision))


def has(feature: str) -> bool:
    """Return whether this build of Pillow has a codec."""
    return bool(features.check_codec(feature))
