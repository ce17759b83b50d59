"""Sequences that are too long to keep an object for each Item, such as the functional groups of 100,000 frames.

Only this module knows how they are kept: their bytes compressed in blocks, the place of each Item, and which Items are
laid out alike. An Item is parsed when it is asked for; a single value of all Items is read without parsing any.
"""

import re
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, overload

from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet, Element
from dicomfs.dicom.dictionary import public_vr
from dicomfs.dicom.encoding import EXPLICIT, IMPLICIT, LENGTH, UNDEFINED, VRS, Encoding
from dicomfs.dicom.stream import Stream

LONG = 1 << 20
"""Bytes from which on a sequence of the outermost data set is kept in this way."""
# Items of one sequence: a place of 8 bytes each.
MOST_INDEXED = 1_000_000
# What is read at a time, and the longest Item; what is compressed as one.
_WINDOW, _LONGEST_ITEM, _BLOCK = 1 << 20, 16 << 20, 64 << 10
# Compressed bytes of one sequence. Real ones take a tenth of their length or less.
_MOST_KEPT = 64 << 20
# Elements that are walked over in Items without a stated length, some 0.3 microseconds each.
_MOST_WALKED = 10_000_000
# Layouts that are told apart; of those of one length, how many are tried. Values and blocks that are remembered.
_MOST_LAYOUTS, _TRIED, _REMEMBERED = 512, 8, 4096
# Items that only the walk that mends can read, each as a whole.
_MOST_ODD = 2000
# What changes how the elements behind it are read.
_CONTEXT = frozenset((tags.SpecificCharacterSet, tags.PixelRepresentation))
_LONGEST_VALUE = 64 * 1024
_NEVER = -1


class _Malformed(ValueError):
    """The bytes are not laid out as they should be; only the walk that mends what it finds may read them."""


class _More(Exception):
    """The bytes end too early."""


class Head(NamedTuple):
    """Where an element begins, where its value does and ends, its delimiter left out, and where what follows begins."""

    tag: int
    vr: str
    start: int
    value: int
    stop: int
    end: int
    undefined: bool


def _head(data: bytes, position: int, limit: int, encoding: Encoding) -> tuple[int, str, int, int]:
    """Read tag, VR (empty for Items and delimiters), start of the value and length."""
    if limit - position < 8:
        raise _More
    if not encoding.explicit:
        group, number, length = IMPLICIT[encoding.big_endian].unpack_from(data, position)
        tag = group << 16 | number
        return tag, "" if group == 0xFFFE else public_vr(tag) or "UN", position + 8, length
    group, number, code, length = EXPLICIT[encoding.big_endian].unpack_from(data, position)
    tag = group << 16 | number
    if group == 0xFFFE:
        return tag, "", position + 8, LENGTH[encoding.big_endian].unpack_from(data, position + 4)[0]
    known = VRS.get(code)
    if known is None:
        raise _Malformed
    vr, long = known
    if not long:
        return tag, vr, position + 8, length
    if limit - position < 12:
        raise _More
    return tag, vr, position + 12, LENGTH[encoding.big_endian].unpack_from(data, position + 8)[0]


def _delimited(data: bytes, position: int, limit: int, encoding: Encoding, *, sequence: bool) -> tuple[int, int]:
    """Walk to the end of an Item, or of a *sequence*, without a stated length; give it, and the elements passed.

    Raises _Malformed where anything is there that would have to be mended, and _More.
    """
    open_sequences = [sequence]
    walked = 0
    while True:
        tag, vr, start, length = _head(data, position, limit, encoding)
        walked += 1
        inside = open_sequences[-1]
        if tag >= 0xFFFE0000:
            if tag == (tags.SequenceDelimitationItem if inside else tags.ItemDelimitationItem):
                position = start
                open_sequences.pop()
                if not open_sequences:
                    return position, walked
                continue
            if tag != tags.Item or not inside:
                raise _Malformed
        elif inside:
            raise _Malformed
        if length == UNDEFINED:
            if tag != tags.Item and vr != "SQ":
                raise _Malformed
            open_sequences.append(tag != tags.Item)
            position = start
            if len(open_sequences) > 64:
                raise _Malformed
        else:
            position = start + length
            if position > limit:
                raise _More


