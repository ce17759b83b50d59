"""The values of one element, decoded by its VR: text in every Specific Character Set, and binary numbers.

Only this module turns value bytes into Python values (PS3.5 6.1, 6.2). Nothing here raises on a bad value or warns.
"""

import re
import struct

from dicomfs.dicom.character_sets import read_text

__all__ = [
    "CHARSET_TEXT",
    "SIZES",
    "TEXT",
    "decimal_unit",
    "decode",
    "decode_text",
    "parse_integer",
    "parse_number",
    "text_fault",
    "unpack",
    "unpack_tags",
]

_ASCII_TEXT = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"))
CHARSET_TEXT = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
TEXT = _ASCII_TEXT | CHARSET_TEXT
# A backslash is an ordinary character in these (PS3.5 6.2), and leading spaces count.
_SINGLE = frozenset(("LT", "ST", "UR", "UT"))
_SPACES_COUNT_IN_FRONT = _SINGLE | {"DA", "DT", "PN", "TM", "UC"}
_PADDING = " \0"

_FORMATS = {
    "FD": "d", "FL": "f", "OB": "B", "OD": "d", "OF": "f", "OL": "L", "OV": "Q", "OW": "H",
    "SL": "l", "SS": "h", "SV": "q", "UL": "L", "US": "H", "UV": "Q",
}  # fmt: skip
# Bytes of one number of each binary VR; AT is two numbers of two bytes (PS3.5 6.2).
SIZES = {vr: struct.calcsize("<" + letter) for vr, letter in _FORMATS.items()} | {"AT": 2}

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def decode(value: bytes, charset: tuple[str, ...], name: bool = False) -> str:
    """Decode the bytes of a whole value field, all its values and components (PS3.5 6.1.2); *name* is true for PN."""
    return read_text(value, charset, name)[0]


def text_fault(value: bytes | None, vr: str, charset: tuple[str, ...]) -> str | None:
    """Report what is wrong with the text of an element whose VR follows Specific Character Set; None for sound text."""
    return read_text(value, charset, vr == "PN")[1] if value else None


def decode_text(value: bytes, vr: str, charset: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values of a text element without their padding; () when there is none."""
    text = decode(value, charset if vr in CHARSET_TEXT else (), vr == "PN")
    if vr in _SINGLE:
        text = text.rstrip(_PADDING)
        return (text,) if text else ()
    if not text.strip(_PADDING):
        return ()
    values = text.split("\\") if "\\" in text else [text]
    if vr in _SPACES_COUNT_IN_FRONT:
        return tuple([part.rstrip(_PADDING) for part in values])
    return tuple([part.strip(_PADDING) for part in values])


def unpack(value: bytes, vr: str, big_endian: bool) -> tuple[int | float, ...]:
    """Return the numbers of a binary VR other than AT and UN; an incomplete one at the end is left out."""
    letter = _FORMATS.get(vr)
    if letter is None:
        return ()
    count = len(value) // SIZES[vr]
    return struct.unpack_from(f"{'>' if big_endian else '<'}{count}{letter}", value)


def unpack_tags(value: bytes, big_endian: bool) -> tuple[int, ...]:
    """Return the tags of an AT element, each as 0xGGGGEEEE."""
    count = len(value) // 4
    halves = struct.unpack_from(f"{'>' if big_endian else '<'}{2 * count}H", value)
    return tuple([group << 16 | element for group, element in zip(halves[::2], halves[1::2], strict=True)])


def parse_integer(text: str) -> int | None:
    """Read an IS value; None when it is not one."""
    return int(text) if len(text) <= 64 and _INTEGER.fullmatch(text) else None


def parse_number(text: str) -> float | None:
    """Read a DS or IS value; None when it is not one. May be infinite where the exponent is too large."""
    return float(text) if _NUMBER.fullmatch(text) else None


def decimal_unit(text: str) -> float:
    """Return the value of the last digit of a DS or IS value as it is written: 0.01 for 1.25; 0 for what is none.

    Two numbers that were rounded or cut to different places are equal if they differ by less than the larger unit.
    """
    if not _NUMBER.fullmatch(text):
        return 0.0
    digits, _, exponent = text.lower().partition("e")
    try:
        return float(10.0 ** (int(exponent or 0) - len(digits.partition(".")[2])))
    except OverflowError:
        return 0.0
