"""Traits that distinguish frames at one position where dimension indices do not: quantity, parameters, time.

Only this module reads these attributes of the functional groups (PS3.3 C.8.13.5, C.8.15.3, C.7.6.16.2).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.iod.frame_times import TIMES
from dicomfs.iod.functional_groups import functional_group, functional_items

Value = str | float | tuple[float, ...] | tuple[str, ...]
Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

_FRAME_TYPES = (tags.MRImageFrameTypeSequence, tags.CTImageFrameTypeSequence, tags.PETFrameTypeSequence)
_COMPONENTS = {name: place for place, name in enumerate(("MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "MIXED"))}
# The same in Frame Type and Image Type, as most writers have it.
_LETTERS = {
    "M": "MAGNITUDE", "P": "PHASE", "R": "REAL", "I": "IMAGINARY", "M_FFE": "MAGNITUDE", "M_SE": "MAGNITUDE",
    "M_IR": "MAGNITUDE", "PHASE MAP": "PHASE",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trait:
    """One property of frames: how it is called, how that of a frame is read, and whether it is a time.

    Values are put into order where they are *ordered*, otherwise they keep the order in which frames first have them.
    """

    name: str
    read: Callable[[DataSet, int], Value | None]
    timed: bool = False
    ordered: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Frames put into *count* volumes: the volume of each frame in *which*.

    *timed* says that volumes follow each other in time alone; *values* holds for each volume those of *names*.
    """

    which: Places
    count: int
    timed: bool
    names: tuple[str, ...]
    values: tuple[tuple[Value | None, ...], ...]


def split_by_traits(dataset: DataSet, index: Places, slices: int) -> tuple[Split | None, tuple[str, ...]]:
    """Put frames with the slice of each in *index* into volumes of *slices* each, by the traits that do that.

    A trait counts if it differs between frames in one place and not merely from slice to slice. None where no traits
    make volumes that each have all slices once; then the names of those that differ are given.
    """
    count = len(index) // slices
    columns: list[Sequence[Value | None]] = []
    kept: list[Trait] = []
    differing = []
    codes, found = np.zeros(len(index), np.int64), 1
    # All of a frame at once: its groups are parsed when they are asked for.
    rows = [[trait.read(dataset, frame) for trait in TRAITS] for frame in range(len(index))]
    for trait, column in zip(TRAITS, zip(*rows, strict=True), strict=True):
        numbers = _numbered(column, ordered=trait.ordered)
        if not _separates(numbers, np.zeros_like(numbers), index):
            continue
        differing.append(trait.name)
        finer = np.unique(np.stack([codes, numbers]), axis=1, return_inverse=True)[1].ravel()
        groups = int(finer.max()) + 1
        if found < groups <= count and _separates(numbers, codes, index):
            codes, found = finer, groups
            columns.append(column)
            kept.append(trait)
    if len(index) % slices or found != count or len(np.unique(codes * slices + index)) < len(index):
        return None, tuple(differing)
    firsts = np.unique(codes, return_index=True)[1]
    told = tuple(tuple([column[first] for column in columns]) for first in firsts.tolist())
    timed = all(trait.timed for trait in kept)
    return Split(codes, count, timed, tuple([trait.name for trait in kept]), told), ()


def _numbered(column: Sequence[Value | None], *, ordered: bool) -> Places:
    """Number the values of *column*, equal ones alike; where nothing is stated comes first."""
    distinct = list(dict.fromkeys(column))
    if ordered:
        distinct.sort(key=lambda value: (value is not None, _COMPONENTS.get(str(value), len(_COMPONENTS)), value))
    places = {value: place for place, value in enumerate(distinct)}
    return np.array([places[value] for value in column], np.int64)


def _separates(numbers: Places, codes: Places, index: Places) -> bool:
    """Return whether *numbers* differ between frames that have one slice of *index* and one of *codes*."""
    before = len(np.unique(np.stack([codes, index]), axis=1).T)
    return len(np.unique(np.stack([codes, index, numbers]), axis=1).T) > before


