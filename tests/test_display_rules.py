"""Rows G of the fidelity table, grey and palettes: each rule on the tree, its pictures decoded by Pillow.

What is expected is computed here from the formulas of PS3.3 C.11, C.7.6.3 and C.7.6.19, or by pydicom. Further
windows, overlays, colour profiles and the size of a pixel (G11, G18 to G21) are in test_pictures.
"""

import io
import json
import warnings
from copy import deepcopy
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut
from support.builders import JPEG_2000, PER_FRAME_GROUPS, SHARED_GROUPS, DataSet, Value, dicom, encapsulated, image
from support.mounting import Loop
from support.object_directories import FOUND, Shown, close, of_corpus, spread, window

from dicomfs.dicom.stream import Memory
from dicomfs.instance.instance import load

CENTER, WIDTH, FUNCTION = 0x00281050, 0x00281051, 0x00281056
INTERCEPT, SLOPE = 0x00281052, 0x00281053
MODALITY_LUTS, VOI_LUTS, DESCRIPTOR, LUT_DATA = 0x00283000, 0x00283010, 0x00283002, 0x00283006
TRANSFORMATION, FRAME_VOI_LUT = 0x00289145, 0x00289132
PADDING, PADDING_LIMIT = 0x00280120, 0x00280121
LUT_SHAPE, PRESENTATION = 0x20500020, 0x00080068

RAMP = np.arange(0, 4096, 16, dtype=np.int64).reshape(16, 16)


def ramp(*, signed: bool = False, photometric: str = "MONOCHROME2", more: DataSet | None = None) -> bytes:
    """Make a file of 12-bit values over their whole range, from -2048 when they are signed."""
    values = (RAMP - (2048 if signed else 0)).astype("<i2" if signed else "<u2")
    elements = image(16, 16, values.tobytes(), bits=16, stored=12, signed=signed, photometric=photometric, more=more)
    return dicom(elements)


def rescaled(slope: object, intercept: object) -> DataSet:
    """Make the elements of rescaling."""
    return {SLOPE: ("DS", str(slope)), INTERCEPT: ("DS", str(intercept))}


def lut(first: int, bits: int, entries: np.ndarray) -> DataSet:
    """Make the Item of a LUT sequence; 65536 entries are written as 0."""
    descriptor = (len(entries) % 65536, first % 65536, bits)
    return {DESCRIPTOR: ("US", descriptor), LUT_DATA: ("OW", entries.astype("<u2").tobytes())}


def test_g01_monochrome1_is_inverted_behind_the_window(loop: Loop, tmp_path: Path) -> None:
    for function in ("LINEAR_EXACT", "SIGMOID"):
        more = window(1000, 3000) | {FUNCTION: ("CS", function)}
        picture = Shown.of(loop, tmp_path, ramp(photometric="MONOCHROME1", more=more)).picture()
        plain = spread(RAMP, 1000, 3000)
        if function == "SIGMOID":
            plain = 255 / (1 + np.exp(-4 * (RAMP - 2000) / 2000))
        close(picture, 255 - plain)


def test_g01_without_a_window_too(loop: Loop, tmp_path: Path) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    shown = Shown.of(loop, tmp_path, dicom(image(16, 16, values.tobytes(), photometric="MONOCHROME1")))
    assert np.array_equal(shown.picture(), 255 - values)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", ["INVERSE", "IDENTITY"])
def test_g02_one_inversion_by_the_photometric_interpretation(
    loop: Loop, tmp_path: Path, photometric: str, shape: str
) -> None:
    more = window(0, 4095) | {LUT_SHAPE: ("CS", shape)}
    shown = Shown.of(loop, tmp_path, ramp(photometric=photometric, more=more))
    plain = spread(RAMP, 0, 4095)
    close(shown.picture(), 255 - plain if photometric == "MONOCHROME1" else plain)
    assert ("G2" in shown.problems) == ((shape == "INVERSE") != (photometric == "MONOCHROME1"))


