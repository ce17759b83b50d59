"""The walk over encoded data elements, from a stream into `DataSet`s (PS3.5 clause 7).

Only this module knows how elements, Items and delimiters are encoded. It reads headers and small values through
a window on the stream, and it survives anything: what is wrong becomes a sentence in `Reader.problems`, what is
cut keeps what is there, and budgets bound what a hostile file can cost (rules L1 and L2).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dicomfs.dicom import tags
from dicomfs.dicom.character_sets import charset_faults
from dicomfs.dicom.data_set import DataSet, Element
from dicomfs.dicom.dictionary import is_private, private_vr, public_vr
from dicomfs.dicom.encoding import (
    EXPLICIT,
    IMPLICIT,
    LENGTH,
    SHORT_VRS,
    UNDEFINED,
    VRS,
    Encoding,
    guess_encoding,
    measure_unknown,
)
from dicomfs.dicom.fragments import ITEM, Fragments, scan_fragments
from dicomfs.dicom.item_walk import sequence_end
from dicomfs.dicom.long_sequence import LONG, long_sequence
from dicomfs.dicom.problems import Problems
from dicomfs.dicom.stream import Stream
from dicomfs.dicom.values import CHARSET_TEXT, decode_text, text_fault

# Values up to here are kept in memory; longer ones stay in the stream.
MAX_KEPT_VALUE_BYTES = 64 * 1024
# Of the outermost data set so many, and as many in all sequences together but for long ones, which are indexed.
MAX_ELEMENTS = 1_000_000
MAX_ITEMS = 200_000
MAX_DEPTH = 64
# Of all values together: beyond, those above 1 KiB stay in the stream; at twice as much the walk ends.
MAX_KEPT_BYTES = 32 * 1024 * 1024
MAX_SHORT_BYTES = 1024
# What an Element and a DataSet cost in memory besides values.
_ELEMENT_BYTES, _ITEM_BYTES = 250, 400

# Float, Double Float and Pixel Data: never read here.
PIXEL_DATA = frozenset((tags.FloatPixelData, tags.DoubleFloatPixelData, tags.PixelData))
# Elements that need more than their value read: they decide how others are read, or hold pixels.
_SPECIAL = PIXEL_DATA | {tags.SpecificCharacterSet, tags.PixelRepresentation}
_FIRST_DELIMITER = 0xFFFE0000
# A NamedTuple made without the Python function that checks its arguments.
_new_element: Callable[[type[Element], tuple[Any, ...]], Element] = tuple.__new__

# The first look takes in most headers whole; reading on in sequence, the window grows. Behind a value that was
# jumped over, only the next few headers are wanted.
_FIRST_WINDOW_BYTES = 32 * 1024
_WINDOW_AFTER_JUMP_BYTES = 4 * 1024
_MAX_WINDOW_BYTES = 512 * 1024


class _Header(NamedTuple):
    """The tag, VR and length of one element, and where its value starts."""

    tag: int
    vr: str
    start: int
    length: int


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


class Reader:
    """A walk over one stream: its window, its budgets, and what it found wrong.

    *fragments* are the Items of the outermost Pixel Data where it is encapsulated, *encapsulated* says whether
    the transfer syntax promises that. *lost* says that elements are missing, or parts of them other than pixel data.
    """

    __slots__ = (
        "_base", "_buffer", "_elements_left", "_indexed", "_items_left", "_kept_left", "_outermost_left", "_spent",
        "_window", "encapsulated", "fragments", "lost", "problems", "stopped", "stream",
    )  # fmt: skip

    def __init__(self, stream: Stream, problems: Problems) -> None:
        """Walk *stream* and report to *problems*."""
        self.stream = stream
        self.problems = problems
        self.fragments: Fragments | None = None
        self.encapsulated = False
        self.lost = False
        self.stopped = False
        self._buffer = b""
        self._base = 0
        self._window = _FIRST_WINDOW_BYTES
        self._elements_left = MAX_ELEMENTS
        self._outermost_left = MAX_ELEMENTS
        self._indexed = 0
        self._spent = False
        self._items_left = MAX_ITEMS
        self._kept_left = MAX_KEPT_BYTES

    @property
    def weight(self) -> int:
        """Bytes of memory that everything read so far costs, roughly."""
        elements, items = MAX_ELEMENTS - self._elements_left, MAX_ITEMS - self._items_left
        elements += MAX_ELEMENTS - self._outermost_left
        return elements * _ELEMENT_BYTES + items * _ITEM_BYTES + MAX_KEPT_BYTES - self._kept_left + self._indexed

    def flag(self, problem: str) -> None:
        """Report something wrong."""
        self.problems.report(problem)

    def peek(self, position: int, length: int = 12) -> bytes:
        """Return up to *length* bytes at *position* out of the window, moving it when they are outside."""
        start = position - self._base
        if start < 0 or start + length > len(self._buffer):
            ahead = position - (self._base + len(self._buffer))
            if not self._buffer:
                self._window = _FIRST_WINDOW_BYTES
            elif -length <= ahead <= 0:
                self._window = min(self._window * 2, _MAX_WINDOW_BYTES)
            else:
                self._window = _WINDOW_AFTER_JUMP_BYTES
            self._buffer = self.stream.pread(max(self._window, length), position)
            self._base, start = position, 0
        return self._buffer[start : start + length]

    def read(
        self,
        position: int,
        end: int,
        encoding: Encoding,
        outer: DataSet | None = None,
        depth: int = 0,
        undefined: bool = False,
        only_group: int | None = None,
    ) -> tuple[DataSet, int]:
        """Read the data set from *position* to *end* or, where *undefined*, to its delimiter; say where it ended.

        *outer* is the data set around an Item. With *only_group* the walk ends before the first other group.
        """
        explicit, big_endian = encoding
        if outer is None:
            here = DataSet(explicit, big_endian, stream=self.stream)
        else:
            here = DataSet(explicit, big_endian, outer.charset, outer.signed, outer.stream)
        here.undefined = undefined
        elements, ambiguous, first, last = here.elements, [], position, -1
        while position < end and not self.stopped:
            position, last = self._plain_elements(position, end, here, last, depth, only_group)
            if position >= end:
                continue
            if only_group is not None and self._group(position, big_endian) != only_group:
                break
            header = self._header(position, end, here)
            if header is None:
                position = end
                break
            tag = header.tag
            if tag >= 0xFFFE0000:
                done, position = self._delimiter(tag, position, end, undefined)
                if done:
                    break
                continue
            if tag == 0 and not header.length:
                self.flag("zeros follow the last element; they are left out")
                position = end
                break
            if not self._count(depth):
                break
            element, position = self._element(header, end, here, depth)
            if tag <= last:
                self.flag("elements are not in ascending order (H13)")
                if tag in elements:
                    self.flag(f"the element {_name(tag)} is there more than once; the first one counts (H13)")
                    continue
            last = max(last, tag)
            elements[tag] = element
            if len(element.vr) > 2:
                ambiguous.append(element)
            if tag == tags.SpecificCharacterSet and element.value is not None:
                here.charset = decode_text(element.value, "CS", ())
                for fault in charset_faults(here.charset):
                    self.flag(fault)
            elif tag == tags.PixelRepresentation and element.value is not None:
                here.signed = here.integer(tag) == 1
            elif element.vr in CHARSET_TEXT and (wrong := text_fault(element.value, element.vr, here.charset)):
                self.flag(wrong)
        else:
            if undefined and not self.stopped:
                self.flag("an Item ends without its delimiter (E13)")
        for element in ambiguous:
            elements[element.tag] = element._replace(vr=_resolve(element, here))
        here.length = position - first
        return here, position

    def _plain_elements(
        self, position: int, end: int, here: DataSet, last: int, depth: int, only_group: int | None
    ) -> tuple[int, int]:
        """Read elements for as long as nothing about them needs judgement; return the position and tag reached.

        Nine of ten elements are of a known VR with a length of 16 bits, in ascending order, whole in the window and
        within all budgets. `_header` and `_element` read any element, and these to the same result in three times the
        time.
        """
        buffer, base, big_endian, explicit = self._buffer, self._base, here.big_endian, here.explicit
        at, limit, elements = position - base, min(len(buffer), end - base), here.elements
        unpack = EXPLICIT[big_endian].unpack_from if explicit else IMPLICIT[big_endian].unpack_from
        left = elements_left = self._elements_left if depth else self._outermost_left
        kept_left, ascending, most = self._kept_left, max(last, 0), MAX_KEPT_VALUE_BYTES
        while 0 <= at <= limit - 12 and left:
            if explicit:
                group, number, code, length = unpack(buffer, at)
                vr = SHORT_VRS.get(code)
                tag = group << 16 | number
            else:
                group, number, length = unpack(buffer, at)
                tag = group << 16 | number
                vr = SHORT_VRS.get(public_vr(tag))
            start = at + 8
            stop = start + length
            if vr is None or tag in _SPECIAL or not ascending < tag < _FIRST_DELIMITER:
                break
            if stop > limit or length > most or (only_group is not None and group != only_group) or length > kept_left:
                break
            value = buffer[start:stop]
            if vr in CHARSET_TEXT and (not value.isascii() or b"\x1b" in value):
                wrong = text_fault(value, vr, here.charset)
                if wrong is not None:
                    self.flag(wrong)
            elements[tag] = _new_element(Element, (tag, vr, base + start, length, False, value, None))
            kept_left -= length
            left -= 1
            ascending, at = tag, stop
        if depth:
            self._elements_left -= elements_left - left
        else:
            self._outermost_left -= elements_left - left
        self._kept_left = kept_left
        return base + at, ascending or last

    def _count(self, depth: int) -> bool:
        """Count an element; false, with the problem noted, where there are too many."""
        if depth:
            self._elements_left -= 1
            if self._elements_left < 0:
                self._stop(f"sequences hold more than {MAX_ELEMENTS} elements; those beyond are not read (L2)")
        else:
            self._outermost_left -= 1
            if self._outermost_left < 0:
                self._stop(f"the file has more than {MAX_ELEMENTS} elements; the rest is not read (L2)")
        return not self.stopped

    def _lose(self, problem: str) -> None:
        self.flag(problem)
        self.lost = True

    def _stop(self, problem: str) -> None:
        self._lose(problem)
        self.stopped = True

    def _group(self, position: int, big_endian: bool) -> int:
        return int.from_bytes(self.peek(position)[:2], "big" if big_endian else "little")

    def _header(self, position: int, end: int, here: DataSet) -> _Header | None:
        """Read the header of an element; None, with a problem noted, where the stream or data set ends in it."""
        start = position - self._base
        if start < 0 or start + 12 > len(self._buffer):
            self.peek(position)
            start = position - self._base
        buffer = self._buffer
        if end - position < 8 or len(buffer) - start < 8:
            self._lose("the data ends inside the header of an element (L1)")
            return None
        if not here.explicit:
            group, number, length = IMPLICIT[here.big_endian].unpack_from(buffer, start)
            tag = group << 16 | number
            return _Header(tag, public_vr(tag) or self._private_vr(tag, here), position + 8, length)
        group, number, code, length = EXPLICIT[here.big_endian].unpack_from(buffer, start)
        tag = group << 16 | number
        known = VRS.get(code)
        if group == 0xFFFE:
            return _Header(tag, "", position + 8, LENGTH[here.big_endian].unpack_from(buffer, start + 4)[0])
        if known is None:
            self.flag(f"the VR of {_name(tag)} is unknown; it is read as UN (H12)")
            start, length = measure_unknown(self.peek, tag, position, end, here.big_endian)
            return _Header(tag, "UN", start, length)
        vr, long = known
        if not long:
            return _Header(tag, vr, position + 8, length)
        if end - position < 12 or len(buffer) - start < 12:
            self._lose("the data ends inside the header of an element (L1)")
            return None
        return _Header(tag, vr, position + 12, LENGTH[here.big_endian].unpack_from(buffer, start + 8)[0])

    def _private_vr(self, tag: int, here: DataSet) -> str:
        """Look up the VR of a tag that the public dictionary does not know; UN where nothing does."""
        if not is_private(tag):
            return "UN"
        creator = here.text((tag & 0xFFFF0000) | (tag >> 8 & 0xFF))
        return private_vr(tag, creator) or "UN" if creator else "UN"

    def _delimiter(self, tag: int, position: int, end: int, undefined: bool) -> tuple[bool, int]:
        """Judge a tag of group FFFE or FFFF among elements: does it end this data set, and where to go on."""
        if undefined and tag == tags.ItemDelimitationItem:
            return True, position + 8
        if undefined and tag in (tags.SequenceDelimitationItem, tags.Item):
            self.flag("an Item ends without its delimiter (E13)")
            return True, position
        if tag in (tags.Item, tags.ItemDelimitationItem, tags.SequenceDelimitationItem):
            self.flag(f"a delimiter {_name(tag)} stands where an element should; it is skipped (E13)")
            return False, position + 8
        self.flag("what follows the last element is no element; it is left out")
        return True, end

    def _element(self, header: _Header, end: int, here: DataSet, depth: int) -> tuple[Element, int]:
        """Make the element and say where the next one starts."""
        tag, vr, start, length = header
        if length == UNDEFINED:
            return self._undefined_length(header, end, here, depth)
        stop = start + length
        if stop > end:
            there = max(0, end - start)
            note = self.flag if tag in PIXEL_DATA else self._lose  # of pixel data, frames are lost
            note(f"the element {_name(tag)} is cut short: {there} of {length} bytes are there (L1)")
            stop, length = max(start, end), there
        if vr == "UN" and not here.big_endian and tag not in PIXEL_DATA:
            vr = self._known_after_all(tag, start, length)
        if vr == "SQ":
            encoding = Encoding(here.explicit and header.vr == "SQ", here.big_endian)
            items, _ = self._sequence(start, stop, encoding, here, depth, False)
            if not depth and self.stopped:
                self._skip()
            return Element(tag, vr, start, length, False, None, items), stop
        if tag in PIXEL_DATA:
            self._pixel_data(tag, vr, start, length, depth)
            return Element(tag, vr, start, length, False, None), stop
        return Element(tag, vr, start, length, False, self._value(start, length)), stop

    def _value(self, start: int, length: int) -> bytes | None:
        """Read a value that is short enough to keep."""
        if length > MAX_KEPT_VALUE_BYTES:
            return None
        self._kept_left -= length
        if self._kept_left < 0:
            if length > MAX_SHORT_BYTES:
                self._kept_left += length
                return None
            if self._kept_left < -MAX_KEPT_BYTES:
                self._stop(f"the header holds more than {MAX_KEPT_BYTES >> 19} MiB; the rest is not read (L2)")
        offset = start - self._base
        if offset >= 0 and offset + length <= len(self._buffer):
            return self._buffer[offset : offset + length]
        return self.peek(start, length) if length <= self._window else self.stream.pread(length, start)

    def _known_after_all(self, tag: int, start: int, length: int) -> str:
        """Return the VR of an element that was written as UN, where the public dictionary knows it (PS3.5 6.2.2)."""
        known = public_vr(tag) or "UN"
        if known == "SQ" and length and self.peek(start, 4) != ITEM:
            return "UN"
        return known

    def _pixel_data(self, tag: int, vr: str, start: int, length: int, depth: int) -> None:
        """Find the fragments of Pixel Data whose length is given although it is encapsulated (E19)."""
        if depth or tag != tags.PixelData or not self.encapsulated or length < 8:
            return
        if self.peek(start, 4) == ITEM:
            self.flag("Pixel Data is encapsulated but has a length (E19)")
            self.fragments = scan_fragments(self.stream, start)

    def _undefined_length(self, header: _Header, end: int, here: DataSet, depth: int) -> tuple[Element, int]:
        """Read an element whose end is a delimiter: a sequence, UN that is one (CP-246), or fragments (PS3.5 A.4)."""
        tag, vr, start, _ = header
        first = self.peek(start, 4)
        little, big = first == ITEM, first == b"\xff\xfe\xe0\x00"
        if tag in PIXEL_DATA or (vr in ("OB", "OW") and little):
            fragments = scan_fragments(self.stream, start)
            if fragments.cut:
                self.flag("the last fragment is cut short; its frame cannot be read (E16)")
            elif not fragments.delimited:
                self.flag("Pixel Data ends without a Sequence Delimitation Item (E12)")
            if tag == tags.PixelData and not depth:
                self.fragments = fragments
                if not self.encapsulated:
                    self.flag("Pixel Data is encapsulated although the transfer syntax says native (E19)")
            stop = min(max(fragments.end, start), end)
            vr = "OB" if len(vr) > 2 else vr
            element = Element(tag, vr, start, stop - start, True, None)
            # Without the delimiter nothing tells where the next element would be.
            return element, stop if fragments.delimited else end
        encoding = Encoding(here.explicit, here.big_endian)
        if vr == "UN" and here.explicit:
            encoding = Encoding(False, False)
        elif vr not in ("SQ", "UN") and not (little or big):
            self._lose(f"the element {_name(tag)} has no length and is no sequence; the rest is not read (L1)")
            return Element(tag, vr, start, max(0, end - start), True, None), end
        items, stop = self._sequence(start, end, encoding, here, depth, True)
        if not depth and self.stopped and (found := sequence_end(self.stream, start, end, encoding)) is not None:
            self._skip()
            stop = found
        return Element(tag, "SQ", start, stop - start, True, None, items), stop

    def _skip(self) -> None:
        """Go on after a sequence of the outermost data set that was not read to its end: pixel data comes last."""
        self.stopped = False
        if not self._spent:
            self._kept_left = max(self._kept_left, 0)
        self._spent = True

    def _sequence(
        self, position: int, end: int, encoding: Encoding, outer: DataSet, depth: int, undefined: bool
    ) -> tuple[Sequence[DataSet], int]:
        """Read Items from *position* to *end* or to the delimiter; say where the sequence ended (PS3.5 7.5)."""
        items: list[DataSet] = []
        if depth >= MAX_DEPTH:
            self._stop(f"sequences are nested more than {MAX_DEPTH} deep; the rest is not read (L2)")
        # One without a stated length is long when it does not end; then it is looked at again from its start.
        start, left = position, (self._items_left, self._elements_left, self._kept_left)
        looked = depth > 0
        while position < end and not self.stopped:
            if not looked and (not undefined or position - start > LONG // 4):
                looked = True
                if found := long_sequence(self.stream, start, end, encoding, outer, parse_part, undefined=undefined):
                    self._items_left, self._elements_left, self._kept_left = left
                    self._indexed += found[0].weight
                    return found
            if not depth and self._spent:
                self._stop("some sequences are not read, since those before them hold too much (L2)")
                break
            head = self.peek(position)
            if len(head) < 8 or end - position < 8:
                self._lose("the data ends inside a sequence (L1)")
                return tuple(items), end
            group, number, length = IMPLICIT[encoding.big_endian].unpack_from(head)
            tag = group << 16 | number
            position += 8
            if tag == tags.Item:
                item, position = self._item(position, length, end, encoding, outer, depth)
                items.append(item)
            elif tag == tags.SequenceDelimitationItem and undefined:
                return tuple(items), position
            elif tag in (tags.ItemDelimitationItem, tags.SequenceDelimitationItem):
                self.flag(f"a delimiter {_name(tag)} stands where an Item should; it is skipped (E13)")
            else:
                self.flag("a sequence holds something that is no Item; it ends there (L7)")
                return tuple(items), position - 8 if undefined else end
        if undefined and not self.stopped:
            self.flag("a sequence ends without its delimiter (E13)")
        return tuple(items), max(position, end) if not self.stopped else position

    def _item(
        self, position: int, length: int, end: int, encoding: Encoding, outer: DataSet, depth: int
    ) -> tuple[DataSet, int]:
        """Read one Item and say where the next one starts."""
        self._items_left -= 1
        if self._items_left < 0:
            self._stop(f"sequences hold more than {MAX_ITEMS} Items; those beyond are not read (L2)")
            return DataSet(*encoding, outer.charset, outer.signed, outer.stream), position
        undefined = length == UNDEFINED
        stop = end if undefined else position + length
        if stop > end:
            self._lose("an Item is cut short (L1)")
            stop = end
        return self.read(position, stop, self._encoding(position, stop, encoding), outer, depth + 1, undefined)

    def _encoding(self, position: int, stop: int, encoding: Encoding) -> Encoding:
        """Judge how an Item is really encoded."""
        if stop - position < 8:
            return encoding
        head = self.peek(position)
        if head[:2] in (b"\xfe\xff", b"\xff\xfe"):
            return encoding
        real = guess_encoding(head, stop - position, encoding, False)
        if real != encoding:
            self.flag("a sequence has Items in another encoding than the file says (H10)")
        return real

    def read_part(self, start: int, end: int, encoding: Encoding, outer: DataSet, undefined: bool) -> DataSet:
        """Read an Item of *outer*, or an element of it, alone."""
        return self.read(start, end, self._encoding(start, end, encoding), outer, 1, undefined)[0]


def parse_part(stream: Stream, start: int, end: int, encoding: Encoding, outer: DataSet, undefined: bool) -> DataSet:
    """Read what `long_sequence` has left for later, as `Reader.read` does; what is wrong with it is not told."""
    return Reader(stream, Problems()).read_part(start, end, encoding, outer, undefined)


def _resolve(element: Element, here: DataSet) -> str:
    """Decide between the VRs that the dictionary allows an element, as its data set demands (PS3.5 A.1, PS3.3)."""
    choices = element.vr
    if choices == "US or SS":
        return "SS" if here.signed else "US"
    if element.tag == tags.LUTData and here.integers(tags.LUTDescriptor)[:1] == (1,):
        return "US"
    return "OW"
