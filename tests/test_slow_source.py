"""An archive on a slow, broken or dead server: what was learnt is kept, what cannot be looked at does not vanish.

The server is a real FUSE file system in a process of its own (`support.slow_file_system`).
"""

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import script
from support.builders import dicom, image
from support.mounting import errno_of, mounted, wait_for

from dicomfs.sources.gather import Learnt
from dicomfs.sources.local import LocalSource
from dicomfs.sources.source import Entry, Unseen

Program = Callable[[str], str]
DICOM = dicom(image(4, 4, bytes(16)))
# Runs what follows as the module dicomfs does, with less patience.
IMPATIENT = (
    "import sys; from dicomfs.cli.main import main; from dicomfs.fuse import operations;"
    " operations.TIME_LIMIT_SECONDS = {}; main(sys.argv[4:])"
)


@dataclass
class Server:
    """A slow folder, mounted."""

    path: Path
    control: Path

    def answer(self, name: str, number: int | None) -> None:
        """Have looks at *name* fail with the errno *number*, wait for ever (0), or succeed again."""
        if number is None:
            (self.control / name).unlink()
        else:
            (self.control / name).write_text(str(number))


@contextlib.contextmanager
def served(place: Path, files: Path, delay: float = 0, at_once: int = 512, count: int = 0) -> Iterator[Server]:
    """Serve the files of a folder, or *count* copies of its only file; `opens` is written into control at the end."""
    server = Server(place / "slow", place / "control")
    server.path.mkdir()
    server.control.mkdir()
    arguments = [server.path, files, server.control, delay, at_once, count]
    process = subprocess.Popen([*script("slow_file_system"), *map(str, arguments)])
    try:
        wait_for(lambda: os.path.ismount(server.path) or process.poll() is not None)
        assert process.poll() is None
        yield server
    finally:
        subprocess.run(["fusermount3", "-uz", str(server.path)], check=False)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Give a folder with one DICOM file."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(DICOM)
    return folder


def impatient(seconds: float) -> list[str]:
    return [sys.executable, "-c", IMPATIENT.format(seconds)]


# Listings that take long


@pytest.mark.parametrize("at_once", [pytest.param(1, marks=pytest.mark.slow), 512])
def test_a_listing_that_takes_longer_than_the_limit_comes_up(tmp_path: Path, files: Path, at_once: int) -> None:
    """Each try goes on where the last one stopped, whether the server answers one question at a time or many."""
    count = 250 if at_once == 1 else 2000
    with served(tmp_path, files, 0.005, at_once, count) as server:
        with mounted(server.path, tmp_path, under=impatient(2), warn=True) as mount:
            tries, names = 0, None
            while names is None:
                tries += 1
                assert tries < 300
                with contextlib.suppress(TimeoutError):
                    names = os.listdir(mount.path)
            assert len(names) == count
            assert tries > 1
            # It was looked into once, also when listed again.
            assert errno_of(lambda: os.listdir(mount.path)) in (None, errno.ETIMEDOUT)
            assert (mount.path / "000007.dcm" / "original.dcm").read_bytes() == DICOM
        os.listdir(server.path)
    opens = json.loads((server.control / "opens").read_text())
    # A try that is cut short may leave some of its looks unfinished, one for each thread.
    assert sum(opens.values()) <= count + 16 * tries + 10
    assert min(opens.values()) == 1


def test_what_a_try_has_learnt_the_next_one_need_not_learn(tmp_path: Path, files: Path) -> None:
    with served(tmp_path, files, 0.005, 1, 60) as server:
        source = LocalSource(str(server.path))
        try:
            learnt: Learnt[Entry | Unseen | None] = Learnt()
            progress = [0]
            while progress[-1] < 60:
                stop = threading.Event()
                timer = threading.Timer(0.3, stop.set)
                timer.start()
                source.entries(b"", {}, None, learnt, stop)
                timer.cancel()
                progress.append(len(learnt.values))
                assert progress[-1] > progress[-2]
            assert len(source.entries(b"", {}, None, learnt)) == 60
        finally:
            source.close()
    opens = json.loads((server.control / "opens").read_text())
    assert sum(opens.values()) <= 60 + 16 * len(progress)


