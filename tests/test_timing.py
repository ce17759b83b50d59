"""A film is shown at the rate that it states, and at none where it states nonsense."""

import pytest
from support.builders import PER_FRAME_GROUPS, DataSet, dicom, image

from dicomfs.dicom.part10_reader import parse
from dicomfs.dicom.stream import Memory
from dicomfs.iod.cine import Timing, cine_loop_timing, moves, timing_of, wrong_times

POINTER, FRAME_TIME, VECTOR = 0x00280009, 0x00181063, 0x00181065
RECOMMENDED, CINE, DURATION = 0x00082144, 0x00180040, 0x00181242


def timing(more: DataSet, count: int = 4) -> Timing | None:
    return timing_of(parse(Memory(dicom(image(1, 1, b"ab", more=more)))).dataset, count)


def test_frame_time() -> None:
    assert timing({FRAME_TIME: ("DS", "40")}) == Timing((0, 40, 80, 120), "Frame Time")
    assert timing({FRAME_TIME: ("DS", "40")}, 0) == Timing((), "Frame Time")


def test_frame_time_vector_holds_increments_of_which_the_first_counts_nothing() -> None:
    found = timing({VECTOR: ("DS", "7\\10\\20\\30"), POINTER: ("AT", [VECTOR])})
    assert found == Timing((0, 10, 30, 60), "Frame Time Vector")
    assert timing({VECTOR: ("DS", "0\\10\\20\\30"), FRAME_TIME: ("DS", "40")}) == found


def test_the_increment_pointer_decides() -> None:
    both = {VECTOR: ("DS", "0\\10\\20\\30"), FRAME_TIME: ("DS", "40")}
    for pointer, name in ((VECTOR, "Frame Time Vector"), (FRAME_TIME, "Frame Time")):
        found = timing({**both, POINTER: ("AT", [pointer])})
        assert found is not None
        assert found.stated_by == name


@pytest.mark.parametrize(
    "vector",
    [
        "0\\10\\20",
        "0\\10\\20\\30\\40",
        "0\\10\\x\\20\\30",
        "0\\10\\x\\30",
        "0\\10\\-5\\30",
        "0\\0\\0\\0",
        "0\\1e9\\1\\1",
        "",
        "0\\1e999\\1\\1",
    ],
)
def test_vectors_that_are_none_leave_it_to_the_frame_time(vector: str) -> None:
    assert timing({VECTOR: ("DS", vector), FRAME_TIME: ("DS", "40")}) == Timing((0, 40, 80, 120), "Frame Time")
    assert timing({VECTOR: ("DS", vector), POINTER: ("AT", [VECTOR])}) is None


def test_the_order_of_trust() -> None:
    stated: dict[int, tuple[str, str]] = {
        DURATION: ("IS", "50"),
        CINE: ("IS", "25"),
        RECOMMENDED: ("IS", "10"),
        FRAME_TIME: ("DS", "20"),
    }
    names = ["Actual Frame Duration", "Cine Rate", "Recommended Display Frame Rate", "Frame Time"]
    steps = [50.0, 40.0, 100.0, 20.0]
    more: dict[int, tuple[str, str]] = {}
    for (tag, value), name, step in zip(stated.items(), names, steps, strict=True):
        more[tag] = value
        assert timing(more, 3) == Timing((0.0, step, 2 * step), name)


@pytest.mark.parametrize("tag", [FRAME_TIME, RECOMMENDED, CINE, DURATION])
@pytest.mark.parametrize("value", ["0", "-40", "1e9", "1e-9", "1e999", "nan", "abc", ""])
def test_absurd_rates_are_ignored(tag: int, value: str) -> None:
    assert timing({tag: ("DS", value)}) is None


def test_a_still_image_states_nothing() -> None:
    assert timing({}) is None
    assert timing({DURATION: ("IS", "50")}, 1) is None


# Times of the functional groups

CONTENT, TEMPORAL, CARDIAC, RESPIRATORY = 0x00209111, 0x00209310, 0x00189118, 0x00209253
REFERENCE, ACQUISITION, ACQUIRED_FOR = 0x00189151, 0x00189074, 0x00189220
ENHANCED_XA, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.12.1.1", "1.2.840.10008.5.1.4.1.1.4.1"


def grouped(*stated: tuple[int, int, str, list], positions: list[str] | None = None) -> DataSet:
    """State values of some attributes for each frame, in the functional groups where they belong."""
    groups: list[dict] = [{} for _ in stated[0][3]]
    for sequence, tag, vr, values in stated:
        for group, value in zip(groups, values, strict=True):
            if value is not None:
                group.setdefault(sequence, ("SQ", [{}]))[1][0][tag] = (vr, value)
    for group, position in zip(groups, positions or [], strict=bool(positions)):
        group[0x00209113] = ("SQ", [{0x00200032: ("DS", position)}])
    return {PER_FRAME_GROUPS: ("SQ", groups)}


def clock(*seconds: float) -> list[str]:
    return [f"2020010112{int(second) // 60:02d}{second % 60:09.6f}" for second in seconds]


