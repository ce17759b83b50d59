"""Where the elements of an Item are, and which Items of a long sequence share one layout.

Functional groups repeat: of 100,000 Items most have the same elements at the same offsets, and differ in values alone.
Such an Item is recognised by one regular expression; its values are then read without parsing it.
"""

import re
from array import array
from dataclasses import dataclass, field
from typing import NamedTuple

from dicomfs.dicom import tags
from dicomfs.dicom.dictionary import public_vr
from dicomfs.dicom.encoding import EXPLICIT, IMPLICIT, LENGTH, UNDEFINED, VRS, Encoding

# Layouts that are told apart; of those of one length, how many are tried.
_MAX_LAYOUTS, _MAX_TRIED = 512, 8
# Elements that change how the elements after them are read.
_CONTEXT = frozenset((tags.SpecificCharacterSet, tags.PixelRepresentation))


class Malformed(ValueError):
    """The bytes are not laid out as PS3.5 demands; only the parser, which repairs what it finds, may read them."""


class TooShort(Exception):
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


def read_head(data: bytes, position: int, limit: int, encoding: Encoding) -> tuple[int, str, int, int]:
    """Read tag, VR (empty for Items and delimiters), start of the value and length."""
    if limit - position < 8:
        raise TooShort
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
        raise Malformed
    vr, long = known
    if not long:
        return tag, vr, position + 8, length
    if limit - position < 12:
        raise TooShort
    return tag, vr, position + 12, LENGTH[encoding.big_endian].unpack_from(data, position + 8)[0]


def delimited_end(data: bytes, position: int, limit: int, encoding: Encoding, *, sequence: bool) -> tuple[int, int]:
    """Walk to the end of an Item, or of a *sequence*, without a stated length; give it, and the elements passed.

    Raises Malformed where anything is there that would have to be repaired, and TooShort.
    """
    open_sequences = [sequence]
    walked = 0
    while True:
        tag, vr, start, length = read_head(data, position, limit, encoding)
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
                raise Malformed
        elif inside:
            raise Malformed
        if length == UNDEFINED:
            if tag != tags.Item and vr != "SQ":
                raise Malformed
            open_sequences.append(tag != tags.Item)
            position = start
            if len(open_sequences) > 64:
                raise Malformed
        else:
            position = start + length
            if position > limit:
                raise TooShort


@dataclass(slots=True)
class Layout:
    """Where in an Item the elements are, and those of the first Items of its sequences; offsets are from its head.

    *plain* says that all of that holds without the walk that repairs.
    """

    plain: bool
    top: dict[int, Head] = field(default_factory=dict)
    nested: dict[tuple[int, int], Head] = field(default_factory=dict)
    known: list[tuple[int, int]] = field(default_factory=list)
    pattern: "re.Pattern[bytes] | None" = None


UNKNOWN = Layout(False)


def has_items(head: Head | None) -> bool:
    """Return whether a sequence has room for an Item."""
    return head is not None and head.vr == "SQ" and head.stop - head.value >= 8


def _elements(data: bytes, start: int, stop: int | None, limit: int, encoding: Encoding) -> tuple[list[Head], int]:
    """Return the heads of a data set from *start* to *stop*, or to its delimiter, and say where it ended."""
    heads: list[Head] = []
    position, seen = start, set(_CONTEXT)
    while stop is None or position < stop:
        bound = limit if stop is None else stop
        tag, vr, value, length = read_head(data, position, bound, encoding)
        if tag >= 0xFFFE0000:
            if stop is None and tag == tags.ItemDelimitationItem:
                return heads, position
            raise Malformed
        if tag in seen or (vr == "UN" and public_vr(tag)):
            raise Malformed
        seen.add(tag)
        if length == UNDEFINED:
            if vr != "SQ":
                raise Malformed
            end, _ = delimited_end(data, value, bound, encoding, sequence=True)
            heads.append(Head(tag, vr, position, value, end - 8, end, True))
        else:
            end = value + length
            if end > bound:
                raise Malformed
            heads.append(Head(tag, vr, position, value, end, end, False))
        position = end
    return heads, position


