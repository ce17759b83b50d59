"""Sequences that are too long to keep an object for each Item, such as the functional groups of 100,000 frames.

Only this module knows how they are kept: their bytes compressed in blocks, the offset of each Item, and which Items
share a layout. An Item is parsed when it is asked for; one attribute of all Items is read without parsing any.
"""

import re
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import overload

from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.encoding import UNDEFINED, Encoding
from dicomfs.dicom.item_columns import Block, Column, runs_of
from dicomfs.dicom.item_layout import Layouts, Malformed, has_items, read_head
from dicomfs.dicom.item_walk import whole_items
from dicomfs.dicom.stream import Stream

LONG = 1 << 20
"""Bytes from which on a sequence of the outermost data set is kept in this way."""
# Items of one sequence: an offset of 8 bytes each.
MAX_INDEXED_ITEMS = 1_000_000
# Bytes that are compressed as one.
BLOCK_ITEMS = 64 << 10
# Compressed bytes of one sequence. Real ones take a tenth of their length or less.
_MAX_KEPT_BYTES = 64 << 20
# Groups that are remembered.
_REMEMBERED = 4096
# Items that only the parser can read, each as a whole.
_MAX_ODD_ITEMS = 2000
_NEVER = -1


Parse = Callable[[Stream, int, int, Encoding, DataSet, bool], DataSet]
"""Parse a data set of a stream from one offset to another, or to its delimiter, in a data set around it."""


