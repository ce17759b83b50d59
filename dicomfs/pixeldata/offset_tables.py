"""Which Items make up which frame: offset tables that prove right, or the starts of codestreams (PS3.3 C.7.6.3.1.8).

Only this module knows offset tables. It reads them and the first bytes of fragments, never the pixels.
"""

import struct
import sys
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from dicomfs.dicom.fragments import MAX_FRAGMENTS, Fragments
from dicomfs.dicom.stream import Extent, Stream
from dicomfs.pixeldata.frames import listed
from dicomfs.pixeldata.frames_within import MAX_SCANNED_BYTES, FramesWithin, by_table, found_within

# How codestreams begin; JPEG and RLE are judged by more than a signature.
_SIGNATURES = (
    ("j2k", b"\xff\x4f\xff\x51"),
    ("jp2", b"\x00\x00\x00\x0cjP  \r\n"),
    ("jxl", b"\xff\x0a"),
    ("jxl", b"\x00\x00\x00\x0cJXL \r\n"),
)
# An RLE header (PS3.5 G.5), the longest of them.
_HEADER_BYTES = 64
_EACH = "one fragment a frame"
# Of objects with more frames than this, the middle and the last stand for all.
_MAX_FRAMES_EACH = 8
# Kinds of codestreams that have an end marker, and the bytes among which it is looked for after padding.
_ENDED, _TAIL_BYTES = ("jpeg", "j2k", "jp2"), 16


@dataclass(frozen=True, slots=True)
class EncapsulatedFrames:
    """Frames made of Items: *firsts* holds the index of each frame's first fragment, and one end mark.

    *padding* has the bytes to leave out at the end of each frame, 0 or 1, where an Extended Offset Table told them.
    """

    fragments: Fragments
    firsts: "array[int]"
    count: int
    found_by: str
    padding: bytes = b""

    def __len__(self) -> int:
        """Frames that are listed."""
        return self.count

    def extents(self, frame: int) -> tuple[Extent, ...]:
        """Return the fragments of one frame; empty when the frame is declared but not there or cut off."""
        if frame >= len(self.firsts) - 1:
            return ()
        indices = range(self.firsts[frame], self.firsts[frame + 1])
        if self.fragments.cut and len(self.fragments) - 1 in indices:
            return ()
        found = [self.fragments.extent(index) for index in indices if self.fragments.lengths[index]]
        if found and self.padding and self.padding[frame]:
            offset, length = found[-1]
            found[-1] = Extent(offset, length - 1)
        return tuple(found)

    def bit_offset(self, frame: int) -> int:
        """Encapsulated frames start on a byte."""
        return 0

    def max_extents(self, frame: int) -> int:
        """Count the Items of a frame, also those that are empty or cut off."""
        return self.firsts[frame + 1] - self.firsts[frame] if frame < len(self.firsts) - 1 else 0

    @property
    def max_extents_of_all(self) -> int:
        """Count the Items of all frames."""
        return self.firsts[min(self.count, len(self.firsts) - 1)] - self.firsts[0] if self.firsts else 0

    @property
    def some_missing(self) -> bool:
        """Whether frames are declared and not there, cut off, or may be made of empty Items alone."""
        return self.count >= len(self.firsts) or self.fragments.cut or 0 in self.fragments.lengths