def layout_of(data: bytes, encoding: Encoding) -> Layout:
    """Lay out one Item, *data* from its head to where the next one begins."""
    try:
        return _laid_out(data, encoding)
    except (Malformed, TooShort):
        return UNKNOWN


def _laid_out(data: bytes, encoding: Encoding) -> Layout:
    _, _, value, length = read_head(data, 0, len(data), encoding)
    heads, end = _elements(data, value, None if length == UNDEFINED else value + length, len(data), encoding)
    layout = Layout(True, {head.tag: head for head in heads})
    known = layout.known
    known.append((0, value))
    for head in heads:
        known.append((head.start, head.value))
        if head.vr != "SQ" or head.stop - head.value < 8:
            known.append((head.stop, head.end))
            continue
        tag, _, inner, length = read_head(data, head.value, head.stop, encoding)
        if tag != tags.Item:
            raise Malformed
        known.append((head.value, inner))
        nested, stop = _elements(data, inner, None if length == UNDEFINED else inner + length, head.stop, encoding)
        for each in nested:
            # What has no stated length of its own is alike only where it is the same.
            known.append((each.start, each.end if each.undefined else each.value))
            layout.nested[head.tag, each.tag] = each
        known.append((stop, head.end) if head.undefined or length == UNDEFINED else (head.stop, head.end))
    known.append((end, len(data)))
    return layout


def _pattern(layout: Layout, data: bytes) -> "re.Pattern[bytes]":
    """Write the pattern of an Item laid out like *data*: all heads as they are, values of any content."""
    parts, at = [], 0
    for start, stop in layout.known:
        parts.append(b".{%d}" % (start - at) if start > at else b"")
        parts.append(re.escape(data[max(start, at) : stop]))
        at = max(at, stop)
    return re.compile(b"".join(parts), re.DOTALL)


def plan_of(layout: Layout, sequence: int, tag: int) -> Head | bool | None:
    """Return the element that Items of one layout have, or whether they have the *sequence*; None if unsure."""
    head = layout.nested.get((sequence, tag))
    if not layout.plain or (head and len(head.vr) > 2):
        return None
    return head or has_items(layout.top.get(sequence))


class Layouts:
    """The layout of each Item of a sequence; those of one length and the same heads share one."""

    def __init__(self, encoding: Encoding) -> None:
        """Start without Items, which are in *encoding*."""
        self._encoding = encoding
        self.all = [UNKNOWN]
        self._of_length: dict[int, list[int]] = {}
        self.odd = 0
        self.recent: list[re.Pattern[bytes]] = []
        self.numbers = array("H")

    def add(self, data: bytes) -> None:
        """Note the layout of the next Item."""
        tried = self._of_length.setdefault(len(data), [])
        for place, number in enumerate(tried[:_MAX_TRIED]):
            pattern = self.all[number].pattern
            if pattern is not None and pattern.fullmatch(data):
                if place:
                    tried.insert(0, tried.pop(place))
                    self._use(pattern)
                self.numbers.append(number)
                return
        number = 0
        if len(self.all) < _MAX_LAYOUTS:
            layout = layout_of(data, self._encoding)
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
        del self.recent[_MAX_TRIED:]

    def get(self, index: int, data: bytes) -> Layout:
        """Return the layout of an Item, whose bytes are *data*."""
        number = self.numbers[index]
        return self.all[number] if number else layout_of(data, self._encoding)

    @property
    def shared(self) -> list[Layout] | None:
        """All layouts that there are; None where some Items are not told apart by them."""
        return self.all[1:] if 0 not in self.numbers else None

    @property
    def weight(self) -> int:
        """Bytes of memory that this costs, roughly."""
        return 2 * len(self.numbers) + sum(
            [2000 + 400 * (len(layout.top) + len(layout.nested)) for layout in self.all[1:]]
        )
