"""Columns of a long sequence: one attribute of all Items as its distinct values, without an object for each Item."""

from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import overload

from dicomfs.dicom.data_set import DataSet, Element
from dicomfs.dicom.item_layout import Head, Layout, plan_of

# Values up to here are kept in memory, as the parser does.
_MAX_VALUE_BYTES = 64 * 1024


class Block:
    """Bytes in memory, as the part of a stream that they were read from."""

    __slots__ = ("base", "data")

    def __init__(self, data: bytes, base: int) -> None:
        """Hold *data*, whose first byte is at the offset *base*."""
        self.data = data
        self.base = base

    @property
    def size(self) -> int:
        """The offset after the last byte."""
        return self.base + len(self.data)

    def pread(self, length: int, offset: int) -> bytes:
        """Read *length* bytes at *offset*; fewer only where the stream ends."""
        return self.data[max(0, offset - self.base) : max(0, offset - self.base + length)]


class Column(Sequence[DataSet | None]):
    """One attribute of all Items of a long sequence: its distinct values, and in *which* the index of each Item's.

    A value is a data set with the attribute alone; without elements for Items that do not state it, and None for those
    that have no Item in the sequence. Data sets are made when they are asked for: of 100,000 they would take 90 MB.
    """

    def __init__(self, nothing: DataSet) -> None:
        """Start without values; *nothing* is the data set without elements."""
        self._nothing = nothing
        self._values: list[_Value | DataSet | None] = []
        self._known: dict[object, int] = {}
        self.which = array("L")

    def __len__(self) -> int:
        """Count the distinct values."""
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> DataSet | None: ...
    @overload
    def __getitem__(self, index: slice) -> "list[DataSet | None]": ...
    def __getitem__(self, index: int | slice) -> "DataSet | list[DataSet | None] | None":
        """Make the data set of one distinct value, or of some."""
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        value = self._values[index]
        if not isinstance(value, tuple):
            return value
        vr, data, tag, offset = value
        nothing = self._nothing
        holder = DataSet(nothing.explicit, nothing.big_endian, nothing.charset, nothing.signed, nothing.stream)
        kept = data if len(data) <= _MAX_VALUE_BYTES else None
        holder.elements[tag] = Element(tag, vr, offset, len(data), False, kept)
        return holder

    @property
    def packed(self) -> tuple[str, int, bytes] | None:
        """The VR, the length and the bytes of all distinct values end to end; None where they are not so alike."""
        values = [value for value in self._values if isinstance(value, tuple)]
        if len(values) != len(self._values) or len({(value[0], len(value[1])) for value in values}) != 1:
            return None
        return values[0][0], len(values[0][1]), b"".join([value[1] for value in values])

    def reader(self, sequence: int, tag: int, layouts: Sequence[Layout]) -> "ColumnReader":
        """Return what adds the values of Items that have one of *layouts* each."""
        return ColumnReader(self, [plan_of(layout, sequence, tag) for layout in layouts])

    def code(self, key: object, value: "_Value | DataSet | None") -> int:
        """Return the index of a distinct value by its *key*, which becomes *value* if it is new."""
        code = self._known.get(key)
        if code is None:
            code = self._known[key] = len(self._values)
            self._values.append(value)
        return code

    def nothing_code(self, *, has_items: bool) -> int:
        """Return the index of the value of an Item that does not state the attribute."""
        return self.code(has_items, self._nothing if has_items else None)


def runs_of(numbers: "array[int]") -> list[tuple[int, int, int]]:
    """Return the first index of each run of equal *numbers*, the index after its last, and the number."""
    runs, first = [], 0
    for number, group in groupby(numbers):
        last = first + sum(1 for _ in group)
        runs.append((first, last, number))
        first = last
    return runs


# VR, value, tag and offset in the stream.
_Value = tuple[str, bytes, int, int]


class ColumnReader:
    """Adds the values of Items to a column, block by block."""

    def __init__(self, column: Column, plans: "list[Head | bool | None]") -> None:
        """Add to *column*; *plans* has for each layout where its Items have the value (see `plan_of`)."""
        self._column = column
        self._plans = plans
        # Values by their bytes: one dictionary for each VR, so that a look-up hashes nothing but the bytes.
        self._of_vr: dict[str, dict[bytes, int]] = {}

    def add(self, block: Block, starts: "array[int]", runs: Sequence[tuple[int, int, int]]) -> Iterator[int]:
        """Add the values of Items of one block, which are in *runs* of one layout; yield each that must be parsed.

        `add_parsed` is then to be called for it, before the next is asked for.
        """
        data, which = block.data, self._column.which
        for first, last, number in runs:
            plan = self._plans[number]
            if plan is None:
                yield from range(first, last)
                continue
            if isinstance(plan, bool):
                which.extend([self._column.nothing_code(has_items=plan)] * (last - first))
                continue
            known = self._of_vr.setdefault(plan.vr, {})
            # Items of one layout are equally long, and follow each other in the block.
            begin, length = starts[first] - block.base + plan.value, plan.stop - plan.value
            step = (starts[last - 1] - starts[first]) // (last - first - 1) if last - first > 1 else 1
            values = [data[at : at + length] for at in range(begin, begin + (last - first - 1) * step + 1, step)]
            codes = [known.get(value, -1) for value in values]
            if -1 in codes:
                for place, value in enumerate(values):
                    if value not in known:
                        offset = starts[first + place] + plan.value
                        known[value] = self._column.code((plan.vr, value), (plan.vr, value, plan.tag, offset))
                codes = [known[value] for value in values]
            which.extend(codes)

    def add_parsed(self, item: DataSet | None, tag: int) -> None:
        """Add what an Item states that had to be parsed."""
        element = item.get(tag) if item is not None else None
        if item is None or element is None:
            code = self._column.nothing_code(has_items=item is not None)
        elif element.value is None:
            code = self._column.code(object(), item)
        else:
            key = element.vr, element.value, item.charset, item.signed
            code = self._column.code(key, item)
        self._column.which.append(code)
