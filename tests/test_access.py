"""Modes where an access control list is in force: the mount gives nobody a right that the source did not give."""

import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from mounting import mounted

from dicomfs.access import ATTRIBUTE, without_masks
from dicomfs.source import Source

Program = Callable[[str], str]
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NOBODY = 0xFFFFFFFF


def acl(group: int, mask: int | None = None, *, user: int = 0o4) -> bytes:
    entries = [(USER_OBJ, 0o6, NOBODY), (USER, user, 1234), (GROUP_OBJ, group, NOBODY), (OTHER, 0, NOBODY)]
    if mask is not None:
        entries.insert(3, (MASK, mask, NOBODY))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.mark.parametrize(
    ("group", "mask", "mode"),
    [(0, 0o4, 0o600), (0o4, 0o4, 0o640), (0o7, 0o4, 0o640), (0o4, 0o6, 0o640), (0o6, 0, 0o600)],
)
def test_the_group_has_its_own_entry_within_the_mask(group: int, mask: int, mode: int, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.touch()
    os.setxattr(file, ATTRIBUTE, acl(group, mask))
    assert without_masks(os.stat(file).st_mode, os.fsencode(file)) & 0o777 == mode
    source = Source(tmp_path)
    try:
        (entry,) = source.entries(b"")
        assert entry.mode & 0o777 == source.entry(b"", b"x").mode & 0o777 == mode
    finally:
        source.close()


def test_a_list_that_makes_no_sense_leaves_the_group_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for broken in (b"", b"\2\0\0\0\1", struct.pack("<I", 3) + acl(7, 7)[4:]):
        monkeypatch.setattr("os.getxattr", lambda *_, broken=broken, **__: broken)
        assert without_masks(0o100660, b"x") == 0o100600


def test_a_group_that_the_list_denies_is_denied_by_the_mount(tmp_path: Path, program: Program) -> None:
    for place in (tmp_path, *tmp_path.parents[:2]):
        place.chmod(0o755)
    source = tmp_path / "source"
    source.mkdir()
    file = source / "a.txt"
    file.write_text("secret")
    shutil.chown(file, 0, 4321)
    file.chmod(0o640)
    reader = [program("setpriv"), "--reuid=1001", "--regid=4321", "--clear-groups", "cat"]
    with mounted(source, tmp_path, "--allow-other") as mount:
        assert subprocess.run([*reader, mount.path / "a.txt"], capture_output=True, check=False).stdout == b"secret"
    os.setxattr(file, ATTRIBUTE, acl(0, 0o4))
    with mounted(source, tmp_path, "--allow-other") as mount:
        for path in (file, mount.path / "a.txt"):
            assert subprocess.run([*reader, path], capture_output=True, check=False).stdout == b""
