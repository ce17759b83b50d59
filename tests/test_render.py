"""Pictures equal what pydicom and DCMTK draw, and each stage of the pipeline does what its clause says."""

import pickle
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.pixels import convert_color_space

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.registry import Decoded, decode
from dicomfs.dicom.part10_reader import parse
from dicomfs.dicom.stream import Memory
from dicomfs.iod.image_display import display_of
from dicomfs.iod.image_pixel import pixel_format
from dicomfs.rendering.render import (
    Display,
    Lut,
    Palette,
    RenderError,
    Window,
    automatic_window,
    picture,
    picture_samples,
    value_range,
)

GREY = PixelFormat(2, 3, 1, 16, 12, 11, False, "MONOCHROME2", False, "1.2.840.10008.1.2.1")
RGB = replace(GREY, samples=3, bits_allocated=8, bits_stored=8, high_bit=7, photometric="RGB")
PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"


def draw(values: object, fmt: PixelFormat = GREY, display: Display | None = None) -> np.ndarray:
    """Draw stored values of any shape."""
    array = np.asarray(values, fmt.dtype)
    return picture(Decoded(array, fmt.photometric), fmt, display or Display())


def lut(first: int, bits: int, *entries: int) -> Lut:
    """Make a look-up table."""
    return Lut(first, bits, np.array(entries, "<u2").tobytes())


# PS3.3 C.11.2.1.2, C.11.2.1.3: the formulas, value by value


def linear(x: float, c: float, w: float) -> float:
    """Compute the pseudo-code of C.11.2.1.2.1 for 0..255."""
    if x <= c - 0.5 - (w - 1) / 2:
        return 0
    if x > c - 0.5 + (w - 1) / 2:
        return 255
    return ((x - (c - 0.5)) / (w - 1) + 0.5) * 255


def linear_exact(x: float, c: float, w: float) -> float:
    """Compute the pseudo-code of C.11.2.1.3.2 for 0..255."""
    if x <= c - w / 2:
        return 0
    if x > c + w / 2:
        return 255
    return ((x - c) / w + 0.5) * 255


def sigmoid(x: float, c: float, w: float) -> float:
    """Compute the equation of C.11.2.1.3.1 for 0..255."""
    return float(255 / (1 + np.exp(-4 * (x - c) / w)))


@given(
    st.lists(st.integers(-32768, 32767), min_size=1, max_size=20),
    st.sampled_from((linear, linear_exact, sigmoid)),
    st.floats(-3000, 3000),
    st.floats(1, 4000),
)
@settings(deadline=None, max_examples=300)
def test_g10_windows_follow_their_formulas(
    values: list[int], formula: Callable[[float, float, float], float], center: float, width: float
) -> None:
    fmt = replace(GREY, bits_stored=16, high_bit=15, signed=True)
    drawn = draw(values, fmt, Display(window=Window(center, width, formula.__name__.upper())))
    with np.errstate(over="ignore"):
        expected = [formula(value, center, width) for value in values]
    assert np.abs(drawn - np.array(expected)).max() <= 0.5001


def test_g10_a_linear_window_of_width_1_is_a_threshold() -> None:
    assert draw([99, 100, 101], display=Display(window=Window(100.5, 1))).tolist() == [0, 0, 255]


def test_slope_and_intercept_come_before_the_window() -> None:
    display = Display(slope=2, intercept=-1024, window=Window(0, 200, "LINEAR_EXACT"))
    assert draw([462, 512, 562], display=display).tolist() == [0, 128, 255]


def test_g3_modality_lut_is_clipped_at_both_ends_and_overrules_rescaling() -> None:
    display = Display(5, 5, modality_lut=lut(10, 8, 0, 100, 200), window=Window(100, 200, "LINEAR_EXACT"))
    assert draw([0, 10, 11, 12, 4000], display=display).tolist() == [0, 0, 128, 255, 255]


def test_g9_voi_lut_takes_modality_values_and_is_scaled_from_its_bits() -> None:
    display = Display(1, -1000, voi_lut=lut(-10, 10, 0, 512, 1023))
    assert draw([0, 990, 991, 992, 4000], display=display).tolist() == [0, 0, 128, 255, 255]


def test_g1_monochrome1_is_inverted_once_after_the_window() -> None:
    display = Display(window=Window(100, 201))
    plain = draw(np.arange(0, 300, 7), display=display)
    inverted = draw(np.arange(0, 300, 7), display=replace(display, invert=True))
    assert (np.abs(plain.astype(int) + inverted - 255) <= 1).all()


