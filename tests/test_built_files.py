"""Built files through real mounts: every byte at the first try; one build for all, which ends with its last reader.

Their sizes are known by building them alone, so whoever asks for one has the file built, and no listing does.
"""

import errno
import fcntl
import hashlib
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import termios
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.building import SIZES, Control, archive_in, content, control_in, digest, serve
from support.mounting import Mount, answer_of_path, errno_of, wait_for

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
        words = [word.replace("PATH", str(path)).replace("TARGET", str(target)) for word in command]
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
    """Look at the size and at the directory, then read as much."""
    size = os.stat(path).st_size
    os.listdir(path.parent)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, size, 0) + os.pread(descriptor, 10, size)
    finally:
        os.close(descriptor)


def by_scandir(path: Path, place: Path) -> bytes:
    """Look at the size as a directory's entry tells it."""
    (size,) = [entry.stat().st_size for entry in os.scandir(path.parent) if entry.name == path.name]
    with open(path, "rb", buffering=0) as file:
        return file.read(size)


# What follows never asks for a size: the kernel goes by the one that it knows.


def by_sendfile(path: Path, place: Path) -> bytes:
    with open(path, "rb", buffering=0) as file, open(place / "copied", "wb") as target:
        while os.sendfile(target.fileno(), file.fileno(), None, 1 << 20):
            pass
    return (place / "copied").read_bytes()


def by_splice(path: Path, place: Path) -> bytes:
    here, there = os.pipe()
    parts = []
    with open(path, "rb", buffering=0) as file, open(here, "rb", buffering=0) as pipe:
        while os.splice(file.fileno(), there, 1 << 16):
            parts.append(pipe.read(1 << 16))
        os.close(there)
    return b"".join(parts)


def by_ioctl(path: Path, place: Path) -> bytes:
    with open(path, "rb", buffering=0) as file:
        (size,) = struct.unpack("i", fcntl.ioctl(file.fileno(), termios.FIONREAD, bytes(4)))
        return file.read(size)


def by_pages(path: Path, place: Path) -> bytes:
    """Map as many bytes as somebody else has told; behind the last page of a file that is fatal."""
    script = (
        "import ctypes, os, sys; call = ctypes.CDLL(None).mmap; call.restype = ctypes.c_void_p;"
        "file, size = os.open(sys.argv[1], os.O_RDONLY), int(sys.argv[2]);"
        "place = call(None, ctypes.c_size_t(size), 1, 2, file, ctypes.c_long(0));"
        "os.write(1, ctypes.string_at(place, size))"
    )
    return subprocess.run(
        [sys.executable, "-c", script, path, str(SIZES[path.name])], capture_output=True, check=True
    ).stdout


def by_tarfile(path: Path, place: Path) -> bytes:
    with tarfile.open(place / "t.tar", "w") as archive:
        archive.add(path, path.name)
    with tarfile.open(place / "t.tar") as archive:
        file = archive.extractfile(path.name)
        assert file
        return file.read()


def by_zipfile(path: Path, place: Path) -> bytes:
    with zipfile.ZipFile(place / "z.zip", "w") as archive:
        archive.write(path, path.name)
    with zipfile.ZipFile(place / "z.zip") as archive:
        return archive.read(path.name)


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
    "scandir": by_scandir,
    "sendfile": by_sendfile,
    "splice": by_splice,
    "FIONREAD": by_ioctl,
    "pages": by_pages,
    "tarfile": by_tarfile,
    "zipfile": by_zipfile,
    "cpio": read_by(["sh", "-c", "cd $(dirname PATH) && echo $(basename PATH) | cpio -oH newc | cpio -i --to-stdout"]),
    "bsdtar": read_by(["sh", "-c", "bsdtar -cf - -C $(dirname PATH) $(basename PATH) | bsdtar -xOf -"]),
}
# Programs that not every machine has.
PROGRAMS = {"rsync", "cpio", "bsdtar"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mount, Control]]:
    """One mount with a file for each reader."""
    place = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as monkeypatch:
        control = control_in(place, monkeypatch)
        with serve(archive_in(place, len(READERS) + 2 + len(LISTERS)), place / "m") as mount:
            yield mount, control


@pytest.mark.parametrize("reader", READERS)
def test_every_byte_at_the_first_try(
    reader: str, shared: tuple[Mount, Control], tmp_path: Path, program: Callable[[str], str]
) -> None:
    mount, control = shared
    if reader in PROGRAMS:
        program(reader)
    before = control.count()
    folder = mount.path / f"{list(READERS).index(reader)}.dcm"
    for name in NAMES:
        path = folder / name
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


