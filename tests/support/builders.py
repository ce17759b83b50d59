"""Builders of DICOM files, also of the broken kinds, for tests.

A data set is a dict of tag to (VR, value). Values: bytes as they stand, text, numbers, a list of data sets for a
sequence, or Raw where the length field shall say something else than the truth. Nothing of dicomfs is used here.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from support import encoded

UNDEFINED = 0xFFFFFFFF
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
RLE = "1.2.840.10008.1.2.5"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
MPEG_4 = "1.2.840.10008.1.2.4.102"

ITEM = b"\xfe\xff\x00\xe0"
ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"

PIXEL_DATA = 0x7FE00010
NUMBER_OF_FRAMES = 0x00280008
EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00001, 0x7FE00002
SHARED_GROUPS, PER_FRAME_GROUPS = 0x52009229, 0x52009230

_NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d"}
_NUMBERS |= {"OL": "L", "OV": "Q", "UV": "Q", "SV": "q"}


class Raw(NamedTuple):
    """The bytes of a value field, and what its length field says."""

    data: bytes
    length: int


# bytes | str | int | float | Raw | a sequence of numbers | a list of data sets: a circle that mypy cannot follow.
Value = Any
DataSet = Mapping[int, tuple[str, Value]]


def pad(data: bytes, with_: bytes = b"\0") -> bytes:
    """Make the length even (PS3.5 7.1.1)."""
    return data + with_ * (len(data) % 2)


def element(tag: int, vr: str, value: Value, syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Encode one element."""
    data, length = _value(vr, value, syntax)
    if syntax == IMPLICIT_LITTLE:
        return encoded.implicit(tag, data, length)
    return encoded.element(tag, vr, data, length, ">" if syntax == EXPLICIT_BIG else "<")


