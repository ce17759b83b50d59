"""Films through real mounts: every byte or a plain error for whoever reads, one encode for all, nothing left behind."""

import hashlib
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from support.builders import JPEG, Raw, dicom, encapsulated, image, offsets
from support.cine_objects import FRAME_TIME, US, Film, damaged_film, film, jpeg_film, psnr, scene
from support.mounting import Mount, answer_of_path, errno_of, mounted, wait_for
from support.video_files import movie, video

COUNT = 40
VIDEO = "video.mp4"


def archive_in(place: Path, **files: bytes) -> Path:
    """Make an archive of files, `name.dcm` for each *name*."""
    folder = place / "archive"
    folder.mkdir()
    for name, data in files.items():
        (folder / f"{name}.dcm").write_bytes(data)
    return folder


def endless(path: Path, frames: int = 40_000, rows: int = 240, columns: int = 320) -> None:
    """Make a film that nobody waits for, which takes no room on the disk."""
    size = rows * columns * frames
    more = {0x00080016: ("UI", US), FRAME_TIME: ("DS", "40")}
    path.write_bytes(dicom(image(rows, columns, Raw(b"", size), frames=frames, more=more)))
    os.truncate(path, path.stat().st_size + size)


def begun(mount: Mount) -> int:
    return mount.statistics()["builds"]


