"""The disk cache: what comes back is what was put in, or nothing; within its limit; in nobody's way when it fails."""

import errno
import os
import random
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.archives import PYDICOM, PYDICOM_DATA
from support.building import SIZES, Control, archive_in, content, control_in, digest, serve
from support.mounting import Mount, answer_of_path, mounted, wait_for

from dicomfs.cache.disk import CacheRefused, DiskCache

KEY = bytes(range(20))
# What an entry has beside its content.
EXTRA = 40


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(str(tmp_path / "cache"), 1_000_000)


def key(number: int) -> bytes:
    return number.to_bytes(20, "big")


def take(cache: DiskCache, name: bytes) -> bytes | None:
    """Read an entry through `open`."""
    entry = cache.open(name)
    if entry is None:
        return None
    descriptor, length = entry
    try:
        return os.pread(descriptor, length, 0)
    finally:
        os.close(descriptor)


def there(folder: Path, name: bytes) -> int | None:
    """Give the length of the content of an entry, as its file has it; looking at it is no use of it."""
    path = folder / f"{name.hex()}.entry"
    return path.stat().st_size - EXTRA if path.exists() else None


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in files(folder))


# Entries


def test_what_was_stored_comes_back_also_to_another_mount(cache: DiskCache, tmp_path: Path) -> None:
    cache.store(KEY, b"content")
    for one in (cache, DiskCache(str(tmp_path / "cache"), 1_000_000)):
        assert take(one, KEY) == one.load(KEY, 7) == b"content"
        assert there(tmp_path / "cache", KEY) == 7
        assert take(one, key(1)) is one.load(key(1), 7) is None


def test_modes_and_names(cache: DiskCache, tmp_path: Path) -> None:
    cache.store(KEY, b"content")
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    (entry,) = files(tmp_path / "cache")
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    assert entry.name == f"{KEY.hex()}.entry"


def test_a_draft_becomes_an_entry_only_when_kept(cache: DiskCache, tmp_path: Path) -> None:
    for keep in (False, True):
        draft = cache.draft()
        assert draft
        os.write(draft.descriptor, b"drafted")
        if keep:
            assert cache.keep(KEY, draft, 7)
        cache.discard(draft)
        assert take(cache, KEY) == (b"drafted" if keep else None)
    assert len(files(tmp_path / "cache")) == 1


def damages(entry: bytes) -> list[bytes]:
    chance = random.Random(1)
    flipped = [bytes([*entry[:at], entry[at] ^ 1 << chance.randrange(8), *entry[at + 1 :]]) for at in range(len(entry))]
    cut = [entry[:length] for length in range(len(entry))]
    return [*flipped, *cut, entry + b"\0", entry * 2, entry[:100] + entry, bytes(len(entry))]


@pytest.mark.parametrize("way", ["open", "load"])
def test_damage_anywhere_is_a_miss_and_the_entry_is_removed(way: str, cache: DiskCache, tmp_path: Path) -> None:
    """Every byte of an entry flipped, and the entry cut at every length."""
    data = os.urandom(200)
    place = tmp_path / "cache" / f"{KEY.hex()}.entry"
    cache.store(KEY, data)
    whole = place.read_bytes()
    for damaged in damages(whole):
        place.write_bytes(damaged)
        # Another mount, which has not checked it yet.
        assert (take(cache, KEY) if way == "open" else cache.load(KEY, len(data))) is None
        assert not place.exists()
        cache.store(KEY, data)
        assert take(cache, KEY) == cache.load(KEY, len(data)) == data


def test_an_entry_of_another_key_is_not_taken(cache: DiskCache, tmp_path: Path) -> None:
    cache.store(KEY, b"content")
    for way in (lambda: take(cache, key(5)), lambda: cache.load(key(5), 7)):
        shutil.copy(tmp_path / "cache" / f"{KEY.hex()}.entry", tmp_path / "cache" / f"{key(5).hex()}.entry")
        assert way() is None
        assert there(tmp_path / "cache", key(5)) is None


def test_what_is_no_regular_file_is_not_opened(cache: DiskCache, tmp_path: Path) -> None:
    place = tmp_path / "cache" / f"{KEY.hex()}.entry"
    for make in (lambda: place.mkdir(), lambda: place.symlink_to("/etc/passwd"), lambda: os.mkfifo(place)):
        make()
        assert take(cache, KEY) is cache.load(KEY, 7) is None
        if place.is_dir():
            place.rmdir()
        place.unlink(missing_ok=True)