def data_set(elements: DataSet, syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Encode elements in ascending order of their tags."""
    return b"".join(element(tag, *elements[tag], syntax) for tag in sorted(elements))


def dicom(
    elements: DataSet, syntax: str = EXPLICIT_LITTLE, *, preamble: bool = True, meta: bool = True, tail: bytes = b""
) -> bytes:
    """Make a file; without *preamble* and *meta* it is as ACR-NEMA and careless writers left it."""
    body = data_set(elements, syntax) + tail
    head = b""
    if meta:
        group = element(0x00020001, "OB", b"\0\1") + element(0x00020002, "UI", "1.2.840.10008.5.1.4.1.1.7")
        group += element(0x00020003, "UI", "1.2.3.4") + element(0x00020010, "UI", syntax)
        head = element(0x00020000, "UL", len(group)) + group
    return (bytes(128) + b"DICM" if preamble else b"") + head + body


def acr_nema(rows: int, columns: int, pixels: bytes) -> bytes:
    """Make an ACR-NEMA 2.0 file: no preamble, no meta information, implicit, group lengths (PS3.5 of 1988)."""
    elements = image(rows, columns, pixels) | {0x00080001: ("UL", 0), 0x00080010: ("LO", "ACR-NEMA 2.0")}
    body = b""
    for group in sorted({tag >> 16 for tag in elements}):
        encoded = data_set({tag: elements[tag] for tag in elements if tag >> 16 == group}, IMPLICIT_LITTLE)
        body += element(group << 16, "UL", len(encoded), IMPLICIT_LITTLE) + encoded
    return body


def image(
    rows: int,
    columns: int,
    pixels: Value,
    *,
    frames: int | str | None = None,
    samples: int = 1,
    bits: int = 8,
    stored: int | None = None,
    signed: bool = False,
    photometric: str | None = None,
    planar: int = 0,
    vr: str = "OW",
    more: DataSet | None = None,
) -> dict[int, tuple[str, Value]]:
    """Make the elements of an image with *pixels* as its Pixel Data; *frames* may be text that is no number."""
    stored = bits if stored is None else stored
    elements: dict[int, tuple[str, Value]] = {
        0x00080016: ("UI", "1.2.840.10008.5.1.4.1.1.7"),
        0x00080018: ("UI", "1.2.3.4"),
        0x00080060: ("CS", "OT"),
        0x00280002: ("US", samples),
        0x00280004: ("CS", photometric or ("MONOCHROME2" if samples == 1 else "RGB")),
        0x00280010: ("US", rows),
        0x00280011: ("US", columns),
        0x00280100: ("US", bits),
        0x00280101: ("US", stored),
        0x00280102: ("US", stored - 1),
        0x00280103: ("US", int(signed)),
        PIXEL_DATA: (vr, pixels),
    }
    if samples > 1:
        elements[0x00280006] = ("US", planar)
    if frames is not None:
        elements[NUMBER_OF_FRAMES] = ("IS", str(frames))
    return elements | dict(more or {})


def items(
    fragments: Iterable[bytes], table: Iterable[int] | bytes = b"", *, delimited: bool = True, even: bool = True
) -> bytes:
    """Encode *fragments* behind an Item with the Basic Offset Table (PS3.5 A.4); not *even* leaves odd lengths odd."""
    if not isinstance(table, bytes):
        table = b"".join(struct.pack("<L", entry & 0xFFFFFFFF) for entry in table)
    values = [table, *(pad(fragment) if even else fragment for fragment in fragments)]
    encoded = b"".join(ITEM + struct.pack("<L", len(value)) + value for value in values)
    return encoded + (SEQUENCE_END if delimited else b"")


def encapsulated(
    fragments: Iterable[bytes], table: Iterable[int] | bytes = b"", *, delimited: bool = True, even: bool = True
) -> Raw:
    """Make the value of encapsulated Pixel Data."""
    return Raw(items(fragments, table, delimited=delimited, even=even), UNDEFINED)


def offsets(frames: Iterable[Sequence[bytes]]) -> list[int]:
    """Give the right offset table for frames of one or more fragments each."""
    table, position = [], 0
    for frame in frames:
        table.append(position)
        position += sum(8 + len(pad(fragment)) for fragment in frame)
    return table


def codestream(number: int, size: int = 40, kind: str = "jpeg") -> bytes:
    """Make bytes that begin and end like a codestream and tell which one they are; no decoder would take them."""
    filler = bytes([1 + number % 100]) * size
    starts = {
        "jpeg": b"\xff\xd8\xff\xe0",
        "j2k": b"\xff\x4f\xff\x51",
        "jp2": b"\x00\x00\x00\x0cjP  \r\n\x87\n",
        "jxl": b"\xff\x0a",
        "rle": struct.pack("<16L", 1, 64, *[0] * 14),
    }
    return pad(starts[kind] + filler + (b"\xff\xd9" if kind in ("jpeg", "j2k") else b""))


def pieces(data: bytes, count: int) -> list[bytes]:
    """Split a codestream into fragments of even length."""
    step = max(2, len(data) // count // 2 * 2)
    return [data[index * step : (index + 1) * step if index < count - 1 else None] for index in range(count)]


def bits(frames: Iterable[Iterable[int]]) -> bytes:
    """Pack frames of single bits without a gap between them, the least significant bit first (PS3.5 8.1.1)."""
    flat = [bit for frame in frames for bit in frame]
    flat += [0] * (-len(flat) % 8)
    whole = bytes(sum(bit << place for place, bit in enumerate(flat[at : at + 8])) for at in range(0, len(flat), 8))
    return pad(whole)


def _value(vr: str, value: Value, syntax: str) -> tuple[bytes, int]:
    order = ">" if syntax == EXPLICIT_BIG else "<"
    if isinstance(value, Raw):
        return value
    if isinstance(value, str):
        value = pad(value.encode(), b"\0" if vr == "UI" else b" ")
    elif isinstance(value, int | float):
        value = (value,)
    if isinstance(value, bytes):
        data = value
    elif vr == "SQ":
        encoded = [data_set(item, syntax) for item in value]
        start = b"\xff\xfe\xe0\x00" if order == ">" else ITEM
        data = b"".join(start + struct.pack(f"{order}L", len(item)) + item for item in encoded)
    elif vr == "AT":
        data = b"".join(struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF) for tag in value)
    else:
        data = b"".join(struct.pack(f"{order}{_NUMBERS[vr]}", number) for number in value)
    return data, len(data)