def encapsulated_frames(
    stream: Stream,
    fragments: Fragments,
    declared: int,
    extended: bytes | None = None,
    lengths: bytes | None = None,
) -> tuple[EncapsulatedFrames | FramesWithin, tuple[str, ...]]:
    """Find the frames among *fragments*; *extended* and *lengths* are the values of the Extended Offset Table.

    The order of trust: Extended Offset Table, Basic Offset Table, one fragment a frame, starts of codestreams.
    A table counts only where it proves right. Where all this finds fewer frames than are declared, or fragments do not
    begin as frames do, frames are looked for inside of fragments. Returns the frames and a line for each thing that was
    wrong.
    """
    problems: list[str] = []
    if fragments.cut:
        problems.append("the last fragment is cut short; its frame cannot be read (E16)")
    elif not fragments.delimited:
        problems.append("Pixel Data ends without a Sequence Delimitation Item (E12)")
    firsts, found_by, padding = None, "Extended Offset Table", b""
    basic = _basic_offset_table(stream, fragments, declared)
    if extended is not None:
        firsts = _proved(_table("Q", extended), stream, fragments, declared)
        if firsts is None:
            problems.append("the Extended Offset Table is wrong and is not used (E9)")
        elif lengths is not None:
            padding = _padding(_table("Q", lengths), firsts, fragments)
            if not padding:
                problems.append("the Extended Offset Table Lengths are wrong and are not used (E9)")
        if basic:
            problems.append("there are an Extended and a Basic Offset Table; the first that is right is used (E10)")
    if firsts is None and basic:
        firsts, found_by = _proved(_table("L", basic), stream, fragments, declared), "Basic Offset Table"
        if firsts is None:
            problems.append("the Basic Offset Table is wrong and is not used (E7)")
    if firsts is None:
        firsts, found_by = _from_fragments(stream, fragments, declared)
    found = len(firsts) - 1
    if declared > 1 and (found < declared or (found_by == _EACH and not _begin_alike(stream, fragments, firsts))):
        tables = [_table("Q", extended)] if extended is not None else []
        tables += [_table("L", basic)] if basic else []
        within, told = _within(stream, fragments, declared, found, tables)
        if within is not None:
            return within, (*problems, *told)
    if found > declared:
        rule = "E5" if declared == 1 else "E4"
        problems.append(f"{found} frames are there, {declared} are declared; all are shown ({rule})")
    elif found < declared:
        problems.append(f"{found} of {declared} declared frames are there; the others cannot be read (E6)")
    return EncapsulatedFrames(fragments, firsts, listed(found, declared), found_by, padding), tuple(problems)