def _number(sequence: int, tag: int) -> Callable[[DataSet, int], Value | None]:
    """Return what reads a number of a functional group, as far as the digits of 32 bits tell."""

    def read(dataset: DataSet, frame: int) -> Value | None:
        group = functional_group(dataset, frame, sequence)
        number = group.number(tag) if group else None
        return None if number is None or number != number else float(f"{number:.6g}")

    return read


def _text(sequence: int, tag: int) -> Callable[[DataSet, int], Value | None]:
    def read(dataset: DataSet, frame: int) -> Value | None:
        group = functional_group(dataset, frame, sequence)
        return (group.texts(tag) or None) if group else None

    return read


def _frame_type(dataset: DataSet, frame: int) -> DataSet | None:
    groups = (functional_group(dataset, frame, sequence) for sequence in _FRAME_TYPES)
    return next((group for group in groups if group is not None), None)


def _component(dataset: DataSet, frame: int) -> Value | None:
    """Read what of the complex signal is shown."""
    group = _frame_type(dataset, frame)
    if group is None:
        return None
    stated = (group.text(tags.ComplexImageComponent) or "").strip().upper()
    letters = [_LETTERS[text] for text in group.texts(tags.FrameType)[2:] if text in _LETTERS]
    # MIXED is what careless writers state of all frames, while the type of each says what it is.
    return letters[0] if letters and stated in ("", "MIXED") else stated or None


def _type(dataset: DataSet, frame: int) -> Value | None:
    group = _frame_type(dataset, frame)
    return (group.texts(tags.FrameType) or None) if group else None


def _b_value(dataset: DataSet, frame: int) -> Value | None:
    """Read the b-value; without diffusion weighting it is 0."""
    group = functional_group(dataset, frame, tags.MRDiffusionSequence)
    if group is not None and tags.DiffusionBValue not in group and group.text(tags.DiffusionDirectionality) == "NONE":
        return 0.0
    return _number(tags.MRDiffusionSequence, tags.DiffusionBValue)(dataset, frame)


def _direction(dataset: DataSet, frame: int) -> Value | None:
    for diffusion in functional_items(dataset, frame, tags.MRDiffusionSequence):
        for gradient in diffusion.items(tags.DiffusionGradientDirectionSequence):
            return tuple([round(number, 4) for number in gradient.numbers(tags.DiffusionGradientOrientation)])
    return None


TRAITS = (
    Trait("Complex Image Component", _component),
    Trait("Frame Type", _type, ordered=False),
    Trait("Stack ID", _text(tags.FrameContentSequence, tags.StackID), ordered=False),
    Trait("Convolution Kernel", _text(tags.CTReconstructionSequence, tags.ConvolutionKernel), ordered=False),
    Trait("KVP", _number(tags.CTXRayDetailsSequence, tags.KVP)),
    Trait("Effective Echo Time", _number(tags.MREchoSequence, tags.EffectiveEchoTime)),
    Trait("Repetition Time", _number(tags.MRTimingAndRelatedParametersSequence, tags.RepetitionTime)),
    Trait("Flip Angle", _number(tags.MRTimingAndRelatedParametersSequence, tags.FlipAngle)),
    Trait("Inversion Times", _number(tags.MRModifierSequence, tags.InversionTimes)),
    Trait(
        "Contrast/Bolus Agent Phase",
        _text(tags.ContrastBolusUsageSequence, tags.ContrastBolusAgentPhase),
        ordered=False,
    ),
    Trait("Diffusion b-value", _b_value),
    Trait("Diffusion Gradient Orientation", _direction, ordered=False),
    Trait("Temporal Position Index", _number(tags.FrameContentSequence, tags.TemporalPositionIndex), timed=True),
    *(Trait(name, read, timed=True) for name, read in TIMES),
)
"""Traits in the order in which volumes are nested: the first varies slowest."""