@dataclass(slots=True)
class _Layout:
    """Where in an Item the elements lie, and those of the first Items of its sequences; offsets are from its head.

    *plain* says that all of that holds without the walk that mends.
    """

    plain: bool
    top: dict[int, Head] = field(default_factory=dict)
    nested: dict[tuple[int, int], Head] = field(default_factory=dict)
    known: list[tuple[int, int]] = field(default_factory=list)
    pattern: "re.Pattern[bytes] | None" = None


_UNKNOWN = _Layout(False)


def _has_items(head: Head | None) -> bool:
    """Tell whether a sequence has room for an Item."""
    return head is not None and head.vr == "SQ" and head.stop - head.value >= 8


def _elements(data: bytes, start: int, stop: int | None, limit: int, encoding: Encoding) -> tuple[list[Head], int]:
    """Give the heads of a data set from *start* to *stop*, or to its delimiter, and say where it ended."""
    heads: list[Head] = []
    position, seen = start, set(_CONTEXT)
    while stop is None or position < stop:
        bound = limit if stop is None else stop
        tag, vr, value, length = _head(data, position, bound, encoding)
        if tag >= 0xFFFE0000:
            if stop is None and tag == tags.ItemDelimitationItem:
                return heads, position
            raise _Malformed
        if tag in seen or (vr == "UN" and public_vr(tag)):
            raise _Malformed
        seen.add(tag)
        if length == UNDEFINED:
            if vr != "SQ":
                raise _Malformed
            end, _ = _delimited(data, value, bound, encoding, sequence=True)
            heads.append(Head(tag, vr, position, value, end - 8, end, True))
        else:
            end = value + length
            if end > bound:
                raise _Malformed
            heads.append(Head(tag, vr, position, value, end, end, False))
        position = end
    return heads, position


def _layout(data: bytes, encoding: Encoding) -> _Layout:
    """Lay out one Item, *data* from its head to where the next one begins."""
    try:
        return _laid_out(data, encoding)
    except (_Malformed, _More):
        return _UNKNOWN


def _laid_out(data: bytes, encoding: Encoding) -> _Layout:
    _, _, value, length = _head(data, 0, len(data), encoding)
    heads, end = _elements(data, value, None if length == UNDEFINED else value + length, len(data), encoding)
    layout = _Layout(True, {head.tag: head for head in heads})
    known = layout.known
    known.append((0, value))
    for head in heads:
        known.append((head.start, head.value))
        if head.vr != "SQ" or head.stop - head.value < 8:
            known.append((head.stop, head.end))
            continue
        tag, _, inner, length = _head(data, head.value, head.stop, encoding)
        if tag != tags.Item:
            raise _Malformed
        known.append((head.value, inner))
        nested, stop = _elements(data, inner, None if length == UNDEFINED else inner + length, head.stop, encoding)
        for each in nested:
            # What has no stated length of its own is alike only where it is the same.
            known.append((each.start, each.end if each.undefined else each.value))
            layout.nested[head.tag, each.tag] = each
        known.append((stop, head.end) if head.undefined or length == UNDEFINED else (head.stop, head.end))
    known.append((end, len(data)))
    return layout


def _pattern(layout: _Layout, data: bytes) -> "re.Pattern[bytes]":
    """Write the pattern of an Item laid out like *data*: all heads as they are, values of any content."""
    parts, at = [], 0
    for start, stop in layout.known:
        parts.append(b".{%d}" % (start - at) if start > at else b"")
        parts.append(re.escape(data[max(start, at) : stop]))
        at = max(at, stop)
    return re.compile(b"".join(parts), re.DOTALL)


def _plan(layout: _Layout, sequence: int, tag: int) -> Head | bool | None:
    """Say where the Items of a layout have a value, or whether they have the *sequence*; None where that is unsure."""
    head = layout.nested.get((sequence, tag))
    if not layout.plain or (head and len(head.vr) > 2):
        return None
    return head or _has_items(layout.top.get(sequence))


