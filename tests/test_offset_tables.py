"""Frames are found where they are, whatever the tables say; what cannot be found is missing and never another's bytes.

Named after the rules that they hold. The frames are told apart by their bytes, which `joined` reads back.
"""

import itertools
import random
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.encaps import generate_frames
from support.archives import SAMPLES
from support.builders import ITEM, SEQUENCE_END, bits, codestream, items, offsets, pad, pieces
from support.large_archives import Counting

from dicomfs.dicom.fragments import MAX_FRAGMENTS, scan_fragments
from dicomfs.dicom.stream import Extent, Memory
from dicomfs.pixeldata.frames import MAX_FRAMES, MAX_MISSING_FRAMES, Frames, Unplaced, native_frames
from dicomfs.pixeldata.offset_tables import encapsulated_frames

KINDS = ("jpeg", "j2k", "jp2", "jxl", "rle")
# What stands before the Pixel Data in these tests, so that an offset into the value is not one into the stream.
BEFORE = 1000


def find(value: bytes, declared: int, extended: bytes | None = None) -> tuple[list[bytes | None], tuple[str, ...], str]:
    """Give the frames of encapsulated Pixel Data (None: reading it is an error), the problems and how it was done."""
    stream = Memory(bytes(BEFORE) + value)
    frames, problems = encapsulated_frames(stream, scan_fragments(stream, BEFORE), declared, extended)
    return joined(frames, stream), problems, frames.found_by


def joined(frames: Frames, stream: Memory) -> list[bytes | None]:
    result: list[bytes | None] = []
    for frame in range(len(frames)):
        extents = frames.extents(frame)
        result.append(b"".join(stream.pread(length, offset) for offset, length in extents) if extents else None)
    return result


def table64(entries: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(entries)}Q", *entries)


def streams(count: int, kind: str = "jpeg") -> list[bytes]:
    """Make codestreams of different lengths."""
    return [codestream(number, 200 + 14 * number, kind) for number in range(count)]


def in_pieces(frames: list[bytes], count: int = 3) -> list[list[bytes]]:
    return [pieces(frame, count) for frame in frames]


def flat(frames: list[list[bytes]]) -> list[bytes]:
    return [fragment for frame in frames for fragment in frame]


# Walking Items


def test_items_lie_where_they_are_and_the_walk_ends_behind_the_delimiter() -> None:
    values = [b"", b"ab", bytes(70_000), b"", b"cd" * 9]
    stream = Memory(bytes(BEFORE) + items(values, [0, 2]) + b"next element")
    fragments = scan_fragments(stream, BEFORE)
    assert [stream.pread(*reversed(fragments.extent(i))) for i in range(len(fragments))] == [
        struct.pack("<2L", 0, 2),
        *values,
    ]
    assert fragments.delimited
    assert not fragments.cut
    assert stream.pread(4, fragments.end) == b"next"


@pytest.mark.parametrize("kind", KINDS)
def test_e01_one_fragment_a_frame(kind: str) -> None:
    frames = streams(7, kind)
    assert find(items(frames), 7) == (frames, (), "one fragment a frame")


def test_e01_holds_for_frames_without_any_signature() -> None:
    frames = [bytes([number]) * 20 for number in range(5)]
    assert find(items(frames), 5)[:2] == (frames, ())


def test_e01_a_damaged_start_does_not_shift_the_frames_behind_it() -> None:
    frames = streams(5)
    frames[2] = b"\0" + frames[2][1:]
    assert find(items(frames), 5)[:2] == (frames, ())


@pytest.mark.parametrize("kind", [*KINDS, "none"])
def test_e02_a_single_frame_is_all_fragments(kind: str) -> None:
    frame = bytes(range(200)) if kind == "none" else codestream(1, 500, kind)
    assert find(items(pieces(frame, 6)), 1)[:2] == ([frame], ())


@pytest.mark.parametrize("kind", KINDS)
def test_e03_fragments_are_grouped_by_the_starts_of_codestreams(kind: str) -> None:
    frames = streams(5, kind)
    assert find(items(flat(in_pieces(frames))), 5) == (frames, (), "starts of codestreams")


def test_e03_a_start_is_one_of_the_same_kind_as_the_first() -> None:
    """FF0A begins a bare JPEG XL stream, and may stand anywhere in JPEG 2000."""
    parts = [[codestream(1, kind="j2k"), b"\xff\x0amore"], [codestream(2, kind="j2k"), b"rest"]]
    assert find(items(flat(parts)), 2)[:2] == ([b"".join(frame) for frame in parts], ())


