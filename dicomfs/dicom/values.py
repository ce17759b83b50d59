"""The values of one element, decoded by its VR: text in every Specific Character Set, and binary numbers.

Only this module turns value bytes into Python values (PS3.5 6.1, 6.2). Nothing here raises on a bad value or
warns: text that its character set cannot explain is read as Latin-1, so that no byte is lost.
"""

import re
import struct
from functools import lru_cache

__all__ = [
    "CHARSET_TEXT",
    "SIZES",
    "TEXT",
    "decode",
    "decode_text",
    "parse_integer",
    "parse_number",
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

# Specific Character Set (PS3.3 C.12.1.1.2) without the words around the number of the registration.
_CODECS = {
    "": "latin-1", "6": "latin-1", "100": "latin-1", "101": "iso8859-2", "109": "iso8859-3", "110": "iso8859-4",
    "126": "iso8859-7", "127": "iso8859-6", "138": "iso8859-8", "144": "iso8859-5", "148": "iso8859-9",
    "166": "iso8859-11", "203": "iso8859-15", "13": "shift_jis", "87": "latin-1", "159": "latin-1",
    "149": "euc_kr", "58": "gb2312", "192": "utf-8", "GB18030": "gb18030", "GBK": "gbk",
}  # fmt: skip
# These know no escape sequences (PS3.5 6.1.2.3).
_WHOLE = frozenset(("utf-8", "gb18030", "gbk"))
# Escape sequences that put a set into G1 (PS3.3 table C.12-3, C.12-4), and those of sets of two bytes in G0.
_IN_G1 = {
    b"-A": "latin-1", b"-B": "iso8859-2", b"-C": "iso8859-3", b"-D": "iso8859-4", b"-F": "iso8859-7",
    b"-G": "iso8859-6", b"-H": "iso8859-8", b"-L": "iso8859-5", b"-M": "iso8859-9", b"-T": "iso8859-11",
    b"-b": "iso8859-15", b")I": "shift_jis", b"$)C": "euc_kr", b"$)A": "gb2312",
}  # fmt: skip
_TWO_BYTES_IN_G0 = (b"$B", b"$(D", b"$@")
_ONE_BYTE_IN_G0 = (b"(B", b"(J")
# Behind one of these, what the first value of the character set says is in force again (PS3.5 6.1.2.5.3).
_RESETS = re.compile(rb"[\\\r\n\f\t]")
_RESETS_IN_NAMES = re.compile(rb"[\\\r\n\f\t^=]")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@lru_cache(maxsize=256)
def codec(term: str) -> str:
    """Give Python's codec for one defined term of Specific Character Set; "" for an unknown term."""
    word = term.strip(_PADDING).upper()
    number = re.fullmatch(r"ISO[ _-]?(?:2022)?[ _-]*(?:IR)?[ _-]*([0-9]+|GBK)", word)
    return _CODECS.get(number[1] if number else word, "")


def decode(value: bytes, charset: tuple[str, ...], name: bool = False) -> str:
    """Decode the bytes of a whole value field, all its values and components (PS3.5 6.1.2).

    The separators are told apart only in the result: a byte 5C may be half a character. *name* is true for PN.
    """
    if b"\x1b" not in value and value.isascii():
        return value.decode("ascii")
    first = codec(charset[0]) if charset else ""
    try:
        if b"\x1b" in value and first not in _WHOLE:
            return _decode_escaped(value, first or "latin-1", _RESETS_IN_NAMES if name else _RESETS)
        return value.decode(first or "latin-1")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _decode_escaped(value: bytes, first: str, resets: re.Pattern[bytes]) -> str:
    """Decode text with code extensions (ISO 2022, PS3.5 6.1.2.5)."""
    head, *parts = value.split(b"\x1b")
    texts = [head.decode(first)]
    current = first
    for part in parts:
        if part.startswith(_TWO_BYTES_IN_G0):
            texts.append((b"\x1b" + part).decode("iso2022_jp_2"))
            continue
        for sequence, name in _IN_G1.items():
            if part.startswith(sequence):
                current, part = name, part[len(sequence) :]
                break
        else:
            if part.startswith(_ONE_BYTE_IN_G0):
                part = part[2:]
            else:
                texts.append("\x1b")
        reset = resets.search(part)
        stop = reset.start() if reset else len(part)
        texts.append(part[:stop].decode(current))
        if reset:
            current = first
            texts.append(part[stop:].decode(first))
    return "".join(texts)


def decode_text(value: bytes, vr: str, charset: tuple[str, ...]) -> tuple[str, ...]:
    """Give the values of a text element without their padding; () when there is none."""
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
    """Give the numbers of a binary VR other than AT and UN; an incomplete one at the end is left out."""
    letter = _FORMATS.get(vr)
    if letter is None:
        return ()
    count = len(value) // SIZES[vr]
    return struct.unpack_from(f"{'>' if big_endian else '<'}{count}{letter}", value)


def unpack_tags(value: bytes, big_endian: bool) -> tuple[int, ...]:
    """Give the tags of an AT element, each as 0xGGGGEEEE."""
    count = len(value) // 4
    halves = struct.unpack_from(f"{'>' if big_endian else '<'}{2 * count}H", value)
    return tuple([group << 16 | element for group, element in zip(halves[::2], halves[1::2], strict=True)])


def parse_integer(text: str) -> int | None:
    """Read an IS value; None when it is not one."""
    return int(text) if len(text) <= 64 and _INTEGER.fullmatch(text) else None


def parse_number(text: str) -> float | None:
    """Read a DS or IS value; None when it is not one. May be infinite where the exponent is too large."""
    return float(text) if _NUMBER.fullmatch(text) else None
