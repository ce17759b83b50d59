"""Built files through real mounts: every byte at the first try; one build for all, which ends with its last reader."""

import hashlib
import mmap
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from building import ESTIMATE, SIZES, Control, archive_in, content, control_in, digest, serve
from mounting import Mount, answer_of_path, wait_for

NAMES = sorted(SIZES)


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Control:
    return control_in(tmp_path, monkeypatch)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return archive_in(tmp_path)


def read_by(command: list[str]) -> Callable[[Path, Path], bytes]:
    """Read with a program that writes to standard output, or to TARGET."""

    def read(path: Path, place: Path) -> bytes:
        target = place / "copied"
        words = [{"PATH": str(path), "TARGET": str(target)}.get(word, word) for word in command]
        with open(path if words[0] == "dd" else os.devnull, "rb") as given:
            done = subprocess.run(words, stdin=given, capture_output=True, check=True)
        return target.read_bytes() if target.exists() else done.stdout

    return read


def by_mmap(path: Path, place: Path) -> bytes:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return bytes(mapped)


def by_memmap(path: Path, place: Path) -> bytes:
    return np.memmap(path, np.uint8, "r").tobytes()


def by_fstat(path: Path, place: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)


def by_seek(path: Path, place: Path) -> bytes:
    with open(path, "rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return file.read(size)


def by_tail(path: Path, place: Path) -> bytes:
    """Read the last byte first: it may lie behind what the kernel took for the end."""
    with open(path, "rb", buffering=0) as file:
        size = SIZES[path.name]
        last = os.pread(file.fileno(), 10, size - 1)
        return os.pread(file.fileno(), size - 1, 0) + last


def by_stat_first(path: Path, place: Path) -> bytes:
    """Look at the size, then open and believe what the open file says."""
    assert os.stat(path).st_size == ESTIMATE
    os.listdir(path.parent)
    return by_fstat(path, place)


READERS: dict[str, Callable[[Path, Path], bytes]] = {
    "cat": read_by(["cat", "PATH"]),
    "cp": read_by(["cp", "PATH", "TARGET"]),
    "cp -a": read_by(["cp", "-a", "PATH", "TARGET"]),
    "dd": read_by(["dd", "bs=64K", "status=none"]),
    "tail": read_by(["tail", "-c", "+1", "PATH"]),
    "rsync": read_by(["rsync", "-c", "PATH", "TARGET"]),
    "python": lambda path, place: path.read_bytes(),
    "shutil": lambda path, place: Path(shutil.copyfile(path, place / "copied")).read_bytes(),
    "mmap": by_mmap,
    "memmap": by_memmap,
    "fstat": by_fstat,
    "seek": by_seek,
    "tail first": by_tail,
    "stat first": by_stat_first,
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mount, Control]]:
    """One mount with a file for each reader."""
    place = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as monkeypatch:
        control = control_in(place, monkeypatch)
        with serve(archive_in(place, len(READERS) + 2), place / "m") as mount:
            yield mount, control


@pytest.mark.parametrize("reader", READERS)
def test_every_byte_at_the_first_try(
    reader: str, shared: tuple[Mount, Control], tmp_path: Path, program: Callable[[str], str]
) -> None:
    mount, control = shared
    if reader == "rsync":
        program(reader)
    before = control.count()
    folder = mount.path / f"{list(READERS).index(reader)}.dcm"
    for name in NAMES:
        path = folder / name
        assert path.stat().st_size == ESTIMATE
        assert hashlib.sha256(READERS[reader](path, tmp_path)).hexdigest() == digest(name), name
        assert path.stat().st_size == SIZES[name]
        (tmp_path / "copied").unlink(missing_ok=True)
    assert control.count() == before + len(NAMES)


@pytest.mark.parametrize("options", [[], ["--sparse"]], ids=["plain", "sparse"])
def test_tar_of_everything(
    options: list[str], shared: tuple[Mount, Control], tmp_path: Path, program: Callable[[str], str]
) -> None:
    mount, _ = shared
    folder = f"{len(READERS) + bool(options)}.dcm"
    subprocess.run([program("tar"), "-cf", tmp_path / "t.tar", *options, "-C", mount.path, folder], check=True)
    subprocess.run(["tar", "-xf", tmp_path / "t.tar", "-C", tmp_path], check=True)
    for name in NAMES:
        assert answer_of_path(tmp_path / folder / name) == digest(name)


