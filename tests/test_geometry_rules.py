"""Objects of many frames, end to end: what their pictures show and what frames.json says of each frame (M1-M8)."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pydicom.data
import pytest
from PIL import Image
from support.builders import (
    EXPLICIT_BIG,
    IMPLICIT_LITTLE,
    JPEG_LS,
    PER_FRAME_GROUPS,
    PIXEL_DATA,
    SHARED_GROUPS,
    DataSet,
    bits,
    dicom,
    encapsulated,
    image,
)
from support.mounting import Loop, files_below, read_all, tree_of
from support.object_directories import Shown

SEGMENTATION, RT_DOSE, PARAMETRIC_MAP = (f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("66.4", "481.2", "30"))
POSITION, ORIENTATION, DOSE_OFFSETS = 0x00200032, 0x00200037, 0x3004000C
MAPPINGS, SLIDE_POSITION = 0x00409096, 0x0048021A


def index(shown: Shown) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(shown.read("frames.json"))
    return parsed


def grey(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Draw values as the standard's linear functions do, to the nearest grey."""
    fraction = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    return np.floor(fraction * 255 + 0.5).astype(int)


def near(picture: np.ndarray, expected: np.ndarray) -> bool:
    """Whether a picture is right but for how halves are rounded."""
    return picture.shape == expected.shape and int(np.abs(picture.astype(int) - expected).max()) <= 1


# M1: RT Dose