class _Layouts:
    """The layout of each Item of a sequence; those of one length and the same heads share one."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self.all = [_UNKNOWN]
        self._of_length: dict[int, list[int]] = {}
        self.odd = 0
        self.recent: list[re.Pattern[bytes]] = []
        self.numbers = array("H")

    def add(self, data: bytes) -> None:
        """Note the layout of the next Item."""
        tried = self._of_length.setdefault(len(data), [])
        for place, number in enumerate(tried[:_TRIED]):
            pattern = self.all[number].pattern
            if pattern is not None and pattern.fullmatch(data):
                if place:
                    tried.insert(0, tried.pop(place))
                    self._use(pattern)
                self.numbers.append(number)
                return
        number = 0
        if len(self.all) < _MOST_LAYOUTS:
            layout = _layout(data, self._encoding)
            if layout.plain:
                layout.pattern = _pattern(layout, data)
                number = len(self.all)
                self.all.append(layout)
                tried.insert(0, number)
                self._use(layout.pattern)
            else:
                self.odd += 1
        self.numbers.append(number)

    def _use(self, pattern: "re.Pattern[bytes]") -> None:
        """Remember the patterns that were of use last."""
        if pattern in self.recent:
            self.recent.remove(pattern)
        self.recent.insert(0, pattern)
        del self.recent[_TRIED:]

    def get(self, index: int, data: bytes) -> _Layout:
        """Give the layout of an Item, whose bytes are *data*."""
        number = self.numbers[index]
        return self.all[number] if number else _layout(data, self._encoding)

    @property
    def shared(self) -> list[_Layout] | None:
        """All layouts that there are; None where some Items are not told apart by them."""
        return self.all[1:] if 0 not in self.numbers else None

    @property
    def weight(self) -> int:
        """Bytes of memory that this costs, roughly."""
        return 2 * len(self.numbers) + sum(
            [2000 + 400 * (len(layout.top) + len(layout.nested)) for layout in self.all[1:]]
        )


class _Block:
    """A stream over bytes that lie somewhere else in another stream."""

    __slots__ = ("base", "data")

    def __init__(self, data: bytes, base: int) -> None:
        self.data = data
        self.base = base

    @property
    def size(self) -> int:
        """The offset behind the last byte."""
        return self.base + len(self.data)

    def pread(self, length: int, offset: int) -> bytes:
        """Read *length* bytes at *offset*; fewer only where the stream ends."""
        return self.data[max(0, offset - self.base) : max(0, offset - self.base + length)]


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
        self._layouts = _Layouts(encoding)
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
        """Where in the stream the Items lie: the offset of the first and the one behind the last."""
        return (self._starts[0], self._end) if self._starts else (0, 0)

    @property
    def explicit_little(self) -> bool:
        """Whether the Items are in Explicit VR Little Endian."""
        return self._encoding == Encoding(True, False)

    def items(self, index: int, sequence: int) -> tuple[DataSet, ...]:
        """Give the Items of *sequence* in Item *index*; nothing else of it is parsed."""
        data, base = self._bytes(index)
        layout = self._layouts.get(index, data)
        if not layout.plain:
            return tuple(self._item(index).items(sequence))
        head = layout.top.get(sequence)
        if head and head.vr != "SQ":
            return ()
        return self._group(sequence, data[head.start : head.end], base + head.start) if head else ()

    def any_has(self, sequence: int) -> bool:
        """Tell whether any Item has Items in *sequence*; asked again, that costs nothing."""
        return self._having(sequence)[0]

    def all_have(self, sequence: int) -> bool:
        """Tell whether each Item has Items in *sequence*; asked again, that costs nothing."""
        return self._having(sequence)[1]

    def any_states(self, sequence: int, tag: int) -> bool:
        """Tell whether any Item may state *tag* in the first Item of its *sequence*."""
        shared = self._layouts.shared
        return shared is None or any((sequence, tag) in layout.nested for layout in shared)

    def holders(self, sequence: int, tag: int) -> Iterator[DataSet | None]:
        """Give for each Item a data set with *tag* as the first Item of its *sequence* states it, and nothing else.

        It is without elements where that Item does not state it, and None where the sequence has none.
        """
        nothing = DataSet(*self._encoding, self._outer.charset, self._outer.signed, self._outer.stream)
        known: dict[bytes, DataSet] = {}
        plans = [_plan(layout, sequence, tag) for layout in self._layouts.all]
        numbers = self._layouts.numbers
        for block, first, last in self._pieces():
            data, base = block.data, block.base
            starts = self._starts[first:last]
            for index, start in enumerate(starts, first):
                head = plans[numbers[index]]
                if head is None:
                    yield next(iter(self.items(index, sequence)), None)
                elif isinstance(head, bool):
                    yield nothing if head else None
                else:
                    at = start - base
                    key = data[at + head.value : at + head.stop]
                    holder = known.get(key)
                    if holder is None or holder.elements[tag].vr != head.vr:
                        if len(known) >= _REMEMBERED:
                            known.clear()
                        holder = known[key] = self._holding(head, key, start)
                    yield holder

    def distinct(self, sequence: int) -> list[int]:
        """Give the first Item for each content of its *sequence*, as far as these can be told apart in few words."""
        seen: dict[bytes, int] = {}
        for index, data, _ in self._each():
            layout = self._layouts.get(index, data)
            head = layout.top.get(sequence)
            content = data if not layout.plain else data[head.start : head.end] if head else b""
            seen.setdefault(content, index)
        return list(seen.values())

    def long_items(self, longest: int, group: int) -> Iterator[int]:
        """Give the Items which may have values of more than *longest* bytes, or elements of *group*."""
        seen = group.to_bytes(2, "big" if self._encoding.big_endian else "little")
        for index, data, _ in self._each():
            if seen in data:
                yield index
            elif len(data) > longest:
                layout = self._layouts.get(index, data)
                if not layout.plain or any(head.stop - head.value > longest for head in layout.top.values()):
                    yield index

    def _pieces(self) -> Iterator[tuple[_Block, int, int]]:
        """Give each block with the numbers of its first Item and of the one behind its last."""
        for number, first in enumerate(self._firsts):
            last = self._firsts[number + 1] if number + 1 < len(self._firsts) else len(self._starts)
            yield self._inflated(number), first, last

    def _each(self) -> Iterator[tuple[int, bytes, int]]:
        """Give number, bytes and offset of each Item, block by block."""
        for block, first, last in self._pieces():
            starts = [*self._starts[first:last], block.size]
            for place in range(last - first):
                start = starts[place]
                yield first + place, block.data[start - block.base : starts[place + 1] - block.base], start

    def _having(self, sequence: int) -> tuple[bool, bool]:
        """Tell whether any Item, and whether each one, has Items in *sequence*."""
        if sequence not in self._told:
            shared = self._layouts.shared
            if shared is not None:
                have = [_has_items(layout.top.get(sequence)) for layout in shared]
            else:
                have = [holder is not None for holder in self.holders(sequence, _NEVER)]
            self._told[sequence] = any(have), all(have)
        return self._told[sequence]

    def _holding(self, head: Head, value: bytes, base: int) -> DataSet:
        """Make a data set with one element."""
        holder = DataSet(*self._encoding, self._outer.charset, self._outer.signed, self._outer.stream)
        kept = value if len(value) <= _LONGEST_VALUE else None
        holder.elements[head.tag] = Element(head.tag, head.vr, base + head.value, len(value), False, kept)
        return holder

    def _bytes(self, index: int) -> tuple[bytes, int]:
        """Give an Item from its head to where the next one begins, and its offset in the stream."""
        block = self._block(bisect_right(self._firsts, index) - 1)
        start = self._starts[index]
        end = self._starts[index + 1] if index + 1 < len(self._starts) else self._end
        return block.data[start - block.base : end - block.base], start

    def _inflated(self, number: int) -> _Block:
        return _Block(zlib.decompress(self._blocks[number]), self._starts[self._firsts[number]])

    def _make(self, index: int) -> DataSet:
        return self._parsed(*self._bytes(index))

    def _parsed(self, data: bytes, start: int) -> DataSet:
        _, _, value, length = _head(data, 0, len(data), self._encoding)
        undefined = length == UNDEFINED
        end = start + (len(data) if undefined else value + length)
        return self._parse(_Block(data, start), start + value, end, self._encoding, self._outer, undefined)

    def _parsed_group(self, sequence: int, data: bytes, offset: int) -> tuple[DataSet, ...]:
        parsed = self._parse(_Block(data, offset), offset, offset + len(data), self._encoding, self._outer, False)
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
            if end - first >= _BLOCK or end == ends[-1]:
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
        return self._kept > _MOST_KEPT or len(self._starts) > MOST_INDEXED or self._layouts.odd > _MOST_ODD


def long_sequence(
    stream: Stream, start: int, end: int, encoding: Encoding, outer: DataSet, parse: Parse, *, undefined: bool
) -> tuple[LongSequence, int] | None:
    """Index the Items from *start* to *end* or, where *undefined*, to the delimiter, and say where the sequence ended.

    None where it is short, where anything in it must be mended, or where it is beyond all bounds.
    """
    if end - start < LONG:
        return None
    found = LongSequence(encoding, outer, parse)
    stop = start
    try:
        for data, ends, position in _walk(stream, start, end, encoding, found.recent, undefined=undefined):
            if ends:
                found.add(data, ends, position)
            if found.too_much:
                return None
            stop = position + (ends[-1] if ends else 0)
    except _Malformed:
        return None
    if stop - start < LONG:
        return None
    return found, stop + 8 if undefined else stop


def sequence_end(stream: Stream, start: int, end: int, encoding: Encoding) -> int | None:
    """Find where a sequence ends whose length is not stated; None where it is damaged, or longer than can be walked."""
    stop = start
    try:
        for _, ends, position in _walk(stream, start, end, encoding, undefined=True):
            stop = position + (ends[-1] if ends else 0)
    except _Malformed:
        return None
    return stop + 8


def _walk(
    stream: Stream,
    start: int,
    end: int,
    encoding: Encoding,
    recent: Sequence["re.Pattern[bytes]"] = (),
    *,
    undefined: bool,
) -> Iterator[tuple[bytes, list[int], int]]:
    """Give the bytes of whole Items with the ends of each therein and the offset of the first, up to the end.

    *recent* are patterns of Items, which the caller may change meanwhile.
    """
    position, window, walked = start, _WINDOW, 0
    while undefined or position < end:
        data = stream.pread(min(window, end - position), position)
        whole = position + len(data) >= end or len(data) < min(window, end - position)
        ends, stopped, passed = _item_ends(data, encoding, end - position, recent, whole=whole)
        walked += passed
        if walked > _MOST_WALKED or (stopped and not undefined):
            raise _Malformed
        if ends or stopped:
            yield data, ends, position
        if stopped:
            return
        if ends:
            position, window = position + ends[-1], _WINDOW
            continue
        window *= 4
        if whole or window > _LONGEST_ITEM:
            raise _Malformed


def _item_ends(
    data: bytes, encoding: Encoding, remaining: int, recent: Sequence["re.Pattern[bytes]"], *, whole: bool
) -> tuple[list[int], bool, int]:
    """Say where in *data* Items end, whether a Sequence Delimitation Item follows, and how many elements passed."""
    ends: list[int] = []
    position, limit, walked = 0, len(data), 0
    unpack = IMPLICIT[encoding.big_endian].unpack_from
    while limit - position >= 8:
        group, number, length = unpack(data, position)
        tag = group << 16 | number
        if tag == tags.SequenceDelimitationItem:
            return ends, True, walked
        if tag != tags.Item:
            raise _Malformed
        if length == UNDEFINED and (known := next(filter(None, [each.match(data, position) for each in recent]), None)):
            stop = known.end()
        elif length == UNDEFINED:
            try:
                stop, passed = _delimited(data, position + 8, limit, encoding, sequence=False)
            except _More:
                if whole:
                    raise _Malformed from None
                break
            walked += passed
        else:
            stop = position + 8 + length
            if stop > remaining:
                raise _Malformed
            if stop > limit:
                break
        ends.append(stop)
        position = stop
    return ends, False, walked


def has_long(dataset: DataSet) -> bool:
    """Tell whether any sequence of the outermost data set is kept in this way, so that all of it takes long to read."""
    return any(isinstance(element.items, LongSequence) for element in dataset.elements.values())
