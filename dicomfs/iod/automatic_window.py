"""The frames of an object that share an automatic window, and those that are measured to find it (G13).

A film must not flicker, so that frames which differ in space or time alone share a window. Frames of another optical
path, component, contrast or quantity have values of their own, and a window of their own.
"""

import math
from collections.abc import Hashable, Iterator, Sequence

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.registry import CODECS
from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.iod.frame_location import location_of
from dicomfs.iod.functional_groups import functional_group, some_frame_has
from dicomfs.iod.real_world_values import mappings_of
from dicomfs.iod.window_check import declared_values
from dicomfs.rendering.render import Display, modality_range

# Functional groups, and what in them tells kinds of frames apart (PS3.3 C.7.6.16.2, C.8.13, C.8.15, C.8.19, C.8.22).
_TELLING = {
    tags.MRImageFrameTypeSequence: (
        tags.FrameType,
        tags.ComplexImageComponent,
        tags.AcquisitionContrast,
    ),
    tags.CTImageFrameTypeSequence: (tags.FrameType,),
    tags.PETFrameTypeSequence: (tags.FrameType,),
    tags.XAXRFFrameCharacteristicsSequence: (tags.FrameType,),
    tags.USImageDescriptionSequence: (tags.FrameType,),
    tags.MREchoSequence: (tags.EffectiveEchoTime,),
    tags.CTXRayDetailsSequence: (tags.KVP,),
    tags.ContrastBolusUsageSequence: (
        tags.ContrastBolusAgentPhase,
        tags.ContrastBolusAgentAdministered,
    ),
    tags.PixelValueTransformationSequence: (tags.RescaleType,),
}
# b-values of one shell differ a little from direction to direction.
_SHELL = 100.0
# Vectors of nuclear medicine whose dimensions have values of their own: energy window, phase (PS3.3 C.8.4.8).
_VECTORS = (tags.EnergyWindowVector, tags.TimeSliceVector)
# Dimensions of space, time and direction: attributes, and functional groups that hold nothing else.
_NO_KIND = frozenset(
    (
        tags.ImagePositionPatient,
        tags.ImageOrientationPatient,
        tags.StackID,
        tags.InStackPositionNumber,
        tags.ImagePositionVolume,
        tags.TemporalPositionIndex,
        tags.TemporalPositionTimeOffset,
        tags.FrameReferenceDateTime,
        tags.FrameAcquisitionDateTime,
        tags.NominalCardiacTriggerDelayTime,
        tags.TriggerTime,
        tags.CardiacCyclePosition,
        tags.NominalPercentageOfCardiacPhase,
        tags.DiffusionGradientOrientation,
        tags.InstanceNumber,
        tags.FrameAcquisitionNumber,
        tags.ReferencedSegmentNumber,
    )
)
_NO_KIND_GROUPS = frozenset(
    (
        tags.PlanePositionSequence,
        tags.PlaneOrientationSequence,
        tags.PlanePositionVolumeSequence,
        tags.PlaneOrientationVolumeSequence,
        tags.FrameContentSequence,
        tags.CardiacSynchronizationSequence,
        tags.RespiratorySynchronizationSequence,
        tags.TemporalPositionSequence,
        tags.PlanePositionSlideSequence,
        tags.SegmentIdentificationSequence,
        tags.DiffusionGradientDirectionSequence,
    )
)
# Frames whose kinds are looked at to find those that are alike.
_MAX_KINDS = 1000
# Frames that are looked at for one window: of uncompressed ones as many as these bytes hold, of others as many as this
# many pixels take to decode, and never fewer or more than so many.
_STORED_BYTES, _DECODED_PIXELS = 16 << 20, 1 << 20
_MIN_FRAMES, _MAX_STORED_FRAMES, _MAX_DECODED_FRAMES = 3, 512, 16
_GOLDEN = (math.sqrt(5) - 1) / 2