def test_e03_what_nothing_tells_apart_is_missing() -> None:
    found, problems, _ = find(items([bytes([number]) * 20 for number in range(6)]), 3)
    assert found == [None] * 3
    assert any("E6" in problem for problem in problems)


def test_e04_more_frames_than_declared_are_shown_and_told() -> None:
    frames = streams(10)
    for table in (b"", offsets([[frame] for frame in frames])):
        found, problems, _ = find(items(frames, table), 9)
        assert found == frames
        assert [problem for problem in problems if problem.endswith("(E4)")] == list(problems) != []


def test_e05_ten_codestreams_in_an_image_of_one_frame() -> None:
    frames = streams(10)
    assert find(items(frames), 1)[0] == frames
    found, problems, _ = find(items(flat(in_pieces(frames, 2))), 1)
    assert found == frames
    assert len(problems) == 1


@pytest.mark.parametrize("with_table", [False, True])
def test_e06_declared_frames_that_are_not_there_are_errors_and_the_others_are_fine(with_table: bool) -> None:
    frames = streams(4)
    found, problems, _ = find(items(frames, offsets([[frame] for frame in frames]) if with_table else b""), 6)
    assert found == [*frames, None, None]
    assert any("4 of 6" in problem and "(E6)" in problem for problem in problems)


WRONG_TABLES = {
    "zeros": lambda right, length: [0] * len(right),
    "reversed": lambda right, length: right[::-1],
    "beyond": lambda right, length: [*right[:-1], length + 100],
    "twice": lambda right, length: [right[0], right[0], *right[2:]],
    "between": lambda right, length: [entry + 2 * (index > 1) for index, entry in enumerate(right)],
    "swapped": lambda right, length: [right[0], right[2], right[1], *right[3:]],
    "short": lambda right, length: right[:2],
    "one zero": lambda right, length: [0],
    "huge": lambda right, length: [0xFFFFFFFF] * len(right),
    "maxima": lambda right, length: [0xFFFFFFF0 + index for index in range(len(right))],
}
MOVED_TABLES = {
    "counts from the table's Item": lambda right: [entry + 8 + 4 * len(right) for entry in right],
    "counts from the table's value": lambda right: [entry + 4 * len(right) for entry in right],
    "points at values": lambda right: [entry + 8 for entry in right],
    "counts from the start of the file": lambda right: [entry + BEFORE + 8 + 4 * len(right) for entry in right],
    "is right": lambda right: right,
}


@pytest.mark.parametrize("wrong", WRONG_TABLES.values(), ids=WRONG_TABLES)
@pytest.mark.parametrize("parts", [1, 3])
def test_e07_a_wrong_table_is_not_used_and_told(wrong, parts: int) -> None:  # type: ignore[no-untyped-def]
    frames = streams(5)
    split = in_pieces(frames, parts)
    value = items(flat(split))
    found, problems, found_by = find(items(flat(split), wrong(offsets(split), len(value))), 5)
    assert found == frames
    assert found_by != "Basic Offset Table"
    assert any(problem.endswith("(E7)") for problem in problems)


@pytest.mark.parametrize("moved", MOVED_TABLES.values(), ids=MOVED_TABLES)
@pytest.mark.parametrize("parts", [1, 3])
def test_e07_table_counts_from_elsewhere(moved, parts: int) -> None:  # type: ignore[no-untyped-def]
    # Without a signature, so that nothing but the table can tell the frames.
    frames = [bytes([number + 1]) * (60 + 6 * number) for number in range(5)]
    split = in_pieces(frames, parts)
    assert find(items(flat(split), moved(offsets(split))), 5) == (frames, (), "Basic Offset Table")


def test_e07_a_table_that_lists_every_fragment_makes_no_half_frames() -> None:
    frames = streams(3)
    split = in_pieces(frames, 2)
    every = offsets([[fragment] for fragment in flat(split)])
    for declared in (1, 3):
        found, problems, _ = find(items(flat(split), every), declared)
        assert found == frames
        assert any("(E7)" in problem for problem in problems)


