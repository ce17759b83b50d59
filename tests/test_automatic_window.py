"""Frames without a window: one for each kind of frame, found in as many frames as are cheap (G13)."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from support.builders import JPEG_LS, PER_FRAME_GROUPS, SHARED_GROUPS, DataSet, dicom, encapsulated, image
from support.mounting import Loop
from support.object_directories import Shown, close, spread

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom.stream import Memory
from dicomfs.instance.instance import Instance, load
from dicomfs.iod.automatic_window import chosen, frames_alike, kind_of, stated_range
from dicomfs.rendering.render import Display

INDICES, POINTER, GROUP, CONTENT, VALUES = 0x00209222, 0x00209165, 0x00209167, 0x00209111, 0x00209157
RAMP = np.tile(np.arange(64, dtype=np.uint16), (64, 1))
GREY16 = PixelFormat(64, 64, 1, 16, 16, 15, False, "MONOCHROME2", False, "1.2.840.10008.1.2.1")


def stack(frames: np.ndarray, groups: list[DataSet] | None = None, more: DataSet | None = None) -> bytes:
    """Make a multi-frame object of 16 bits."""
    elements = image(*frames.shape[1:], frames.astype("<u2").tobytes(), frames=len(frames), bits=16, more=more)
    if groups is not None:
        elements[PER_FRAME_GROUPS] = ("SQ", groups)
    return dicom(elements)


def group(sequence: int, tag: int, vr: str, value: object) -> DataSet:
    return {sequence: ("SQ", [{tag: (vr, value)}])}


TELLING = {
    "optical path": [group(0x00480207, 0x00480106, "SH", name) for name in ("DAPI", "FITC")],
    "complex component": [group(0x00189226, 0x00089208, "CS", name) for name in ("MAGNITUDE", "PHASE")],
    "frame type": [group(0x00189226, 0x00089007, "CS", f"DERIVED\\PRIMARY\\{name}") for name in ("ADC", "DIFFUSION")],
    "echo time": [group(0x00189114, 0x00189082, "FD", time) for time in (10.0, 80.0)],
    "b-value": [group(0x00189117, 0x00189087, "FD", value) for value in (0.0, 1000.0)],
    "quantity": [group(0x00409096, 0x00409210, "SH", name) for name in ("KTRANS", "VE")],
}
for _number, _group in enumerate(TELLING["quantity"]):
    _item = {0x00409216: ("US", 0), 0x00409211: ("US", 65535), 0x00409225: ("FD", 1.0), 0x00409224: ("FD", 0.0)}
    _group[0x00409096][1][0].update(_item)


@pytest.mark.parametrize("what", TELLING)
def test_each_kind_of_frame_has_a_window_of_its_own(what: str, loop: Loop, tmp_path: Path) -> None:
    """Frames of two kinds in turn, one a hundred times fainter."""
    factors = [900, 5, 800, 4]
    shown = Shown.of(
        loop,
        tmp_path,
        stack(np.stack([RAMP * each for each in factors]), [TELLING[what][each % 2] for each in range(4)]),
    )
    for frame, most in ((1, 900), (2, 5), (3, 900), (4, 5)):
        close(shown.picture(frame), spread(RAMP * factors[frame - 1], 0, 63 * most))


def test_optical_paths_that_the_order_of_the_frames_tells(loop: Loop, tmp_path: Path) -> None:
    more: DataSet = {
        0x00209311: ("CS", "TILED_FULL"),
        0x00480006: ("UL", 128),
        0x00480007: ("UL", 64),
        0x00480105: ("SQ", [{0x00480106: ("SH", name)} for name in ("DAPI", "FITC")]),
    }
    frames = np.stack([RAMP * factor for factor in (900, 700, 5, 3)])
    shown = Shown.of(loop, tmp_path, stack(frames, more=more))
    for number, most in enumerate((900, 900, 5, 5)):
        close(shown.picture(number + 1), spread(frames[number], 0, 63 * most))


@pytest.mark.parametrize(
    ("pointer", "apart"),
    [
        ((0x00409210, 0x00409096), True),  # LUT label
        ((0x00181023, 0x00189999), True),  # what nobody thought of
        ((0x00209128, CONTENT), False),  # time
        ((0x00209153, 0x00189118), False),  # phase of the heart
        ((0x0062000B, 0x0062000A), False),  # segment
        ((0x00189089, 0x00189117), False),  # direction of diffusion
    ],
)
def test_dimensions_tell_kinds_apart_but_for_space_and_time(
    pointer: tuple[int, int], apart: bool, loop: Loop, tmp_path: Path
) -> None:
    more: DataSet = {INDICES: ("SQ", [{POINTER: ("AT", [pointer[0]]), GROUP: ("AT", [pointer[1]])}])}
    groups: list[DataSet] = [{CONTENT: ("SQ", [{VALUES: ("UL", [number])}])} for number in (1, 2)]
    shown = Shown.of(loop, tmp_path, stack(np.stack([RAMP * 900, RAMP * 5]), groups, more))
    close(shown.picture(2), spread(RAMP * 5, 0, 63 * (5 if apart else 900)))


def test_a_film_does_not_flicker_and_no_bolus_is_clipped(loop: Loop, tmp_path: Path) -> None:
    """Its bright frames lie between the first, the middle and the last; all are looked at, as they are few bytes."""
    frames = np.stack([RAMP] * 101)
    frames[20:25] *= 50
    shown = Shown.of(loop, tmp_path, stack(frames))
    for frame in (1, 23, 51):
        close(shown.picture(frame), spread(frames[frame - 1], 0, 63 * 50))


def test_frames_that_are_rescaled_differently_count_after_rescaling(loop: Loop, tmp_path: Path) -> None:
    groups: list[DataSet] = [
        {0x00289145: ("SQ", [{0x00281053: ("DS", str(slope)), 0x00281052: ("DS", "-10")}])} for slope in (1, 1, 7, 1)
    ]
    shown = Shown.of(loop, tmp_path, stack(np.stack([RAMP] * 4), groups))
    close(shown.picture(1), spread(RAMP - 10.0, -10, 63 * 7 - 10))
    close(shown.picture(3), spread(RAMP * 7.0 - 10, -10, 63 * 7 - 10))


def test_the_stated_range_counts_where_not_all_frames_are_looked_at(loop: Loop, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    frames = rng.integers(100, 200, (9, 700, 1024)).astype(np.uint16)
    frames[1] += np.uint16(3000)
    data = encapsulated([bytes(imagecodecs.jpegls_encode(frame)) for frame in frames])
    elements = image(700, 1024, data, frames=9, bits=16, stored=12, vr="OB")
    stated: DataSet = {0x00280106: ("US", 50), 0x00280107: ("US", 3500)}
    close(Shown.of(loop, tmp_path, dicom(elements | stated, JPEG_LS)).picture(2), spread(frames[1], 50, 3500))
    # The range of all that there can be says nothing.
    useless: DataSet = {0x00280106: ("US", 0), 0x00280107: ("US", 4095)}
    assert Shown.of(loop, tmp_path, dicom(elements | useless, JPEG_LS)).picture(1).max() == 255


def test_the_order_of_reading_changes_nothing(loop: Loop, tmp_path: Path) -> None:
    data = stack(
        np.stack([RAMP * (1 + number) for number in range(12)]), [TELLING["echo time"][n % 2] for n in range(12)]
    )
    one, other = Shown.of(loop, tmp_path, data), Shown.of(loop, tmp_path, data)
    forth = [one.read(f"frames/{frame:04}.png") for frame in range(1, 13)]
    back = [other.read(f"frames/{frame:04}.png") for frame in range(12, 0, -1)]
    assert forth == back[::-1]


def parsed(data: bytes) -> Instance:
    return load(Memory(data))


def test_of_many_frames_some_stand_for_all_and_rare_kinds_are_found() -> None:
    count, rare = 3000, (1234, 2345)
    groups = [TELLING["echo time"][number in rare] for number in range(count)]
    instance = parsed(stack(np.zeros((count, 1, 2)), groups))
    assert instance.pixels is not None
    dataset = instance.pixels.dataset
    found, _ = frames_alike(dataset, count, 0)
    assert 900 < len(found) <= 1000
    assert {found[0], found[-1]} == {0, count - 1}
    assert kind_of(dataset, 0) == kind_of(dataset, 1) != kind_of(dataset, 1234)
    for frame in rare:
        assert frames_alike(dataset, count, frame) == ([*rare], True)


def test_kinds_that_follow_each_other_in_any_step_are_all_sampled() -> None:
    for period in (2, 3, 7, 64, 100):
        groups = [group(0x00189114, 0x00189082, "FD", float(number % period)) for number in range(5000)]
        instance = parsed(stack(np.zeros((5000, 1, 2)), groups))
        assert instance.pixels is not None
        for frame in range(0, period, max(1, period // 5)):
            found, others = frames_alike(instance.pixels.dataset, 5000, frame)
            assert others
            assert found


def test_how_many_frames_are_looked_at() -> None:
    frames = range(1000)
    assert len(chosen(frames, GREY16, straight=True)) == 512
    assert chosen(frames, GREY16, straight=True)[-1] == 999
    assert len(chosen(frames, GREY16, straight=False)) == 16
    large = PixelFormat(4096, 4096, 1, 16, 16, 15, False, "MONOCHROME2", False, JPEG_LS)
    assert chosen(frames, large, straight=False) == [0, 499, 999]
    assert chosen(range(2), large, straight=False) == [0, 1]
    assert chosen([7], large, straight=True) == [7]


def test_a_stated_range_counts_only_where_it_tells_something() -> None:
    def stated(more: DataSet, groups: list[DataSet] | None = None) -> tuple[float, float] | None:
        instance = parsed(stack(np.stack([RAMP] * 2), groups, more))
        assert instance.pixels is not None
        return stated_range(instance.pixels.dataset, instance.pixels.format, Display(2.0, -1.0))

    assert stated({0x00280106: ("US", 5), 0x00280107: ("US", 50)}) == (9, 99)
    assert stated({0x00280106: ("US", 50), 0x00280107: ("US", 5)}) is None
    assert stated({0x00280106: ("US", 0), 0x00280107: ("US", 65535)}) is None
    assert stated({}) is None
    own: list[DataSet] = [{0x00289145: ("SQ", [{0x00281053: ("DS", "3"), 0x00281052: ("DS", "0")}])}] * 2
    assert stated({0x00280106: ("US", 5), 0x00280107: ("US", 50)}, own) is None


def test_the_window_of_a_frame_without_what_others_have(loop: Loop, tmp_path: Path) -> None:
    """A frame that cannot be rescaled takes no part, and has no picture."""
    transformed: DataSet = {0x00289145: ("SQ", [{0x00281053: ("DS", "2"), 0x00281052: ("DS", "0")}])}
    shared: DataSet = {SHARED_GROUPS: ("SQ", [{}])}
    shown = Shown.of(
        loop, tmp_path, stack(np.stack([RAMP * 3, RAMP * 900, RAMP]), [transformed, {}, transformed], shared)
    )
    close(shown.picture(1), spread(RAMP * 6, 0, 63 * 6))
    assert "G6" in shown.refusal(2)
