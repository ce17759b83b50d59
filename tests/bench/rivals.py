"""What dicomfs is compared with: DCMTK's programs, a script with pydicom, and other FUSE file systems."""

import contextlib
import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from support.mounting import wait_for

EXAMPLES = Path("/usr/share/doc/libfuse3-dev/examples")
FUSE_RIVALS = ("passthrough_ll", "passthrough", "bindfs")
# What dicomfs sets for itself where it may.
READ_AHEAD_KIB = 1024

# What a user writes: decode with the plugins that need no licence fee, window, save.
SCRIPT = """
import sys
import time
from pathlib import Path

start = time.perf_counter()
import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.pixels import apply_rescale, apply_windowing, iter_pixels

source, out, *chosen = sys.argv[1:]
loaded = time.perf_counter()
ds = dcmread(source)
indices = [int(index) for index in chosen] or None
for number, frame in enumerate(iter_pixels(source, indices=indices, decoding_plugin="pylibjpeg"), 1):
    values = apply_windowing(apply_rescale(frame, ds), ds)
    low = float(ds.RescaleIntercept)
    top = low + 2**ds.BitsStored - 1
    grey = ((values - low) * (255 / (top - low))).round().astype(np.uint8)
    Image.fromarray(grey).save(Path(out) / f"{number:04}.png")
print(time.perf_counter() - loaded)
"""


def program(name: str) -> str | None:
    """Find an installed program."""
    return shutil.which(name)


def quietly(*command: str | Path) -> None:
    """Run a program, its output thrown away; it must succeed."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def family(pid: int) -> list[int]:
    """Give a process and all below it."""
    below: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            below += map(int, (thread / "children").read_text().split())
    return [pid, *(number for child in below for number in family(child))]


class Script:
    """The script with pydicom, pylibjpeg and pillow."""

    def __init__(self, place: Path) -> None:
        """Write it."""
        self._path = place / "frames_to_png.py"
        self._path.write_text(SCRIPT)

    def run(self, source: Path, out: Path, *frames: int) -> float:
        """Make PNG of all frames, or of some counted from 0; give the seconds it took after its imports."""
        command = [sys.executable, self._path, source, out, *map(str, frames)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout)


def built(name: str, place: Path) -> str | None:
    """Give the program *name*: the installed one, or an example of libfuse built in *place*; None without either."""
    if name == "bindfs":
        return program(name)
    there = place / name
    if there.exists():
        return str(there)
    for file in (f"{name}.c", "passthrough_helpers.h"):
        plain, packed = EXAMPLES / file, EXAMPLES / f"{file}.gz"
        if not (plain.exists() or packed.exists()):
            return None
        (place / file).write_bytes(plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes()))
    try:
        flags = subprocess.run(
            ["pkg-config", "--cflags", "--libs", "fuse3"], check=True, capture_output=True, text=True
        )
        quietly("gcc", "-O2", place / f"{name}.c", "-o", there, *flags.stdout.split())
    except (OSError, subprocess.CalledProcessError):
        return None
    return str(there)


@contextlib.contextmanager
def mounted_by(name: str, source: Path, place: Path, *, read_ahead: bool = False) -> Iterator[Path | None]:
    """Mount *source* with another file system; None where it cannot be had. *read_ahead* tunes it as ours is."""
    command = built(name, place)
    if command is None:
        yield None
        return
    mountpoint = place / f"{name}.mnt"
    mountpoint.mkdir(exist_ok=True)
    options = {
        "passthrough_ll": ["-f", "-o", f"source={source}", str(mountpoint)],
        "passthrough": ["-f", "-o", f"modules=subdir,subdir={source}", str(mountpoint)],
        "bindfs": ["-f", str(source), str(mountpoint)],
    }[name]
    process = subprocess.Popen([command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: os.path.ismount(mountpoint) or process.poll() is not None)
        if read_ahead:
            number = os.stat(mountpoint).st_dev
            setting = Path(f"/sys/class/bdi/{os.major(number)}:{os.minor(number)}/read_ahead_kb")
            with contextlib.suppress(OSError):
                setting.write_text(str(READ_AHEAD_KIB))
        yield mountpoint if process.poll() is None else None
    finally:
        subprocess.run(["fusermount3", "-u", str(mountpoint)], check=False, stderr=subprocess.DEVNULL)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            subprocess.run(["fusermount3", "-uz", str(mountpoint)], check=False, stderr=subprocess.DEVNULL)