def below(pid: int) -> list[int]:
    """Give the processes below one."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (thread / "children").read_text().split()):
            found += [child, *below(child)]
    return found


def encoders(mount: Mount) -> list[int]:
    """Give the processes of the mount that have loaded the encoder."""
    found = []
    for pid in below(mount.process.pid):
        try:
            found += [pid] if "libx264" in Path(f"/proc/{pid}/maps").read_text() else []
        except OSError:  # it has just ended
            continue
    return found


def encoding(mount: Mount) -> bool:
    """Tell whether a film is under way: some frames were decoded, and there is a process that takes them."""
    return mount.statistics()["decoded"] > 20 and bool(encoders(mount))


def reader(path: Path, output: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    """Start a program that reads *path* and prints its digest."""
    return subprocess.Popen(["sha256sum", path], stdout=output, stderr=subprocess.DEVNULL)


def digest(process: "subprocess.Popen[bytes]") -> str:
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0
    return output.split()[0].decode()


# Programs


READERS = {
    "cp": ["cp", "PATH", "TARGET"],
    "cat": ["sh", "-c", "cat PATH > TARGET"],
    "dd": ["dd", "if=PATH", "of=TARGET", "bs=10000", "status=none"],
    "rsync": ["rsync", "-a", "PATH", "TARGET"],
    "rsync -c": ["rsync", "-c", "PATH", "TARGET"],
    "tar": ["sh", "-c", "tar -C $(dirname PATH) -cf - video.mp4 | tar -xOf - > TARGET"],
    "tar --sparse": ["sh", "-c", "tar -C $(dirname PATH) --sparse -cf - video.mp4 | tar -xOf - > TARGET"],
    "cpio": ["sh", "-c", "cd $(dirname PATH) && echo video.mp4 | cpio -o -H newc | cpio -i --to-stdout > TARGET"],
    "bsdtar": ["sh", "-c", "bsdtar -C $(dirname PATH) -cf - video.mp4 | bsdtar -xOf - > TARGET"],
    "python -m tarfile": [
        "sh",
        "-c",
        f"cd $(dirname PATH) && {sys.executable} -m tarfile -c TARGET.tar video.mp4 && tar -xOf TARGET.tar > TARGET",
    ],
    "ffmpeg": ["ffmpeg", "-v", "error", "-i", "PATH", "-c", "copy", "-f", "framemd5", "TARGET"],
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mount, bytes]]:
    """One mount with the same film for each program, and one to compare with, which is read."""
    place = tmp_path_factory.mktemp("shared")
    data = jpeg_film(COUNT)
    names = [*(f"f{number}" for number in range(len(READERS))), "mapped", "tail", "looked", "first"]
    with mounted(archive_in(place, **dict.fromkeys(names, data)), place) as mount:
        yield mount, (mount.path / "first.dcm" / VIDEO).read_bytes()


def test_what_all_are_compared_with(shared: tuple[Mount, bytes], tmp_path: Path, program: Callable[[str], str]) -> None:
    shown = Film(program("ffprobe"), tmp_path, shared[1])
    assert (shown.count, shown.duration) == (COUNT, COUNT * 0.04)
    for number, picture in enumerate(shown.pictures):
        assert psnr(picture, scene(number)) >= 36  # the frames are JPEG


@pytest.mark.parametrize("name", READERS)
def test_programs_get_every_byte(
    name: str, shared: tuple[Mount, bytes], tmp_path: Path, program: Callable[[str], str]
) -> None:
    program(name.split()[0].replace("python", sys.executable))
    mount, expected = shared
    before = begun(mount)
    path, target = mount.path / f"f{list(READERS).index(name)}.dcm" / VIDEO, tmp_path / "target"
    assert path.stat().st_size == len(expected)
    command = [word.replace("PATH", str(path)).replace("TARGET", str(target)) for word in READERS[name]]
    subprocess.run(command, check=True)
    if name == "ffmpeg":
        packets = [line for line in target.read_text().splitlines() if not line.startswith("#")]
        assert len(packets) == COUNT
    else:
        assert target.read_bytes() == expected
    assert path.stat().st_size == len(expected)
    if name == "rsync -c":
        again = subprocess.run(["rsync", "-c", "-i", "-n", path, target], check=True, capture_output=True)
        assert again.stdout == b""  # nothing is to be copied
    assert begun(mount) == before + 1


def test_it_can_be_mapped_and_read_from_its_end(shared: tuple[Mount, bytes]) -> None:
    mount, expected = shared
    with (
        open(mount.path / "mapped.dcm" / VIDEO, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        assert bytes(mapped) == expected
    with open(mount.path / "tail.dcm" / VIDEO, "rb") as file:
        assert file.seek(0, os.SEEK_END) == len(expected)
        file.seek(-1000, os.SEEK_END)
        assert file.read() == expected[-1000:]


def test_looking_starts_no_encode(shared: tuple[Mount, bytes]) -> None:
    mount, expected = shared
    path = mount.path / "looked.dcm" / VIDEO
    before = begun(mount)
    for command in ("ls -lR", "du -ak", "stat --", "find . -size +1c -newermt 1970-02-01 -ls; true"):
        subprocess.run(["sh", "-c", f"{command} {path.parent}"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["sh", "-c", f"{command} {path}"], check=True, stdout=subprocess.DEVNULL)
    shown = path.stat()
    assert shown.st_size == len(expected)
    assert shown.st_blocks * 512 >= len(expected)
    assert os.access(path, os.R_OK)
    assert begun(mount) == before
    assert path.read_bytes() == expected
    listed = subprocess.run(["ls", "-l", path], check=True, capture_output=True, text=True).stdout
    assert listed.split()[4] == str(len(expected))


# Who waits


def test_two_readers_one_encode(tmp_path: Path) -> None:
    with mounted(archive_in(tmp_path, a=jpeg_film(300)), tmp_path) as mount:
        path = mount.path / "a.dcm" / VIDEO
        readers = [reader(path, subprocess.PIPE) for _ in range(2)]
        wait_for(lambda: encoding(mount))
        readers.append(reader(path, subprocess.PIPE))
        assert len({digest(process) for process in readers}) == 1
        assert begun(mount) == 1
        assert answer_of_path(path) == hashlib.sha256(path.read_bytes()).hexdigest()
        assert begun(mount) == 1
        assert not encoders(mount)


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)],
    ids=lambda number: number.name,
)
def test_an_encode_ends_with_its_last_reader(number: int, tmp_path: Path) -> None:
    archive = archive_in(tmp_path, short=jpeg_film(10))
    endless(archive / "long.dcm")
    cache = tmp_path / "cache"
    with mounted(archive, tmp_path, "--cache-dir", str(cache)) as mount:
        path = mount.path / "long.dcm" / VIDEO
        size = path.stat().st_size
        readers = [reader(path) for _ in range(2)]
        wait_for(lambda: encoding(mount))
        readers[0].send_signal(number)
        assert readers[0].wait(10)
        # The other one still waits, and nobody else waits for them.
        assert (mount.path / "short.dcm" / VIDEO).read_bytes()
        decoded = mount.statistics()["decoded"]
        wait_for(lambda: mount.statistics()["decoded"] > decoded + 100)
        assert mount.statistics()["cancelled_builds"] == 0
        readers[1].send_signal(number)
        assert readers[1].wait(10)
        wait_for(lambda: mount.statistics()["cancelled_builds"] == 1)
        wait_for(lambda: not encoders(mount))
        decoded = mount.statistics()["decoded"]
        assert len(os.listdir(cache)) == 1  # the short one
        assert path.stat().st_size == size
        assert (mount.path / "short.dcm" / "frames" / "0001.png").read_bytes()
        assert mount.statistics()["decoded"] <= decoded + 3  # the frame, and what is decoded ahead of it


def test_a_reader_killed_in_the_middle_of_its_bytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (60, 480, 640), np.uint8)
    data = dicom(image(480, 640, noise.tobytes(), frames=60, more={0x00080016: ("UI", US)}))
    with mounted(archive_in(tmp_path, a=data), tmp_path) as mount:
        path = mount.path / "a.dcm" / VIDEO
        with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as process:
            assert process.stdout
            assert len(process.stdout.read(100_000)) == 100_000  # it waits for us to read more
            process.kill()
        film = path.read_bytes()
        assert len(film) == path.stat().st_size > 2 << 20
        assert begun(mount) == 1
        assert answer_of_path(path) == hashlib.sha256(film).hexdigest()


@pytest.mark.slow
def test_a_daemon_killed_while_it_encodes_leaves_nothing(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    endless(archive / "long.dcm")
    for name in ("cache", "temporary"):
        (tmp_path / name).mkdir(mode=0o700)
    options = "--cache-dir", str(tmp_path / "cache")
    with mounted(archive, tmp_path, *options, under=("env", f"TMPDIR={tmp_path / 'temporary'}")) as mount:
        waiting = reader(mount.path / "long.dcm" / VIDEO)
        wait_for(lambda: encoding(mount))
        started = below(mount.process.pid)
        mount.process.kill()
        assert waiting.wait(10)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))
    assert not os.path.ismount(mount.path)
    assert not os.listdir(tmp_path / "cache") + os.listdir(tmp_path / "temporary")


def test_the_daemon_ends_while_it_encodes(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    endless(archive / "long.dcm")
    with mounted(archive, tmp_path, warn=True) as mount:
        waiting = reader(mount.path / "long.dcm" / VIDEO)
        wait_for(lambda: encoding(mount))
        started = below(mount.process.pid)
        mount.process.terminate()
        assert mount.process.wait(10) == 0
        assert waiting.wait(10)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))


# The disk cache


@pytest.mark.slow
def test_a_film_is_found_again_after_a_restart(tmp_path: Path) -> None:
    archive = archive_in(tmp_path, a=jpeg_film(COUNT))
    path = tmp_path / "mnt" / "a.dcm" / VIDEO
    seen = []
    for options in (["--cache-dir", str(tmp_path / "cache")],) * 2 + ([],):
        with mounted(archive, tmp_path, *options) as mount:
            before = path.stat().st_size
            seen.append((before, answer_of_path(path), path.stat().st_size, begun(mount)))
    (size, first, _, _), _, _ = seen
    assert seen == [(size, first, size, builds) for builds in (1, 0, 1)]


@pytest.mark.parametrize("options", [["--cache-size=1K"], ["--cache-size=1K", "--cache-dir=CACHE"]], ids=["no", "dir"])
def test_a_cache_that_is_smaller_than_the_film(options: list[str], tmp_path: Path) -> None:
    archive = archive_in(tmp_path, a=jpeg_film(COUNT))
    options = [option.replace("CACHE", str(tmp_path / "cache")) for option in options]
    with mounted(archive, tmp_path, *options) as mount:
        path = mount.path / "a.dcm" / VIDEO
        answers = [answer_of_path(path) for _ in range(3)]
        assert len(set(answers)) == 1
        assert len(answers[0]) == 64
        assert begun(mount) == 3
        # While somebody has it open, it is there for others.
        with open(path, "rb"):
            assert [answer_of_path(path) for _ in range(2)] == answers[:2]
            assert begun(mount) == 4
    assert not (tmp_path / "cache").exists() or not os.listdir(tmp_path / "cache")


FULL_DISK = """
import errno, os, pathlib, sys
from support.mounting import answer_of_path, mounted
archive, place, temporary, expected = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3], sys.argv[4]
under = ("env", f"TMPDIR={temporary}")
cache = ("--cache-dir", str(place / "full")) if sys.argv[5] == "cache" else ()
with mounted(archive, place, *cache, under=under, warn=True) as mount:
    path, filler = mount.path / "a.dcm" / "video.mp4", place / "full" / "filler"
    size = path.stat().st_size
    for attempt in range(2):
        print(answer_of_path(path), flush=True)
    assert path.stat().st_size == size
    assert (mount.path / "a.dcm" / "frames" / "0001.png").read_bytes()
    filler.unlink()
    print(answer_of_path(path), mount.statistics()["build_failures"], flush=True)
    assert not [name for name in os.listdir(place / "full") if not name.endswith(".entry")]
