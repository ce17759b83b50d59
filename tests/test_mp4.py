"""Films filled up to their size with a `free` box, and what is no film."""

import io
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomfs.formats.mp4 import NoFilm, fill_up, free_header, leaves_room

GIB = 1 << 30


def box(kind: bytes, content: bytes = b"", large: bool = False) -> bytes:
    if large:
        return b"\0\0\0\1" + kind + (16 + len(content)).to_bytes(8, "big") + content
    return (8 + len(content)).to_bytes(4, "big") + kind + content


FILM = box(b"ftyp", b"isom") + box(b"moov", bytes(100)) + box(b"free") + box(b"mdat", b"pictures")


@pytest.mark.parametrize("left", [0, 8, 9, 15, 16, 17, 1000])
@pytest.mark.parametrize("film", [FILM, box(b"ftyp") + box(b"moov") + box(b"mdat", b"x", large=True)])
def test_a_film_is_filled_up(film: bytes, left: int, tmp_path: Path) -> None:
    path = tmp_path / "film"
    path.write_bytes(film)
    with open(path, "r+b") as file:
        fill_up(file, len(film) + left)
    assert path.read_bytes() == film + (box(b"free", bytes(left - 8)) if left else b"")


@pytest.mark.parametrize("left", [-1, -100, *range(1, 8)])
def test_no_box_is_smaller_than_its_header(left: int) -> None:
    file = io.BytesIO(FILM)
    assert not leaves_room(len(FILM), len(FILM) + left)
    with pytest.raises(NoFilm, match="do not fit"):
        fill_up(file, len(FILM) + left)


@pytest.mark.parametrize("left", [4 * GIB - 1, 4 * GIB, 4 * GIB + 1, 9 * GIB])
def test_more_than_four_gib_take_the_large_form(left: int, tmp_path: Path) -> None:
    path = tmp_path / "film"
    path.write_bytes(FILM)
    with open(path, "r+b") as file:
        fill_up(file, len(FILM) + left)
        file.seek(len(FILM))
        header = file.read(16)
        assert file.read(100) == bytes(100)
        assert file.seek(0, io.SEEK_END) == len(FILM) + left
    if left >= 4 * GIB:
        assert header == b"\0\0\0\1free" + left.to_bytes(8, "big")
    else:
        assert header == left.to_bytes(4, "big") + b"free" + bytes(8)
    assert path.stat().st_blocks * 512 < 1 << 20  # it takes no room on the disk


@given(st.integers(8, 1 << 50))
def test_headers_say_their_length(length: int) -> None:
    header = free_header(length)
    short = int.from_bytes(header[:4], "big")
    assert header[4:8] == b"free"
    assert (short if len(header) == 8 else int.from_bytes(header[8:], "big")) == length
    assert len(header) == 8 or short == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(100),
        b"\xff" * 100,
        box(b"ftyp"),
        box(b"moov") + box(b"mdat"),
        box(b"ftyp") + box(b"mdat") + box(b"moov"),
        box(b"ftyp") + box(b"moov"),
        FILM[:-1],
        FILM + b"\0",
        FILM + bytes(12),
        FILM + b"\0\0\0\1free",
        FILM + (4).to_bytes(4, "big") + b"free",
        FILM + (1 << 31).to_bytes(4, "big") + b"free",
        box(b"ftyp") + box(b"free") * 20 + box(b"moov") + box(b"mdat"),
    ],
)
def test_what_is_no_film_is_not_filled_up(data: bytes) -> None:
    file = io.BytesIO(data)
    with pytest.raises(NoFilm):
        fill_up(file, len(data) + 1000)
    assert file.getvalue() == data


@given(st.binary(max_size=200))
def test_nothing_else_is_raised(data: bytes) -> None:
    with pytest.raises(NoFilm):
        fill_up(io.BytesIO(data), 1000)


def test_ffprobe_passes_a_large_free_box_without_a_word(program: Callable[[str], str], tmp_path: Path) -> None:
    ffmpeg, ffprobe, path = program("ffmpeg"), program("ffprobe"), tmp_path / "film.mp4"
    words = "-v error -f lavfi -i testsrc=duration=1 -c:v libx264 -movflags faststart -f mp4".split()
    subprocess.run([ffmpeg, *words, path], check=True)
    for size in (path.stat().st_size + 8, 1 << 20, 6 * GIB):
        with tempfile.NamedTemporaryFile(dir=tmp_path) as file:
            file.write(path.read_bytes())
            fill_up(file, size)
            file.flush()
            words = "-v warning -count_frames -show_entries stream=nb_read_frames -of csv=p=0".split()
            done = subprocess.run([ffprobe, *words, file.name], check=True, capture_output=True, text=True)
            assert (done.stdout.strip(), done.stderr) == ("25", "")