def test_e07_a_table_with_a_rest_that_is_no_entry() -> None:
    frames = streams(3)
    right = struct.pack("<3L", *offsets([[frame] for frame in frames]))
    assert find(items(frames, right + b"\1\2"), 3)[0] == frames


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("beyond", [0, 8, 5000])
def test_e08_one_entry_more_is_the_end(parts: int, beyond: int) -> None:
    frames = [bytes([number + 1]) * (60 + 6 * number) for number in range(4)]
    split = in_pieces(frames, parts)
    end = sum(8 + len(fragment) for fragment in flat(split))
    assert find(items(flat(split), [*offsets(split), end + beyond]), 4) == (frames, (), "Basic Offset Table")


def test_e09_extended_offset_table() -> None:
    frames = [bytes([number + 1]) * (60 + 6 * number) for number in range(4)]
    right = offsets([[frame] for frame in frames])
    assert find(items(frames), 4, table64(right)) == (frames, (), "Extended Offset Table")


@pytest.mark.parametrize(
    "entries",
    [[], [0], [0, 0, 0, 0], [0, 2**63, 2**63 + 8, 2**64 - 1], [2**64 - 1] * 4, [4, 3, 2, 1]],
    ids=["empty", "short", "zeros", "2^63", "maxima", "falling"],
)
def test_e09_a_wrong_extended_table_is_not_used_and_told(entries: list[int]) -> None:
    frames = streams(4)
    found, problems, found_by = find(items(flat(in_pieces(frames, 2))), 4, table64(entries))
    assert found == frames
    assert found_by == "starts of codestreams"
    assert any(problem.endswith("(E9)") for problem in problems)


def test_e10_the_extended_table_wins_where_it_is_right() -> None:
    frames = [bytes([number + 1]) * (60 + 6 * number) for number in range(4)]
    right = offsets([[frame] for frame in frames])
    found, problems, found_by = find(items(frames, right), 4, table64(right))
    assert (found, found_by) == (frames, "Extended Offset Table")
    assert any("(E10)" in problem for problem in problems)
    found, _, found_by = find(items(frames, right), 4, table64([0, 1, 2, 3]))
    assert (found, found_by) == (frames, "Basic Offset Table")


@pytest.mark.parametrize("places", [(0,), (2,), (6,), (0, 1, 3, 6)])
def test_e11_empty_items_are_skipped(places: tuple[int, ...]) -> None:
    frames = streams(3)
    split = flat(in_pieces(frames, 2))
    for place in reversed(places):
        split.insert(place, b"")
    assert find(items(split), 3)[:2] == (frames, ())
    assert find(items(split), 1)[0] == frames


def test_e11_empty_items_between_single_fragments() -> None:
    frames = [bytes([number + 1]) * 20 for number in range(3)]
    assert find(items([frames[0], b"", frames[1], b"", b"", frames[2]]), 3)[:2] == (frames, ())


def test_e11_an_empty_frame_is_an_error_and_shifts_no_other() -> None:
    frames = streams(4)
    found, _, _ = find(items([frames[0], b"", frames[2], frames[3]]), 4)
    assert found == [frames[0], None, frames[2], frames[3]]
    found, _, _ = find(items([frames[0], b"", frames[2]], [0, 8 + len(frames[0]), 16 + len(frames[0])]), 3)
    assert found == [frames[0], None, frames[2]]


def test_e11_nothing_but_empty_items() -> None:
    for count in (0, 1, 5):
        assert set(find(items([b""] * count), 2)[0]) <= {None}


@pytest.mark.parametrize("parts", [1, 3])
def test_e12_without_a_delimiter(parts: int) -> None:
    frames = streams(4)
    split = in_pieces(frames, parts)
    for table in (b"", offsets(split)):
        found, problems, _ = find(items(flat(split), table, delimited=False), 4)
        assert found == frames
        assert [problem for problem in problems if "(E12)" in problem] == list(problems) != []


def test_e14_a_delimiter_inside_a_codestream_is_data() -> None:
    frame = codestream(1) + SEQUENCE_END + ITEM + SEQUENCE_END + b"end\xd9"
    frames = [frame, codestream(2)]
    assert find(items(frames), 2)[:2] == (frames, ())


