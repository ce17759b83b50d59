"""The size of `frames.json` is told before a row of it is written, and holds whatever the frames state."""

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builders import ENCAPSULATED_UNCOMPRESSED, PER_FRAME_GROUPS, SHARED_GROUPS, dicom, encapsulated, image
from support.mounting import Loop
from support.object_directories import Shown

from dicomfs.dicom.stream import Memory
from dicomfs.entries.frame_rows import FrameRows, own_members
from dicomfs.instance.instance import load
from dicomfs.iod.cine import timing_of
from dicomfs.pixeldata.frame_status import status

ODD = ["-2.225073858507e-308", "1e300", "nan", "x", "0", "-0", "1.5"]
numbers = st.sampled_from(ODD)
integers = st.sampled_from(["1", "-2147483648", "4294967295", "9" * 40, "x", ""])
texts = st.text("abc\u00e9\\\"' ", max_size=20)


def numbers_of(count: int) -> st.SearchStrategy[str]:
    """Make values of a DS that may have too few or too many numbers."""
    return st.lists(numbers, min_size=count - 1, max_size=count + 1).map("\\".join)


@st.composite
def groups(draw: st.DrawFn) -> dict:
    """Make what a frame, or all of them, may state; the VRs allow what the standard does not."""
    stated: dict[int, Any] = {
        0x00209113: {0x00200032: ("DS", draw(numbers_of(3)))},
        0x00209116: {0x00200037: ("DS", draw(numbers_of(6)))},
        0x00289110: {0x00280030: ("DS", draw(numbers_of(2))), 0x00180050: ("DS", draw(numbers))},
        0x0048021A: {0x0048021E: ("IS", draw(integers)), 0x0048021F: ("IS", draw(integers))},
        0x00480207: {0x00480106: ("SH", draw(texts))},
        0x0062000A: {0x0062000B: ("IS", draw(integers))},
        0x00409096: {0x00409225: ("FD", draw(st.floats())), 0x00409224: ("FD", 1.0), 0x00409210: ("SH", draw(texts))},
    }
    kept = draw(st.sets(st.sampled_from(sorted(stated))))
    return {tag: ("SQ", [stated[tag]]) for tag in kept}


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """Make objects of a few frames whose groups differ in every way."""
    count = draw(st.integers(1, 12))
    more: dict[int, Any] = {0x00080005: ("CS", "ISO_IR 192")}
    if draw(st.booleans()):
        more[SHARED_GROUPS] = ("SQ", [draw(groups())])
    if draw(st.booleans()):
        more[PER_FRAME_GROUPS] = ("SQ", draw(st.lists(groups(), max_size=count + 1)))
    if draw(st.booleans()):
        more |= {0x00200032: ("DS", draw(numbers_of(3))), 0x3004000C: ("DS", draw(numbers_of(count)))}
    if draw(st.booleans()):
        more |= {0x00209311: ("CS", "TILED_FULL"), 0x00480006: ("IS", draw(integers)), 0x00480007: ("UL", 9)}
        more[0x00480105] = ("SQ", [{0x00480106: ("SH", draw(texts))} for _ in range(draw(st.integers(0, 3)))])
    if draw(st.booleans()):
        more[0x00209228] = ("UL", draw(st.sampled_from([0, 7, 0xFFFFFFFF])))
    if draw(st.booleans()):
        more[0x00181063] = ("DS", draw(st.sampled_from(["33.333333333", "0.001", "1e3", "40"])))
    if draw(st.booleans()):
        present = draw(st.integers(0, count))
        frames = [bytes(4)] * present + [b""] * draw(st.integers(0, 2))
        return dicom(image(2, 2, encapsulated(frames), frames=count, vr="OB", more=more), ENCAPSULATED_UNCOMPRESSED)
    bits = draw(st.sampled_from([1, 8, 16]))
    present = draw(st.integers(1, count))
    return dicom(image(3, 3, bytes(-(-9 * bits * present // 8)), frames=count, bits=bits, more=more))


@given(objects())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_rows_take_what_was_told(data: bytes) -> None:
    stream = Memory(data)
    pixels = load(stream).pixels
    if pixels is None:
        return
    count = len(pixels.frames)
    rows = FrameRows(pixels, timing_of(pixels.dataset, count), stream.size)
    size = rows.size
    written = b"".join(rows.parts([status(stream, pixels.format, pixels.frames, frame) for frame in range(count)]))
    assert len(written) == size
    described = json.loads(b"[" + written + b"]")
    assert [each["frame"] for each in described] == list(range(1, count + 1))
    for frame, each in enumerate(described):
        assert each["extents"] == [list(extent) for extent in pixels.frames.extents(frame)]
        wanted = json.loads(json.dumps(own_members(pixels.dataset, frame)))
        assert {name: each[name] for name in wanted} == wanted


def test_rows_of_native_frames_are_equally_long(loop: Loop, tmp_path: Path) -> None:
    shown = Shown.of(loop, tmp_path, dicom(image(4, 4, bytes(16 * 1200), frames=1200)))
    lines = shown.read("frames.json").splitlines()
    rows = [line.rstrip(b",") for line in lines if b'"extents": [[' in line]
    assert len(rows) == 1200
    assert len(set(map(len, rows))) == 1


def test_rows_have_room_for_each_fragment(loop: Loop, tmp_path: Path) -> None:
    data = dicom(image(2, 2, encapsulated([b"\1\2"] * 6), vr="OB"), ENCAPSULATED_UNCOMPRESSED)
    content = json.loads(Shown.of(loop, tmp_path, data).read("frames.json"))
    assert sum(len(each["extents"]) for each in content["frames"]) == 6