def test_g14_padding_is_black_and_counts_for_no_range() -> None:
    fmt = replace(GREY, signed=True, bits_stored=16)
    display = Display(1, 100, padding=(-2000, -1990), invert=True, window=Window(0, 1000))
    assert draw([-2000, -1995, -1989], fmt, display).tolist() == [0, 0, 255]
    decoded = Decoded(np.array([-2000, -1990, 5, 7], "<i2"), "MONOCHROME2")
    assert value_range(decoded, fmt, display) == (105, 107)
    assert value_range(decoded, fmt, replace(display, padding=(-1990, -2000))) == (105, 107)
    assert value_range(decoded, fmt, replace(display, padding=(-3000, 3000))) is None


@pytest.mark.parametrize(("slope", "ends"), [(2.0, (1.0, 21.0)), (-2.0, (-19.0, 1.0))])
def test_value_range_is_that_after_the_modality_lut(slope: float, ends: tuple[float, float]) -> None:
    decoded = Decoded(np.array([[0, 10, 3]], "<u2"), "MONOCHROME2")
    assert value_range(decoded, GREY, Display(slope, 1.0)) == ends
    assert value_range(decoded, GREY, Display(modality_lut=lut(0, 8, 9, 1, 5, 4))) == (4, 9)


def test_n21_real_numbers_are_drawn_over_their_finite_range() -> None:
    fmt = replace(GREY, real=True, bits_allocated=32, bits_stored=32)
    values = np.array([[np.nan, -1.5, 0.5], [2.5, np.inf, -np.inf]], "<f4")
    low, high = value_range(Decoded(values, "MONOCHROME2"), fmt, Display()) or (0, 0)
    assert (low, high) == (-1.5, 2.5)
    drawn = draw(values, fmt, Display(window=automatic_window(low, high)))
    assert drawn.tolist() == [[0, 0, 128], [255, 255, 0]]
    assert value_range(Decoded(values[:, :1] * np.nan, "MONOCHROME2"), fmt, Display()) is None


def test_automatic_window_shows_its_ends_black_and_white() -> None:
    display = Display(window=automatic_window(-7, 13))
    assert draw([-7, 3, 13], replace(GREY, signed=True), display).tolist() == [0, 128, 255]
    assert draw([5, 5], display=Display(window=automatic_window(5, 5))).tolist() == [0, 0]


@pytest.mark.parametrize(("bits", "signed"), [(1, False), (8, False), (12, True), (16, False), (32, False)])
def test_without_a_window_the_full_range_is_shown(bits: int, signed: bool) -> None:
    allocated = max(8, 1 << (bits - 1).bit_length())
    fmt = replace(GREY, bits_allocated=allocated, bits_stored=bits, high_bit=bits - 1, signed=signed)
    low = -(1 << (bits - 1)) if signed else 0
    assert draw([low, low + (1 << bits) - 1], fmt).tolist() == [0, 255]
    if bits == 8:
        assert draw(np.arange(256), fmt).tolist() == list(range(256))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("size", [8, 16])
def test_the_table_for_large_frames_draws_as_each_pixel_alone_does(size: int, signed: bool) -> None:
    fmt = replace(GREY, rows=300, columns=300, bits_allocated=size, bits_stored=size, high_bit=size - 1, signed=signed)
    values = np.random.default_rng(2).integers(np.iinfo(fmt.dtype).min, np.iinfo(fmt.dtype).max, (300, 300), fmt.dtype)
    for display in (
        Display(1.5, -7, window=Window(30, 90), padding=(3, 9)),
        Display(palette=Palette(2, bytes(range(60)), True), window=Window(30, 90)),
    ):
        large = draw(values, fmt, display)
        assert np.array_equal(large[:7], draw(values[:7], fmt, display))


def test_g15_palette_indices_are_clipped_to_the_mapped_range() -> None:
    fmt = replace(GREY, photometric="PALETTE COLOR")
    red, green, blue = (np.array(column, "<u2") for column in ((1, 2, 3), (4, 5, 6), (7, 8, 9)))
    display = Display(palette=Palette.of_tables(10, 8, red, green, blue))
    assert draw([[0, 10, 11], [12, 13, 4095]], fmt, display).tolist() == [
        [[1, 4, 7], [1, 4, 7], [2, 5, 8]],
        [[3, 6, 9], [3, 6, 9], [3, 6, 9]],
    ]
    signed = replace(fmt, signed=True)
    assert draw([-2000, -1], signed, Display(palette=replace(display.palette, first=-2))).tolist() == [
        [1, 4, 7],
        [2, 5, 8],
    ]
    with pytest.raises(RenderError):
        draw([0], fmt)


def test_g15_entries_of_16_bits_are_reduced_unless_they_hold_8_bits() -> None:
    wide = np.array([0, 0x8000, 0xFFFF], "<u2")
    narrow = np.array([0, 0x80, 0xFF], "<u2")
    assert Palette.of_tables(0, 16, wide, wide, wide) == Palette.of_tables(0, 16, narrow, narrow, narrow)


