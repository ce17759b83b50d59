"""Cost grows with what is looked at: not with the size of the archive, nor with that of a file."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.builders import dicom, image
from support.large_archives import colour_film, many_copies
from support.mounting import Mount, mounted, wait_for

Program = Callable[[str], str]
MIB = 1 << 20


def read_bytes(mount: Mount) -> int:
    """Bytes that the daemon has read so far, from caches or disk."""
    found = re.search(r"rchar: (\d+)", Path(f"/proc/{mount.process.pid}/io").read_text())
    assert found
    return int(found[1])


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many_copies(tmp_path_factory.mktemp("many") / "archive", 20_000)


@pytest.mark.slow
def test_mounting_a_large_archive_touches_none_of_it(archive: Path, tmp_path: Path, program: Program) -> None:
    trace, mountpoint = tmp_path / "trace", tmp_path / "mnt"
    mountpoint.mkdir()
    command = [program("strace"), "-f", "-e", "trace=file,desc", "-o", str(trace), sys.executable, "-m", "dicomfs"]
    process = subprocess.Popen([*command, "mount", "-f", str(archive), str(mountpoint)])
    try:
        wait_for(lambda: f" {mountpoint} " in Path("/proc/self/mountinfo").read_text())
    finally:
        subprocess.run(["fusermount3", "-u", mountpoint], check=True)
        process.wait(30)
    touched = [line for line in trace.read_text().splitlines() if str(archive) in line and "execve" not in line]
    assert 0 < len(touched) < 20
    assert not any("IM0" in line or "/0001" in line for line in touched)


@pytest.mark.slow
def test_a_listing_costs_what_is_listed(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "small").mkdir()
    small = many_copies(tmp_path / "small" / "archive", 200)
    costs = []
    for place, source in ((tmp_path / "large", archive), (tmp_path / "small", small)):
        with mounted(source, place) as mount:
            before = mount.statistics()["requests"], read_bytes(mount)
            assert len(os.listdir(mount.path / "0001")) == 100
            after = mount.statistics()["requests"], read_bytes(mount)
            costs.append((after[0] - before[0], after[1] - before[1]))
            assert costs[-1][1] < 100 * 400  # a few hundred bytes of each file
    assert costs[0][0] == pytest.approx(costs[1][0], abs=1)  # nobody waits for the answer to the last, RELEASEDIR
    assert costs[0][1] == pytest.approx(costs[1][1], abs=1000)


@pytest.mark.slow
def test_a_film_of_three_quarters_of_a_gigabyte(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    frames, frame_bytes = 200, 960 * 1280 * 3
    film = colour_film(source / "film.dcm", frames)
    with mounted(source, tmp_path) as mount:
        pictures = mount.path / "film.dcm" / "frames"
        before = read_bytes(mount)
        assert os.stat(pictures / "0001.png").st_size > frame_bytes
        assert read_bytes(mount) - before < MIB  # of 0.7 GB, the header
        costs = {}
        for name in ("0001.png", "0200.png", "0100.png"):
            before = read_bytes(mount)
            with open(pictures / name, "rb", buffering=0) as file:
                assert file.read(1) == b"\x89"
            costs[name] = read_bytes(mount) - before
        assert max(costs.values()) < 2 * frame_bytes
        start = mount.resident()
        for number in range(1, frames + 1):
            (pictures / f"{number:04}.png").read_bytes()
        assert mount.resident() - start < 64 * MIB
        stored = np.fromfile(film, np.uint8, frame_bytes, offset=film.stat().st_size - frame_bytes)
        shown = np.asarray(Image.open(pictures / "0200.png"))
        assert (shown == stored.reshape(shown.shape)).all()
        one_frame_of_an_array(mount, film, frame_bytes)


def one_frame_of_an_array(mount: Mount, film: Path, frame_bytes: int) -> None:
    """Read frame 150 of `pixels.npy`: it costs itself, and what the kernel reads around it."""
    before, memory = read_bytes(mount), mount.resident()
    frame = np.load(mount.path / film.name / "pixels.npy", mmap_mode="r")[150]
    stored = np.fromfile(film, np.uint8, frame_bytes, offset=film.stat().st_size - 50 * frame_bytes)
    assert (frame == stored.reshape(frame.shape)).all()
    assert read_bytes(mount) - before < frame_bytes + 4 * MIB
    assert mount.resident() - memory < 16 * MIB


@pytest.fixture
def many_frames(tmp_path: Path) -> Iterator[Mount]:
    source = tmp_path / "source"
    source.mkdir()
    values = np.arange(100_000, dtype="<u2").repeat(4)
    (source / "x.dcm").write_bytes(dicom(image(2, 2, values.tobytes(), frames=100_000, bits=16)))
    with mounted(source, tmp_path) as mount:
        yield mount


def test_a_hundred_thousand_frames_are_listed_without_an_object_each(many_frames: Mount) -> None:
    before = many_frames.resident()
    names = os.listdir(many_frames.path / "x.dcm" / "frames")
    assert len(names) == 100_000
    assert names[0] == "000001.png"
    assert subprocess.run(["ls", "-l", many_frames.path / "x.dcm" / "frames"], stdout=-3, check=True).returncode == 0
    assert many_frames.statistics()["inodes"] < 10
    assert many_frames.resident() - before < 24 * MIB
    assert (many_frames.path / "x.dcm/frames/099999.png").read_bytes()


def test_millions_of_tiny_frames_are_listed_lazily_and_not_described(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "x.dcm").write_bytes(dicom(image(1, 1, bytes(500_000), frames=4_000_000, bits=1)))
    with mounted(source, tmp_path) as mount:
        before = mount.resident()
        names = os.listdir(mount.path / "x.dcm")
        assert "frames" in names
        assert "frames.json" not in names
        assert "frames.json is left out" in (mount.path / "x.dcm" / "problems.txt").read_text()
        assert (mount.path / "x.dcm" / "frames" / "4000000.png").read_bytes().startswith(b"\x89PNG")
        assert mount.resident() - before < 16 * MIB
