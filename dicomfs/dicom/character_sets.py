"""Text in the character sets of DICOM (PS3.5 6.1, PS3.3 C.12.1.1.2), also where they are misspelt, missing or wrong.

Only this module decides which characters bytes are. Nothing here raises on bad text: what no set explains is read as
Latin-1, so that no byte is lost, and a sentence says so.
"""

import re
import unicodedata
from collections.abc import Iterator
from encodings.aliases import aliases
from functools import lru_cache

__all__ = ["UNDECODABLE", "UNESCAPED", "UTF_8", "charset_faults", "codec", "read_text"]

UTF_8 = "text is UTF-8, which Specific Character Set does not say; it is read as that (H6)"
UNESCAPED = "text lacks escape sequences; it is read as another term of Specific Character Set has it (H6)"
UNDECODABLE = "text has bytes that Specific Character Set does not explain; they are read as Latin-1 (H6)"

_PADDING = " \0"
# Registration numbers, without the words around them. Without a term, text is ASCII.
_NUMBERS = {
    "6": "ascii", "100": "latin-1", "101": "iso8859-2", "109": "iso8859-3", "110": "iso8859-4", "126": "iso8859-7",
    "127": "iso8859-6", "138": "iso8859-8", "144": "iso8859-5", "148": "iso8859-9", "166": "iso8859-11",
    "203": "iso8859-15", "13": "shift_jis", "87": "ascii", "159": "ascii", "149": "euc_kr", "58": "gb2312",
    "192": "utf-8", "GB18030": "gb18030", "GBK": "gbk",
}  # fmt: skip
_DEFINED = frozenset((
    "", "GB18030", "GBK", "ISO_IR 13", "ISO_IR 192", "ISO 2022 IR 6", "ISO 2022 IR 13", "ISO 2022 IR 58",
    "ISO 2022 IR 87", "ISO 2022 IR 149", "ISO 2022 IR 159",
    *(f"{head} {number}" for head in ("ISO_IR", "ISO 2022 IR")
      for number in (100, 101, 109, 110, 126, 127, 138, 144, 148, 166, 203)),
))  # fmt: skip
# What else writers call them, and sets that DICOM does not know: Python's name of each by its module.
_KNOWN = {
    "ascii": "ascii", "utf_8": "utf-8", "latin_1": "latin-1", "iso8859_1": "latin-1",
    **{f"iso8859_{part}": f"iso8859-{part}" for part in (*range(2, 12), 13, 14, 15, 16)}, "tis_620": "iso8859-11",
    **{f"cp125{digit}": f"cp125{digit}" for digit in range(9)}, "cp437": "cp437", "cp850": "cp850", "cp932": "cp932",
    "cp949": "cp949", "koi8_r": "koi8-r", "koi8_u": "koi8-u", "mac_roman": "mac-roman", "shift_jis": "shift_jis",
    "euc_jp": "euc_jp", "euc_kr": "euc_kr", "gb2312": "gb18030", "gbk": "gbk", "gb18030": "gb18030", "big5": "big5",
}  # fmt: skip
_NICKNAMES = {"unicode": "utf_8", "utf": "utf_8", "iso_10646": "utf_8", "iso10646": "utf_8", "ansi": "cp1252"}
_TERMS = {
    "ascii": "the default repertoire", "shift_jis": "ISO_IR 13", "euc_kr": "ISO 2022 IR 149",
    "gb2312": "ISO 2022 IR 58", "utf-8": "ISO_IR 192",
    **{name: f"ISO_IR {number}" for number, name in _NUMBERS.items() if name.startswith(("iso8859", "latin"))},
}  # fmt: skip
_BY_NUMBER = re.compile(r"(?:ISO)?[ _-]*(?:2022)?[ _-]*(?:IR)?[ _-]*([0-9]+|GBK|GB18030)")
_PART_OF_8859 = re.compile(r"(?:ISO)?[ _-]*(?:IR)?[ _-]*8859[ _-]*([0-9]{1,2})")

# These know no escape sequences (PS3.5 6.1.2.3).
_WHOLE = frozenset(("utf-8", "gb18030", "gbk"))
# Two bytes a character, so that text of another set is seldom explained by chance.
_WIDE = frozenset(("shift_jis", "euc_kr", "gb2312", "gbk", "gb18030", "euc_jp", "big5", "cp932", "cp949"))
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
# Characters of living scripts that UTF-8 writes in two bytes.
_LIVING = (
    (0xA0, 0x24F), (0x259, 0x259), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x587), (0x5D0, 0x5EA), (0x60C, 0x6FF),
)  # fmt: skip
_SHORT = 0x800

Read = tuple[str, str | None]


@lru_cache(maxsize=256)
def codec(term: str) -> str:
    """Return Python's codec for one term of Specific Character Set, also a misspelt one; "" for an unknown term."""
    word = term.strip(_PADDING).upper()
    if not word:
        return "ascii"
    number = _BY_NUMBER.fullmatch(word)
    if number and number[1] in _NUMBERS:
        return _NUMBERS[number[1]]
    if part := _PART_OF_8859.fullmatch(word):
        return _KNOWN.get(f"iso8859_{int(part[1])}", "")
    name = re.sub("[^a-z0-9]+", "_", word.lower()).strip("_")
    for spelling in (name, name.replace("_", "")):
        found = _KNOWN.get(_NICKNAMES.get(spelling) or aliases.get(spelling, spelling))
        if found:
            return found
    return ""