def test_e14_pydicoms_sample() -> None:
    path = next(path for path in SAMPLES if path.name == "JPEG2000-embedded-sequence-delimiter.dcm")
    data = path.read_bytes()
    start = data.index(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff") + 12
    stream = Memory(data)
    frames, problems = encapsulated_frames(stream, scan_fragments(stream, start), 1)
    assert joined(frames, stream) == list(generate_frames(data[start:], number_of_frames=1))
    assert problems == ()


def test_e15_padding_before_a_start() -> None:
    frames = [b"\xff" * (1 + number) + codestream(number) for number in range(4)]
    assert find(items(flat(in_pieces(frames, 2)), even=True), 4)[0] is not None
    whole = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    assert find(items(flat(in_pieces(whole, 2))), 4)[:2] == (whole, ())


def test_e18_rle_in_several_fragments_is_joined() -> None:
    frames = streams(3, "rle")
    split = in_pieces(frames, 2)
    assert find(items(flat(split)), 3)[:2] == (frames, ())
    assert find(items(flat(split), offsets(split)), 3)[:2] == (frames, ())


@pytest.mark.parametrize("counts_its_pad", [False, True])
def test_e20_odd_lengths(counts_its_pad: bool) -> None:
    """A writer that gives odd lengths has written the pad byte all the same, or has not."""
    frames = [codestream(number)[:-1] + b"\xff\xd9" for number in range(4)]
    assert all(len(frame) % 2 for frame in frames)
    value = ITEM + bytes(4)
    for frame in frames:
        value += ITEM + struct.pack("<L", len(frame)) + frame + b"\0" * counts_its_pad
    for end in (SEQUENCE_END, b""):
        stream = Memory(bytes(BEFORE) + value + end)
        fragments = scan_fragments(stream, BEFORE)
        assert fragments.delimited == bool(end)
        assert fragments.end <= stream.size
        assert find(value + end, 4)[0] == frames


# Cut files


@pytest.mark.parametrize("with_table", [False, True])
@pytest.mark.parametrize("parts", [1, 3])
def test_e16_a_file_cut_anywhere_keeps_its_whole_frames_and_shows_no_part_of_one(with_table: bool, parts: int) -> None:
    frames = [codestream(number, 24) for number in range(4)]
    split = in_pieces(frames, parts)
    value = items(flat(split), offsets(split) if with_table else b"")
    first = 8 + 16 * with_table
    ends = [first + sum(8 + len(fragment) for fragment in flat(split[: index + 1])) for index in range(4)]
    for cut in range(first, len(value) - 4):
        found, problems, _ = find(value[:cut], 4)
        assert len(found) == 4
        assert problems, cut
        wanted: list[bytes | None] = [frame if end <= cut else None for frame, end in zip(frames, ends, strict=True)]
        # Where nothing tells that a frame lacks its last fragments, its decoder will; none is a mixture or misplaced.
        sure = 4 if parts == 1 else 3 if with_table else 0
        assert found[:sure] == wanted[:sure], cut
        for frame, right in zip(found[sure:], frames[sure:], strict=True):
            whole = frame is None or (frame[:2] == right[:2] and frame[-2:] == right[-2:])
            part = frame is not None and any(frame in other for other in frames)
            assert frame in (None, right) if whole else part, cut


def test_a_cut_that_leaves_nothing_of_the_last_item_spoils_no_other() -> None:
    frames = streams(3)
    value = items(frames, delimited=False)
    found, _, _ = find(value[: -len(frames[2])], 3)
    assert found == [frames[0], frames[1], None]


# Lies and hostile input


@pytest.mark.parametrize("declared", [2**31 - 1, 10**9, 5_000_000])
def test_l4_absurd_numbers_of_frames_list_what_is_there(declared: int) -> None:
    frames = streams(3)
    found, problems, _ = find(items(frames), declared)
    assert found == frames
    assert problems
    native, wrong = native_frames(Extent(0, 250), 800, declared)
    assert len(native) == 2
    assert wrong


def test_l4_some_missing_frames_are_listed_and_no_more() -> None:
    frames = streams(3)
    assert len(find(items(frames), 3 + MAX_MISSING_FRAMES)[0]) == 3 + MAX_MISSING_FRAMES
    assert len(find(items(frames), 4 + MAX_MISSING_FRAMES)[0]) == 3


def test_l4_frames_of_a_bit_are_capped() -> None:
    assert len(native_frames(Extent(0, 1 << 40), 1, 1 << 40)[0]) == MAX_FRAMES


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0xFFFFFFFE, 0x80000000, 5000])
def test_l7_an_item_longer_than_the_file(length: int) -> None:
    frames = streams(2)
    found, problems, _ = find(items(frames, delimited=False) + ITEM + struct.pack("<L", length) + b"abc", 3)
    assert found == [*frames, None]
    assert problems


