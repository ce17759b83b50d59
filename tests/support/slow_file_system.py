"""A FUSE file system to be the archive of a mount: one flat folder, slow, with names that fail or hang when told to.

    slow_file_system MOUNTPOINT FILES CONTROL DELAY AT_ONCE COUNT

The folder holds what FILES holds, or COUNT copies of its only file. Each request that the kernel makes for a name takes
DELAY seconds, AT_ONCE of them at a time. A file in CONTROL with the name of one holds the errno that looking at it
gives, or 0 for no answer as long as it is there; `opens` in CONTROL counts how often each was opened, at the end.
"""

import errno
import json
import os
import stat
import sys
from pathlib import Path

import pyfuse3
import trio

FIRST = 2


class SlowFolder(pyfuse3.Operations):
    """Answers late, and never lets the kernel keep an answer."""

    supports_dot_lookup = False

    def __init__(self, files: Path, control: Path, delay: float, at_once: int, count: int) -> None:
        super().__init__()
        paths = sorted(files.iterdir())
        if count:
            self.names = [b"%06d.dcm" % number for number in range(count)]
            self.data = [paths[0].read_bytes()] * count
        else:
            self.names = [os.fsencode(path.name) for path in paths]
            self.data = [path.read_bytes() for path in paths]
        self.numbers = {name: FIRST + place for place, name in enumerate(self.names)}
        self.control, self.delay = os.fsencode(control), delay
        self.permits = trio.Semaphore(at_once)
        self.opens = [0] * len(self.names)

    async def wait(self, inode: int) -> None:
        async with self.permits:
            await trio.sleep(self.delay)
        told = Path(os.fsdecode(os.path.join(self.control, self.names[inode - FIRST])))
        while told.exists():
            number = int(told.read_text() or 0)
            if number:
                raise pyfuse3.FUSEError(number)
            await trio.sleep(0.1)

    def entry(self, inode: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = stat.S_IFDIR | 0o755 if inode == pyfuse3.ROOT_INODE else stat.S_IFREG | 0o644
        entry.st_size = 0 if inode == pyfuse3.ROOT_INODE else len(self.data[inode - FIRST])
        entry.entry_timeout = entry.attr_timeout = 0
        entry.st_mtime_ns = entry.st_ctime_ns = entry.st_atime_ns = 10**18
        entry.st_nlink = 1
        return entry

    async def lookup(self, parent: int, name: bytes, ctx: object) -> pyfuse3.EntryAttributes:
        inode = self.numbers.get(name)
        if inode is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        await self.wait(inode)
        return self.entry(inode)

    async def getattr(self, inode: int, ctx: object) -> pyfuse3.EntryAttributes:
        if inode != pyfuse3.ROOT_INODE:
            await self.wait(inode)
        return self.entry(inode)

    async def opendir(self, inode: int, ctx: object) -> int:
        return inode

    async def readdir(self, fh: int, start: int, token: pyfuse3.ReaddirToken) -> None:
        nothing = pyfuse3.EntryAttributes()
        nothing.st_ino, nothing.st_mode = (1 << 64) - 1, 0
        for place in range(start, len(self.names)):
            if not pyfuse3.readdir_reply(token, self.names[place], nothing, place + 1):
                break

    async def open(self, inode: int, flags: int, ctx: object) -> pyfuse3.FileInfo:
        await self.wait(inode)
        self.opens[inode - FIRST] += 1
        return pyfuse3.FileInfo(fh=inode, direct_io=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        await self.wait(fh)
        return self.data[fh - FIRST][off : off + size]

    async def getxattr(self, inode: int, name: bytes, ctx: object) -> bytes:
        await self.wait(inode)
        raise pyfuse3.FUSEError(errno.ENODATA)


def main() -> None:
    mountpoint, files, control, delay, at_once, count = sys.argv[1:]
    folder = SlowFolder(Path(files), Path(control), float(delay), int(at_once), int(count))
    pyfuse3.init(folder, mountpoint, {"fsname=slow", "default_permissions", "allow_other"})
    try:
        trio.run(pyfuse3.main, 1, 512)
    finally:
        pyfuse3.close(unmount=False)
        opens = {os.fsdecode(name): count for name, count in zip(folder.names, folder.opens, strict=True)}
        Path(control, "opens").write_text(json.dumps(opens))


if __name__ == "__main__":
    main()
