"""The walk over the Items of a long sequence by their lengths, or by delimiters, without parsing them."""

import re
from collections.abc import Iterator, Sequence

from dicomfs.dicom import tags
from dicomfs.dicom.encoding import IMPLICIT, UNDEFINED, Encoding
from dicomfs.dicom.item_layout import Malformed, TooShort, delimited_end
from dicomfs.dicom.stream import Stream

# What is read at a time, and the longest Item.
_WINDOW_BYTES, _MAX_ITEM_BYTES = 1 << 20, 16 << 20
# Elements that are walked over in Items without a stated length, some 0.3 microseconds each.
_MAX_ELEMENTS_WALKED = 10_000_000


def sequence_end(stream: Stream, start: int, end: int, encoding: Encoding) -> int | None:
    """Find where a sequence ends whose length is not stated; None where it is damaged, or longer than can be walked."""
    stop = start
    try:
        for _, ends, position in whole_items(stream, start, end, encoding, undefined=True):
            stop = position + (ends[-1] if ends else 0)
    except Malformed:
        return None
    return stop + 8


def whole_items(
    stream: Stream,
    start: int,
    end: int,
    encoding: Encoding,
    recent: Sequence["re.Pattern[bytes]"] = (),
    *,
    undefined: bool,
) -> Iterator[tuple[bytes, list[int], int]]:
    """Return the bytes of whole Items with the ends of each therein and the offset of the first, up to the end.

    *recent* are patterns of Items, which the caller may change meanwhile.
    """
    position, window, walked = start, _WINDOW_BYTES, 0
    while undefined or position < end:
        data = stream.pread(min(window, end - position), position)
        whole = position + len(data) >= end or len(data) < min(window, end - position)
        ends, stopped, passed = _item_ends(data, encoding, end - position, recent, whole=whole)
        walked += passed
        if walked > _MAX_ELEMENTS_WALKED or (stopped and not undefined):
            raise Malformed
        if ends or stopped:
            yield data, ends, position
        if stopped:
            return
        if ends:
            position, window = position + ends[-1], _WINDOW_BYTES
            continue
        window *= 4
        if whole or window > _MAX_ITEM_BYTES:
            raise Malformed


def _item_ends(
    data: bytes, encoding: Encoding, remaining: int, recent: Sequence["re.Pattern[bytes]"], *, whole: bool
) -> tuple[list[int], bool, int]:
    """Return where in *data* Items end, whether a Sequence Delimitation Item follows, and how many elements passed."""
    ends: list[int] = []
    position, limit, walked = 0, len(data), 0
    unpack = IMPLICIT[encoding.big_endian].unpack_from
    while limit - position >= 8:
        group, number, length = unpack(data, position)
        tag = group << 16 | number
        if tag == tags.SequenceDelimitationItem:
            return ends, True, walked
        if tag != tags.Item:
            raise Malformed
        if length == UNDEFINED and (known := next(filter(None, [each.match(data, position) for each in recent]), None)):
            stop = known.end()
        elif length == UNDEFINED:
            try:
                stop, passed = delimited_end(data, position + 8, limit, encoding, sequence=False)
            except TooShort:
                if whole:
                    raise Malformed from None
                break
            walked += passed
        else:
            stop = position + 8 + length
            if stop > remaining:
                raise Malformed
            if stop > limit:
                break
        ends.append(stop)
        position = stop
    return ends, False, walked