def test_listing_builds_nothing_and_a_size_once_known_is_shown(
    archive: Path, tmp_path: Path, control: Control, program: Callable[[str], str]
) -> None:
    with serve(archive, tmp_path / "m") as mount:
        for command in (["ls", "-lR"], ["du", "-a"], ["find"], [program("stat")]):
            subprocess.run(
                [*command, mount.path, mount.path / "0.dcm" / "grown.bin"], stdout=subprocess.DEVNULL, check=True
            )
        assert {(mount.path / "0.dcm" / name).stat().st_size for name in NAMES} == {ESTIMATE}
        assert control.count() == mount.statistics()["builds"] == 0
        path = mount.path / "0.dcm" / "grown.bin"
        path.open("rb").close()  # opening is enough
        assert path.stat().st_size == SIZES["grown.bin"]
        assert path.stat().st_blocks == -(-SIZES["grown.bin"] // 512)
        assert (mount.path / "1.dcm" / "grown.bin").stat().st_size == ESTIMATE
        assert control.count() == mount.statistics()["builds"] == 1


@pytest.mark.parametrize("options", [(), ("DIR",), ("DIR", "1M")], ids=["temporary", "cache", "rebuilt"])
def test_a_second_read_costs_the_daemon_nothing(
    options: tuple[str, ...], archive: Path, tmp_path: Path, control: Control
) -> None:
    """It comes out of the page cache, unless the file had to be built anew."""
    arguments = [f"--cache-dir={tmp_path / 'cache'}", "--cache-size=1M"][: len(options)]
    with serve(archive, tmp_path / "m", *arguments) as mount:
        path = mount.path / "0.dcm" / "grown.bin"
        reads = []
        for _ in range(6):
            before = mount.statistics()["requests"]
            assert answer_of_path(path) == digest("grown.bin")
            reads.append(mount.statistics()["requests"] - before)
        least = SIZES["grown.bin"] // (1 << 20)
        if len(options) == 2:
            assert control.count() == 6
            assert min(reads) > least
        else:
            assert control.count() == 1
            # Not each time: the kernel may take pages back whenever it likes, and some machines do.
            assert reads[0] > least > min(reads[1:])


def test_looking_at_it_all_the_time_does_not_spoil_the_size(archive: Path, tmp_path: Path, control: Control) -> None:
    """Answers with the estimate that are on their way while the file gets ready must not be believed afterwards."""
    with serve(archive, tmp_path / "m") as mount:
        look = f"import glob, os\nwhile True: [os.stat(path) for path in glob.glob({str(mount.path)!r} + '/*/*')]"
        looking = [subprocess.Popen([sys.executable, "-c", look]) for _ in range(2)]
        try:
            for folder in ("0.dcm", "1.dcm"):
                for name in NAMES:
                    assert by_memmap(mount.path / folder / name, tmp_path) == content(name)
        finally:
            for process in looking:
                process.kill()
                process.wait()


def test_a_file_is_the_whole_archive(archive: Path, tmp_path: Path, control: Control) -> None:
    with serve(archive / "0.dcm", tmp_path / "m") as mount:
        for name in NAMES:
            assert (mount.path / name).stat().st_size == ESTIMATE
            assert answer_of_path(mount.path / name) == digest(name)
            assert (mount.path / name).stat().st_size == SIZES[name]


# Who waits


def opener(path: Path) -> "subprocess.Popen[bytes]":
    """Start a process that opens *path*; its code is 0 if it could read it."""
    # Whoever started the tests may ignore the signal.
    script = f"import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); open({str(path)!r}, 'rb').read()"
    return subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)


