"""A browser and ffmpeg beside a real mount: they play stored videos and films, and find every picture by its time."""

import io
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.browser import Watched, watch
from support.cine_objects import FRAME_TIME, VECTOR, XA, damaged_film, film, grey_film, jpeg_film, psnr
from support.mounting import Mount, mounted
from support.object_directories import FOUND, of_corpus
from support.video_files import MOVIES, movie, probe, video

STEPS = [0, 40, 40, 100, 500, 33.333, 33.333, 20, 80, 1000, 40, 40]
STORED = ("mp4 with audio", "ts")
FILMS: dict[str, Callable[[], bytes]] = {
    "colour": lambda: jpeg_film(50),
    "grey": lambda: film(30, sop_class=XA, samples=1),
    "window": lambda: grey_film(12, "MONOCHROME1", {0x00281050: ("DS", "1500"), 0x00281051: ("DS", "1800")}),
    "vector": lambda: film(12, {VECTOR: ("DS", "\\".join(map(str, STEPS)))}),
    "odd": lambda: film(12, {FRAME_TIME: ("DS", "100")}, rows=239, columns=319),
    "broken": lambda: damaged_film(12, {5}),
}
SAMPLES = ("examples_ybr_color.dcm", *of_corpus("xa_96_frames.dcm"))


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Iterator[Mount]:
    """Mount stored videos and films, each a file of its name."""
    place = tmp_path_factory.mktemp("players")
    (place / "archive").mkdir()
    for name, make in FILMS.items():
        (place / "archive" / name).write_bytes(make())
    for name in SAMPLES:
        shutil.copyfile(FOUND[name], place / "archive" / name)
    for name in STORED:
        (place / "archive" / name).write_bytes(video(movie(program("ffmpeg"), name), MOVIES[name][2], 5))
    with mounted(place / "archive", place, warn=True) as mount:
        yield mount


@pytest.fixture(scope="module")
def ffprobe(program: Callable[[str], str]) -> str:
    return program("ffprobe")


def frames_of(mount: Mount, name: str) -> list[np.ndarray]:
    """Give the pictures that a film is to show: those of `frames/`, without what is broken."""
    shown = []
    for path in sorted((mount.path / name / "frames").iterdir()):
        try:
            shown.append(np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB")))
        except OSError:
            assert name == "broken"
    return shown


def times_of(ffprobe: str, path: Path) -> list[float]:
    """Give the times at which a video changes its picture, and its end."""
    found = probe(ffprobe, path, "-show_frames", "-select_streams", "v")
    times = [float(frame["pts_time"]) for frame in found["frames"]]
    return [*times, float(found["format"]["duration"])]


def decoded(ffmpeg: str, path: Path, *options: str) -> np.ndarray:
    """Have ffmpeg decode the pictures of a video."""
    command = [ffmpeg, "-v", "error", *options, "-i", path, "-fps_mode", "passthrough", "-map", "0:v", "-f", "rawvideo"]
    stream = probe("ffprobe", path, "-select_streams", "v")["streams"][0]
    done = subprocess.run([*command, *"-pix_fmt rgb24 -".split()], check=True, capture_output=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, stream["height"], stream["width"], 3)


def shows(picture: np.ndarray, among: list[np.ndarray], number: int) -> float:
    """Tell in dB how well a picture, perhaps with a row or column more, shows one of *among*; 0 if it shows another."""
    rows, columns, _ = among[number].shape
    likeness = [psnr(picture[:rows, :columns], each) for each in among]
    return likeness[number] if likeness[number] == max(likeness) else 0


def seen(program: Callable[[str], str], path: Path, place: Path, *, served: bool) -> tuple[Watched, list[int]]:
    """Have the browser go to the middle of some frames, back and forth; give what it saw and which frames these are."""
    times = times_of(program("ffprobe"), path)
    count = len(times) - 1
    chosen = [count // 2, count - 1, 1, count // 3 + 1, 0]
    middles = [(times[number] + times[number + 1]) / 2 for number in chosen]
    watched = watch(program("chromium"), place, path, middles, served=served)
    assert watched.error == ""
    assert watched.events == ["canplay", *["seeked"] * (len(chosen) + 1), "ended"]
    assert watched.duration == pytest.approx(times[-1], abs=0.05)
    assert watched.played == pytest.approx(watched.duration, abs=0.05)
    return watched, chosen


_OTHERS = [*((name, True) for name in SAMPLES if name != "window"), ("colour", False), ("grey", False)]
BROWSED = [
    *((name, True) for name in FILMS if name != "window"),
    *(pytest.param(*each, marks=pytest.mark.slow) for each in _OTHERS),
]


@pytest.mark.parametrize(
    ("name", "served"), BROWSED, ids=lambda value: {True: "served", False: "file"}.get(value, value)
)
def test_a_browser_plays_films(
    name: str, served: bool, mount: Mount, tmp_path: Path, program: Callable[[str], str]
) -> None:
    watched, chosen = seen(program, mount.path / name / "video.mp4", tmp_path, served=served)
    expected = frames_of(mount, name)
    for picture, number in zip(watched.pictures, chosen, strict=True):
        assert shows(picture, expected, number) >= 36


@pytest.mark.parametrize(("name", "served"), [("mp4 with audio", True), ("mp4 with audio", False), ("ts", True)])
def test_a_browser_plays_stored_videos(
    name: str, served: bool, mount: Mount, tmp_path: Path, program: Callable[[str], str]
) -> None:
    """As they are stored, and remuxed."""
    path = mount.path / name / "video.mp4"
    watched, chosen = seen(program, path, tmp_path, served=served)
    expected = [*decoded(program("ffmpeg"), path)]
    for picture, number in zip(watched.pictures, chosen, strict=True):
        assert shows(picture, expected, number) >= 36


@pytest.mark.parametrize("name", [*FILMS, *SAMPLES])
def test_ffmpeg_finds_every_picture_of_a_film(
    name: str, mount: Mount, ffprobe: str, program: Callable[[str], str]
) -> None:
    path, expected = mount.path / name / "video.mp4", frames_of(mount, name)
    times = times_of(ffprobe, path)
    pictures = decoded(program("ffmpeg"), path)
    assert len(pictures) == len(times) - 1 == len(expected)
    rows, columns, _ = expected[0].shape
    assert min(map(psnr, pictures[:, :rows, :columns], expected)) >= 38
    for number in (len(expected) // 2, len(expected) - 1, 1):
        assert shows(pictures[number], expected, number)
        first = decoded(program("ffmpeg"), path, "-ss", f"{times[number] - 0.001:.6f}")
        assert len(first) == len(expected) - number
        assert np.array_equal(first[0], pictures[number])
