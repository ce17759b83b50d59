"""Pictures beside those in frames/: further windows, overlays, icon, thumbnail; what PNG files say of themselves.

DCMTK judges windows, pydicom overlays and icons, Pillow and pngcheck the PNG files.
"""

import io
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.pixels.processing import apply_color_lut
from support.archives import CORPUS, PYDICOM, PYDICOM_DATA
from support.builders import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    JPEG_2000,
    JPEG_LS,
    PER_FRAME_GROUPS,
    RLE,
    SHARED_GROUPS,
    DataSet,
    bits,
    data_set,
    dicom,
    encapsulated,
    image,
)
from support.dcmtk import drawn_by_dcmtk
from support.mounting import Loop, mounted
from support.object_directories import Shown

from dicomfs.iod.icc_profile import MAX_PROFILE_BYTES
from dicomfs.rendering.resize import Placed, Shrunk, shrunk_to

Program = Callable[[str], str]
CENTER, WIDTH, EXPLANATION, FUNCTION = 0x00281050, 0x00281051, 0x00281055, 0x00281056
VOI_LUTS, LUT_DESCRIPTOR, LUT_EXPLANATION, LUT_DATA = 0x00283010, 0x00283002, 0x00283003, 0x00283006
FRAME_VOI_LUT = 0x00289132
ICON, PROFILE, OPTICAL_PATHS = 0x00880200, 0x00282000, 0x00480105
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
WITH_OVERLAYS = [PYDICOM / "examples_overlay.dcm", PYDICOM_DATA / "MR-SIEMENS-DICOM-WithOverlays.dcm"]


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def windows(shown: Shown) -> list[str]:
    return sorted({name.split("/")[1] for name in shown.names if name.startswith("windows/")})


def grey() -> dict[int, tuple[str, object]]:
    """Make a 12-bit signed image whose values cover a wide range and are rescaled to whole numbers, as DCMTK does."""
    values = (np.arange(16 * 24) * 37 % 4096 - 2048).astype("<i2")
    more = {0x00281052: ("DS", "-100"), 0x00281053: ("DS", "2")}
    return image(16, 24, values.tobytes(), bits=16, stored=12, signed=True, more=more)


# Windows


def by_dcmtk(program: Program, path: Path, folder: Path, *options: str) -> np.ndarray:
    return drawn_by_dcmtk(program("dcmj2pnm"), path, folder, "-O", "+op", *options)