def test_l7_garbage_between_items_ends_the_walk() -> None:
    frames = streams(3)
    value = items(frames[:2], delimited=False) + b"garbage!" + items(frames[2:])
    found, problems, _ = find(value, 3)
    assert found == [*frames[:2], None]
    assert problems


def test_l7_no_items_at_all() -> None:
    for value in (b"", b"\xfe\xff", SEQUENCE_END, ITEM, b"\xff\xd8\xff\xe0 no items"):
        assert set(find(value, 1)[0]) <= {None}


def test_l7_a_million_items_and_more_are_not_walked_one_read_each() -> None:
    stream = Counting(ITEM + bytes(4) + (ITEM + bytes(4)) * 1_200_000)
    fragments = scan_fragments(stream, 0)
    assert len(fragments) == MAX_FRAGMENTS
    assert not fragments.delimited
    assert stream.reads < 2000


def test_l6_a_table_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(ITEM + struct.pack("<L", 1 << 30))
        file.seek(8 + (1 << 30))
        file.write(items(streams(3))[8:])
    stream = Counting(path)
    frames, problems = encapsulated_frames(stream, scan_fragments(stream, 0), 3)
    assert len(frames) == 3
    assert problems
    assert stream.bytes < 10_000


# Any bytes at all

words = st.integers(0, 2**32 - 1)
small = st.integers(0, 400)
chunks = st.one_of(
    st.binary(max_size=24),
    st.builds(lambda length, data: ITEM + struct.pack("<L", length) + data, small | words, st.binary(max_size=60)),
    st.builds(lambda data: ITEM + struct.pack("<L", len(data)) + data, st.binary(max_size=60)),
    st.builds(
        lambda kind, number: items([codestream(number, 8, kind)])[8:-8], st.sampled_from(KINDS), st.integers(0, 9)
    ),
    st.just(SEQUENCE_END),
)
tables = st.lists(st.one_of(st.integers(0, 300).map(lambda entry: entry * 2), words), max_size=8)


@given(tables, st.lists(chunks, max_size=8), st.integers(1, 2**31), st.none() | tables, st.integers(0, 40))
@example([0], [], 1, [], 0)
@settings(max_examples=1500, deadline=None)
def test_any_bytes_give_frames_that_are_in_the_stream_and_do_not_overlap(
    table: list[int], rest: list[bytes], declared: int, extended: list[int] | None, before: int
) -> None:
    """Whatever the fragments and tables are: no exception, and every byte belongs to one frame at most, in order."""
    declared = declared % 12 + 1 if declared % 3 else declared
    data = bytes(before) + ITEM + struct.pack(f"<L{len(table)}L", 4 * len(table), *table) + b"".join(rest)
    stream = Counting(data)
    fragments = scan_fragments(stream, before)
    assert before <= fragments.end <= len(data)
    frames, problems = encapsulated_frames(stream, fragments, declared, None if extended is None else table64(extended))
    position = before
    found = 0
    for frame in range(len(frames)):
        extents = frames.extents(frame)
        found += bool(extents)
        for offset, length in extents:
            assert length > 0
            assert offset >= position + 8
            position = offset + length
            assert position <= len(data)
    assert frames.bit_offset(0) == 0
    assert len(frames) <= found + len(fragments) + MAX_MISSING_FRAMES
    assert problems or found == declared == len(frames) or any(not frames.extents(n) for n in range(len(frames)))
    assert stream.reads < 40 + 6 * len(data)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 2**31), st.sampled_from((1, 2)), st.integers(0, 50))
