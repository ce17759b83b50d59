"""Objects that are only large: long sequences, sequences beyond the budgets, and data sets that inflate a lot."""

import errno
import struct
import subprocess
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from bench import large_objects as large

from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.json_model import bulk_values, header_json, json_parts
from dicomfs.dicom.long_sequence import LongSequence
from dicomfs.dicom.part10_reader import DicomFile, parse
from dicomfs.dicom.stream import Memory
from dicomfs.dicom.text_dump import header_txt, txt_parts
from dicomfs.instance.instance import load
from dicomfs.iod.functional_groups import each_frame_has, functional_items, in_groups, some_frame_has

GROUPS = 0x52009230


def both(monkeypatch: pytest.MonkeyPatch, data: bytes) -> tuple[DicomFile, DicomFile]:
    """Parse with an object for each Item, and with an index."""
    whole = parse(Memory(data))
    monkeypatch.setattr("dicomfs.dicom.long_sequence.LONG", 1)
    monkeypatch.setattr("dicomfs.dicom.element_reader.LONG", 1)
    monkeypatch.setattr("dicomfs.dicom.long_sequence.BLOCK_ITEMS", 1000)
    return whole, parse(Memory(data))


def plain(items: Sequence[DataSet]) -> list[object]:
    """Write data sets as what can be compared."""
    return [
        (item.charset, item.signed, item.length, item.undefined,
         [(*element[:6], plain(element.items or ())) for element in item])
        for item in items
    ]  # fmt: skip


def odd_groups(frames: int) -> bytes:
    """Write groups that differ from frame to frame in every way that is allowed, and in some that are not."""
    items = []
    for frame in range(frames):
        groups = large.groups_of_mr(frame, 3, stated=frame % 2 == 0)
        if frame % 3 == 0:
            groups += large.sequence(0x00409096, large.element(0x00409224, "FD", struct.pack("<d", frame)), b"")
        if frame % 4 == 0:
            groups += large.element(0x00090010, "LO", b"MAKER") + large.element(0x00091001, "OB", bytes(3000))
        if frame % 5 == 0:
            groups = b""
        if frame % 7 == 0:
            groups = large.element(0x00080005, "CS", b"ISO_IR 100") + groups
        if frame % 11 == 0:
            groups += large.element(0x00209113, "UN", b"")
        items.append(groups)
    return large.sequence(GROUPS, *items, stated=False)


def elements(body: bytes, frames: int) -> bytes:
    return large.dicom(
        large.ENHANCED_MR,
        large.image(frames, 2, 2, 16) + large.sequence(0x52009229, b"") + body
        + large.element(0x7FE00010, "OW", bytes(8 * frames)),
    )  # fmt: skip


