"""Inode numbers in real mounts: the same in every mount and after the kernel forgot them, others where bytes differ."""

import json
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from support.archives import PYDICOM, PYDICOM_DATA
from support.cine_objects import FRAME_TIME, film
from support.lookup_numbering_fs import numbering_by_lookup
from support.mounting import answer_of_path, mounted, wait_for

from dicomfs.sources.local import LocalSource

Numbers = dict[str, int]


def numbers(top: Path, order: int = 1) -> Numbers:
    """Give the number of every path below *top*, in an *order*: by name, backwards (-1), or shuffled in some way."""
    found = {".": os.lstat(top).st_ino}
    folders = [""]
    while folders:
        folder = folders.pop(0 if order == 1 else -1)
        with os.scandir(top / folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name, reverse=order == -1)
        if abs(order) > 1:
            random.Random(order).shuffle(entries)
        for entry in entries:
            path = os.path.join(folder, entry.name)
            found[path] = os.lstat(top / path).st_ino
            assert entry.inode() == found[path]
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
    return found


def digests(top: Path, paths: Numbers) -> dict[str, str]:
    """Read all files."""
    return {path: answer_of_path(top / path) for path in paths if (top / path).is_file()}


def forget_everything() -> None:
    Path("/proc/sys/vm/drop_caches").write_text("2")


def small_archive(place: Path) -> Path:
    """Make an archive of grey and colour pictures, frames, a film, text and links."""
    archive = place / "archive"
    for folder in ("a/b", "c"):
        (archive / folder).mkdir(parents=True)
    shutil.copy(PYDICOM / "CT_small.dcm", archive / "a/b/ct.dcm")
    shutil.copy(PYDICOM / "examples_overlay.dcm", archive / "a/b/overlay.dcm")
    shutil.copy(PYDICOM / "SC_rgb_jpeg_dcmtk.dcm", archive / "c/colour.dcm")
    more = {FRAME_TIME: ("DS", "40"), 0x00281050: ("DS", "100"), 0x00281051: ("DS", "200")}
    (archive / "c/film.dcm").write_bytes(film(12, more, rows=48, columns=64, samples=1))
    (archive / "note.txt").write_text("a note\n")
    os.link(archive / "note.txt", archive / "a/hard.txt")
    (archive / "c/soft.dcm").symlink_to("../a/b/ct.dcm")
    return archive


@pytest.mark.parametrize("samples", [PYDICOM, PYDICOM_DATA], ids=["pydicom", "pydicom-data"])
def test_two_mounts_have_the_same_numbers_whatever_is_looked_at_first(samples: Path, tmp_path: Path) -> None:
    with mounted(samples, tmp_path) as mount:
        first = numbers(mount.path)
        forget_everything()
        wait_for(lambda: mount.statistics()["inodes"] == 1)
        assert numbers(mount.path, 7) == first, "after the kernel forgot them all"
    with mounted(samples, tmp_path) as mount:
        assert numbers(mount.path, -1) == first
    repeated = {number: count for number, count in Counter(first.values()).items() if count > 1}
    assert not repeated
    assert first.pop(".") == 1
    assert all(1 < number < 1 << 63 for number in first.values())


def test_the_place_of_the_archive_is_no_part_and_that_in_the_mount_is(tmp_path: Path) -> None:
    archive = small_archive(tmp_path)
    with mounted(archive, tmp_path) as mount:
        first = numbers(mount.path)
    moved = tmp_path / "elsewhere"
    archive.rename(moved)
    with mounted(moved, tmp_path) as mount:
        assert numbers(mount.path) == first
    # One file of the source under two names is two files.
    assert first["note.txt"] != first["a/hard.txt"]
    assert first["a/b/ct.dcm/original.dcm"] != first["c/soft.dcm/original.dcm"]
    with mounted(moved / "a/b/ct.dcm", tmp_path) as mount:
        alone = numbers(mount.path)
    with mounted(moved / "a/b/ct.dcm", tmp_path) as mount:
        assert numbers(mount.path, -1) == alone


