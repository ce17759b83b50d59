"""Modes where an access control list is in force: the mount gives nobody a right that the source did not give."""

import contextlib
import errno
import itertools
import os
import random
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.builders import dicom, image
from support.mounting import errno_of, mounted, wait_for

from dicomfs.sources.local import LocalSource
from dicomfs.sources.mount_table import below
from dicomfs.sources.posix_acl import ATTRIBUTE, Rights, effective_mode, has_other_lists, passable

Program = Callable[[str], str]
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NOBODY = 0xFFFFFFFF
DICOM = dicom(image(4, 4, bytes(16)))


def acl(*entries: tuple[int, int, int], group: int = 0, mask: int | None = None, other: int = 0) -> bytes:
    """Pack a list of *entries* and the three that every list has."""
    every = [(USER_OBJ, 0o6, NOBODY), *entries, (GROUP_OBJ, group, NOBODY), (OTHER, other, NOBODY)]
    if mask is not None:
        every.append((MASK, mask, NOBODY))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in sorted(every))


@pytest.fixture
def shared() -> Iterator[Path]:
    """Give a folder that other users can reach; each run of pytest closes its folders, those of other runs too."""
    with tempfile.TemporaryDirectory(prefix="dicomfs-test-") as place:
        os.chmod(place, 0o755)
        yield Path(place)


