"""`regions.json`: which parts an ultrasound image has, and the units of each (PS3.3 C.8.5.5, G23).

Display images are never cropped to a region; this says where to crop.
"""

import json
import math

from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet

_CORNERS = {
    "x0": tags.RegionLocationMinX0,
    "y0": tags.RegionLocationMinY0,
    "x1": tags.RegionLocationMaxX1,
    "y1": tags.RegionLocationMaxY1,
}
_FORMATS = {1: "2D", 2: "M-mode", 3: "spectral", 4: "waveform", 5: "graphics"}
_TYPES = {
    1: "tissue", 2: "colour flow", 3: "PW Doppler", 4: "CW Doppler", 5: "Doppler mean trace", 6: "Doppler mode trace",
    7: "Doppler max trace", 8: "volume trace", 10: "ECG", 11: "pulse", 12: "phonocardiogram", 13: "grey bar",
    14: "colour bar", 15: "integrated backscatter", 16: "area trace", 17: "d(area)/dt", 18: "physiological",
}  # fmt: skip
_UNITS = {
    0: "1", 1: "%", 2: "dB", 3: "cm", 4: "s", 5: "Hz", 6: "dB/s", 7: "cm/s", 8: "cm2", 9: "cm2/s", 10: "cm3",
    11: "cm3/s", 12: "degrees",
}  # fmt: skip
# For each direction: Physical Units, Physical Delta, Reference Pixel, Reference Pixel Physical Value.
_AXES = {
    "x": (tags.PhysicalUnitsXDirection, tags.PhysicalDeltaX, tags.ReferencePixelX0, tags.ReferencePixelPhysicalValueX),
    "y": (tags.PhysicalUnitsYDirection, tags.PhysicalDeltaY, tags.ReferencePixelY0, tags.ReferencePixelPhysicalValueY),
}


def regions_json(dataset: DataSet) -> bytes | None:
    """Write one object a region; None where the data set has none.

    Corners are columns and rows of pixels from 0, both ends within the region. A pixel at *reference* from the corner
    x0, y0 has *value*, and each step adds *delta* of *unit*. What is missing in the file is null.
    """
    items = dataset.items(tags.SequenceOfUltrasoundRegions)
    if not items:
        return None
    lines = ",\n".join(f"  {json.dumps(_region(item))}" for item in items)
    return f'{{\n "regions": [\n{lines}\n ]\n}}\n'.encode()


def _region(item: DataSet) -> dict[str, object]:
    described: dict[str, object] = {name: item.integer(tag) for name, tag in _CORNERS.items()}
    described["format"] = _FORMATS.get(item.integer(tags.RegionSpatialFormat) or 0)
    described["type"] = _TYPES.get(item.integer(tags.RegionDataType) or 0)
    for axis, (unit, delta, reference, value) in _AXES.items():
        code = item.integer(unit)
        described[axis] = {
            "unit": None if code is None else _UNITS.get(code),
            "delta": _finite(item.number(delta)),
            "reference": item.integer(reference),
            "value": _finite(item.number(value)),
        }
    return described


def _finite(number: float | None) -> float | None:
    """Leave out what JSON has no number for."""
    return number if number is not None and math.isfinite(number) else None