def charset_faults(terms: tuple[str, ...]) -> Iterator[str]:
    """Report what is wrong with the terms of Specific Character Set; only names of this module are quoted."""
    for term in terms:
        if term.strip(_PADDING) in _DEFINED:
            continue
        found = codec(term)
        if found:
            yield f"a term of Specific Character Set is misspelt; it is read as {_TERMS.get(found, found.upper())} (H6)"
        else:
            yield "a term of Specific Character Set is unknown; it is left out (H6)"


def read_text(value: bytes, charset: tuple[str, ...], name: bool = False) -> Read:
    """Decode the bytes of a whole value field, all its values and components (PS3.5 6.1.2); and say what is wrong.

    The separators are told apart only in the result: a byte 5C may be half a character. *name* is true for PN.
    """
    escaped = b"\x1b" in value
    if not escaped and value.isascii():
        return value.decode("ascii"), None
    first = (codec(charset[0]) or "ascii") if charset else "ascii"
    others = tuple([found for term in charset[1:] if (found := _eight_bits(term))])
    if escaped and first not in _WHOLE:
        return _read_escaped(value, first, others, _RESETS_IN_NAMES if name else _RESETS)
    return _read_plain(value, first, others)


def _eight_bits(term: str) -> str:
    """Return the codec for text of *term* whose escape sequences are missing, so that all of its bytes are above 7F."""
    found = _BY_NUMBER.fullmatch(term.strip(_PADDING).upper())
    if found and found[1] in ("87", "159"):
        return "euc_jp"
    return codec(term).replace("ascii", "")


def _decoded(value: bytes, name: str) -> str | None:
    try:
        return value.decode(name)
    except UnicodeDecodeError:
        return None


def _read_plain(value: bytes, first: str, others: tuple[str, ...]) -> Read:
    """Read text without escape sequences: as stated, as UTF-8, as another term says, or as Latin-1."""
    stated = _decoded(value, first)
    if stated is not None and (first == "utf-8" or value.isascii()):
        return stated, None
    unicode = _decoded(value, "utf-8")
    if unicode is not None and (stated is None or _is_rather(unicode, stated, first)):
        return unicode, UTF_8
    if stated is not None:
        return stated, UNDECODABLE if first not in _WIDE and re.search("[\x80-\x9f]", stated) else None
    for other in others:
        text = _decoded(value, other)
        if text is not None:
            return text, UNESCAPED
    return value.decode("latin-1"), UNDECODABLE


def _is_rather(unicode: str, stated: str, name: str) -> bool:
    """Judge whether bytes are UTF-8, read as *unicode*, rather than what the stated set makes of them.

    They are where that set has all the characters of *unicode*, for then they are what it was stated for; and where
    *stated* is no text but letters among symbols, while *unicode* is of a living script.
    """
    if _decoded_back(unicode, name):
        if name not in _WIDE:
            return True
        # Two-byte sets explain much by chance, but rare characters only.
        rare = name not in ("gbk", "gb18030") or not _decoded_back(stated, "gb2312")
        return rare and any(ord(letter) >= _SHORT for letter in unicode)
    if name in _WIDE:
        return False
    odd = any(ord(letter) > 0x7F and unicodedata.category(letter)[0] not in "LM" for letter in stated)
    return odd and all(_is_living(letter) for letter in unicode)


def _decoded_back(text: str, name: str) -> bool:
    """Return whether a set has all characters of *text*."""
    try:
        text.encode(name)
    except UnicodeEncodeError:
        return False
    return True


def _is_living(letter: str) -> bool:
    number = ord(letter)
    if number >= _SHORT:
        return unicodedata.category(letter) not in ("Cc", "Cn", "Co", "Cs")
    return number < 0x80 or any(low <= number <= high for low, high in _LIVING)


def _read_escaped(value: bytes, first: str, others: tuple[str, ...], resets: re.Pattern[bytes]) -> Read:
    """Read text with code extensions (ISO 2022, PS3.5 6.1.2.5)."""
    head, *parts = value.split(b"\x1b")
    read = [_read_plain(head, first, others)]
    current = first
    for part in parts:
        if part.startswith(_TWO_BYTES_IN_G0):
            read.append(_read_two_bytes(part, resets))
            continue
        for sequence, name in _IN_G1.items():
            if part.startswith(sequence):
                current, part = name, part[len(sequence) :]
                others = (name, *others)  # writers forget to repeat it after a separator
                break
        else:
            if part.startswith(_ONE_BYTE_IN_G0):
                part = part[2:]
            else:
                read.append(("\x1b", UNDECODABLE))
        reset = resets.search(part)
        stop = reset.start() if reset else len(part)
        read.append(_read_set(part[:stop], current))
        if reset:
            current = first
            read.append(_read_plain(part[stop:], first, others))
    return "".join([text for text, _ in read]), next((fault for _, fault in read if fault), None)


def _read_set(value: bytes, name: str) -> Read:
    """Read text of the set that was put into force."""
    text = _decoded(value, name)
    return (text, None) if text is not None else (value.decode("latin-1"), UNDECODABLE)


def _read_two_bytes(part: bytes, resets: re.Pattern[bytes]) -> Read:
    """Read text after an escape sequence of a two-byte set in G0, which should end before a separator."""
    text = _decoded(b"\x1b" + part, "iso2022_jp_2")
    if text is not None:
        return text, None
    length = next(len(sequence) for sequence in _TWO_BYTES_IN_G0 if part.startswith(sequence))
    sequence, rest, texts = b"\x1b" + part[:length], part[length:], []
    for piece in re.split(b"(" + resets.pattern + b")", rest):
        text = piece.decode("ascii") if resets.fullmatch(piece) else _decoded(sequence + piece, "iso2022_jp_2")
        if text is None:
            return part.decode("latin-1"), UNDECODABLE
        texts.append(text)
    return "".join(texts), UNESCAPED
