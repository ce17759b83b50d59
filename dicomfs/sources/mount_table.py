"""The kernel's mount table: the file system that a place is on, and the mounts at and below it."""

import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dicomfs.resources.descriptors import SHORT
from dicomfs.sources.posix_acl import has_other_lists

_TABLE = "/proc/self/mountinfo"
# Types whose inode numbers are on disk or kept by the server, and so survive a remount. vfat, exFAT, CIFS, 9p and all
# of FUSE (sshfs, rclone …) may number inodes in the order of lookups; overlayfs keeps them in some configurations only.
# A type that is not listed here counts as one of those.
_KEEP_INODES = frozenset((
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "jfs", "reiserfs", "nilfs2", "bcachefs", "ocfs2", "gfs2",
    "tmpfs", "ntfs", "ntfs3", "hfsplus", "ufs", "squashfs", "erofs", "iso9660", "udf", "nfs", "nfs4", "ceph", "lustre",
    "gpfs",
))  # fmt: skip


class MountPoint(NamedTuple):
    """One line of the table (proc_pid_mountinfo(5)): id, device, directory on the device, mount point and type."""

    number: bytes
    device: bytes
    root: bytes
    place: bytes
    kind: str


def table(lines: Iterable[bytes]) -> Iterator[MountPoint]:
    """Parse the lines of a mount table."""
    for line in lines:
        mounted, _, kind = line.partition(b" - ")
        number, _, device, root, place = [_unescaped(field) for field in mounted.split()[:5]]
        yield MountPoint(number, device, root, place, kind.split()[0].decode("ascii", "replace"))


def mounted_at(path: bytes) -> list[MountPoint]:
    """Return the mounts at *path*, which is absolute and without links; the last one is the one that is seen."""
    with open(_TABLE, "rb") as lines:
        return [mount for mount in table(lines) if mount.place == path]


def kinds_below(descriptor: int, path: bytes) -> set[str]:
    """Return the type of the file system that *descriptor* is on, and those mounted below *path*, the same place."""
    with open(_TABLE, "rb") as lines:
        return {kind_of(descriptor)} | below(lines, path)


def below(lines: Iterable[bytes], path: bytes) -> set[str]:
    """Return the types of the file systems mounted at and below *path*."""
    top = parts(path)
    return {mount.kind for mount in table(lines) if parts(mount.place)[: len(top)] == top}


def kind_of(descriptor: int) -> str:
    """Return the type of the file system that *descriptor* is on; empty where it is unknown."""
    try:
        mount = _mount(descriptor)
    except OSError as error:
        if error.errno in SHORT:
            raise  # that says nothing about the file system
        return ""
    return mount.kind if mount else ""


def keeps_inodes(descriptor: int) -> bool:
    """Return whether the inode number of an open file (O_PATH suffices) survives a remount of its file system."""
    return kind_of(descriptor) in _KEEP_INODES


def other_lists(kinds: Iterable[str], descriptor: int) -> set[str]:
    """Return those of *kinds* with access control lists that modes do not show; *descriptor* is on one of them."""
    try:
        attributes = os.listxattr(f"/proc/self/fd/{descriptor}")
    except OSError:
        attributes = []
    found = {kind for kind in kinds if has_other_lists(kind, ())}
    return found or ({kind_of(descriptor)} if has_other_lists("", attributes) else set())


def place_of(path: bytes) -> tuple[bytes, ...] | None:
    """Return the parts of the path on its device, whatever mount *path* goes through; None where it is unknown.

    The first part is the device as in the mount table.
    """
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mount = _mount(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return mount and (mount.device, *parts(mount.root), *parts(os.path.relpath(path, mount.place)))


def parts(path: bytes) -> tuple[bytes, ...]:
    """Return the names in a path."""
    return tuple([part for part in path.split(b"/") if part not in (b"", b".")])


def _mount(descriptor: int) -> MountPoint | None:
    with open(f"/proc/self/fdinfo/{descriptor}", "rb") as info, open(_TABLE, "rb") as lines:
        number = next((line.split()[1] for line in info if line.startswith(b"mnt_id:")), None)
        return next((mount for mount in table(lines) if mount.number == number), None)


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", _character, field)


def _character(octal: re.Match[bytes]) -> bytes:
    return bytes([int(octal[1], 8)])
