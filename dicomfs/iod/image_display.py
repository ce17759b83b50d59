"""What a data set says about showing its frames: attributes to a Display, tolerant of nonsense.

Only this module puts together what decides how a display image looks: the Modality LUT or rescaling of `modality`, the
windows and VOI LUTs of `voi_lut`, palettes and padding.
"""

import errno
import math
from dataclasses import replace

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.iod.display_problems import object_findings
from dicomfs.iod.functional_groups import functional_group, some_frame_has
from dicomfs.iod.lookup_tables import read_palette
from dicomfs.iod.modality import is_colour, modality_transform
from dicomfs.iod.voi_lut import Voi, voi_source, vois_of
from dicomfs.rendering.render import Display, Palette, Window, modality_range


class GroupMissing(OSError):
    """The values of one frame have no meaning, since it lacks a functional group that others have."""

    def __init__(self, frame: int) -> None:
        """Name the frame, counted from 0, as the user counts."""
        super().__init__(errno.EIO, f"frame {frame + 1} has no Pixel Value Transformation, others have one (G6)")


class VoiMissing(OSError):
    """One frame has nothing of use where others have a VOI LUT or window."""

    def __init__(self, place: int, frame: int) -> None:
        """Name both, counted from 0, as the user counts."""
        super().__init__(errno.EIO, f"frame {frame + 1} has no usable window or VOI LUT {place + 1} (G11)")


def display_of(
    dataset: DataSet, frame: int, fmt: PixelFormat, place: int | None = None
) -> tuple[Display, tuple[str, ...]]:
    """Read how frame *frame* (from 0) is shown, as `frame_display` does, with what is odd of the object (frame 0)."""
    display, problems = frame_display(dataset, frame, fmt, place)
    return display, (*(object_findings(dataset, fmt) if frame == 0 else ()), *problems)


def frame_display(
    dataset: DataSet, frame: int, fmt: PixelFormat, place: int | None = None
) -> tuple[Display, tuple[str, ...]]:
    """Read how frame *frame* (from 0) is shown; with a sentence for each attribute that makes no sense.

    *place* chooses a VOI LUT or window (see `voi_lut`) other than the first that can be used. Raises VoiMissing where
    it cannot be used, and OSError where a long look-up table cannot be read.
    """
    if fmt.samples != 1:
        return Display(), ()
    palette, wrong = palette_of(dataset, fmt)
    if is_colour(fmt):
        return Display(palette=palette), wrong
    modality = modality_transform(dataset, frame, fmt)
    problems = dict.fromkeys((*wrong, *modality.problems))
    inputs = (-math.inf, math.inf)
    if not fmt.real:
        inputs = modality_range(fmt.stored_range, Display(modality.slope, modality.intercept, modality.lut))
    vois, wrong = vois_of(voi_source(dataset, frame), inputs)
    problems |= dict.fromkeys(wrong)
    if place is not None:
        vois = vois[place : place + 1]
    voi = next((voi for voi in vois if voi.usable), None)
    if voi is None and place is not None:
        raise VoiMissing(place, frame)
    whole = whole_segment(dataset)
    voi = voi or Voi(Window(whole / 2, whole, "LINEAR_EXACT") if whole else None)
    window = voi.window
    if fmt.real and window and window.function == "LINEAR":
        # The half and the one in LINEAR are steps between integers; with them, all of 0..1 in 0.5, 1 would be white.
        window = replace(window, function="LINEAR_EXACT")
        problems["VOI LUT Function of floating point values is LINEAR; LINEAR_EXACT is used (G10)"] = None
    invert = fmt.photometric == "MONOCHROME1"
    shape = dataset.text(tags.PresentationLUTShape)
    if shape in ("IDENTITY", "INVERSE") and (shape == "INVERSE") != invert:
        problems["Presentation LUT Shape contradicts the photometric interpretation, which is followed (G2)"] = None
    padding, wrong = _padding(dataset, fmt)
    problems |= dict.fromkeys(wrong)
    display = Display(modality.slope, modality.intercept, modality.lut, window, voi.lut, invert, palette, padding)
    return display, tuple(problems)


