"""The kernel's table of mounts: where a file lies on its device, and whether its file system keeps inode numbers."""

import re
from dataclasses import dataclass

# Types whose inode numbers are on disk, or kept by the server: the same after another mount of the same file system.
# vfat, exFAT, CIFS, 9p and all of FUSE (sshfs, rclone …) may number in the order of lookup; overlayfs keeps numbers in
# some configurations only. A type that is not known here counts as one of those.
_KEEP_INODES = frozenset(
    b"ext2 ext3 ext4 xfs btrfs f2fs zfs jfs reiserfs nilfs2 bcachefs ocfs2 gfs2 tmpfs ntfs ntfs3 hfsplus ufs "
    b"squashfs erofs iso9660 udf nfs nfs4 ceph lustre gpfs".split()
)


@dataclass(frozen=True, slots=True)
class MountLine:
    """One line of /proc/self/mountinfo (see proc_pid_mountinfo(5)): the device, which of its directories is mounted
    where, and the type of the file system."""

    device: bytes
    root: bytes
    point: bytes
    kind: bytes


def mount_of(descriptor: int) -> MountLine | None:
    """Give the mount that an open file lies in, whatever device numbers say; None where the kernel does not tell."""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", "rb") as info, open("/proc/self/mountinfo", "rb") as mounts:
            mount = next((line.split()[1] for line in info if line.startswith(b"mnt_id:")), None)
            for line in mounts:
                fields = [_unescaped(field) for field in line.split()]
                if fields[0] == mount:
                    device, root, point = fields[2:5]
                    # Optional fields end with a hyphen, behind which the type stands.
                    return MountLine(device, root, point, fields[fields.index(b"-", 6) + 1])
    except OSError:
        pass
    return None


def keeps_inodes(descriptor: int) -> bool:
    """Tell whether the inode number of an open file (O_PATH will do) stays when its file system is mounted again."""
    mount = mount_of(descriptor)
    return mount is not None and mount.kind in _KEEP_INODES


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), field)
