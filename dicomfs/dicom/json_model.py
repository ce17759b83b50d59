"""The DICOM JSON Model of a data set, and which values it leaves out as bulk data (PS3.18 Annex F).

Only this module decides what is inline, what is bulk, and what a bulk value is called. The output is UTF-8, the same
bytes every time, one line per top-level element; characters that a terminal or a web page would act on are escaped.
"""

import base64
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from json.encoder import encode_basestring

from dicomfs.dicom import tags, uids
from dicomfs.dicom.long_sequence import LongSequence
from dicomfs.dicom.part10_reader import PIXEL_DATA, DataSet, DicomFile, Element
from dicomfs.dicom.values import SIZES, TEXT, decode_text, unpack, unpack_tags

__all__ = ["BulkValue", "bulk_name", "bulk_values", "header_json", "is_bulk", "json_parts"]

# The VRs that InlineBinary may hold (PS3.18 F.2.2), and up to which length it does here.
_BINARY = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
INLINE = 1024
# Integers beyond are not exact where JSON numbers are read as binary64 (PS3.18 F.2.3).
_EXACT = 2**53
_UTF_8 = '{"vr":"CS","Value":["ISO_IR 192"]}'
# C1, what HTML acts on, line ends of JavaScript, and marks that turn the direction of text.
_ACTIVE = re.compile("[\x7f-\x9f<>&\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_NUMBER = re.compile(r"([+-]?)0*([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?")
_LONGEST_NUMBER = 64
# Most values stand in every file of a series: those up to this length are written once for as many as are remembered.
_REPEATED = 64
# Values that are JSON numbers as they stand and exact: the usual case, told for a whole value field at once.
_PLAIN = r"-?(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,6})?"
_PLAIN_NUMBER = re.compile(_PLAIN)
_PLAIN_NUMBERS = re.compile(rf"{_PLAIN}(?:\\{_PLAIN})*".encode())


@dataclass(frozen=True, slots=True)
class BulkValue:
    """A value that `header.json` refers to as "bulk/<name>".

    *offset* and *length* refer to the parsed stream; *swap* is the bytes per word to reverse, so that the value is
    little endian as DICOM JSON wants it, or 1.
    """

    name: str
    offset: int
    length: int
    swap: int


def is_bulk(element: Element) -> bool:
    """Return whether a value is left out of the JSON: pixel data, long binary values, and what was not kept."""
    if element.items is not None or not element.length:
        return False
    if element.value is None or element.tag in PIXEL_DATA:
        return True
    return element.vr in _BINARY and element.length > INLINE


def _in_model(tag: int) -> bool:
    """Return whether the model has a place for *tag*: not for group lengths, nor for group 0002 (PS3.18 F.2)."""
    return bool(tag & 0xFFFF) and tag >> 16 != 2


def bulk_name(prefix: str, tag: int) -> str:
    """Name a bulk value: its tag after the tags and Item numbers that lead to it, as in 54000100.1.54001010."""
    return f"{prefix}{tag:08X}"


def bulk_values(parsed: DicomFile) -> tuple[BulkValue, ...]:
    """List the values that `header_json` leaves out, in its order."""
    return tuple(_bulk_values(parsed, parsed.dataset, ""))


def _bulk_values(parsed: DicomFile, dataset: DataSet, prefix: str) -> Iterator[BulkValue]:
    for element in dataset:
        if isinstance(element.items, LongSequence):
            for index in element.items.long_items(INLINE, 0x7FE0):
                yield from _bulk_values(parsed, element.items[index], f"{prefix}{element.tag:08X}.{index + 1}.")
        elif element.items:
            for number, item in enumerate(element.items, 1):
                yield from _bulk_values(parsed, item, f"{prefix}{element.tag:08X}.{number}.")
        elif is_bulk(element) and _in_model(element.tag) and element.tag != tags.SpecificCharacterSet:
            swapped = dataset.big_endian or (
                parsed.transfer_syntax == uids.PrivateGEImplicitVRBigEndianPixelData
                and element.tag in PIXEL_DATA
                and not prefix
            )
            swap = SIZES.get(element.vr, 1) if swapped and not element.undefined else 1
            yield BulkValue(bulk_name(prefix, element.tag), element.offset, element.length, swap)


def header_json(parsed: DicomFile) -> bytes:
    """Write the data set as DICOM JSON (PS3.18 F.2), without group 0002; Bulk Data as relative URIs."""
    # In front of and after the place of Specific Character Set, which is reported last: text may call for it (F.2.2).
    low, high = bytearray(), bytearray()
    stated, needed = False, False
    for tag, entry in _entries(parsed.dataset, ""):
        stated = stated or tag == tags.SpecificCharacterSet
        needed = needed or not entry.isascii()
        part = low if tag < tags.SpecificCharacterSet else high
        part += f',\n"{tag:08X}":{entry}'.encode()
    if needed and not stated:
        low += f',\n"{tags.SpecificCharacterSet:08X}":{_UTF_8}'.encode()
    return b"{" + (low + high)[1:] + b"\n}\n"


def json_parts(parsed: DicomFile) -> Iterator[bytes]:
    """Write the same in parts, where some of its sequences are long."""
    stated = tags.SpecificCharacterSet in parsed.dataset
    # Whether text calls for a character set is not known before all of it is written.
    needed = stated or not all(part.isascii() for _, part in _long_entries(parsed.dataset))
    before, last = b"{", -1
    for tag, part in _long_entries(parsed.dataset):
        if tag != last:
            if needed and not stated and last < tags.SpecificCharacterSet < tag:
                yield before + f'\n"{tags.SpecificCharacterSet:08X}":{_UTF_8}'.encode()
                before = b","
            yield before + f'\n"{tag:08X}":'.encode()
            before, last = b",", tag
        yield part.encode()
    yield b"\n}\n" if last >= 0 else b"{\n}\n"


def _long_entries(dataset: DataSet) -> Iterator[tuple[int, str]]:
    """Write each element of the outermost data set as `_entries` does, Item by Item where its sequence is long."""
    for element in dataset:
        if not isinstance(element.items, LongSequence) or not _in_model(element.tag):
            yield from _written(element, dataset, "")
            continue
        yield element.tag, '{"vr":"SQ","Value":['
        for number, item in enumerate(element.items, 1):
            yield element.tag, f"{',' if number > 1 else ''}{_item(element, number, item, '')}"
        yield element.tag, "]}"


def _entries(dataset: DataSet, prefix: str) -> Iterator[tuple[int, str]]:
    """Write each element but group lengths, as tag and JSON text (PS3.18 F.2.2)."""
    for element in dataset:
        yield from _written(element, dataset, prefix)


def _written(element: Element, dataset: DataSet, prefix: str) -> Iterator[tuple[int, str]]:
    """Write one element, or nothing for what the model has no place for."""
    tag = element.tag
    if not _in_model(tag):
        return
    if tag == tags.SpecificCharacterSet:
        yield tag, _UTF_8
    elif element.items:
        yield tag, f'{{"vr":"SQ","Value":[{_items(element, prefix)}]}}'
    elif is_bulk(element):
        yield tag, f'{{"vr":"{element.vr}","BulkDataURI":"bulk/{bulk_name(prefix, tag)}"}}'
    elif not element.value:
        yield tag, f'{{"vr":"{element.vr}"}}'
    elif element.vr in _BINARY:
        yield tag, f'{{"vr":"{element.vr}","InlineBinary":"{_base64(element, dataset.big_endian)}"}}'
    else:
        write = _values_again if len(element.value) <= _REPEATED else _values
        values = write(element.value, element.vr, dataset.charset, dataset.big_endian)
        yield tag, f'{{"vr":"{element.vr}","Value":[{values}]}}' if values else f'{{"vr":"{element.vr}"}}'


def _items(element: Element, prefix: str) -> str:
    """Write the Items of a sequence; an empty one is an empty object (PS3.18 F.2.5)."""
    written = []
    for number, item in enumerate(element.items or (), 1):
        written.append(_item(element, number, item, prefix))
    return ",".join(written)


def _item(element: Element, number: int, item: DataSet, prefix: str) -> str:
    entries = _entries(item, f"{prefix}{element.tag:08X}.{number}.")
    return "{" + ",".join([f'"{tag:08X}":{entry}' for tag, entry in entries]) + "}"


def _values(value: bytes, vr: str, charset: tuple[str, ...], big_endian: bool) -> str:
    """Write the values of one element, separated by commas (PS3.18 F.2.3)."""
    if vr in TEXT:
        if vr == "DS" and _PLAIN_NUMBERS.fullmatch(plain := value.strip(b" \0")):
            return plain.decode("ascii").replace("\\", ",")
        texts = decode_text(value, vr, charset)
        write = {"DS": _decimal, "IS": _integer, "PN": _person}.get(vr, _string)
        return ",".join([write(text) if text else "null" for text in texts])
    if vr == "AT":
        return ",".join([f'"{tag:08X}"' for tag in unpack_tags(value, big_endian)])
    return ",".join([_number(number) for number in unpack(value, vr, big_endian)])


_values_again = lru_cache(maxsize=8192)(_values)


def _string(text: str) -> str:
    """Quote *text*, with everything escaped that a terminal or a browser might act on."""
    return _ACTIVE.sub(lambda found: f"\\u{ord(found[0]):04x}", encode_basestring(text))


def _person(text: str) -> str:
    """Write a Person Name with its component groups (PS3.18 F.2.2); null when all are empty."""
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("=", 2), strict=False)
    written = ",".join([f'"{name}":{_string(group)}' for name, group in groups if group])
    return f"{{{written}}}" if written else "null"


def _number(number: int | float) -> str:
    """Write a number; as a string where a JSON number would not be exact or cannot be (NaN, infinity)."""
    if isinstance(number, int):
        return str(number) if -_EXACT <= number <= _EXACT else f'"{number}"'
    if math.isfinite(number):
        return repr(number)
    return f'"{number}"'


def _integer(text: str) -> str:
    """Write an IS value as a number, or as it stands where it is none or not exact."""
    found = _NUMBER.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
    if not found or found[3] is not None or found[4] or not text[-1].isdigit():
        return _string(text)
    sign, digits = found[1], found[2]
    exact = abs(int(digits or "0")) <= _EXACT
    return ("-" if sign == "-" else "") + (digits or "0") if exact else _string(text)


def _decimal(text: str) -> str:
    """Write a DS value as a number with the digits it has, or as it stands where it is none or not exact."""
    if _PLAIN_NUMBER.fullmatch(text):
        return text
    found = _NUMBER.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
    if not found or not any(letter.isdigit() for letter in re.split("[eE]", text)[0]):
        return _string(text)
    sign, whole, fraction, exponent = found.groups()
    literal = ("-" if sign == "-" else "") + (whole or "0")
    if fraction:
        literal += "." + fraction
    if exponent:
        literal += "e" + exponent
    number = float(literal)
    if exponent or len(whole) + len(fraction or "") > 15:
        # Up to 15 digits survive the way into binary64 and back; beyond, it depends.
        exact = math.isfinite(number) and len(exponent or "") <= 5 and Decimal(literal) == Decimal(repr(number))
        return literal if exact else _string(text)
    return literal


def _base64(element: Element, big_endian: bool) -> str:
    """Write a binary value in little endian order."""
    value = element.value or b""
    size = SIZES.get(element.vr, 1)
    if big_endian and size > 1:
        value = swapped(value, size)
    return base64.b64encode(value).decode("ascii")


def swapped(value: bytes, size: int) -> bytes:
    """Reverse the bytes of each word of *size* bytes; an incomplete word at the end stays."""
    letter = {2: "H", 4: "L", 8: "Q"}[size]
    count = len(value) // size
    words = struct.unpack_from(f">{count}{letter}", value)
    return struct.pack(f"<{count}{letter}", *words) + value[count * size :]
