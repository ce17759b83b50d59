"""The problems of display by the header alone; warnings about windows outside the range of possible values (G12).

Such a window is applied like any other. Its display images are entirely black or white, which looks like a fault of the
program that renders them.
"""

import numpy as np

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.printable import frame_list
from dicomfs.iod.display_problems import object_findings
from dicomfs.iod.functional_groups import some_frame_has
from dicomfs.iod.image_display import frame_display
from dicomfs.iod.voi_lut import voi_source, windows_of
from dicomfs.rendering.render import WHITE, Display, Window, modality_range

_GROUPS = (tags.FrameVOILUTSequence, tags.PixelValueTransformationSequence)
# Frames that stand for all, and those of them that one sentence names.
_MAX_FRAMES, _MAX_NAMED_FRAMES = 64, 8


def frame_findings(dataset: DataSet, frames: int, fmt: PixelFormat) -> tuple[str, ...]:
    """Report what is wrong with how frames are shown, and which windows miss all values that the pixels can have.

    Where frames have windows or rescaling of their own, some of them stand for all; what concerns others, their
    display images say.
    """
    if frames == 0:
        return tuple(object_findings(dataset, fmt))
    own = fmt.samples == 1 and any(some_frame_has(dataset, tag) for tag in _GROUPS)
    chosen = sorted({place * (frames - 1) // (_MAX_FRAMES - 1) for place in range(_MAX_FRAMES)}) if own else [0]
    found: dict[str, list[int]] = {}
    for frame in chosen:
        display, wrong = frame_display(dataset, frame, fmt)
        for sentence in (*wrong, *_windows_outside_range(dataset, frame, fmt, display)):
            found.setdefault(sentence, []).append(frame + 1)
    told = [
        sentence if len(numbers) == len(chosen) else f"{_some(numbers)}: {sentence}"
        for sentence, numbers in found.items()
    ]
    return (*object_findings(dataset, fmt), *told)


def _some(numbers: list[int]) -> str:
    """Name a few frames; those between the ones that were looked at are not known anyway."""
    named = frame_list(numbers[:_MAX_NAMED_FRAMES])
    return f"{named} and others" if len(numbers) > _MAX_NAMED_FRAMES else named


def _windows_outside_range(dataset: DataSet, frame: int, fmt: PixelFormat, display: Display) -> list[str]:
    """Look at the windows of one frame."""
    if fmt.real or fmt.samples != 1 or fmt.photometric == "PALETTE COLOR":
        return []
    windows = windows_of(voi_source(dataset, frame))
    ranges = [("all values that Bits Stored allows", fmt.stored_range)]
    if windows and (declared := declared_values(dataset, fmt)):
        ranges.append(("all values from Smallest to Largest Image Pixel Value", declared))
    sentences = []
    for place, window in windows:
        for those, stored in ranges:
            side = _outside(window, modality_range(stored, display))
            if side is not None:
                colour = "black" if (side == "above") != display.invert else "white"
                sentences.append(f"window {place + 1} is {side} {those}; its display images are all {colour} (G12)")
                break
    return sentences


def declared_values(dataset: DataSet, fmt: PixelFormat) -> tuple[int, int] | None:
    """Read the smallest and the largest stored value that the file says it has; None unless they can be right."""
    smallest, largest = (
        dataset.integers(tag)[:1] for tag in (tags.SmallestImagePixelValue, tags.LargestImagePixelValue)
    )
    low, high = fmt.stored_range
    if smallest and largest and low <= smallest[0] < largest[0] <= high:
        return smallest[0], largest[0]
    return None


def _outside(window: Window, values: tuple[float, float]) -> str | None:
    """Return whether a window is above or below all *values*; None where it shows something of them."""
    low, high = values
    half = window.width / 2
    if window.function != "SIGMOID" and low < window.center + half and high > window.center - half:
        return None
    with np.errstate(over="ignore"):  # far from the centre of a SIGMOID
        dark, bright = (window.apply(np.array([low, high])) * WHITE + 0.5).astype(np.uint8)
    return "above" if bright == 0 else "below" if dark == WHITE else None
