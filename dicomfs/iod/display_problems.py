"""Checks of display attributes: a sentence for each that is odd, contradictory, or not applied by dicomfs.

The sentences quote no value but terms of the standard.
"""

from collections.abc import Iterator

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.dictionary import keyword
from dicomfs.dicom.values import TEXT
from dicomfs.iod.functional_groups import each_frame_has, frames_with_groups, shared_items, some_frame_has

# Functional group macros (PS3.3 C.7.6.16.2.9, C.7.6.16.2.10, C.8.19.6).
_MACROS = {
    tags.PixelValueTransformationSequence: "Pixel Value Transformation",
    tags.FrameVOILUTSequence: "Frame VOI LUT",
}

_RETIRED = {
    "ARGB": "its alpha, which may stand for an overlay, is left out",
    "CMYK": "it is shown without a profile",
    "HSV": "it cannot be shown",
}
# Photometric interpretations that a sentence may name: those of the standard, and what writers make of them.
_TERMS = frozenset((
    "MONOCHROME", "MONOCHROME3", "GRAYSCALE", "GREYSCALE", "GRAY", "GREY", "PALETTE", "PALETTE_COLOR", "RGB", "ARGB",
    "CMYK", "HSV", "XYB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT",
))  # fmt: skip
# Attributes with one value each that decide about values and display images (PS3.3 C.7.6.3, C.11.1, C.7.5.1.1.2).
_SINGLE = (
    tags.SamplesPerPixel,
    tags.PhotometricInterpretation,
    tags.PlanarConfiguration,
    tags.NumberOfFrames,
    tags.Rows,
    tags.Columns,
    tags.BitsAllocated,
    tags.BitsStored,
    tags.HighBit,
    tags.PixelRepresentation,
    tags.PixelPaddingValue,
    tags.PixelPaddingRangeLimit,
    tags.RescaleIntercept,
    tags.RescaleSlope,
    tags.DoseGridScaling,
)
# The longest value of a VR (PS3.5 6.2), of those that the attributes above have.
_MAX_LENGTHS = {"CS": 16, "DS": 16, "IS": 12}


def object_findings(dataset: DataSet, fmt: PixelFormat) -> Iterator[str]:
    """Report what is wrong with the functional groups, and what of the object is not shown (G6, G7, G22, G23, N18)."""
    frames, own = dataset.integer(tags.NumberOfFrames) or 1, frames_with_groups(dataset)
    if 0 < own < frames:
        yield "the Per-frame Functional Groups Sequence has fewer Items than there are frames (G6)"
    for tag, name in _MACROS.items():
        if not some_frame_has(dataset, tag):
            continue
        if shared_items(dataset, tag):
            yield f"{name} is both shared and per frame; a frame's own is used (G7)"
        elif not each_frame_has(dataset, tag):
            yield f"some frames have no {name}, others have one (G6)"
    if (
        tags.ShutterShape in dataset
        or shared_items(dataset, tags.FrameDisplayShutterSequence)
        or some_frame_has(dataset, tags.FrameDisplayShutterSequence)
    ):
        yield "there is a display shutter; it is not applied (G22)"
    if dataset.text(tags.RecommendedViewingMode) == "SUB":
        yield (
            "the object asks for mask subtraction (Recommended Viewing Mode SUB), which is not applied; pictures show "
            "the frames as they are stored (G23)"
        )
    if fmt.photometric in _RETIRED:
        yield f"{fmt.photometric} is a retired colour model; {_RETIRED[fmt.photometric]} (N18)"
    stated = (dataset.text(tags.PhotometricInterpretation) or "").strip().upper()
    if fmt.samples == 1 and stated and stated != fmt.photometric:
        said = stated if stated in _TERMS else "no term of the standard"
        yield f"Photometric Interpretation is {said}; pixels of one sample are shown as MONOCHROME2 (N19)"
    yield from _overfull(dataset)


def _overfull(dataset: DataSet) -> Iterator[str]:
    """Report which attributes that were used have more or longer values than their VR allows (PS3.5 6.2)."""
    for tag in _SINGLE:
        element, count = dataset.get(tag), len(dataset.texts(tag))
        if element is None or not count:
            continue
        if count > 1:
            yield f"{keyword(tag)} has {count} values instead of one; the first is used (H21)"
        elif element.vr in TEXT and len((element.value or b"").strip(b" \0")) > _MAX_LENGTHS.get(element.vr, 64):
            yield f"{keyword(tag)} is longer than its VR allows; it is used all the same (H21)"
