"""The archive is only read, never left, and never shown as something that it is not."""

import contextlib
import errno
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.builders import dicom, image

from dicomfs.sources import local, local_recognition
from dicomfs.sources.local import LocalSource
from dicomfs.sources.local_file import fingerprint_of, object_id_of
from dicomfs.sources.source import Entry, Kind, OutsideSource, SourceChanged, SourceFile, Unseen

DICOM = dicom(image(4, 4, bytes(16)))
NOBODY = 65534


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Give a directory with one DICOM file, beside a secret."""
    root = tmp_path / "archive"
    (root / "a" / "b").mkdir(parents=True)
    (root / "x.dcm").write_bytes(DICOM)
    (root / "a" / "b" / "y.dcm").write_bytes(DICOM)
    (root / "a" / "note.txt").write_text("just text")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "z.dcm").write_bytes(DICOM)
    return root


@pytest.fixture
def source(archive: Path) -> Iterator[LocalSource]:
    opened = LocalSource(str(archive))
    yield opened
    opened.close()


def names(source: LocalSource, directory: bytes = b"") -> list[bytes]:
    return [entry.name for entry in source.entries(directory)]


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def as_nobody(work: Callable[[], None]) -> None:
    """Run *work* as an ordinary user, in a child; fails with what it raised."""
    if os.getuid():
        work()
        return
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            work()
        except BaseException:  # noqa: BLE001 - whatever it is, the parent reports it
            os.write(writing, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        report = pipe.read().decode()
    os.waitpid(child, 0)
    if report:
        pytest.fail(report)


def open_to_all(path: Path, archive: Path) -> None:
    """Let an ordinary user reach *path*: the folders of pytest are private."""
    for folder in archive.parents:
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o711)


# What is shown


def test_kinds_and_attributes_are_the_files_own(source: LocalSource, archive: Path) -> None:
    entries = {entry.name: entry for entry in source.entries(b"")}
    assert list(entries) == [b"a", b"x.dcm"]
    assert entries[b"a"].kind is Kind.DIRECTORY
    dicom_file = entries[b"x.dcm"]
    status = (archive / "x.dcm").stat()
    assert dicom_file == Entry(
        b"x.dcm",
        b"x.dcm",
        Kind.DICOM,
        fingerprint_of(status),
        len(DICOM),
        status.st_mtime_ns,
        status.st_mode,
        status.st_uid,
        status.st_gid,
        object_id_of(status),
    )
    assert source.entry(b"", b"x.dcm") == dicom_file
    assert [(entry.path, entry.kind) for entry in source.entries(b"a")] == [
        (b"a/b", Kind.DIRECTORY),
        (b"a/note.txt", Kind.OTHER),
    ]
    assert source.entry(b"a/b", b"y.dcm").path == b"a/b/y.dcm"
    assert source.directory(b"a/b").object_id == object_id_of((archive / "a" / "b").stat())
    assert source.root_entry().object_id == object_id_of(archive.stat())


def test_the_name_of_a_file_does_not_matter(source: LocalSource, archive: Path) -> None:
    (archive / "x.dcm").rename(archive / "report.txt")
    (archive / "empty.dcm").write_bytes(b"")
    (archive / "zip.dcm").write_bytes(b"PK\x03\x04" + bytes(1000))
    assert source.entry(b"", b"report.txt").kind is Kind.DICOM
    assert source.entry(b"", b"empty.dcm").kind is Kind.OTHER
    assert source.entry(b"", b"zip.dcm").kind is Kind.OTHER


def test_names_are_bytes(source: LocalSource, archive: Path) -> None:
    strange = [b"\xff\xfe.dcm", b"m\xfcller", b"new\nline", b"\xe2\x80\xae", b" ", b"-rf", b"\x01", b"a" * 255]
    for name in strange:
        with open(os.path.join(os.fsencode(archive), name), "wb") as file:
            file.write(DICOM)
    assert set(names(source)) == {b"a", b"x.dcm", *strange}
    assert names(source) == sorted(names(source))
    for name in strange:
        assert source.entry(b"", name).kind is Kind.DICOM
        file_ = source.open(name, source.entry(b"", name).fingerprint)
        assert file_.pread(1000, 0) == DICOM
        file_.close()


@pytest.mark.parametrize(
    "name", [b"", b".", b"..", b"../secret", b"a/note.txt", b"a\0", b"no such", b"n" * 256, b"/etc"]
)
def test_names_that_are_none_find_nothing(source: LocalSource, name: bytes) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        source.entry(b"", name)
    assert caught.value.errno in (errno.ENOENT, errno.ENAMETOOLONG)


@pytest.mark.parametrize("path", [b"..", b"a/..", b"../secret", b"/etc", b"a//b", b"./a", b"no such", b"a/b/y.dcm"])
def test_paths_that_leave_the_archive_are_not_walked(source: LocalSource, path: bytes) -> None:
    for use in (source.directory, source.entries):
        with pytest.raises(OSError, match=r".") as caught:
            use(path)
        assert caught.value.errno in (errno.ENOENT, errno.ENOTDIR)


@pytest.mark.parametrize("root", ["", "no such", "/dev/null", "x" * 300])
def test_a_root_that_is_none(root: str) -> None:
    with pytest.raises(OSError, match=r"."):
        LocalSource(root)


# Links


def resolved(source: LocalSource, name: str) -> bytes:
    return source.entry(b"", name.encode()).path


def test_links_inside_are_followed_to_where_they_lead(source: LocalSource, archive: Path) -> None:
    for name, target in {
        "relative": "a/b/y.dcm",
        "absolute": f"{archive}/a/b/y.dcm",
        "dots": "./a/../a/./b//y.dcm",
        "slashes": f"//{archive}//a/b/y.dcm",
        "chain": "relative",
        "longer": "chain",
    }.items():
        (archive / name).symlink_to(target)
        assert resolved(source, name) == b"a/b/y.dcm", name
        assert source.entry(b"", name.encode()).kind is Kind.DICOM
        assert source.entry(b"", name.encode()).name == name.encode()
    (archive / "a" / "up").symlink_to("../x.dcm")
    assert source.entry(b"a", b"up").path == b"x.dcm"
    (archive / "folder").symlink_to("a/b")
    assert (resolved(source, "folder"), source.entry(b"", b"folder").kind) == (b"a/b", Kind.DIRECTORY)
    (archive / "through").symlink_to("folder/y.dcm")
    assert resolved(source, "through") == b"a/b/y.dcm"
    (archive / "physical").symlink_to("folder/../note.txt")
    assert resolved(source, "physical") == b"a/note.txt", "as the kernel does, '..' counts from where the link leads"


def test_links_to_the_root_and_to_folders_above_are_directories(source: LocalSource, archive: Path) -> None:
    (archive / "a" / "root").symlink_to("..")
    (archive / "self").symlink_to(".")
    (archive / "full").symlink_to(str(archive))
    (archive / "slash").symlink_to(f"{archive}/")
    for directory, name in ((b"a", b"root"), (b"", b"self"), (b"", b"full"), (b"", b"slash")):
        entry = source.entry(directory, name)
        assert (entry.path, entry.kind, entry.object_id) == (b"", Kind.DIRECTORY, object_id_of(archive.stat()))


def test_links_outside_do_not_exist(source: LocalSource, archive: Path) -> None:
    before = names(source)
    outside = archive.parent / "secret"
    (archive.parent / "archive2").mkdir()
    (archive.parent / "archive2" / "z.dcm").write_bytes(DICOM)
    (archive / "stepping").symlink_to("../secret")
    for number, target in enumerate(
        (
            "../secret/z.dcm",
            str(outside / "z.dcm"),
            str(outside),
            "/",
            "/etc/passwd",
            "..",
            "a/../../secret/z.dcm",
            "stepping/z.dcm",
            "../archive/x.dcm",
            f"{archive}/../secret/z.dcm",
            f"{archive}2/z.dcm",
            "../archive2/z.dcm",
            "/proc/self/root/etc/passwd",
            "no such file",
            "x.dcm/below",
        )
    ):
        (archive / f"link{number}").symlink_to(target)
        with pytest.raises(OSError, match=r".") as caught:
            source.entry(b"", b"link%d" % number)
        assert caught.value.errno in (errno.ENOENT, errno.ENOTDIR), target
    assert names(source) == before
    # Were a path led there in spite of all, the walk would stop at the link.
    for path in (b"stepping", b"link2"):
        with pytest.raises(OSError, match=r"."):
            source.entries(path)
    with pytest.raises(OSError, match=r"."):
        source.open(b"stepping/z.dcm", fingerprint_of((outside / "z.dcm").stat()))
    with pytest.raises(SourceChanged):
        source.open(b"link1", fingerprint_of((outside / "z.dcm").stat()))


def test_loops_end_as_in_the_kernel(source: LocalSource, archive: Path) -> None:
    (archive / "self").symlink_to("self")
    (archive / "ping").symlink_to("pong")
    (archive / "pong").symlink_to("ping")
    (archive / "deep").symlink_to("deep/deep")
    for name in (b"self", b"ping", b"deep"):
        with pytest.raises(OutsideSource) as caught:
            source.entry(b"", name)
        assert caught.value.errno == errno.ELOOP
    assert names(source) == [b"a", b"x.dcm"]


def test_forty_links_are_followed_and_no_more(source: LocalSource, archive: Path) -> None:
    (archive / "link0").symlink_to("x.dcm")
    for number in range(1, 42):
        (archive / f"link{number}").symlink_to(f"link{number - 1}")
    for number in range(42):
        try:
            os.stat(archive / f"link{number}")
            theirs = 0
        except OSError as error:
            theirs = error.errno or -1
        try:
            ours = 0
            assert resolved(source, f"link{number}") == b"x.dcm"
        except OSError as error:
            ours = error.errno or -1
        assert ours == theirs, number
    assert ours == errno.ELOOP


def test_absolute_links_may_use_the_name_that_the_archive_was_given_by(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "data").symlink_to("archive")
    (archive / "link").symlink_to(f"{tmp_path}/data/a/b/y.dcm")
    source = LocalSource(str(tmp_path / "data"))
    assert resolved(source, "link") == b"a/b/y.dcm"
    source.close()


def test_nobody_can_swap_a_folder_for_a_link_meanwhile(source: LocalSource, archive: Path, tmp_path: Path) -> None:
    """Lead our walk out of the archive by renaming as fast as possible; not one look may succeed."""
    secret = tmp_path / "secret"
    (secret / "only-there").write_bytes(DICOM)
    (archive / "folder").mkdir()
    (archive / "folder" / "z.dcm").write_bytes(b"inside")
    (archive / "way").symlink_to("folder/z.dcm")
    status = (secret / "z.dcm").stat()
    wanted = fingerprint_of(status)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            os.rename(archive / "folder", archive / "aside")
            os.symlink("../secret", archive / "folder")
            os.unlink(archive / "folder")
            os.rename(archive / "aside", archive / "folder")

    swapper = threading.Thread(target=swap)
    swapper.start()
    met = 0
    try:
        for _ in range(2000):
            for look in (
                lambda: source.entries(b"folder"),
                lambda: [source.entry(b"folder", b"z.dcm"), source.entry(b"", b"way")],
                lambda: [source.open(b"folder/z.dcm", wanted)],
            ):
                try:
                    found = look()
                except OSError:
                    met += 1
                    continue
                for entry in found:
                    assert isinstance(entry, Entry)
                    assert entry.name != b"only-there"
                    assert entry.object_id != object_id_of(status)
    finally:
        done.set()
        swapper.join()
    assert met


@pytest.mark.parametrize("swap", ["link", "fifo"])
def test_nobody_can_swap_a_file_between_looking_and_opening(
    source: LocalSource, archive: Path, monkeypatch: pytest.MonkeyPatch, swap: str
) -> None:
    """Not a byte is read through a link that came meanwhile, and a FIFO does not hold us up."""
    note, opened = archive / "a" / "note.txt", local_recognition.open_to_read

    def swapping(name: bytes, directory: int, more: int = 0) -> int:
        if name == b"note.txt":
            note.unlink()
            if swap == "link":
                note.symlink_to("../../secret/z.dcm")
            else:
                os.mkfifo(note)
        return opened(name, directory, more)

    for module in (local, local_recognition):
        monkeypatch.setattr(module, "open_to_read", swapping)
    with pytest.raises(SourceChanged):
        source.entry(b"a", b"note.txt")
    note.unlink()
    note.write_text("just text")
    fingerprint = fingerprint_of(note.stat())
    before = descriptors()
    with pytest.raises(OSError, match=r".") as caught:
        source.open(b"a/note.txt", fingerprint)
    assert caught.value.errno in (errno.ELOOP, errno.ESTALE)
    assert descriptors() == before


# A directory is the one that it was, not its name


def replaced(place: Path) -> None:
    """Put another directory with the same names into the place of one."""
    place.rename(place.with_name("aside"))
    shutil.copytree(place.with_name("aside"), place)


def moved_into_another(place: Path) -> None:
    """Put another directory into the place of one, with the very same things in it."""
    other = place.with_name("other")
    other.mkdir()
    for thing in place.iterdir():
        thing.rename(other / thing.name)
    place.rmdir()
    other.rename(place)


def moved_away(place: Path) -> None:
    place.rename(place.with_name("aside"))


def led_elsewhere(place: Path) -> None:
    """Put a link to the very same directory into its place."""
    moved_away(place)
    place.symlink_to("aside")


@pytest.mark.parametrize("replace_it", [replaced, moved_into_another, moved_away, led_elsewhere])
def test_what_has_the_name_of_a_directory_is_not_taken_for_it(
    source: LocalSource, archive: Path, replace_it: Callable[[Path], None]
) -> None:
    folder = source.entry(b"a", b"b")
    file = source.entry(b"a/b", b"y.dcm")
    assert isinstance(folder, Entry)
    assert len(folder.inside) == 2
    assert file.steps == folder.inside
    uses = (
        lambda: source.directory(b"a/b", folder.inside),
        lambda: source.entry(b"a/b", b"y.dcm", None, folder.inside),
        lambda: source.entries(b"a/b", {}, folder.inside),
        lambda: source.open(b"a/b/y.dcm", file.fingerprint, file.steps).close(),
    )
    for use in uses:
        use()
    replace_it(archive / "a")
    for use in uses:
        with pytest.raises(SourceChanged):
            use()


# What is never opened


def special_files(archive: Path) -> Iterator[str]:
    os.mkfifo(archive / "fifo.dcm")
    yield "fifo.dcm"
    with socket.socket(socket.AF_UNIX) as listening:
        folder = os.open(archive, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{folder}/socket.dcm")  # whatever the length of the path
        os.close(folder)
    yield "socket.dcm"
    if not os.getuid():
        os.mknod(archive / "null.dcm", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(archive / "disk.dcm", stat.S_IFBLK | 0o666, os.makedev(7, 200))
        yield "null.dcm"
        yield "disk.dcm"
    (archive / "link.dcm").symlink_to("fifo.dcm")
    yield "link.dcm"


def test_fifos_sockets_and_devices_do_not_exist(source: LocalSource, archive: Path) -> None:
    for name in special_files(archive):
        with pytest.raises(FileNotFoundError):
            source.entry(b"", name.encode())
        with pytest.raises(SourceChanged):
            source.open(name.encode(), fingerprint_of(os.lstat(archive / name)))
        with pytest.raises(OSError, match=r"."):
            LocalSource(str(archive / name))
    assert names(source) == [b"a", b"x.dcm"]


def test_fifos_sockets_and_devices_are_never_opened(archive: Path, program: Callable[[str], str]) -> None:
    """Have the kernel's own record of what was opened."""
    special = list(special_files(archive))
    script = f"""
        from dicomfs.sources.local import LocalSource
        source = LocalSource({str(archive)!r})
        print([entry.name for entry in source.entries(b"")])
        for name in {special!r}:
            try:
                source.entry(b"", name.encode())
            except OSError:
                pass
    """
    log = archive.parent / "strace"
    answer = subprocess.run(
        [
            program("strace"),
            "-f",
            "-o",
            log,
            "-e",
            "trace=open,openat,openat2,creat",
            sys.executable,
            "-c",
            textwrap.dedent(script),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    record = log.read_text()
    assert '"x.dcm"' in record
    for name in special:
        assert f'"{name}"' not in record
    # Nor is anything opened to write, made or locked.
    ours = record[record.index('"x.dcm"') - 200 :]
    assert not any(flag in ours for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"))


# Permissions


def test_a_file_that_may_not_be_read_is_another_file(archive: Path) -> None:
    (archive / "x.dcm").chmod(0)
    open_to_all(archive / "x.dcm", archive)

    def work() -> None:
        source = LocalSource(str(archive))
        entry = source.entry(b"", b"x.dcm")
        assert (entry.kind, entry.mode & 0o777) == (Kind.UNREAD, 0)
        assert names(source) == [b"a", b"x.dcm"]
        with pytest.raises(PermissionError):
            source.open(b"x.dcm", entry.fingerprint)

    as_nobody(work)


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_a_directory_that_may_not_be_read_is_an_error_and_not_empty(archive: Path, mode: int) -> None:
    open_to_all(archive, archive)
    (archive / "a").chmod(mode)

    def work() -> None:
        source = LocalSource(str(archive))
        assert names(source) == [b"a", b"x.dcm"]
        with pytest.raises(PermissionError):
            source.entries(b"a")
        if mode & 1:
            assert source.entry(b"a", b"note.txt").kind is Kind.OTHER
        else:
            with pytest.raises(PermissionError):
                source.entry(b"a", b"note.txt")

    try:
        as_nobody(work)
    finally:
        (archive / "a").chmod(0o755)


def test_a_stranger_reads_what_is_open_to_all(archive: Path) -> None:
    """O_NOATIME is for the owner only; others read without it."""
    open_to_all(archive, archive)

    def work() -> None:
        source = LocalSource(str(archive))
        entry = source.entry(b"", b"x.dcm")
        assert entry.kind is Kind.DICOM
        assert source.open(b"x.dcm", entry.fingerprint).pread(10_000, 0) == DICOM
        assert names(source, b"a") == [b"b", b"note.txt"]

    as_nobody(work)


def test_the_access_time_stays(source: LocalSource, archive: Path) -> None:
    places = [archive, archive / "a", archive / "x.dcm", archive / "a" / "note.txt"]
    for place in places:
        os.utime(place, (0, place.stat().st_mtime))  # so old that relatime would renew it
    before = [(place.stat().st_atime_ns, place.stat().st_mtime_ns) for place in places]
    names(source)
    names(source, b"a")
    entry = source.entry(b"", b"x.dcm")
    file = source.open(b"x.dcm", entry.fingerprint)
    assert file.pread(100, 0)
    assert file.pread_cached(100, 0)
    file.close()
    assert [(place.stat().st_atime_ns, place.stat().st_mtime_ns) for place in places] == before


# Changes


def test_what_vanishes_while_listed_is_left_out(
    source: LocalSource, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (archive / f"{number:02}.dcm").write_bytes(DICOM)
    listed = os.listdir

    def and_then_some_go(place: int) -> list[str]:
        found = listed(place)
        for number in range(0, 20, 2):
            (archive / f"{number:02}.dcm").unlink()
        return found

    monkeypatch.setattr(os, "listdir", and_then_some_go)
    assert names(source) == [b"%02d.dcm" % number for number in range(1, 20, 2)] + [b"a", b"x.dcm"]


def test_what_vanishes_between_looking_and_opening_is_left_out(
    source: LocalSource, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = local_recognition.open_to_read

    def gone(name: bytes, directory: int, more: int = 0) -> int:
        if name == b"x.dcm":
            (archive / "x.dcm").unlink(missing_ok=True)
        return opened(name, directory, more)

    for module in (local, local_recognition):
        monkeypatch.setattr(module, "open_to_read", gone)
    assert names(source) == [b"a"]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_running_short_is_an_error_and_no_shorter_listing(
    source: LocalSource, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A listing that lacks files would be mirrored as deletions."""
    opened = local_recognition.open_to_read

    def short(name: bytes, directory: int, more: int = 0) -> int:
        if name == b"x.dcm":
            raise OSError(number, os.strerror(number))
        return opened(name, directory, more)

    for module in (local, local_recognition):
        monkeypatch.setattr(module, "open_to_read", short)
    for look in (lambda: source.entries(b""), lambda: source.entry(b"", b"x.dcm")):
        with pytest.raises(OSError, match=r".") as caught:
            look()
        assert caught.value.errno == number


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EUCLEAN])
def test_a_bad_file_harms_no_other(source: LocalSource, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    looked = os.stat

    def bad(path: bytes | str | int, **how: bool) -> os.stat_result:
        if path == b"x.dcm":
            raise OSError(number, os.strerror(number))
        return looked(path, **how)

    monkeypatch.setattr(os, "stat", bad)
    folder, broken = source.entries(b"")
    assert isinstance(folder, Entry)
    assert isinstance(broken, Unseen)
    assert (broken.name, broken.error.errno) == (b"x.dcm", number)
    with pytest.raises(OSError, match=r".") as caught:
        source.entry(b"", b"x.dcm")
    assert caught.value.errno == number


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_file_that_cannot_be_read_is_of_no_kind(
    source: LocalSource, archive: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Shown as a file, it would have a mirror delete the directory that stands for it."""
    read = os.pread
    bad = (archive / "x.dcm").stat().st_ino

    def fails(descriptor: int, length: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_ino == bad:
            raise OSError(number, os.strerror(number))
        return read(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", fails)
    assert [type(entry) for entry in source.entries(b"")] == [Entry, Unseen]
    with pytest.raises(OSError, match=r".") as caught:
        source.entry(b"", b"x.dcm")
    assert caught.value.errno == number


def test_what_is_denied_is_listed_and_what_leads_nowhere_is_not(archive: Path) -> None:
    """A link into a directory that we may not search."""
    (archive / "closed").mkdir()
    (archive / "closed" / "x.txt").write_text("x")
    (archive / "closed").chmod(0)
    (archive / "denied").symlink_to("closed/x.txt")
    for name, target in (("none", "nothing"), ("circle", "circle"), ("below", "x.dcm/y"), ("long", "n" * 300)):
        (archive / name).symlink_to(target)
    open_to_all(archive, archive)

    def work() -> None:
        source = LocalSource(str(archive))
        found = {entry.name: entry for entry in source.entries(b"")}
        assert list(found) == [b"a", b"closed", b"denied", b"x.dcm"]
        denied = found[b"denied"]
        assert isinstance(denied, Unseen)
        assert denied.error.errno == errno.EACCES

    try:
        as_nobody(work)
    finally:
        (archive / "closed").chmod(0o755)


def first_version(source: LocalSource, archive: Path, size: int = 300_000) -> tuple[SourceFile, bytes]:
    data = dicom(image(4, 4, bytes(16))) + b"1" * size
    (archive / "x.dcm").write_bytes(data)
    entry = source.entry(b"", b"x.dcm")
    return source.open(b"x.dcm", entry.fingerprint), data


def truncate(path: Path) -> None:
    os.truncate(path, 1000)


def truncate_and_refill(path: Path) -> None:
    size = path.stat().st_size
    os.truncate(path, 1000)
    os.truncate(path, size)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(150_000)
        file.write(b"2" * 1000)


def overwrite_and_set_the_time_back(path: Path) -> None:
    status = path.stat()
    overwrite(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [truncate, truncate_and_refill, append, overwrite, overwrite_and_set_the_time_back])
def test_a_file_that_changes_while_open_gives_an_error_and_never_a_mix(
    source: LocalSource, archive: Path, change: Callable[[Path], None]
) -> None:
    file, data = first_version(source, archive)
    assert file.pread(1000, 0) == data[:1000]
    change(archive / "x.dcm")
    for offset in (0, 500, 150_000, 299_000):
        for read in (file.pread, file.pread_cached):
            try:
                answer = read(1000, offset)
            except SourceChanged:
                continue
            assert answer is None
            assert read == file.pread_cached
    assert SourceChanged().errno == errno.ESTALE
    file.close()
    entry = source.entry(b"", b"x.dcm")
    again = source.open(b"x.dcm", entry.fingerprint)
    assert again.pread(10**6, 0) == (archive / "x.dcm").read_bytes()
    again.close()


def test_an_open_file_that_is_replaced_or_deleted_serves_the_old_version(source: LocalSource, archive: Path) -> None:
    """But for the change time, which a link count changes: then it is an error, never the new version."""
    file, data = first_version(source, archive)
    fingerprint = source.entry(b"", b"x.dcm").fingerprint
    (archive / "new").write_bytes(DICOM)
    (archive / "new").rename(archive / "x.dcm")
    with contextlib.suppress(SourceChanged):
        assert file.pread(10**6, 0) == data
    file.close()
    with pytest.raises(SourceChanged):
        source.open(b"x.dcm", fingerprint)
    (archive / "x.dcm").unlink()
    with pytest.raises(FileNotFoundError):
        source.open(b"x.dcm", fingerprint)


def test_readers_beside_a_writer_never_see_a_mix(source: LocalSource, archive: Path) -> None:
    """The writer goes from the start to the end, again and again: so does every state that the file is ever in."""
    path, done, step = archive / "changing", threading.Event(), 20_000
    path.write_bytes(b"A" * 10 * step)

    def write() -> None:
        with path.open("r+b", buffering=0) as file:
            number = 0
            while not done.is_set():
                number += 1
                file.seek(0)
                for _ in range(10):
                    file.write(bytes([65 + number % 26]) * step)
                if number % 20 == 0:
                    time.sleep(0.05)  # so that it can be read at all

    writer = threading.Thread(target=write)
    writer.start()
    changed = whole = 0
    try:
        for _ in range(400):
            try:
                file = source.open(b"changing", source.entry(b"", b"changing").fingerprint)
            except SourceChanged:
                changed += 1
                continue
            try:
                first = file.pread(10 * step, 0)
                for _ in range(20):
                    assert file.pread(10 * step, 0) == first
                    assert file.pread_cached(10 * step, 0) in (None, first)
                    whole += 1
            except SourceChanged:
                changed += 1
            else:
                letters = [first[place] for place in range(0, len(first), step)]
                assert first == b"".join(bytes([letter]) * step for letter in letters)
                turn = next((place for place in range(10) if letters[place] != letters[0]), 10)
                assert len(set(letters[turn:])) <= 1
            finally:
                file.close()
    finally:
        done.set()
        writer.join()
    assert changed
    assert whole


# Reading


def test_reads_are_the_files_bytes_and_stop_at_its_end(source: LocalSource, archive: Path) -> None:
    file, data = first_version(source, archive, 5000)
    assert file.size == len(data)
    chance = random.Random(2)
    for _ in range(500):
        offset, length = chance.randrange(len(data) + 100), chance.randrange(7000)
        assert file.pread(length, offset) == data[offset : offset + length]
        assert file.pread_cached(length, offset) in (None, data[offset : offset + length])
    assert file.pread(-5, 0) == b""
    assert file.pread(1 << 60, 10) == data[10:]
    file.close()


def test_closing_twice_leaves_the_descriptors_of_others_alone(source: LocalSource, archive: Path) -> None:
    file, _ = first_version(source, archive)
    file.close()
    other, data = first_version(source, archive)
    file.close()
    assert other.pread(100, 0) == data[:100]
    with pytest.raises(OSError, match=r"."):
        file.pread(100, 0)
    other.close()


def test_no_descriptor_is_left_open(archive: Path) -> None:
    for name in special_files(archive):
        assert name
    (archive / "loop").symlink_to("loop")
    (archive / "out").symlink_to("../secret/z.dcm")
    (archive / "in").symlink_to("a/b/y.dcm")
    before = descriptors()
    source = LocalSource(str(archive))
    held = descriptors() - before
    for _ in range(3):
        for entry in source.entries(b"") + source.entries(b"a"):
            if entry.kind is Kind.DICOM:
                source.open(entry.path, entry.fingerprint).close()
                with pytest.raises(SourceChanged):
                    source.open(entry.path, b"another")
        for missing in (b"loop", b"out", b"fifo.dcm", b"none"):
            with pytest.raises(OSError, match=r"."):
                source.entry(b"", missing)
            with pytest.raises(OSError, match=r"."):
                source.entries(missing)
        source.holds(str(archive))
        source.space()
    assert len(held) == 1
    assert descriptors() - before == held
    source.close()
    assert descriptors() == before


# One file


def test_a_single_file_is_an_archive(archive: Path) -> None:
    source = LocalSource(str(archive / "x.dcm"))
    assert source.is_file
    entry = source.root_entry()
    assert (entry.name, entry.path, entry.kind) == (b"x.dcm", b"x.dcm", Kind.DICOM)
    file = source.open(entry.path, entry.fingerprint)
    assert file.pread(10_000, 0) == DICOM
    file.close()
    assert not source.holds(str(archive))
    source.close()


def test_a_single_file_given_by_a_link(archive: Path) -> None:
    (archive / "link").symlink_to("a/b/y.dcm")
    source = LocalSource(str(archive / "link"))
    assert source.root_entry().name == b"y.dcm"
    source.close()


def test_a_single_file_does_not_become_its_neighbour(archive: Path) -> None:
    source = LocalSource(str(archive / "x.dcm"))
    (archive / "x.dcm").rename(archive / "neighbour")
    (archive / "x.dcm").symlink_to("neighbour")
    with pytest.raises(OutsideSource):
        source.root_entry()
    source.close()


# Where a mount may be


def test_places_in_the_archive_are_held(source: LocalSource, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to("archive/a")
    (archive / "out").symlink_to("../secret")
    held = [archive, archive / "a", archive / "a" / "b", tmp_path / "alias", tmp_path / "alias" / "b", archive / "none"]
    held += [tmp_path / "secret" / ".." / "archive", archive / "a" / ".." / "a"]
    for place in held:
        assert source.holds(str(place)), place
    for place in (tmp_path, tmp_path / "secret", archive / "out", Path("/"), tmp_path / "archive2", tmp_path / "none"):
        assert not source.holds(str(place)), place


def test_places_behind_bind_mounts_are_held(archive: Path, tmp_path: Path, program: Callable[[str], str]) -> None:
    namespace = [program("unshare"), "--mount", "--map-root-user"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make mount namespaces")
    for name in ("whole", "part", "other folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret" / "deep").mkdir()
    script = f"""
        import os, subprocess, sys
        from dicomfs.sources.local import LocalSource
        def bind(what, where):
            subprocess.run(["mount", "--bind", {str(tmp_path)!r} + what, {str(tmp_path)!r} + where], check=True)
        bind("/archive", "/whole"); bind("/archive/a", "/part"); bind("/secret", "/other folder")
        source, behind = LocalSource({str(archive)!r}), LocalSource({str(tmp_path)!r} + "/part")
        for place in sys.argv[1:]:
            print(place, source.holds({str(tmp_path)!r} + place), behind.holds({str(tmp_path)!r} + place))
    """
    places = [
        "/whole",
        "/whole/a",
        "/part",
        "/part/b",
        "/other folder",
        "/other folder/deep",
        "/secret",
        "/archive/a/b",
    ]
    answer = subprocess.run(
        [*namespace, sys.executable, "-c", textwrap.dedent(script), *places],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines() == [
        "/whole True False",
        "/whole/a True True",
        "/part True True",
        "/part/b True True",
        "/other folder False False",
        "/other folder/deep False False",
        "/secret False False",
        "/archive/a/b True True",
    ]


def test_a_listing_is_not_slowed_by_a_fifo_without_a_writer(source: LocalSource, archive: Path) -> None:
    """Opening one would wait for ever; the alarm would end the test."""
    os.mkfifo(archive / "aaa")
    signal.alarm(30)
    try:
        assert names(source) == [b"a", b"x.dcm"]
    finally:
        signal.alarm(0)


# What is known already


def test_what_has_not_changed_is_not_looked_into_again(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (archive / "note.txt").write_bytes(b"text")
    source = LocalSource(str(archive))
    known = {entry.name: entry for entry in source.entries(b"")}
    monkeypatch.setattr(os, "pread", lambda *_: pytest.fail("a file was read"))
    again = source.entries(b"", known)
    assert [entry.kind for entry in again] == [Kind.DIRECTORY, Kind.OTHER, Kind.DICOM]
    assert all(entry is known[entry.name] for entry in again)


def test_what_could_not_be_read_is_looked_into_again(archive: Path) -> None:
    source = LocalSource(str(archive))
    known = {entry.name: entry for entry in source.entries(b"")}
    entry = known[b"x.dcm"]
    known[b"x.dcm"] = replace(entry, kind=Kind.UNREAD)
    assert {entry.name: entry for entry in source.entries(b"", known)}[b"x.dcm"] == entry