def test_native_frames_are_in_their_extent(length: int, frame_bits: int, declared: int, word: int, start: int) -> None:
    """Without gaps, or each from the begin of a byte or of two on, as the length tells; or they are refused."""
    try:
        frames, problems = native_frames(Extent(start, length), frame_bits, declared, word)
    except Unplaced:
        assert length * 8 >= declared * frame_bits + 8
        return
    places, whole = [], 0
    for frame in range(len(frames)):
        bit = frames.bit_offset(frame)
        for offset, size in frames.extents(frame):
            assert start <= offset <= offset + size <= start + length
            places.append((frame, (offset - start) * 8 + bit))
            assert 0 <= size * 8 - bit - frame_bits < 8 * word
            whole += 1
    pitches = {frame_bits, *(-(-frame_bits // unit) * unit for unit in (8, 16))}
    assert any(all(place == frame * pitch for frame, place in places) for pitch in pitches)
    assert whole >= min(declared, len(frames)) or problems


# Cost


def test_finding_frames_in_a_large_file_reads_headers_only(tmp_path: Path) -> None:
    """200 frames of 3.7 MB: some small reads for each, and never a pixel."""
    path = tmp_path / "large"
    size, count = 1280 * 960 * 3, 200
    with path.open("wb") as file:
        file.write(ITEM + bytes(4))
        for number in range(count):
            file.write(ITEM + struct.pack("<L", size) + codestream(number, 100))
            file.seek(8 + (number + 1) * (8 + size))
        file.write(SEQUENCE_END)
    assert path.stat().st_size > 700_000_000
    stream = Counting(path)
    fragments = scan_fragments(stream, 0)
    frames, problems = encapsulated_frames(stream, fragments, count)
    assert (len(frames), problems) == (count, ())
    assert stream.reads <= count + 8
    assert stream.bytes <= 9 * (count + 5) + 3 * 64
    frames, _ = encapsulated_frames(stream, fragments, 1)
    assert len(frames) == count
    assert stream.bytes <= (9 + 64) * (count + 5)


# Native data


def test_n01_a_pad_byte_is_no_surplus() -> None:
    frames, problems = native_frames(Extent(100, 28), 27 * 8, 1)
    assert (frames.extents(0), problems) == ((Extent(100, 27),), ())


def test_n02_surplus_is_left_out_and_told() -> None:
    frames, problems = native_frames(Extent(100, 80), 80, 3)
    assert [frames.extents(frame) for frame in range(len(frames))] == [((100 + 10 * n, 10),) for n in range(3)]
    assert len(problems) == 1
    assert problems[0].endswith("(N2)")


@pytest.mark.parametrize("length", range(41))
def test_n03_what_is_missing_is_an_error_and_the_rest_is_fine(length: int) -> None:
    frames, problems = native_frames(Extent(100, length), 80, 4)
    whole = length // 10
    assert [frames.extents(n) for n in range(len(frames))] == [((100 + 10 * n, 10),) for n in range(whole)] + [()] * (
        4 - whole
    )
    assert bool(problems) == (length < 40)


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (5, 7), (8, 8), (1, 1), (13, 11)])
def test_n06_frames_of_single_bits_start_inside_a_byte(rows: int, columns: int) -> None:
    pixels = rows * columns
    wanted = [[(frame * 7 + place * place // 3) % 2 for place in range(pixels)] for frame in range(9)]
    data = bits(wanted)
    frames, problems = native_frames(Extent(0, len(data)), pixels, 9)
    assert problems == ()
    for frame in range(9):
        ((offset, length),) = frames.extents(frame)
        number = int.from_bytes(data[offset : offset + length], "little") >> frames.bit_offset(frame)
        assert [number >> place & 1 for place in range(pixels)] == wanted[frame]
        assert length <= pixels // 8 + 2


def test_n04_frames_in_whole_words() -> None:
    frames, problems = native_frames(Extent(10, 28), 9 * 8, 3, 2)
    assert problems == ()
    assert [(frames.extents(n)[0], frames.bit_offset(n)) for n in range(3)] == [
        ((10, 10), 0),
        ((18, 10), 8),
        ((28, 10), 0),
    ]
    # Without its pad byte the last word is not there, and so is the sample in it.
    frames, problems = native_frames(Extent(10, 27), 9 * 8, 3, 2)
    assert frames.extents(2) == ()
    assert any("(N3)" in problem for problem in problems)


# Real files


def test_real_frames_are_pydicoms() -> None:
    compared = 0
    for path in SAMPLES:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset = pydicom.dcmread(path)
                declared = int(dataset.get("NumberOfFrames") or 1)
        except (pydicom.errors.InvalidDicomError, EOFError, ValueError):
            continue
        if "PixelData" not in dataset or not dataset["PixelData"].is_undefined_length:
            continue
        stream = Memory(dataset.PixelData)
        frames, _ = encapsulated_frames(stream, scan_fragments(stream, 0), declared)
        assert joined(frames, stream) == list(generate_frames(dataset.PixelData, number_of_frames=declared)), path
        compared += 1
    assert compared > 50


# Frames that do not begin where fragments do


def real(kind: str, number: int) -> bytes:
    """Encode a small picture that tells its number; a JPEG carries another one as its thumbnail."""
    pixels = np.random.default_rng(number).integers(0, 256, (16, 24), np.uint8)
    if kind == "jpeg":
        plain = imagecodecs.jpeg8_encode(pixels)
        inner = imagecodecs.jpeg8_encode(pixels[:8, :8])
        return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(inner) + 2) + inner + plain[2:]
    if kind == "jls":
        return imagecodecs.jpegls_encode(pixels)
    if kind == "rle":
        return struct.pack("<16L", 1, 64, *[0] * 14) + pad(imagecodecs.packbits_encode(pixels.ravel()))
    codec = {"j2k": "j2k", "jp2": "jp2"}[kind]
    return imagecodecs.jpeg2k_encode(pixels, codecformat=codec, reversible=True)


def cut_at(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Lay *data* over fragments that end at *places*."""
    edges = [0, *places, len(data)]
    return [data[low:high] for low, high in itertools.pairwise(edges)]


INNER = ("jpeg", "jls", "j2k", "jp2", "rle")


@pytest.mark.parametrize("kind", INNER)
@pytest.mark.parametrize("padded", [False, True])
def test_e03_frames_in_one_fragment_are_told_apart(kind: str, padded: bool) -> None:
    """Each frame is all of its bytes and nothing of another's; a table, right or wrong, changes nothing."""
    frames = [real(kind, number) for number in range(5)]
    filled = [pad(frame) if padded else frame for frame in frames]
    starts = [sum(map(len, filled[:index])) for index in range(5)]
    for table in (b"", [0], starts, [0, *[start + 8 for start in starts[1:]]], [0, 4, 8, 12, 16]):
        found, problems, how = find(items([b"".join(filled)], table), 5)
        assert [None if frame is None else frame.rstrip(b"\0") for frame in found] == [
            frame.rstrip(b"\0") for frame in frames
        ]
        assert "inside fragments" in how
        assert find(items([b"".join(filled)]), 5, table64([*table] if table else [0]))[0] == found
        assert any(problem.endswith("(E3)") for problem in problems)


@pytest.mark.parametrize("kind", INNER)
@pytest.mark.parametrize("seed", range(4))
def test_e03_frames_laid_over_fragments_anyhow(kind: str, seed: int) -> None:
    frames = [real(kind, number) for number in range(4)]
    data = pad(b"".join(pad(frame) for frame in frames))
    chance = random.Random(seed)
    places = sorted(chance.sample(range(2, len(data), 2), chance.randrange(1, 3)))
    found, _, _ = find(items(cut_at(data, places)), 4)
    assert [(frame or b"").rstrip(b"\0") for frame in found] == [frame.rstrip(b"\0") for frame in frames]


@pytest.mark.parametrize("kind", ["jpeg", "j2k"])
def test_e03_as_many_fragments_as_frames_that_are_not_one_each(kind: str) -> None:
    one, two, three = (pad(real(kind, number)) for number in range(3))
    half = len(three) // 4 * 2
    found, problems, _ = find(items([one + two, three[:half], three[half:]]), 3)
    assert [(frame or b"").rstrip(b"\0") for frame in found] == [each.rstrip(b"\0") for each in (one, two, three)]
    assert any("(E3)" in problem for problem in problems)


def test_e03_what_follows_the_last_frame_is_told_and_missing_frames_are_errors() -> None:
    frames = [real("jpeg", number) for number in range(3)]
    data = frames[0] + frames[1] + b"something else"
    found, problems, _ = find(items([pad(data)]), 3)
    assert found == [*frames[:2], None]
    assert any("2 of 3" in problem and "(E6)" in problem for problem in problems)
    assert any("after the last frame" in problem for problem in problems)
    cut = frames[0] + frames[1] + frames[2][:-40]
    assert find(items([pad(cut)]), 3)[0] == [*frames[:2], None]


def test_e04_more_frames_in_one_fragment_than_declared() -> None:
    frames = [real("jpeg", number) for number in range(4)]
    found, problems, _ = find(items([pad(b"".join(frames))]), 2)
    assert found == frames
    assert any("(E4)" in problem for problem in problems)
