"""Each frame has its own plane, and values that are no numbers give none rather than others."""

import warnings

import numpy as np
import pydicom
import pytest
from support.archives import SAMPLES
from support.builders import EXPLICIT_BIG, IMPLICIT_LITTLE, PER_FRAME_GROUPS, SHARED_GROUPS, DataSet, dicom, image

from dicomfs.dicom.data_set import DataSet as DicomFile
from dicomfs.dicom.part10_reader import NotDicom, parse
from dicomfs.dicom.stream import Memory
from dicomfs.iod.image_plane import Plane, plane_of, planes_of

POSITION, ORIENTATION, SPACING, THICKNESS = 0x00200032, 0x00200037, 0x00280030, 0x00180050
PLANE_POSITION, PLANE_ORIENTATION, MEASURES = 0x00209113, 0x00209116, 0x00289110
AXIAL = "1\\0\\0\\0\\1\\0"


def planes(more: DataSet, count: int = 1, syntax: str = IMPLICIT_LITTLE) -> list[Plane]:
    dataset = parse(Memory(dicom(image(1, 1, b"ab", more=more), syntax))).dataset
    return [plane_of(dataset, frame) for frame in range(count)]


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_BIG])
def test_of_a_plain_image(syntax: str) -> None:
    more = {
        POSITION: ("DS", "-1.5\\2\\3e1"),
        ORIENTATION: ("DS", AXIAL),
        SPACING: ("DS", "0.5\\0.25"),
        THICKNESS: ("DS", "5"),
    }
    assert planes(more, 1, syntax) == [Plane((-1.5, 2.0, 30.0), (1, 0, 0, 0, 1, 0), (0.5, 0.25), 5.0)]


def test_of_each_frame() -> None:
    frames = [{PLANE_POSITION: ("SQ", [{POSITION: ("DS", f"0\\0\\{frame}")}])} for frame in range(3)]
    shared = {
        PLANE_ORIENTATION: ("SQ", [{ORIENTATION: ("DS", AXIAL)}]),
        MEASURES: ("SQ", [{SPACING: ("DS", "2\\3"), THICKNESS: ("DS", "4")}]),
    }
    found = planes({PER_FRAME_GROUPS: ("SQ", frames), SHARED_GROUPS: ("SQ", [shared])}, 4)
    assert [plane.position for plane in found] == [(0, 0, 0), (0, 0, 1), (0, 0, 2), ()]
    assert {(plane.orientation, plane.spacing, plane.thickness) for plane in found} == {
        ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (2.0, 3.0), 4.0)
    }


@pytest.mark.parametrize(
    "position", ["", "1\\2", "1\\2\\3\\4", "1\\x\\3", "1\\x\\2\\3", "1\\\\2\\3", "1\\2\\1e999", "nan\\nan\\nan", "\\\\"]
)
def test_positions_that_are_none(position: str) -> None:
    assert planes({POSITION: ("DS", position), THICKNESS: ("DS", "1e999")}) == [Plane((), (), (), None)]


def assert_all_are_the_same(dataset: DicomFile, frames: int) -> None:
    """Compare what is read of all frames at once with what is read of each."""
    planes = planes_of(dataset, frames)
    for frame in range(frames):
        one = plane_of(dataset, frame)
        for stated, rows in (
            (one.position, planes.positions),
            (one.orientation, planes.orientations),
            (one.spacing, planes.spacings),
        ):
            row = rows[min(frame, len(rows) - 1)]
            assert np.array_equal(row, stated) if stated else np.isnan(row).all()


@pytest.mark.parametrize(
    ("per_frame", "shared", "top"),
    [
        (["0\\0\\1", "0\\0\\2", "0\\0\\3"], None, None),
        (["0\\0\\1", "", "0\\0\\3"], None, "9\\9\\9"),
        (["0\\0\\1", None, "0\\0\\3"], "7\\7\\7", None),
        (["0\\0\\1", "0\\0\\1"], None, None),
        (["0\\0\\1"] * 4, "7\\7\\7", None),
        (None, "7\\7\\7", "9\\9\\9"),
        (None, None, "9\\9\\9"),
    ],
)
def test_of_all_frames_at_once(per_frame: list[str | None] | None, shared: str | None, top: str | None) -> None:
    def group(position: str | None) -> DataSet:
        return {} if position is None else {PLANE_POSITION: ("SQ", [{POSITION: ("DS", position)}])}

    more = {} if top is None else {POSITION: ("DS", top)}
    if per_frame is not None:
        more[PER_FRAME_GROUPS] = ("SQ", [group(position) for position in per_frame])
    if shared is not None:
        more[SHARED_GROUPS] = ("SQ", [group(shared)])
    assert_all_are_the_same(parse(Memory(dicom(image(1, 1, b"ab", more=more)))).dataset, 4)


def test_of_every_sample_as_pydicom_reads_it() -> None:
    compared = 0
    for path in SAMPLES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                theirs = pydicom.dcmread(path, stop_before_pixels=True)
                dataset = parse(Memory(path.read_bytes())).dataset
            except (pydicom.errors.InvalidDicomError, NotDicom):
                continue
            groups = theirs.get("PerFrameFunctionalGroupsSequence") or []
            ours = plane_of(dataset, min(len(groups), 1))
            assert_all_are_the_same(dataset, max(len(groups), 20))
            frame = groups[1] if len(groups) > 1 else {}
            holder = frame["PlanePositionSequence"][0] if "PlanePositionSequence" in frame else theirs
            position = holder.get("ImagePositionPatient") or ()
            assert ours.position == tuple(map(float, position)), path
            compared += bool(position)
    assert compared > 20
