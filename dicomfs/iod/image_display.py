"""What a data set says about showing its frames: attributes to a Display, tolerant of nonsense.

Only this module reads the Modality LUT, Palette Color and functional group attributes that decide how a picture looks.
Look-up tables that must be parsed are in `lookup_tables`, windows and VOI LUTs in `voi_lut`.
"""

import errno
import math
from dataclasses import replace

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import tags, uids
from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.stream import Stream
from dicomfs.iod.display_problems import object_findings
from dicomfs.iod.functional_groups import functional_group, some_frame_has
from dicomfs.iod.lookup_tables import read_lut, read_palette
from dicomfs.iod.voi_lut import Voi, voi_source, vois_of
from dicomfs.rendering.render import Display, Lut, Palette, Window, modality_range

# X-ray angiography and radiofluoroscopy: their Modality LUT leads back to X-ray intensity, not to a picture (G4).
_INTENSITY = (uids.XRayAngiographicImageStorage, uids.XRayRadiofluoroscopicImageStorage)


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
    dataset: DataSet, frame: int, fmt: PixelFormat, stream: Stream | None = None, place: int | None = None
) -> tuple[Display, tuple[str, ...]]:
    """Read how frame *frame* (from 0) is shown, as `frame_display` does, with what is odd of the object (frame 0)."""
    display, problems = frame_display(dataset, frame, fmt, stream, place)
    return display, (*(object_findings(dataset, fmt) if frame == 0 else ()), *problems)


def frame_display(
    dataset: DataSet, frame: int, fmt: PixelFormat, stream: Stream | None = None, place: int | None = None
) -> tuple[Display, tuple[str, ...]]:
    """Read how frame *frame* (from 0) is shown; give it with a sentence for each thing that makes no sense.

    *stream* is what the offsets in *dataset* refer to: long look-up tables are still in it. *place* chooses a VOI LUT
    or window (see `voi`) other than the first that can be used; raises VoiMissing where it cannot be used.
    """
    problems: dict[str, None] = {}
    if fmt.samples != 1:
        return Display(), tuple(problems)
    palette = _palette(dataset, fmt, stream, problems)
    if fmt.photometric == "PALETTE COLOR":
        return Display(palette=palette), tuple(problems)
    modality_lut = _modality_lut(dataset, fmt, stream, problems)
    slope, intercept = (1.0, 0.0) if modality_lut else _rescale(dataset, frame, problems)
    inputs = (-math.inf, math.inf)
    if not fmt.real:
        inputs = modality_range(fmt.stored_range, Display(slope, intercept, modality_lut))
    vois = vois_of(voi_source(dataset, frame), inputs, stream, problems)
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
        problems["VOI LUT Function of real numbers is LINEAR; LINEAR_EXACT is taken (G10)"] = None
    invert = fmt.photometric == "MONOCHROME1"
    shape = dataset.text(tags.PresentationLUTShape)
    if shape in ("IDENTITY", "INVERSE") and (shape == "INVERSE") != invert:
        problems["Presentation LUT Shape contradicts the photometric interpretation, which is followed (G2)"] = None
    padding = _padding(dataset, fmt, problems)
    return Display(slope, intercept, modality_lut, window, voi.lut, invert, palette, padding), tuple(problems)


def whole_segment(dataset: DataSet) -> int | None:
    """Read the value of what is all of a segment; None for other objects and label maps (PS3.3 C.8.20.2, M2)."""
    kind = dataset.text(tags.SegmentationType)
    most = {"BINARY": 1, "FRACTIONAL": dataset.integer(tags.MaximumFractionalValue)}.get(kind or "")
    return most if most and most > 0 else None


def has_groups(dataset: DataSet, frame: int) -> bool:
    """Tell whether a frame has a Pixel Value Transformation, or none has one, so that none is missing (G6)."""
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
    """Tell whether a window must be found in the pixels: the file states none, and its full range would mislead (G13).

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


# Modality


def _modality_lut(dataset: DataSet, fmt: PixelFormat, stream: Stream | None, problems: dict[str, None]) -> Lut | None:
    """Read the Modality LUT Sequence, which overrules rescaling (PS3.3 C.11.1, G3, G4)."""
    items = dataset.items(tags.ModalityLUTSequence)
    if not items or dataset.text(tags.SOPClassUID) in _INTENSITY:
        return None
    lut = read_lut(items[0], fmt.stored_range, stream)
    if lut is None:
        problems["the Modality LUT cannot be used (G3)"] = None
    return lut


def _rescale(dataset: DataSet, frame: int, problems: dict[str, None]) -> tuple[float, float]:
    """Read slope and intercept of a frame, or the dose grid's scale (G5, G8, M1)."""
    source = functional_group(dataset, frame, tags.PixelValueTransformationSequence) or dataset
    slope, intercept = source.number(tags.RescaleSlope), source.number(tags.RescaleIntercept)
    if slope is None and intercept is None:
        scaling = dataset.number(tags.DoseGridScaling)
        return (scaling, 0.0) if scaling and math.isfinite(scaling) else (1.0, 0.0)
    if slope is None or intercept is None:
        problems["Rescale Slope or Rescale Intercept is missing; the other one is used (G8)"] = None
    slope = 1.0 if slope is None else slope
    intercept = 0.0 if intercept is None else intercept
    if slope == 0 or not math.isfinite(slope) or not math.isfinite(intercept):
        problems["Rescale Slope is senseless; the values are not rescaled (G8)"] = None
        return 1.0, 0.0
    return slope, intercept


def _padding(dataset: DataSet, fmt: PixelFormat, problems: dict[str, None]) -> tuple[float, float] | None:
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
        return None if value is None else (value, value if limit is None else limit)
    ends = [dataset.integers(tag)[:1] for tag in (tags.PixelPaddingValue, tags.PixelPaddingRangeLimit)]
    values = [_stored(end[0], fmt) for end in ends if end]
    if not ends[0]:
        return None
    low, high = fmt.stored_range
    if min(values) <= low and max(values) >= high:
        problems["Pixel Padding Value and its limit cover all values; no value is taken as padding (G14)"] = None
        return None
    return values[0], values[-1]


def _stored(value: int, fmt: PixelFormat) -> int:
    """Extend the sign of a padding value from Bits Stored, as that of the pixels is."""
    if not fmt.signed:
        return value
    half = 1 << (fmt.bits_stored - 1)
    return (value & (2 * half - 1)) - 2 * half if value & half else value & (half - 1)


def _palette(dataset: DataSet, fmt: PixelFormat, stream: Stream | None, problems: dict[str, None]) -> Palette | None:
    """Read the palette of PALETTE COLOR, or the supplemental one of an image shown in colour (G15, G17)."""
    supplemental = fmt.photometric != "PALETTE COLOR"
    if supplemental and (
        dataset.text(tags.PixelPresentation) not in ("COLOR", "MIXED")
        or tags.RedPaletteColorLookupTableDescriptor not in dataset
    ):
        return None
    palette, wrong = read_palette(dataset, fmt.stored_range, stream, supplemental)
    problems.update(dict.fromkeys(wrong))
    return palette
