"""A parsed data set as a DICOM file in Explicit VR Little Endian (PS3.10 7.1, PS3.5 A.2), with some elements changed.

Only this module writes DICOM. What it gives are bytes and places in the parsed stream: long values are never in
memory. Text stays as it is, byte for byte, in its character set.
"""

import struct
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from dicomfs import __version__
from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet, Element
from dicomfs.dicom.dictionary import is_private
from dicomfs.dicom.json_model import swapped
from dicomfs.dicom.long_sequence import LongSequence
from dicomfs.dicom.part10_reader import PIXEL_DATA, DicomFile
from dicomfs.dicom.values import SIZES, TEXT

__all__ = ["Change", "Part", "Span", "element_header", "encode", "encoded_size", "padded"]

# A UUID made for this purpose (PS3.5 B.2); it says which program wrote a file, not which version.
IMPLEMENTATION_CLASS = "2.25.177400430598235437882958424915648474474"
_UNDEFINED = 0xFFFFFFFF
# What senders and users noted in the meta information, which another encoding leaves true.
_META_KEPT = (
    tags.SourceApplicationEntityTitle,
    tags.SendingApplicationEntityTitle,
    tags.ReceivingApplicationEntityTitle,
    tags.PrivateInformationCreatorUID,
    tags.PrivateInformation,
)
# Length to End, which is retired, and Data Set Trailing Padding.
_NEVER = frozenset((tags.LengthToEnd, tags.DataSetTrailingPadding))
# With a reserved field and a length of 32 bits (PS3.5 7.1.2).
_LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_LONGEST_SHORT = 0xFFFE
_ITEM = b"\xfe\xff\x00\xe0"


class Span(NamedTuple):
    """Bytes of the parsed stream; *word* bytes at a time are reversed when it is more than 1."""

    offset: int
    length: int
    word: int = 1


Part = bytes | Span


@dataclass(frozen=True, slots=True)
class Change:
    """What a copy says other than its source: the elements of its data set that are *put* or *dropped*, by tag.

    The values of *put* are VR and bytes, little endian whatever the source is. Pixel data is never written here.
    """

    transfer_syntax: str
    put: Mapping[int, tuple[str, bytes]] = field(default_factory=dict)
    dropped: frozenset[int] = frozenset()


def encode(parsed: DicomFile, change: Change) -> tuple[Sequence[Part], Sequence[Part]]:
    """Write preamble, meta information and data set; give what comes before the pixel data and what comes after."""
    head: list[Part] = [bytes(128) + b"DICM" + _meta(parsed, change.transfer_syntax)]
    tail: list[Part] = []
    for element in _changed(parsed.dataset, change):
        big_endian = parsed.dataset.big_endian and element.tag not in change.put
        _write(element, head if element.tag < min(PIXEL_DATA) else tail, big_endian=big_endian)
    return _joined(head), _joined(tail)


def encoded_size(parsed: DicomFile, change: Change) -> int:
    """Compute how many bytes `encode` gives, without making them."""
    size = 132 + len(_meta(parsed, change.transfer_syntax))
    size += _data_set_size(parsed.dataset, _NEVER | PIXEL_DATA | change.dropped | change.put.keys())
    return size + sum([_size(_put(tag, *put)) for tag, put in change.put.items()])


