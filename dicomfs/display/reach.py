"""Which values the pixels can have, by the header alone, and which windows lie beside all of them (G12).

Such a window is applied like any other. Its pictures are black or white from end to end, which looks like a fault of
whoever draws them, so that it has to be said.
"""

import numpy as np

from dicomfs.dicom.elements import DataSet
from dicomfs.dicom.stream import Stream
from dicomfs.display.display import PIXEL_VALUE_TRANSFORMATION, display_of
from dicomfs.display.render import WHITE, Window, modality_range
from dicomfs.display.voi import FRAME_VOI_LUT, voi_source, windows_of
from dicomfs.image.functional import PER_FRAME_GROUPS
from dicomfs.image.inspection import named
from dicomfs.image.pixelformat import PixelFormat

_SMALLEST, _LARGEST = 0x00280106, 0x00280107
_GROUPS = (FRAME_VOI_LUT, PIXEL_VALUE_TRANSFORMATION)


def windows_beside(dataset: DataSet, frames: int, fmt: PixelFormat, stream: Stream | None) -> tuple[str, ...]:
    """Say which windows of the file miss all values that its pixels can have.

    Where frames have windows or rescaling of their own, the first, the middle and the last stand for all. *stream* is
    what the offsets in *dataset* refer to.
    """
    if frames == 0 or fmt.real or fmt.samples != 1 or fmt.photometric == "PALETTE COLOR":
        return ()
    chosen = sorted({0, frames // 2, frames - 1})
    own = dataset.items(PER_FRAME_GROUPS)
    if not any(group.items(tag) for frame in chosen for group in own[frame : frame + 1] for tag in _GROUPS):
        chosen = [0]
    found: dict[str, list[int]] = {}
    for frame in chosen:
        for sentence in _beside(dataset, frame, fmt, stream):
            found.setdefault(sentence, []).append(frame + 1)
    return tuple(
        [
            sentence if len(numbers) == len(chosen) else f"{named(numbers)}: {sentence}"
            for sentence, numbers in found.items()
        ]
    )


def _beside(dataset: DataSet, frame: int, fmt: PixelFormat, stream: Stream | None) -> list[str]:
    """Look at the windows of one frame."""
    windows = windows_of(voi_source(dataset, frame))
    if not windows:
        return []
    display, _ = display_of(dataset, frame, fmt, stream)
    ranges = [("all values that Bits Stored allows", fmt.stored_range)]
    if declared := _declared(dataset, fmt):
        ranges.append(("all values from Smallest to Largest Image Pixel Value", declared))
    sentences = []
    for place, window in windows:
        for those, stored in ranges:
            side = _side(window, modality_range(stored, display))
            if side is not None:
                colour = "black" if (side == "above") != display.invert else "white"
                sentences.append(f"window {place + 1} lies {side} {those}; its pictures are all {colour} (G12)")
                break
    return sentences


def _declared(dataset: DataSet, fmt: PixelFormat) -> tuple[int, int] | None:
    """Read the smallest and the largest stored value that the file says it has; None unless they can be right."""
    smallest, largest = (dataset.integers(tag, fmt.signed)[:1] for tag in (_SMALLEST, _LARGEST))
    low, high = fmt.stored_range
    if smallest and largest and low <= smallest[0] < largest[0] <= high:
        return smallest[0], largest[0]
    return None


def _side(window: Window, values: tuple[float, float]) -> str | None:
    """Tell whether a window lies above or below all *values*; None where it shows something of them."""
    low, high = values
    half = window.width / 2
    if window.function != "SIGMOID" and low < window.center + half and high > window.center - half:
        return None
    with np.errstate(over="ignore"):  # far from the centre of a SIGMOID
        dark, bright = (window.apply(np.array([low, high])) * WHITE + 0.5).astype(np.uint8)
    return "above" if bright == 0 else "below" if dark == WHITE else None
