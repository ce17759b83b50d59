"""`dicomfs umount`."""

import argparse

from dicomfs.cli.outcome import DONE, FAILED, complain, describe
from dicomfs.fuse.fusermount import clear_dead_mount, unmount


def umount(options: argparse.Namespace) -> int:
    """Unmount each mount point, also one whose daemon was killed. Return the exit code."""
    code = DONE
    for mountpoint in options.mountpoints:
        try:
            if not clear_dead_mount(mountpoint):
                unmount(mountpoint)
        except OSError as error:
            complain(describe(error))
            code = FAILED
    return code
