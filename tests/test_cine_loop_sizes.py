"""The size of a film: known from the first look, kept whatever the frames are, the same bytes on every machine."""

import io
import mmap
import subprocess
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import trio
from support.builders import DataSet, dicom, encapsulated, image
from support.cine_objects import FRAME_TIME, POINTER, US, VECTOR, Film, film, jpeg_film, psnr, scene
from support.mounting import Loop, answer_of_path, mounted, read_all, tree_of

from dicomfs.entries import cine_loop
from dicomfs.vfs.content import Literal
from dicomfs.vfs.nodes import Directory, File
from dicomfs.video.films import Effort, Encode, FilmFailed, FilmHost, TooLarge, film_size
from dicomfs.video.protocol import FRAME, LEFT_OUT, READ, READ_BACK, ROOM, WRITE, Call


def noise(count: int, rows: int, columns: int, samples: int = 1, levels: int = 256) -> np.ndarray:
    """Make frames in which nothing can be predicted."""
    shape = (count, rows, columns) if samples == 1 else (count, rows, columns, samples)
    return (np.random.default_rng(rows).integers(0, levels, shape) * (255 // (levels - 1))).astype(np.uint8)


def speckle(count: int, rows: int = 240, columns: int = 320) -> np.ndarray:
    """Make what ultrasound shows of tissue: speckle that is new in each frame, logarithmic, in a sector."""
    chance = np.random.default_rng(2)
    down, across = np.mgrid[0:rows, 0:columns]
    depth, angle = np.hypot(down, across - columns / 2) / rows, np.arctan2(across - columns / 2, down + 1)
    inside = (depth < 1) & (np.abs(angle) < 0.7)
    soft = np.exp(-2 * ((np.fft.fftfreq(rows)[:, None] * 6) ** 2 + (np.fft.rfftfreq(columns)[None] * 10) ** 2))
    frames = np.zeros((count, rows, columns), np.uint8)
    for frame in frames:
        parts = [np.fft.irfft2(np.fft.rfft2(chance.normal(size=(rows, columns))) * soft, (rows, columns)) for _ in "ri"]
        echo = np.hypot(*parts)
        level = 20 * np.log10(echo / echo.mean() * (0.15 + np.abs(np.sin(depth * 9 + angle * 3))) + 1e-3)
        frame[:] = np.where(inside, np.clip((level + 40) / 45 * 200, 0, 255), 0)
    return frames


def object_of(frames: np.ndarray, more: DataSet | None = None) -> bytes:
    """Put frames into a DICOM file."""
    pixels = frames.tobytes() + bytes(frames.size % 2)
    samples = frames.shape[3] if frames.ndim == 4 else 1
    extra = {0x00080016: ("UI", US), FRAME_TIME: ("DS", "40"), **(more or {})}
    return dicom(image(*frames.shape[1:3], pixels, frames=len(frames), samples=samples, more=extra))


def made(loop: Loop, folder: Path, data: bytes) -> bytes:
    """Read the film of an object; its size must be the one that arithmetic says."""
    path = folder / "film.dcm"
    path.write_bytes(data)

    async def read() -> bytes:
        with tree_of(loop, path) as top:
            assert isinstance(top, Directory)
            child = await top.lookup(b"video.mp4")
            assert child is not None
            assert isinstance(child.node, File)
            size = child.node.attributes.size
            data = await read_all(child.node)
            assert len(data) == size
            return data

    return loop.run(read)


def used(data: bytes) -> float:
    """Give the part of a film that is no filling."""
    place, kinds = 0, []
    while place < len(data):
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        kinds.append(kind)
        last, place = place, place + length
    assert place == len(data)
    assert kinds[:2] == [b"ftyp", b"moov"]
    assert b"mdat" in kinds
    return (last if kinds[-1] == b"free" else len(data)) / len(data)


def silent(path: Path, data: bytes) -> None:
    """Have ffprobe look at all of a film; it must have nothing to say."""
    path.write_bytes(data)
    done = subprocess.run(
        ["ffprobe", "-v", "warning", "-count_frames", path], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


SHAPES = [
    *((2, 1, 1), (50, 1, 1), (6, 2, 2), (60, 3, 5), (40, 16, 16), (3, 17, 31), (24, 64, 80), (30, 240, 320)),
    *((2, 300, 400), (4, 1, 2000), (4, 2000, 1), (17, 33, 500)),
]


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_noise_of_every_size_fits(
    shape: tuple[int, int, int], samples: int, loop: Loop, tmp_path: Path, program: Callable[[str], str]
) -> None:
    data = made(loop, tmp_path, object_of(noise(*shape, samples)))
    assert len(data) == film_size(shape[1], shape[2], shape[0])
    shown = Film(program("ffprobe"), tmp_path, data)
    assert shown.count == shape[0]
    assert used(data) <= 1
    silent(tmp_path / "looked.mp4", data)


def late() -> np.ndarray:
    frames = np.zeros((40, 120, 160), np.uint8)
    frames[20:] = noise(20, 120, 160)
    return frames


def flashes() -> np.ndarray:
    frames = np.zeros((60, 120, 160), np.uint8)
    frames[::15] = noise(4, 120, 160)
    return frames


CONTENTS: dict[str, Callable[[], np.ndarray]] = {
    "black": lambda: np.zeros((20, 120, 160), np.uint8),
    "two levels": lambda: noise(20, 120, 160, levels=2),
    "noise that comes late": late,
    "flashes": flashes,
    "noise that stands still": lambda: np.repeat(noise(1, 120, 160), 40, 0),
}
TIMES: dict[str, DataSet] = {
    "slow": {FRAME_TIME: ("DS", "10000")},
    "fast": {FRAME_TIME: ("DS", "1")},
    "vector": {
        VECTOR: ("DS", "\\".join(["0", "0.001", "9000", "0.5", *["33.333"] * 16])),
        POINTER: ("AT", [VECTOR]),
    },
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_changes_suddenly_fits(name: str, loop: Loop, tmp_path: Path) -> None:
    silent(tmp_path / "looked.mp4", made(loop, tmp_path, object_of(CONTENTS[name]())))


@pytest.mark.parametrize("name", TIMES)
def test_times_change_neither_size_nor_quality(
    name: str, loop: Loop, tmp_path: Path, program: Callable[[str], str]
) -> None:
    frames = noise(20, 64, 80)
    even = made(loop, tmp_path, object_of(frames))
    other = made(loop, tmp_path, object_of(frames, TIMES[name]))
    assert len(other) == len(even)
    one, two = (Film(program("ffprobe"), tmp_path, data) for data in (even, other))
    one.path.write_bytes(even)
    pictures = one.pictures
    two.path.write_bytes(other)
    if name == "fast":  # more frames a second need a higher level, by which the encoder decides a little differently
        expected = np.asarray(frames)[..., np.newaxis]
        assert psnr(two.pictures, expected) >= psnr(pictures, expected) - 0.5
    else:
        assert np.array_equal(two.pictures, pictures)


@pytest.mark.parametrize("shape", [(2, 240, 320), (7, 240, 320), (40, 240, 320), (10, 64, 64)], ids=str)
def test_ultrasound_keeps_its_quality(
    shape: tuple[int, int, int], loop: Loop, tmp_path: Path, program: Callable[[str], str]
) -> None:
    values = speckle(*shape)
    data = made(loop, tmp_path, object_of(values))
    shown = Film(program("ffprobe"), tmp_path, data)
    assert min(psnr(picture[:, :, 0], value) for picture, value in zip(shown.pictures, values, strict=True)) >= 38
    assert used(data) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 10, 40])
def test_ordinary_films_use_their_room(count: int, loop: Loop, tmp_path: Path) -> None:
    frames = np.stack([np.maximum(scene(number), speckle(count)[number][:, :, None] // 2) for number in range(count)])
    assert used(made(loop, tmp_path, object_of(frames))) > 0.5


# Coarser


@pytest.mark.expects_log
def test_what_does_not_fit_is_encoded_more_coarsely(
    loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture, program: Callable[[str], str]
) -> None:
    """Frame 2 is told of once, though the film is encoded more than once."""
    data = damaged_noise()
    with caplog.at_level("INFO", "dicomfs"):
        shown = Film(program("ffprobe"), tmp_path, made(loop, tmp_path, data))
    assert shown.count == 5
    messages = [record.getMessage() for record in caplog.records]
    assert sum("more coarsely" in message for message in messages) >= 2
    assert sum("left out of a film" in message for message in messages) == 1


def damaged_noise() -> bytes:
    """Make a film of noise with a broken frame."""
    encoded = [imagecodecs.jpeg2k_encode(each, codecformat="j2k", reversible=True) for each in noise(6, 200, 300)]
    encoded[1] = encoded[1][: len(encoded[1]) // 2] + b"\xff\xd9"
    more = {0x00080016: ("UI", US), FRAME_TIME: ("DS", "100")}
    elements = image(200, 300, encapsulated(encoded), frames=6, vr="OB", more=more)
    return dicom(elements, "1.2.840.10008.1.2.4.90")


def test_what_never_fits_is_an_error(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No film is known that takes more than its room at the coarsest: here the room is less."""
    monkeypatch.setattr(cine_loop, "film_size", lambda *_: 3000)
    with pytest.raises(OSError, match="even the coarsest film takes more than the 3000 bytes") as raised:
        made(loop, tmp_path, film(20))
    assert raised.value.errno == 5


# The same everywhere


def test_the_same_bytes_with_one_processor(tmp_path: Path, program: Callable[[str], str]) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "colour.dcm").write_bytes(jpeg_film(40, rows=480, columns=640))
    (archive / "grey.dcm").write_bytes(object_of(speckle(20)))
    answers = []
    for under in ((), (program("taskset"), "-c", "0")):
        with mounted(archive, tmp_path, under=under) as mount:
            answers.append([answer_of_path(mount.path / name / "video.mp4") for name in ("colour.dcm", "grey.dcm")])
    assert answers[0] == answers[1]
    assert all(len(answer) == 64 for answer in answers[0])


# A process that is not to be trusted


class Told:
    """A host as a subverted process would use it."""

    def __init__(self, most: int, stream: bytes = b"") -> None:
        self.file, self.slot = io.BytesIO(), mmap.mmap(-1, ROOM)
        self.host = FilmHost(self.file, most, Literal(stream) if stream else None)

    def call(self, wanted: int, place: int, data: bytes = b"") -> int:
        self.slot[: len(data)] = data
        return trio.run(self.host.serve, Call(wanted, place, len(data)), self.slot)


def test_nothing_is_written_behind_the_promised_end() -> None:
    told = Told(1000)
    told.call(WRITE, 0, bytes(1000))
    for place, data in ((0, bytes(1001)), (999, b"xx"), (1000, b"x"), (1 << 63, b"x")):
        with pytest.raises(TooLarge):
            told.call(WRITE, place, data)
    assert told.file.getvalue() == bytes(1000)


@pytest.mark.expects_log
def test_what_is_left_out_is_logged_once_a_film(caplog: pytest.LogCaptureFixture) -> None:
    told = Told(1000)
    for number in range(50):
        told.call(LEFT_OUT, number)
    assert [record.getMessage() for record in caplog.records] == [
        "0 streams of a video are left out of its film, as MP4 does not hold them"
    ]


def test_going_round_in_circles_ends() -> None:
    told = Told(1000, b"stream")

    async def circle() -> None:
        for _ in range(100_000):
            await told.host.serve(Call(READ, 0, 6), told.slot)

    with pytest.raises(FilmFailed, match="more reading and writing"):
        trio.run(circle)
    with pytest.raises(FilmFailed, match="cannot have"):
        Told(1000).call(READ, 0)
    assert Told(1000).call(READ_BACK, 0, bytes(10)) == 0


class Frames:
    """Frames of four bytes; the second is broken."""

    async def take(self, index: int) -> bytes | None:
        return None if index == 1 else bytes([index] * 4)


def test_frames_are_given_once_and_in_turn() -> None:
    slot = mmap.mmap(-1, ROOM)
    host = FilmHost(io.BytesIO(), 1000, frames=Frames(), frame_count=3)
    with pytest.raises(FilmFailed, match="out of turn"):
        trio.run(host.serve, Call(FRAME, 1, 0), slot)
    assert [trio.run(host.serve, Call(FRAME, index, 0), slot) for index in range(3)] == [4, 0, 4]
    assert slot[:4] == bytes([2] * 4)
    for index in (0, 2):
        with pytest.raises(FilmFailed, match="out of turn"):
            trio.run(host.serve, Call(FRAME, index, 0), slot)
    for wanted, length in ((FRAME, 0), (READ_BACK, ROOM + 1)):
        with pytest.raises(FilmFailed, match=r"cannot have|more than it has room for"):
            trio.run(host.serve, Call(wanted, 3, length), slot)


class Large:
    """Frames of a MiB."""

    async def take(self, index: int) -> bytes:
        return bytes(ROOM)


def test_frames_do_not_count_as_reading_and_writing() -> None:
    """An encoder takes each of them once, however large all of them are."""
    slot, host = mmap.mmap(-1, ROOM), FilmHost(io.BytesIO(), 1000, frames=Large(), frame_count=200)
    assert {trio.run(host.serve, Call(FRAME, index, 0), slot) for index in range(200)} == {ROOM}
    assert trio.run(host.serve, Call(WRITE, 0, 4), slot) == 0


class Noise:
    """Frames of noise."""

    async def take(self, index: int) -> bytes:
        return noise(20, 64, 80)[index].tobytes()


def test_the_constants_of_an_effort_reach_the_encoder(loop: Loop) -> None:
    """A film of constant quantisers, as coarse as can be, is smaller than a capped one."""

    async def encoded(effort: Effort) -> int:
        file, times = io.BytesIO(), tuple(range(0, 21 * 40_000, 40_000))
        host = FilmHost(file, 1 << 20, frames=Noise(), frame_count=20)
        await host.run(loop.decoder.pool, Encode(80, 64, 1, (1, 1), times, effort))
        return file.seek(0, io.SEEK_END)

    sizes = [loop.run(encoded, effort) for effort in (Effort(4), Effort(6, 8000, 32_000), Effort(51))]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] <= 20 * 1000 + 4000 + 4096
