"""Whether a file is DICOM, judged by its first bytes and never by its name.

Only this module decides that. `DICM` after a preamble is proof (PS3.10 7.1). Without it the bytes must read as
the first elements of a data set, which finds ACR-NEMA files and files without File Meta Information and lets
text, archives and certificates pass.
"""

import struct

from dicomfs.dicom import tags

# What is read of a file: the preamble and its prefix, or enough elements without one.
HEAD = 256

_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
# How a data set without a preamble may begin: group lengths, the first File Meta elements, the first
# identifying elements. No other element can come first in practice.
_FIRST_META = (0x00, 0x01, 0x02, 0x03, 0x10)
_FIRST_IDENTIFYING = (0x00, 0x01, 0x05, 0x06, 0x08, 0x10, 0x12, 0x13, 0x14, 0x16, 0x18, 0x20, 0x60)
_FIRST = frozenset(
    [tags.FileMetaInformationGroupLength + element for element in _FIRST_META]
    + [0x00080000 + element for element in _FIRST_IDENTIFYING]
)
# Explicit VR carries two letters of proof in each element, Implicit VR none: ask for one more.
_ENOUGH = {True: 2, False: 3}


def is_dicom(head: bytes, size: int) -> bool:
    """Return from its first *HEAD* bytes whether a file of *size* bytes is DICOM."""
    if head[128:132] == b"DICM":
        return True
    if head[:4] == b"DICM":
        head = head[4:]  # the prefix alone, without its preamble
    return stray_byte(head, size) or any(
        _plausible_elements(head, size, explicit, order) >= _ENOUGH[explicit]
        for explicit in (True, False)
        for order in "<>"
    )


def stray_byte(head: bytes, size: int) -> bool:
    """Return whether a byte of padding stands before the first element of a data set in Explicit VR (H7).

    Programs that cut File Meta Information off by a length without padding leave the last byte of it in front.
    """
    return head[:1] in (b" ", b"\0") and any(
        _plausible_elements(head[1:], size - 1, True, order) >= _ENOUGH[True] for order in "<>"
    )


def _plausible_elements(head: bytes, size: int, explicit: bool, order: str) -> int:
    """Count the elements at the start that could be a data set's; 0 as soon as one cannot."""
    position, last, count = 0, -1, 0
    while position + 12 <= len(head):
        group, element, length = struct.unpack_from(f"{order}HHL", head, position)
        if last >> 16 == 2 and group != 2 and count >= _ENOUGH[explicit]:
            return count  # what follows File Meta Information may be encoded in another way
        tag = group << 16 | element
        header = 8
        if explicit:
            vr = head[position + 4 : position + 6]
            if vr in _LONG:
                header, (length,) = 12, struct.unpack_from(f"{order}L", head, position + 8)
            elif vr in _SHORT:
                (length,) = struct.unpack_from(f"{order}H", head, position + 6)
            else:
                return 0
        if tag <= last or (count == 0 and tag not in _FIRST):
            return 0
        if element == 0 and length != 4:
            return 0  # a group length is one UL (PS3.5 7.2); rows of small numbers look like others
        count += 1
        last = tag
        if length == 0xFFFFFFFF:
            return count + 1  # a sequence: its Items prove as much as another element
        position += header + length
        if length % 2 or position > size:
            return 0
    return count