"""


@pytest.mark.parametrize(
    "full", ["cache", *(pytest.param(each, marks=pytest.mark.slow) for each in ("all", "temporary"))]
)
def test_a_full_disk(full: str, tmp_path: Path, program: Callable[[str], str]) -> None:
    """The film goes elsewhere while there is an elsewhere; else opening it says so, until there is room again."""
    archive = archive_in(tmp_path, a=jpeg_film(COUNT))
    with mounted(archive, tmp_path) as mount:
        right = answer_of_path(mount.path / "a.dcm" / VIDEO)
    for name in ("full", "temporary"):
        (tmp_path / name).mkdir()
    script = (
        'mount -t tmpfs -o size=2m,mode=700 none "$1" && head -c 2044K /dev/zero > "$1/filler" && shift && exec "$@"'
    )
    namespace = [program("unshare"), "--mount", "--map-root-user", "sh", "-c", script, "sh", tmp_path / "full"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    temporary = tmp_path / ("temporary" if full == "cache" else "full")
    expected = right if full == "cache" else "ENOSPC"
    command = [sys.executable, "-c", FULL_DISK, archive, tmp_path, temporary, expected]
    command.append("none" if full == "temporary" else "cache")
    done = subprocess.run([*namespace, *command], env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    failures = 0 if full == "cache" else 2
    assert done.stdout.split() == [expected, expected, right, str(failures)]


# Bad input


def test_bad_films_harm_nobody(tmp_path: Path, program: Callable[[str], str]) -> None:
    stream = movie(program("ffmpeg"), "mp4")
    tiny = b"".join(scene(number, 1, 1, 1).tobytes() for number in range(6))
    whole = jpeg_film(COUNT)
    files = {
        "broken": damaged_film(10, {4}),
        "hopeless": damaged_film(3, {0, 1, 2}),
        "tiny": dicom(image(1, 1, tiny, frames=6, more={0x00080016: ("UI", US)})),
        "odd": film(5, rows=31, columns=45),
        "none": dicom(image(16, 16, b"", frames=0, more={0x00080016: ("UI", US)})),
        "empty": dicom(image(16, 16, encapsulated([]), frames=9, vr="OB", more={0x00080016: ("UI", US)}), JPEG),
        "nothing": video(b""),
        "stream": video(stream[: len(stream) // 2], parts=3),
        "cut": whole[: len(whole) * 2 // 3],
        "good": film(5),
    }
    ffprobe = program("ffprobe")
    with mounted(archive_in(tmp_path, **files), tmp_path, warn=True) as mount:

        def path(name: str) -> Path:
            return mount.path / f"{name}.dcm" / VIDEO

        subprocess.run(["ls", "-lR", mount.path], check=True, stdout=subprocess.DEVNULL)
        assert begun(mount) == 0
        for name, frames, size in (("broken", 9, (320, 240)), ("tiny", 6, (2, 2)), ("odd", 5, (46, 32))):
            shown = Film(ffprobe, tmp_path, path(name).read_bytes())
            assert (shown.count, (shown.stream["width"], shown.stream["height"])) == (frames, size)
        told = [line for line in mount.warnings() if "left out of a film" in line]
        assert len(told) == 1
        assert "frame 5 is left out of a film: " in told[0]
        # What is left of a film is shown.
        shown = Film(ffprobe, tmp_path, path("cut").read_bytes())
        assert COUNT // 2 < shown.count < COUNT
        # A stream that was cut is what it is.
        assert path("stream").read_bytes().rstrip(b"\0") == stream[: len(stream) // 2].rstrip(b"\0")
        for name in ("hopeless", "empty") * 2:
            assert answer_of_path(path(name)) == "EIO"
        for name in ("none", "nothing"):
            assert errno_of(path(name).stat) == 2, name
            assert (path(name).parent / "problems.txt").read_text()
        assert Film(ffprobe, tmp_path, path("good").read_bytes()).count == 5
        assert not encoders(mount)


@pytest.mark.slow
@pytest.mark.parametrize("encoded", [True, False], ids=["jpeg", "native"])
def test_sixty_thousand_frames(encoded: bool, tmp_path: Path, program: Callable[[str], str]) -> None:
    """They take a minute at most, and no more memory than a few."""
    count = 60_000
    pictures = [scene(number, 16, 16, 1) for number in range(64)]
    more = {0x00080016: ("UI", US), FRAME_TIME: ("DS", "40")}
    if encoded:
        kinds = [imagecodecs.jpeg8_encode(picture, level=80) for picture in pictures]
        frames = [kinds[number % 64] for number in range(count)]
        value = encapsulated(frames, offsets([frame] for frame in frames))
        data = dicom(image(16, 16, value, frames=count, vr="OB", more=more), JPEG)
    else:
        value = b"".join(pictures[number % 64].tobytes() for number in range(count))
        data = dicom(image(16, 16, value, frames=count, more=more))
    with mounted(archive_in(tmp_path, a=data, small=film(5)), tmp_path) as mount:
        (mount.path / "small.dcm" / VIDEO).read_bytes()
        path = mount.path / "a.dcm" / VIDEO
        assert path.stat().st_size > 0
        before = mount.resident()
        shown = Film(program("ffprobe"), tmp_path, path.read_bytes())
        assert (shown.count, shown.duration) == (count, 2400)
        assert mount.resident() - before < 16 << 20
        assert begun(mount) == 2


@pytest.mark.slow
def test_the_largest_film(tmp_path: Path, program: Callable[[str], str]) -> None:
    """So large are pictures of H.264 at most; there are enough of them to fill whatever the encoder keeps."""
    rows, columns, count = 4352, 8192, 24
    archive = archive_in(tmp_path)
    endless(archive / "a.dcm", count, rows, columns)
    with open(archive / "a.dcm", "r+b") as file:
        noise = np.random.default_rng(1).bytes(1 << 20)
        for number in range(count):
            file.seek(-(number + 1) * rows * columns, os.SEEK_END)
            file.write(noise)
    with mounted(archive, tmp_path) as mount:
        shown = Film(program("ffprobe"), tmp_path, (mount.path / "a.dcm" / VIDEO).read_bytes())
        assert (shown.count, shown.stream["width"], shown.stream["height"]) == (count, columns, rows)