EACH = [
    ((CONTENT, REFERENCE, "DT", clock(59.75, 60.0, 60.25, 60.75)), "Frame Reference DateTime"),
    ((CONTENT, ACQUISITION, "DT", clock(9.75, 10.0, 10.25, 10.75)), "Frame Acquisition DateTime"),
    ((TEMPORAL, 0x0020930D, "FD", [1.0, 1.25, 1.5, 2.0]), "Temporal Position Time Offset"),
    ((CARDIAC, 0x00209153, "FD", [-125.0, 125.0, 375.0, 875.0]), "Nominal Cardiac Trigger Delay Time"),
    ((CARDIAC, 0x00209252, "FD", [0.0, 250.0, 500.0, 1000.0]), "Actual Cardiac Trigger Delay Time"),
    ((RESPIRATORY, 0x00209255, "FD", [0.0, 250.0, 500.0, 1000.0]), "Nominal Respiratory Trigger Delay Time"),
]  # fmt: skip


@pytest.mark.parametrize(("stated", "name"), EACH)
def test_times_of_frames_count_like_a_vector(stated: tuple[int, int, str, list], name: str) -> None:
    assert timing(grouped(stated)) == Timing((0, 250, 500, 1000), name)
    assert timing(grouped(stated) | {CINE: ("IS", "30"), FRAME_TIME: ("DS", "40")}) == Timing((0, 250, 500, 1000), name)
    for pointer, tag, value in ((VECTOR, "Frame Time Vector", "0\\1\\2\\3"), (FRAME_TIME, "Frame Time", "40")):
        found = timing(grouped(stated) | {pointer: ("DS", value), 0x00280009: ("AT", [pointer])})
        assert found is not None
        assert found.stated_by == tag


@pytest.mark.parametrize("index", range(len(EACH)))
@pytest.mark.parametrize("change", [None, "same", "back"])
def test_times_that_are_missing_repeat_or_go_back_are_no_film(index: int, change: str | None) -> None:
    (sequence, tag, vr, values), _ = EACH[index]
    other = {None: None, "same": values[1], "back": values[0]}[change]
    assert timing(grouped((sequence, tag, vr, [*values[:2], other, values[3]]))) is None
    assert timing(grouped((sequence, tag, vr, values)), 5) is None


def test_a_time_of_the_cycle_comes_before_the_clock_unless_cycles_repeat() -> None:
    at_clock = (CONTENT, REFERENCE, "DT", clock(0, 2, 4, 6))
    for delays, name in (([0.0, 40.0, 80.0, 120.0], "Nominal Cardiac"), ([0.0, 40.0, 0.0, 40.0], "Frame Reference")):
        found = timing(grouped(at_clock, (CARDIAC, 0x00209153, "FD", delays)))
        assert found is not None
        assert found.stated_by.startswith(name)


@pytest.mark.parametrize("bad", ["20201399000000", "2020", "x", ""])
def test_moments_that_are_none(bad: str) -> None:
    assert timing(grouped((CONTENT, REFERENCE, "DT", [*clock(0, 1, 2), bad]))) is None


def test_durations_follow_each_other_but_for_pulses_and_slices() -> None:
    durations = grouped((CONTENT, ACQUIRED_FOR, "FD", [100.0, 200.0, 300.0, 400.0]), positions=["0\\0\\1"] * 4)
    assert timing(durations) == Timing((0, 100, 300, 600), "Frame Acquisition Duration")
    assert timing(durations | {CINE: ("IS", "20")}) == Timing((0, 50, 100, 150), "Cine Rate")
    assert timing(durations | {0x00080016: ("UI", ENHANCED_XA)}) is None
    positions = [f"0\\0\\{place}" for place in range(4)]
    assert timing(grouped((CONTENT, ACQUIRED_FOR, "FD", [100.0] * 4), positions=positions)) is None
    assert timing(grouped((CONTENT, ACQUIRED_FOR, "FD", [100.0, 0.0, 1.0, 1.0]))) is None


def test_frames_of_one_place_with_times_are_a_film_and_slices_are_none() -> None:
    def seen(positions: list[str], seconds: list[float]) -> bool:
        more = grouped((CONTENT, REFERENCE, "DT", clock(*seconds)), positions=positions)
        more[0x00080016] = ("UI", ENHANCED_MR)
        return moves(parse(Memory(dicom(image(1, 1, b"ab", more=more)))).dataset, 4)

    assert seen(["0\\0\\1"] * 4, [0, 1, 2, 3])
    assert not seen(["0\\0\\1"] * 4, [0, 1, 1, 3])
    assert not seen([f"0\\0\\{place}" for place in range(4)], [0, 1, 2, 3])
    assert not seen(["0\\0\\1"] * 4, [0, 100, 200, 300])


def test_times_of_an_angiogram_that_no_film_has_are_told() -> None:
    """Of a biplane acquisition, two frames have each time."""
    for seconds, said in (
        ((0, 0, 1, 1), "does not ascend from each frame to the next"),
        ((0, 100, 200, 300), "is not that of a film of 4 frames"),
        ((0, 1, 2, 3), ""),
    ):
        more = grouped((CONTENT, REFERENCE, "DT", clock(*seconds))) | {0x00080016: ("UI", ENHANCED_XA)}
        dataset = parse(Memory(dicom(image(1, 1, b"ab", more=more)))).dataset
        told = [f"Frame Reference DateTime {said} and is not used"] if said else []
        assert list(wrong_times(dataset, 4)) == told
        assert (cine_loop_timing(dataset, 4).stated_by == "default") == bool(said)
