"""A film is shown at the rate that it states, and at none where it states nonsense."""

import pytest
from samples import DataSet, dicom, image

from dicomfs.dicom.dataset import parse
from dicomfs.dicom.stream import Memory
from dicomfs.image.timing import Timing, timing_of

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
