"""A data set as text for people: one line per element, laid out as `dcmdump` does it.

Only this module holds that layout. What a value holds is written by `printable`: no control character gets through.
"""

from collections.abc import Iterator
from functools import lru_cache

from dicomfs.dicom import tags
from dicomfs.dicom.dictionary import is_private, keyword, private_name, uid_keyword
from dicomfs.dicom.json_model import bulk_name, is_bulk
from dicomfs.dicom.part10_reader import PIXEL_DATA, DataSet, DicomFile, Element
from dicomfs.dicom.printable import printable
from dicomfs.dicom.values import CHARSET_TEXT, SIZES, TEXT, decode, unpack, unpack_tags

__all__ = ["header_txt", "txt_parts"]

# How wide a value is printed at most and at least; dcmdump's numbers.
_WIDEST = 70
_COLUMN = 40
_SHORTENED = 66
# Most values stand in every file of a series: those up to this length are written once for as many as are remembered.
_REPEATED = 64
_HEX_DIGITS = {"OB": 2, "UN": 2, "OW": 4, "OL": 8, "OV": 16}
_KINDS = {b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "BigTIFF", b"MM\0+": "BigTIFF"}


def header_txt(parsed: DicomFile) -> bytes:
    """Write meta information and data set, one line per element, Items indented; UTF-8."""
    return b"".join(txt_parts(parsed))


def txt_parts(parsed: DicomFile) -> Iterator[bytes]:
    """Write it in parts."""
    if any(parsed.preamble):
        kind = _KINDS.get(parsed.preamble[:4])
        note = f"makes this file a {kind} as well" if kind else "is not empty"
        yield f"# The preamble {note}\n\n".encode()
    if len(parsed.meta):
        yield b"# File Meta Information\n"
        for line in _lines(parsed, parsed.meta, "", ""):
            yield line.encode()
        yield b"\n"
    syntax = uid_keyword(parsed.transfer_syntax) or printable(parsed.transfer_syntax, _WIDEST)
    yield f"# Data Set, {syntax}\n".encode()
    for line in _lines(parsed, parsed.dataset, "", ""):
        yield line.encode()


def _lines(parsed: DicomFile, dataset: DataSet, prefix: str, indent: str) -> Iterator[str]:
    for element in dataset:
        text, count = _value(parsed, element, dataset, prefix)
        tag = _tag(element.tag)
        length = "u/l" if element.undefined else f"{element.length:3}"
        yield f"{indent}{tag} {element.vr} {text:<40} # {length},{count:2} {_name(element.tag, dataset)}\n"
        for number, item in enumerate(element.items or (), 1):
            kind = "undefined" if item.undefined else "explicit"
            text = f"(Item with {kind} length #={len(item)})"
            length = "u/l" if item.undefined else f"{item.length:3}"
            yield f"{indent}  (fffe,e000) na {text:<{_COLUMN}} # {length}, 1 Item\n"
            yield from _lines(parsed, item, f"{prefix}{element.tag:08X}.{number}.", indent + "    ")


@lru_cache(maxsize=8192)
def _tag(tag: int) -> str:
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


def _name(tag: int, dataset: DataSet) -> str:
    """Name an element by its keyword, or what its private creator's dictionary calls it."""
    known = keyword(tag)
    if not known and is_private(tag):
        creator = dataset.text((tag & 0xFFFF0000) | (tag >> 8 & 0xFF))
        known = private_name(tag, creator) if creator else ""
    return known or "Unknown"


def _value(parsed: DicomFile, element: Element, dataset: DataSet, prefix: str) -> tuple[str, int]:
    """Print a value as it fits into a line, and count its values."""
    value, vr = element.value, element.vr
    if element.items is not None:
        kind = "undefined" if element.undefined else "explicit"
        return f"(Sequence with {kind} length #={len(element.items)})", 1
    if not element.length:
        return "(no value available)", 0
    if value is None or element.tag in PIXEL_DATA:
        place = f" in bulk/{bulk_name(prefix, element.tag)}" if is_bulk(element) else ""
        what = f"{element.length} bytes"
        if element.tag == tags.PixelData and not prefix and parsed.fragments:
            what = f"{len(parsed.fragments)} Items"
        return f"({what}{place})", 1
    if vr in TEXT:
        charset = dataset.charset if vr in CHARSET_TEXT else ()
        return (_text_again if len(value) <= _REPEATED else _text)(value, vr, charset)
    if vr == "AT":
        pointed = unpack_tags(value, dataset.big_endian)
        texts = [f"({tag >> 16:04x},{tag & 0xFFFF:04x})" for tag in pointed[:_WIDEST]]
        return _shortened("\\".join(texts)), len(pointed)
    size = SIZES.get(vr, 1)
    count = len(value) // size
    numbers = unpack(value[: _WIDEST * size], "OB" if vr == "UN" else vr, dataset.big_endian)
    digits = _HEX_DIGITS.get(vr)
    if digits:
        return _shortened("\\".join([f"{number:0{digits}x}" for number in numbers])).replace("\\...", "..."), 1
    style = ".9g" if vr in ("FL", "OF") else ""
    texts = [format(number, style) for number in numbers]
    return _shortened("\\".join(texts)), 1 if vr in ("OF", "OD") else count


def _text(value: bytes, vr: str, charset: tuple[str, ...]) -> tuple[str, int]:
    """Print text in brackets, or the names of UIDs that have one after an equals sign."""
    text = decode(value, charset, vr == "PN").rstrip(" \0")
    count = 1 if vr in ("LT", "ST", "UR", "UT") else text.count("\\") + 1
    if not text:
        return "(no value available)", 0
    if vr == "UI":
        names = [uid_keyword(uid.strip(" \0")) for uid in text.split("\\")[:_WIDEST]]
        if all(names):
            return _shortened("\\".join([f"={name}" for name in names])), count
    if len(text) > _WIDEST:
        return "[" + printable(text[:_SHORTENED], None) + "...", count
    return f"[{printable(text, None)}]", count


_text_again = lru_cache(maxsize=8192)(_text)


def _shortened(text: str) -> str:
    return text if len(text) <= _WIDEST else text[:_SHORTENED] + "..."
