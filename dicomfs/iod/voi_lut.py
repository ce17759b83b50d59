"""The VOI LUTs and windows of an object (PS3.3 C.11.2), in the file's order.

Only this module reads the VOI LUT attributes, of an object or of a Frame VOI LUT Item. A VOI LUT comes before a
window, as the first of them is the one to show (C.11.2.1). A place in this order means the same in every frame, so
one that cannot be used keeps its place.
"""

import math
from dataclasses import dataclass, replace

from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.values import parse_number
from dicomfs.iod.functional_groups import distinct_frames, functional_group
from dicomfs.iod.lookup_tables import bits_in_use, read_lut
from dicomfs.rendering.render import Lut, Window

UNUSABLE = "a window makes no sense and is not used (G10)"
"""What is said of a window that its function does not allow."""

_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True, slots=True)
class Voi:
    """A window or a VOI LUT; neither where what the file states cannot be used."""

    window: Window | None = None
    lut: Lut | None = None

    @property
    def usable(self) -> bool:
        """Return whether it can be applied."""
        return self.window is not None or self.lut is not None


def voi_source(dataset: DataSet, frame: int) -> DataSet:
    """Return what states the VOI LUTs and windows of *frame*: its functional group, or the object itself."""
    return functional_group(dataset, frame, tags.FrameVOILUTSequence) or dataset


def vois_of(dataset: DataSet, inputs: tuple[float, float]) -> tuple[tuple[Voi, ...], tuple[str, ...]]:
    """Read all VOI LUTs and windows, with their problems (G9, G10, G11).

    *inputs* are the least and the greatest value that is shown.
    """
    read = [_lut(item, inputs) for item in dataset.items(tags.VOILUTSequence)]
    luts = [Voi(lut=lut) for lut, _ in read]
    problems = [problem for _, wrong in read for problem in wrong]
    if luts and not any(voi.usable for voi in luts):
        problems.append("the VOI LUT cannot be used (G9)")
    windows, wrong = _windows(dataset)
    return (*luts, *(Voi(window) for window in windows)), (*problems, *wrong)


def _lut(item: DataSet, inputs: tuple[float, float]) -> tuple[Lut | None, tuple[str, ...]]:
    """Read a VOI LUT, whose largest entry tells its bits where more are stated, as other viewers have it (G9)."""
    lut = read_lut(item, inputs)
    if lut is None:
        return None, ()
    used = bits_in_use(lut)
    if used == lut.bits:
        return lut, ()
    return replace(lut, bits=used), (
        f"a VOI LUT says {lut.bits} bits, but its entries use {used}, which are taken (G9)",
    )


def windows_of(dataset: DataSet) -> list[tuple[int, Window]]:
    """Read the windows of a data set that can be used, with their places."""
    first = len(dataset.items(tags.VOILUTSequence))
    return [(place, window) for place, window in enumerate(_windows(dataset)[0], first) if window is not None]


def voi_names(dataset: DataSet, frames: int) -> tuple[str | None, ...]:
    """Return for each place its explanation, or "window" or "lut"; None where no frame has anything of use there.

    Windows and VOI LUTs may differ from frame to frame; a name is that of the first frame which has the place.
    """
    # All frames without groups of their own share one source: the first of them stands for all.
    chosen = distinct_frames(dataset, frames, tags.FrameVOILUTSequence)
    sources = dict.fromkeys(voi_source(dataset, frame) for frame in chosen)
    names: list[str | None] = []
    for source in sources:
        for place, name in enumerate(_names(source)):
            if place == len(names):
                names.append(name)
            elif names[place] is None:
                names[place] = name
    return tuple(names)


def _names(dataset: DataSet) -> list[str | None]:
    """Name what one data set offers, without reading a table."""
    names: list[str | None] = [item.text(tags.LUTExplanation) or "lut" for item in dataset.items(tags.VOILUTSequence)]
    explanations = dataset.texts(tags.WindowCenterWidthExplanation)
    for place, window in enumerate(_windows(dataset)[0]):
        explained = explanations[place] if place < len(explanations) else ""
        names.append((explained or "window") if window is not None else None)
    return names


def _windows(dataset: DataSet) -> tuple[list[Window | None], tuple[str, ...]]:
    """Read the windows of a data set or a Frame VOI LUT Item; None for one that makes no sense (G10, G11)."""
    function, problems = dataset.text(tags.VOILUTFunction) or "LINEAR", []
    if function not in _FUNCTIONS:
        problems.append("VOI LUT Function is not one of the standard; LINEAR is used (G10)")
        function = "LINEAR"
    # Not `numbers`: that leaves out what is no number, and the others would move up.
    centers, widths = dataset.texts(tags.WindowCenter), dataset.texts(tags.WindowWidth)
    if len(centers) != len(widths):
        problems.append("Window Center and Window Width have different numbers of values (G11)")
    windows: list[Window | None] = []
    for center, width in zip(map(parse_number, centers), map(parse_number, widths), strict=False):
        window = None if center is None or width is None else Window(center, width, function)
        if window is None or not (math.isfinite(window.center) and math.isfinite(window.width) and window.valid):
            window = None
        windows.append(window)
    if None in windows:
        problems.append(UNUSABLE)
    return windows, tuple(problems)
