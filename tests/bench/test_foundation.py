"""Time to mount, to list and to the first byte; each beside what it is compared with."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
from large import colour_film, many_copies
from mounting import Mount, mounted
from pytest_benchmark.fixture import BenchmarkFixture

DICOMFS = [sys.executable, "-m", "dicomfs"]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    place = tmp_path_factory.mktemp("archives")
    return {count: many_copies(place / str(count), count) for count in (20, 20_000)}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    place = tmp_path_factory.mktemp("film")
    (place / "source").mkdir()
    colour_film(place / "source" / "film.dcm", 200)
    with mounted(place / "source", place) as mount:
        yield mount


@pytest.mark.parametrize("count", [20, 20_000])
@pytest.mark.benchmark(group="mount until it answers, and unmount")
def test_mount(count: int, archives: dict[int, Path], tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    def once() -> None:
        subprocess.run([*DICOMFS, "mount", archives[count], tmp_path], check=True)
        os.listdir(tmp_path)
        subprocess.run(["fusermount3", "-u", tmp_path], check=True)

    benchmark.pedantic(once, rounds=5)


@pytest.mark.parametrize("kind", ["the archive itself", "mount of 20", "mount of 20,000"])
@pytest.mark.benchmark(group="first `ls -l` of a directory of 100 (20 of 20) files")
def test_list(kind: str, archives: dict[int, Path], tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    archive = archives[20 if kind == "mount of 20" else 20_000]

    def look(place: Path, number: int) -> None:
        subprocess.run(["ls", "-l", place / f"{number:04}"], check=True, stdout=subprocess.DEVNULL)

    if kind == "the archive itself":
        benchmark(look, archive, 0)
        return
    with mounted(archive, tmp_path) as mount:
        # Another directory each time, where there is another.
        numbers = cycle(range(200 if kind == "mount of 20,000" else 1))
        benchmark.pedantic(look, setup=lambda: ((mount.path, next(numbers)), {}), rounds=50)


@pytest.mark.parametrize("frame", [1, 100, 200])
@pytest.mark.benchmark(group="first byte of a frame of a 0.7 GB film, cold")
def test_first_byte(frame: int, film: Mount, benchmark: BenchmarkFixture) -> None:
    path = film.path / "film.dcm" / "frames" / f"{frame:04}.png"

    def read() -> None:
        with open(path, "rb", buffering=0) as file:
            file.read(1)

    def forget() -> None:
        # Other frames push this one out of the daemon's cache; the kernel is told to drop its pages.
        for other in range(20, 45):
            with open(film.path / "film.dcm" / "frames" / f"{other:04}.png", "rb", buffering=0) as file:
                file.read(1)
        Path("/proc/sys/vm/drop_caches").write_text("1")
        (film.path / "film.dcm" / "frames.json").read_bytes()

    benchmark.pedantic(read, setup=forget, rounds=5)


@pytest.mark.parametrize("tool", ["cp out of the mount", "dcmj2pnm"])
@pytest.mark.benchmark(group="all 50 frames of a native RGB film to PNG")
def test_all_frames(tool: str, tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    dcmj2pnm = shutil.which("dcmj2pnm")
    if dcmj2pnm is None:
        pytest.skip("dcmj2pnm is not installed")
    source = tmp_path / "source"
    source.mkdir()
    colour_film(source / "film.dcm", 50)
    out = tmp_path / "out"

    def dcmtk() -> None:
        out.mkdir()
        subprocess.run([dcmj2pnm, "--write-png", "--all-frames", source / "film.dcm", out / "frame"], check=True)
        shutil.rmtree(out)

    if tool == "dcmj2pnm":
        benchmark.pedantic(dcmtk, rounds=3)
        return

    def copy(place: Path) -> None:
        subprocess.run(["cp", "-r", place / "film.dcm" / "frames", out], check=True)
        subprocess.run(["chmod", "-R", "u+w", out], check=True)
        shutil.rmtree(out)

    with mounted(source, tmp_path) as mount:
        benchmark.pedantic(copy, args=(mount.path,), rounds=1)  # the second time it would come from caches
