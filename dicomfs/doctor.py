"""`dicomfs doctor`: whether this machine can mount, which codecs work, and what to install if not."""

import errno
import io
import mmap
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import trio

from dicomfs import __version__
from dicomfs.codecs.table import CODECS
from dicomfs.files.exchange import Exchange
from dicomfs.image.films import MISSING
from dicomfs.image.pixelformat import PixelFormat
from dicomfs.mount import unmount
from dicomfs.workers.channel import FRAME, ROOM
from dicomfs.workers.decode import Decoder
from dicomfs.workers.film import Encode
from dicomfs.workers.pool import DecodeError
from dicomfs.workers.processes import Call
from dicomfs.workers.worker import Task

_PACKAGES = ("pyfuse3", "trio", "pydicom", "numpy", "imagecodecs", "isal", "simplejpeg")
_TRIAL_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; *needed* findings that are not *good* make the exit code 1."""

    good: bool
    text: str
    needed: bool = True


def examine() -> Iterator[Finding]:
    """Look at everything that a mount needs, and try one."""
    yield Finding(True, f"dicomfs {__version__}, Python {platform.python_version()}, Linux {platform.release()}")
    yield from _packages()
    yield from _fuse()
    yield from _codecs()
    yield _workers()
    yield _films()


def _packages() -> Iterator[Finding]:
    for name in _PACKAGES:
        try:
            yield Finding(True, f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding(False, f"{name} is not installed: pip install {name}")


def _fuse() -> Iterator[Finding]:
    if shutil.which("fusermount3"):
        yield Finding(True, "fusermount3 is installed")
    else:
        yield Finding(False, "fusermount3 is missing: apt install fuse3")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        yield Finding(False, "/dev/fuse is missing: modprobe fuse, or give the container --device /dev/fuse")
        return
    except OSError as error:
        what = "chmod 666 /dev/fuse, or mount as root" if error.errno == errno.EACCES else "see above"
        yield Finding(False, f"/dev/fuse cannot be opened ({error.strerror}): {what}")
        return
    yield Finding(True, "/dev/fuse can be opened")
    yield _trial_mount()
    if os.geteuid() and not _others_allowed():
        yield Finding(False, "-o allow_other needs the line user_allow_other in /etc/fuse.conf", needed=False)


def _others_allowed() -> bool:
    try:
        with open("/etc/fuse.conf", encoding="utf-8", errors="replace") as configuration:
            return any(line.strip() == "user_allow_other" for line in configuration)
    except OSError:
        return False


def _trial_mount() -> Finding:
    """Mount an archive of one text file for a moment and read it back."""
    with tempfile.TemporaryDirectory(prefix="dicomfs-doctor-") as place:
        source, mountpoint = os.path.join(place, "source"), os.path.join(place, "mnt")
        os.mkdir(source)
        os.mkdir(mountpoint)
        with open(os.path.join(source, "probe.txt"), "w", encoding="ascii") as probe:
            probe.write("read through the kernel")
        command = [sys.executable, "-m", "dicomfs", "mount", "--workers", "1", source, mountpoint]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TRIAL_SECONDS, check=False)  # noqa: S603
        if done.returncode:
            return Finding(False, f"a trial mount failed: {done.stderr.strip()}")
        try:
            with open(os.path.join(mountpoint, "probe.txt"), encoding="ascii") as probe:
                right = probe.read() == "read through the kernel"
        finally:
            unmount(mountpoint)
    return Finding(right, "a trial mount worked" if right else "a trial mount showed wrong bytes")


def _codecs() -> Iterator[Finding]:
    for uid, codec in CODECS.items():
        if codec.missing:
            yield Finding(False, f"{codec.name} ({uid}): {codec.missing}")
        else:
            yield Finding(True, f"{codec.name} ({uid})")


def _workers() -> Finding:
    """Have a worker process decode one native frame, and name what it is locked in by."""
    fmt = PixelFormat(2, 2, 1, 8, 8, 7, False, "MONOCHROME2", False, "1.2.840.10008.1.2.1")
    values = np.arange(4, dtype=np.uint8).tobytes()

    async def decode() -> tuple[bytes, tuple[str, ...]]:
        async with Decoder(workers=1, timeout=_TRIAL_SECONDS, cache_bytes=0) as decoder:
            return await decoder.run(Task(fmt, 0, "stored", None, 4), values), decoder.protections

    try:
        result, protections = trio.run(decode)
    except DecodeError as error:
        return Finding(False, f"decoding processes do not work: {error.strerror}")
    if result != values:
        return Finding(False, "decoding processes give wrong values")
    return Finding(True, f"decoding processes work, protected by {', '.join(protections) or 'nothing'}")


def _films() -> Finding:
    """Have a process encode a film of two pictures."""
    if MISSING:
        return Finding(False, f"films (video.mp4): {MISSING}", needed=False)
    film = io.BytesIO()
    exchange = Exchange(film, 1 << 20)

    async def serve(call: Call, slot: mmap.mmap) -> int:
        return 4 if call.wanted == FRAME else await exchange.serve(call, slot)

    async def encode() -> None:
        async with Decoder(workers=0) as decoder:
            await decoder.direct(Encode(2, 2, 1, (1, 1), (0, 40_000, 80_000)), ROOM, serve)

    try:
        trio.run(encode)
    except DecodeError as error:
        return Finding(False, f"films (video.mp4) cannot be made: {error.strerror}", needed=False)
    return Finding(film.tell() > 0, f"films (video.mp4) can be made: PyAV {version('av')}", needed=False)