@pytest.mark.parametrize("signed", [False, True])
def test_g03_the_modality_lut_is_clipped_and_overrules_rescaling(loop: Loop, tmp_path: Path, signed: bool) -> None:
    first = -100 if signed else 1000
    entries = np.arange(1500)[::-1] * 7
    more = window(0, 10500) | rescaled(5, 9) | {MODALITY_LUTS: ("SQ", [lut(first, 16, entries)])}
    values = RAMP - (2048 if signed else 0)
    expected = entries[np.clip(values - first, 0, 1499)]
    close(Shown.of(loop, tmp_path, ramp(signed=signed, more=more)).picture(), spread(expected, 0, 10500))


def test_g03_a_table_of_65536_entries(loop: Loop, tmp_path: Path) -> None:
    entries = np.arange(65536)[::-1]
    more = window(61440, 65535) | {MODALITY_LUTS: ("SQ", [lut(0, 16, entries)])}
    close(Shown.of(loop, tmp_path, ramp(more=more)).picture(), spread(entries[RAMP], 61440, 65535))


def test_g03_sample(loop: Loop) -> None:
    dataset = pydicom.dcmread(FOUND["mlut_18.dcm"])
    values = apply_modality_lut(dataset.pixel_array, dataset)
    close(Shown(loop, FOUND["mlut_18.dcm"]).picture(), spread(values, values.min(), values.max()))


def test_g04_the_modality_lut_of_angiography_is_not_for_display(loop: Loop, tmp_path: Path) -> None:
    more = window(0, 4095) | {MODALITY_LUTS: ("SQ", [lut(0, 16, np.zeros(4096))])}
    more |= {0x00080016: ("UI", "1.2.840.10008.5.1.4.1.1.12.1")}
    close(Shown.of(loop, tmp_path, ramp(more=more)).picture(), spread(RAMP, 0, 4095))


def frames_with(groups: list[DataSet], shared: DataSet | None = None, more: DataSet | None = None) -> bytes:
    """Make a file of as many frames as *groups*, all of them the same ramp."""
    values = RAMP.astype("<u2").tobytes() * len(groups)
    sequences: DataSet = {PER_FRAME_GROUPS: ("SQ", groups)}
    if shared is not None:
        sequences = {**sequences, SHARED_GROUPS: ("SQ", [shared])}
    return dicom(image(16, 16, values, frames=len(groups), bits=16, stored=12, more={**sequences, **(more or {})}))


def transformed(slope: float, intercept: float) -> DataSet:
    """Make a functional group that rescales."""
    return {TRANSFORMATION: ("SQ", [rescaled(slope, intercept)])}


def test_g05_each_frame_is_rescaled_by_its_own_group(loop: Loop, tmp_path: Path) -> None:
    pairs = [(1, 0), (2, -1000), (-0.5, 3000)]
    data = frames_with([transformed(*pair) for pair in pairs], more=window(-1000, 7000) | rescaled(9, 9))
    shown = Shown.of(loop, tmp_path, data)
    for frame, (slope, intercept) in enumerate(pairs):
        close(shown.picture(frame + 1), spread(RAMP * slope + intercept, -1000, 7000))
    shown = Shown.of(loop, tmp_path, frames_with([{}] * 2, shared=transformed(2, -1000), more=window(-1000, 7000)))
    close(shown.picture(2), spread(RAMP * 2 - 1000, -1000, 7000))


