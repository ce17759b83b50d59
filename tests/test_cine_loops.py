"""Films: what they show and when, of what there is one, and what is done about frames that are broken."""

import io
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.builders import DataSet, dicom, image
from support.cine_objects import (
    CINE,
    CT,
    DURATION,
    ENDOSCOPY,
    FRAME_TIME,
    NM,
    POINTER,
    RECOMMENDED,
    SC,
    US,
    VECTOR,
    XA,
    Film,
    damaged_film,
    film,
    grey_film,
    psnr,
    scene,
)
from support.mounting import Loop, answer_of_path, files_below, mounted, read_all, tree_of
from support.object_directories import FOUND, Shown, of_corpus


@pytest.fixture(scope="session")
def ffprobe(program: Callable[[str], str]) -> str:
    return program("ffprobe")


def film_of(ffprobe: str, loop: Loop, folder: Path, data: bytes) -> Film:
    return Film(ffprobe, folder, read_built(loop, folder, data))


def read_built(loop: Loop, folder: Path, data: bytes, name: str = "video.mp4", **options: bool) -> bytes:
    """Read a built file of the tree, whose size is exact before."""
    (folder / "film.dcm").write_bytes(data)

    async def read() -> bytes:
        with tree_of(loop, folder / "film.dcm", **options) as top:
            file = dict(await files_below(top))[name.encode()]
            size = file.attributes.size
            data = await read_all(file)
            assert len(data) == size == file.attributes.size
            return data

    return loop.run(read)


START_TRIM, STOP_TRIM = 0x00082142, 0x00082143


def has_film(loop: Loop, folder: Path, data: bytes, **options: bool) -> bool:
    (folder / "film.dcm").write_bytes(data)

    async def listed() -> bool:
        with tree_of(loop, folder / "film.dcm", **options) as top:
            return any(name == b"video.mp4" for name, _ in await files_below(top))

    return loop.run(listed)


# Times


EVEN = {
    "frame time": ({FRAME_TIME: ("DS", "40"), POINTER: ("AT", [FRAME_TIME])}, Fraction(25)),
    "frame time of 30 Hz": ({FRAME_TIME: ("DS", "33.333")}, Fraction(1_000_000, 33_333)),
    "recommended rate": ({RECOMMENDED: ("IS", "12")}, Fraction(12)),
    "cine rate": ({CINE: ("IS", "50")}, Fraction(50)),
    "duration": ({DURATION: ("IS", "125")}, Fraction(8)),
    "frame time before rates": (
        {FRAME_TIME: ("DS", "100"), RECOMMENDED: ("IS", "12"), CINE: ("IS", "50")},
        Fraction(10),
    ),
    "absurd times": ({FRAME_TIME: ("DS", "0"), RECOMMENDED: ("IS", "5000"), CINE: ("IS", "20")}, Fraction(20)),
    "nothing": ({}, Fraction(30)),
}


