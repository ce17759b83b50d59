"""How large the pixels of a frame are, as PNG says it (pHYs), and what a header says of the distances between them.

Every picture has a pHYs chunk, which may say nothing: so the size of a file does not depend on what the header says
of its frame.
"""

import math
from collections.abc import Iterator

from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.formats.png import LONGEST_SIDE, METRE, UNKNOWN, physical_chunk
from dicomfs.iod.image_plane import plane_of

# Imager Pixel Spacing and Nominal Scanned Pixel Spacing: at the detector or on the scanned film, not in the patient.
_DEVICE_SPACINGS = (tags.ImagerPixelSpacing, tags.NominalScannedPixelSpacing)
_MM_PER_METRE = 1000.0
# What numbers of a ratio are multiplied with when they are not whole.
_FINE = 10000.0


def physical(dataset: DataSet, frame: int, shrunk: tuple[float, float] = (1.0, 1.0)) -> bytes:
    """Make the pHYs chunk of *frame* (from 0): pixels per metre, otherwise their aspect ratio, otherwise 1 to 1 (G19).

    *shrunk* is how many rows and columns of the frame one pixel of the picture stands for.
    """
    for spacing in spacings(dataset, frame):
        # Distance of rows first, which is the height of a pixel (PS3.3 10.7.1.3).
        counts = [_MM_PER_METRE / (mm * factor) for mm, factor in zip(spacing, shrunk, strict=False) if mm > 0]
        if len(counts) == 2 and all(0.5 <= count <= LONGEST_SIDE for count in counts):
            return physical_chunk(round(counts[1]), round(counts[0]), METRE)
    ratio = _pair(dataset, tags.PixelAspectRatio) or (1.0, 1.0)
    height, width = (part * factor for part, factor in zip(ratio, shrunk, strict=True))
    if not (height.is_integer() and width.is_integer()):
        height, width = height * _FINE, width * _FINE
    if not (1 <= height <= LONGEST_SIDE and 1 <= width <= LONGEST_SIDE):
        height = width = 1
    # The wider a pixel is, the more of them are below each other in a length that is as long across.
    return physical_chunk(round(height), round(width), UNKNOWN)


def spacings(dataset: DataSet, frame: int) -> Iterator[tuple[float, ...]]:
    """Return what the file says of the distances between rows and between columns in mm, the most trusted first."""
    yield plane_of(dataset, frame).spacing
    for tag in _DEVICE_SPACINGS:
        yield _pair(dataset, tag)


def _pair(dataset: DataSet, tag: int) -> tuple[float, ...]:
    """Read two positive numbers; () when these are not what the element holds."""
    numbers = dataset.numbers(tag)
    sound = len(numbers) == len(dataset.texts(tag)) == 2 and all(0 < number < math.inf for number in numbers)
    return numbers if sound else ()