@pytest.mark.parametrize(
    ("group", "mask", "mode"),
    [(0, 0o4, 0o600), (0o4, 0o4, 0o640), (0o7, 0o4, 0o640), (0o4, 0o6, 0o640), (0o6, 0, 0o600)],
)
def test_the_group_has_its_own_entry_within_the_mask(group: int, mask: int, mode: int, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.touch()
    os.setxattr(file, ATTRIBUTE, acl((GROUP, 0o4, 4321), group=group, mask=mask))
    status = os.stat(file)
    assert effective_mode(status.st_mode, status.st_uid, status.st_gid, os.fsencode(file)) & 0o777 == mode
    source = LocalSource(tmp_path)
    try:
        assert source.entry(b"", b"x").mode & 0o777 == mode
        assert [entry.mode & 0o777 for entry in source.entries(b"")] == [mode]
    finally:
        source.close()


def test_a_list_that_makes_no_sense_leaves_the_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for broken in (b"", b"\2\0\0\0\1", struct.pack("<I", 3) + acl(group=7, mask=7, other=7)[4:]):
        monkeypatch.setattr("os.getxattr", lambda *_, broken=broken, **__: broken)
        assert effective_mode(0o100664, 0, 0, b"x") == 0o100600


def test_a_list_that_cannot_be_read_leaves_the_owner_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, mode in (
        (errno.ENODATA, 0o100664),
        (errno.EOPNOTSUPP, 0o100664),
        (errno.EIO, 0o100600),
        (errno.EACCES, 0o100600),
        (errno.ERANGE, 0o100600),
    ):

        def fails(*_: object, number: int = number, **__: object) -> bytes:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("os.getxattr", fails)
        assert effective_mode(0o100664, 0, 0, b"x") == mode


# The matrix


@dataclass(frozen=True)
class Someone:
    """A user, with his groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def class_of(self, uid: int, gid: int) -> str:
        """Say which bits of a mode are about him."""
        return "owner" if self.uid == uid else "group" if gid in (self.gid, *self.groups) else "other"


OWNER, OWNING, USERS, GROUPS = 1000, 2000, (1001, 1002), (3001, 3002)
PEOPLE = [
    Someone(uid, gid, groups)
    for uid, gid, groups in (
        (OWNER, OWNING, ()),
        (OWNER, 9999, ()),
        (1001, 9999, ()),
        (1001, OWNING, ()),
        (1001, 9999, (3001,)),
        (1002, 9999, ()),
        (1002, 3002, (OWNING, 3001)),
        (1003, OWNING, ()),
        (1003, OWNING, (3001,)),
        (1003, 9999, (OWNING, 3002)),
        (1003, 3001, ()),
        (1003, 9999, (3001, 3002)),
        (1003, 3002, ()),
        (1003, 9999, ()),
    )
]
# Reads what it is given, a path a line, and says of each whether it may: open a file, list a directory, search it.
LOOK = """
import os, sys
def may(act, *arguments):
    try:
        act(*arguments)
    except PermissionError:
        return "n"
    return "y"
def read(path):
    with open(path, "rb") as file:
        file.read(1)
for line in sys.stdin.buffer.read().split(b"\\0"):
    kind, path = line[:1], line[1:]
    print(may(read, path) if kind == b"f" else may(os.listdir, path) + may(os.stat, path + b"/inside"))
"""


def entries_of_files() -> Iterator[tuple[int, ...]]:
    """Give owner, group, other, mask (-1: none), two named users, two named groups, and those who own by name.

    -1 is an entry that is not there.
    """
    read_or_not = (0o4, 0)
    for owner, group, other in itertools.product(read_or_not, repeat=3):
        yield owner, group, other, -1, -1, -1, -1, -1, -1, -1
        for mask, user, first, second in itertools.product(read_or_not, (0o4, 0, -1), (0o4, 0, -1), (0o4, 0, -1)):
            yield owner, group, other, mask, user, -1, first, second, -1, -1
        for mask, own_user, own_group in itertools.product(read_or_not, (0o4, 0, -1), (0o4, 0, -1)):
            yield owner, group, other, mask, -1, -1, -1, -1, own_user, own_group


def any_entries(count: int) -> Iterator[tuple[int, ...]]:
    """Give *count* lists with any permissions."""
    chance = random.Random(14)
    for _ in range(count):
        named = [chance.choice((-1, -1, 0, 1, 4, 5, 6, 7)) for _ in range(6)]
        yield (chance.choice((5, 7)), *(chance.choice((0, 1, 4, 5, 7)) for _ in range(3)), *named)


def as_setfacl_restores(name: str, entries: tuple[int, ...]) -> str:
    """Write the list as `getfacl` prints it."""
    owner, group, other, mask, *named = entries
    who = [f"user:{uid}" for uid in USERS] + [f"group:{gid}" for gid in GROUPS] + [f"user:{OWNER}", f"group:{OWNING}"]
    lines = [f"# file: {name}", f"# owner: {OWNER}", f"# group: {OWNING}"]
    entries_of_it = [("user:", owner), ("group:", group), ("other:", other)]
    if mask >= 0:
        entries_of_it += [("mask:", mask), *((someone, allowed) for someone, allowed in zip(who, named, strict=True))]
    for someone, allowed in entries_of_it:
        if allowed >= 0:
            letters = "".join(letter if allowed & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
            lines.append(f"{someone}:{letters}")
    return "\n".join(lines) + "\n\n"


def test_the_mount_gives_nobody_what_the_kernel_denies_him_on_the_source(
    shared: Path, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ask the kernel for every user and list, on the source and on the mount."""
    source = shared / "source"
    source.mkdir()
    lists: dict[str, tuple[int, ...]] = {}
    for number, entries in enumerate((*entries_of_files(), *any_entries(200))):
        lists[f"f{number}"] = entries
    for number, entries in enumerate(any_entries(400)):
        lists[f"d{number}"] = entries
    for number, entries in enumerate(any_entries(40)):
        lists[f"f{number}.dcm"] = entries
    for name in lists:
        if name.startswith("d"):
            (source / name).mkdir()
            (source / name / "inside").touch()
        else:
            (source / name).write_bytes(DICOM if name.endswith(".dcm") else b"text")
    (shared / "lists").write_text("".join(as_setfacl_restores(name, entries) for name, entries in lists.items()))
    subprocess.run([program("setfacl"), f"--restore={shared}/lists"], cwd=source, check=True)
    assert os.getxattr(source / "f1", ATTRIBUTE)

    def answers(someone: Someone, shown: Path) -> tuple[list[str], list[str]]:
        """Say what he may do on the source and in the mount, a word for each list."""
        groups = ",".join(map(str, someone.groups))
        who = [f"--reuid={someone.uid}", f"--regid={someone.gid}"]
        who.append(f"--groups={groups}" if groups else "--clear-groups")
        there = [f"{name[0]}{source / name}" for name in lists]
        here = [f"{name[0]}{shown / name}{'/original.dcm' if name.endswith('.dcm') else ''}" for name in lists]
        done = subprocess.run(
            [program("setpriv"), *who, sys.executable, "-c", LOOK],
            input="\0".join((*there, *here)).encode(),
            capture_output=True,
            check=True,
        )
        words = done.stdout.decode().split()
        return words[: len(lists)], words[len(lists) :]

    with mounted(source, shared, "--allow-other") as mount:
        cells = {
            (name, letter, someone): (theirs, ours)
            for someone in PEOPLE
            for name, there, here in zip(lists, *answers(someone, mount.path), strict=True)
            for letter, theirs, ours in zip("rx", there, here, strict=False)
        }
    looser = [cell for cell, (theirs, ours) in cells.items() if (theirs, ours) == ("n", "y")]
    stricter = [cell for cell, (theirs, ours) in cells.items() if (theirs, ours) == ("y", "n")]
    unlooked = [cell for cell in stricter if lists[cell[0]][3] == 0]
    allowed = sum(theirs == "y" for theirs, _ in cells.values())
    with capsys.disabled():
        print(
            f"\n{len(cells)} cells ({len(lists)} lists, {len(PEOPLE)} users): {len(looser)} looser than the source, "
            f"{len(stricter)} of {allowed} allowed ones stricter, {len(unlooked)} of these where the mask is empty"
        )
    assert not looser
    assert 0 < allowed < len(cells)
    # Nobody is denied anything for nothing: the same bit would have let somebody in whom the source denies it, or the
    # list does (with an empty mask, Linux does not look at it).
    denied = {
        (name, letter, someone.class_of(OWNER, OWNING))
        for (name, letter, someone), (theirs, _) in cells.items()
        if theirs == "n"
    }
    needless = [
        (cell, lists[cell[0]])
        for cell in set(stricter) - set(unlooked)
        if (*cell[:2], cell[2].class_of(OWNER, OWNING)) not in denied
    ]
    assert not needless, needless[:5]


# Links: the directories on the way count


def test_a_link_into_a_closed_directory_is_closed(shared: Path, program: Program) -> None:
    source = shared / "source"
    (source / "closed" / "deep").mkdir(parents=True)
    (source / "team").mkdir()
    for folder in ("closed", "closed/deep", "team"):
        (source / folder / "x.txt").write_text("secret")
        (source / folder / "x.dcm").write_bytes(DICOM)
        shutil.chown(source / folder / "x.txt", 1003, 9999)
    (source / "closed").chmod(0o700)
    (source / "team").chmod(0o750)
    shutil.chown(source / "team", 0, 3001)
    (source / "closed" / "hop").symlink_to("../team/x.txt")
    links = {
        "file": "closed/x.txt",
        "object": "closed/x.dcm",
        "folder": "closed",
        "below": "closed/deep",
        "deeper": "closed/deep/x.dcm",
        "absolute": f"{source}/closed/x.txt",
        "through": "closed/hop",
        "chain": "file",
        "ours": "team/x.txt",
        "ours.dcm": "team/x.dcm",
        "our folder": "team",
    }
    for name, target in links.items():
        (source / name).symlink_to(target)
    (source / "closed" / "deep" / "up").symlink_to("../x.txt")
    paths = [
        "file", "object/original.dcm", "folder/x.txt", "folder/deep/x.dcm/original.dcm", "below/x.txt", "below/up",
        "deeper/original.dcm", "absolute", "through", "chain", "ours", "ours.dcm/original.dcm", "our folder/x.txt",
        "team/x.txt", "team/x.dcm/original.dcm",
    ]  # fmt: skip

    def readable(top: Path, *drop: str) -> list[str]:
        """Give the paths that somebody can read."""
        script = "import os, sys\nfor path in sys.argv[1:]:\n    print(int(os.access(path, os.R_OK)))"
        names = [path.removesuffix("/original.dcm") if top == source else path for path in paths]
        command = [program("setpriv"), *drop, sys.executable, "-c", script, *(str(top / name) for name in names)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return [path for path, answer in zip(paths, done.stdout.split(), strict=True) if answer == "1"]

    with mounted(source, shared, "--allow-other") as mount:
        for drop, count in (
            (("--reuid=1003", "--regid=9999", "--clear-groups"), 0),
            (("--reuid=1001", "--regid=9999", "--groups=3001"), 5),
            (("--reuid=0", "--regid=0", "--clear-groups"), len(paths)),
        ):
            there, here = readable(source, *drop), readable(mount.path, *drop)
            assert set(here) <= set(there)
            assert len(there) == count
        # Whoever may go there by the directory itself still may.
        member = ("--reuid=1001", "--regid=3001", "--clear-groups")
        assert {"team/x.txt", "our folder/x.txt"} <= set(readable(mount.path, *member))
        # It stays closed when the kernel asks for the directory alone.
        os.utime(source / "closed")
        wait_for(lambda: os.stat(mount.path / "folder").st_mtime_ns == os.stat(source / "closed").st_mtime_ns)
        assert stat.S_IMODE(os.stat(mount.path / "folder").st_mode) == 0o500


# Another directory of the same name

# Reads two paths again and again for some seconds, and prints what it could read but "open".
WATCH = """
import os, sys, time
until, seen = time.monotonic() + 7, set()
print("ready", flush=True)
while time.monotonic() < until:
    for path in sys.argv[1:]:
        try:
            if os.path.isdir(path):
                seen.update(os.listdir(path))
            else:
                with open(path) as file:
                    seen.add(file.read())
        except OSError:
            pass
print(sorted(seen))
"""


def test_a_directory_replaced_by_a_closed_one_is_closed_at_once(shared: Path, program: Program) -> None:
    source = shared / "source"
    for name, text in (("patient", "open"), ("next", "SECRET")):
        (source / name / "deep").mkdir(parents=True)
        for place in (source / name, source / name / "deep"):
            (place / "x.txt").write_text(text)
            (place / f"{text}.txt").touch()
    (source / "next").chmod(0o700)
    with mounted(source, shared, "--allow-other") as mount:
        paths = [mount.path / "patient" / path for path in ("", "deep", "SECRET.txt")]
        stranger = [program("setpriv"), "--reuid=1001", "--regid=1001", "--clear-groups"]
        command = [*stranger, sys.executable, "-c", WATCH, *map(str, paths)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
            assert watcher.stdout
            assert watcher.stdout.readline() == "ready\n"
            wait_for(lambda: mount.statistics()["requests"] > 10)
            (source / "patient").rename(shared / "aside")
            (source / "next").rename(source / "patient")
            assert watcher.stdout.read() == "['deep', 'open.txt', 'x.txt']\n"
        # For those who may read it, it is there, under the same name.
        assert (mount.path / "patient" / "deep" / "x.txt").read_text() == "SECRET"


def test_a_directory_that_was_renamed_is_read_under_its_new_name(tmp_path: Path) -> None:
    """What is kept of its files does not lead to where they were."""
    source = tmp_path / "source"
    (source / "before").mkdir(parents=True)
    (source / "before" / "x.dcm").write_bytes(DICOM)
    (source / "link").symlink_to("before")
    with mounted(source, tmp_path) as mount:
        read = {name: (mount.path / "before" / "x.dcm" / name).read_bytes() for name in ("header.txt", "original.dcm")}
        assert (mount.path / "link" / "x.dcm" / "original.dcm").read_bytes() == DICOM
        (source / "before").rename(source / "after")
        (source / "link").unlink()
        (source / "link").symlink_to("after")
        for folder in ("after", "link"):
            place = mount.path / folder / "x.dcm"
            wait_for(place.exists)
            for name, data in read.items():
                assert (place / name).read_bytes() == data, (folder, name)
            assert (place / "frames" / "0001.png").read_bytes()


@pytest.mark.parametrize(
    ("rights", "way", "left"),
    [
        (Rights(0o644, 1, 1), [], 0o777),
        (Rights(0o644, 1, 1), [Rights(0o755, 2, 2)], 0o777),
        (Rights(0o644, 1, 1), [Rights(0o700, 1, 1)], 0o700),
        (Rights(0o644, 1, 1), [Rights(0o700, 2, 2)], 0),
        (Rights(0o644, 1, 1), [Rights(0o750, 1, 1)], 0o770),
        # the file's group is not the directory's
        (Rights(0o644, 1, 1), [Rights(0o750, 1, 2)], 0o700),
        # the directory's owner or group is denied, and may be among the others
        (Rights(0o644, 1, 1), [Rights(0o075, 2, 2)], 0o700),
        (Rights(0o644, 1, 1), [Rights(0o705, 2, 2)], 0),
        (Rights(0o644, 1, 1), [Rights(0o705, 1, 1)], 0o707),
        # each directory counts
        (Rights(0o644, 1, 1), [Rights(0o750, 1, 1), Rights(0o705, 1, 1)], 0o700),
        # reading is not searching
        (Rights(0o644, 1, 1), [Rights(0o744, 1, 1)], 0o700),
    ],
)
def test_what_directories_on_the_way_leave(rights: Rights, way: list[Rights], left: int) -> None:
    assert passable(rights, way) == left


# Lists that modes do not show


@pytest.mark.parametrize(
    ("kind", "attributes", "other"),
    [
        ("ext4", [], False),
        ("ext4", ["user.x", "security.selinux", ATTRIBUTE], False),
        ("nfs", [], False),
        ("nfs4", [], True),
        ("cifs", [], True),
        ("smb3", [], True),
        ("zfs", ["system.nfs4_acl_xdr"], True),
        ("fuseblk", ["system.ntfs_acl"], True),
        ("", ["system.nfs4_acl"], True),
        ("", ["system.cifs_acl"], True),
    ],
)
def test_file_systems_with_other_lists(kind: str, attributes: list[str], other: bool) -> None:
    assert has_other_lists(kind, attributes) is other


def test_what_is_mounted_below_the_archive_counts() -> None:
    table = [
        b"24 1 259:1 / / rw shared:1 - ext4 /dev/root rw\n",
        b"50 24 0:40 / /srv/archive rw - ext4 /dev/sdb rw\n",
        b"51 50 0:41 / /srv/archive/2023\\040old rw shared:3 master:2 - nfs4 server:/x rw,vers=4.2\n",
        b"52 24 0:42 / /srv/archive2 rw - cifs //server/x rw\n",
    ]
    assert below(table, b"/srv/archive") == {"ext4", "nfs4"}
    assert below(table, b"/srv") == {"ext4", "nfs4", "cifs"}
    assert below(table, b"/srv/archive/2023 old") == {"nfs4"}
    assert below(table, b"/srv/archive/2023") == set()


@contextlib.contextmanager
def with_nfs4_attribute(place: Path) -> Iterator[list[str]]:
    """Give a command that runs dicomfs where *place* has the attribute that the NFSv4 client shows."""
    script = place / "run.py"
    script.write_text(
        "import os, sys\n"
        "listed = os.listxattr\n"
        "os.listxattr = lambda *a, **k: [*listed(*a, **k), 'system.nfs4_acl']\n"
        "from dicomfs.cli.main import main\n"
        "main(sys.argv[4:])\n"
    )
    yield [sys.executable, str(script)]


def test_other_lists_are_no_reason_to_let_others_in(shared: Path) -> None:
    source = shared / "source"
    source.mkdir()
    (source / "x.txt").write_text("x")
    (source / "x.txt").chmod(0o644)
    with with_nfs4_attribute(shared) as command:
        mount = ["", "", "", "mount", "-f", str(source), str(shared / "mnt")]
        (shared / "mnt").mkdir()
        refused = subprocess.run([*command, *mount, "--allow-other"], capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert "access control lists" in refused.stderr
        assert "--trust-modes" in refused.stderr
        # For oneself alone they do not matter, and whoever knows that the modes say all may say so.
        for options in ([], ["--allow-other", "--trust-modes"], ["-o", "allow_other,trust_modes"]):
            with mounted(source, shared, *options, under=command) as there:
                assert stat.S_IMODE(os.stat(there.path / "x.txt").st_mode) == 0o444
        # What is mounted below the archive later is closed.
        careful = LocalSource(source, trusting=False)
        try:
            assert careful.entry(b"", b"x.txt").mode & 0o777 == 0o644
            careful.file_systems.closed_to_others[os.stat(source).st_dev] = True
            assert careful.entry(b"", b"x.txt").mode & 0o777 == 0o600
        finally:
            careful.close()


def test_a_file_system_mounted_later_below_the_archive_is_looked_at(tmp_path: Path, program: Program) -> None:
    source = tmp_path / "source"
    (source / "later").mkdir(parents=True)
    careful = LocalSource(source, trusting=False)
    try:
        assert careful.directory(b"later").mode & 0o777 == 0o755
        assert not careful.other_lists()
        subprocess.run([program("mount"), "-t", "tmpfs", "none", source / "later"], check=True)
        try:
            assert careful.directory(b"later").object_id[0] in careful.file_systems.closed_to_others
            assert len(careful.file_systems.closed_to_others) == 2
        finally:
            subprocess.run([program("umount"), source / "later"], check=True)
    finally:
        careful.close()
    assert errno_of(lambda: os.stat(source / "later")) is None