def kind_of(dataset: DataSet, frame: int) -> Hashable:
    """Return what kind of frame *frame*, counted from 0, is: equal for those that share a window."""
    kind: list[Hashable] = []
    if (
        dataset.text(tags.DimensionOrganizationType) == "TILED_FULL"
        or functional_group(dataset, frame, tags.OpticalPathIdentificationSequence) is not None
    ):
        kind.append(location_of(dataset, frame).optical_path)
    for sequence, attributes in _TELLING.items():
        group = functional_group(dataset, frame, sequence)
        if group is not None:
            kind += [group.texts(tag) for tag in attributes]
    diffusion = functional_group(dataset, frame, tags.MRDiffusionSequence)
    weighting = diffusion.number(tags.DiffusionBValue) if diffusion is not None else None
    if weighting is not None and math.isfinite(weighting):
        kind.append(round(weighting / _SHELL))
    if tags.RealWorldValueMappingSequence in dataset or some_frame_has(dataset, tags.RealWorldValueMappingSequence):
        kind += [(mapping.units, mapping.label) for mapping, _ in mappings_of(dataset, frame)[:1]]
    kind += [dataset.integers(tag)[frame : frame + 1] for tag in _VECTORS if tag in dataset]
    return (*kind, *_dimensions(dataset, frame))


def _dimensions(dataset: DataSet, frame: int) -> Iterator[int]:
    """Return the dimension indices of a frame but for those of space and time (PS3.3 C.7.6.17)."""
    dimensions = dataset.items(tags.DimensionIndexSequence)
    content = functional_group(dataset, frame, tags.FrameContentSequence) if dimensions else None
    values = content.integers(tags.DimensionIndexValues) if content is not None else ()
    for dimension, value in zip(dimensions, values, strict=False):
        pointed, group = dimension.integer(tags.DimensionIndexPointer), dimension.integer(tags.FunctionalGroupPointer)
        if pointed not in _NO_KIND and group not in _NO_KIND_GROUPS:
            yield value


def frames_alike(dataset: DataSet, count: int, frame: int) -> tuple[list[int], bool]:
    """Find frames of the kind of *frame* among *count*, and tell whether there are other kinds.

    Of many frames some stand for all, unless none of them is of that kind. Whichever frame of a kind asks, the answer
    is the same.
    """
    kind = kind_of(dataset, frame)
    some = _scattered(count, _MAX_KINDS)
    found = [each for each in some if kind_of(dataset, each) == kind]
    if not found:
        found = [each for each in range(count) if kind_of(dataset, each) == kind]
        return found, True
    return found, len(found) < len(some)


def _scattered(count: int, most: int) -> Sequence[int]:
    """Choose at most *most* of *count* frames, in no step that the order of the frames could have, too."""
    if count <= most:
        return range(count)
    return sorted({0, count - 1, *(int(count * (number * _GOLDEN % 1)) for number in range(most - 2))})


def chosen(frames: Sequence[int], fmt: PixelFormat, *, straight: bool) -> list[int]:
    """Choose those of *frames* that are looked at: as many as are cheap, spread evenly, the ends among them.

    *straight* says that their values are in the file as they are.
    """
    if straight:
        wanted, most = _STORED_BYTES // max(1, fmt.values_bytes), _MAX_STORED_FRAMES
    else:
        codec = CODECS.get(fmt.transfer_syntax)
        wanted = _DECODED_PIXELS // max(1, fmt.pixels) // (4 if codec is not None and codec.slow else 1)
        most = _MAX_DECODED_FRAMES
    count = min(len(frames), max(_MIN_FRAMES, min(wanted, most)))
    if count < 2:
        return list(frames[:1])
    return [frames[place * (len(frames) - 1) // (count - 1)] for place in range(count)]


def stated_range(dataset: DataSet, fmt: PixelFormat, display: Display) -> tuple[float, float] | None:
    """Return the stated range of all values, after the Modality LUT; None where none is stated that limits them.

    It is to be used where all frames are of one kind.
    """
    if fmt.real or some_frame_has(dataset, tags.PixelValueTransformationSequence):
        return None
    declared = declared_values(dataset, fmt)
    if declared is None or declared == fmt.stored_range:
        return None
    return modality_range(declared, display)