@pytest.mark.parametrize("name", ["eCT_Supplemental.dcm", "emri_small.dcm"])
def test_g05_g13_g17_enhanced_samples(loop: Loop, name: str) -> None:
    """Rescaling and windows of functional groups; one window where there is none; colours above the first mapped."""
    dataset = pydicom.dcmread(FOUND[name])
    values = dataset.pixel_array.astype(float)
    shown = Shown(loop, FOUND[name])
    window_of_all = None
    for frame in range(len(values)):
        own, shared = dataset.get("PerFrameFunctionalGroupsSequence"), dataset.get("SharedFunctionalGroupsSequence")
        groups = [*(own[frame : frame + 1] if own else []), *(shared or [])]
        modality, voi = (
            next((group[word][0] for group in groups if word in group), None)
            for word in ("PixelValueTransformationSequence", "FrameVOILUTSequence")
        )
        rescale = (float(modality.RescaleSlope), float(modality.RescaleIntercept)) if modality else (1, 0)
        scaled = values * rescale[0] + rescale[1]
        if voi:
            center, width = float(np.atleast_1d(voi.WindowCenter)[0]), float(np.atleast_1d(voi.WindowWidth)[0])
            expected = np.clip((scaled[frame] - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255
        else:
            window_of_all = window_of_all or (scaled.min(), scaled.max())
            expected = spread(scaled[frame], *window_of_all)
        picture = shown.picture(frame + 1)
        if dataset.get("PixelPresentation") in ("COLOR", "MIXED"):
            colours = _supplemental(dataset, dataset.pixel_array[frame])
            above = dataset.pixel_array[frame] >= dataset.RedPaletteColorLookupTableDescriptor[1]
            expected = np.where(above[..., None], colours, expected[..., None])
        close(picture, expected)


def _supplemental(dataset: pydicom.Dataset, values: np.ndarray) -> np.ndarray:
    """Have pydicom look colours up as if all values were mapped."""
    copy = deepcopy(dataset)
    copy.PhotometricInterpretation = "PALETTE COLOR"
    copy.PixelPresentation = "MONOCHROME"
    coloured = apply_color_lut(values, copy)
    return coloured >> 8 if coloured.max() > 255 else coloured


def test_g06_gaps_and_short_sequences_take_nothing_from_other_frames(loop: Loop, tmp_path: Path) -> None:
    more = window(-1000, 7000)
    shown = Shown.of(loop, tmp_path, frames_with([transformed(2, -1000), {}, transformed(1, 0)], more=more))
    close(shown.picture(1), spread(RAMP * 2 - 1000, -1000, 7000))
    assert "G6" in shown.refusal(2)
    close(shown.picture(3), spread(RAMP, -1000, 7000))
    assert "G6" in shown.problems
    groups = [transformed(2, -1000), transformed(1, 0)]
    short = dict(image(16, 16, RAMP.astype("<u2").tobytes() * 3, frames=3, bits=16, stored=12, more=more))
    shown = Shown.of(loop, tmp_path, dicom(short | {PER_FRAME_GROUPS: ("SQ", groups)}))
    close(shown.picture(2), spread(RAMP, -1000, 7000))
    assert "G6" in shown.refusal(3)
    assert "G6" in shown.problems
    # The window that is found in some frames is not found in the one without.
    shown = Shown.of(loop, tmp_path, frames_with([transformed(2, -1000), {}, transformed(1, 0)]))
    close(shown.picture(3), spread(RAMP, -1000, 4080 * 2 - 1000))


def test_g07_a_group_that_is_shared_and_the_frames_own(loop: Loop, tmp_path: Path) -> None:
    shared = {**transformed(1, 0), FRAME_VOI_LUT: ("SQ", [window(0, 500)])}
    own = {**transformed(2, -1000), FRAME_VOI_LUT: ("SQ", [window(-1000, 7000)])}
    shown = Shown.of(loop, tmp_path, frames_with([own, {}], shared))
    close(shown.picture(1), spread(RAMP * 2 - 1000, -1000, 7000))
    close(shown.picture(2), spread(RAMP, 0, 500))
    assert "G7" in shown.problems


@pytest.mark.parametrize(
    ("more", "slope", "intercept"),
    [
        (rescaled(0, -1024), 1, 0),
        (rescaled("NaN", -1024), 1, -1024),
        ({INTERCEPT: ("DS", "-1024")}, 1, -1024),
        ({SLOPE: ("DS", "2")}, 2, 0),
    ],
)
def test_g08_senseless_and_missing_rescaling(
    loop: Loop, tmp_path: Path, more: DataSet, slope: float, intercept: float
) -> None:
    shown = Shown.of(loop, tmp_path, ramp(more={**more, **window(-1024, 8190)}))
    close(shown.picture(), spread(RAMP * slope + intercept, -1024, 8190))
    assert "G8" in shown.problems


def test_g08_negative_and_fractional_slopes(loop: Loop, tmp_path: Path) -> None:
    for slope, intercept in ((-10, 1000), (0.00123, -2.5)):
        ends = sorted(end * slope + intercept for end in (0, 4095))
        shown = Shown.of(loop, tmp_path, ramp(more={**rescaled(slope, intercept), **window(*ends)}))
        close(shown.picture(), spread(RAMP * slope + intercept, *ends), 0.6)
        assert shown.problems == ""


def test_g09_the_voi_lut_takes_values_behind_the_modality_lut(loop: Loop, tmp_path: Path) -> None:
    entries = np.round(1023 * (np.arange(2000) / 1999) ** 2).astype(int)
    more = rescaled(1, -1024) | {VOI_LUTS: ("SQ", [lut(-500, 10, entries)])} | window(0, 1)
    expected = entries[np.clip(RAMP - 1024 + 500, 0, 1999)] / 1023 * 255
    close(Shown.of(loop, tmp_path, ramp(more=more)).picture(), expected)


def test_g09_sample(loop: Loop) -> None:
    dataset = pydicom.dcmread(FOUND["vlut_04.dcm"])
    bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
    expected = apply_voi_lut(dataset.pixel_array, dataset) / ((1 << bits) - 1) * 255
    close(Shown(loop, FOUND["vlut_04.dcm"]).picture(), expected)


@pytest.mark.parametrize(
    ("center", "width", "function", "expected"),
    [
        ("2000", "1000", "LINEAR", np.clip((RAMP - 1999.5) / 999 + 0.5, 0, 1)),
        ("2000.5", "1", "LINEAR", RAMP > 2000),
        ("2000", "0.5", "LINEAR_EXACT", np.clip((RAMP - 2000) / 0.5 + 0.5, 0, 1)),
        ("2000", "0.5", "SIGMOID", np.where(RAMP == 2000, 0.5, RAMP > 2000)),
        ("1\\2000", "0\\1000", "LINEAR", np.clip((RAMP - 1999.5) / 999 + 0.5, 0, 1)),
        ("1\\2000", "-5\\1000", "SIGMOID", 1 / (1 + np.exp(-4 * (RAMP - 2000) / 1000))),
        ("1", "0.5", "LINEAR", RAMP / 4080),
        ("", "", "LINEAR", RAMP / 4080),
    ],
)
def test_g10_windows_by_their_formulas_and_the_next_for_a_senseless_one(
    loop: Loop, tmp_path: Path, center: str, width: str, function: str, expected: np.ndarray
) -> None:
    more = {CENTER: ("DS", center), WIDTH: ("DS", width), FUNCTION: ("CS", function)}
    shown = Shown.of(loop, tmp_path, ramp(more=more))
    close(shown.picture(), expected * 255.0)
    senseless = center.startswith("1")
    assert ("G10" in shown.problems) == senseless


def test_g11_the_first_window_is_the_default_and_lists_of_unequal_length_are_cut(loop: Loop, tmp_path: Path) -> None:
    more = {CENTER: ("DS", "1000\\2000\\3000"), WIDTH: ("DS", "500\\700"), FUNCTION: ("CS", "LINEAR_EXACT")}
    shown = Shown.of(loop, tmp_path, ramp(more=more))
    close(shown.picture(), spread(RAMP, 750, 1250))
    assert "G11" in shown.problems
    assert {name.split("/")[1] for name in shown.names if name.startswith("windows/")} == {"2-window"}


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("more", "side"),
    [
        (window(9000, 9100), "above"),
        (window(-100, -50), "below"),
        (window(4095, 4096), "above"),
        (window(4094, 4096), None),
        (window(-1, 0), "below"),
        (window(-1, 1), None),
        (window(9000, 9100) | {FUNCTION: ("CS", "SIGMOID")}, "above"),
        (window(0, 9100) | {FUNCTION: ("CS", "SIGMOID")}, None),
        ({CENTER: ("DS", "4096"), WIDTH: ("DS", "1"), FUNCTION: ("CS", "LINEAR")}, "above"),
        ({CENTER: ("DS", "4095"), WIDTH: ("DS", "1"), FUNCTION: ("CS", "LINEAR")}, None),
        (window(3000, 3500) | rescaled(1, -1024), None),
        (window(3100, 3500) | rescaled(1, -1024), "above"),
        (window(1, 9) | rescaled(-1, 0), "above"),
        (window(3000, 3001) | {MODALITY_LUTS: ("SQ", [lut(0, 16, np.arange(3000))])}, "above"),
        (window(2998, 3001) | {MODALITY_LUTS: ("SQ", [lut(0, 16, np.arange(3000))])}, None),
    ],
)
def test_g12_a_window_beside_all_values_is_applied_and_reported(
    loop: Loop, tmp_path: Path, more: DataSet, side: str | None, photometric: str
) -> None:
    shown = Shown.of(loop, tmp_path, ramp(photometric=photometric, more=more))
    before = loop.decoder.stats
    problems = shown.problems
    assert loop.decoder.stats == before
    if side is None:
        assert "G12" not in problems
        return
    colour = "black" if (side == "above") == (photometric == "MONOCHROME2") else "white"
    told = f"window 1 is {side} all values that Bits Stored allows; its display images are all {colour} (G12)"
    assert told in problems.splitlines()
    assert (shown.picture() == (0 if colour == "black" else 255)).all()


@pytest.mark.parametrize("ends", [(100, 200), (200, 100), (100, 100), (100, 5000), (100, None), (None, 200)])
def test_g12_the_values_that_the_file_says_it_has_count_where_they_can_be_right(
    loop: Loop, tmp_path: Path, ends: tuple[int | None, int | None]
) -> None:
    smallest, largest = ends
    more = {**window(300, 400), **rescaled(2, -100)}  # 200 to 250 as stored
    if smallest is not None:
        more[0x00280106] = ("US", smallest)
    if largest is not None:
        more[0x00280107] = ("US", largest)
    values = (RAMP // 41 + 100).astype("<u2")
    data = dicom(image(16, 16, values.tobytes(), bits=16, stored=12, more=more))
    shown = Shown.of(loop, tmp_path, data)
    told = "window 1 is above all values from Smallest to Largest Image Pixel Value; "
    told += "its display images are all black (G12)\n"
    assert shown.problems == (told if ends == (100, 200) else "")
    assert not shown.picture().any()


def test_g12_further_windows_and_windows_of_frames(loop: Loop, tmp_path: Path) -> None:
    """A place counts VOI LUTs, too, as the directories in windows/ do."""
    more = {
        VOI_LUTS: ("SQ", [lut(0, 8, np.arange(256))]),
        CENTER: ("DS", "500\\9000\\700"),
        WIDTH: ("DS", "100\\100\\100"),
    }
    shown = Shown.of(loop, tmp_path, ramp(more=more))
    assert [line.split()[1] for line in shown.problems.splitlines() if "G12" in line] == ["3"]
    assert not np.asarray(Image.open(io.BytesIO(shown.read("windows/3-window/0001.png")))).any()
    groups = [{FRAME_VOI_LUT: ("SQ", [window(*ends)])} for ends in ((0, 9), (0, 9), (9000, 9100), (0, 9), (5000, 5001))]
    shown = Shown.of(loop, tmp_path, frames_with(groups))
    (told,) = shown.problems.splitlines()
    assert told.startswith("frames 3, 5: window 1 is above")
    shown = Shown.of(loop, tmp_path, frames_with([{}] * 3, {FRAME_VOI_LUT: ("SQ", [window(5000, 5001)])}))
    assert shown.problems.startswith("window 1 is above")


@pytest.mark.slow
def test_g12_no_window_of_a_sample_is_reported() -> None:
    reported = [name for name, path in FOUND.items() if "G12" in str(load(Memory(path.read_bytes())).problems)]
    assert not reported


def test_g13_without_a_window_the_values_that_there_are_fill_the_range(loop: Loop, tmp_path: Path) -> None:
    values = (RAMP // 16 + 300).astype("<u2")
    files = {
        "CT": {0x00080060: ("CS", "CT"), **rescaled(1, -1024)},
        "DX": {0x00080060: ("CS", "DX"), PRESENTATION: ("CS", "FOR PRESENTATION")},
    }
    for modality, more in files.items():
        data = dicom(image(16, 16, values.tobytes(), bits=16, stored=12, more=more))
        expected = spread(values, 300, 555) if modality == "CT" else spread(values, 0, 4095)
        close(Shown.of(loop, tmp_path, data).picture(), expected)


def test_g13_a_film_has_one_window(loop: Loop, tmp_path: Path) -> None:
    frames = [RAMP // 4, RAMP // 8 + 100, RAMP // 2 + 50, RAMP // 16]
    data = dicom(image(16, 16, np.stack(frames).astype("<u2").tobytes(), frames=4, bits=16, stored=12))
    shown = Shown.of(loop, tmp_path, data)
    some = [frames[0], frames[2], frames[3]]  # the first, the middle and the last
    low, high = min(frame.min() for frame in some), max(frame.max() for frame in some)
    for number, frame in enumerate(frames):
        close(shown.picture(number + 1), spread(frame, low, high))


def test_g13_padding_that_lossy_coding_has_blurred_does_not_spoil_the_window(loop: Loop, tmp_path: Path) -> None:
    y, x = np.mgrid[:512, :512]
    inside = (y - 256) ** 2 + (x - 256) ** 2 < 250**2
    body = (1000 + 400 * np.sin(x / 29) * np.cos(y / 31)).astype(np.int64)
    values = np.where(inside, body, -2000)
    stream = imagecodecs.jpeg2k_encode(values.astype("<i2"), codecformat="j2k", reversible=False, level=55)
    assert imagecodecs.jpeg2k_decode(stream).min() < -2000
    more = {PADDING: ("SS", -2000), **rescaled(1, -1024)}
    elements = image(512, 512, encapsulated([stream]), bits=16, signed=True, vr="OB", more=more)
    picture = Shown.of(loop, tmp_path, dicom(elements, JPEG_2000[:-1] + "1")).picture()
    centre = inside & ((y - 256) ** 2 + (x - 256) ** 2 < 200**2)
    # Were the blurred padding in, the darkest would be above 170.
    assert picture[centre].min() < 60
    assert picture[centre].max() > 120


@pytest.mark.parametrize("name", of_corpus("CT1_J2KI", "CT1_JLSN.dcm"))
def test_g13_lossy_samples_look_like_the_lossless_one(loop: Loop, name: str) -> None:
    truth = Shown(loop, FOUND["CT1_UNC"]).picture().astype(float)
    assert np.abs(Shown(loop, FOUND[name]).picture() - truth).mean() < 12


@pytest.mark.parametrize("ends", [(-2000, None), (-2000, -1990), (-1990, -2000)])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_g14_padding_is_background_and_in_no_window(
    loop: Loop, tmp_path: Path, ends: tuple[int, int | None], photometric: str
) -> None:
    values = RAMP // 16
    values[0, :4] = ends[0], ends[1] or ends[0], ends[0], ends[1] or ends[0]
    more: dict[int, tuple[str, Value]] = {PADDING: ("SS", ends[0]), **rescaled(2, -1024)}
    if ends[1] is not None:
        more[PADDING_LIMIT] = ("SS", ends[1])
    elements = image(16, 16, values.astype("<i2").tobytes(), bits=16, signed=True, photometric=photometric, more=more)
    picture = Shown.of(loop, tmp_path, dicom(elements)).picture()
    expected = spread(values, 4, 255)
    expected = 255 - expected if photometric == "MONOCHROME1" else expected
    expected[0, :4] = 0
    close(picture, expected)


def paletted(tables: list[np.ndarray], bits: int, first: int, values: np.ndarray, vr: str = "OW") -> bytes:
    """Make a palette image of 16-bit indices; tables have the type that their entries are written in."""
    more: dict[int, tuple[str, Value]] = {}
    for place, table in enumerate(tables):
        more[0x00281101 + place] = ("US", (len(table) % 65536, first % 65536, bits))
        more[0x00281201 + place] = (vr, table.tobytes() + bytes(table.nbytes % 2))
    signed = bool(values.min() < 0)
    elements = image(
        *values.shape,
        values.astype("<i2" if signed else "<u2").tobytes(),
        bits=16,
        signed=signed,
        photometric="PALETTE COLOR",
        more=more,
    )
    return dicom(elements)


@pytest.mark.parametrize("first", [0, 50, -20])
@pytest.mark.parametrize("form", ["16 bit", "8 bit", "8 bit in words", "8 in 16 bit", "65536"])
def test_g15_palettes_of_all_forms(loop: Loop, tmp_path: Path, form: str, first: int) -> None:
    count = 65536 if form == "65536" else 201
    rng = np.random.default_rng(8)
    tables = [rng.integers(0, 256, count) for _ in range(3)]
    written = {
        "16 bit": (16, [(table * 257).astype("<u2") for table in tables]),
        "8 bit": (8, [table.astype("u1") for table in tables]),
        "8 bit in words": (8, [table.astype("<u2") for table in tables]),
        "8 in 16 bit": (16, [table.astype("<u2") for table in tables]),
        "65536": (16, [(table << 8).astype("<u2") for table in tables]),
    }[form]
    values = np.arange(-60 if first < 0 else 0, 340).reshape(-1, 20)
    shown = Shown.of(loop, tmp_path, paletted(written[1], written[0], first, values))
    places = np.clip(values - first, 0, count - 1)
    assert np.array_equal(shown.picture(), np.stack([table[places] for table in tables], -1))
    assert shown.problems == ""


@pytest.mark.parametrize(
    "name", ["OBXXXX1A.dcm", "OT-PAL-8-face.dcm", "gdcm-US-ALOKA-16.dcm", "gdcm-US-ALOKA-16_big.dcm"]
)
def test_g15_g16_samples_of_palettes_also_segmented_ones(loop: Loop, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(FOUND[name], force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
        expected = apply_color_lut(dataset.pixel_array, dataset)
    expected = expected >> 8 if expected.max() > 255 else expected
    assert np.array_equal(Shown(loop, FOUND[name]).picture(), expected)


def test_g15_no_palette_is_an_error(loop: Loop, tmp_path: Path) -> None:
    shown = Shown.of(loop, tmp_path, dicom(image(2, 2, bytes(4), photometric="PALETTE COLOR")))
    assert "palette" in shown.refusal()
    assert "G15" in shown.problems


@pytest.mark.parametrize("bits", [8, 16])
def test_g16_segments(loop: Loop, tmp_path: Path, bits: int) -> None:
    """Ten as they are, a ramp of a hundred to 250, and these two once more by an indirect segment."""
    scale = 257 if bits == 16 else 1
    units = [0, 10, *(value * scale for value in range(50, 60)), 1, 100, 250 * scale, 2, 2, 0, 0]
    if bits == 8:
        units += [0, 0]  # an offset has 32 bits: four units of eight
    table = np.array(units, "<u2" if bits == 16 else "u1")
    more: dict[int, tuple[str, Value]] = {}
    for place in range(3):
        more[0x00281101 + place] = ("US", (220, 0, bits))
        more[0x00281221 + place] = ("OW", table.tobytes() + bytes(table.nbytes % 2))
    values = np.arange(220, dtype=np.uint8).reshape(10, 22)
    shown = Shown.of(loop, tmp_path, dicom(image(10, 22, values.tobytes(), photometric="PALETTE COLOR", more=more)))
    half = [*range(50, 60), *(59 + (250 - 59) * step / 100 for step in range(1, 101))]
    expected = np.repeat(np.array(half * 2).reshape(10, 22, 1), 3, axis=2)
    close(shown.picture(), expected, 1 if bits == 16 else 0.5)
    assert shown.problems == ""


@pytest.mark.parametrize("presentation", ["COLOR", "MIXED", "MONOCHROME", "TRUE_COLOR"])
def test_g17_supplemental_palettes_colour_from_their_first_value(loop: Loop, tmp_path: Path, presentation: str) -> None:
    more = {0x00089205: ("CS", presentation), **window(0, 4095)}
    tables = [(np.arange(1000) * step % 256).astype("u1") for step in (1, 3, 7)]
    for place, table in enumerate(tables):
        more[0x00281101 + place] = ("US", (1000, 3000, 8))
        more[0x00281201 + place] = ("OW", table.tobytes())
    more[0x00281104] = ("US", (1000, 3000, 8))  # an alpha table, which a picture without alpha has no use for
    more[0x00281204] = ("OW", bytes(1000))
    picture = Shown.of(loop, tmp_path, ramp(more=more)).picture()
    grey = spread(RAMP, 0, 4095)
    if presentation in ("COLOR", "MIXED"):
        places = np.clip(RAMP - 3000, 0, 999)
        colours = np.stack([table[places] for table in tables], -1)
        close(picture, np.where((RAMP >= 3000)[..., None], colours, grey[..., None]))
    else:
        close(picture, grey)


def test_g22_a_shutter_is_named_and_not_applied(loop: Loop, tmp_path: Path) -> None:
    more = window(0, 4095) | {
        0x00181600: ("CS", "RECTANGULAR"),
        0x00181602: ("IS", "4"),
        0x00181604: ("IS", "9"),
        0x00181606: ("IS", "4"),
        0x00181608: ("IS", "9"),
    }
    shown = Shown.of(loop, tmp_path, ramp(more=more))
    close(shown.picture(), spread(RAMP, 0, 4095))
    assert "G22" in shown.problems


@pytest.mark.parametrize("name", ["examples_palette.dcm", "gdcm-US-ALOKA-16.dcm", "OBXXXX1A.dcm"])
def test_g23_regions_of_ultrasound_are_described_and_nothing_is_cropped(loop: Loop, name: str) -> None:
    dataset = pydicom.dcmread(FOUND[name])
    shown = Shown(loop, FOUND[name])
    assert shown.picture().shape[:2] == (dataset.Rows, dataset.Columns)
    regions = json.loads(shown.read("regions.json"))["regions"]
    assert len(regions) == len(dataset.SequenceOfUltrasoundRegions)
    for region, item in zip(regions, dataset.SequenceOfUltrasoundRegions, strict=True):
        assert [region[corner] for corner in ("x0", "y0", "x1", "y1")] == [
            item.RegionLocationMinX0,
            item.RegionLocationMinY0,
            item.RegionLocationMaxX1,
            item.RegionLocationMaxY1,
        ]
        for axis in "XY":
            described = region[axis.lower()]
            unit = item[f"PhysicalUnits{axis}Direction"].value
            assert (described["unit"] == "cm") == (unit == 3)
            assert described["delta"] == item[f"PhysicalDelta{axis}"].value
            assert described["reference"] == item.get(f"ReferencePixel{axis}0")
            assert described["value"] == item.get(f"ReferencePixelPhysicalValue{axis}")


def test_g23_no_regions_no_file(loop: Loop, tmp_path: Path) -> None:
    assert "regions.json" not in Shown.of(loop, tmp_path, ramp()).names
    item = {0x00186024: ("US", 4), 0x0018602C: ("FD", float("nan")), 0x00186018: ("UL", 7), 0x00186012: ("US", 3)}
    data = ramp(more={0x00186011: ("SQ", [item])})
    (region,) = json.loads(Shown.of(loop, tmp_path, data).read("regions.json"))["regions"]
    assert (region["x0"], region["y0"], region["format"], region["type"]) == (7, None, "spectral", None)
    assert region["x"] == {"unit": "s", "delta": None, "reference": None, "value": None}
