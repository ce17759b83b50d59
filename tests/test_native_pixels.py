"""Rows N of the fidelity table, native data: each rule on the tree, its pictures decoded by Pillow.

Samples are compared with pydicom, files made here with the numbers they were made of.
"""

import struct
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array
from support.archives import CORPUS
from support.builders import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_2000,
    RLE,
    bits,
    dicom,
    encapsulated,
    image,
)
from support.mounting import Loop
from support.object_directories import FOUND, Shown, close, spread, window

HIGH_BIT = 0x00280102


def sample(loop: Loop, name: str) -> Shown:
    """Look at a sample."""
    return Shown(loop, FOUND[name])


def reference(name: str) -> np.ndarray:
    """Have pydicom read the first frame of a sample, colours as RGB."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pixel_array(FOUND[name], index=0)


def grey(rows: int, columns: int, most: int) -> np.ndarray:
    """Make values from 0 to *most* without a pattern."""
    return np.random.default_rng(rows * columns).integers(0, most, (rows, columns), np.int64, endpoint=True)


@pytest.mark.parametrize("name", ["SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm"])
def test_n01_padding_behind_an_odd_length_is_no_pixel(loop: Loop, name: str) -> None:
    shown = sample(loop, name)
    assert np.array_equal(shown.picture(), reference(name))
    assert "N2" not in shown.problems


def test_n02_bytes_behind_the_last_frame_are_left_and_named(loop: Loop) -> None:
    shown = sample(loop, "MR_small_padded.dcm")
    assert np.array_equal(shown.picture(), sample(loop, "MR_small.dcm").picture())
    assert "(N2)" in shown.problems


def test_n02_4_2_2_with_the_length_of_4_4_4_is_4_4_4(loop: Loop, tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
    data = dicom(image(4, 6, values.tobytes(), samples=3, photometric="YBR_FULL_422"))
    full = dicom(image(4, 6, values.tobytes(), samples=3, photometric="YBR_FULL"))
    assert np.array_equal(Shown.of(loop, tmp_path, data).picture(), Shown.of(loop, tmp_path, full).picture())


def test_n03_a_truncated_frame_is_an_error_and_the_others_are_shown(loop: Loop, tmp_path: Path) -> None:
    assert (
        "not in the file" in sample(loop, "MR_truncated.dcm").refusal()
        or "N3" in sample(loop, "MR_truncated.dcm").refusal()
    )
    shown = Shown.of(loop, tmp_path, dicom(image(2, 3, bytes(range(16)), frames=3)))
    assert shown.picture(2).reshape(-1).tolist() == [6, 7, 8, 9, 10, 11]
    assert shown.refusal(3)
    assert shown.problems


def test_n04_big_endian_bytes_in_words(loop: Loop) -> None:
    assert np.array_equal(sample(loop, "OBXXXX1A_expb.dcm").picture(), sample(loop, "OBXXXX1A.dcm").picture())
    assert np.array_equal(sample(loop, "SC_rgb_expb.dcm").picture(), reference("SC_rgb_expb.dcm"))


def test_n05_big_endian_samples_of_four_bytes(loop: Loop) -> None:
    assert np.array_equal(sample(loop, "SC_rgb_expb_32bit.dcm").picture(), reference("SC_rgb_expb_32bit.dcm") >> 24)
    dose = reference("rtdose_expb.dcm")
    shown = sample(loop, "rtdose_expb.dcm")
    assert np.array_equal(shown.picture(), sample(loop, "rtdose.dcm").picture())
    assert np.corrcoef(shown.picture().reshape(-1), dose.reshape(-1))[0, 1] > 0.9999


@pytest.mark.parametrize(
    "name",
    ["liver.dcm", "liver_1frame.dcm"]
    + [f"liver_nonbyte_aligned{kind}.dcm" for kind in ("", "_rle", "_j2k", "_deflate") if CORPUS.is_dir()],
)
def test_n06_single_bits_need_not_start_on_a_byte(loop: Loop, name: str) -> None:
    # pydicom has no decoder of single bits in RLE; the four files hold the same frames.
    truth = pydicom.dcmread(FOUND["liver_nonbyte_aligned.dcm" if "aligned" in name else name]).pixel_array
    truth = truth.reshape(-1, *truth.shape[-2:])
    shown = sample(loop, name)
    for frame in range(len(truth)):
        assert np.array_equal(shown.picture(frame + 1), truth[frame] * 255)


def test_n07_twelve_bits_are_packed(loop: Loop, tmp_path: Path) -> None:
    values = grey(3, 5, 4095).reshape(-1).tolist() + grey(5, 3, 4095).reshape(-1).tolist()
    number = sum(value << 12 * place for place, value in enumerate(values))
    data = dicom(image(3, 5, number.to_bytes(46, "little"), frames=2, bits=12, more=window(0, 4095)))
    shown = Shown.of(loop, tmp_path, data)
    for frame in range(2):
        expected = spread(np.array(values[15 * frame : 15 * frame + 15]).reshape(3, 5), 0, 4095)
        close(shown.picture(frame + 1), expected)


@pytest.mark.parametrize("allocated", [24, 40, 0, 7])
def test_n08_samples_of_odd_widths_are_refused_with_their_bytes_at_hand(
    loop: Loop, tmp_path: Path, allocated: int
) -> None:
    shown = Shown.of(loop, tmp_path, dicom(image(20, 20, bytes(2000), bits=allocated, stored=allocated or 1)))
    assert "N8" in shown.problems or "N20" in shown.problems
    assert not any(name.startswith("frames/") for name in shown.names)
    assert shown.read("bulk/7FE00010") == bytes(2000)


@pytest.mark.parametrize("allocated", [32, 64])
def test_n09_large_integers_are_shown_through_a_window(loop: Loop, tmp_path: Path, allocated: int) -> None:
    assert np.array_equal(sample(loop, "SC_rgb_32bit.dcm").picture(), reference("SC_rgb_32bit.dcm") >> 24)
    values = grey(4, 5, 1 << (allocated - 2)) - (1 << (allocated - 4))
    data = dicom(image(4, 5, values.astype(f"<i{allocated // 8}").tobytes(), bits=allocated, signed=True))
    close(Shown.of(loop, tmp_path, data).picture(), spread(values, values.min(), values.max()))


@pytest.mark.parametrize("signed", [False, True])
def test_n10_n11_n12_the_stored_value_is_cut_out_of_its_word(loop: Loop, tmp_path: Path, signed: bool) -> None:
    stored = grey(6, 7, 4095)
    values = np.where(stored > 2047, stored - 4096, stored) if signed else stored
    low = -2048 if signed else 0
    for shift, junk in ((4, 9), (0, 0xF000), (2, 0x8002)):
        words = (stored << shift | junk).astype("<u2").tobytes()
        more = window(low, low + 4095) | {HIGH_BIT: ("US", 11 + shift)}
        data = dicom(image(6, 7, words, bits=16, stored=12, signed=signed, more=more))
        close(Shown.of(loop, tmp_path, data).picture(), spread(values, low, low + 4095))


def test_n13_4_2_2_has_two_bytes_a_pixel(loop: Loop, tmp_path: Path) -> None:
    name = "SC_ybr_full_422_uncompressed.dcm"
    close(sample(loop, name).picture(), reference(name), 1)
    odd = dicom(image(2, 5, bytes(20), samples=3, photometric="YBR_FULL_422"))
    assert "N13" in Shown.of(loop, tmp_path, odd).refusal()


def test_n14_planes_and_pixels(loop: Loop, tmp_path: Path) -> None:
    assert np.array_equal(sample(loop, "color-pl.dcm").picture(), reference("color-pl.dcm"))
    assert np.array_equal(sample(loop, "color-px.dcm").picture(), reference("color-px.dcm"))
    values = np.random.default_rng(4).integers(0, 256, (5, 8, 3), np.uint8)
    planes = [bytes([len(plane) - 1]) + plane for plane in (values[:, :, n].tobytes() for n in range(3))]
    planes = [plane + bytes(len(plane) % 2) for plane in planes]
    starts = [64 + sum(map(len, planes[:n])) for n in range(3)]
    frame = struct.pack("<16L", 3, *starts, *[0] * 12) + b"".join(planes)
    for planar in (0, 1):
        data = dicom(image(5, 8, encapsulated([frame]), samples=3, planar=planar, vr="OB"), RLE)
        assert np.array_equal(Shown.of(loop, tmp_path, data).picture(), values)


def test_n15_ybr_full(loop: Loop) -> None:
    name = "SC_ybr_full_uncompressed.dcm"
    close(sample(loop, name).picture(), reference(name), 1)


@pytest.mark.parametrize("photometric", ["YBR_PARTIAL_422", "YBR_PARTIAL_420"])
def test_n16_studio_range(loop: Loop, tmp_path: Path, photometric: str) -> None:
    # Y'CbCr of white, black, red, green, blue and yellow at 100 % (ITU-R BT.601).
    codes = [(235, 128, 128), (16, 128, 128), (81, 90, 240), (145, 54, 34), (41, 240, 110), (210, 16, 146)]
    colours = [(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
    if photometric == "YBR_PARTIAL_422":  # Y1 Y2 Cb Cr, as 4:2:2 of the full range
        pixels = b"".join(bytes((y, y, cb, cr)) for y, cb, cr in codes)
    else:  # may not be native, so its samples can only be full ones
        pixels = b"".join(bytes(code) * 2 for code in codes)
    data = dicom(image(1, 12, pixels, samples=3, photometric=photometric))
    close(Shown.of(loop, tmp_path, data).picture(), np.repeat([colours], 2, axis=1), 2)


def test_n17_what_jpeg_2000_transformed_comes_back_as_rgb(loop: Loop, tmp_path: Path) -> None:
    import imagecodecs

    y, x = np.mgrid[:32, :40]
    values = np.dstack([y * 7, x * 6, 255 - y * 3]).astype(np.uint8)
    for reversible, photometric in ((True, "YBR_RCT"), (False, "YBR_ICT")):
        stream = imagecodecs.jpeg2k_encode(
            values, codecformat="j2k", reversible=reversible, mct=True, level=0 if reversible else 50
        )
        elements = image(32, 40, encapsulated([stream]), samples=3, photometric=photometric, vr="OB")
        close(Shown.of(loop, tmp_path, dicom(elements, JPEG_2000)).picture(), values, 0 if reversible else 5)


def test_n18_retired_colour_models(loop: Loop, tmp_path: Path) -> None:
    four = np.random.default_rng(6).integers(0, 256, (4, 5, 4), np.uint8)
    argb = Shown.of(loop, tmp_path, dicom(image(4, 5, four.tobytes(), samples=4, photometric="ARGB")))
    assert np.array_equal(argb.picture(), four[..., 1:])
    assert "N18" in argb.problems
    cmyk = Shown.of(loop, tmp_path, dicom(image(4, 5, four.tobytes(), samples=4, photometric="CMYK")))
    left = 1 - four / 255
    close(cmyk.picture(), left[..., :3] * left[..., 3:] * 255)
    assert "N18" in cmyk.problems
    hsv = Shown.of(loop, tmp_path, dicom(image(4, 5, bytes(60), samples=3, photometric="HSV")))
    assert "HSV" in hsv.refusal()
    assert "N18" in hsv.problems


@pytest.mark.parametrize(("samples", "photometric"), [(2, "MONOCHROME2"), (3, "MONOCHROME2"), (1, "RGB"), (5, "RGB")])
def test_n19_samples_that_contradict_the_colour_model(
    loop: Loop, tmp_path: Path, samples: int, photometric: str
) -> None:
    shown = Shown.of(loop, tmp_path, dicom(image(40, 40, bytes(4800), samples=samples, photometric=photometric)))
    assert "N19" in shown.problems
    assert not any(name.startswith("frames/") for name in shown.names)
    assert len(shown.read("bulk/7FE00010")) == 4800


def test_n20_frames_without_a_size(loop: Loop, tmp_path: Path) -> None:
    elements = image(40, 40, bytes(1600))
    for rows in (("US", 0), None, ("UL", 40)):
        changed = {tag: value for tag, value in elements.items() if tag != 0x00280010}
        if rows:
            changed[0x00280010] = rows
        shown = Shown.of(loop, tmp_path, dicom(changed))
        if rows == ("UL", 40):  # a wrong VR, but the value is there
            assert shown.picture().shape == (40, 40)
        else:
            assert "N20" in shown.problems
            assert not any(name.startswith("frames/") for name in shown.names)


@pytest.mark.parametrize(("tag", "vr", "kind"), [(0x7FE00008, "OF", "<f4"), (0x7FE00009, "OD", "<f8")])
def test_n21_real_numbers_are_drawn_over_their_finite_range(
    loop: Loop, tmp_path: Path, tag: int, vr: str, kind: str
) -> None:
    values = np.array([[-1.5, 0.25, 2.5], [np.nan, np.inf, -np.inf]], kind)
    elements = {t: v for t, v in image(2, 3, b"", bits=8 * values.itemsize).items() if t != 0x7FE00010}
    shown = Shown.of(loop, tmp_path, dicom(elements | {tag: (vr, values.tobytes())}))
    close(shown.picture()[:1], spread(values[:1], -1.5, 2.5))
    assert shown.picture()[1].tolist() == [0, 255, 0]


@pytest.mark.parametrize("name", [f"parametric_map_{kind}.dcm" for kind in ("float", "double_float")])
def test_n21_parametric_maps(loop: Loop, name: str, corpus: Path | None) -> None:
    if corpus is None:
        return
    dataset = pydicom.dcmread(FOUND[name])
    truth = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    picture = sample(loop, name).picture().astype(float)
    assert np.corrcoef(picture.reshape(-1), truth[0].reshape(-1))[0, 1] > 0.999


def test_n22_more_than_one_kind_of_pixel_data_and_pixels_of_icons(loop: Loop, tmp_path: Path) -> None:
    both = image(2, 3, bytes(range(6)), more={0x7FE00008: ("OF", np.ones(6, "<f4").tobytes())})
    shown = Shown.of(loop, tmp_path, dicom(both))
    assert shown.picture().reshape(-1).tolist() == list(range(6))
    assert "N22" in shown.problems
    icon = {tag: value for tag, value in image(2, 3, bytes(6)).items() if tag >> 16 in (0x28, 0x7FE0)}
    plain = {0x00080016: ("UI", "1.2.3"), 0x00880200: ("SQ", [icon])}
    assert not any(name.startswith("frames/") for name in Shown.of(loop, tmp_path, dicom(plain)).names)
    beside = Shown.of(loop, tmp_path, dicom(image(1, 2, b"\7\x09", more={0x00880200: ("SQ", [icon])})))
    assert beside.picture().tolist() == [[7, 9]]


@pytest.mark.parametrize(("vr", "syntax"), [("UN", EXPLICIT_LITTLE), ("OW", EXPLICIT_LITTLE), ("OW", IMPLICIT_LITTLE)])
def test_n23_bytes_are_bytes_whatever_the_vr(loop: Loop, tmp_path: Path, vr: str, syntax: str) -> None:
    shown = Shown.of(loop, tmp_path, dicom(image(2, 3, bytes(range(6)), vr=vr), syntax))
    assert shown.picture().reshape(-1).tolist() == list(range(6))


def test_n23_words_in_un_follow_the_byte_order_of_the_file(loop: Loop, tmp_path: Path) -> None:
    values = grey(2, 4, 65535)
    for syntax, kind in ((EXPLICIT_LITTLE, "<u2"), (EXPLICIT_BIG, ">u2")):
        elements = image(2, 4, values.astype(kind).tobytes(), bits=16, vr="UN", more=window(0, 65535))
        close(Shown.of(loop, tmp_path, dicom(elements, syntax)).picture(), spread(values, 0, 65535))


def test_n06_n03_a_last_frame_of_single_bits_that_is_not_whole(loop: Loop, tmp_path: Path) -> None:
    frames = [[(place * 7 + frame) % 3 == 0 for place in range(15)] for frame in range(5)]
    packed = bits([[int(bit) for bit in frame] for frame in frames])
    shown = Shown.of(loop, tmp_path, dicom(image(3, 5, packed[:8], frames=5, bits=1, vr="OB")))
    for frame in range(4):
        assert np.array_equal(shown.picture(frame + 1).reshape(-1) == 255, frames[frame])
    assert shown.refusal(5)
