"""The header as extended attributes: one for each top-level element that is short text or numbers.

Only this module decides which elements these are and how their values are written.
"""

from dicomfs.dicom.dictionary import is_private, keyword
from dicomfs.dicom.part10_reader import DataSet, DicomFile, Element
from dicomfs.dicom.values import CHARSET_TEXT, TEXT, decode_text, unpack, unpack_tags

PREFIX = b"user.dicom."
# Longer values are no attributes: file systems that take copies are short of room for them (ext4 has 4 KiB a file).
LONGEST_ATTRIBUTE = 1024
# The kernel gives no longer list of names (XATTR_LIST_MAX).
_MOST = 64 * 1024
_NUMBERS = frozenset(("AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"))


def attributes(parsed: DicomFile) -> dict[bytes, bytes]:
    """Return names and values in UTF-8, several values joined by a backslash; meta information first.

    Private and binary elements, sequences, group lengths, empty and long values have none, nor what does not fit into
    64 KiB.
    """
    found: dict[bytes, bytes] = {}
    room = _MOST
    for dataset in (parsed.meta, parsed.dataset):
        for element in dataset:
            name = PREFIX + keyword(element.tag).encode()
            # Group lengths all have one name, as have those of repeating groups.
            if name == PREFIX or name in found or is_private(element.tag) or not element.tag & 0xFFFF:
                continue
            value = _value(element, dataset).encode("utf-8", "replace")
            size = len(name) + 1 + len(value)
            if value and len(value) <= LONGEST_ATTRIBUTE and size <= room:
                found[name] = value
                room -= size
    return found


def _value(element: Element, dataset: DataSet) -> str:
    """Write the values of one element; nothing for one that is no attribute."""
    value, vr = element.value, element.vr
    if value is None or len(value) > LONGEST_ATTRIBUTE:
        return ""
    if vr in TEXT:
        return "\\".join(decode_text(value, vr, dataset.charset if vr in CHARSET_TEXT else ())).replace("\0", "")
    if vr not in _NUMBERS:
        return ""
    if vr == "AT":
        return "\\".join([f"({tag >> 16:04x},{tag & 0xFFFF:04x})" for tag in unpack_tags(value, dataset.big_endian)])
    style = ".9g" if vr == "FL" else ""
    return "\\".join([format(number, style) for number in unpack(value, vr, dataset.big_endian)])