def test_eight_openers_one_build(archive: Path, tmp_path: Path, control: Control) -> None:
    control.hold()
    with serve(archive, tmp_path / "m") as mount:
        path = known(mount.path / "0.dcm" / "grown.bin")
        waiting = [subprocess.Popen(["sha256sum", path], stdout=subprocess.PIPE) for _ in range(8)]
        wait_for(control.count)
        wait_for_openers(mount, *waiting)
        # Nobody else waits for them.
        assert (mount.path / "1.dcm" / "original.dcm").read_bytes() == (archive / "1.dcm").read_bytes()
        assert (mount.path / "0.dcm" / "thumbnail.png").read_bytes()
        control.let_go()
        assert {process.communicate()[0].split()[0].decode() for process in waiting} == {digest("grown.bin")}
        assert control.count() == mount.statistics()["builds"] == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_killed_opener_ends_its_build(number: int, archive: Path, tmp_path: Path, control: Control) -> None:
    control.hold()
    with serve(archive, tmp_path / "m") as mount:
        waiting = opener(known(mount.path / "0.dcm" / "grown.bin"))
        wait_for(control.count)
        wait_for_openers(mount, waiting)
        waiting.send_signal(number)
        wait_for(lambda: control.count("ended") == 1)
        assert waiting.wait(10)
        assert mount.statistics()["cancelled_builds"] == 1
        control.let_go()
        assert answer_of_path(mount.path / "0.dcm" / "grown.bin") == digest("grown.bin")
        assert control.count() == 2


def test_a_killed_opener_leaves_the_build_to_the_others(archive: Path, tmp_path: Path, control: Control) -> None:
    control.hold()
    with serve(archive, tmp_path / "m") as mount:
        path = known(mount.path / "0.dcm" / "shrunk.bin")
        first = opener(path)
        wait_for(control.count)
        second = opener(path)
        wait_for_openers(mount, first, second)
        first.kill()
        assert first.wait(10)
        assert control.count("ended") == 0
        control.let_go()
        assert second.wait(10) == 0
        assert control.count() == 1
        assert mount.statistics()["cancelled_builds"] == 0


def known(path: Path) -> Path:
    """Have the kernel know a path, so that whoever opens it asks the daemon for nothing else."""
    path.stat()
    return path


def wait_for_openers(mount: Mount, *processes: "subprocess.Popen[bytes]") -> None:
    """Wait until the daemon has the requests of processes that open paths which are known."""

    def asleep(process: "subprocess.Popen[bytes]") -> bool:
        waits = Path(f"/proc/{process.pid}/wchan").read_text()
        return "fuse" in waits or "request_wait" in waits

    wait_for(lambda: all(map(asleep, processes)))
    os.statvfs(mount.path)  # is answered by the daemon, after it has taken what came before


@pytest.mark.parametrize("fate", ["OSError", "ValueError", "GeneratorExit", "SystemExit", "group"])
def test_a_failure_reaches_every_opener_and_leaves_nothing(
    fate: str, archive: Path, tmp_path: Path, control: Control
) -> None:
    control.hold()
    control.fate(fate)
    with serve(archive, tmp_path / "m", "--cache-dir", str(tmp_path / "cache"), warn=True) as mount:
        path = known(mount.path / "0.dcm" / "grown.bin")
        waiting = [subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(3)]
        wait_for_openers(mount, *waiting)
        control.let_go()
        error = {"OSError": b"No space left"}.get(fate, b"Input/output error")
        assert all(error in process.communicate()[1] for process in waiting)
        assert control.count() == control.count("ended") == 1
        assert mount.statistics()["build_failures"] == 1
        assert not os.listdir(tmp_path / "cache")
        assert not open_files(mount, "/cache/") + open_files(mount, "/var/tmp")
        assert path.stat().st_size == ESTIMATE
        control.heal()
        assert answer_of_path(path) == digest("grown.bin")
        assert "secret" not in mount.log.read_text()


def open_files(mount: Mount, what: str) -> list[str]:
    """Name the open files of the daemon that contain *what*."""
    folder = Path(f"/proc/{mount.process.pid}/fd")
    return [name for name in (os.readlink(folder / number) for number in os.listdir(folder)) if what in name]


def test_the_daemon_ends_while_somebody_builds(archive: Path, tmp_path: Path, control: Control) -> None:
    control.hold()
    with serve(archive, tmp_path / "m", warn=True) as mount:
        waiting = opener(known(mount.path / "0.dcm" / "grown.bin"))
        wait_for(control.count)
        mount.process.terminate()
        assert mount.process.wait(10) == 0
        assert waiting.wait(10)
        assert control.count("ended") == 1
