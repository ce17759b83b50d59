"""`pixels.npy` beside a loop of pydicom's `iter_pixels`: all frames in order, and what one frame of many costs."""

import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from large import colour_film
from mounting import mounted
from pydicom.pixels import iter_pixels

from bench import archive
from bench.frames import warm_mount
from bench.rivals import mounted_by, program
from bench.table import Goal, Table, at_least, at_most, in_turns, timed

LOOP = "pydicom's iter_pixels"
MB = 1_000_000
Frames = Callable[[Path], Iterator[np.ndarray]]
Use = Callable[[np.ndarray], object]
# What Linux reads beyond the page that is touched: as much behind and before it as `read_ahead_kb` says.
AROUND = 2 << 20


def in_order(table: Table, place: Path, rounds: int) -> None:
    """All frames, one after the other, in one process that has its imports; no more is done, or their means are taken.

    What a pass-through file system in C needs for as many bytes is the bound of every file system of this kind.
    """
    source = place / "source"
    source.mkdir()
    pictures = archive.slices(archive.CT_FRAMES)
    archive.small_jpegs(source / "warm.dcm", 20)
    films: dict[str, tuple[Path, str, Goal]] = {
        "native": (
            archive.ct_native(source / "native.dcm", pictures * 8),
            f"{8 * archive.CT_FRAMES} frames of native CT 512x512, 12 bits in 16",
            at_least(0.8),
        ),
        "colour": (
            archive.settled(colour_film(source / "colour.dcm", 100)),
            "100 native RGB frames 1280x960",
            at_least(0.8),
        ),
        "jpeg2000": (
            archive.ct_jpeg2000(source / "jpeg2000.dcm", pictures, 2),
            f"{2 * archive.CT_FRAMES} frames of CT 512x512 in JPEG 2000",
            at_least(1.5),
        ),
    }

    def ours(file: Path, frames: Frames, use: Use, cold: bool) -> float:
        with warm_mount(source, place) as mount:
            _prepare(file, cold)
            return timed(lambda: [use(frame) for frame in frames(mount.path / file.name / "pixels.npy")])

    def theirs(file: Path, use: Use, cold: bool) -> float:
        _prepare(file, cold)
        return timed(lambda: [use(frame) for frame in iter_pixels(file)])

    def passed(file: Path, use: Use) -> float:
        with mounted_by("passthrough_ll", source, place, read_ahead=True) as mount:
            _prepare(file, cold=False)
            return timed(lambda: [use(frame) for frame in _parts(mount / file.name, 1 << 20)]) if mount else 0.0

    for kind, (file, work, goal) in films.items():
        uses = {"": _nothing} if kind == "jpeg2000" else {"": _nothing, ", the mean of each": np.mean}
        for what, use in uses.items():
            for cold in (False,) if kind == "jpeg2000" else (False, True):
                sides = {
                    "ours": partial(ours, file, _read, use, cold),
                    "mapped": partial(ours, file, _mapped, use, cold),
                    LOOP: partial(theirs, file, use, cold),
                }
                if kind != "jpeg2000" and not cold and program("gcc"):
                    sides["passed"] = partial(passed, file, use)
                times = in_turns(rounds, sides)
                name = f"{work}{what}, {'cold' if cold else 'warm'} source"
                table.faster(f"{name}: pixels.npy read", LOOP, times, goal)
                table.faster(f"{name}: pixels.npy mapped", LOOP, {"ours": times["mapped"], LOOP: times[LOOP]})
                if "passed" in times:
                    table.faster(f"{name}: pixels.npy read", "as many bytes by passthrough_ll", times, name="passed")


def _prepare(file: Path, cold: bool) -> None:
    if cold:
        archive.forget(file)
    else:
        file.read_bytes()


def _nothing(frame: np.ndarray) -> object:
    return frame.reshape(-1)[0]


def _read(path: Path) -> Iterator[np.ndarray]:
    """Read an array frame by frame into memory."""
    with open(path, "rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        (count, *shape), _, dtype = np.lib.format.read_array_header_1_0(file)
        for _ in range(count):
            yield np.fromfile(file, dtype, math.prod(shape)).reshape(shape)


def _mapped(path: Path) -> Iterator[np.ndarray]:
    """Map an array, and touch each page of each frame."""
    for frame in np.load(path, mmap_mode="r"):
        frame.reshape(-1)[:: 4096 // frame.itemsize].max()
        yield frame


def _parts(path: Path, size: int) -> Iterator[np.ndarray]:
    """Read a file part by part into memory."""
    with open(path, "rb") as file:
        while (part := np.fromfile(file, np.uint8, size)).size:
            yield part


def one_frame(table: Table, place: Path, rounds: int) -> None:
    """Frame 150 of an object of 0.7 GB: what the daemon reads of the archive for it, decodes and keeps."""
    source = place / "source"
    source.mkdir()
    colour_film(source / "native.dcm", 200)
    archive.small_jpegs(source / "small.dcm", 1000, 512)
    for name, work in (("native.dcm", "of 200 native frames, 0.7 GB"), ("small.dcm", "of 1000 JPEG frames, 0.26 GB")):
        with mounted(source, place) as mount:
            path = mount.path / name / "pixels.npy"
            path.stat()
            before = mount.resident(), _read_by(mount.process.pid), mount.statistics()["decoded"]
            mapped = np.load(path, mmap_mode="r")
            mapped[150].max()
            taken, size = _read_by(mount.process.pid) - before[1], mapped[150].nbytes
            decoded = mount.statistics()["decoded"] - before[2]
            grown = mount.resident() - before[0]
            del mapped
        what = f"frame 150 {work}, through a memory map"
        if not decoded:
            bound = at_most(round((size + AROUND) / MB + 1, 1), "MB")
            table.figure(f"{what}: read", taken / MB, "MB", bound, rival="the frame", theirs=f"{size / MB:.2f} MB")
        else:
            most = 1 + -(-AROUND // size)
            table.figure(f"{what}: decoded", decoded, "frames", at_most(most, "frames"), rival="the frame", theirs="1")
        table.figure(f"{what}: daemon grows by", grown / MB, "MB", at_most(20, "MB"))


def _read_by(pid: int) -> int:
    """Give the bytes that a process has read of anything."""
    found = re.search(r"rchar: (\d+)", Path(f"/proc/{pid}/io").read_text())
    assert found
    return int(found[1])
