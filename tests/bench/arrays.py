"""`pixels.npy` beside a loop of pydicom's `iter_pixels`: all frames in order, and what one frame of many costs."""

import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from pydicom.pixels import iter_pixels
from support.large_archives import colour_film
from support.mounting import mounted

from bench import archive
from bench.frames import warm_mount
from bench.rivals import built, mounted_by
from bench.table import Goal, Table, at_least, at_most, in_turns, timed

LOOP = "pydicom's iter_pixels"
MB = 1_000_000
Frames = Callable[[Path], Iterator[np.ndarray]]
Use = Callable[[np.ndarray], object]
# What Linux reads beyond the page that is touched: as much behind and before it as `read_ahead_kb` says.
AROUND = 2 << 20


def in_order(table: Table, place: Path, rounds: int) -> None:
    """All frames, one after the other, in one process that has its imports; no more is done, or their means are taken.

    The source is in the page cache. What a pass-through file system in C needs for as many bytes is the bound of every
    file system of this kind; pydicom copies the bytes once, out of the page cache.
    """
    passing = built("passthrough_ll", place) is not None
    source = place / "source"
    source.mkdir()
    pictures = archive.slices(archive.CT_FRAMES)
    archive.small_jpegs(source / "warm.dcm", 20)
    native = {
        f"{8 * archive.CT_FRAMES} frames of native CT 512x512, 12 bits in 16": archive.ct_native(
            source / "native.dcm", pictures * 8
        ),
        "100 native RGB frames 1280x960": archive.settled(colour_film(source / "colour.dcm", 100)),
    }
    compare = partial(_compare, table, source, place, rounds)
    for work, file in native.items():
        compare(file, work, at_least(0.8), _nothing, passing=passing)
        compare(file, f"{work}, the mean of each", at_least(0.8), np.mean, passing=passing)
    file = archive.ct_jpeg2000(source / "jpeg2000.dcm", pictures, 2)
    work = f"{2 * archive.CT_FRAMES} frames of CT 512x512 in JPEG 2000"
    compare(file, work, at_least(1.5), _nothing, passing=False, plugin="pylibjpeg")
    # It decodes each frame on all cores, where pylibjpeg and our workers take one core for each frame.
    compare(file, work, None, _nothing, passing=False, plugin="gdcm")


def _compare(
    table: Table,
    source: Path,
    place: Path,
    rounds: int,
    file: Path,
    work: str,
    goal: Goal | None,
    use: Use,
    *,
    passing: bool,
    plugin: str = "",
) -> None:
    loop = f"{LOOP} with {plugin}" if plugin else LOOP
    times = in_turns(
        rounds,
        {
            "ours": partial(_ours, source, place, file, _read, use),
            "again": partial(_ours, source, place, file, _read, use, again=True),
            "mapped": partial(_ours, source, place, file, _mapped, use),
            loop: partial(_theirs, file, use, plugin),
            "passed": partial(_passed, source, place, file, use) if passing else None,
        },
    )
    table.faster(f"{work}: pixels.npy read", loop, times, goal)
    if passing:
        table.faster(f"{work}: pixels.npy read", "as many bytes by passthrough_ll", times, name="passed")
    table.faster(f"{work}: pixels.npy read again", loop, {"ours": times["again"], loop: times[loop]})
    table.faster(f"{work}: pixels.npy mapped", loop, {"ours": times["mapped"], loop: times[loop]})


def _ours(source: Path, place: Path, file: Path, frames: Frames, use: Use, *, again: bool = False) -> float:
    """Take the frames of an array out of a new mount; *again*, when the kernel has its pages."""
    file.read_bytes()
    with warm_mount(source, place) as mount:
        path = mount.path / file.name / "pixels.npy"
        if again:
            path.read_bytes()
        return timed(lambda: [use(frame) for frame in frames(path)])


def _theirs(file: Path, use: Use, plugin: str) -> float:
    file.read_bytes()
    return timed(lambda: [use(frame) for frame in iter_pixels(file, decoding_plugin=plugin)])


def _passed(source: Path, place: Path, file: Path, use: Use) -> float:
    """Read the file itself through a file system in C that does nothing."""
    file.read_bytes()
    with mounted_by("passthrough_ll", source, place, read_ahead=True) as mount:
        assert mount
        return timed(lambda: [use(part) for part in _parts(mount / file.name, 1 << 20)])


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
