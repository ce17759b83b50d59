"""`dicomfs doctor`: whether this machine can mount, which codecs work, and what to install if not."""

import argparse
import errno
import io
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import trio

from dicomfs import __version__
from dicomfs.cli.outcome import DONE, FAILED
from dicomfs.codecs.decoder_table import DECODERS, lacking
from dicomfs.codecs.encoded import Kind
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.registry import CODECS
from dicomfs.dicom import uids
from dicomfs.dicom.printable import printable
from dicomfs.fuse.fusermount import is_mounted, unmount
from dicomfs.instance.cine_loop import MISSING
from dicomfs.video.films import Encode, FilmHost, efforts
from dicomfs.workers.decoder_process import Task
from dicomfs.workers.pool import DecodeError, WorkerPool
from dicomfs.workers.processes import python

_PACKAGES = ("pyfuse3", "trio", "numpy", "isal", "simplejpeg")
# Decoders: what they read is what counts, and one can stand in for another.
_DECODERS = ("imagecodecs", "pillow", "pydicom", "pylibjpeg", "pylibjpeg-openjpeg")
TRIAL_SECONDS = 30
_POLL = 0.05
_PROBE = b"read through the kernel"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; *needed* findings that are not *good* make the exit code 1."""

    good: bool
    text: str
    needed: bool = True


def doctor(_: argparse.Namespace) -> int:
    """Print all findings; return the exit code."""
    code = DONE
    for finding in examine():
        mark = "ok" if finding.good else "NO" if finding.needed else "--"
        print(f"{mark}  {printable(finding.text, None)}", flush=True)
        if finding.needed and not finding.good:
            code = FAILED
    return code


def examine() -> Iterator[Finding]:
    """Look at everything that a mount needs, and try one."""
    yield Finding(True, f"dicomfs {__version__}, Python {platform.python_version()}, Linux {platform.release()}")
    yield from _packages()
    yield from _fuse()
    yield from _codecs()
    yield _workers()
    yield _films()


def _packages() -> Iterator[Finding]:
    for name in (*_PACKAGES, *_DECODERS):
        try:
            yield Finding(True, f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding(False, f"{name} is not installed: pip install {name}", needed=name in _PACKAGES)


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
    yield trial_mount()
    if os.geteuid() and not _others_allowed():
        yield Finding(False, "-o allow_other needs the line user_allow_other in /etc/fuse.conf", needed=False)


def _others_allowed() -> bool:
    try:
        with open("/etc/fuse.conf", encoding="utf-8", errors="replace") as configuration:
            return any(line.strip() == "user_allow_other" for line in configuration)
    except OSError:
        return False


def trial_mount() -> Finding:
    """Mount an archive of one text file for a moment and read it back."""
    with tempfile.TemporaryDirectory(prefix="dicomfs-doctor-") as place, tempfile.TemporaryFile() as said:
        source, mountpoint = os.path.join(place, "source"), os.path.join(place, "mnt")
        os.mkdir(source)
        os.mkdir(mountpoint)
        with open(os.path.join(source, "probe.txt"), "wb") as probe:
            probe.write(_PROBE)
        # In the foreground, so that it is a child that can be ended whatever it does.
        command, environment = python("dicomfs", "mount", "-f", "--workers", "1", source, mountpoint)
        daemon = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd="/", env=environment
        )
        try:
            read = _read_within(TRIAL_SECONDS, daemon, mountpoint)
        finally:
            _end(daemon, mountpoint)
        said.seek(0)
        reason = " ".join(said.read().decode("utf-8", "replace").split())
    if read is None:
        why = reason if daemon.returncode > 0 else f"it did not answer within {TRIAL_SECONDS} s"
        return Finding(False, f"a trial mount failed: {why or 'it ended'}")
    return Finding(read == _PROBE, "a trial mount worked" if read == _PROBE else "a trial mount showed wrong bytes")


def _read_within(seconds: float, daemon: "subprocess.Popen[bytes]", mountpoint: str) -> bytes | None:
    """Read the probe through the mount by a process of its own, which may hang; None where that is not possible."""
    end = time.monotonic() + seconds
    while not is_mounted(mountpoint):
        if daemon.poll() is not None or time.monotonic() > end:
            return None
        time.sleep(_POLL)
    reader = subprocess.Popen(["cat", os.path.join(mountpoint, "probe.txt")], stdout=subprocess.PIPE)  # noqa: S603, S607
    try:
        return reader.communicate(timeout=max(_POLL, end - time.monotonic()))[0]
    except subprocess.TimeoutExpired:
        daemon.kill()  # which ends the wait of a process that reads
        reader.kill()
        reader.communicate()
        return None


def _end(daemon: "subprocess.Popen[bytes]", mountpoint: str) -> None:
    """Unmount, and end the daemon if need be."""
    daemon.terminate()
    try:
        daemon.wait(TRIAL_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
    if is_mounted(mountpoint):
        unmount(mountpoint, lazy=True)


def _codecs() -> Iterator[Finding]:
    """List the decoders of each transfer syntax in the order in which they are asked."""
    for uid, codec in CODECS.items():
        name = f"{codec.name} ({uid})"
        there = {kind: _decoders(kind) for kind in codec.kinds}
        yield from (Finding(False, f"{name}: {lacking(kind)}") for kind, names in there.items() if not names)
        if all(there.values()):
            # One list where all kinds of codestream that the syntax may hold have the same decoders.
            alike = len(set(there.values())) == 1
            lists = set(there.values()) if alike else [f"{kind.value}: {names}" for kind, names in there.items()]
            yield Finding(True, f"{name}: {'; '.join(lists)}" if lists else name)


def _decoders(kind: Kind) -> str:
    """Name the decoders of *kind* that are there; loading them is the proof."""
    return ", ".join(decoder.library for decoder in DECODERS[kind] if decoder.loaded is not None)


def _workers() -> Finding:
    """Have a worker process decode one native frame, and name what it is locked in by."""
    fmt = PixelFormat(2, 2, 1, 8, 8, 7, False, "MONOCHROME2", False, uids.ExplicitVRLittleEndian)
    values = np.arange(4, dtype=np.uint8).tobytes()

    async def decode() -> tuple[bytes, tuple[str, ...]]:
        async with WorkerPool(workers=1, timeout=TRIAL_SECONDS) as pool:
            return await pool.run(Task(fmt, 0, "stored", None, 4), values), pool.protections

    try:
        result, protections = trio.run(decode)
    except DecodeError as error:
        return Finding(False, f"decoding processes do not work: {error.strerror}")
    if result != values:
        return Finding(False, "decoding processes give wrong values")
    return Finding(True, f"decoding processes work, protected by {', '.join(protections) or 'nothing'}")


class _Black:
    """Frames of four black pixels."""

    async def take(self, _: int, /) -> bytes:
        return bytes(4)


def _films() -> Finding:
    """Have a process encode a cine loop of two frames."""
    if MISSING:
        return Finding(False, f"films (video.mp4): {MISSING}", needed=False)
    film = io.BytesIO()
    try:
        trio.run(_encode, film)
    except OSError as error:
        return Finding(False, f"films (video.mp4) cannot be made: {error.strerror}", needed=False)
    return Finding(film.tell() > 0, f"films (video.mp4) can be made: PyAV {version('av')}", needed=False)


async def _encode(film: io.BytesIO) -> None:
    async with WorkerPool(workers=0) as pool:
        job = Encode(2, 2, 1, (1, 1), (0, 40_000, 80_000), efforts(2, 2, 2)[0])
        await FilmHost(film, 1 << 20, frames=_Black(), frame_count=2).run(pool, job)
