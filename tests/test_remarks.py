"""What only decoding shows of a frame is said in its picture, by `info` and in the log; the size stays arithmetic."""

import io
import logging
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from support.builders import JPEG, PER_FRAME_GROUPS, dicom, encapsulated, image
from support.mounting import Loop, dicomfs, mounted
from support.object_directories import Shown, window

from dicomfs.codecs.remarks import LONGEST, Remark, read, written
from dicomfs.instance.remark_log import RemarkLog

CENTER, WIDTH, PADDING, PADDING_LIMIT = 0x00281050, 0x00281051, 0x00280120, 0x00280121
VOI_LUTS, DESCRIPTOR, LUT_DATA, FRAME_VOI_LUT = 0x00283010, 0x00283002, 0x00283006, 0x00289132
RAMP = (12000 + np.add.outer(np.arange(32), np.arange(32)) * 100).astype("<u2")


def said(data: bytes) -> str:
    """Give the text of a picture, as another program reads it."""
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        assert isinstance(picture, PngImageFile)
        text: str = picture.text["Comment"]
    assert len(text) == LONGEST
    return text.strip()


def of_frame(shown: Shown, frame: int = 1, folder: str = "frames") -> str:
    return said(shown.read(f"{folder}/{frame:04}.png"))


def grey(values: np.ndarray = RAMP, **more: object) -> bytes:
    frames = values.shape[0] if values.ndim == 3 else None
    return dicom(image(*values.shape[-2:], values.tobytes(), bits=16, frames=frames, **more))


def test_all_remarks_have_room_at_once_and_are_read_back() -> None:
    assert read(written(tuple(Remark))) == tuple(remark.value for remark in Remark)
    assert len(written(tuple(Remark) * 2)) == len(written(())) == LONGEST
    assert read(written(())) == ()


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("place", [(3174, 2426), (60000, 100)])
def test_a_window_that_misses_all_values_is_said(
    loop: Loop, tmp_path: Path, photometric: str, place: tuple[int, int]
) -> None:
    more = {CENTER: ("DS", str(place[0])), WIDTH: ("DS", str(place[1]))}
    shown = Shown.of(loop, tmp_path, grey(photometric=photometric, more=more))
    assert of_frame(shown) == Remark.WINDOW_BESIDE.value
    assert np.ptp(shown.picture()) == 0
    assert said(shown.read("thumbnail.png")) == Remark.WINDOW_BESIDE.value
    assert shown.problems == ""


def test_a_window_that_shows_something_says_nothing(loop: Loop, tmp_path: Path) -> None:
    for low, high in ((12000, 18000), (12050, 12060), (18100, 18300)):
        assert of_frame(Shown.of(loop, tmp_path, grey(more=window(low, high)))) == ""
    # Black and white alone, but both.
    assert of_frame(Shown.of(loop, tmp_path, grey(more={CENTER: ("DS", "13050"), WIDTH: ("DS", "1")}))) == ""
    # One value in the whole frame: nothing can be seen in any window.
    blank = np.full((8, 8), 5, "<u2")
    assert of_frame(Shown.of(loop, tmp_path, grey(blank, more=window(100, 200)))) == ""


def test_a_voi_lut_that_misses_all_values_is_said(loop: Loop, tmp_path: Path) -> None:
    lut = {DESCRIPTOR: ("US", (256, 0, 8)), LUT_DATA: ("OW", np.arange(256, dtype="<u2").tobytes())}
    assert of_frame(Shown.of(loop, tmp_path, grey(more={VOI_LUTS: ("SQ", [lut])}))) == Remark.WINDOW_BESIDE.value


def test_each_further_window_says_its_own(loop: Loop, tmp_path: Path) -> None:
    more = {CENTER: ("DS", "15000\\100\\14000"), WIDTH: ("DS", "6000\\50\\5000")}
    shown = Shown.of(loop, tmp_path, grey(more=more))
    assert of_frame(shown) == ""
    assert of_frame(shown, folder="windows/2-window") == Remark.WINDOW_BESIDE.value
    assert of_frame(shown, folder="windows/3-window") == ""


def test_padding_counts_neither_for_a_window_nor_against_it(loop: Loop, tmp_path: Path) -> None:
    values = RAMP.copy()
    values[:8] = 0
    more = window(100, 200) | {PADDING: ("US", 0)}
    assert of_frame(Shown.of(loop, tmp_path, grey(values, more=more))) == Remark.WINDOW_BESIDE.value
    values[:] = 0
    for stated in ({}, window(100, 200)):
        shown = Shown.of(loop, tmp_path, grey(values, more={**stated, PADDING: ("US", 0)}))
        assert of_frame(shown) == Remark.ALL_PADDING.value
    small = image(8, 8, bytes(64), more={PADDING: ("US", 0)})
    assert of_frame(Shown.of(loop, tmp_path, dicom(small))) == Remark.ALL_PADDING.value


