"""Codestreams in Pixel Data of stated length, without Items: decoded by their content, in files and icons (E19)."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.builders import EXPLICIT_LITTLE, IMPLICIT_LITTLE, JPEG, JPEG_2000, dicom, encapsulated, image, pad
from support.mounting import Loop
from support.object_directories import Shown
from support.real_films import COLUMNS, ENCODERS, ROWS, Seen, grey

KINDS = [*ENCODERS]


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, JPEG, JPEG_2000])
@pytest.mark.parametrize("kind", KINDS)
def test_e19_a_bare_codestream_is_decoded_by_its_content(kind: str, syntax: str, loop: Loop, tmp_path: Path) -> None:
    picture = grey(1)
    stream = bytes(ENCODERS[kind](picture))
    seen = Seen.of(loop, tmp_path, dicom(image(ROWS, COLUMNS, pad(stream), vr="OB"), syntax))
    assert seen.are([picture])
    assert "without Items; it is decoded by its content (E19)" in " ".join(seen.problems)
    raw = next(name for name in seen.names if name.startswith("raw/"))
    assert seen.shown.read(raw)[: len(stream)] == stream


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("rle", "jpeg xl")])
def test_e19_a_bare_codestream_of_another_size_is_refused(kind: str, loop: Loop, tmp_path: Path) -> None:
    stream = bytes(ENCODERS[kind](grey(1, ROWS + 1)))
    shown = Shown.of(loop, tmp_path, dicom(image(ROWS, COLUMNS, pad(stream), vr="OB"), EXPLICIT_LITTLE))
    assert "E21" in shown.refusal()


@pytest.mark.parametrize("kind", KINDS)
def test_native_pixels_that_begin_like_a_codestream_are_pixels(kind: str, loop: Loop, tmp_path: Path) -> None:
    picture = grey(1)
    picture.reshape(-1)[:24] = np.frombuffer(bytes(ENCODERS[kind](grey(1)))[:24], np.uint8)
    seen = Seen.of(loop, tmp_path, dicom(image(ROWS, COLUMNS, picture.tobytes()), EXPLICIT_LITTLE))
    assert seen.are([picture])
    assert seen.problems == []


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, JPEG])
@pytest.mark.parametrize("kind", ["jpeg", "jpeg 2000"])
def test_e19_a_bare_codestream_in_an_icon(kind: str, syntax: str, loop: Loop, tmp_path: Path) -> None:
    small = grey(2)
    icon = image(ROWS, COLUMNS, pad(bytes(ENCODERS[kind](small))), vr="OB")
    icon = {tag: value for tag, value in icon.items() if tag >> 16 in (0x28, 0x7FE0)}
    more = {0x00880200: ("SQ", [icon])}
    pixels = encapsulated([ENCODERS["jpeg"](grey(3, 4, 4))]) if syntax == JPEG else bytes(16)
    shown = Shown.of(loop, tmp_path, dicom(image(4, 4, pixels, vr="OB", more=more), syntax))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(shown.read("icon.png")))), small)
