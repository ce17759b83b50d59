"""A file system that shows a folder and numbers its files in the order in which they are looked up, as vfat, exFAT,
sshfs and most of FUSE do; times are whole seconds. This file is also the daemon: `lookup_numbering_fs.py FOLDER MOUNT`.
"""

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyfuse3
import trio

from support import script
from support.mounting import wait_for


@contextlib.contextmanager
def numbering_by_lookup(folder: Path, mountpoint: Path) -> Iterator[Path]:
    """Show *folder* on *mountpoint* with numbers that begin anew each time."""
    mountpoint.mkdir(exist_ok=True)
    daemon = subprocess.Popen([*script("lookup_numbering_fs"), str(folder), str(mountpoint)])
    try:
        wait_for(lambda: os.path.ismount(mountpoint) or daemon.poll() is not None)
        assert daemon.poll() is None
        yield mountpoint
    finally:
        subprocess.run(["fusermount3", "-u", str(mountpoint)], check=False)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
            subprocess.run(["fusermount3", "-uz", str(mountpoint)], check=False)


class LookupNumbers(pyfuse3.Operations):
    """Numbers go up by one with each file that is looked up, and are lost when the kernel forgets it."""

    def __init__(self, folder: bytes) -> None:
        """Show *folder*."""
        super().__init__()
        self._paths = {pyfuse3.ROOT_INODE: folder}
        self._numbers = {folder: pyfuse3.ROOT_INODE}
        self._held: dict[int, int] = {}
        self._next = 2

    async def lookup(self, parent_inode: int, name: bytes, ctx: object = None) -> pyfuse3.EntryAttributes:
        """Number a file, unless it has a number."""
        return self._attributes(self._hold(os.path.join(self._paths[parent_inode], name)))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """Lose the numbers of files that are looked up no more."""
        for inode, lookups in inode_list:
            self._forget(inode, lookups)

    async def getattr(self, inode: int, ctx: object = None) -> pyfuse3.EntryAttributes:
        """Describe a file."""
        return self._attributes(inode)

    async def opendir(self, inode: int, ctx: object) -> int:
        """List what is there."""
        return inode

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Give names, which counts as looking them up."""
        for place, name in enumerate(sorted(os.listdir(self._paths[fh]))[start_id:], start_id + 1):
            inode = self._hold(os.path.join(self._paths[fh], name))
            if not pyfuse3.readdir_reply(token, name, self._attributes(inode), place):
                self._forget(inode, 1)
                break

    async def open(self, inode: int, flags: int, ctx: object) -> pyfuse3.FileInfo:
        """Open a file."""
        return pyfuse3.FileInfo(fh=_or_errno(os.open, self._paths[inode], os.O_RDONLY))

    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Read it."""
        return os.pread(fh, size, off)

    async def release(self, fh: int) -> None:
        """Close it."""
        os.close(fh)

    def _hold(self, path: bytes) -> int:
        _or_errno(os.lstat, path)
        inode = self._numbers.get(path)
        if inode is None:
            inode = self._numbers[path] = self._next
            self._paths[inode] = path
            self._next += 1
        self._held[inode] = self._held.get(inode, 0) + 1
        return inode

    def _forget(self, inode: int, lookups: int) -> None:
        self._held[inode] -= lookups
        if not self._held[inode]:
            del self._held[inode], self._numbers[self._paths.pop(inode)]

    def _attributes(self, inode: int) -> pyfuse3.EntryAttributes:
        status = _or_errno(os.lstat, self._paths[inode])
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.entry_timeout = entry.attr_timeout = 0
        for name in ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size"):
            setattr(entry, name, getattr(status, name))
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = int(status.st_mtime) * 10**9
        return entry


def _or_errno(act, *arguments):  # type: ignore[no-untyped-def]
    try:
        return act(*arguments)
    except OSError as error:
        raise pyfuse3.FUSEError(error.errno or errno.EIO) from None


def main(folder: str, mountpoint: str) -> None:
    """Serve until unmounted."""
    pyfuse3.init(LookupNumbers(os.fsencode(folder)), mountpoint, {"ro", "fsname=lookup_numbers"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