def whole_segment(dataset: DataSet) -> int | None:
    """Read the value of what is all of a segment; None for other objects and label maps (PS3.3 C.8.20.2, M2)."""
    kind = dataset.text(tags.SegmentationType)
    most = {"BINARY": 1, "FRACTIONAL": dataset.integer(tags.MaximumFractionalValue)}.get(kind or "")
    return most if most and most > 0 else None


def has_groups(dataset: DataSet, frame: int) -> bool:
    """Return whether a frame has a Pixel Value Transformation, or none has one, so that none is missing (G6)."""
    if tags.RescaleSlope in dataset or not some_frame_has(dataset, tags.PixelValueTransformationSequence):
        return True
    return functional_group(dataset, frame, tags.PixelValueTransformationSequence) is not None


def check_groups(dataset: DataSet, frame: int) -> None:
    """Refuse a frame that has no Pixel Value Transformation where others have one (G6). Raises GroupMissing.

    Nothing else that the file states would then be right for it: neither another frame's rescaling nor none.
    """
    if not has_groups(dataset, frame):
        raise GroupMissing(frame)


def wants_automatic_window(dataset: DataSet, fmt: PixelFormat, display: Display) -> bool:
    """Return whether a window must be found in the pixels: none is stated, and the full range would mislead (G13).

    The full range is right for 8-bit values as they stand, and for images made for presentation.
    """
    if fmt.samples != 1 or fmt.photometric == "PALETTE COLOR" or display.window or display.voi_lut:
        return False
    if fmt.real:
        return True
    plain = display.modality_lut is None and (display.slope, display.intercept) == (1.0, 0.0)
    if plain and fmt.bits_stored <= 8 and not fmt.signed:
        return False
    return not (plain and dataset.text(tags.PresentationIntentType) == "FOR PRESENTATION")


def _padding(dataset: DataSet, fmt: PixelFormat) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Read the range of padding values, in the sign of the stored values (PS3.3 C.7.5.1.1.2, G14)."""
    if fmt.real:
        value = (
            dataset.number(tags.FloatPixelPaddingValue)
            if fmt.bits_allocated == 32
            else dataset.number(tags.DoubleFloatPixelPaddingValue)
        )
        limit = (
            dataset.number(tags.FloatPixelPaddingRangeLimit)
            if fmt.bits_allocated == 32
            else dataset.number(tags.DoubleFloatPixelPaddingRangeLimit)
        )
        return (None if value is None else (value, value if limit is None else limit)), ()
    ends = [dataset.integers(tag)[:1] for tag in (tags.PixelPaddingValue, tags.PixelPaddingRangeLimit)]
    values = [_stored(end[0], fmt) for end in ends if end]
    if not ends[0]:
        return None, ()
    low, high = fmt.stored_range
    if min(values) <= low and max(values) >= high:
        return None, ("Pixel Padding Value and its limit cover all values; no value is taken as padding (G14)",)
    return (values[0], values[-1]), ()


def _stored(value: int, fmt: PixelFormat) -> int:
    """Extend the sign of a padding value from Bits Stored, as that of the pixels is."""
    if not fmt.signed:
        return value
    half = 1 << (fmt.bits_stored - 1)
    return (value & (2 * half - 1)) - 2 * half if value & half else value & (half - 1)


def palette_of(dataset: DataSet, fmt: PixelFormat) -> tuple[Palette | None, tuple[str, ...]]:
    """Read the palette of PALETTE COLOR, or the supplemental one of an image shown in colour (G15, G17)."""
    supplemental = fmt.photometric != "PALETTE COLOR"
    if supplemental and (
        dataset.text(tags.PixelPresentation) not in ("COLOR", "MIXED")
        or tags.RedPaletteColorLookupTableDescriptor not in dataset
    ):
        return None, ()
    return read_palette(dataset, fmt.stored_range, supplemental)