def test_g17_supplemental_palette_colours_only_what_it_maps() -> None:
    display = Display(palette=Palette(100, bytes([9, 8, 7, 6, 5, 4]), True), window=Window(50, 100, "LINEAR_EXACT"))
    assert draw([0, 50, 100, 200], display=display).tolist() == [[0, 0, 0], [128, 128, 128], [9, 8, 7], [6, 5, 4]]
    assert picture_samples(GREY, display) == 3


def test_n15_ybr_full_equals_pydicom() -> None:
    values = np.random.default_rng(3).integers(0, 256, (50, 60, 3), np.uint8)
    drawn = draw(values, replace(RGB, photometric="YBR_FULL"))
    assert np.abs(drawn.astype(int) - convert_color_space(values, "YBR_FULL", "RGB")).max() <= 1


def test_n16_ybr_partial_has_black_at_16_and_white_at_235() -> None:
    fmt = replace(RGB, photometric="YBR_PARTIAL_420")
    assert draw([[[16, 128, 128], [235, 128, 128], [255, 128, 128]]], fmt).tolist() == [[[0] * 3, [255] * 3, [255] * 3]]
    red = draw([[[81, 90, 240]]], fmt)[0, 0]  # BT.601 red in studio range
    assert np.abs(red.astype(int) - (255, 0, 0)).max() <= 2


def test_colour_samples_of_other_widths_are_brought_to_eight_bits() -> None:
    wide = replace(RGB, bits_allocated=16, bits_stored=12, high_bit=11)
    assert draw([[[0, 0x800, 0xFFF]]], wide).tolist() == [[[0, 128, 255]]]
    assert draw([[[0, 1, 3]]], replace(RGB, bits_stored=2)).tolist() == [[[0, 85, 255]]]


def test_n18_retired_colour_models() -> None:
    four = replace(RGB, samples=4)
    assert draw([[[9, 1, 2, 3]]], replace(four, photometric="ARGB")).tolist() == [[[1, 2, 3]]]
    assert draw([[[255, 0, 0, 0], [0, 0, 0, 255]]], replace(four, photometric="CMYK")).tolist() == [
        [[0, 255, 255], [0, 0, 0]]
    ]
    with pytest.raises(RenderError):
        draw([[[1, 2, 3]]], replace(RGB, photometric="HSV"))


def test_a_display_survives_the_way_to_a_worker() -> None:
    display = Display(2, 3, lut(0, 8, 1, 2), Window(1, 2), lut(0, 8, 3), True, Palette(0, bytes(768)), (1, 2))
    sent = pickle.dumps(display)
    assert pickle.loads(sent) == display
    assert len(sent) < 2000


# DCMTK draws the same files


def monochrome_files() -> list[Path]:
    """Find monochrome samples that DCMTK can open and that have a window or a VOI LUT."""
    names = (
        "CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "JPEG-LL.dcm",
        "JPGExtended.dcm", "examples_overlay.dcm", "vlut_04.dcm", "mlut_18.dcm", "RG1_UNCR.dcm", "RG3_UNCR.dcm",
        "MR2_UNCR.dcm", "693_UNCR.dcm", "emri_small.dcm",
    )  # fmt: skip
    found = {path.name: path for path in _all_samples()}
    return [found[name] for name in names if name in found]


def _all_samples() -> list[Path]:
    import importlib.util

    spec = importlib.util.find_spec("data_store")
    folders = [PYDICOM, *([Path(spec.origin).parent / "data"] if spec and spec.origin else [])]
    return [path for folder in folders for path in folder.rglob("*.dcm")]


@pytest.mark.parametrize("path", monochrome_files(), ids=lambda path: path.name)
def test_pictures_equal_dcmtk(path: Path, program: Callable[[str], str], tmp_path: Path) -> None:
    parsed = parse(Memory(path.read_bytes()))
    dataset = parsed.dataset
    fmt = pixel_format(dataset, parsed.transfer_syntax)
    display, _ = display_of(dataset, 0, fmt)
    display = replace(display, padding=None)  # DCMTK draws padding like any other value
    if display.voi_lut:
        choice = ["+Wl", "1"]
    elif display.window and 0x00281050 in dataset:
        choice = ["+Wi", "1"]
    else:
        display = replace(display, window=Window(300, 700))
        choice = ["+Ww", "300", "700"]
    target = tmp_path / "x.pgm"
    subprocess.run([program("dcmj2pnm"), "-O", *choice, path, target], check=True, capture_output=True)
    expected = np.asarray(Image.open(target)).astype(int)
    drawn = picture(decode(_first_frame(path, parsed.transfer_syntax), fmt), fmt, display)
    assert np.abs(drawn - expected).max() <= 1


def _first_frame(path: Path, syntax: str) -> bytes:
    """Give the bytes of the first frame."""
    dataset = pydicom.dcmread(path)
    if not pydicom.uid.UID(syntax).is_encapsulated:
        return bytes(dataset.PixelData)
    return next(
        pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames", 1)))
    )
