"""Ordinary tools on a real mount give the tree's own bytes, and the mount behaves as a read-only file system should."""

import errno
import hashlib
import mmap
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.archives import PYDICOM, PYDICOM_DATA
from support.mounting import Loop, Mount, answer, errno_of, files_below, mounted, tree_of, wait_for

Program = Callable[[str], str]
PICKED = (
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "examples_ybr_color.dcm",
    "rtplan.dcm",
    "liver_1frame.dcm",
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with DICOM files, other files, odd names, links and things that are neither."""
    place = tmp_path_factory.mktemp("archive")
    for name in PICKED:
        shutil.copy2(PYDICOM / name, place / name)
    (place / "notes.txt").write_text("not DICOM\n")
    (place / "empty.dcm").touch()
    os.mkdir(os.fsencode(place) + b"/d\xe9j\xe0 vu")
    shutil.copy2(PYDICOM / "CT_small.dcm", os.fsencode(place) + b"/d\xe9j\xe0 vu/\xff\xfe.dcm")
    (place / "deep" / "er").mkdir(parents=True)
    shutil.copy2(PYDICOM_DATA / "emri_small.dcm", place / "deep" / "er")
    (place / "link.dcm").symlink_to("CT_small.dcm")
    (place / "outside").symlink_to("/etc/passwd")
    (place / "deep" / "back").symlink_to("..")
    os.mkfifo(place / "pipe.dcm")
    return place


@pytest.fixture(scope="module")
def mount(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """Mount the archive with all entries: what copies all of it has copies in other syntaxes built, too."""
    with mounted(archive, tmp_path_factory.mktemp("mount"), "--show=all") as mount:
        yield mount


@pytest.fixture(scope="module")
def expected(archive: Path, loop: Loop) -> dict[bytes, str]:
    """Digest of every file as the tree has it."""

    async def collect() -> dict[bytes, str]:
        with tree_of(loop, archive) as top:
            return {path: await answer(file) for path, file in await files_below(top)}

    return loop.run(collect)


def digests(place: Path | bytes) -> dict[bytes, str]:
    top = os.fsencode(place)
    found = {}
    for directory, _, names in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, top)] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def run(*command: str | bytes | Path, **options: object) -> bytes:
    return subprocess.run(command, check=True, capture_output=True, **options).stdout


def test_walk(mount: Mount, expected: dict[bytes, str]) -> None:
    assert digests(mount.path) == expected
    assert b"link.dcm/original.dcm" in expected
    assert b"outside" not in expected
    assert not any(path.startswith((b"pipe", b"deep/back")) for path in expected)
    assert expected[b"d\xe9j\xe0 vu/\xff\xfe.dcm/original.dcm"] == expected[b"CT_small.dcm/original.dcm"]


def test_cp(mount: Mount, expected: dict[bytes, str], tmp_path: Path) -> None:
    run("cp", "-a", mount.path, tmp_path / "copy")
    assert digests(tmp_path / "copy") == expected
    source = os.stat(mount.path / "CT_small.dcm" / "header.json")
    copied = os.stat(tmp_path / "copy" / "CT_small.dcm" / "header.json")
    assert (source.st_mtime_ns, source.st_mode) == (copied.st_mtime_ns, copied.st_mode)
    run("chmod", "-R", "u+w", tmp_path / "copy")


def test_rsync(mount: Mount, expected: dict[bytes, str], tmp_path: Path, program: Program) -> None:
    rsync = program("rsync")
    run(rsync, "-a", f"{mount.path}/", tmp_path / "copy")
    assert digests(tmp_path / "copy") == expected
    # Nothing left to do, by size and time and by content.
    assert run(rsync, "-ani", "--delete", f"{mount.path}/", tmp_path / "copy") == b""
    assert run(rsync, "-anci", "--delete", f"{mount.path}/", tmp_path / "copy") == b""
    run("chmod", "-R", "u+w", tmp_path / "copy")


@pytest.mark.parametrize("option", ["", "--sparse"])
def test_tar(option: str, mount: Mount, expected: dict[bytes, str], tmp_path: Path) -> None:
    run("tar", "-cf", tmp_path / "all.tar", *([option] if option else []), "-C", mount.path, ".")
    (tmp_path / "out").mkdir()
    run("tar", "-xf", tmp_path / "all.tar", "-C", tmp_path / "out", "--no-same-permissions")
    assert digests(tmp_path / "out") == expected


@pytest.mark.slow
def test_sha256sum(mount: Mount, expected: dict[bytes, str]) -> None:
    for path, digest in expected.items():
        assert run("sha256sum", os.path.join(os.fsencode(mount.path), path)).lstrip(b"\\")[:64].decode() == digest


def test_mmap(mount: Mount, expected: dict[bytes, str]) -> None:
    for path, digest in expected.items():
        with open(os.path.join(os.fsencode(mount.path), path), "rb") as file:
            if os.fstat(file.fileno()).st_size:
                with mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ) as mapped:
                    assert hashlib.sha256(mapped).hexdigest() == digest


@pytest.mark.parametrize("block", [1, 511, 4097, 131071, 1000003])
@pytest.mark.parametrize("flag", ["", "iflag=direct"])
def test_dd(block: int, flag: str, mount: Mount) -> None:
    path = mount.path / "examples_ybr_color.dcm" / "frames" / "0007.png"
    whole = path.read_bytes()
    command = ["dd", f"if={path}", f"bs={block}", "skip=3", "count=5", *([flag] if flag else [])]
    assert run(*command) == whole[3 * block : 8 * block]


def test_find_du_and_ls_agree_with_stat(mount: Mount, expected: dict[bytes, str]) -> None:
    found = run("find", mount.path, "-type", "f", "-printf", "%P\\0%s\\0%b\\0").split(b"\0")[:-1]
    sizes = dict(zip(found[::3], map(int, found[1::3]), strict=True))
    assert sizes.keys() == expected.keys()
    for path, size, blocks in zip(found[::3], found[1::3], found[2::3], strict=True):
        status = os.stat(os.path.join(os.fsencode(mount.path), path))
        assert status.st_size == int(size)
        assert status.st_blocks == int(blocks) == -(-int(size) // 512)
        assert status.st_nlink == 1
    assert int(run("du", "-sb", "--apparent-size", mount.path).split()[0]) == sum(sizes.values())
    assert len(run("ls", "-lR", mount.path).splitlines()) > len(expected)
    names = run("find", mount.path, "-links", "+1")
    assert names == b""


def test_ordinary_pictures(mount: Mount, program: Program, tmp_path: Path) -> None:
    frames = mount.path / "examples_ybr_color.dcm" / "frames"
    run(program("pngcheck"), "-q", *sorted(frames.iterdir()))
    film = tmp_path / "film.mp4"
    run(program("ffmpeg"), "-v", "error", "-i", frames / "%04d.png", "-pix_fmt", "yuv420p", film)
    counted = run(
        program("ffprobe"), "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames,width,height",
        "-of", "csv=p=0", film,
    )  # fmt: skip
    assert counted.decode().strip() == "320,240,30"
    assert np.asarray(Image.open(frames / "0001.png")).std() > 5


def test_read_only(mount: Mount) -> None:
    file, directory = mount.path / "notes.txt", mount.path / "CT_small.dcm"
    for act in (
        lambda: open(file, "ab"),
        lambda: open(directory / "new", "wb"),
        lambda: os.truncate(file, 0),
        lambda: os.unlink(file),
        lambda: os.mkdir(directory / "new"),
        lambda: os.rmdir(directory / "frames"),
        lambda: os.rename(file, mount.path / "other"),
        lambda: os.symlink("x", mount.path / "new"),
        lambda: os.link(file, mount.path / "new"),
        lambda: os.chmod(file, 0o777),
        lambda: os.utime(file),
        lambda: os.chown(file, 1, 1),
        lambda: os.setxattr(file, "user.x", b"y"),
        lambda: os.mknod(mount.path / "new"),
    ):
        assert errno_of(act) == errno.EROFS
    options = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {mount.path} " in line)
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(options.split()[5].split(","))
    assert "default_permissions" in options
    assert "fuse.dicomfs" in options


def test_modes_and_owner_come_from_the_source(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir(mode=0o2775)
    secret = source / "secret.dcm"
    shutil.copy(PYDICOM / "CT_small.dcm", secret)
    secret.chmod(0o4640)
    os.chown(secret, 1234, 2345)
    other = source / "run.sh"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    with mounted(source, tmp_path) as mount:
        for path, mode in (
            ("secret.dcm", stat.S_IFDIR | 0o550),
            ("secret.dcm/frames", stat.S_IFDIR | 0o550),
            ("secret.dcm/original.dcm", stat.S_IFREG | 0o440),
            ("secret.dcm/frames/0001.png", stat.S_IFREG | 0o440),
        ):
            status = os.stat(mount.path / path)
            assert (status.st_mode, status.st_uid, status.st_gid) == (mode, 1234, 2345), path
            assert status.st_mtime_ns == secret.stat().st_mtime_ns
        assert os.stat(mount.path / "run.sh").st_mode == stat.S_IFREG | 0o555
        assert os.stat(mount.path).st_mode == stat.S_IFDIR | 0o555


def test_other_users_get_what_the_source_gives_them(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for place in (tmp_path, *tmp_path.parents[:2]):
        place.chmod(0o755)
    for name, mode in (("open.dcm", 0o644), ("closed.dcm", 0o600)):
        shutil.copy(PYDICOM / "CT_small.dcm", source / name)
        (source / name).chmod(mode)

    def as_nobody(path: Path) -> int:
        script = "import os,sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); open(sys.argv[1]).close()"
        done = subprocess.run(["python3", "-c", script, path], capture_output=True, text=True, check=False)
        return errno.EACCES if "PermissionError" in done.stderr else done.returncode

    with mounted(source, tmp_path, "--allow-other") as mount:
        assert as_nobody(mount.path / "open.dcm" / "header.txt") == 0
        assert as_nobody(mount.path / "closed.dcm" / "header.txt") == errno.EACCES
    with mounted(source, tmp_path) as mount:
        assert as_nobody(mount.path / "open.dcm" / "header.txt") == errno.EACCES


def test_statfs(mount: Mount, archive: Path) -> None:
    here, there = os.statvfs(mount.path), os.statvfs(archive)
    assert here.f_blocks * here.f_frsize == there.f_blocks * there.f_frsize > 0
    assert here.f_bavail == 0
    assert here.f_namemax == 255
    assert run("df", mount.path)


def test_names_that_are_not_there(mount: Mount) -> None:
    for name in (
        "missing",
        "CT_small.dcm/missing",
        "CT_small.dcm/frames/0002.png",
        "CT_small.dcm/frames/1.png",
        "CT_small.dcm/frames/0001.jpg",
        "CT_small.dcm/frames/00001.png",
        "CT_small.dcm/frames/" + "9" * 200,
        "rtplan.dcm/frames",
        "outside",
        "pipe.dcm",
        "deep/back",
    ):
        assert errno_of(lambda name=name: os.stat(mount.path / name)) == errno.ENOENT, name
    assert errno_of(lambda: os.stat(mount.path / "notes.txt" / "x")) == errno.ENOTDIR
    assert errno_of(lambda: os.stat(mount.path / ("n" * 300))) == errno.ENAMETOOLONG


def test_a_path_works_without_a_listing(archive: Path, tmp_path: Path) -> None:
    with mounted(archive, tmp_path) as mount:
        assert (mount.path / "deep/er/emri_small.dcm/frames/0010.png").read_bytes().startswith(b"\x89PNG")


def test_listings_of_a_directory_are_stable_while_it_changes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(1000):
        (source / f"{number:04}").touch()
    with mounted(source, tmp_path) as mount, os.scandir(mount.path) as listing:
        seen = [next(listing).name for _ in range(10)]
        for number in range(0, 1000, 2):
            (source / f"{number:04}").unlink()
        seen += [entry.name for entry in listing]
        assert sorted(seen) == [f"{number:04}" for number in range(1000)]
        assert len(os.listdir(mount.path)) == 500


@pytest.mark.slow
def test_forgotten_inodes_are_freed(archive: Path, tmp_path: Path) -> None:
    drop = Path("/proc/sys/vm/drop_caches")
    with mounted(archive, tmp_path) as mount:
        run("ls", "-lR", mount.path)
        assert mount.statistics()["inodes"] > 20
        drop.write_text("2")
        wait_for(lambda: mount.statistics()["inodes"] == 1)
        run("ls", "-lR", mount.path)


def test_a_changed_source_is_a_new_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    file = source / "x.dcm"
    shutil.copy(PYDICOM / "CT_small.dcm", file)
    with mounted(source, tmp_path) as mount:
        shown = mount.path / "x.dcm"
        first = os.stat(shown / "frames" / "0001.png")
        picture = (shown / "frames" / "0001.png").read_bytes()
        kept = open(shown / "original.dcm", "rb")
        head = kept.read(100)
        shutil.copy(PYDICOM / "MR_small.dcm", source / "new")
        os.rename(source / "new", file)
        # The open file still is the old version, whole.
        assert head + kept.read() == (PYDICOM / "CT_small.dcm").read_bytes()
        kept.close()
        wait_for(lambda: os.stat(shown / "frames" / "0001.png").st_ino != first.st_ino)
        assert (shown / "original.dcm").read_bytes() == (PYDICOM / "MR_small.dcm").read_bytes()
        assert (shown / "frames" / "0001.png").read_bytes() != picture


def test_a_file_truncated_under_a_reader_is_stale_and_never_a_mix(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    file = source / "big.bin"
    file.write_bytes(b"old!" * 1_000_000)
    with mounted(source, tmp_path) as mount:
        with open(mount.path / "big.bin", "rb", buffering=0) as kept:
            assert kept.read(4) == b"old!"
            os.truncate(file, 100)
            kept.seek(3_000_000)
            assert errno_of(lambda: kept.read(4)) == errno.ESTALE
            file.write_bytes(b"new!" * 1_000_000)
            kept.seek(2_000_000)
            assert errno_of(lambda: kept.read(4)) == errno.ESTALE
        assert (mount.path / "big.bin").read_bytes() == b"new!" * 1_000_000


def test_a_broken_neighbour_harms_nobody(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    good = (PYDICOM / "CT_small.dcm").read_bytes()
    (source / "good.dcm").write_bytes(good)
    (source / "empty.dcm").touch()
    (source / "zip.dcm").write_bytes(b"PK\x03\x04" + bytes(1000))
    (source / "only-preamble.dcm").write_bytes(bytes(128) + b"DICM")
    for cut in (140, 200, 1000, 5000, 6300, 20000):
        (source / f"cut{cut}.dcm").write_bytes(good[:cut])
    closed = source / "closed"
    closed.mkdir()
    with mounted(source, tmp_path, warn=True) as mount:
        names = sorted(os.listdir(mount.path))
        assert names == sorted(os.listdir(source))
        assert (mount.path / "empty.dcm").read_bytes() == b""
        assert (mount.path / "zip.dcm").is_file()
        for name in names:
            place = mount.path / name
            if place.is_dir() and name.startswith(("cut", "only")):
                assert (place / "original.dcm").read_bytes() == (source / name).read_bytes()
                assert (place / "problems.txt").read_text().strip(), name
        assert errno_of(lambda: (mount.path / "cut20000.dcm/frames/0001.png").read_bytes()) == errno.EIO
        assert (mount.path / "good.dcm/frames/0001.png").read_bytes().startswith(b"\x89PNG")


def test_what_may_not_be_read_is_listed_and_refused(tmp_path: Path, program: Program) -> None:
    """The daemon runs without root's right to read everything."""
    source = tmp_path / "source"
    (source / "closed").mkdir(parents=True)
    for name in ("secret.dcm", "good.dcm", "closed/inside.dcm"):
        shutil.copy(PYDICOM / "CT_small.dcm", source / name)
    (source / "secret.dcm").chmod(0)
    (source / "closed").chmod(0)
    drop = [program("setpriv"), "--bounding-set=-dac_override,-dac_read_search"]
    with mounted(source, tmp_path, under=drop) as mount:
        assert sorted(os.listdir(mount.path)) == ["closed", "good.dcm", "secret.dcm"]
        assert (mount.path / "good.dcm/header.json").read_bytes()
        for act in (
            lambda: os.listdir(mount.path / "closed"),
            lambda: os.stat(mount.path / "closed" / "inside.dcm"),
            lambda: (mount.path / "secret.dcm").read_bytes(),
        ):
            assert errno_of(act) == errno.EACCES
        assert stat.S_IMODE(os.stat(mount.path / "secret.dcm").st_mode) == 0
        assert not mount.warnings()


def test_frames_are_made_ahead_of_who_reads_in_order(tmp_path: Path) -> None:
    """Reading in order decodes each frame once; looking at single frames decodes those alone."""
    with mounted(PYDICOM / "examples_ybr_color.dcm", tmp_path, "--workers", "2") as mount:
        frames = mount.path / "frames"
        for number in (30, 10, 20):
            (frames / f"{number:04}.png").read_bytes()
        assert mount.statistics()["decoded"] == 3
        for number in range(1, 31):
            (frames / f"{number:04}.png").read_bytes()
        figures = mount.statistics()
        # The kernel has three of them already, of which only it knows.
        assert 30 <= figures["decoded"] <= 33
        assert figures["cache_hits"] > 10
