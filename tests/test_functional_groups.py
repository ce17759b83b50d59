"""A functional group is that of its frame, or the shared one; never another frame's."""

import pytest
from support.builders import PER_FRAME_GROUPS, SHARED_GROUPS, DataSet, Value, dicom, image

from dicomfs.dicom.data_set import DataSet as DicomFile
from dicomfs.dicom.part10_reader import parse
from dicomfs.dicom.stream import Memory
from dicomfs.iod.functional_groups import functional_group, in_group, in_groups

MEASURES, SPACING, THICKNESS = 0x00289110, 0x00280030, 0x00180050


def measures(spacing: str | None) -> DataSet:
    """Make one frame's groups, with Pixel Measures where there is a *spacing*."""
    return {} if spacing is None else {MEASURES: ("SQ", [{SPACING: ("DS", spacing)}])}


def data_set(per_frame: list[str | None] | None, shared: str | None, top: str | None = None) -> DicomFile:
    more: dict[int, tuple[str, Value]] = {}
    if per_frame is not None:
        more[PER_FRAME_GROUPS] = ("SQ", [measures(spacing) for spacing in per_frame])
    if shared is not None:
        more[SHARED_GROUPS] = ("SQ", [measures(shared)])
    if top is not None:
        more[SPACING] = ("DS", top)
    return parse(Memory(dicom(image(1, 1, b"ab", more=more)))).dataset


@pytest.mark.parametrize(
    ("per_frame", "shared", "top", "wanted"),
    [
        (["1", "2", "3"], None, None, ["1", "2", "3", None]),
        (["1", "2", "3"], "9", "8", ["1", "2", "3", "9"]),
        (["1", None, "3"], "9", None, ["1", "9", "3", "9"]),
        (["1", None, "3"], None, "8", ["1", "8", "3", "8"]),
        (None, "9", "8", ["9"] * 4),
        (None, None, "8", ["8"] * 4),
        ([], None, None, [None] * 4),
        (["1"], None, None, ["1", None, None, None]),
    ],
)
def test_the_frames_own_group_then_the_shared_one_then_the_object(
    per_frame: list[str | None] | None, shared: str | None, top: str | None, wanted: list[str | None]
) -> None:
    dataset = data_set(per_frame, shared, top)
    assert [in_group(dataset, frame, MEASURES, SPACING).text(SPACING) for frame in range(4)] == wanted
    holders = in_groups(dataset, 4, MEASURES, SPACING)
    assert [holders[min(frame, len(holders) - 1)].text(SPACING) for frame in range(4)] == wanted
    for frame in range(4):
        group = functional_group(dataset, frame, MEASURES)
        inside = group.text(SPACING) if group else None
        assert inside in (wanted[frame], None)
        assert (inside is None) == (wanted[frame] in (None, top))


def test_what_the_group_does_not_state_is_asked_of_the_object() -> None:
    dataset = data_set(["1"], None, None)
    assert in_group(dataset, 0, MEASURES, THICKNESS) is dataset
    assert in_group(dataset, 0, 0x00209113, 0x00200032) is dataset


def test_groups_that_are_no_sequences_are_none() -> None:
    broken: list[DataSet] = [
        {PER_FRAME_GROUPS: ("OB", b"garbage!")},
        {PER_FRAME_GROUPS: ("SQ", [])},
        {SHARED_GROUPS: ("SQ", [])},
    ]
    for more in broken:
        dataset = parse(Memory(dicom(image(1, 1, b"ab", more=more)))).dataset
        assert functional_group(dataset, 0, MEASURES) is None