@pytest.mark.parametrize("stated", EVEN)
def test_even_rates(stated: str, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    more, rate = EVEN[stated]
    shown = film_of(ffprobe, loop, tmp_path, film(12, more))
    assert shown.count == 12
    assert shown.times == [round(1_000_000 * number / rate) for number in range(12)]
    assert shown.duration == pytest.approx(float(12 / rate), abs=0.001)
    assert float(shown.rate) == pytest.approx(float(rate), rel=1e-4)


@pytest.mark.parametrize(("sop_class", "rate"), [(US, 30), (XA, 15), (ENDOSCOPY, 25)])
def test_default_rates(sop_class: str, rate: int, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    assert float(film_of(ffprobe, loop, tmp_path, film(4, sop_class=sop_class)).rate) == pytest.approx(rate, rel=1e-4)


def test_a_vector_of_frame_times_is_followed_exactly(ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    steps = ["0", "10", "33.333", "40.5", "0.001", "200", "1000", "16.6667", "16.6667"]
    data = film(9, {VECTOR: ("DS", "\\".join(steps)), POINTER: ("AT", [VECTOR]), FRAME_TIME: ("DS", "40")})
    shown = film_of(ffprobe, loop, tmp_path, data)
    sums = np.cumsum([float(step) for step in steps]) * 1000
    assert shown.times == [round(time) for time in sums]
    # Nothing says how long the last frame is shown: as long as the one before it.
    assert shown.duration == pytest.approx((sums[-1] + 16_666.7) / 1e6, abs=0.001)
    for picture, number in zip(shown.pictures, range(9), strict=True):
        assert psnr(picture, scene(number)) >= 38


def test_frames_at_the_same_time_follow_each_other(ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    data = film(5, {VECTOR: ("DS", "0\\40\\0\\0\\40"), POINTER: ("AT", [VECTOR])})
    assert film_of(ffprobe, loop, tmp_path, data).times == [0, 40_000, 40_001, 40_002, 80_000]


def test_absurd_times_are_told(loop: Loop, tmp_path: Path) -> None:
    more = {FRAME_TIME: ("DS", "0"), RECOMMENDED: ("IS", "5000"), CINE: ("IS", "-1"), VECTOR: ("DS", "0\\40\\40")}
    problems = Shown.of(loop, tmp_path, film(4, more)).problems.splitlines()
    assert problems == [
        "the Frame Time Vector does not give sensible times for 4 frames and is not used",
        "Frame Time 0 is not that of a film and is not used",
        "Recommended Display Frame Rate 5000 is not that of a film and is not used",
        "Cine Rate -1 is not that of a film and is not used",
    ]
    assert Shown.of(loop, tmp_path, film(4, {FRAME_TIME: ("DS", "40"), CINE: ("IS", "25")})).problems == ""


# Trim


@pytest.mark.parametrize(("first", "last"), [(4, 6), (None, 5), (7, None), (1, 9)])
def test_a_trimmed_film_shows_its_part(
    first: int | None, last: int | None, ffprobe: str, loop: Loop, tmp_path: Path
) -> None:
    """Start Trim and Stop Trim count from 1 and belong to it (PS3.3 C.7.6.5); its time begins with it."""
    steps = [0, 10, 20, 30, 40, 50, 60, 70, 80]
    more: dict[int, tuple[str, object]] = {
        VECTOR: ("DS", "\\".join(map(str, steps))),
        POINTER: ("AT", [VECTOR]),
    }
    more |= {tag: ("IS", str(value)) for tag, value in ((START_TRIM, first), (STOP_TRIM, last)) if value is not None}
    shown = film_of(ffprobe, loop, tmp_path, film(9, more))
    numbers = range((first or 1) - 1, last or 9)
    times = np.cumsum(steps)[numbers.start : numbers.stop] * 1000
    assert shown.times == list(times - times[0])
    for picture, number in zip(shown.pictures, numbers, strict=True):
        assert psnr(picture, scene(number)) >= 38


@pytest.mark.parametrize(("first", "last"), [(0, 5), (3, 10), (6, 4), (5, 5), (-1, 99)])
def test_a_senseless_trim_is_told(first: int, last: int, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    data = film(9, {START_TRIM: ("IS", str(first)), STOP_TRIM: ("IS", str(last))})
    shown = Shown.of(loop, tmp_path, data)
    assert shown.problems == "Start Trim and Stop Trim do not name a part of 9 frames and are not used\n"
    assert film_of(ffprobe, loop, tmp_path, data).count == 9


# What is a film


def test_what_moves_is_a_film(loop: Loop, tmp_path: Path) -> None:
    small = {"rows": 8, "columns": 8}
    for sop_class in (US, XA, ENDOSCOPY):
        assert has_film(loop, tmp_path, film(2, sop_class=sop_class, **small))
        assert not has_film(loop, tmp_path, film(1, sop_class=sop_class, **small))
    for sop_class in (CT, SC, NM):
        assert not has_film(loop, tmp_path, film(2, sop_class=sop_class, **small))
        for rate in ({FRAME_TIME: ("DS", "40")}, {CINE: ("IS", "5")}, {VECTOR: ("DS", "0\\40")}):
            assert has_film(loop, tmp_path, film(2, rate, sop_class, **small))
        assert not has_film(loop, tmp_path, film(2, {FRAME_TIME: ("DS", "0")}, sop_class, **small))
    # How long acquiring took is a rate in nuclear medicine alone.
    duration = {DURATION: ("IS", "500")}
    assert has_film(loop, tmp_path, film(2, duration, NM, **small))
    assert not has_film(loop, tmp_path, film(2, duration, CT, **small))
    assert not has_film(loop, tmp_path, film(2, {DURATION: ("IS", "300000")}, NM, **small))


def test_volumes_are_films_if_asked_for(ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    data = film(4, sop_class=CT, samples=1)
    assert not has_film(loop, tmp_path, data)
    assert has_film(loop, tmp_path, data, every_film=True)
    shown = Film(ffprobe, tmp_path, read_built(loop, tmp_path, data, every_film=True))
    assert (shown.count, float(shown.rate)) == (4, 10)
    assert not has_film(loop, tmp_path, film(1, sop_class=CT), every_film=True)


def test_the_option_reaches_every_command(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    path = tmp_path / "archive" / "ct.dcm"
    path.write_bytes(film(2, sop_class=CT, rows=8, columns=8))
    dicomfs = [sys.executable, "-m", "dicomfs"]
    for verb, options, expected in (
        ("ls", [], False),
        ("ls", ["--cine", "all"], True),
        ("ls", ["--cine", "auto"], False),
    ):
        done = subprocess.run([*dicomfs, verb, *options, path], capture_output=True, text=True, check=True)
        assert ("video.mp4" in done.stdout.split()) == expected
    done = subprocess.run([*dicomfs, "cat", "--cine", "all", path / "video.mp4"], capture_output=True, check=True)
    assert done.stdout[4:8] == b"ftyp"
    for options in (["--cine", "all"], ["-o", "cine=all"]):
        with mounted(tmp_path / "archive", tmp_path, *options) as mount:
            assert (mount.path / "ct.dcm" / "video.mp4").read_bytes() == done.stdout
    wrong = subprocess.run([*dicomfs, "mount", "-o", "cine=none", path, tmp_path], capture_output=True, check=False)
    assert wrong.returncode == 2


def test_without_pyav_there_is_none_and_the_doctor_says_so(tmp_path: Path) -> None:
    path = tmp_path / "us.dcm"
    path.write_bytes(film(2, rows=8, columns=8))
    hidden = (
        "import importlib.util as util, sys; find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'av' else find(name, *more)\n"
        "from dicomfs.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )

    def run(*words: str | Path) -> str:
        command = [sys.executable, "-P", "-c", hidden, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    assert "video.mp4" not in run("ls", path).split()
    assert "PyAV" not in run("info", path)
    assert "problems.txt" not in run("ls", path).split()
    assert "--  films (video.mp4): PyAV is not installed: pip install av" in run("doctor")


# Pictures


def compare(loop: Loop, ffprobe: str, folder: Path, data: bytes, name: str = "film.dcm") -> None:
    """Hold the pictures of a film beside those of `frames/`."""
    shown = film_of(ffprobe, loop, folder, data)
    directory = Shown(loop, folder / "film.dcm")
    pictures = shown.pictures
    frames = [entry for entry in directory.names if entry.startswith("frames/")]
    assert len(pictures) == len(frames) == shown.count
    for number in sorted({0, len(frames) // 2, len(frames) - 1}):
        expected = np.asarray(Image.open(io.BytesIO(directory.read(frames[number]))).convert("RGB"))
        rows, columns, _ = expected.shape
        assert psnr(pictures[number][:rows, :columns], expected) >= 38, (name, number)


@pytest.mark.parametrize(
    "name",
    ["examples_ybr_color.dcm", *of_corpus("xa_96_frames.dcm", "color3d_jpeg_baseline.dcm")],
)
def test_pictures_of_samples_are_those_of_the_frames(name: str, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    compare(loop, ffprobe, tmp_path, FOUND[name].read_bytes(), name)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("window", [{}, {0x00281050: ("DS", "1500"), 0x00281051: ("DS", "1800")}], ids=["none", "own"])
def test_grey_pictures(photometric: str, window: DataSet, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    compare(loop, ffprobe, tmp_path, grey_film(12, photometric, window))


def test_colours_and_levels_are_right(ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [90, 160, 200]], np.uint8)
    pixels = b"".join(np.full((32, 32, 3), colour).astype(np.uint8).tobytes() for colour in colours)
    more = {0x00080016: ("UI", US)}
    shown = film_of(ffprobe, loop, tmp_path, dicom(image(32, 32, pixels, frames=6, samples=3, more=more)))
    assert np.abs(shown.pictures[:, 16, 16].astype(int) - colours).max() <= 4
    assert shown.stream["pix_fmt"] == "yuv420p"
    assert {shown.stream[name] for name in ("color_space", "color_primaries", "color_transfer")} == {"bt709"}
    levels = np.repeat(np.arange(256, dtype=np.uint8), 64).tobytes()
    shown = film_of(ffprobe, loop, tmp_path, dicom(image(128, 128, levels * 2, frames=2, more=more)))
    assert (
        np.abs(shown.pictures.reshape(2, 128, 128, 3)[0, :, :, 0].astype(int).reshape(-1)[::64] - np.arange(256)).max()
        <= 4
    )


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 2), (2, 1), (3, 5), (17, 16), (239, 319)])
@pytest.mark.parametrize("samples", [1, 3])
def test_odd_sizes_are_padded(rows: int, columns: int, samples: int, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    data = film(3, rows=rows, columns=columns, samples=samples)
    shown = film_of(ffprobe, loop, tmp_path, data)
    assert (shown.stream["height"], shown.stream["width"]) == (rows + rows % 2, columns + columns % 2)
    assert shown.count == 3
    if rows > 50:
        compare(loop, ffprobe, tmp_path, data)
        # The added column and row are like their neighbours.
        picture = shown.pictures[0].astype(int)
        assert np.abs(picture[:, -1] - picture[:, -2]).mean() < 8
        assert np.abs(picture[-1] - picture[-2]).mean() < 8


@pytest.mark.parametrize(
    ("more", "aspect"),
    [
        ({}, "1:1"),
        ({0x00280034: ("IS", "4\\3")}, "3:4"),
        ({0x00280030: ("DS", "0.3\\0.6")}, "2:1"),
        ({0x00181164: ("DS", "0.4\\0.4")}, "1:1"),
    ],
)
def test_pixels_keep_their_shape(more: DataSet, aspect: str, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    """A pixel that is wider than high is shown so: the ratio of DICOM is height to width, that of films the other."""
    shown = film_of(ffprobe, loop, tmp_path, film(2, more, sop_class=XA))
    found = Fraction(*map(int, shown.stream["sample_aspect_ratio"].split(":")))
    assert float(found) == pytest.approx(float(Fraction(*map(int, aspect.split(":")))), rel=1e-3)


def test_the_window_of_the_mount_is_that_of_the_film(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "a.dcm").write_bytes(grey_film(12, "MONOCHROME2", {}))
    shown = {}
    for options in ([], ["--window", "3000,100"]):
        with mounted(tmp_path / "archive", tmp_path, *options, "--cache-dir", str(tmp_path / "cache")) as mount:
            shown[len(options)] = answer_of_path(mount.path / "a.dcm" / "video.mp4")
    assert len(set(shown.values())) == 2


def test_the_index_comes_first(loop: Loop, tmp_path: Path) -> None:
    data = read_built(loop, tmp_path, film(30))
    assert data.index(b"moov") < data.index(b"mdat")


# Frames that are broken


@pytest.mark.expects_log
@pytest.mark.parametrize(
    ("broken", "times"),
    [
        ({4}, [0, 1, 2, 3, 5, 6, 7, 8, 9]),
        ({0}, [0, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({0, 1, 2, 9}, [0, 4, 5, 6, 7, 8]),
        ({9}, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (set(range(1, 10)), [0]),
    ],
)
def test_the_film_goes_on_without_broken_frames(
    broken: set[int], times: list[int], ffprobe: str, loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shown = film_of(ffprobe, loop, tmp_path, damaged_film(10, broken))
    assert [time // 100_000 for time in shown.times] == times
    assert shown.duration == pytest.approx(1.0)
    left = [number for number in range(10) if number not in broken]
    for picture, number in zip(shown.pictures, left, strict=True):
        assert psnr(picture[:, :, 0], scene(number, samples=1)) >= 38
    told = [record.getMessage() for record in caplog.records if "left out of a film" in record.getMessage()]
    assert len(told) == len(broken)
    assert "error" in Shown(loop, tmp_path / "film.dcm").read("frames.json").decode()


@pytest.mark.expects_log
def test_a_film_without_a_single_frame_is_an_error(loop: Loop, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no frame of the film can be decoded"):
        read_built(loop, tmp_path, damaged_film(3, {0, 1, 2}))


@pytest.mark.expects_log
@pytest.mark.parametrize("frames", ["0", "-3", "7", "3000"])
def test_lies_about_the_number_of_frames(frames: str, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    pixels = b"".join(scene(number, 16, 16, 1).tobytes() for number in range(4))
    data = dicom(image(16, 16, pixels, frames=frames, more={0x00080016: ("UI", US)}))
    if int(frames) < 1:
        assert not has_film(loop, tmp_path, data)  # one frame is taken
    else:
        assert film_of(ffprobe, loop, tmp_path, data).count == 4