def test_an_entry_is_checked_once_and_again_when_it_has_changed(
    cache: DiskCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.store(KEY, b"content")
    assert take(cache, KEY) == b"content"
    reads: list[int] = []
    right = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: reads.append(arguments[1]) or right(*arguments))
    entry = cache.open(KEY)
    assert entry
    os.close(entry[0])
    assert not reads
    with (tmp_path / "cache" / f"{KEY.hex()}.entry").open("r+b") as file:
        file.write(b"C")
    assert cache.open(KEY) is None
    assert reads


# The limit


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2000),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9), st.integers(1, 400), st.booleans()), max_size=40),
)
def test_two_mounts_keep_the_limit_and_give_what_was_stored(
    tmp_path_factory: pytest.TempPathFactory, limit: int, steps: list[tuple[int, int, int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    caches = [DiskCache(str(folder), limit) for _ in range(2)]
    for mount, number, length, store in steps:
        if store:
            # The same key means the same content.
            caches[mount].store(key(number * 1000 + length), bytes([number]) * length)
        else:
            found = take(caches[mount], key(number * 1000 + length))
            assert found in (None, bytes([number]) * length)
        # Each may have added a sixteenth that the other has not counted, and one entry.
        assert total(folder) <= limit + limit // 16 + 400 + EXTRA
    for cache in caches:
        cache.close()


def test_what_was_used_last_stays(cache: DiskCache, tmp_path: Path) -> None:
    small = DiskCache(str(tmp_path / "small"), 10 * (100 + EXTRA))
    for number in range(10):
        small.store(key(number), bytes(100))
        assert (take(small, key(0)) if number % 2 else small.load(key(0), 100)) == bytes(100)
    small.store(key(10), bytes(100))
    kept = [number for number in range(11) if take(small, key(number))]
    assert kept[0] == 0
    assert kept[-1] == 10
    assert 1 not in kept
    assert len(kept) >= 8


def test_old_times_of_use_are_believed(tmp_path: Path) -> None:
    """A restart does not forget what was used when; other files in the directory are left alone."""
    folder = tmp_path / "cache"
    first = DiskCache(str(folder), 3 * (100 + EXTRA))
    for number in range(3):
        first.store(key(number), bytes(100))
        os.utime(folder / f"{key(number).hex()}.entry", ns=(10**18 - number * 10**9, 10**18))
    (folder / "mine.txt").write_text("x" * 10_000)
    DiskCache(str(folder), 3 * (100 + EXTRA)).store(key(9), bytes(100))
    assert not (folder / f"{key(2).hex()}.entry").exists()
    assert (folder / f"{key(0).hex()}.entry").exists()
    assert (folder / "mine.txt").exists()


def test_eviction_breaks_no_reader(tmp_path: Path) -> None:
    cache = DiskCache(str(tmp_path), 1000)
    cache.store(KEY, b"r" * 500)
    entry = cache.open(KEY)
    assert entry
    for number in range(5):
        cache.store(key(number), bytes(800))
    assert there(tmp_path, KEY) is None
    assert os.pread(entry[0], 500, 0) == b"r" * 500
    os.close(entry[0])


def test_larger_than_the_cache_evicts_nothing(tmp_path: Path) -> None:
    cache = DiskCache(str(tmp_path), 1000)
    cache.store(KEY, bytes(500))
    cache.store(key(1), bytes(1001 - EXTRA))
    assert there(tmp_path, key(1)) is None
    assert there(tmp_path, KEY) == 500


# Directories that are not fit


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    for mode in (0o770, 0o707, 0o1777):
        (tmp_path / "open").mkdir(exist_ok=True)
        (tmp_path / "open").chmod(mode)
        with pytest.raises(CacheRefused, match="written by others"):
            DiskCache(str(tmp_path / "open"), 1000)


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(CacheRefused, match="another user"):
        DiskCache(str(tmp_path), 1000)


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        with pytest.raises(CacheRefused):
            DiskCache(str(tmp_path / place), 1000)


# Failures


@pytest.mark.expects_log
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.EMFILE])
def test_a_disk_that_takes_nothing_is_a_miss(
    number: int, cache: DiskCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.store(KEY, b"content")

    def fail(*arguments: object, **names: object) -> int:
        raise OSError(number, os.strerror(number))

    for broken in ("pwrite", "link"):
        with monkeypatch.context() as context:
            context.setattr(os, broken, fail)
            cache.store(key(1), b"other")
            cache.store(key(2), b"other")
        assert take(cache, key(1)) is None
        assert all(path.suffix == ".entry" for path in files(tmp_path / "cache"))
    assert len(caplog.records) == 1
    # A full disk was relieved of the old entry, in vain; any other error touched nothing.
    assert (take(cache, KEY) is None) == (number in (errno.ENOSPC, errno.EDQUOT))
    cache.store(key(1), b"other")
    assert take(cache, key(1)) == b"other"


def test_a_full_disk_makes_room(cache: DiskCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is smaller than the limit, old entries make way all the same."""
    right = os.pwrite
    room = 1000

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if total(tmp_path / "cache") + os.fstat(descriptor).st_size + len(data) > room:
            raise OSError(errno.ENOSPC, "full")
        return right(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    for number in range(10):
        cache.store(key(number), bytes(300))
        assert there(tmp_path / "cache", key(number)) == 300
    assert total(tmp_path / "cache") <= room


@pytest.mark.expects_log
def test_a_directory_that_vanishes_is_a_miss(cache: DiskCache, tmp_path: Path) -> None:
    cache.store(KEY, b"content")
    shutil.rmtree(tmp_path / "cache")
    cache.store(KEY, b"content")
    assert cache.open(KEY) is cache.load(KEY, 7) is cache.draft() is None


# File systems that have no files without a name


@pytest.fixture
def no_tmpfile(monkeypatch: pytest.MonkeyPatch) -> None:
    right = os.open

    def refuse(path: str, flags: int, *arguments: int, **names: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not here")
        return right(path, flags, *arguments, **names)

    monkeypatch.setattr(os, "open", refuse)


@pytest.mark.usefixtures("no_tmpfile")
def test_drafts_with_names(cache: DiskCache, tmp_path: Path) -> None:
    cache.store(KEY, b"content")
    assert take(cache, KEY) == b"content"
    draft = cache.draft()
    assert draft
    assert draft.name
    cache.discard(draft)
    assert [path.name for path in files(tmp_path / "cache")] == [f"{KEY.hex()}.entry"]


@pytest.mark.usefixtures("no_tmpfile")
def test_drafts_of_the_dead_are_removed_those_of_the_living_not(cache: DiskCache, tmp_path: Path) -> None:
    draft = cache.draft()
    assert draft
    (tmp_path / "cache" / "0123456789abcdef.draft").write_bytes(b"left behind")
    (tmp_path / "cache" / "else.draft").write_bytes(b"not ours")
    DiskCache(str(tmp_path / "cache"), 1000)
    assert {path.name for path in files(tmp_path / "cache")} == {draft.name, "else.draft"}
    os.write(draft.descriptor, b"content")
    assert cache.keep(KEY, draft, 7)
    cache.discard(draft)
    assert take(cache, KEY) == b"content"


# Through mounts


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Control:
    return control_in(tmp_path, monkeypatch)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return archive_in(tmp_path)


def test_a_second_mount_builds_nothing(archive: Path, tmp_path: Path, control: Control) -> None:
    options = "--cache-dir", str(tmp_path / "cache")
    for _ in range(2):
        with serve(archive, tmp_path / "m", *options) as mount:
            for name, size in SIZES.items():
                path = mount.path / "0.dcm" / name
                assert path.stat().st_size == size
                assert answer_of_path(path) == digest(name)
                assert path.stat().st_size == size
            assert control.count() == len(SIZES)
    assert total(tmp_path / "cache") == sum(SIZES.values()) + EXTRA * len(SIZES)
    for path in files(tmp_path / "cache"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # What is told by stat alone does not matter; other bytes are another entry.
    os.utime(archive / "0.dcm")
    with serve(archive, tmp_path / "m", *options) as mount:
        assert answer_of_path(mount.path / "0.dcm" / "tiny.bin") == digest("tiny.bin")
    assert control.count() == len(SIZES)
    (archive / "0.dcm").write_bytes((archive / "0.dcm").read_bytes()[:-1] + b"x")
    with serve(archive, tmp_path / "m", *options) as mount:
        assert answer_of_path(mount.path / "0.dcm" / "tiny.bin") == digest("tiny.bin")
    assert control.count() == len(SIZES) + 1


def test_two_mounts_share_one_directory(archive: Path, tmp_path: Path, control: Control) -> None:
    options = "--cache-dir", str(tmp_path / "cache")
    with serve(archive, tmp_path / "a", *options) as one, serve(archive, tmp_path / "b", *options) as two:
        for mount, other in ((one, two), (two, one)):
            name = "grown.bin" if mount is one else "shrunk.bin"
            assert answer_of_path(mount.path / "0.dcm" / name) == digest(name)
            assert answer_of_path(other.path / "0.dcm" / name) == digest(name)
        assert control.count() == 2
        # Both at once: each builds, and either result is taken.
        control.hold()
        readers = [subprocess.Popen(["sha256sum", m.path / "1.dcm" / "grown.bin"], stdout=-1) for m in (one, two)]
        wait_for(lambda: control.count() == 4)
        control.let_go()
        assert {reader.communicate()[0].split()[0].decode() for reader in readers} == {digest("grown.bin")}
    assert len(files(tmp_path / "cache")) == 3


def test_an_entry_smaller_than_a_file_is_no_matter(archive: Path, tmp_path: Path, control: Control) -> None:
    with serve(archive, tmp_path / "m", "--cache-dir", str(tmp_path / "cache"), "--cache-size", "100K") as mount:
        for _ in range(2):
            assert answer_of_path(mount.path / "0.dcm" / "grown.bin") == digest("grown.bin")
        assert not files(tmp_path / "cache")
        assert mount.path.joinpath("0.dcm", "grown.bin").stat().st_size == SIZES["grown.bin"]


def test_a_damaged_entry_is_built_again(archive: Path, tmp_path: Path, control: Control) -> None:
    options = "--cache-dir", str(tmp_path / "cache")
    with serve(archive, tmp_path / "m", *options) as mount:
        assert answer_of_path(mount.path / "0.dcm" / "shrunk.bin") == digest("shrunk.bin")
    (entry,) = files(tmp_path / "cache")
    whole = entry.read_bytes()
    for builds, damaged in enumerate((whole[:-1], whole[:-9] + b"\xff" + whole[-8:], b"x" + whole[1:]), 2):
        entry.write_bytes(damaged)
        with serve(archive, tmp_path / "m", *options) as mount:
            assert (mount.path / "0.dcm" / "shrunk.bin").read_bytes() == content("shrunk.bin")
            assert control.count() == builds
        assert entry.read_bytes() == whole


def test_a_directory_deleted_under_a_mount(archive: Path, tmp_path: Path, control: Control) -> None:
    with serve(archive, tmp_path / "m", "--cache-dir", str(tmp_path / "cache"), warn=True) as mount:
        with open(mount.path / "0.dcm" / "grown.bin", "rb") as file:
            shutil.rmtree(tmp_path / "cache")
            assert file.read() == content("grown.bin")
        for _ in range(2):
            for name in SIZES:
                assert answer_of_path(mount.path / "1.dcm" / name) == digest(name)
        assert control.count() == 1 + len(SIZES)
        assert len(mount.warnings()) == 1


def test_a_daemon_killed_in_the_middle_of_a_build_leaves_nothing(
    archive: Path, tmp_path: Path, control: Control
) -> None:
    control.hold()
    options = "--cache-dir", str(tmp_path / "cache")
    with serve(archive, tmp_path / "m", *options) as mount:
        reader = subprocess.Popen(["cat", mount.path / "0.dcm" / "grown.bin"], stderr=subprocess.DEVNULL)
        wait_for(control.count)
        mount.process.kill()
        assert reader.wait(10)
    control.let_go()
    subprocess.run(["fusermount3", "-uz", tmp_path / "m" / "mnt"], check=False, stderr=subprocess.DEVNULL)
    assert not files(tmp_path / "cache")
    with serve(archive, tmp_path / "m", *options) as mount:
        assert answer_of_path(mount.path / "0.dcm" / "grown.bin") == digest("grown.bin")
    assert len(files(tmp_path / "cache")) == 1


FULL_DISK = """
import os, pathlib, sys
from support.building import SIZES, digest, serve
from support.mounting import answer_of_path
archive, place = map(pathlib.Path, sys.argv[1:])
with serve(archive, place / "m", "--cache-dir", str(place / "cache"), warn=True) as mount:
    for folder in ("0.dcm", "1.dcm"):
        for name in SIZES:
            assert answer_of_path(mount.path / folder / name) == digest(name), name
            assert answer_of_path(mount.path / folder / name) == digest(name), name
    assert os.listdir(place / "cache")
    (place / "cache" / "filler").write_bytes(bytes(100))
    os.system(f"head -c 9M /dev/zero > {place}/cache/filler 2> /dev/null")
    mount.path.joinpath("0.dcm", "original.dcm").read_bytes()
    for name in SIZES:
        assert answer_of_path(mount.path / "0.dcm" / name) == digest(name), name
"""


def test_a_small_disk(archive: Path, tmp_path: Path, control: Control, program: Callable[[str], str]) -> None:
    """On a disk smaller than some files and than the cache's limit, and then full, each file is whole all the same."""
    (tmp_path / "cache").mkdir()
    script = 'mount -t tmpfs -o size=6m,mode=700 none "$1" && shift && exec "$@"'
    namespace = [program("unshare"), "--mount", "--map-root-user", "sh", "-c", script, "sh", tmp_path / "cache"]
    path = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    environment = os.environ | {"PYTHONPATH": path.rstrip(os.pathsep)}
    command = [*namespace, sys.executable, "-c", FULL_DISK, archive, tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


@pytest.mark.parametrize("place", ["archive/cache", "m/mnt", "m/mnt/cache", "open"])
def test_a_place_that_is_not_fit_is_told_and_the_mount_goes_on(
    place: str, archive: Path, tmp_path: Path, control: Control
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with serve(archive, tmp_path / "m", "--cache-dir", str(tmp_path / place), warn=True) as mount:
        (warning,) = mount.warnings()
        assert "no disk cache" in warning
        assert answer_of_path(mount.path / "0.dcm" / "tiny.bin") == digest("tiny.bin")
    assert not files(tmp_path / "open")
    assert not (archive / "cache").exists()


# Decoded frames


def decoded(mount: Mount) -> int:
    return mount.statistics()["decoded"]


def test_frames_of_slow_codecs(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    slow = ["JPEG2000.dcm", "MR_small_jpeg_ls_lossless.dcm", "emri_small_jpeg_2k_lossless.dcm"]
    for name in (*slow, "CT_small.dcm", "MR_small_RLE.dcm"):
        shutil.copy((PYDICOM_DATA if "emri" in name else PYDICOM) / name, archive)
    options = "--cache-dir", str(tmp_path / "cache"), "--cache-frames"

    def pictures(mount: Mount) -> dict[str, bytes]:
        return {name: (mount.path / name / "frames" / "0001.png").read_bytes() for name in sorted(os.listdir(archive))}

    (tmp_path / "m").mkdir()
    with mounted(archive, tmp_path / "m", *options) as mount:
        first = pictures(mount)
        before = decoded(mount)
    entries = files(tmp_path / "cache")
    assert len(entries) >= len(slow)
    with mounted(archive, tmp_path / "m", *options) as mount:
        assert pictures(mount) == first
        assert decoded(mount) < before
        # A whole multi-frame object that is not in the cache yet, with what was decoded ahead.
        for number in range(1, 11):
            assert (mount.path / slow[2] / "frames" / f"{number:04}.png").read_bytes()
    # Another window is another picture.
    with mounted(archive, tmp_path / "m", *options, "--window", "100,50") as mount:
        assert pictures(mount)["JPEG2000.dcm"] != first["JPEG2000.dcm"]
    for entry in files(tmp_path / "cache"):
        entry.write_bytes(entry.read_bytes()[:-1] + b"x")
    with mounted(archive, tmp_path / "m", *options) as mount:
        assert pictures(mount) == first
        assert decoded(mount) == before
    # Without the option, frames are not looked for there.
    with mounted(archive, tmp_path / "m", *options[:2]) as mount:
        assert pictures(mount) == first
        assert decoded(mount) == before
