"""A mount that serves for months: after any number of operations, descriptors, threads and memory are as they were."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.archives import PYDICOM
from support.mounting import Mount, children, errno_of, mounted, wait_for

SAMPLES = ("CT_small.dcm", "MR_small.dcm", "examples_ybr_color.dcm", "JPEG2000.dcm", "rtplan.dcm", "MR_truncated.dcm")
OBJECTS = 24
# What a mount may have grown by between two equal stretches: caches that fill up, and gaps.
GROWTH = 16 << 20


class Life:
    """What users, programs and accidents do to a mount and its archive, in an order that a seed gives."""

    def __init__(self, mount: Mount, archive: Path, seed: int) -> None:
        self.mount = mount
        self.archive = archive
        self.random = random.Random(seed)
        self.open: list[int] = []
        self.started: list[subprocess.Popen[bytes]] = []
        self.acts: list[Callable[[], None]] = [
            *[self.read] * 6,
            *[self.look_in] * 3,
            *[self.hold] * 3,
            self.list_all,
            self.leave_an_open,
            self.leave_a_copy,
            self.miss,
            self.replace,
            self.overwrite,
            self.remove_and_restore,
            self.kill_a_worker,
        ]

    def live(self, acts: int) -> None:
        """Do so many things, whatever comes of each, and leave nothing open or running."""
        for _ in range(acts):
            try:
                self.random.choice(self.acts)()
            except OSError:
                continue
        while self.open:
            os.close(self.open.pop())
        for process in self.started:
            process.kill()
            process.wait()
        self.started.clear()

    def path(self) -> Path:
        """Choose a file, also of those that are not listed."""
        folder = self.mount.path / self.random.choice(sorted(os.listdir(self.archive)))
        if self.random.random() < 0.3:
            copies = [path for path in (folder / "transcoded").rglob("*") if path.is_file()]
            return self.random.choice([*sorted(copies), folder / "video.mp4"])
        while folder.is_dir():
            folder /= self.random.choice(sorted(os.listdir(folder)) or ["none"])
        return folder

    def read(self) -> None:
        self.path().read_bytes()

    def look_in(self) -> None:
        with open(self.path(), "rb", buffering=0) as file:
            file.seek(self.random.randrange(200_000))
            file.read(5000)

    def hold(self) -> None:
        self.open.append(os.open(self.path(), os.O_RDONLY))
        os.pread(self.random.choice(self.open), 1000, 0)
        if len(self.open) > 30:
            os.close(self.open.pop(self.random.randrange(len(self.open))))

    def list_all(self) -> None:
        self._start("ls", "-lR", self.mount.path)
        self.started[-1].wait()

    def leave_an_open(self) -> None:
        self._start("cat", self.path())
        time.sleep(self.random.random() / 20)
        self.started[-1].send_signal(self.random.choice((signal.SIGKILL, signal.SIGINT)))

    def leave_a_copy(self) -> None:
        self._start("cp", "-r", self.path().parent, self.archive.parent / "copy")
        if len(self.started) > 4:
            process = self.started.pop(0)
            process.kill()
            process.wait()

    def miss(self) -> None:
        assert not (self.mount.path / f"{self.random.random()}").exists()
        assert not (self.path().parent / f"{self.random.random()}").exists()

    def replace(self) -> None:
        new = self.archive.parent / "new"
        shutil.copyfile(PYDICOM / self.random.choice(SAMPLES), new)
        os.rename(new, self._source())

    def overwrite(self) -> None:
        shutil.copyfile(PYDICOM / self.random.choice(SAMPLES), self._source())

    def remove_and_restore(self) -> None:
        source = self._source()
        data = source.read_bytes()
        source.unlink()
        (self.mount.path / source.name).exists()
        source.write_bytes(data)

    def kill_a_worker(self) -> None:
        workers = [pid for server in children(self.mount.process.pid) for pid in children(server)]
        if workers:
            os.kill(self.random.choice(workers), signal.SIGKILL)

    def _source(self) -> Path:
        return self.archive / self.random.choice(sorted(os.listdir(self.archive)))

    def _start(self, *command: str | Path) -> None:
        self.started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


def kept_open(mount: Mount) -> list[str]:
    """Say what the daemon has open."""
    found = []
    for name in os.listdir(f"/proc/{mount.process.pid}/fd"):
        try:
            target = os.readlink(f"/proc/{mount.process.pid}/fd/{name}")
        except OSError:
            continue
        found.append(target.partition(":")[0])
    return sorted(found)


def threads(mount: Mount) -> int:
    return len(os.listdir(f"/proc/{mount.process.pid}/task"))


def soak(tmp_path: Path, acts: int) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(OBJECTS):
        shutil.copyfile(PYDICOM / SAMPLES[number % len(SAMPLES)], archive / f"{number:02}.dcm")
    options = ("--workers", "2", "--cache-memory", "4M", "--cache-dir", str(tmp_path / "cache"), "--cache-size", "20M")
    with mounted(archive, tmp_path, *options, warn=True) as mount:
        (mount.path / "00.dcm/frames/0001.png").read_bytes()
        wait_for(lambda: threads(mount) <= 3)
        at_rest = kept_open(mount)
        life = Life(mount, archive, seed=acts)
        memory = []
        for _ in range(3):
            life.live(acts)
            # Workers that were killed are replaced when they are next needed; idle threads end after some seconds.
            for number in range(2):
                # A name that was missing a moment ago is missing for up to 5 seconds.
                path = mount.path / f"{number:02}.dcm/original.dcm"
                wait_for(lambda path=path: errno_of(path.read_bytes) is None)
            wait_for(lambda: len(kept_open(mount)) <= len(at_rest) + 2 and threads(mount) <= 4, patience=120)
            memory.append(mount.resident())
            assert mount.statistics()["inodes"] <= 40 * OBJECTS
        assert memory[2] <= memory[1] + GROWTH, memory
        assert max(memory) < 200 << 20, memory
        log = mount.log.read_text()
        assert "ERROR" not in log, log
        assert "EMFILE" not in log


@pytest.mark.slow
def test_a_short_life(tmp_path: Path) -> None:
    soak(tmp_path, 30)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_long_life(tmp_path: Path) -> None:
    soak(tmp_path, 240)