@pytest.mark.parametrize("make", [
    lambda: large.enhanced_mr(60, 6), lambda: large.enhanced_mr(60, 6, stated=False), lambda: large.sparse_slide(60),
    lambda: large.segmentation(4, 9), lambda: elements(odd_groups(80), 80),
])  # fmt: skip
def test_an_indexed_sequence_says_what_its_items_do(make: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    whole, indexed = both(monkeypatch, make())
    known, found = whole.dataset.items(GROUPS), indexed.dataset.items(GROUPS)
    assert isinstance(known, tuple)
    assert isinstance(found, LongSequence)
    assert len(known) == len(found) > 0
    assert plain(found) == plain(known)
    assert plain(found[-3:]) == plain(known[-3:])
    assert plain([found[5]]) == plain([known[5]])
    tags = sorted({tag for item in known for tag in item.elements} | {0x00189999})
    for tag in tags:
        assert some_frame_has(indexed.dataset, tag) == some_frame_has(whole.dataset, tag)
        assert each_frame_has(indexed.dataset, tag) == each_frame_has(whole.dataset, tag)
        for frame in range(len(known) + 2):
            one, other = (functional_items(each.dataset, frame, tag) for each in (whole, indexed))
            assert plain(one) == plain(other)
        for inner in {inner for item in known for group in item.items(tag) for inner in group.elements}:
            one, other = (
                [holder.texts(inner) for holder in in_groups(each.dataset, len(known) + 1, tag, inner)]
                for each in (whole, indexed)
            )
            assert one == other
    assert b"".join(json_parts(indexed)) == header_json(whole)
    assert b"".join(txt_parts(indexed)) == header_txt(whole)
    assert bulk_values(indexed) == bulk_values(whole)


def test_more_items_than_the_budget_in_functional_groups() -> None:
    instance = load(Memory(large.enhanced_mr(24_000, 60)))
    assert instance.problems == ()
    assert instance.pixels is not None
    assert len(instance.pixels.frames) == 24_000
    assert instance.volume is not None
    assert (instance.volume.slices, instance.volume.volumes) == (60, 400)
    assert instance.weight < 8 << 20


@pytest.mark.parametrize("stated", [True, False])
def test_what_is_beyond_the_budgets_is_skipped_to_find_pixel_data(
    stated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicomfs.dicom.element_reader.MAX_ITEMS", 20)
    item = large.sequence(0x00081140, large.element(0x00080060, "CS", b"MR"), stated=stated)
    body = large.sequence(0x00081115, *[item] * 100, stated=stated) + large.element(0x00100020, "LO", b"ID")
    body += large.sequence(0x00321064, item, stated=stated)
    instance = load(Memory(elements(body, 3)))
    assert instance.parsed is not None
    assert instance.parsed.dataset.text(0x00100020) == "ID"
    assert instance.pixels is not None
    assert len(instance.pixels.frames) == 3
    assert any("(L2)" in problem for problem in instance.problems)
    assert not any("damage" in problem for problem in instance.problems)


def test_elements_in_sequences_do_not_use_up_those_of_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomfs.dicom.element_reader.MAX_ELEMENTS", 50)
    item = b"".join([large.element(0x00100000 + number, "LO", b"x") for number in range(1, 30)])
    instance = load(Memory(elements(large.sequence(0x00081115, *[item] * 9), 2)))
    assert instance.pixels is not None
    assert len(instance.pixels.frames) == 2


@pytest.mark.parametrize("cut", [1, 9, 5000, 70_000])
def test_a_long_sequence_that_is_cut_is_read_as_far_as_it_goes(cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = elements(large.sequence(GROUPS, *[large.groups_of_mr(frame, 9, stated=True) for frame in range(400)]), 1)
    whole, indexed = both(monkeypatch, data[: -16 - cut])
    assert len(indexed.dataset.items(GROUPS)) == len(whole.dataset.items(GROUPS)) > 100
    assert indexed.problems == whole.problems != ()


def test_a_large_inflated_data_set_is_in_a_file() -> None:
    instance = load(Memory(large.inflated(20)))
    assert instance.problems == ()
    assert instance.pixels is not None
    assert instance.inflated is not None
    assert len(instance.pixels.frames) == 20
    assert instance.weight < 2 << 20
    (extent,) = instance.pixels.frames.extents(19)
    assert instance.inflated.pread(extent.length, extent.offset) == bytes(1 << 20)


def test_a_disk_that_is_full_while_inflating_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = b"".join(struct.pack("<L", number * 2654435761 % 2**32) for number in range(2 << 20))
    packer = zlib.compressobj(1, wbits=-15)
    body = large.element(0x00080016, "UI", large.ENHANCED_MR.encode()) + large.element(0x00204000, "UT", noise)
    meta = large.dicom(large.ENHANCED_MR, b"", large.DEFLATED)
    start = 144 + struct.unpack_from("<L", meta, 140)[0]
    data = meta[:start] + packer.compress(body) + packer.flush()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], check=True)
    try:
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the number tells
            parse(Memory(data))
        assert caught.value.errno == errno.ENOSPC
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    monkeypatch.delenv("TMPDIR")
    assert parse(Memory(data)).problems == ()


def test_only_bombs_are_refused_for_their_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = large.inflated(16)
    assert load(Memory(zeros)).problems == ()
    monkeypatch.setattr("dicomfs.dicom.deflated.SUSPICIOUS_BYTES", 8 << 20)
    bomb = load(Memory(zeros))
    assert any("1000 times" in problem and "(L3)" in problem for problem in bomb.problems)
    assert not any("damage" in problem for problem in bomb.problems)
    packer = zlib.compressobj(9, wbits=-15)
    frame = (bytes(range(256)) + bytes(60_000)) * 16
    real = packer.compress(frame * 40) + packer.flush()
    assert 40 * len(frame) / len(real) < 1000


def test_what_is_too_large_is_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomfs.dicom.deflated.MAX_INFLATED_BYTES", 8 << 20)
    problems = load(Memory(large.inflated(16))).problems
    assert any("larger than 8 MiB" in problem for problem in problems)
    assert not any("damage" in problem for problem in problems)
    monkeypatch.undo()
    assert any("damaged" in problem for problem in load(Memory(large.inflated(16)[:-2000])).problems)
