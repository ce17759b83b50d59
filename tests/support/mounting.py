"""How tests get at the tree and at real mounts: one event loop for the tree, one daemon a mount, always ended."""

import contextlib
import errno
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import trio

from dicomfs.instance.entry_selection import ALL, Selection
from dicomfs.instance.services import MountServices
from dicomfs.instance.view_options import ViewOptions
from dicomfs.rendering.render import Window
from dicomfs.sources.local import LocalSource
from dicomfs.tree.mirror import root
from dicomfs.vfs.nodes import Directory, File, Node, NumberedChildren
from support.decoding import Decoding, read_at

T = TypeVar("T")
PATIENCE = 30.0
EVERYTHING = Selection(show=frozenset((ALL,)))

DICOMFS = [sys.executable, "-m", "dicomfs"]


class Loop:
    """A trio loop in a thread, with workers that the tests of a module share."""

    def __init__(self) -> None:
        self._started = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,), daemon=True)
        self._thread.start()
        self._started.wait()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        async with Decoding(workers=2) as self.decoder:
            self._started.set()
            await self._stop.wait()

    def run(self, act: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run an async function on the loop."""
        return trio.from_thread.run(act, *args, trio_token=self._token)

    def close(self) -> None:
        """End the loop and the workers."""
        trio.from_thread.run_sync(self._stop.set, trio_token=self._token)
        self._thread.join()


@contextlib.contextmanager
def tree_of(
    loop: Loop,
    archive: Path,
    window: Window | None = None,
    *,
    every_film: bool = False,
    selection: Selection = EVERYTHING,
) -> Iterator[Directory]:
    """Give the tree of an archive, with caches of its own; all else is as options say."""
    source = LocalSource(str(archive))
    try:
        view = ViewOptions(window, every_film, selection)
        yield root(MountServices.of(source, loop.decoder.prefetcher, view))
    finally:
        source.close()


async def files_below(node: Node, path: bytes = b"", frames: int | None = None) -> list[tuple[bytes, File]]:
    """Give all files below *node* with their paths; of directories with more than *frames* frames only some."""
    if isinstance(node, File):
        return [(path, node)]
    assert isinstance(node, Directory)
    found = []
    listing = await node.listing()
    places = range(len(listing))
    if frames is not None and isinstance(listing, NumberedChildren) and len(listing) > frames:
        places = sorted({0, 1, len(listing) // 2, len(listing) - 1})
    for place in places:
        child = listing[place]
        found += await files_below(child.node, path + b"/" + child.name if path else child.name, frames)
    return found


async def read_all(file: File) -> bytes:
    """Read a file of the tree to its end."""
    content = await file.open()
    try:
        parts, offset = [], 0
        while data := bytes(await read_at(content, offset, 1 << 20)):
            parts.append(data)
            offset += len(data)
        return b"".join(parts)
    finally:
        content.close()


async def answer(file: File) -> str:
    """Give what reading a file gives: the digest of its bytes, or the name of its errno."""
    try:
        return hashlib.sha256(await read_all(file)).hexdigest()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def answer_of_path(path: bytes | Path) -> str:
    """Give the same for a path of a mount."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


@dataclass
class Mount:
    """One real mount by a daemon in the foreground."""

    path: Path
    process: subprocess.Popen[bytes]
    log: Path

    def statistics(self) -> dict[str, int]:
        """Ask the daemon for its figures."""
        before = self.log.stat().st_size
        self.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: b"statistics:" in self.log.read_bytes()[before:])
        line = self.log.read_bytes()[before:].decode()
        return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", line)}

    def resident(self) -> int:
        """Bytes of memory that the daemon itself holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"RssAnon:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def warnings(self) -> list[str]:
        """Lines of the log of level WARNING and above."""
        return re.findall(r"^.*: (?:WARNING|ERROR|CRITICAL): .*$", self.log.read_text(), re.MULTILINE)


def errno_of(act: Callable[[], object]) -> int | None:
    """Give the errno that *act* fails with, None when it does not."""
    try:
        act()
    except OSError as error:
        return error.errno
    return None


def wait_for(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until *condition* holds; fail when it does not."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@contextlib.contextmanager
def mounted(
    archive: Path, place: Path, *options: str, under: Sequence[str] = (), warn: bool = False
) -> Iterator[Mount]:
    """Mount *archive* below the directory *place*; unmount and end the daemon afterwards.

    *under* is a command that runs the daemon. A line of level WARNING in its log is a failure unless it may *warn*.
    """
    mountpoint, log = place / "mnt", place / "log"
    mountpoint.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "dicomfs", "mount", "-f", "--log-file", str(log), *options]
    process = subprocess.Popen([*under, *command, str(archive), str(mountpoint)])
    try:
        wait_for(lambda: os.path.ismount(mountpoint) or process.poll() is not None)
        assert process.poll() is None, f"the mount failed with {process.returncode}"
        mount = Mount(mountpoint, process, log)
        yield mount
        assert warn or not mount.warnings(), log.read_text()
    finally:
        with contextlib.suppress(OSError):
            subprocess.run(["fusermount3", "-u", str(mountpoint)], stderr=subprocess.DEVNULL, check=False)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            subprocess.run(["fusermount3", "-uz", str(mountpoint)], check=False)


def children(pid: int) -> list[int]:
    """Find a process's descendants."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found += [int(place.name), *children(int(place.name))]
    return found


def dicomfs(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*DICOMFS, *arguments], capture_output=True, check=False, timeout=120)
