"""What stored values mean: real world value mappings and the scale of a dose (PS3.3 C.7.6.16.2.11, C.8.8.3).

They hold for stored values and have nothing to do with how a picture looks.
"""

import math
from dataclasses import dataclass

from dicomfs.dicom.data_set import DataSet, Element
from dicomfs.iod.functional_groups import functional_items, own_items, shared_items, some_frame_has

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

    @property
    def end(self) -> float | None:
        """The last value that it reaches to: that of its table where it has one."""
        line = self.slope is not None and self.intercept is not None
        if line or not self.entries or self.first is None:
            return self.last
        end = self.first + self.entries - 1
        return end if self.last is None else min(end, self.last)


@dataclass(frozen=True, slots=True)
class Dose:
    """What one step of the stored values of a dose grid is worth, its units and its type."""

    scaling: float
    units: str
    type: str


def shared_mappings(dataset: DataSet) -> tuple[Mapping, ...]:
    """Read the mappings that hold for all frames without their own: shared, or of the object itself."""
    return tuple([_mapping(item) for item in shared_items(dataset, MAPPINGS) or dataset.items(MAPPINGS)])


def own_mappings(dataset: DataSet, frame: int) -> tuple[Mapping, ...]:
    """Read the mappings of *frame*, counted from 0, alone."""
    return tuple([_mapping(item) for item in own_items(dataset, frame, MAPPINGS)])


def mappings_of(dataset: DataSet, frame: int) -> tuple[tuple[Mapping, Element | None], ...]:
    """Read the mappings of one quantity that hold for *frame*, counted from 0, each with the element of its table.

    The first that can be used is what the maker of the file put in front. Those in the same units go on where it does
    not reach, if they have its label, or reach to no value that it reaches to: then they are parts of one range, and
    else other quantities, which one array does not mix. () where there is none that can be used.
    """
    items = functional_items(dataset, frame, MAPPINGS) or dataset.items(MAPPINGS)
    parts: list[tuple[Mapping, Element | None]] = []
    for mapping, table in [found for item in items for found in _usable(item)]:
        if all(_are_parts(part, mapping) for part, _ in parts):
            parts.append((mapping, table))
    return tuple(parts)


def has_own_mappings(dataset: DataSet) -> bool:
    """Tell whether any frame has mappings of its own."""
    return some_frame_has(dataset, MAPPINGS)


def dose_of(dataset: DataSet) -> Dose | None:
    """Read the scale of a dose grid; None where there is none."""
    scaling = dataset.number(_DOSE_SCALING)
    if scaling is None or not math.isfinite(scaling):
        return None
    return Dose(scaling, dataset.text(_DOSE_UNITS) or "", dataset.text(_DOSE_TYPE) or "")


def _are_parts(one: Mapping, other: Mapping) -> bool:
    """Tell whether two mappings are parts of one quantity; they may share the value where one ends."""
    if one.units != other.units:
        return False
    (first, last), (low, high) = ((part.first, part.end) for part in (one, other))
    apart = (last is not None and low is not None and last <= low) or (
        first is not None and high is not None and high <= first
    )
    return apart or one.label == other.label != ""


def _usable(item: DataSet) -> tuple[tuple[Mapping, Element | None], ...]:
    """Read one mapping where it has a line or a table; a line comes first."""
    mapping, table = _mapping(item), item.get(_TABLE)
    if mapping.slope is not None and mapping.intercept is not None:
        return ((mapping, None),)
    return ((mapping, table),) if table is not None and mapping.entries and mapping.first is not None else ()


def _mapping(item: DataSet) -> Mapping:
    units = next(iter(item.items(_UNITS)), None)
    table = item.get(_TABLE)
    first, last = _reach(item)
    return Mapping(
        first,
        last,
        _finite(item, _SLOPE),
        _finite(item, _INTERCEPT),
        table.length // 8 if table else 0,
        item.text(_LABEL) or "",
        (units.text(_CODE) or "") if units else "",
        (units.text(_MEANING) or "") if units else "",
    )


def _reach(item: DataSet) -> tuple[float | None, float | None]:
    """Read the first and the last value mapped; in the other sign where only that puts them in order."""
    first, last = _finite(item, *_FIRST), _finite(item, *_LAST)
    if first is not None and last is not None and last < first:
        low, high = (item.integers(tags[0], not item.signed)[:1] for tags in (_FIRST, _LAST))
        if low and high and low <= high:
            return float(low[0]), float(high[0])
    return first, last


def _finite(item: DataSet, *tags: int) -> float | None:
    """Read the first of *tags* that is there and a number that JSON has."""
    numbers = (item.number(tag) for tag in tags)
    return next((number for number in numbers if number is not None and math.isfinite(number)), None)