def test_a_senseless_window_of_a_later_frame_is_said(loop: Loop, tmp_path: Path) -> None:
    widths = ["6000", "6000", "0", "6000"]
    groups = [{FRAME_VOI_LUT: ("SQ", [{CENTER: ("DS", "15000"), WIDTH: ("DS", width)}])} for width in widths]
    shown = Shown.of(loop, tmp_path, grey(np.stack([RAMP] * 4), more={PER_FRAME_GROUPS: ("SQ", groups)}))
    assert [of_frame(shown, frame) for frame in (1, 2, 3, 4)] == ["", "", Remark.WINDOW_UNUSABLE.value, ""]
    assert "frame 3: a window makes no sense" in shown.problems


def test_clipping_is_said_where_nobody_stated_the_window(loop: Loop, tmp_path: Path) -> None:
    """Three large frames of an encoded object are looked at; a fourth one has values beyond them."""
    rng = np.random.default_rng(3)
    frames = rng.integers(100, 200, (9, 700, 1024)).astype(np.uint16)
    frames[1] += np.uint16(400)
    frames[2, :20] += np.uint16(400)  # below 5 %
    data = encapsulated([bytes(imagecodecs.jpegls_encode(frame)) for frame in frames])
    elements = image(700, 1024, data, frames=9, bits=16, stored=12, vr="OB")
    shown = Shown.of(loop, tmp_path, dicom(elements, "1.2.840.10008.1.2.4.80"))
    assert [of_frame(shown, frame) for frame in (1, 2, 3)] == ["", Remark.CLIPPED.value, ""]
    assert of_frame(Shown.of(loop, tmp_path, dicom(elements | window(0, 50), "1.2.840.10008.1.2.4.80")), 5) == (
        Remark.WINDOW_BESIDE.value  # what the file states clips by intent
    )


def test_colour_has_the_text_too(loop: Loop, tmp_path: Path) -> None:
    values = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    assert of_frame(Shown.of(loop, tmp_path, dicom(image(8, 8, values.tobytes(), samples=3)))) == ""
    stream = bytes(imagecodecs.jpeg8_encode(values))
    elements = image(8, 8, encapsulated([stream]), samples=3, photometric="YBR_FULL_422", vr="OB")
    assert of_frame(Shown.of(loop, tmp_path, dicom(elements, JPEG))) == ""


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEG, imagecodecs.jpeg8_encode),
        ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode),
        ("1.2.840.10008.1.2.4.90", partial(imagecodecs.jpeg2k_encode, codecformat="j2k", reversible=True)),
        ("1.2.840.10008.1.2.4.90", partial(imagecodecs.jpeg2k_encode, codecformat="jp2", reversible=True)),
        ("1.2.840.10008.1.2.4.110", partial(imagecodecs.jpegxl_encode, lossless=True, usecontainer=True)),
    ],
)
def test_another_picture_behind_the_end_of_a_frame(
    syntax: str, encode: Callable[[np.ndarray], bytes], loop: Loop, tmp_path: Path
) -> None:
    values = np.add.outer(np.arange(32), np.arange(32)).astype(np.uint8)
    one, other = bytes(encode(values)), bytes(encode(values[::-1].copy()))
    for data, expected in ((one, ""), (one + b"\0" * 3, ""), (one + other, Remark.FOLLOWED.value)):
        shown = Shown.of(loop, tmp_path, dicom(image(32, 32, encapsulated([data]), vr="OB"), syntax))
        assert Remark.FOLLOWED.value in of_frame(shown) if expected else Remark.FOLLOWED.value not in of_frame(shown)


def test_the_text_comes_first_and_its_place_is_fixed(loop: Loop, tmp_path: Path) -> None:
    data = Shown.of(loop, tmp_path, grey()).read("frames/0001.png")
    length, kind = struct.unpack_from(">I4s", data, 33)
    assert (length, kind) == (8 + LONGEST, b"tEXt")


def test_info_draws_frames_and_says_what_that_shows(tmp_path: Path) -> None:
    path = tmp_path / "beside.dcm"
    frames = np.stack([RAMP, RAMP - 9000, RAMP])
    path.write_bytes(grey(frames, more={CENTER: ("DS", "3174"), WIDTH: ("DS", "2426")}))
    lines = dicomfs("info", path).stdout.decode().splitlines()
    assert lines[-2:] == ["drawn            3 of 3 frames", f"  frames 1, 3: {Remark.WINDOW_BESIDE.value}"]
    path.write_bytes(grey())
    assert dicomfs("info", path).stdout.decode().splitlines()[-1] == "problems         none"


def test_the_log_says_it_once_a_file(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    frames = np.stack([RAMP] * 3)
    (tmp_path / "archive/a.dcm").write_bytes(grey(frames, more={CENTER: ("DS", "3174"), WIDTH: ("DS", "2426")}))
    with mounted(tmp_path / "archive", tmp_path) as mount:
        for frame in (1, 2, 3):
            assert (mount.path / f"a.dcm/frames/{frame:04}.png").read_bytes()
    log = mount.log
    assert log.read_text().count(Remark.WINDOW_BESIDE.value) == 1
    assert "a.dcm" not in log.read_text()


def test_what_was_said_is_remembered_within_bounds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="dicomfs")
    remarks = RemarkLog()
    for file in (1, 2, 1, *range(10, 2000), 1):
        remarks.note(file, ("one thing",))
    assert len(caplog.records) == 2 + 1990 + 1
