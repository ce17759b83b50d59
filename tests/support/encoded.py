"""The one encoder of data elements for tests: bytes as they are given, with any length (PS3.5 clause 7).

Nothing of dicomfs is used here.
"""

import struct

UNDEFINED = 0xFFFFFFFF


LONG_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")


def element(tag: int, vr: str, value: bytes, length: int | None = None, order: str = "<") -> bytes:
    """Encode an element in Explicit VR."""
    size = len(value) if length is None else length
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    head += struct.pack(f"{order}HL" if vr in LONG_VRS else f"{order}H", *([0, size] if vr in LONG_VRS else [size]))
    return head + value


def implicit(tag: int, value: bytes, length: int | None = None, order: str = "<") -> bytes:
    """Encode an element in Implicit VR, or an Item or delimiter."""
    size = len(value) if length is None else length
    return struct.pack(f"{order}HHL", tag >> 16, tag & 0xFFFF, size) + value


def item(value: bytes, length: int | None = None, order: str = "<") -> bytes:
    return implicit(0xFFFEE000, value, length, order)


ITEM_END = implicit(0xFFFEE00D, b"")


SEQUENCE_END = implicit(0xFFFEE0DD, b"")


def dicom_file(body: bytes, syntax: str = "1.2.840.10008.1.2.1") -> bytes:
    """Put a preamble and meta information in front of an encoded data set."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = element(0x00020010, "UI", uid)
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<L", len(meta))) + meta + body