def test_another_window_has_other_numbers_where_grey_frames_are_shown_and_nowhere_else(tmp_path: Path) -> None:
    archive = small_archive(tmp_path)
    seen = []
    for options in ((), ("--window", "300,200"), ("--window", "300,201"), ("--cine", "all", "--xattrs")):
        with mounted(archive, tmp_path, *options) as mount:
            found = numbers(mount.path)
            seen.append((found, digests(mount.path, found)))
    plain, bytes_of = seen[0]
    for found, theirs in seen[1:3]:
        assert [path for path in theirs if theirs[path] != bytes_of.get(path) and plain.get(path) == found[path]] == []
        common = plain.keys() & found.keys()
        assert {path for path in common if plain[path] != found[path]} == {
            *(f"{grey}/thumbnail.png" for grey in ("a/b/ct.dcm", "a/b/overlay.dcm", "c/film.dcm", "c/soft.dcm")),
            *(f"{grey}/frames" for grey in ("a/b/ct.dcm", "a/b/overlay.dcm", "c/film.dcm", "c/soft.dcm")),
            *(f"{grey}/frames/0001.png" for grey in ("a/b/ct.dcm", "a/b/overlay.dcm", "c/soft.dcm")),
            *(f"c/film.dcm/frames/{number:04}.png" for number in range(1, 13)),
            "c/film.dcm/video.mp4",
        }
    assert seen[1][0]["a/b/ct.dcm/frames/0001.png"] != seen[2][0]["a/b/ct.dcm/frames/0001.png"]
    # Options that decide what is there, not what is in it.
    assert {path: seen[3][0][path] for path in plain} == plain


def test_a_new_version_has_new_numbers_and_its_neighbours_keep_theirs(tmp_path: Path) -> None:
    archive = small_archive(tmp_path)
    with mounted(archive, tmp_path) as mount:
        before = numbers(mount.path)
        shutil.copy(PYDICOM / "MR_small.dcm", archive / "new")
        (archive / "new").rename(archive / "a/b/ct.dcm")
        wait_for(lambda: os.stat(mount.path / "a/b/ct.dcm").st_ino != before["a/b/ct.dcm"])
        wait_for(lambda: os.stat(mount.path / "c/soft.dcm").st_ino != before["c/soft.dcm"])
        after = numbers(mount.path)
    replaced = {path for path in before if path.startswith(("a/b/ct.dcm", "c/soft.dcm"))}
    assert {path for path in before if after.get(path) != before[path]} == replaced
    assert not {after[path] for path in replaced & after.keys()} & set(before.values())


def test_a_directory_keeps_its_number_while_names_come_and_go_and_loses_it_when_replaced(tmp_path: Path) -> None:
    archive = small_archive(tmp_path)
    with mounted(archive, tmp_path) as mount:
        before = numbers(mount.path)
        (archive / "a/b/more.txt").write_text("more")
        wait_for(lambda: "more.txt" in os.listdir(mount.path / "a/b"))
        assert {path: number for path, number in numbers(mount.path).items() if path in before} == before
        # As snapshots are made: another directory, the same files.
        (archive / "a/b").rename(tmp_path / "b")
        (archive / "a/b").mkdir()
        os.link(tmp_path / "b/more.txt", archive / "a/b/more.txt")
        more = os.stat(mount.path / "a/b/more.txt").st_ino
        wait_for(lambda: os.stat(mount.path / "a/b").st_ino != before["a/b"])
        assert os.stat(mount.path / "a/b/more.txt").st_ino != more, "links are counted in the inode, so its ctime tells"


def test_a_source_that_numbers_by_lookup_has_stable_numbers(tmp_path: Path) -> None:
    archive = small_archive(tmp_path)
    (archive / "c/soft.dcm").unlink()  # the file system of the test has no links
    paths = sorted(path.relative_to(archive) for path in archive.rglob("*"))
    seen, theirs = [], []
    for order in (1, -1):
        with numbering_by_lookup(archive, tmp_path / "source") as source:
            theirs.append([os.lstat(source / path).st_ino for path in paths[::order]][::order])
            with mounted(source, tmp_path) as mount:
                seen.append(numbers(mount.path, order))
                forget_everything()
                theirs.append([os.lstat(source / path).st_ino for path in paths[::-order]][::-order])
                seen.append(numbers(mount.path, -order))
                found = digests(mount.path, seen[0])
                assert not [path for path, digest in found.items() if len(digest) < 64], "all of it can be read"
    assert len(set(map(tuple, theirs))) == 4, "the order does matter there"
    assert seen[0] == seen[1] == seen[2] == seen[3]
    assert len(set(seen[0].values())) == len(seen[0])