WALK = "import os, sys; print(len(list(os.walk(sys.argv[1]))))"
STAT = "import os, sys; [os.stat(entry) for entry in os.scandir(sys.argv[1]) if entry.name.endswith('.bin')]"
# Programs that list a directory, and for how many of its files they ask more than the name.
LISTERS: dict[str, tuple[list[str], int]] = {
    "ls": (["ls"], 0),
    "ls -R": (["ls", "-R", "--color=never"], 0),
    "find": (["find"], 0),
    "find -name": (["find", "PLACE", "-name", "*.bin", "-type", "f"], 0),
    "os.walk": ([sys.executable, "-c", WALK], 0),
    "rsync --list-only": (["rsync", "-r", "--list-only", "PLACE/"], len(NAMES)),
    "ls -l": (["ls", "-l"], len(NAMES)),
    "du": (["du", "-a"], len(NAMES)),
    "find -size": (["find", "PLACE", "-size", "+1k"], len(NAMES)),
    "stat": ([sys.executable, "-c", STAT], len(NAMES)),
}


@pytest.mark.parametrize("lister", LISTERS)
def test_a_listing_of_names_builds_nothing(
    lister: str, shared: tuple[Mount, Control], program: Callable[[str], str]
) -> None:
    """And who asks for the size has it built, once."""
    mount, control = shared
    command, asked = LISTERS[lister]
    program(command[0])
    place = str(mount.path / f"{len(READERS) + 2 + list(LISTERS).index(lister)}.dcm")
    words = [word.replace("PLACE", place) for word in command]
    for times in (0, 1):
        before = control.count()
        done = subprocess.run(words if words != command else [*words, place], capture_output=True, check=True)
        assert done.stdout or command[-1] == STAT
        assert control.count() - before == (0 if times else asked)


