"""How data elements are encoded, and how to tell where a file says something else (PS3.5 clause 7, rules H10, H12).

Only this module judges an encoding by the bytes of an element's header.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

from dicomfs.dicom.dictionary import public_vr

UNDEFINED = 0xFFFFFFFF

# VRs with a reserved field and a length of 32 bits in Explicit VR, and those with a length of 16 (PS3.5 7.1.2).
_LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
_SHORT = (
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM",
    "UI", "UL", "US",
)  # fmt: skip
VRS = {vr.encode(): (vr, vr in _LONG) for vr in _LONG + _SHORT}
SHORT_VRS: dict[bytes | str, str] = {vr.encode(): vr for vr in _SHORT} | {vr: vr for vr in _SHORT}
"""The VRs whose values are always short and never sequences, by their code in a file and by their name."""

IMPLICIT = {False: struct.Struct("<HHL"), True: struct.Struct(">HHL")}
EXPLICIT = {False: struct.Struct("<HH2sH"), True: struct.Struct(">HH2sH")}
LENGTH = {False: struct.Struct("<L"), True: struct.Struct(">L")}


class Encoding(NamedTuple):
    """How elements are encoded: with explicit VR or without, big or little endian."""

    explicit: bool
    big_endian: bool


def likelihood(head: bytes, remaining: int, encoding: Encoding) -> int:
    """Judge whether the 12 bytes *head* are the first element in that *encoding*: 0 no, 1 possible, 2 likely.

    *remaining* is the number of bytes from here to the end of the data set.
    """
    if len(head) < 8:
        return 0
    group, number, code, short = EXPLICIT[encoding.big_endian].unpack_from(head)
    tag = group << 16 | number
    expected = public_vr(tag)
    if not encoding.explicit:
        (length,) = LENGTH[encoding.big_endian].unpack_from(head, 4)
        fits = length == UNDEFINED or length <= remaining - 8
        return 0 if not fits else 2 if expected else 1
    known = VRS.get(code)
    if known is None:
        return 0
    vr, long = known
    length = LENGTH[encoding.big_endian].unpack_from(head, 8)[0] if long and len(head) >= 12 else short
    if length > remaining and length != UNDEFINED:
        return 0
    return 2 if vr in expected or (expected and vr == "UN") else 1


def guess_encoding(head: bytes, remaining: int, declared: Encoding, whole: bool) -> Encoding:
    """Judge by its first element how a data set is really encoded (H7, H10).

    *whole* is true for a file's own data set; an Item always has the byte order of what it is in.
    """
    orders = (declared.big_endian, not declared.big_endian) if whole else (declared.big_endian,)
    best, most = declared, 0
    for order in orders:
        explicit = likelihood(head, remaining, Encoding(True, order))
        implicit = likelihood(head, remaining, Encoding(False, order))
        # Letters that are the very VR of the tag are no length by accident; other VRs count where they are expected.
        if explicit == 2 or (explicit and (declared.explicit or not implicit)):
            implicit = 0
        if max(explicit, implicit) > most:
            best, most = Encoding(not implicit, order), max(explicit, implicit)
    if not whole and declared.explicit and not best.explicit and head[4:6].isalpha() and head[4:6].isupper():
        # An unknown VR, not a missing one (PS3.5 6.2).
        return declared
    return best


def measure_unknown(
    peek: Callable[[int], bytes], tag: int, position: int, end: int, big_endian: bool
) -> tuple[int, int]:
    """Find the value of the element at *position*, whose VR no edition of the standard knows (H12); and its length.

    VRs that are still to come have two capital letters and a length of 32 bits (PS3.5 6.2); anything else was written
    by mistake, mostly with a length of 16. What follows decides. *peek* gives 12 bytes, or what there is of them.
    """
    head = peek(position)
    code, short = EXPLICIT[big_endian].unpack_from(head)[2:]
    if len(head) < 12:
        return position + 8, short
    choices = [(position + 8, short), (position + 12, LENGTH[big_endian].unpack_from(head, 8)[0])]
    if code.isalpha() and code.isupper():
        choices.reverse()
    fitting = [(start, length) for start, length in choices if length == UNDEFINED or start + length <= end]
    for start, length in fitting:
        stop = start + length
        if length == UNDEFINED or stop == end or _goes_on(peek(stop), tag, big_endian):
            return start, length
    return fitting[0] if fitting else (position + 8, short)


def _goes_on(head: bytes, tag: int, big_endian: bool) -> bool:
    """Return whether *head* begins an element with a tag above *tag* and a VR that is known, or is a delimiter."""
    if len(head) < 8:
        return False
    group, number, code, _ = EXPLICIT[big_endian].unpack_from(head)
    return group == 0xFFFE or (group << 16 | number > tag and code in VRS)
