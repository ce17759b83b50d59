"""The Modality Transformation of an image: stored values to modality values (PS3.3 C.11.1, C.7.6.16.2.9).

Only this module reads the Modality LUT Sequence and the attributes of rescaling.
"""

import math
from dataclasses import dataclass

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import tags, uids
from dicomfs.dicom.data_set import DataSet
from dicomfs.iod.functional_groups import functional_group
from dicomfs.iod.lookup_tables import read_lut
from dicomfs.rendering.render import Lut

# X-ray angiography and radiofluoroscopy: their Modality LUT leads back to X-ray intensity, not to a display image (G4).
_INTENSITY = (uids.XRayAngiographicImageStorage, uids.XRayRadiofluoroscopicImageStorage)


@dataclass(frozen=True, slots=True)
class ModalityTransform:
    """A look-up table; without one, *slope* and *intercept*. *problems* says what of the attributes makes no sense."""

    slope: float = 1.0
    intercept: float = 0.0
    lut: Lut | None = None
    problems: tuple[str, ...] = ()


def modality_transform(dataset: DataSet, frame: int, fmt: PixelFormat) -> ModalityTransform:
    """Read how stored values of *frame*, counted from 0, become the values that windows apply to (G3, G4).

    The Modality LUT overrules rescaling (PS3.3 C.11.1). Colours have no such transformation.
    """
    if is_colour(fmt):
        return ModalityTransform()
    problems: tuple[str, ...] = ()
    if dataset.items(tags.ModalityLUTSequence) and dataset.text(tags.SOPClassUID) not in _INTENSITY:
        lut = modality_lut(dataset, fmt)
        if lut is not None:
            return ModalityTransform(lut=lut)
        problems = ("the Modality LUT cannot be used (G3)",)
    slope, intercept, found = rescaling(dataset, frame)
    return ModalityTransform(slope, intercept, None, (*problems, *found))


def is_colour(fmt: PixelFormat) -> bool:
    """Whether the stored values are colours, or indices of a palette, which nothing rescales."""
    return fmt.samples != 1 or fmt.photometric == "PALETTE COLOR"


def modality_lut(dataset: DataSet, fmt: PixelFormat) -> Lut | None:
    """Read the table of the Modality LUT Sequence; None where there is none that can be used."""
    items = dataset.items(tags.ModalityLUTSequence)
    return read_lut(items[0], fmt.stored_range) if items else None


def rescaling(dataset: DataSet, frame: int) -> tuple[float, float, tuple[str, ...]]:
    """Read slope and intercept of a frame, or the scale of a dose grid; with their problems (G5, G8, M1)."""
    source = functional_group(dataset, frame, tags.PixelValueTransformationSequence) or dataset
    slope, intercept = source.number(tags.RescaleSlope), source.number(tags.RescaleIntercept)
    if slope is None and intercept is None:
        scaling = dataset.number(tags.DoseGridScaling)
        return (scaling, 0.0, ()) if scaling and math.isfinite(scaling) else (1.0, 0.0, ())
    problems: tuple[str, ...] = ()
    if slope is None or intercept is None:
        problems = ("Rescale Slope or Rescale Intercept is missing; the other one is used (G8)",)
    slope = 1.0 if slope is None else slope
    intercept = 0.0 if intercept is None else intercept
    if slope == 0 or not math.isfinite(slope) or not math.isfinite(intercept):
        return 1.0, 0.0, (*problems, "Rescale Slope is senseless; the values are not rescaled (G8)")
    return slope, intercept, problems