def test_where_inodes_are_not_kept_a_file_that_takes_the_place_of_one_like_it_is_another(tmp_path: Path) -> None:
    """Slices have one size, and a folder that was copied at once has one time: the name and both are the same."""
    archive = tmp_path / "archive"
    archive.mkdir()
    data = (PYDICOM / "CT_small.dcm").read_bytes()
    uid = b"1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
    assert data.count(uid) == 2
    names = ("1.dcm", "2.dcm", "3.dcm")
    for name, last in zip(names, (b"3", b"4", b"5"), strict=True):
        (archive / name).write_bytes(data.replace(uid, uid[:-1] + last))
        os.utime(archive / name, (10**9, 10**9))
    with numbering_by_lookup(archive, tmp_path / "source") as source:
        with mounted(source, tmp_path) as mount:
            first = numbers(mount.path)
            originals = {name: (mount.path / name / "original.dcm").read_bytes() for name in names}
            theirs = os.stat(source / "3.dcm").st_ino
            # The numbers here stay in use, while the source's file system forgets its own.
            held = [os.open(mount.path / path, os.O_PATH) for name in names for path in (name, f"{name}/original.dcm")]
            (archive / "2.dcm").rename(archive / "1.dcm")
            wait_for(lambda: forget_everything() or os.stat(source / "3.dcm").st_ino != theirs)
            wait_for(lambda: os.stat(mount.path / "1.dcm").st_ino != first["1.dcm"])
            for name, before in (("1.dcm", "2.dcm"), ("3.dcm", "3.dcm")):
                assert (mount.path / name / "original.dcm").read_bytes() == originals[before]
            now = numbers(mount.path)
            for descriptor in held:
                os.close(descriptor)
        with mounted(source, tmp_path) as mount:
            assert numbers(mount.path) == now
    assert now.keys() < first.keys()
    replaced = {path for path in now if path.startswith("1.dcm")}
    assert {path for path in now if now[path] != first[path]} == replaced
    assert not {now[path] for path in replaced} & set(first.values())


def test_the_source_knows_which_file_systems_keep_inodes(tmp_path: Path) -> None:
    archive = small_archive(tmp_path)

    def identities(place: Path) -> dict[bytes, bytes]:
        source = LocalSource(str(place))
        try:
            entries = [source.root_entry(), *source.entries(b"a/b"), *source.entries(b"a")]
            return {entry.path: entry.identity for entry in entries}
        finally:
            source.close()

    here = identities(archive)
    assert b"%d" % os.stat(archive / "a/b/ct.dcm").st_ino in here[b"a/b/ct.dcm"].split()
    assert b"%d" % os.stat(archive / "a").st_ino not in here[b""].split()
    with numbering_by_lookup(archive, tmp_path / "source") as source:
        numbers(source, -1)
        there = identities(source)
    assert there[b""] == there[b"a/b"], "nothing but their names tells directories there"
    assert len({*there.values(), *here.values()}) == 2 * len(here) - 1


@pytest.mark.slow
def test_restic_finds_all_of_a_remounted_archive_unmodified(program: Callable[[str], str], tmp_path: Path) -> None:
    """Case 14: it compares size, times and inode numbers, and reads again whatever has another one."""
    restic, archive = program("restic"), small_archive(tmp_path)
    environment = {**os.environ, "RESTIC_PASSWORD": "x", "RESTIC_REPOSITORY": str(tmp_path / "repository")}

    def run(*command: str) -> str:
        common = [restic, "--cache-dir", str(tmp_path / "cache"), "--json"]
        return subprocess.run([*common, *command], env=environment, check=True, capture_output=True, text=True).stdout

    run("init")
    summaries = []
    for order in (1, -1):
        with mounted(archive, tmp_path) as mount:
            found = numbers(mount.path, order)
            if order == 1:
                digests(mount.path, found)  # what is built has its exact size from now on
            summaries.append(json.loads(run("backup", str(mount.path)).splitlines()[-1]))
            files = sum((mount.path / path).is_file() for path in found)
    assert summaries[0]["files_new"] == summaries[1]["files_unmodified"] == files > 50
    assert (summaries[1]["files_new"], summaries[1]["files_changed"], summaries[1]["data_blobs"]) == (0, 0, 0)


@pytest.mark.slow
def test_borg_finds_all_of_a_remounted_archive_unchanged(program: Callable[[str], str], tmp_path: Path) -> None:
    borg, archive = program("borg"), small_archive(tmp_path)
    # It never trusts what is as new as the newest file.
    for path in archive.rglob("*"):
        os.utime(path, (10**9, 10**9), follow_symlinks=False)
    (archive / "newest.txt").write_text("new")
    environment = {**os.environ, "BORG_BASE_DIR": str(tmp_path / "borg"), "BORG_PASSPHRASE": "x"}
    environment["BORG_RELOCATED_REPO_ACCESS_IS_OK"] = environment["BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK"] = "yes"
    repository = str(tmp_path / "repository")

    def run(*command: str) -> str:
        done = subprocess.run([borg, *command], env=environment, check=True, capture_output=True, text=True)
        return done.stderr

    run("init", "--encryption", "none", repository)
    told = []
    for order in (1, -1):
        with mounted(archive, tmp_path) as mount:
            digests(mount.path, numbers(mount.path, order))
            told.append(Counter())
            for line in run("create", "--list", f"{repository}::{order}", str(mount.path)).splitlines():
                state, _, path = line.partition(" ")
                told[-1][state if "newest" not in path else "newest"] += 1
    assert told[0]["A"] == told[1]["U"] > 50
    assert not told[1]["A"]
    assert not told[1]["M"]
