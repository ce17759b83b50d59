"""A file system that numbers files by the order of lookups, as vfat, exFAT, sshfs and many others do.

`by_lookup.py FOLDER MOUNTPOINT` shows the files of a flat folder, read-only, all with one time of whole seconds. A
number that the kernel has forgotten is given to the next file that is looked up, and the kernel is made to forget what
is not open every few milliseconds.
"""

import contextlib
import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyfuse3
import trio

from support import script
from support.mounting import wait_for

TIME_NS = 1_700_000_000 * 10**9
_FORGETS = 0.02


class ByLookup(pyfuse3.Operations):
    """The files of *folder*; numbers from 2, the lowest that is free first."""

    supports_dot_lookup = False

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.names: dict[int, str] = {}
        self.held: dict[int, int] = {}
        self.open_files: dict[int, int] = {}

    def entry(self, inode: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.entry_timeout = entry.attr_timeout = 0
        if inode == pyfuse3.ROOT_INODE:
            entry.st_mode = stat.S_IFDIR | 0o755
        else:
            entry.st_mode = stat.S_IFREG | 0o644
            entry.st_size = (self.folder / self.names[inode]).stat().st_size
        entry.st_nlink = 1
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = TIME_NS
        return entry

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self.entry(inode)

    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        text = os.fsdecode(name)
        if not (self.folder / text).is_file():
            raise pyfuse3.FUSEError(errno.ENOENT)
        known = [inode for inode, other in self.names.items() if other == text]
        inode = known[0] if known else next(number for number in range(2, 1 << 20) if number not in self.names)
        self.names[inode] = text
        self.held[inode] = self.held.get(inode, 0) + 1
        return self.entry(inode)

    async def forget(self, inode_list: list[tuple[int, int]]) -> None:
        for inode, count in inode_list:
            if inode in self.held:
                self.held[inode] -= count
                if self.held[inode] <= 0:
                    del self.held[inode], self.names[inode]

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        return inode

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        names = sorted(os.listdir(self.folder))
        for place in range(start_id, len(names)):
            entry = await self.lookup(fh, os.fsencode(names[place]), None)
            if not pyfuse3.readdir_reply(token, os.fsencode(names[place]), entry, place + 1):
                await self.forget([(entry.st_ino, 1)])
                break

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        handle = os.open(self.folder / self.names[inode], os.O_RDONLY)
        self.open_files[handle] = inode
        return pyfuse3.FileInfo(fh=handle, keep_cache=False)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return os.pread(fh, size, off)

    async def release(self, fh: int) -> None:
        del self.open_files[fh]
        os.close(fh)

    async def forget_unused(self) -> None:
        while True:
            await trio.sleep(_FORGETS)
            for inode, name in list(self.names.items()):
                if inode not in self.open_files.values():
                    # In a thread, since the kernel may wait for an answer of ours meanwhile.
                    await trio.to_thread.run_sync(_invalidate, os.fsencode(name))


def _invalidate(name: bytes) -> None:
    with contextlib.suppress(OSError):
        pyfuse3.invalidate_entry(pyfuse3.ROOT_INODE, name)


async def _serve(operations: ByLookup) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(operations.forget_unused)
        await pyfuse3.main()
        nursery.cancel_scope.cancel()


@contextlib.contextmanager
def numbered_by_lookup(folder: Path, mountpoint: Path) -> Iterator[Path]:
    """Have *folder* shown at *mountpoint*."""
    mountpoint.mkdir(exist_ok=True)
    process = subprocess.Popen([*script("by_lookup"), folder, mountpoint])
    try:
        wait_for(lambda: os.path.ismount(mountpoint) or process.poll() is not None)
        assert process.poll() is None
        yield mountpoint
    finally:
        subprocess.run(["fusermount3", "-uz", mountpoint], check=False)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    operations = ByLookup(Path(sys.argv[1]))
    pyfuse3.init(operations, sys.argv[2], {"ro", "fsname=by_lookup", "default_permissions"})
    try:
        trio.run(_serve, operations)
    finally:
        pyfuse3.close(unmount=True)