def test_a_size_is_shown_with_its_blocks(archive: Path, tmp_path: Path, control: Control) -> None:
    with serve(archive, tmp_path / "m") as mount:
        path = mount.path / "0.dcm" / "grown.bin"
        status = path.stat()
        assert (status.st_size, status.st_blocks) == (SIZES["grown.bin"], -(-SIZES["grown.bin"] // 512))
        assert control.count() == mount.statistics()["builds"] == 1


def test_a_listing_tells_the_kernel_no_size(archive: Path, tmp_path: Path, control: Control) -> None:
    """Only who wants an answer without the file system being asked sees that there is none yet: an empty file."""
    with serve(archive, tmp_path / "m") as mount:
        path = mount.path / "0.dcm" / "tiny.bin"
        os.listdir(path.parent)

        def cached() -> int:
            return int(subprocess.run(["stat", "--cached=always", "-c", "%s", path], capture_output=True).stdout)

        assert cached() == control.count() == 0
        assert path.stat().st_size == SIZES["tiny.bin"]
        os.listdir(path.parent)
        assert cached() == SIZES["tiny.bin"]


@pytest.mark.parametrize("options", [(), ("DIR",), ("DIR", "1M")], ids=["temporary", "cache", "rebuilt"])
def test_a_second_read_costs_the_daemon_nothing(
    options: tuple[str, ...], archive: Path, tmp_path: Path, control: Control
) -> None:
    """It comes out of the page cache, unless the file had to be built anew."""
    arguments = [f"--cache-dir={tmp_path / 'cache'}", "--cache-size=1M"][: len(options)]
    control.seconds("linger", 0)
    with serve(archive, tmp_path / "m", *arguments) as mount:
        path = mount.path / "0.dcm" / "grown.bin"
        assert path.stat().st_size == SIZES["grown.bin"]
        if len(options) == 2:
            wait_until_closed(mount)
        reads = []
        for _ in range(6):
            before = mount.statistics()["requests"]
            assert answer_of_path(path) == digest("grown.bin")
            reads.append(mount.statistics()["requests"] - before)
        least = SIZES["grown.bin"] // (1 << 20)
        if len(options) == 2:
            assert control.count() == 7
            assert min(reads) > least
        else:
            assert control.count() == 1
            # Not each time: the kernel may take pages back whenever it likes, and some machines do.
            assert reads[0] > least > min(reads[1:])


def test_what_is_too_large_to_be_kept_is_built_once_for_who_asks_and_opens(
    archive: Path, tmp_path: Path, control: Control
) -> None:
    with serve(archive, tmp_path / "m", "--cache-size=1M") as mount:
        path = mount.path / "0.dcm" / "grown.bin"
        with tarfile.open(tmp_path / "t.tar", "w") as tar:
            tar.add(path, "x")
        assert control.count() == 1


def forget(mount: Mount) -> None:
    """Have the kernel forget what it can."""
    inodes = mount.statistics()["inodes"]
    Path("/proc/sys/vm/drop_caches").write_text("2")
    wait_for(lambda: mount.statistics()["inodes"] < inodes)


@pytest.mark.parametrize("first", ["stat", "open"])
def test_a_size_once_told_stays(first: str, archive: Path, tmp_path: Path, control: Control) -> None:
    """Also when the file had to be made again and is another one: then it cannot be read as long as that is known."""
    control.seconds("linger", 0)
    with serve(archive, tmp_path / "m", "--cache-size=1K", warn=True) as mount:
        path = mount.path / "0.dcm" / "tiny.bin"
        large = mount.path / "0.dcm" / "shrunk.bin"
        if first == "open":
            assert answer_of_path(large) == digest("shrunk.bin")
        assert large.stat().st_size == SIZES["shrunk.bin"]
        inode = large.stat().st_ino
        wait_until_closed(mount)
        control.more()
        for _ in range(2):
            assert errno_of(large.read_bytes) == errno.EIO
            os.listdir(large.parent)
            assert (large.stat().st_size, large.stat().st_ino) == (SIZES["shrunk.bin"], inode)
        assert path.stat().st_size == SIZES["tiny.bin"] + 1
        forget(mount)
        assert large.stat().st_size == len(large.read_bytes()) == SIZES["shrunk.bin"] + 1


def test_another_version_of_the_source_is_another_inode(archive: Path, tmp_path: Path, control: Control) -> None:
    with serve(archive, tmp_path / "m") as mount:
        path = mount.path / "0.dcm" / "tiny.bin"
        before = path.stat()
        with open(path, "rb") as file:
            control.more()
            os.utime(archive / "0.dcm", ns=(1, 1))
            wait_for(lambda: path.stat().st_ino != before.st_ino)
            assert path.stat().st_size == len(path.read_bytes()) == before.st_size + 1
            assert os.fstat(file.fileno()).st_size == before.st_size


def test_looking_at_it_all_the_time_does_not_spoil_the_size(archive: Path, tmp_path: Path, control: Control) -> None:
    """Answers without a size that are on their way while the file gets ready must not be believed afterwards."""
    with serve(archive, tmp_path / "m") as mount:
        look = f"import glob\nwhile True: glob.glob({str(mount.path)!r} + '/*/*')"
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
            assert (mount.path / name).stat().st_size == SIZES[name]
            assert answer_of_path(mount.path / name) == digest(name)


# Who waits


# The kernel waits for the size at first, and once it knows that, for the opened file.
WAITS = pytest.mark.parametrize("sized", [False, True], ids=["size", "open"])


def opener(path: Path) -> "subprocess.Popen[bytes]":
    """Start a process that opens *path*; its code is 0 if it could read it."""
    # Whoever started the tests may ignore the signal.
    script = f"import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); open({str(path)!r}, 'rb').read()"
    return subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)


# So that each open is a build.
SMALL = "--cache-size=1K"


@pytest.fixture
def lingerless(control: Control) -> Control:
    control.seconds("linger", 0)
    return control


def known(mount: Mount, folder: str, name: str, sized: bool = False) -> Path:
    """Have the kernel know a path, so that whoever opens it asks for nothing but its size, or not even that."""
    path = mount.path / folder / name
    os.listdir(path.parent)
    if sized:
        path.stat()
        wait_until_closed(mount)
    return path


@WAITS
def test_eight_openers_one_build(sized: bool, archive: Path, tmp_path: Path, lingerless: Control) -> None:
    control = lingerless
    with serve(archive, tmp_path / "m", SMALL) as mount:
        path = known(mount, "0.dcm", "grown.bin", sized)
        control.hold()
        waiting = [subprocess.Popen(["sha256sum", path], stdout=subprocess.PIPE) for _ in range(8)]
        wait_for(lambda: control.count() == sized + 1)
        wait_for_openers(mount, *waiting)
        # Nobody else waits for them.
        assert (mount.path / "1.dcm" / "original.dcm").read_bytes() == (archive / "1.dcm").read_bytes()
        assert (mount.path / "0.dcm" / "thumbnail.png").read_bytes()
        control.let_go()
        assert {process.communicate()[0].split()[0].decode() for process in waiting} == {digest("grown.bin")}
        assert control.count() == mount.statistics()["builds"]
        assert control.count() <= sized + 2  # once for the size, once for the bytes


@WAITS
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_killed_opener_ends_its_build(
    number: int, sized: bool, archive: Path, tmp_path: Path, lingerless: Control
) -> None:
    control = lingerless
    with serve(archive, tmp_path / "m", SMALL) as mount:
        path = known(mount, "0.dcm", "grown.bin", sized)
        control.hold()
        waiting = opener(path)
        wait_for(lambda: control.count() == sized + 1)
        wait_for_openers(mount, waiting)
        waiting.send_signal(number)
        wait_for(lambda: control.count("ended") == sized + 1)
        assert waiting.wait(10)
        assert mount.statistics()["cancelled_builds"] == 1
        control.let_go()
        assert answer_of_path(path) == digest("grown.bin")


def test_who_asks_for_a_size_can_be_interrupted(archive: Path, tmp_path: Path, control: Control) -> None:
    script = (
        "import os, signal, sys; signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "try: os.stat(sys.argv[1])\nexcept InterruptedError as error: print(error.errno)"
    )
    control.hold()
    with serve(archive, tmp_path / "m") as mount:
        path = known(mount, "0.dcm", "grown.bin")
        waiting = subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE)
        wait_for(control.count)
        wait_for_openers(mount, waiting)
        waiting.terminate()
        assert waiting.communicate()[0].split() == [b"%d" % errno.EINTR]
        wait_for(lambda: control.count("ended") == 1)
        assert mount.statistics()["cancelled_builds"] == 1


