"""No exception ends the mount: every handler of the adapter, with every kind of exception, in a real mount."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.archives import PYDICOM
from support.mounting import errno_of, wait_for

# Runs the real mount with one handler's inner work replaced by something that raises until a file appears.
DAEMON = '''
import asyncio, errno, os, sys
import trio
from dicomfs.cli import main as command
from dicomfs.fuse import inodes
from dicomfs.tree import instance_directory, mirror
from dicomfs.vfs import content
from dicomfs.entries import source_bytes

point, kind, healed = sys.argv[1:4]

class PanicException(BaseException):
    """As a Rust decoder raises it."""

def make():
    return {
        "ValueError": lambda: ValueError("secret^patient"),
        "MemoryError": lambda: MemoryError(),
        "RecursionError": lambda: RecursionError(),
        "StopIteration": lambda: StopIteration(),
        "StopAsyncIteration": lambda: StopAsyncIteration(),
        "SystemExit": lambda: SystemExit(3),
        "KeyboardInterrupt": lambda: KeyboardInterrupt(),
        "GeneratorExit": lambda: GeneratorExit(),
        "PanicException": lambda: PanicException("secret^patient"),
        "ExceptionGroup": lambda: ExceptionGroup("secret^patient", [ValueError()]),
        "AssertionError": lambda: AssertionError("secret^patient"),
        "OSError-ENOSPC": lambda: OSError(errno.ENOSPC, "no space", "/secret^patient"),
        "OSError-none": lambda: OSError("secret^patient"),
        "TooSlow": lambda: trio.TooSlowError(),
    }[kind]()

def break_it(owner, name):
    right = getattr(owner, name)
    if name in ("hold",):
        def wrong(*args, **kwargs):
            if os.path.exists(healed):
                return right(*args, **kwargs)
            raise make()
    else:
        async def wrong(*args, **kwargs):
            if os.path.exists(healed):
                return await right(*args, **kwargs)
            raise make()
    setattr(owner, name, wrong)

{
    "lookup": lambda: break_it(mirror.MirrorDirectory, "lookup"),
    "getattr": lambda: break_it(mirror.MirrorDirectory, "current"),
    "opendir": lambda: break_it(mirror.MirrorDirectory, "listing"),
    "readdir": lambda: break_it(inodes.InodeTable, "hold"),
    "open": lambda: break_it(source_bytes.SourceCopy, "open"),
    "read": lambda: break_it(content.Concatenation, "read"),
    "children": lambda: break_it(instance_directory.InstanceDirectory, "_make"),
}[point]()
command.main(sys.argv[4:])
'''
KINDS = [
    "ValueError",
    "MemoryError",
    "RecursionError",
    "StopIteration",
    "StopAsyncIteration",
    "SystemExit",
    "KeyboardInterrupt",
    "GeneratorExit",
    "PanicException",
    "ExceptionGroup",
    "AssertionError",
    "OSError-ENOSPC",
    "OSError-none",
    "TooSlow",
]
POINTS = ["lookup", "getattr", "opendir", "readdir", "open", "read", "children"]
EXPECTED = {"OSError-ENOSPC": errno.ENOSPC, "TooSlow": errno.ETIMEDOUT}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_mount_lives_and_the_next_read_is_right(point: str, kind: str, tmp_path: Path) -> None:
    mountpoint, log, healed = tmp_path / "mnt", tmp_path / "log", tmp_path / "healed"
    mountpoint.mkdir()
    command = [sys.executable, "-c", DAEMON, point, kind, str(healed), "mount", "-f", "--workers", "1"]
    process = subprocess.Popen([*command, "--log-file", str(log), str(PYDICOM), str(mountpoint)])
    try:
        wait_for(lambda: os.path.ismount(mountpoint) if point != "getattr" else _in_mount_table(mountpoint))
        name = "CT_small.dcm/original.dcm"

        def use() -> bytes:
            # Only lookups and listings that the kernel has not cached come to the daemon again.
            if point == "getattr":
                os.stat(mountpoint)
            if point in ("opendir", "readdir"):
                os.listdir(mountpoint)
            return (mountpoint / name).read_bytes()

        assert errno_of(use) == EXPECTED.get(kind, errno.EIO)
        assert process.poll() is None
        healed.touch()
        assert use() == (PYDICOM / "CT_small.dcm").read_bytes()
        logged = log.read_text()
        assert "secret" not in logged
        assert "WARNING" in logged or "ERROR" in logged
    finally:
        subprocess.run(["fusermount3", "-u", str(mountpoint)], check=True)
        assert process.wait(10) == 0


def _in_mount_table(mountpoint: Path) -> bool:
    return f" {mountpoint} " in Path("/proc/self/mountinfo").read_text()