def test_a_listing_that_goes_on_has_the_names_of_now(tmp_path: Path) -> None:
    """What vanished since the try before is not listed, what came is, and what is there again, too."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(DICOM)
    source = LocalSource(str(tmp_path))
    try:
        learnt: Learnt[Entry | Unseen | None] = Learnt()
        source.entries(b"", {}, None, learnt)
        (tmp_path / "b").unlink()
        (tmp_path / "d").write_bytes(b"new")
        assert [entry.name for entry in source.entries(b"", {}, None, learnt)] == [b"a", b"c", b"d"]
    finally:
        source.close()


# Entries that cannot be looked at


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EREMOTEIO])
def test_what_cannot_be_looked_at_is_listed_and_fails(
    tmp_path: Path, files: Path, program: Program, number: int
) -> None:
    """A mirror keeps the old copy of it, deletes nothing, and finds it again when it is better."""
    (files / "b.dcm").write_bytes(DICOM)
    (files / "c.txt").write_bytes(b"text")
    copy, gone = tmp_path / "copy", tmp_path / "copy" / "gone.txt"
    rsync = [program("rsync"), "-a", "--delete", "--chmod=u+w"]
    with served(tmp_path, files) as server, mounted(server.path, tmp_path, warn=True) as mount:
        subprocess.run([*rsync, f"{mount.path}/", copy], check=True)
        before = sorted(path.relative_to(copy) for path in copy.rglob("*"))
        gone.write_text("deleted at the source meanwhile")
        for name in ("b.dcm", "c.txt"):
            server.answer(name, number)
        wait_for(lambda: errno_of(lambda: os.stat(mount.path / "b.dcm")) == number)
        wait_for(lambda: errno_of(lambda: os.stat(mount.path / "c.txt")) == number)
        assert sorted(os.listdir(mount.path)) == ["a.dcm", "b.dcm", "c.txt"]
        listed = subprocess.run(["ls", mount.path], capture_output=True, text=True, check=True).stdout.split()
        assert listed == ["a.dcm", "b.dcm", "c.txt"]
        with os.scandir(mount.path) as entries:
            types = {entry.name: (entry.is_file(), entry.is_symlink()) for entry in entries if entry.name == "a.dcm"}
            assert types == {"a.dcm": (False, False)}
        for act in (os.stat, os.lstat, open, os.listdir):
            assert errno_of(lambda act=act: act(mount.path / "b.dcm")) == number
        done = subprocess.run([*rsync, f"{mount.path}/", copy], capture_output=True, text=True, check=False)
        assert done.returncode == 23, done.stderr
        assert sorted(path.relative_to(copy) for path in copy.rglob("*") if path != gone) == before
        assert (copy / "b.dcm" / "original.dcm").read_bytes() == DICOM
        assert (copy / "c.txt").read_bytes() == b"text"
        assert gone.exists(), "nothing is deleted while something cannot be seen"
        for name in ("b.dcm", "c.txt"):
            server.answer(name, None)
        subprocess.run([*rsync, f"{mount.path}/", copy], check=True)
        assert sorted(path.relative_to(copy) for path in copy.rglob("*")) == before


def test_without_a_mount_it_is_named_too(tmp_path: Path, files: Path) -> None:
    (files / "b.dcm").write_bytes(DICOM)
    dicomfs = [sys.executable, "-m", "dicomfs"]
    with served(tmp_path, files) as server:
        copy = tmp_path / "copy"
        subprocess.run([*dicomfs, "cp", server.path, copy], check=True)
        server.answer("b.dcm", errno.EIO)
        for options in ([], ["-l"]):
            done = subprocess.run([*dicomfs, "ls", *options, server.path], capture_output=True, text=True, check=False)
            assert done.returncode == 1
            assert [line.split()[-1] for line in done.stdout.splitlines()] == ["a.dcm", "b.dcm"]
            assert "b.dcm: Input/output error" in done.stderr
        done = subprocess.run([*dicomfs, "cp", server.path, copy], capture_output=True, text=True, check=False)
        assert "b.dcm: Input/output error" in done.stderr
        assert (copy / "b.dcm" / "original.dcm").read_bytes() == DICOM