@WAITS
def test_what_takes_too_long_goes_on_and_is_kept(sized: bool, archive: Path, tmp_path: Path, control: Control) -> None:
    control.seconds("linger", 0)
    control.seconds("limit", 2)
    with serve(archive, tmp_path / "m", *((SMALL,) if sized else ()), warn=True) as mount:
        path = known(mount, "0.dcm", "grown.bin", sized)
        control.hold()
        for _ in range(2):
            assert errno_of(path.read_bytes if sized else path.stat) == errno.ETIMEDOUT
        assert control.count() == sized + 1
        assert mount.statistics()["cancelled_builds"] == 0
        control.let_go()
        wait_for(lambda: control.count("ended") == sized + 1)
        assert path.stat().st_size == SIZES["grown.bin"]
        assert answer_of_path(path) == digest("grown.bin")
        if not sized:
            assert control.count() == 1


def test_a_killed_opener_leaves_the_build_to_the_others(archive: Path, tmp_path: Path, control: Control) -> None:
    control.hold()
    with serve(archive, tmp_path / "m") as mount:
        path = known(mount, "0.dcm", "shrunk.bin")
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
        path = known(mount, "0.dcm", "grown.bin")
        waiting = [subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(3)]
        wait_for_openers(mount, *waiting)
        control.let_go()
        error = {"OSError": b"No space left"}.get(fate, b"Input/output error")
        assert all(error in process.communicate()[1] for process in waiting)
        assert control.count() == control.count("ended") == 1
        assert mount.statistics()["build_failures"] == 1
        assert not os.listdir(tmp_path / "cache")
        assert not open_files(mount, "/cache/") + open_files(mount, "/var/tmp")
        control.heal()
        assert path.stat().st_size == SIZES["grown.bin"]
        assert answer_of_path(path) == digest("grown.bin")
        assert "secret" not in mount.log.read_text()


def wait_until_closed(mount: Mount) -> None:
    """Wait until nothing that was built, and is too large to be kept, is open."""
    wait_for(lambda: not open_files(mount, "/var/tmp") + open_files(mount, "/cache/"))


def open_files(mount: Mount, what: str) -> list[str]:
    """Name the open files of the daemon that contain *what*."""
    folder = Path(f"/proc/{mount.process.pid}/fd")
    return [name for name in (os.readlink(folder / number) for number in os.listdir(folder)) if what in name]


def test_the_daemon_ends_while_somebody_builds(archive: Path, tmp_path: Path, control: Control) -> None:
    control.hold()
    with serve(archive, tmp_path / "m", warn=True) as mount:
        waiting = opener(known(mount, "0.dcm", "grown.bin"))
        wait_for(control.count)
        mount.process.terminate()
        assert mount.process.wait(10) == 0
        assert waiting.wait(10)
        assert control.count("ended") == 1