class LongSequence(Sequence[DataSet]):
    """The Items of a sequence that is long; what is asked for is parsed, and the last of it remembered."""

    def __init__(self, encoding: Encoding, outer: DataSet, parse: Parse) -> None:
        """Begin without Items; *parse* makes one of its bytes, in the context of *outer*."""
        self._encoding = encoding
        self._outer = DataSet(outer.explicit, outer.big_endian, outer.charset, outer.signed, outer.stream)
        self._parse = parse
        self._starts = array("Q")
        self._firsts = array("Q")
        self._blocks: list[bytes] = []
        self._layouts = Layouts(encoding)
        self._end = 0
        self._kept = 0
        self._told: dict[int, tuple[bool, bool]] = {}
        self._item = lru_cache(64)(self._make)
        self._block = lru_cache(2)(self._inflated)
        self._group = lru_cache(_REMEMBERED)(self._parsed_group)

    def __len__(self) -> int:
        """Count the Items."""
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> DataSet: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[DataSet, ...]: ...
    def __getitem__(self, index: int | slice) -> DataSet | tuple[DataSet, ...]:
        """Parse an Item, or some."""
        if isinstance(index, slice):
            return tuple([self._item(each) for each in range(*index.indices(len(self)))])
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._item(index % len(self))

    def __iter__(self) -> Iterator[DataSet]:
        """Parse one Item after the other, and remember none."""
        return (self._parsed(data, start) for _, data, start in self._each())

    @property
    def weight(self) -> int:
        """Bytes of memory that this costs, roughly."""
        return 8 * len(self._starts) + self._kept + self._layouts.weight

    @property
    def extent(self) -> tuple[int, int]:
        """Where in the stream the Items are: the offset of the first and the one after the last."""
        return (self._starts[0], self._end) if self._starts else (0, 0)

    @property
    def explicit_little(self) -> bool:
        """Whether the Items are in Explicit VR Little Endian."""
        return self._encoding == Encoding(True, False)

    def items(self, index: int, sequence: int) -> tuple[DataSet, ...]:
        """Return the Items of *sequence* in Item *index*; nothing else of it is parsed."""
        data, base = self._bytes(index)
        layout = self._layouts.get(index, data)
        if not layout.plain:
            return tuple(self._item(index).items(sequence))
        head = layout.top.get(sequence)
        if head and head.vr != "SQ":
            return ()
        return self._group(sequence, data[head.start : head.end], base + head.start) if head else ()

    def any_has(self, sequence: int) -> bool:
        """Return whether any Item has Items in *sequence*; asked again, that costs nothing."""
        return self._having(sequence)[0]

    def all_have(self, sequence: int) -> bool:
        """Return whether each Item has Items in *sequence*; asked again, that costs nothing."""
        return self._having(sequence)[1]

    def any_states(self, sequence: int, tag: int) -> bool:
        """Return whether any Item may state *tag* in the first Item of its *sequence*."""
        shared = self._layouts.shared
        return shared is None or any((sequence, tag) in layout.nested for layout in shared)

    def columns(self, attributes: Sequence[tuple[int, int]]) -> list["Column"]:
        """Read attributes of all Items in one walk: each is a sequence, and the tag that its first Item states."""
        nothing = DataSet(*self._encoding, self._outer.charset, self._outer.signed, self._outer.stream)
        columns = [Column(nothing) for _ in attributes]
        read = [
            column.reader(sequence, tag, self._layouts.all)
            for column, (sequence, tag) in zip(columns, attributes, strict=True)
        ]
        for block, first, last in self._pieces():
            starts, runs = self._starts[first:last], runs_of(self._layouts.numbers[first:last])
            for reader, (sequence, tag) in zip(read, attributes, strict=True):
                for index in reader.add(block, starts, runs):
                    reader.add_parsed(next(iter(self.items(first + index, sequence)), None), tag)
        return columns

    def distinct(self, sequence: int) -> list[int]:
        """Return the index of the first Item for each content of its *sequence*, compared byte by byte."""
        seen: dict[bytes, int] = {}
        tops = [layout.top.get(sequence) for layout in self._layouts.all]
        bounds = [(head.start, head.end) if head else (0, 0) for head in tops]
        numbers = self._layouts.numbers
        for block, first, last in self._pieces():
            data, base = block.data, block.base
            for index, start in enumerate(self._starts[first:last], first):
                number = numbers[index]
                if number:
                    begin, end = bounds[number]
                    content = data[start - base + begin : start - base + end]
                else:
                    content = self._odd_content(index, sequence)
                if content not in seen:
                    seen[content] = index
        return list(seen.values())

    def _odd_content(self, index: int, sequence: int) -> bytes:
        """Return the bytes of a sequence of an Item that shares its layout with none."""
        data, _ = self._bytes(index)
        layout = self._layouts.get(index, data)
        head = layout.top.get(sequence)
        return data if not layout.plain else data[head.start : head.end] if head else b""

    def long_items(self, longest: int, group: int) -> Iterator[int]:
        """Return the Items which may have values of more than *longest* bytes, or elements of *group*."""
        seen = group.to_bytes(2, "big" if self._encoding.big_endian else "little")
        for index, data, _ in self._each():
            if seen in data:
                yield index
            elif len(data) > longest:
                layout = self._layouts.get(index, data)
                if not layout.plain or any(head.stop - head.value > longest for head in layout.top.values()):
                    yield index

    def _pieces(self) -> Iterator[tuple[Block, int, int]]:
        """Return each block with the numbers of its first Item and of the one after its last."""
        for number, first in enumerate(self._firsts):
            last = self._firsts[number + 1] if number + 1 < len(self._firsts) else len(self._starts)
            yield self._inflated(number), first, last

    def _each(self) -> Iterator[tuple[int, bytes, int]]:
        """Return number, bytes and offset of each Item, block by block."""
        for block, first, last in self._pieces():
            starts = [*self._starts[first:last], block.size]
            for place in range(last - first):
                start = starts[place]
                yield first + place, block.data[start - block.base : starts[place + 1] - block.base], start

    def _having(self, sequence: int) -> tuple[bool, bool]:
        """Return whether any Item, and whether each one, has Items in *sequence*."""
        if sequence not in self._told:
            shared = self._layouts.shared
            if shared is not None:
                have = [has_items(layout.top.get(sequence)) for layout in shared]
            else:
                have = [holder is not None for holder in self.columns([(sequence, _NEVER)])[0]]
            self._told[sequence] = any(have), all(have)
        return self._told[sequence]

    def _bytes(self, index: int) -> tuple[bytes, int]:
        """Return an Item from its head to where the next one begins, and its offset in the stream."""
        block = self._block(bisect_right(self._firsts, index) - 1)
        start = self._starts[index]
        end = self._starts[index + 1] if index + 1 < len(self._starts) else self._end
        return block.data[start - block.base : end - block.base], start

    def _inflated(self, number: int) -> Block:
        return Block(zlib.decompress(self._blocks[number]), self._starts[self._firsts[number]])

    def _make(self, index: int) -> DataSet:
        return self._parsed(*self._bytes(index))

    def _parsed(self, data: bytes, start: int) -> DataSet:
        _, _, value, length = read_head(data, 0, len(data), self._encoding)
        undefined = length == UNDEFINED
        end = start + (len(data) if undefined else value + length)
        return self._parse(Block(data, start), start + value, end, self._encoding, self._outer, undefined)

    def _parsed_group(self, sequence: int, data: bytes, offset: int) -> tuple[DataSet, ...]:
        parsed = self._parse(Block(data, offset), offset, offset + len(data), self._encoding, self._outer, False)
        return tuple(parsed.items(sequence))

    # Making one

    def add(self, data: bytes, ends: list[int], base: int) -> None:
        """Take over Items that follow those before: *data* from offset *base*, in which each ends at one of *ends*."""
        start = first = 0
        for end in ends:
            if start == first:
                self._firsts.append(len(self._starts))
            self._layouts.add(data[start:end])
            self._starts.append(base + start)
            if end - first >= BLOCK_ITEMS or end == ends[-1]:
                self._blocks.append(zlib.compress(data[first:end], 1))
                self._kept += len(self._blocks[-1])
                first = end
            start = end
        self._end = base + ends[-1]

    @property
    def recent(self) -> Sequence["re.Pattern[bytes]"]:
        """Patterns of the Items that came last."""
        return self._layouts.recent

    @property
    def too_much(self) -> bool:
        """Whether this has grown beyond its bounds."""
        too_large = self._kept > _MAX_KEPT_BYTES or len(self._starts) > MAX_INDEXED_ITEMS
        return too_large or self._layouts.odd > _MAX_ODD_ITEMS


def long_sequence(
    stream: Stream, start: int, end: int, encoding: Encoding, outer: DataSet, parse: Parse, *, undefined: bool
) -> tuple[LongSequence, int] | None:
    """Index the Items from *start* to *end* or, where *undefined*, to the delimiter, and say where the sequence ended.

    None where it is short, where anything in it must be repaired, or where it is beyond all bounds.
    """
    if end - start < LONG:
        return None
    found = LongSequence(encoding, outer, parse)
    stop = start
    try:
        for data, ends, position in whole_items(stream, start, end, encoding, found.recent, undefined=undefined):
            if ends:
                found.add(data, ends, position)
            if found.too_much:
                return None
            stop = position + (ends[-1] if ends else 0)
    except Malformed:
        return None
    if stop - start < LONG:
        return None
    return found, stop + 8 if undefined else stop


def has_long(dataset: DataSet) -> bool:
    """Return whether any sequence of the outermost data set is kept in this way: writing all of it takes seconds."""
    return any(isinstance(element.items, LongSequence) for element in dataset.elements.values())