def element_header(tag: int, vr: str, length: int | None) -> bytes:
    """Write tag, VR and length, None for an undefined one, of an element (PS3.5 7.1.2)."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in _LONG:
        return head + struct.pack("<HL", 0, _UNDEFINED if length is None else length)
    assert length is not None  # noqa: S101 - only these VRs have delimiters
    return head + struct.pack("<H", length)


def padded(value: bytes, vr: str) -> bytes:
    """Make the length of a value even, with what its VR demands (PS3.5 6.2)."""
    return value if len(value) % 2 == 0 else value + _padding(vr)


def _padding(vr: str) -> bytes:
    return b" " if vr in TEXT and vr != "UI" else b"\0"


# Meta information


def _meta(parsed: DicomFile, transfer_syntax: str) -> bytes:
    """Write File Meta Information anew (PS3.10 7.1); what the data set says counts more than the old one."""
    values: dict[int, tuple[str, bytes]] = {tags.FileMetaInformationVersion: ("OB", b"\0\1")}
    for tag, stated in (
        (tags.MediaStorageSOPClassUID, tags.SOPClassUID),
        (tags.MediaStorageSOPInstanceUID, tags.SOPInstanceUID),
    ):
        uid = _value_of(parsed.dataset, stated) or _value_of(parsed.meta, tag)
        if uid:
            values[tag] = "UI", uid.rstrip(b" \0")
    values[tags.TransferSyntaxUID] = "UI", transfer_syntax.encode("ascii")
    values[tags.ImplementationClassUID] = "UI", IMPLEMENTATION_CLASS.encode("ascii")
    values[tags.ImplementationVersionName] = "SH", f"DICOMFS {__version__}"[:16].encode("ascii")
    for tag in _META_KEPT:
        element = parsed.meta.get(tag)
        if element is not None and element.value:
            values[tag] = element.vr, element.value
    group = b"".join([_whole_element(tag, vr, value) for tag, (vr, value) in sorted(values.items())])
    return _whole_element(tags.FileMetaInformationGroupLength, "UL", struct.pack("<L", len(group))) + group


def _value_of(dataset: DataSet, tag: int) -> bytes:
    element = dataset.get(tag)
    return (element.value or b"").rstrip(b" \0") if element else b""


def _whole_element(tag: int, vr: str, value: bytes) -> bytes:
    value = padded(value, vr)
    return element_header(tag, vr, len(value)) + value


# Data set


def _changed(dataset: DataSet, change: Change) -> Sequence[Element]:
    """Return what is written of the outermost data set, in ascending order of tags."""
    kept = {element.tag: element for element in dataset if _is_kept(element)}
    for tag in PIXEL_DATA | change.dropped:
        kept.pop(tag, None)
    for tag, put in change.put.items():
        kept[tag] = _put(tag, *put)
    return [kept[tag] for tag in sorted(kept)]


def _put(tag: int, vr: str, value: bytes) -> Element:
    return Element(tag, vr, 0, len(value), False, value)


def _is_kept(element: Element) -> bool:
    """Return whether an element has a place in a copy.

    Group lengths and what counts the bytes up to the end are no longer true, groups 0000 and 0002 do not belong into a
    data set, padding is for nothing, and values without a length would be encapsulated.
    """
    if not element.tag & 0xFFFF or element.tag in _NEVER or element.tag >> 16 in (0, 2):
        return False
    return not (element.undefined if element.items is None else _is_compressed_icon(element))


def _is_compressed_icon(element: Element) -> bool:
    """Return whether an element is an icon that is encapsulated on its own: it would be one without pixels."""
    parts = (part for item in element.items or () for part in item) if element.tag == tags.IconImageSequence else ()
    return any(part.undefined for part in parts if part.tag in PIXEL_DATA)


def _is_sequence(element: Element) -> bool:
    """Return whether an element is written as a sequence.

    What the dictionary of a maker calls one, and seems to be something else, keeps its bytes.
    """
    if element.items is None or not is_private(element.tag) or element.undefined:
        return element.items is not None
    return sum([8 + item.length for item in element.items]) == element.length


def _written_vr(element: Element) -> str:
    """Return the VR to write: UN for a value that is too long for its own (PS3.5 6.2.2)."""
    too_long = element.vr not in _LONG and element.length > _LONGEST_SHORT
    return "UN" if too_long or element.items is not None else element.vr


def _as_it_stands(element: Element) -> tuple[int, int] | None:
    """Return the extent of a long sequence that is copied without taking its Items apart; None for others."""
    items = element.items
    return items.extent if isinstance(items, LongSequence) and items.explicit_little else None


def _size(element: Element) -> int:
    """Compute the bytes of an element with its header, as `_write` gives them."""
    if extent := _as_it_stands(element):
        return 12 + extent[1] - extent[0]
    if _is_sequence(element):
        return 12 + sum([8 + _data_set_size(item, _NEVER) for item in element.items or ()])
    header = 12 if _written_vr(element) in _LONG else 8
    return header + element.length + element.length % 2


def _data_set_size(dataset: DataSet, without: Set[int]) -> int:
    """Compute the bytes of a data set, some elements left out; every listing of a file does."""
    total = 0
    for element in dataset.elements.values():
        tag, vr, _, length, undefined, _, items = element
        if tag in without or not tag & 0xFFFF:
            continue
        if items is None and not undefined and vr not in _LONG and length <= _LONGEST_SHORT and tag > 0x2FFFF:
            total += 8 + length + (length & 1)  # what most elements are
        elif _is_kept(element):
            total += _size(element)
    return total


def _write(element: Element, parts: list[Part], *, big_endian: bool) -> int:
    """Append an element, whose value may be *big_endian*, to *parts*; give its bytes."""
    if extent := _as_it_stands(element):
        length = extent[1] - extent[0]
        parts += [element_header(element.tag, "SQ", length), Span(extent[0], length)]
        return 12 + length
    if _is_sequence(element):
        return _write_sequence(element, parts)
    vr, odd = _written_vr(element), element.length % 2
    header = element_header(element.tag, vr, element.length + odd)
    parts.append(header)
    word = SIZES.get(element.vr, 1) if big_endian else 1
    if element.value is None:
        parts.append(Span(element.offset, element.length, word))
    else:
        parts.append(swapped(element.value, word) if word > 1 else element.value)
    if odd:
        parts.append(_padding(element.vr))
    return len(header) + element.length + odd


def _write_sequence(element: Element, parts: list[Part]) -> int:
    """Append a sequence whose lengths are all stated (PS3.5 7.5); give its bytes."""
    start, total = len(parts), 0
    parts.append(b"")
    for item in element.items or ():
        place = len(parts)
        parts.append(b"")
        length = sum([_write(inner, parts, big_endian=item.big_endian) for inner in item if _is_kept(inner)])
        parts[place] = _ITEM + struct.pack("<L", length)
        total += 8 + length
    parts[start] = element_header(element.tag, "SQ", total)
    return 12 + total


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Join bytes that follow each other."""
    joined: list[Part] = []
    pending: list[bytes] = []
    for part in parts:
        if isinstance(part, Span):
            if pending:
                joined.append(b"".join(pending))
                pending = []
            joined.append(part)
        else:
            pending.append(part)
    if pending:
        joined.append(b"".join(pending))
    return joined