@pytest.mark.parametrize("name", ["rtdose.dcm", "rtdose_rle.dcm", "rtdose_expb.dcm", "rtdose_1frame.dcm"])
def test_m1_dose_is_shown_on_one_scale_and_frames_lie_where_the_offsets_say(name: str, loop: Loop) -> None:
    path = Path(str(pydicom.data.get_testdata_file(name)))
    dataset = pydicom.dcmread(path)
    dose = dataset.pixel_array * float(dataset.DoseGridScaling)
    dose = dose.reshape(-1, dataset.Rows, dataset.Columns)
    ends = dose[[0, len(dose) // 2, -1]]
    shown = Shown(loop, path)
    for frame in {0, len(dose) // 2, len(dose) - 1}:
        assert near(shown.picture(frame + 1), grey(dose[frame], ends.min(), ends.max()))
    said = index(shown)
    assert said["dose"] == {
        "scaling": float(dataset.DoseGridScaling),
        "units": dataset.DoseUnits,
        "type": dataset.DoseType,
    }
    x, y, z = map(float, dataset.ImagePositionPatient)
    places = [frame["position"] for frame in said["frames"]]
    assert places == [[x, y, pytest.approx(z + offset)] for offset in dataset.GridFrameOffsetVector[: len(dose)]]


@pytest.mark.parametrize(
    ("offsets", "orientation", "second"),
    [
        ("0\\2.5\\5", "1\\0\\0\\0\\1\\0", [1, 2, 32.5]),
        ("0\\2.5\\5", "1\\0\\0\\0\\-1\\0", [1, 2, 27.5]),  # along the normal, which points down here
        ("0\\2.5\\5", "0\\1\\0\\0\\0\\-1", [-1.5, 2, 30]),  # a sagittal dose
        ("30\\40\\50", "1\\0\\0\\0\\1\\0", [1, 2, 40]),  # z itself
        ("7\\8\\9", "1\\0\\0\\0\\1\\0", None),  # neither: nothing is claimed
        ("0\\x\\5", "1\\0\\0\\0\\1\\0", None),
        ("0", "1\\0\\0\\0\\1\\0", None),
    ],
)
def test_m1_offsets_are_relative_or_absolute(
    offsets: str, orientation: str, second: list[float] | None, loop: Loop, tmp_path: Path
) -> None:
    more: DataSet = {
        0x00080016: ("UI", RT_DOSE),
        POSITION: ("DS", "1\\2\\30"),
        ORIENTATION: ("DS", orientation),
        DOSE_OFFSETS: ("DS", offsets),
        0x3004000E: ("DS", "0.5"),
    }
    shown = Shown.of(loop, tmp_path, dicom(image(1, 2, bytes(6), frames=3, more=more)))
    frames = index(shown)["frames"]
    assert frames[0]["position"] == [1, 2, 30]
    assert frames[1].get("position") == second


def test_m1_a_scale_does_not_change_the_picture_but_its_window_is_in_gray(loop: Loop, tmp_path: Path) -> None:
    """A window in the file is one of doses, not of stored values."""
    values = np.array([[0, 100, 200, 300]], "<u2")
    more: DataSet = {
        0x3004000E: ("DS", "0.01"),
        0x00281050: ("DS", "1.5"),
        0x00281051: ("DS", "2"),
        0x00281056: ("CS", "LINEAR_EXACT"),
    }
    shown = Shown.of(loop, tmp_path, dicom(image(1, 4, values.tobytes(), bits=16, more=more)))
    assert shown.picture().tolist() == [[0, 64, 191, 255]]


# M2: segmentations


def segmentation(kind: str, rows: int, columns: int, pixels: bytes, **how: Any) -> dict[int, tuple[str, Any]]:
    elements = image(rows, columns, pixels, **how)
    return elements | {0x00080016: ("UI", SEGMENTATION), 0x00620001: ("CS", kind)}


def segment_groups(numbers: list[int]) -> DataSet:
    """Say of each frame to which segment it belongs."""
    return {PER_FRAME_GROUPS: ("SQ", [{0x0062000A: ("SQ", [{0x0062000B: ("US", number)}])} for number in numbers])}


def test_m2_binary_segments_are_black_and_white_and_frames_name_their_segment(loop: Loop, tmp_path: Path) -> None:
    frames = np.random.default_rng(1).integers(0, 2, (4, 3, 5))
    pixels = bits([frame.ravel().tolist() for frame in frames])
    # Segment 2 has no first frame and segments overlap: the number of a frame is not the number of a slice.
    elements = segmentation("BINARY", 3, 5, pixels, frames=4, bits=1) | dict(segment_groups([1, 1, 3, 2]))
    shown = Shown.of(loop, tmp_path, dicom(elements))
    for number, frame in enumerate(frames, 1):
        assert np.array_equal(shown.picture(number), frame * 255)
    assert [frame["segment"] for frame in index(shown)["frames"]] == [1, 1, 3, 2]


def test_m2_binary_segments_in_bytes_are_black_and_white_too(loop: Loop, tmp_path: Path) -> None:
    shown = Shown.of(loop, tmp_path, dicom(segmentation("BINARY", 1, 4, bytes([0, 1, 1, 0]))))
    assert shown.picture().tolist() == [[0, 255, 255, 0]]


@pytest.mark.parametrize("kind", ["PROBABILITY", "OCCUPANCY"])
@pytest.mark.parametrize("most", [1, 100, 255])
def test_m2_fractions_are_shown_of_their_maximum(kind: str, most: int, loop: Loop, tmp_path: Path) -> None:
    values = np.linspace(0, most, 12).astype(np.uint8).reshape(3, 4)
    elements = segmentation("FRACTIONAL", 3, 4, values.tobytes())
    elements |= {0x00620010: ("CS", kind), 0x0062000E: ("US", most)}
    shown = Shown.of(loop, tmp_path, dicom(elements))
    assert near(shown.picture(), grey(values, 0, most))


def test_m2_label_maps_show_the_label_and_palettes_its_colour(loop: Loop, tmp_path: Path) -> None:
    labels = bytes([0, 1, 2, 1, 0, 2])
    plain = Shown.of(loop, tmp_path, dicom(segmentation("LABELMAP", 2, 3, labels)))
    assert plain.picture().tobytes() == labels
    colours = np.array([[0, 0, 0], [255, 10, 20], [30, 255, 40]], np.uint16)
    elements = segmentation("LABELMAP", 2, 3, labels, photometric="PALETTE COLOR")
    for channel in range(3):
        elements[0x00281101 + channel] = ("US", [3, 0, 16])
        elements[0x00281201 + channel] = ("OW", (colours[:, channel] * 257).astype("<u2").tobytes())
    coloured = Shown.of(loop, tmp_path, dicom(elements))
    assert np.array_equal(coloured.picture().reshape(-1, 3), colours[list(labels)])


def test_m2_segmentations_of_the_corpus_equal_pydicom(corpus: Path | None, loop: Loop) -> None:
    for path in sorted((corpus / "highdicom").glob("seg_image_c*.dcm")) if corpus else ():
        dataset = pydicom.dcmread(path)
        most = dataset.MaximumFractionalValue if dataset.SegmentationType == "FRACTIONAL" else 1
        values = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
        shown = Shown(loop, path)
        for number, frame in enumerate(values, 1):
            assert near(shown.picture(number), grey(frame, 0, most)), path.name
        groups = dataset.PerFrameFunctionalGroupsSequence
        numbers = [group.SegmentIdentificationSequence[0].ReferencedSegmentNumber for group in groups]
        assert [frame["segment"] for frame in index(shown)["frames"]] == numbers


# M3: parametric maps, real world values

REAL = {32: (0x7FE00008, "OF", "<f4"), 64: (0x7FE00009, "OD", "<f8")}


def mapping(first: int, last: int, slope: float, intercept: float, units: str) -> DataSet:
    return {
        0x00409216: ("US", first),
        0x00409211: ("US", last),
        0x00409224: ("FD", intercept),
        0x00409225: ("FD", slope),
        0x00409210: ("SH", "ADC"),
        0x004008EA: ("SQ", [{0x00080100: ("SH", units), 0x00080104: ("LO", "square metre")}]),
    }


@pytest.mark.parametrize("width", REAL)
def test_m3_real_numbers_are_shown_from_the_least_to_the_greatest(width: int, loop: Loop, tmp_path: Path) -> None:
    tag, vr, kind = REAL[width]
    values = np.array([[-1e-3, 0, 2e-3], [np.nan, 7e-3, np.inf]], kind)
    elements = image(2, 3, b"", bits=width)
    del elements[PIXEL_DATA]
    elements |= {tag: (vr, values.tobytes()), 0x00080016: ("UI", PARAMETRIC_MAP)}
    picture = Shown.of(loop, tmp_path, dicom(elements)).picture()
    finite = np.isfinite(values)
    assert near(picture[finite], grey(values[finite], -1e-3, 7e-3))
    assert picture[1, 0] == 0  # no number, no light
    assert picture[1, 2] == 255


def test_m3_real_world_values_are_stated_and_leave_the_picture_alone(loop: Loop, tmp_path: Path) -> None:
    values = np.array([[0, 50, 100]], "<u2")
    plain = image(1, 3, values.tobytes(), bits=16)
    mapped = plain | {MAPPINGS: ("SQ", [mapping(0, 100, -2.0, 5.0, "m2")])}
    shown = Shown.of(loop, tmp_path, dicom(mapped))
    assert index(shown)["real_world_values"] == [
        {
            "first": 0.0,
            "last": 100.0,
            "slope": -2.0,
            "intercept": 5.0,
            "label": "ADC",
            "units": "m2",
            "meaning": "square metre",
        }
    ]
    assert np.array_equal(shown.picture(), Shown.of(loop, tmp_path, dicom(plain)).picture())


def test_m3_mappings_are_several_of_one_frame_or_in_tables(loop: Loop, tmp_path: Path) -> None:
    table: DataSet = {
        0x00409214: ("FD", -0.5),
        0x00409213: ("FD", 1.5),
        0x00409212: ("FD", [1.0, 4.0, 9.0]),
    }
    own = [{MAPPINGS: ("SQ", [mapping(0, 9, 1, 0, "a"), mapping(10, 19, 2, 0, "b")])}, {MAPPINGS: ("SQ", [table])}, {}]
    more: DataSet = {
        PER_FRAME_GROUPS: ("SQ", own),
        SHARED_GROUPS: ("SQ", [{MAPPINGS: ("SQ", [mapping(0, 1, float("nan"), 0, "c")])}]),
    }
    shown = Shown.of(loop, tmp_path, dicom(image(1, 2, bytes(6), frames=3, more=more)))
    said = index(shown)
    first, second, third = (frame.get("real_world_values") for frame in said["frames"])
    assert [(item["first"], item["last"], item["units"]) for item in first] == [(0, 9, "a"), (10, 19, "b")]
    assert second == [{"first": -0.5, "last": 1.5, "entries": 3}]
    assert third is None
    assert [item["units"] for item in said["real_world_values"]] == ["c"]
    assert "slope" not in said["real_world_values"][0]  # JSON has no number for it


def test_m3_maps_of_the_corpus_are_stated_as_pydicom_reads_them(corpus: Path | None, loop: Loop) -> None:
    for path in sorted((corpus / "pydicom-data-new").glob("parametric_map_*.dcm")) if corpus else ():
        dataset = pydicom.dcmread(path)
        shared = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
        (said,) = index(Shown(loop, path))["real_world_values"]
        assert (said["slope"], said["intercept"]) == (shared.RealWorldValueSlope, shared.RealWorldValueIntercept)
        assert (said["units"], said["label"]) == (shared.MeasurementUnitsCodeSequence[0].CodeValue, shared.LUTLabel)


# M4: whole slides


def slide(tiles: int, more: DataSet, rows: int = 2, columns: int = 3) -> dict[int, tuple[str, Any]]:
    """Make a slide of 5 rows and 7 columns in tiles; every tile is filled with its number."""
    pixels = b"".join(bytes([number]) * (rows * columns) for number in range(tiles))
    matrix: DataSet = {0x00480006: ("UL", 7), 0x00480007: ("UL", 5)}
    return image(rows, columns, pixels, frames=tiles, more=matrix) | dict(more)


def test_m4_tiled_full_counts_columns_rows_planes_and_paths(loop: Loop, tmp_path: Path) -> None:
    more: DataSet = {
        0x00209311: ("CS", "TILED_FULL"),
        0x00480303: ("UL", 2),
        0x00480302: ("UL", 2),
        0x00480105: ("SQ", [{0x00480106: ("SH", "bright")}, {0x00480106: ("SH", "UV")}]),
    }
    # 7 x 5 pixels in tiles of 3 x 2: three across, three down, the last ones padded.
    shown = Shown.of(loop, tmp_path, dicom(slide(36, more)))
    expected = [
        (path, plane, [column, row])
        for path in ("bright", "UV")
        for plane in (1, 2)
        for row in (1, 3, 5)
        for column in (1, 4, 7)
    ]
    frames = index(shown)["frames"]
    assert [(frame["optical_path"], frame["focal_plane"], frame["tile"]) for frame in frames] == expected
    assert np.array_equal(shown.picture(36), np.full((2, 3), 35))


def test_m4_tiled_sparse_says_where_each_tile_is(loop: Loop, tmp_path: Path) -> None:
    places = [(4, 3), (1, 1), (-2, 5)]
    groups = [
        {
            SLIDE_POSITION: ("SQ", [{0x0048021E: ("SL", column), 0x0048021F: ("SL", row)}]),
            0x00480207: ("SQ", [{0x00480106: ("SH", "7")}]),
        }
        for column, row in places
    ]
    more: DataSet = {0x00209311: ("CS", "TILED_SPARSE"), PER_FRAME_GROUPS: ("SQ", [*groups, {}])}
    frames = index(Shown.of(loop, tmp_path, dicom(slide(4, more))))["frames"]
    assert [tuple(frame["tile"]) for frame in frames[:3]] == places
    assert {frame["optical_path"] for frame in frames[:3]} == {"7"}
    assert "tile" not in frames[3]


@pytest.mark.parametrize(
    "broken", [{0x00480006: ("UL", 0)}, {0x00480007: ("OB", b"")}, {0x00480006: ("UL", 0xFFFFFFFF)}]
)
def test_m4_senseless_sizes_claim_nothing_and_stop_nothing(broken: DataSet, loop: Loop, tmp_path: Path) -> None:
    elements = slide(3, {0x00209311: ("CS", "TILED_FULL"), 0x00480303: ("UL", 0)}) | dict(broken)
    shown = Shown.of(loop, tmp_path, dicom(elements))
    tiles = [frame.get("tile") for frame in index(shown)["frames"]]
    assert tiles in ([None] * 3, [[1, 1], [4, 1], [7, 1]])
    assert shown.picture(2).tolist() == [[1] * 3] * 2


def test_m4_one_slide_in_full_and_in_sparse_tiles(corpus: Path | None, loop: Loop) -> None:
    """The same segmentation stored both ways: a sparse tile equals the full one of the same segment and place."""
    if corpus is None:
        return
    folder = corpus / "highdicom"
    sparse, full = (placed(loop, folder / f"seg_image_sm_dots{end}.dcm") for end in ("", "_tiled_full"))
    assert len(sparse) == 62
    assert len(full) == 1250
    for place, picture in sparse.items():
        assert np.array_equal(picture, full[place])
    assert not any(picture.any() for place, picture in full.items() if place not in sparse)


def placed(loop: Loop, path: Path) -> dict[tuple[int, int, int], np.ndarray]:
    """Give the pictures of a slide's segments by segment, column and row."""

    async def read() -> dict[bytes, bytes]:
        with tree_of(loop, path) as top:
            found = dict(await files_below(top))
            wanted = [name for name in found if name == b"frames.json" or name.startswith(b"frames/")]
            content: dict[bytes, bytes] = {}
            for name in wanted:
                content[name] = await read_all(found[name])
            return content

    content = loop.run(read)
    pictures = {}
    for frame in json.loads(content[b"frames.json"])["frames"]:
        column, row = frame["tile"]
        data = content[f"frames/{frame['frame']:04}.png".encode()]
        pictures[frame["segment"], column, row] = np.asarray(Image.open(io.BytesIO(data)))
    return pictures


def test_m4_slides_of_the_corpus_are_put_together_by_their_tiles(corpus: Path | None, loop: Loop) -> None:
    """The colours of a tile are pydicom's, and its place is that of its number in rows of five."""
    for name in ("sm_image", "sm_image_numbers", "sm_image_dots") if corpus else ():
        assert corpus
        path = corpus / "highdicom" / f"{name}.dcm"
        pixels = pydicom.dcmread(path).pixel_array
        shown = Shown(loop, path)
        tiles = [tuple(frame["tile"]) for frame in index(shown)["frames"]]
        assert tiles == [(column, row) for row in range(1, 50, 10) for column in range(1, 50, 10)]
        for number in (1, 13, 25):
            assert np.abs(shown.picture(number).astype(int) - pixels[number - 1]).max() <= 2


# M5: concatenations


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_BIG])
def test_m5_frames_know_their_number_in_the_concatenation(syntax: str, loop: Loop, tmp_path: Path) -> None:
    tiles = [[1, 1], [4, 1], [7, 1], [1, 3], [4, 3], [7, 3], [1, 5], [4, 5], [7, 5]]
    found = []
    for offset, count in ((0, 4), (4, 5)):
        more: DataSet = {
            0x00209311: ("CS", "TILED_FULL"),
            0x00209161: ("UI", "1.2.3.99"),
            0x00209228: ("UL", offset),
        }
        shown = Shown.of(loop, tmp_path, dicom(slide(count, more), syntax))
        frames = index(shown)["frames"]
        assert [frame["frame"] for frame in frames] == list(range(1, count + 1))  # each instance stands alone
        assert [frame["number"] for frame in frames] == list(range(offset + 1, offset + count + 1))
        found += [frame["tile"] for frame in frames]
    assert found == tiles


def test_m5_what_is_no_concatenation_has_no_such_numbers(loop: Loop, tmp_path: Path) -> None:
    shown = Shown.of(loop, tmp_path, dicom(image(1, 2, bytes(4), frames=2)))
    assert all("number" not in frame and "tile" not in frame for frame in index(shown)["frames"])


# M6: mosaics


@pytest.mark.parametrize(
    ("image_type", "noted"),
    [("ORIGINAL\\PRIMARY\\M\\ND\\MOSAIC", True), ("ORIGINAL\\PRIMARY\\VFRAME", True), ("ORIGINAL\\PRIMARY\\M", False)],
)
def test_m6_mosaics_are_shown_as_they_stand_and_noted(image_type: str, noted: bool, loop: Loop, tmp_path: Path) -> None:
    values = np.arange(16, dtype=np.uint8).reshape(4, 4)
    shown = Shown.of(loop, tmp_path, dicom(image(4, 4, values.tobytes(), more={0x00080008: ("CS", image_type)})))
    assert np.array_equal(shown.picture(), values)
    assert ("mosaic" in index(shown).get("layout", "")) == noted
    assert shown.problems == ""


# M7: objects without pixels

PIXELLESS = ["rtplan.dcm", "rtstruct.dcm", "test-SR.dcm", "reportsi.dcm", "waveform_ecg.dcm", "DICOMDIR", "priv_SQ.dcm"]


@pytest.mark.parametrize("name", PIXELLESS)
def test_m7_objects_without_pixels_have_no_frames(name: str, loop: Loop) -> None:
    found = pydicom.data.get_testdata_file(name) if name != "DICOMDIR" else None
    path = Path(str(found)) if found else Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests" / name
    names = Shown(loop, path).names
    assert {"header.json", "header.txt", "original.dcm"} <= set(names)
    assert not [name for name in names if name.split("/")[0] in ("frames", "raw", "fragments", "frames.json")]


def test_m7_a_presentation_state_and_a_document_have_no_frames_and_rows_do_not_make_any(
    loop: Loop, tmp_path: Path
) -> None:
    elements = image(4, 4, b"", frames=9)
    del elements[PIXEL_DATA]
    elements |= {
        0x00420010: ("ST", "../../etc/passwd"),
        0x00420011: ("OB", b"%PDF-1.4 " + bytes(2000)),
        0x00420012: ("LO", "application/../x"),
    }
    names = Shown.of(loop, tmp_path, dicom(elements)).names
    assert not [name for name in names if name.startswith("frames") or "passwd" in name or ".." in name]
    assert "bulk/00420011" in names


# M8: frames that differ from what the header says


def test_m8_a_frame_of_another_kind_is_an_error_and_the_others_are_not(loop: Loop, tmp_path: Path) -> None:
    values = [np.full((4, 6), 10 * number, np.uint8) for number in range(4)]
    frames: list[bytes] = [bytes(imagecodecs.jpegls_encode(value)) for value in values]
    frames[1] = bytes(imagecodecs.jpegls_encode(np.zeros((6, 4), np.uint8)))  # another size
    frames[2] = bytes(imagecodecs.jpegls_encode(np.zeros((4, 6, 3), np.uint8)))  # in colour
    table = [0]
    for frame in frames[:-1]:
        table.append(table[-1] + 8 + len(frame) + len(frame) % 2)
    elements = image(4, 6, encapsulated(frames, struct.pack("<4L", *table)), frames=4, vr="OB")
    shown = Shown.of(loop, tmp_path, dicom(elements, JPEG_LS))
    assert np.array_equal(shown.picture(1), values[0])
    assert "(E21)" in shown.refusal(2)
    assert "(E21)" in shown.refusal(3)
    assert np.array_equal(shown.picture(4), values[3])
    assert len({name for name in shown.names if name.startswith("frames/")}) == 4
