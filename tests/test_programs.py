"""Programs that copy, pack and serve files: each is the first to touch the files of a mount, and gets every byte.

Each of them trusts the size that it is told before it reads, in a way of its own: archivers write it into a header, web
servers announce it, `mmap` ends there.
"""

import hashlib
import mmap
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from support.builders import dicom, image
from support.cine_objects import FRAME_TIME, film
from support.mounting import mounted
from support.oracles import REPORTS
from support.servers import apache, fetch, nginx, samba
from support.video_files import movie, video

Program = Callable[[str], str]
Sums = dict[bytes, str]


class Table:
    """How many files each program got right, for the end of the run."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, int, int, int]] = []

    def add(self, program: str, right: int, wrong: int, missing: int) -> None:
        self._rows.append((program, right, wrong, missing))

    def lines(self) -> Iterator[str]:
        yield f"{'program':16} {'files':>6} {'right':>6} {'wrong':>6} {'missing':>8}"
        for program, right, wrong, missing in self._rows:
            yield f"{program:16} {right + wrong + missing:6} {right:6} {wrong:6} {missing:8}"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, program: Program) -> Path:
    """Make an archive with one object of each kind of size: arithmetic, text, bound, made at `stat`."""
    folder = tmp_path_factory.mktemp("archive")
    folder.chmod(0o755)
    (folder / "cine.dcm").write_bytes(film(12, {FRAME_TIME: ("DS", "40")}, rows=96, columns=128))
    (folder / "stored.dcm").write_bytes(video(movie(program("ffmpeg"), "mpeg-2 ps"), "100"))
    values = bytes(range(256)) * 32
    (folder / "IM0001").write_bytes(dicom(image(64, 64, values, bits=16)))
    (folder / "note.txt").write_text("passed through\n")
    return folder


@pytest.fixture(scope="module")
def expected(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Sums:
    """Read every file of a mount to its end, whatever its size is said to be."""
    with mounted(archive, tmp_path_factory.mktemp("reference"), "--show", "all") as mount:
        sums = {}
        for path in paths(mount.path):
            with open(os.path.join(os.fsencode(mount.path), path), "rb") as file:
                sums[path] = hashlib.sha256(file.read()).hexdigest()
    assert {b"cine.dcm/video.mp4", b"stored.dcm/video.mp4", b"IM0001/native.dcm"} <= sums.keys()
    assert b"IM0001/transcoded/rle/IM0001" in sums
    return sums


def paths(top: Path) -> Iterator[bytes]:
    """Name all files below *top*."""
    root = os.fsencode(top)
    for folder, _, names in os.walk(root):
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), root)


def sums_below(top: Path) -> Sums:
    """Read copies."""
    return {path: hashlib.sha256((top / os.fsdecode(path)).read_bytes()).hexdigest() for path in paths(top)}


def check(name: str, config: pytest.Config, expected: Sums, got: Mapping[bytes, str]) -> None:
    """Count, and demand that all is right."""
    right = sum(got.get(path) == digest for path, digest in expected.items())
    missing = sum(path not in got for path in expected)
    title = "programs that were the first to touch the files of a mount"
    table = config.stash.setdefault(REPORTS, {}).setdefault(title, Table())
    assert isinstance(table, Table)
    table.add(name, right, len(expected) - right - missing, missing)
    assert {path for path, digest in expected.items() if got.get(path) != digest} == set(), name


# How each program copies all of `source` into `target`, both empty of anything else.
def _bsdtar(find: Program, source: Path, target: Path, work: Path) -> None:
    subprocess.run([find("bsdtar"), "-cf", work / "x.tar", "-C", source, "."], check=True)
    subprocess.run([find("bsdtar"), "-xf", work / "x.tar", "-C", target], check=True)


def _gnu_tar(find: Program, source: Path, target: Path, work: Path) -> None:
    subprocess.run([find("tar"), "-cf", work / "x.tar", "-C", source, "."], check=True)
    subprocess.run([find("tar"), "-xf", work / "x.tar", "-C", target], check=True)


def _cpio(find: Program, source: Path, target: Path, work: Path) -> None:
    names = b"\n".join(paths(source))
    with open(work / "x.cpio", "wb") as packed:
        subprocess.run([find("cpio"), "-o", "-H", "newc"], input=names, cwd=source, stdout=packed, check=True)
    with open(work / "x.cpio", "rb") as packed:
        subprocess.run([find("cpio"), "-id"], stdin=packed, cwd=target, check=True)


def _tarfile(find: Program, source: Path, target: Path, work: Path) -> None:
    with tarfile.open(work / "x.tar", "w") as packed:
        packed.add(source, ".")
    with tarfile.open(work / "x.tar") as packed:
        packed.extractall(target, filter="tar")


def _zip(find: Program, source: Path, target: Path, work: Path) -> None:
    shutil.make_archive(str(work / "x"), "zip", source)
    shutil.unpack_archive(work / "x.zip", target)


def _cp(find: Program, source: Path, target: Path, work: Path) -> None:
    subprocess.run([find("cp"), "-rT", source, target], check=True)


def _rsync(find: Program, source: Path, target: Path, work: Path) -> None:
    subprocess.run([find("rsync"), "-a", f"{source}/", f"{target}/"], check=True)
    again = subprocess.run([find("rsync"), "-ai", f"{source}/", f"{target}/"], check=True, capture_output=True)
    assert [line for line in again.stdout.splitlines() if line.startswith(b">")] == []


def _mmap(find: Program, source: Path, target: Path, work: Path) -> None:
    for path in paths(source):
        copy = target / os.fsdecode(path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with open(os.path.join(os.fsencode(source), path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            copy.write_bytes(bytes(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)) if size else b"")


def _rclone(find: Program, source: Path, target: Path, work: Path) -> None:
    environment = {**os.environ, "RCLONE_CONFIG": str(work / "rclone.conf")}
    (work / "rclone.conf").touch()
    subprocess.run([find("rclone"), "copy", "--retries", "1", source, target], check=True, env=environment)


def _git_annex(find: Program, source: Path, target: Path, work: Path) -> None:
    """Import the mount into a repository, then copy what it holds."""
    find("git-annex")
    repository = work / "repository"
    environment = {**os.environ, "HOME": str(work), "GIT_CONFIG_NOSYSTEM": "1"}
    for name in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{name}_NAME": "test", f"GIT_{name}_EMAIL": "test@localhost"}

    def git(*words: str | Path) -> None:
        subprocess.run(["git", *words], cwd=repository, env=environment, check=True, stdout=subprocess.DEVNULL)

    repository.mkdir()
    git("init", "-q")
    git("annex", "init", "-q", "test")
    git("annex", "import", "-q", "--duplicate", *[source / name for name in sorted(os.listdir(source))])
    git("annex", "fsck", "-q")
    for path in paths(repository):
        if not path.startswith(b".git"):
            copy = target / os.fsdecode(path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repository / os.fsdecode(path), copy)


def _web(serve: Callable[..., object], name: str) -> Callable[[Program, Path, Path, Path], None]:
    def copy_all(find: Program, source: Path, target: Path, work: Path) -> None:
        with serve(find(name), source, work) as root:  # type: ignore[attr-defined]
            for path in paths(source):
                copy = target / os.fsdecode(path)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(fetch(root, path))

    return copy_all


def _samba(find: Program, source: Path, target: Path, work: Path) -> None:
    with samba(find("smbd"), source, work) as port:
        command = [find("smbclient"), "//127.0.0.1/archive", "-p", str(port), "-N", "-c", "recurse;prompt;mget *"]
        subprocess.run(command, cwd=target, check=True, capture_output=True)


# Those that need nothing but small packages.
QUICK = ("bsdtar", "GNU tar", "cpio", "Python tarfile", "Python zip", "cp -r", "rsync", "mmap")
PROGRAMS = {
    "bsdtar": _bsdtar,
    "GNU tar": _gnu_tar,
    "cpio": _cpio,
    "Python tarfile": _tarfile,
    "Python zip": _zip,
    "cp -r": _cp,
    "rsync": _rsync,
    "mmap": _mmap,
    "rclone copy": _rclone,
    "git annex import": _git_annex,
    "Apache": _web(apache, "apache2"),
    "nginx": _web(nginx, "nginx"),
    "Samba": _samba,
}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PROGRAMS]
)
def test_the_first_to_touch_a_file_gets_every_byte(
    name: str, archive: Path, expected: Sums, program: Program, pytestconfig: pytest.Config
) -> None:
    # Servers give up their rights, and pytest's own folders are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        target, work = place / "target", place / "work"
        target.mkdir()
        work.mkdir()
        with mounted(archive, place, "--show", "all", "--allow-other") as mount:
            PROGRAMS[name](program, mount.path, target, work)
        check(name, pytestconfig, expected, sums_below(target))
