"""Real world value mappings, and the scale of a dose grid (PS3.3 C.7.6.16.2.11, C.8.8.3).

They apply to stored values and do not affect display images.
"""

import math
from dataclasses import dataclass

from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.iod.functional_groups import functional_items, own_items, shared_items, some_frame_has

# The first and last value mapped, as integers (US or SS) or as floating-point numbers.
_FIRST, _LAST = (
    (tags.RealWorldValueFirstValueMapped, tags.DoubleFloatRealWorldValueFirstValueMapped),
    (tags.RealWorldValueLastValueMapped, tags.DoubleFloatRealWorldValueLastValueMapped),
)


@dataclass(frozen=True, slots=True)
class RealWorldValueMapping:
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


def shared_mappings(dataset: DataSet) -> tuple[RealWorldValueMapping, ...]:
    """Read the mappings that hold for all frames without their own: shared, or of the object itself."""
    return tuple(
        [
            _mapping(item)
            for item in shared_items(dataset, tags.RealWorldValueMappingSequence)
            or dataset.items(tags.RealWorldValueMappingSequence)
        ]
    )


def own_mappings(dataset: DataSet, frame: int) -> tuple[RealWorldValueMapping, ...]:
    """Read the mappings of *frame*, counted from 0, alone."""
    return tuple([_mapping(item) for item in own_items(dataset, frame, tags.RealWorldValueMappingSequence)])


def mappings_of(dataset: DataSet, frame: int) -> tuple[tuple[RealWorldValueMapping, DataSet], ...]:
    """Read the mappings of one quantity that hold for *frame*, counted from 0, each with the Item that states it.

    The first that can be used is what the maker of the file put in front. Those in the same units go on where it does
    not reach, if they have its label, or reach to no value that it reaches to: then they are parts of one range, and
    otherwise other quantities, which one array does not mix. () where there is none that can be used.
    """
    items = functional_items(dataset, frame, tags.RealWorldValueMappingSequence) or dataset.items(
        tags.RealWorldValueMappingSequence
    )
    parts: list[tuple[RealWorldValueMapping, DataSet]] = []
    for item in items:
        mapping = _mapping(item)
        if _is_usable(mapping) and all(_are_parts(part, mapping) for part, _ in parts):
            parts.append((mapping, item))
    return tuple(parts)


def has_own_mappings(dataset: DataSet) -> bool:
    """Return whether any frame has mappings of its own."""
    return some_frame_has(dataset, tags.RealWorldValueMappingSequence)


def dose_of(dataset: DataSet) -> Dose | None:
    """Read the scale of a dose grid; None where there is none."""
    scaling = dataset.number(tags.DoseGridScaling)
    if scaling is None or not math.isfinite(scaling):
        return None
    return Dose(scaling, dataset.text(tags.DoseUnits) or "", dataset.text(tags.DoseType) or "")


def _are_parts(one: RealWorldValueMapping, other: RealWorldValueMapping) -> bool:
    """Return whether two mappings are parts of one quantity; they may share the value where one ends."""
    if one.units != other.units:
        return False
    (first, last), (low, high) = ((part.first, part.end) for part in (one, other))
    apart = (last is not None and low is not None and last <= low) or (
        first is not None and high is not None and high <= first
    )
    return apart or one.label == other.label != ""


def _is_usable(mapping: RealWorldValueMapping) -> bool:
    """Whether a mapping has a line or a table; the line comes first."""
    line = mapping.slope is not None and mapping.intercept is not None
    return line or (mapping.entries > 0 and mapping.first is not None)


def _mapping(item: DataSet) -> RealWorldValueMapping:
    units = next(iter(item.items(tags.MeasurementUnitsCodeSequence)), None)
    table = item.get(tags.RealWorldValueLUTData)
    first, last = _reach(item)
    return RealWorldValueMapping(
        first,
        last,
        _finite(item, tags.RealWorldValueSlope),
        _finite(item, tags.RealWorldValueIntercept),
        table.length // 8 if table else 0,
        item.text(tags.LUTLabel) or "",
        (units.text(tags.CodeValue) or "") if units else "",
        (units.text(tags.CodeMeaning) or "") if units else "",
    )


def _reach(item: DataSet) -> tuple[float | None, float | None]:
    """Read the first and the last value mapped; in the other sign where only that puts them in order."""
    first, last = _finite(item, *_FIRST), _finite(item, *_LAST)
    if first is not None and last is not None and last < first:
        low, high = (item.integers(pair[0], not item.signed)[:1] for pair in (_FIRST, _LAST))
        if low and high and low <= high:
            return float(low[0]), float(high[0])
    return first, last


def _finite(item: DataSet, *attributes: int) -> float | None:
    """Read the first of *attributes* that is there and a number that JSON has."""
    numbers = (item.number(tag) for tag in attributes)
    return next((number for number in numbers if number is not None and math.isfinite(number)), None)
