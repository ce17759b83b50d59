"""What the mount table says of our mounts, and unmounting. Nothing here asks a daemon, which may hang."""

import errno
import os
import subprocess

from dicomfs.sources.mount_table import mounted_at

_TYPE = "fuse.dicomfs"


def clear_dead_mount(mountpoint: str) -> bool:
    """Unmount what a killed daemon left at *mountpoint*; return whether there was such a mount."""
    try:
        # The one question that the kernel never answers from its caches.
        os.statvfs(mountpoint)
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            return False
    else:
        return False
    unmount(mountpoint, lazy=True)
    return True


def is_mounted(mountpoint: str) -> bool:
    """Return whether an archive is mounted there."""
    return any(mount.kind == _TYPE for mount in mounted_at(os.fsencode(os.path.realpath(mountpoint))))


def device_of(mountpoint: str) -> str:
    """Return the device number (major:minor) of the mount at a real path, empty where there is none."""
    devices = [mount.device.decode("ascii") for mount in mounted_at(os.fsencode(mountpoint))]
    return devices[-1] if devices else ""


def unmount(mountpoint: str, *, lazy: bool = False) -> None:
    """Unmount with fusermount3, which ordinary users may use. Raises OSError with its message."""
    if not lazy and os.path.exists(mountpoint) and not os.path.ismount(mountpoint):
        raise OSError(errno.EINVAL, f"{mountpoint} is not mounted")
    command = ["fusermount3", "-uz" if lazy else "-u", "--", mountpoint]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise OSError(errno.ENOENT, "fusermount3 is not installed; install the package fuse3") from None
    if done.returncode:
        raise OSError(errno.EBUSY, done.stderr.strip().removeprefix("fusermount3: ") or "unmounting failed")