def close(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and int(np.abs(one.astype(int) - other.astype(int)).max()) <= 1


@pytest.mark.parametrize("path", WITH_OVERLAYS, ids=lambda path: path.name)
def test_g11_further_windows_equal_dcmtk(path: Path, loop: Loop, program: Program, tmp_path: Path) -> None:
    shown = Shown(loop, path)
    assert windows(shown) == ["2-WINDOW2"]
    first, second = shown.picture(), decoded(shown.read("windows/2-WINDOW2/0001.png"))
    assert close(first, by_dcmtk(program, path, tmp_path, "+Wi", "1"))
    assert close(second, by_dcmtk(program, path, tmp_path, "+Wi", "2"))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("function", ["LINEAR", "SIGMOID"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_g11_windows_and_voi_luts_are_numbered_by_their_place(
    function: str, photometric: str, loop: Loop, program: Program, tmp_path: Path
) -> None:
    luts = [
        {LUT_DESCRIPTOR: ("US", (512, 0xFF00, 8)), LUT_EXPLANATION: ("LO", name), LUT_DATA: ("OW", table.tobytes())}
        for name, table in (
            ("rising", (np.arange(512) // 2).astype("<u2")),
            ("falling", (255 - np.arange(512) // 2).astype("<u2")),
        )
    ]
    elements = grey() | {
        0x00280004: ("CS", photometric),
        VOI_LUTS: ("SQ", luts),
        CENTER: ("DS", "0\\-300\\200"),
        WIDTH: ("DS", "1000\\400\\50"),
        EXPLANATION: ("LO", "WIDE\\LOW"),
        FUNCTION: ("CS", function),
    }
    path = tmp_path / "made.dcm"
    path.write_bytes(dicom(elements))
    shown = Shown(loop, path)
    assert windows(shown) == ["2-falling", "3-WIDE", "4-LOW", "5-window"]
    judged = {"frames": "+Wl 1", "windows/2-falling": "+Wl 2", "windows/3-WIDE": "+Wi 1", "windows/4-LOW": "+Wi 2"}
    judged["windows/5-window"] = "+Wi 3"
    for name, option in judged.items():
        picture = decoded(shown.read(f"{name}/0001.png"))
        assert close(picture, by_dcmtk(program, path, tmp_path, *option.split())), name


def test_g10_a_senseless_window_keeps_its_place(loop: Loop, tmp_path: Path) -> None:
    elements = grey() | {CENTER: ("DS", "0\\1\\2\\x\\4"), WIDTH: ("DS", "100\\0\\200\\300\\400")}
    shown = Shown.of(loop, tmp_path, dicom(elements))
    assert windows(shown) == ["3-window", "5-window"]
    assert "G10" in shown.problems
    elements = grey() | {CENTER: ("DS", "1\\2\\3"), WIDTH: ("DS", "0\\200\\300")}
    assert windows(Shown.of(loop, tmp_path, dicom(elements))) == ["3-window"]  # the second is in frames/


def test_g11_nothing_further_is_no_directory(loop: Loop, tmp_path: Path) -> None:
    for elements in (
        grey(),
        grey() | {CENTER: ("DS", "1"), WIDTH: ("DS", "100")},
        grey() | {CENTER: ("DS", "1\\2"), WIDTH: ("DS", "100")},
        image(2, 2, bytes(12), samples=3) | {CENTER: ("DS", "1\\2"), WIDTH: ("DS", "100\\100")},
    ):
        assert windows(Shown.of(loop, tmp_path, dicom(elements))) == []


def test_n1_hostile_explanations_are_safe_names(loop: Loop, tmp_path: Path) -> None:
    hostile = ["first", "../../etc/cron.d/x", "-rf", "a\x1b[2Jb", "..", "x" * 300]
    elements = grey() | {
        CENTER: ("DS", "\\".join(["0"] * len(hostile))),
        WIDTH: ("DS", "\\".join(["100"] * len(hostile))),
        EXPLANATION: ("LO", "\\".join(hostile)),
    }
    shown = Shown.of(loop, tmp_path, dicom(elements))
    found = windows(shown)
    assert found[:4] == ["2-%2E.%2F..%2Fetc%2Fcron.d%2Fx", "3-%2Drf", "4-a%1B%5B2Jb", "5-%2E."]
    assert found[4].startswith("6-" + "x" * 200 + "~")
    assert all(f"windows/{name}/0001.png" in shown.names for name in found)


def voi_group(*pairs: tuple[float, float]) -> DataSet:
    texts = ["\\".join(str(pair[part]) for pair in pairs) for part in (0, 1)]
    return {FRAME_VOI_LUT: ("SQ", [{CENTER: ("DS", texts[0]), WIDTH: ("DS", texts[1])}])}


def test_g5_g11_each_frame_is_shown_through_its_own_windows(loop: Loop, tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    groups = [voi_group((100, 50), (10, 20)), voi_group((100, 50), (200, 40), (30, 20)), voi_group((100, 50)), {}]
    elements = image(16, 16, np.stack([ramp] * 4).tobytes(), frames=4) | {
        PER_FRAME_GROUPS: ("SQ", groups),
        SHARED_GROUPS: ("SQ", [voi_group((1, 2), (60, 100))]),
        CENTER: ("DS", "\\".join("123456")),
        WIDTH: ("DS", "\\".join("123456")),
    }
    shown = Shown.of(loop, tmp_path, dicom(elements))
    assert windows(shown) == ["2-window", "3-window"]
    for frame, (center, width) in {1: (10, 20), 2: (200, 40), 4: (60, 100)}.items():
        expected = np.clip((ramp - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255  # PS3.3 C.11.2.1.2.1
        picture = decoded(shown.read(f"windows/2-window/{frame:04}.png"))
        assert np.abs(picture - expected).max() <= 1, frame
    for name in ("windows/2-window/0003.png", "windows/3-window/0001.png", "windows/3-window/0004.png"):
        with pytest.raises(OSError, match="G11"):
            shown.read(name)


# Overlays

ORIGIN, ROWS, COLUMNS, FRAMES, FIRST_FRAME, DATA = 0x50, 0x10, 0x11, 0x15, 0x51, 0x3000


def plane(
    number: int, frames: np.ndarray, origin: tuple[int, int] | None = (1, 1), **more: tuple[str, object]
) -> dict[int, tuple[str, object]]:
    """Make the elements of an overlay plane of *frames* (frames, rows, columns) of single bits."""
    group = 0x60000000 + (number - 1) * 0x20000
    elements: dict[int, tuple[str, object]] = {
        group + ROWS: ("US", frames.shape[1]),
        group + COLUMNS: ("US", frames.shape[2]),
        group + 0x40: ("CS", "G"),
        group + 0x100: ("US", 1),
        group + 0x102: ("US", 0),
        group + DATA: ("OW", bits(frame.reshape(-1).tolist() for frame in frames)),
    }
    if origin:
        elements[group + ORIGIN] = ("SS", origin)
    if len(frames) > 1:
        elements[group + FRAMES] = ("IS", str(len(frames)))
    return elements | {group + int(name[1:], 16): value for name, value in more.items()}


def random_bits(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 2, shape, np.uint8)


def overlays(shown: Shown) -> list[str]:
    return [name for name in shown.names if name.startswith("overlays/")]


@pytest.mark.parametrize("path", WITH_OVERLAYS, ids=lambda path: path.name)
def test_g20_overlays_equal_pydicom(path: Path, loop: Loop) -> None:
    shown = Shown(loop, path)
    assert overlays(shown) == ["overlays/1/0001.png"]
    picture = decoded(shown.read("overlays/1/0001.png"))
    assert np.array_equal(picture, dcmread(path).overlay_array(0x6000) * 255)
    assert picture.max() == 255


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED])
def test_g20_sixteen_planes_of_frames_that_do_not_start_on_a_byte(syntax: str, loop: Loop, tmp_path: Path) -> None:
    elements = image(5, 7, bytes(3 * 35 + 1), frames=3, vr="OB")
    for number in range(1, 17):
        elements |= plane(number, random_bits(3, 5, 7) ^ (number & 1))
    reference = dcmread(io.BytesIO(dicom(elements)))
    if syntax == EXPLICIT_BIG:
        for tag in [tag for tag in elements if tag & 0xFFFF == DATA]:
            elements[tag] = ("OW", np.frombuffer(elements[tag][1], "<u2").astype(">u2").tobytes())
    if syntax == DEFLATED:
        head = dicom({}, DEFLATED)
        body = zlib.compressobj(wbits=-15)
        data = head + body.compress(data_set(elements)) + body.flush()
    else:
        data = dicom(elements, syntax)
    shown = Shown.of(loop, tmp_path, data)
    assert len(overlays(shown)) == 48
    for number in range(1, 17):
        expected = reference.overlay_array(0x6000 + 2 * (number - 1))
        for frame in range(3):
            picture = decoded(shown.read(f"overlays/{number}/{frame + 1:04}.png"))
            assert np.array_equal(picture, expected[frame] * 255), (number, frame)


@pytest.mark.parametrize("origin", [(1, 1), (0, -2), (3, 4), (-4, 2), (5, 7), (6, 8), (-20, -20), (30000, -30000)])
def test_g20_what_sticks_out_is_cut(origin: tuple[int, int], loop: Loop, tmp_path: Path) -> None:
    drawn = np.ones((1, 4, 6), np.uint8)
    shown = Shown.of(loop, tmp_path, dicom(image(5, 7, bytes(35), vr="OB") | plane(3, drawn, origin)))
    expected = np.zeros((5, 7), np.uint8)
    for row in range(4):
        for column in range(6):
            at = row + origin[0] - 1, column + origin[1] - 1
            if 0 <= at[0] < 5 and 0 <= at[1] < 7:
                expected[at] = 255
    assert np.array_equal(decoded(shown.read("overlays/3/0001.png")), expected)


def test_g20_overlays_have_the_numbers_of_their_frames(loop: Loop, tmp_path: Path) -> None:
    elements = image(4, 4, bytes(5 * 16), frames=5, vr="OB")
    elements |= plane(1, random_bits(1, 4, 4))  # for all frames
    elements |= plane(2, random_bits(2, 4, 4), x51=("US", 3))
    elements |= plane(3, random_bits(3, 4, 4), x51=("US", 4))  # beyond the last frame
    elements |= plane(4, random_bits(1, 4, 4), x51=("US", 6))
    elements |= plane(5, random_bits(1, 4, 4), x51=("US", 2))
    shown = Shown.of(loop, tmp_path, dicom(elements))
    numbers = {"1": "12345", "2": "34", "3": "45", "5": "2"}
    assert overlays(shown) == [f"overlays/{n}/000{frame}.png" for n, frames in numbers.items() for frame in frames]
    for frame, index in ((3, 0), (4, 1)):
        expected = random_bits(2, 4, 4)[index] * 255
        assert np.array_equal(decoded(shown.read(f"overlays/2/000{frame}.png")), expected)
    assert shown.read("overlays/1/0001.png") == shown.read("overlays/1/0005.png")
    assert "overlay plane 3 has frames beyond those of the image (G20)" in shown.problems
    assert "overlay plane 4 is not for any frame of the image (G20)" in shown.problems


@pytest.mark.parametrize(
    ("number", "more", "problem"),
    [
        (1, {"x3000": ("OW", b"\1")}, "too little data"),
        (2, {"x10": ("US", 0)}, "no usable size"),
        (4, {"x10": ("US", 65535), "x11": ("US", 65535)}, "no usable size"),
        (5, {"x60": ("CS", "RLE")}, "compressed"),
        (6, {"x100": ("US", 8), "x3000": ("OW", bytes(64))}, "more than one bit"),
        (7, {"x3000": ("OW", b"")}, "no data"),
    ],
)
def test_g20_what_cannot_be_shown_is_left_out_and_said(
    number: int, more: dict[str, tuple[str, object]], problem: str, loop: Loop, tmp_path: Path
) -> None:
    broken = plane(number, random_bits(1, 8, 8), **more)
    whole = plane(16, random_bits(1, 8, 8))
    shown = Shown.of(loop, tmp_path, dicom(image(8, 8, bytes(64)) | broken | whole))
    assert overlays(shown) == ["overlays/16/0001.png"]
    said = [line for line in shown.problems.splitlines() if line.startswith(f"overlay plane {number} ")]
    assert len(said) == 1
    assert problem in said[0]
    assert "frames/0001.png" in shown.names


def test_g20_frames_that_are_whole_are_shown(loop: Loop, tmp_path: Path) -> None:
    short = plane(1, random_bits(3, 8, 8), x3000=("OW", bytes(20)))
    shown = Shown.of(loop, tmp_path, dicom(image(8, 8, bytes(192), frames=3) | short))
    assert overlays(shown) == ["overlays/1/0001.png", "overlays/1/0002.png"]
    assert "overlay plane 1 has data for 2 of 3 frames (G20)" in shown.problems


def test_g20_an_object_without_pixels_may_have_overlays(loop: Loop, tmp_path: Path) -> None:
    drawn = random_bits(2, 6, 5)
    shown = Shown.of(loop, tmp_path, dicom({0x00080060: ("CS", "PR")} | plane(1, drawn, (3, 3))))
    assert overlays(shown) == ["overlays/1/0001.png", "overlays/1/0002.png"]
    assert np.array_equal(decoded(shown.read("overlays/1/0002.png")), drawn[1] * 255)


def embedded(number: int, position: int) -> dict[int, tuple[str, object]]:
    group = 0x60000000 + (number - 1) * 0x20000
    return {
        group + ROWS: ("US", 6),
        group + COLUMNS: ("US", 10),
        group + ORIGIN: ("SS", (1, 1)),
        group + 0x100: ("US", 16),
        group + 0x102: ("US", position),
    }


def rle(values: np.ndarray) -> bytes:
    return bytes(
        RLELosslessEncoder.encode(
            values.tobytes(),
            rows=6,
            columns=10,
            samples_per_pixel=1,
            bits_allocated=16,
            bits_stored=16,
            pixel_representation=0,
            photometric_interpretation="MONOCHROME2",
            number_of_frames=1,
            encoding_plugin="pydicom",
        )
    )


def lossless_jpeg(values: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=16, predictor=1))


ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    EXPLICIT_LITTLE: lambda cells: cells.tobytes(),
    EXPLICIT_BIG: lambda cells: cells.astype(">u2").tobytes(),
    RLE: rle,
    JPEG_LOSSLESS: lossless_jpeg,
    JPEG_LS: lambda cells: bytes(imagecodecs.jpegls_encode(cells)),
    JPEG_2000: lambda cells: bytes(imagecodecs.jpeg2k_encode(cells, level=0, codecformat="j2k", reversible=True)),
}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", ENCODERS)
def test_g21_overlays_in_spare_bits_are_shown_and_masked_out(
    syntax: str, signed: bool, loop: Loop, tmp_path: Path
) -> None:
    values = (np.arange(60).reshape(6, 10) * 68 % 4096).astype("<u2")
    drawn = {12: random_bits(6, 10), 15: random_bits(6, 10) ^ 1}
    cells = values | sum(bit.astype("<u2") << position for position, bit in drawn.items())

    def file(cells: np.ndarray, more: DataSet) -> Shown:
        data = ENCODERS[syntax](cells.astype("<u2"))
        pixels = data if syntax in (EXPLICIT_LITTLE, EXPLICIT_BIG) else encapsulated([data])
        window = {CENTER: ("DS", "300"), WIDTH: ("DS", "3000")}
        elements = image(6, 10, pixels, bits=16, stored=12, signed=signed, vr="OW" if pixels is data else "OB")
        return Shown.of(loop, tmp_path, dicom(elements | window | dict(more), syntax))

    shown = file(cells, embedded(1, 12) | embedded(2, 15))
    assert overlays(shown) == ["overlays/1/0001.png", "overlays/2/0001.png"]
    assert np.array_equal(decoded(shown.read("overlays/1/0001.png")), drawn[12] * 255)
    assert np.array_equal(decoded(shown.read("overlays/2/0001.png")), drawn[15] * 255)
    plain = file(values, {})
    assert shown.read("frames/0001.png") == plain.read("frames/0001.png")
    assert "overlays" not in "".join(plain.names)


def test_g21_bits_that_the_encoder_dropped_are_no_empty_overlay(loop: Loop, tmp_path: Path) -> None:
    values = (np.arange(60).reshape(6, 10) * 68 % 4096).astype("<u2")
    data = bytes(imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", reversible=True, bitspersample=12))
    elements = image(6, 10, encapsulated([data]), bits=16, stored=12, vr="OB") | embedded(1, 12)
    shown = Shown.of(loop, tmp_path, dicom(elements, JPEG_2000))
    with pytest.raises(OSError, match="G21"):
        shown.read("overlays/1/0001.png")
    assert shown.picture().shape == (6, 10)


def test_g21_bits_of_the_values_are_no_overlay(loop: Loop, tmp_path: Path) -> None:
    for position in (11, 0, 16, 200):
        elements = image(6, 10, bytes(120), bits=16, stored=12) | embedded(1, position)
        shown = Shown.of(loop, tmp_path, dicom(elements))
        assert overlays(shown) == []
        assert "G21" in shown.problems


def test_g20_overlays_are_not_burned_in(loop: Loop, tmp_path: Path) -> None:
    plain, drawn = grey(), plane(1, np.ones((1, 16, 24), np.uint8))
    with_overlay = Shown.of(loop, tmp_path, dicom(plain | drawn))
    assert with_overlay.read("frames/0001.png") == Shown.of(loop, tmp_path, dicom(plain)).read("frames/0001.png")


# Icon and thumbnail


@pytest.mark.parametrize("path", WITH_OVERLAYS, ids=lambda path: path.name)
def test_the_icon_equals_pydicom(path: Path, loop: Loop) -> None:
    item = dcmread(path).IconImageSequence[0]
    indices = np.frombuffer(item.PixelData, np.uint8).reshape(item.Rows, item.Columns)
    expected = apply_color_lut(indices, item)
    expected = expected >> 8 if expected.dtype.itemsize == 2 else expected
    assert np.array_equal(decoded(Shown(loop, path).read("icon.png")), expected)


def test_n22_the_icon_is_not_the_image(loop: Loop, tmp_path: Path) -> None:
    small = np.arange(64, dtype=np.uint8).reshape(8, 8)
    icon = {ICON: ("SQ", [image(8, 8, small.tobytes())])}
    shown = Shown.of(loop, tmp_path, dicom(grey() | icon))
    assert np.array_equal(decoded(shown.read("icon.png")), small)
    alone = Shown.of(loop, tmp_path, dicom(icon | {0x00080060: ("CS", "SR")}))
    assert np.array_equal(decoded(alone.read("icon.png")), small)
    assert "frames" not in "".join(alone.names)


def test_an_icon_may_be_native_or_encapsulated_in_a_compressed_file(loop: Loop, tmp_path: Path) -> None:
    small = np.arange(64, dtype=np.uint8).reshape(8, 8)
    stream = bytes(imagecodecs.jpegls_encode(small))
    for pixels in (small.tobytes(), encapsulated([stream])):
        elements = image(8, 8, encapsulated([stream]), vr="OB") | {ICON: ("SQ", [image(8, 8, pixels, vr="OB")])}
        shown = Shown.of(loop, tmp_path, dicom(elements, JPEG_LS))
        assert np.array_equal(decoded(shown.read("icon.png")), small)
        assert np.array_equal(shown.picture(), small)


@pytest.mark.parametrize(
    "icon", [{}, image(8, 8, bytes(20)), image(0, 8, bytes(64)), image(8, 8, b"")], ids=["empty", "cut", "size", "none"]
)
def test_an_icon_that_cannot_be_shown_is_left_out_and_said(icon: DataSet, loop: Loop, tmp_path: Path) -> None:
    shown = Shown.of(loop, tmp_path, dicom(grey() | {ICON: ("SQ", [icon])}))
    assert "icon.png" not in shown.names
    assert ("icon" in shown.problems) == bool(icon)


def test_the_thumbnail_is_the_middle_frame(loop: Loop, tmp_path: Path) -> None:
    frames = np.stack([np.full((6, 4), value, np.uint8) for value in (10, 20, 30, 40, 50)])
    shown = Shown.of(loop, tmp_path, dicom(image(6, 4, frames.tobytes(), frames=5)))
    assert np.array_equal(decoded(shown.read("thumbnail.png")), frames[2])


@pytest.mark.parametrize(
    ("shape", "small"),
    [
        ((512, 512), (256, 256)),
        ((1024, 512), (256, 128)),
        ((300, 484), (159, 256)),
        ((256, 256), (256, 256)),
        ((257, 1), (256, 1)),
        ((1, 5000), (1, 256)),
        ((2000, 3), (256, 1)),
    ],
)
def test_thumbnails_keep_the_proportions(
    shape: tuple[int, int], small: tuple[int, int], loop: Loop, tmp_path: Path
) -> None:
    values = (np.add.outer(np.arange(shape[0]) * 3, np.arange(shape[1])) % 251).astype(np.uint8)
    shown = Shown.of(loop, tmp_path, dicom(image(*shape, values.tobytes() + b"\0", vr="OB")))
    assert decoded(shown.read("thumbnail.png")).shape == small


def test_thumbnails_in_whole_steps_equal_pillows_box(loop: Loop) -> None:
    path = PYDICOM_DATA / "vlut_04.dcm"
    shown = Shown(loop, path)
    expected = Image.fromarray(shown.picture()).reduce(2)
    assert close(decoded(shown.read("thumbnail.png")), np.asarray(expected))
    colour = np.random.default_rng(1).integers(0, 256, (768, 512, 3), np.uint8)
    reduced = np.asarray(Image.fromarray(colour).reduce((2, 3)))
    assert close(Shrunk(256, 256).apply(colour), reduced)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
@settings(deadline=None)
def test_a_shrunk_pixel_is_a_mean_and_every_pixel_counts_once(rows: int, columns: int, high: int, wide: int) -> None:
    fit = Shrunk(min(rows, high), min(columns, wide))
    picture = np.random.default_rng(rows).integers(0, 256, (rows, columns), np.uint8)
    shrunk = fit.apply(picture)
    assert shrunk.shape == (fit.rows, fit.columns)
    down = [row * rows // fit.rows for row in range(fit.rows + 1)]
    across = [column * columns // fit.columns for column in range(fit.columns + 1)]
    for row in range(fit.rows):
        for column in range(fit.columns):
            block = picture[down[row] : down[row + 1], across[column] : across[column + 1]]
            assert abs(shrunk[row, column] - block.mean()) <= 0.5


@given(st.integers(1, 1 << 32), st.integers(1, 1 << 32))
def test_thumbnails_are_never_empty_nor_too_large(rows: int, columns: int) -> None:
    fit = shrunk_to(256, rows, columns)
    assert 1 <= fit.rows <= min(256, rows)
    assert 1 <= fit.columns <= min(256, columns)
    assert max(fit.rows, fit.columns) == min(256, max(rows, columns))


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(-12, 12),
    st.integers(-12, 12),
)
def test_a_placed_picture_is_where_it_belongs(
    rows: int, columns: int, high: int, wide: int, top: int, left: int
) -> None:
    picture = np.arange(1, high * wide + 1).reshape(high, wide)
    placed = Placed(rows, columns, top, left).apply(picture)
    for row in range(rows):
        for column in range(columns):
            inside = 0 <= row - top < high and 0 <= column - left < wide
            assert placed[row, column] == (picture[row - top, column - left] if inside else 0)


# What PNG files say of themselves


def physical(data: bytes) -> tuple[int, int, int]:
    place = data.index(b"pHYs") + 4
    return struct.unpack_from(">IIB", data, place)


MEASURES = 0x00289110
SPACING, IMAGER_SPACING, SCANNED_SPACING, ASPECT = 0x00280030, 0x00181164, 0x00182010, 0x00280034


@pytest.mark.parametrize(
    ("stated", "across", "down", "unit"),
    [
        ({}, 1, 1, 0),
        ({SPACING: ("DS", "0.5\\0.25")}, 4000, 2000, 1),
        ({SPACING: ("DS", "0.5\\0.25"), IMAGER_SPACING: ("DS", "0.1\\0.1"), ASPECT: ("IS", "1\\1")}, 4000, 2000, 1),
        ({IMAGER_SPACING: ("DS", "0.1\\0.2"), SCANNED_SPACING: ("DS", "1\\1")}, 5000, 10000, 1),
        ({SCANNED_SPACING: ("DS", "0.05\\0.05")}, 20000, 20000, 1),
        ({SPACING: ("DS", "0\\0"), IMAGER_SPACING: ("DS", "0.1\\0.2")}, 5000, 10000, 1),
        ({SPACING: ("DS", "0.5")}, 1, 1, 0),
        ({SPACING: ("DS", "x\\0.5\\0.5")}, 1, 1, 0),
        ({SPACING: ("DS", "1e-9\\1e-9"), ASPECT: ("IS", "4\\3")}, 4, 3, 0),
        ({SPACING: ("DS", "-1\\-1"), ASPECT: ("IS", "6\\5")}, 6, 5, 0),
        ({ASPECT: ("IS", "0\\3")}, 1, 1, 0),
        ({ASPECT: ("IS", "1.5\\1")}, 15000, 10000, 0),
        ({ASPECT: ("IS", "4")}, 1, 1, 0),
    ],
    ids=str,
)
def test_g19_the_size_of_a_pixel(
    stated: DataSet, across: int, down: int, unit: int, loop: Loop, tmp_path: Path
) -> None:
    shown = Shown.of(loop, tmp_path, dicom(grey() | dict(stated)))
    data = shown.read("frames/0001.png")
    assert physical(data) == (across, down, unit)
    assert shown.picture().shape == (16, 24)  # never resampled
    said = Image.open(io.BytesIO(data)).info
    if unit:
        assert said["dpi"] == pytest.approx((across * 0.0254, down * 0.0254))
    else:
        assert said["aspect"] == (across, down)


def test_g19_spacing_of_functional_groups_and_of_small_pictures(loop: Loop, tmp_path: Path) -> None:
    def measures(text: str) -> DataSet:
        return {MEASURES: ("SQ", [{SPACING: ("DS", text)}])}

    elements = image(512, 1024, bytes(3 << 19), frames=3) | {
        PER_FRAME_GROUPS: ("SQ", [measures("0.5\\0.25"), measures("0.1\\0.2"), {}])
    }
    shown = Shown.of(loop, tmp_path, dicom(elements))
    assert [physical(shown.read(f"frames/000{frame}.png")) for frame in (1, 2, 3)] == [
        (4000, 2000, 1),
        (5000, 10000, 1),
        (1, 1, 0),
    ]
    assert physical(shown.read("thumbnail.png")) == (1250, 2500, 1)  # the middle frame, a quarter as long and wide


def icc(colours: bytes = b"RGB ", size: int = 200, claimed: int | None = None) -> bytes:
    header = struct.pack(">L12s4s16s4s", size if claimed is None else claimed, bytes(12), colours, bytes(16), b"acsp")
    return header.ljust(128, b"\0") + (bytes(range(256)) * (size // 256 + 1))[: size - 128]


COLOUR = image(4, 4, bytes(48), samples=3)


def test_g18_the_profile_goes_along_unchanged(loop: Loop, program: Program, tmp_path: Path) -> None:
    profile = (PYDICOM / "crayons.icc").read_bytes()
    shown = Shown.of(loop, tmp_path, dicom(COLOUR | {PROFILE: ("OB", profile)}))
    assert shown.read("profile.icc") == profile
    for name in ("frames/0001.png", "thumbnail.png"):
        data = shown.read(name)
        assert Image.open(io.BytesIO(data)).info["icc_profile"] == profile
        (tmp_path / "with.png").write_bytes(data)
        done = subprocess.run([program("pngcheck"), tmp_path / "with.png"], capture_output=True, check=False)
        assert done.returncode == 0, done.stdout


def test_g18_the_profile_of_optical_paths(loop: Loop, tmp_path: Path) -> None:
    one, other = {PROFILE: ("OB", icc())}, {PROFILE: ("OB", icc(size=300))}
    for paths, there in (([one], True), ([{}, one, one], True), ([one, other], False)):
        shown = Shown.of(loop, tmp_path, dicom(COLOUR | {OPTICAL_PATHS: ("SQ", paths)}))
        assert ("profile.icc" in shown.names) == there
        assert (b"iCCP" in shown.read("frames/0001.png")) == there
        assert ("G18" in shown.problems) == (not there)


@pytest.mark.parametrize(
    ("profile", "served", "shown_with", "problem"),
    [
        (icc(), 200, True, ""),
        (icc(size=201) + b"\0", 201, True, ""),
        (icc(b"GRAY"), 200, False, ""),
        (icc(b"CMYK"), 200, False, ""),
        (icc(claimed=500), 200, False, "G18"),
        (icc()[:100], 100, False, "G18"),
        (icc().replace(b"acsp", b"ascp"), 200, False, "G18"),
        (icc(size=MAX_PROFILE_BYTES + 2), MAX_PROFILE_BYTES + 2, False, "L9"),
    ],
    ids=["rgb", "padded", "grey", "cmyk", "length", "cut", "signature", "long"],
)
def test_l9_only_a_sound_profile_for_these_colours_goes_along(
    profile: bytes, served: int, shown_with: bool, problem: str, loop: Loop, tmp_path: Path
) -> None:
    shown = Shown.of(loop, tmp_path, dicom(COLOUR | {PROFILE: ("OB", profile)}))
    assert shown.read("profile.icc") == profile[:served]
    assert Image.open(io.BytesIO(shown.read("frames/0001.png"))).info.get("icc_profile") == (
        profile[:served] if shown_with else None
    )
    assert problem in shown.problems
    assert bool(shown.problems) == bool(problem)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the larger corpus is not there")
def test_g18_the_profile_of_a_slide(loop: Loop) -> None:
    path = CORPUS / "highdicom" / "sm_image.dcm"
    profile = dcmread(path).OpticalPathSequence[0].ICCProfile
    shown = Shown(loop, path)
    assert Image.open(io.BytesIO(shown.read("frames/0007.png"))).info["icc_profile"] == profile
    assert shown.read("profile.icc") == profile


@pytest.mark.parametrize("path", [*WITH_OVERLAYS, PYDICOM_DATA / "color-pl.dcm"], ids=lambda path: path.name)
def test_pngcheck_finds_nothing_wrong(path: Path, loop: Loop, program: Program, tmp_path: Path) -> None:
    shown = Shown(loop, path)
    names = [name for name in shown.names if name.endswith(".png")]
    assert len(names) >= 2
    for name in names:
        (tmp_path / "one.png").write_bytes(shown.read(name))
        done = subprocess.run([program("pngcheck"), tmp_path / "one.png"], capture_output=True, check=False)
        assert done.returncode == 0, (name, done.stdout)


# Another window for the whole mount


def cat(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "dicomfs", *arguments]
    return subprocess.run(command, capture_output=True, check=False, timeout=120)


@pytest.mark.parametrize(
    "window", ["-300,400", *(pytest.param(each, marks=pytest.mark.slow) for each in ("1000,150.5", "40/1"))]
)
def test_a_window_of_the_users_equals_dcmtk(window: str, program: Program, tmp_path: Path) -> None:
    center, width = window.replace("/", ",").split(",")
    for path in (PYDICOM / "CT_small.dcm", PYDICOM / "examples_overlay.dcm", PYDICOM_DATA / "vlut_04.dcm"):
        done = cat("cat", "--window", window, path / "frames" / "0001.png")
        assert done.returncode == 0, done.stderr
        assert close(decoded(done.stdout), by_dcmtk(program, path, tmp_path, "+Ww", center, width)), path.name


def test_with_a_window_of_the_users_all_windows_of_the_file_are_there(tmp_path: Path) -> None:
    path = PYDICOM / "examples_overlay.dcm"
    listed = cat("ls", "--window=40,400", path / "windows").stdout.split()
    assert listed == [b"1-WINDOW1", b"2-WINDOW2"]
    first = cat("cat", "--window=40,400", path / "windows/1-WINDOW1/0001.png").stdout
    assert first == cat("cat", path / "frames/0001.png").stdout


@pytest.mark.slow
def test_a_window_of_the_users_is_for_grey_frames_alone() -> None:
    for name in ("frames/0001.png", "thumbnail.png"):
        path = PYDICOM / "examples_ybr_color.dcm" / name
        assert cat("cat", "--window=5,6", path).stdout == cat("cat", path).stdout
    for name in ("icon.png", "overlays/1/0001.png", "windows/2-WINDOW2/0001.png"):
        path = PYDICOM / "examples_overlay.dcm" / name
        assert cat("cat", "--window=5,6", path).stdout == cat("cat", path).stdout


@pytest.mark.parametrize("window", ["40", "40,0", "40,-5", "a,b", "1,2,3", "nan,3", "1e5,3", "inf,1", "", "40,0.0"])
def test_a_window_that_is_none_is_refused(window: str) -> None:
    done = cat("ls", f"--window={window}", PYDICOM)
    assert done.returncode == 2
    assert b"is not a centre and a width" in done.stderr


def test_a_window_in_mount_options(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    shutil.copy(PYDICOM / "CT_small.dcm", tmp_path / "archive" / "ct.dcm")
    with mounted(tmp_path / "archive", tmp_path, "-o", "ro,window=-600/1500") as mount:
        shown = (mount.path / "ct.dcm" / "frames" / "0001.png").read_bytes()
    assert shown == cat("cat", "--window", "-600,1500", PYDICOM / "CT_small.dcm" / "frames/0001.png").stdout
    assert shown != cat("cat", PYDICOM / "CT_small.dcm" / "frames/0001.png").stdout
