"""RLE segments decoded by pydicom, where imagecodecs is not installed or lacks the codec (PS3.5 Annex G).

pydicom reads whole frames: a segment is given to it as a frame of 8-bit samples with one segment.
"""

import struct
import warnings
from typing import Any

from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from dicomfs.dicom import uids

_RLE = get_decoder(uids.RLELossless)
# The header of a frame: the number of its segments, and where each begins (PS3.5 G.5).
_HEADER = struct.pack("<16L", 1, 64, *[0] * 14)
# Columns has 16 bits; longer segments are several rows, the last one filled up.
_MAX_COLUMNS = 65535
# The longest replicate run, of zeros, and its length (PS3.5 G.3.2).
_ZEROS, _MAX_RUN = bytes((129, 0)), 128
_SAMPLES: dict[str, Any] = {
    "bits_allocated": 8,
    "bits_stored": 8,
    "number_of_frames": 1,
    "photometric_interpretation": "MONOCHROME2",
    "pixel_keyword": "PixelData",
    "pixel_representation": 0,
    "samples_per_pixel": 1,
}


def packbits(segment: bytes, length: int) -> bytes:
    """Decode one RLE segment to *length* bytes. Raises RuntimeError or ValueError where it has more or fewer."""
    rows = -(-length // _MAX_COLUMNS)
    columns = length if rows == 1 else _MAX_COLUMNS
    full, rest = divmod(rows * columns - length, _MAX_RUN)
    filling = _ZEROS * full + (bytes((257 - rest, 0)) if rest > 1 else bytes(2 * rest))
    shape: dict[str, Any] = _SAMPLES | {"rows": rows, "columns": columns}
    frame = encapsulate([_HEADER + segment + filling], has_bot=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom cuts a segment that is a little longer, and warns of it
        try:
            values, _ = get_decoder(uids.RLELossless).as_array(
                frame, index=0, raw=True, decoding_plugin="pydicom", **shape
            )
        except UserWarning as warning:
            raise ValueError(str(warning)) from warning
    return bytes(values.tobytes()[:length])


def has(feature: str) -> bool:
    """Return whether pydicom reads *feature*: tried once, since workers load nothing later."""
    return feature == "rle" and packbits(_ZEROS, _MAX_RUN) == bytes(_MAX_RUN)
