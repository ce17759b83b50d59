"""What stored values mean: real world value mappings and the scale of a dose (PS3.3 C.7.6.16.2.11, C.8.8.3).

They hold for stored values and have nothing to do with how a picture looks.
"""

import math
from dataclasses import dataclass

from dicomfs.dicom.elements import DataSet, Element
from dicomfs.image.functional import PER_FRAME_GROUPS, SHARED_GROUPS, functional_group

MAPPINGS, _UNITS, _MEANING, _CODE = 0x00409096, 0x004008EA, 0x00080104, 0x00080100
# The first and last value mapped, as integers (US or SS) or as real numbers.
_FIRST, _LAST = (0x00409216, 0x00409214), (0x00409211, 0x00409213)
_INTERCEPT, _SLOPE, _TABLE, _LABEL = 0x00409224, 0x00409225, 0x00409212, 0x00409210
_DOSE_SCALING, _DOSE_UNITS, _DOSE_TYPE = 0x3004000E, 0x30040002, 0x30040004


@dataclass(frozen=True, slots=True)
class Mapping:
    """Stored values from *first* to *last* to real ones: by *slope* and *intercept*, or by a table of *entries*.

    *units* is the code of the units, *meaning* their name.
    """

    first: float | None
    last: float | None
    slope: float | None
    intercept: float | None
    entries: int
    label: str
    units: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Dose:
    """What one step of the stored values of a dose grid is worth, its units and its type."""

    scaling: float
    units: str
    type: str


def shared_mappings(dataset: DataSet) -> tuple[Mapping, ...]:
    """Read the mappings that hold for all frames without their own: shared, or of the object itself."""
    for holder in (*dataset.items(SHARED_GROUPS)[:1], dataset):
        items = holder.items(MAPPINGS)
        if items:
            return tuple([_mapping(item) for item in items])
    return ()


def own_mappings(dataset: DataSet, frame: int) -> tuple[Mapping, ...]:
    """Read the mappings of *frame*, counted from 0, alone."""
    groups = dataset.items(PER_FRAME_GROUPS)[frame : frame + 1]
    return tuple([_mapping(item) for group in groups for item in group.items(MAPPINGS)])


def mapping_of(dataset: DataSet, frame: int) -> tuple[Mapping, Element | None] | None:
    """Read the first mapping that holds for *frame*, counted from 0, with the element that holds its table.

    Several mappings of one frame are several quantities, or parts of the range; the first is what the maker of the
    file put in front. None where there is none that can be used.
    """
    group = functional_group(dataset, frame, MAPPINGS)
    for item in (group,) if group is not None else dataset.items(MAPPINGS):
        mapping, table = _mapping(item), item.get(_TABLE)
        if mapping.slope is not None and mapping.intercept is not None:
            return mapping, None
        if table is not None and mapping.entries and mapping.first is not None:
            return mapping, table
    return None


def has_own_mappings(dataset: DataSet) -> bool:
    """Tell whether frames have mappings of their own; the ends and the middle stand for all."""
    own = dataset.items(PER_FRAME_GROUPS)
    return bool(own) and any(own[place].items(MAPPINGS) for place in (0, len(own) // 2, -1))


def dose_of(dataset: DataSet) -> Dose | None:
    """Read the scale of a dose grid; None where there is none."""
    scaling = dataset.number(_DOSE_SCALING)
    if scaling is None or not math.isfinite(scaling):
        return None
    return Dose(scaling, dataset.text(_DOSE_UNITS) or "", dataset.text(_DOSE_TYPE) or "")


def _mapping(item: DataSet) -> Mapping:
    units = next(iter(item.items(_UNITS)), None)
    table = item.get(_TABLE)
    return Mapping(
        _finite(item, *_FIRST),
        _finite(item, *_LAST),
        _finite(item, _SLOPE),
        _finite(item, _INTERCEPT),
        table.length // 8 if table else 0,
        item.text(_LABEL) or "",
        (units.text(_CODE) or "") if units else "",
        (units.text(_MEANING) or "") if units else "",
    )


def _finite(item: DataSet, *tags: int) -> float | None:
    """Read the first of *tags* that is there and a number that JSON has."""
    numbers = (item.number(tag) for tag in tags)
    return next((number for number in numbers if number is not None and math.isfinite(number)), None)
