"""A data set in memory: its elements, and their values as a caller wants them.

Only this module says what the rest of dicomfs sees of a data set. Asking never raises: a value that is absent,
left in the stream or not what its VR promises reads as None or as nothing.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dicomfs.dicom.dictionary import public_vr
from dicomfs.dicom.stream import Stream
from dicomfs.dicom.values import TEXT, decode_text, parse_integer, parse_number, unpack, unpack_tags

__all__ = ["DataSet", "Element"]


class Element(NamedTuple):
    """One data element (PS3.5 7.1).

    *offset* and *length* say where the value field is in the stream and how much of it is there; where the
    length is undefined they include the delimiter. *value* is None for sequences, for pixel data and for what is
    too long to keep; *items* is None for all but sequences. Those of a long sequence are parsed when somebody asks.
    """

    tag: int
    vr: str
    offset: int
    length: int
    undefined: bool
    value: bytes | None
    items: "Sequence[DataSet] | None" = None


class DataSet:
    """Elements by tag, and what it takes to read their values.

    *charset* is the Specific Character Set in force and *signed* whether the Pixel Representation in force is 1,
    both inherited from the data set around this one. *length* is that of the Item or data set, as present. *stream* is
    what the offsets of the elements refer to; values that were too long to keep are read from it.
    """

    __slots__ = ("_told", "big_endian", "charset", "elements", "explicit", "length", "signed", "stream", "undefined")

    def __init__(
        self,
        explicit: bool = True,
        big_endian: bool = False,
        charset: tuple[str, ...] = (),
        signed: bool = False,
        stream: Stream | None = None,
    ) -> None:
        """Start without elements."""
        self.elements: dict[int, Element] = {}
        self.explicit = explicit
        self.big_endian = big_endian
        self.charset = charset
        self.signed = signed
        self.stream = stream
        self.length = 0
        self.undefined = False
        self._told: dict[tuple[int, int], bool] | None = None  # most data sets are never asked

    def __contains__(self, tag: int) -> bool:
        """Return whether there is an element of that tag."""
        return tag in self.elements

    def __len__(self) -> int:
        """Elements, those of nested data sets not counted."""
        return len(self.elements)

    def __iter__(self) -> Iterator[Element]:
        """Return the elements in ascending order of their tags, whatever their order in the file."""
        return (self.elements[tag] for tag in sorted(self.elements))

    def get(self, tag: int) -> Element | None:
        """Return the element of that tag."""
        return self.elements.get(tag)

    def value(self, tag: int, max_length: int) -> bytes:
        """Return the value field of an element, at most *max_length* bytes of it; empty where there is none.

        A value that was too long to keep is read from the stream. Raises OSError where that does.
        """
        element = self.elements.get(tag)
        if element is None:
            return b""
        if element.value is not None:
            return element.value[:max_length]
        return self.stream.pread(min(element.length, max_length), element.offset) if self.stream else b""

    def texts(self, tag: int) -> tuple[str, ...]:
        """Return all values as text, without padding; numbers as Python prints them, tags as eight hex digits."""
        element = self.elements.get(tag)
        if element is None or element.value is None:
            return ()
        if element.vr in TEXT:
            return decode_text(element.value, element.vr, self.charset)
        if element.vr == "AT":
            return tuple([f"{tag:08X}" for tag in unpack_tags(element.value, self.big_endian)])
        return tuple([str(number) for number in unpack(element.value, element.vr, self.big_endian)])

    def text(self, tag: int) -> str | None:
        """Return the first value as text; None when it is absent or empty."""
        texts = self.texts(tag)
        return texts[0] or None if texts else None

    def numbers(self, tag: int) -> tuple[float, ...]:
        """Return all values that are numbers, of text and binary VRs alike."""
        element = self.elements.get(tag)
        if element is None or element.value is None:
            return ()
        if element.vr in TEXT:
            parsed = [parse_number(text) for text in decode_text(element.value, element.vr, ())]
            return tuple([number for number in parsed if number is not None])
        return tuple([float(number) for number in unpack(element.value, self._vr(element), self.big_endian)])

    def number(self, tag: int) -> float | None:
        """Return the first value as a number; None when it is absent or none."""
        numbers = self.numbers(tag)
        return numbers[0] if numbers else None

    def integers(self, tag: int, signed: bool | None = None) -> tuple[int, ...]:
        """Return all values that are whole numbers; *signed* reads US as SS and SS as US where it is given."""
        element = self.elements.get(tag)
        if element is None or element.value is None:
            return ()
        vr = self._vr(element)
        if vr == "AT":
            return unpack_tags(element.value, self.big_endian)
        if vr in TEXT:
            return tuple([number for text in decode_text(element.value, vr, ()) for number in _whole(text)])
        if signed is not None and vr in ("US", "SS"):
            vr = "SS" if signed else "US"
        numbers = unpack(element.value, vr, self.big_endian)
        return tuple([int(number) for number in numbers if isinstance(number, int) or number.is_integer()])

    def integer(self, tag: int) -> int | None:
        """Return the first value as a whole number; None when it is absent or none."""
        integers = self.integers(tag)
        return integers[0] if integers else None

    def items(self, tag: int) -> "Sequence[DataSet]":
        """Return the Items of a sequence; () when there is none."""
        element = self.elements.get(tag)
        return element.items or () if element else ()

    def any_item_has(self, sequence: int, nested: int) -> bool:
        """Return whether any Item of *sequence* has Items in *nested*; found out once."""
        told = self._told = {} if self._told is None else self._told
        key = sequence, nested
        if key not in told:
            told[key] = any(item.items(nested) for item in self.items(sequence))
        return told[key]

    def _vr(self, element: Element) -> str:
        """Return the VR to read numbers by: one of "US or SS" follows Pixel Representation, whatever was written.

        Writers do not see the Pixel Representation from within a sequence, and write US there (PS3.3 C.7.6.3.1.1,
        C.7.6.16.2.11.1).
        """
        if element.vr in ("US", "SS") and "US or SS" in public_vr(element.tag):
            return "SS" if self.signed else "US"
        return element.vr


def _whole(text: str) -> tuple[int, ...]:
    """Read whole numbers also where they are written as 3.0, as DS allows; () when *text* is none."""
    integer = parse_integer(text)
    if integer is not None:
        return (integer,)
    number = parse_number(text)
    return (int(number),) if number is not None and number.is_integer() else ()