def _begin_alike(stream: Stream, fragments: Fragments, firsts: "array[int]") -> bool:
    """Whether frames that stand for all begin with the same kind of codestream, or with none that is known.

    A damaged start alone is no sign of frames that are otherwise: the fragment before it ends as a frame does.
    """
    count = len(firsts) - 1
    kind = _kind(stream, fragments, firsts[0]) if count else ""
    chosen = range(1, count) if count <= _MAX_FRAMES_EACH else (count // 2, count - 1)
    for index in [firsts[frame] for frame in chosen] if kind in _ENDED else []:
        if not fragments.lengths[index] or _kind(stream, fragments, index):
            continue
        if not _ends(stream, fragments, index - 1):
            return False
    return True


def _within(
    stream: Stream, fragments: Fragments, declared: int, known: int, tables: "list[array[int]]"
) -> tuple[FramesWithin | None, list[str]]:
    """Look for more than *known* frames inside of fragments: where tables point, or by walking the codestreams."""
    filled = [index for index in range(1, len(fragments)) if fragments.lengths[index]]
    kind = _kind(stream, fragments, filled[0]) if filled else ""
    if not kind:
        return None, []
    for table in tables:
        pointed = by_table(stream, fragments, kind, table, declared)
        if pointed:
            said = "frames do not begin where fragments do; they lie where the offset table says (E3)"
            return FramesWithin(*pointed, declared, "offset table, inside fragments"), [said]
    found = found_within(stream, fragments, kind, declared)
    if found is None or len(found.starts) < known or (len(found.starts) == known != declared):
        return None, []
    count = len(found.starts)
    told = [f"frames do not begin where fragments do; {count} were found inside of fragments (E3)"]
    if count > declared:
        told.append(f"{count} frames are there, {declared} are declared; all are shown (E4)")
    elif count < declared:
        told.append(f"{count} of {declared} declared frames are there; the others cannot be read (E6)")
    if found.rest:
        bound = f"; {MAX_SCANNED_BYTES >> 20} MiB were looked through" if found.joined.size > MAX_SCANNED_BYTES else ""
        told.append(f"{found.rest} bytes after the last frame belong to no frame and are left out{bound} (E3)")
    frames = FramesWithin(
        found.joined, found.starts, found.ends, listed(count, declared), "starts of codestreams, inside fragments"
    )
    return frames, told


def longest_table(fragments: Fragments, declared: int, entry: int) -> int:
    """Return how much of a table is worth reading, *entry* bytes an entry: one entry too many proves it wrong."""
    return entry * min(MAX_FRAGMENTS, max(len(fragments), declared) + 1)


def _basic_offset_table(stream: Stream, fragments: Fragments, declared: int) -> bytes:
    if not len(fragments):
        return b""
    offset, length = fragments.extent(0)
    return stream.pread(min(length, longest_table(fragments, declared, 4)), offset)


def _table(code: Literal["L", "Q"], data: bytes) -> "array[int]":
    """Read little endian entries of 32 (L) or 64 bits (Q); a rest that is no entry is left out."""
    table = array("I" if code == "L" else "Q")
    table.frombytes(data[: len(data) // table.itemsize * table.itemsize])
    if sys.byteorder == "big":
        table.byteswap()
    return table


def _padding(lengths: "array[int]", firsts: "array[int]", fragments: Fragments) -> bytes:
    """Return the bytes of padding that the *lengths* of frames leave out; none where they do not all fit.

    A frame that has a table entry is one fragment, and its length is without the pad byte (PS3.3 C.7.6.3.1.9).
    """
    padding = [fragments.lengths[first] - length for first, length in zip(firsts, lengths, strict=False)]
    fits = len(lengths) == len(firsts) - 1 == firsts[-1] - firsts[0] and all(spare in (0, 1) for spare in padding)
    return bytes(padding) if fits else b""


def _proved(table: "array[int]", stream: Stream, fragments: Fragments, declared: int) -> "array[int] | None":
    """Turn offsets into fragment indices, or None if the table does not prove right.

    One that claims more frames than are declared is believed if each of them starts a codestream: there are writers
    that list every fragment (E7). One that leaves out frames is not (E5).
    """
    firsts = _from_table(table, fragments, declared)
    if firsts is None:
        return None
    if len(firsts) - 1 > declared:
        kinds = [_kind(stream, fragments, index) for index in firsts[:-1] if fragments.lengths[index]]
        if any(kind != kinds[0] for kind in kinds):
            return None
    return None if _hides_frames(stream, fragments, firsts) else firsts


def _hides_frames(stream: Stream, fragments: Fragments, firsts: "array[int]") -> bool:
    """Whether a codestream begins within a frame, right after the end of another (E5).

    RLE has no end, but its header is too long to be there by chance.
    """
    inner = set(range(firsts[0], firsts[-1])).difference(firsts)
    kind = _kind(stream, fragments, firsts[0]) if inner else ""
    if kind not in (*_ENDED, "rle"):
        return False
    return any(
        _kind(stream, fragments, index) == kind and (kind == "rle" or _ends(stream, fragments, index - 1))
        for index in sorted(inner)
    )


def _from_table(table: "array[int]", fragments: Fragments, declared: int) -> "array[int] | None":
    """Turn offsets into fragment indices, or None if they do not all lead to Items.

    Offsets count from the first byte after the Basic Offset Table; writers that counted from elsewhere were off
    by a constant, which the first entry gives away (E7). An entry more than there are frames is the end (E8).
    Of a file that was cut short, the frames that end before the cut are taken.
    """
    if not table or len(fragments) < 2:
        return None
    base, origin = table[0], fragments.offsets[1] - 8
    firsts = array("Q")
    if len(table) == declared + 1 and table[-1] - base > fragments.offsets[-1] - 8 - origin:
        table = table[:-1]
    previous, lost = -1, False
    for entry in table:
        if entry <= previous:
            return None
        previous = entry
        value = origin + entry - base + 8
        if not fragments.delimited and value - 8 >= fragments.end and len(table) == declared:
            # The frame before is whole if this one would have begun where the file ends.
            if not lost and value - 8 == fragments.end and not fragments.cut:
                firsts.append(len(fragments))
            lost = True
            continue
        index = bisect_left(fragments.offsets, value)
        if index == len(fragments) or fragments.offsets[index] != value:
            return None
        firsts.append(index)
    if lost:
        return firsts
    if len(firsts) < declared and len(firsts) < len(fragments) - 1:
        return None
    firsts.append(len(fragments))
    return firsts


def _from_fragments(stream: Stream, fragments: Fragments, declared: int) -> "tuple[array[int], str]":
    """Group fragments without a table: one a frame where the numbers agree, otherwise by where codestreams start."""
    last = len(fragments) - 1
    filled = [index for index in range(1, last + 1) if fragments.lengths[index] or (fragments.cut and index == last)]
    if len(filled) != declared == last:
        # Empty Items are nothing (E11), except where they make up the number: then their frames are what is missing.
        filled = list(range(1, len(fragments)))
    if len(filled) == declared or not filled:
        return array("Q", [*filled, len(fragments)]), _EACH
    kind = _kind(stream, fragments, filled[0])
    if kind:
        # Only another start of the same kind counts: a few bytes inside a codestream may look like one of another kind.
        starts = [index for index in filled if _kind(stream, fragments, index) == kind]
        if fragments.cut and starts == filled[:-1] and fragments.lengths[last] < _HEADER_BYTES:
            starts.append(last)  # too little is left of it to show a start, but all the others are one
        if len(starts) != declared > 1 and kind in _ENDED:
            # What looks like a start though no end comes before it may be chance; the number of frames decides (E3).
            # A number of 1 is what careless writers leave, and decides nothing (E5).
            sure = [index for index in starts if index == filled[0] or _ends(stream, fragments, index - 1)]
            starts = sure if len(sure) == declared else starts
        return array("Q", [*starts, len(fragments)]), "starts of codestreams"
    # Nothing tells frames apart: one frame is all of it, and fewer fragments than frames are one each.
    if declared == 1:
        return array("Q", [filled[0], len(fragments)]), "all fragments are one frame"
    return array("Q", [*(filled if len(filled) < declared else []), len(fragments)]), _EACH


def _kind(stream: Stream, fragments: Fragments, index: int) -> str:
    """Return what codestream a fragment begins: JPEG, JPEG-LS, JPEG 2000, JP2, JPEG XL or RLE; empty for none."""
    head = stream.pread(min(_HEADER_BYTES, fragments.lengths[index]), fragments.offsets[index])
    for kind, signature in _SIGNATURES:
        if head.startswith(signature):
            return kind
    # Padding may come before the SOI of a JPEG stream (E15).
    if head[:1] == b"\xff" and head.lstrip(b"\xff").startswith(b"\xd8\xff"):
        return "jpeg"
    return "rle" if _is_rle_header(head) else ""


def _ends(stream: Stream, fragments: Fragments, index: int) -> bool:
    """Whether the last bytes of a fragment are the end marker of JPEG or JPEG 2000, but for padding."""
    while index > 1 and not fragments.lengths[index]:
        index -= 1
    offset, length = fragments.extent(index)
    tail = stream.pread(min(_TAIL_BYTES, length), offset + length - min(_TAIL_BYTES, length))
    return tail.rstrip(b"\0\xff").endswith(b"\xff\xd9")


def _is_rle_header(head: bytes) -> bool:
    """Whether 64 bytes are an RLE header: a segment count and as many rising offsets, then zeros (PS3.5 G.5)."""
    if len(head) < _HEADER_BYTES:
        return False
    count, *offsets = struct.unpack("<16L", head[:64])
    used = offsets[:count]
    rising = all(low < high for low, high in pairwise(used))
    return 1 <= count <= 15 and used[0] == 64 and rising and not any(offsets[count:])
