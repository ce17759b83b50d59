"""Bytes of the source through the mount, beside other FUSE file systems; and what is read again, beside ext4."""

import contextlib
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from support.mounting import mounted

from bench import archive
from bench.frames import films, warm_mount
from bench.rivals import FUSE_RIVALS, mounted_by, quietly
from bench.table import Table, at_least, in_turns, timed

SIZE = 256 << 20
MEMORY = Path("/dev/shm")


def original(table: Table, place: Path, rounds: int) -> None:
    """`cp original.dcm`, 256 MB, to a file in memory, by each file system; its own pages are dropped before."""
    source = place / "source"
    source.mkdir()
    file = archive.large(source / "large.dcm", SIZE)
    with contextlib.ExitStack() as stack:
        mount = stack.enter_context(mounted(source, place))
        there = {"ours": mount.path / file.name / "original.dcm"}
        for name in FUSE_RIVALS:
            for tuned in (False, True):
                folder = place / ("tuned" if tuned else "plain")
                folder.mkdir(exist_ok=True)
                rival = stack.enter_context(mounted_by(name, source, folder, read_ahead=tuned))
                if rival is not None:
                    there[f"{name} tuned" if tuned else name] = rival / file.name
        out = stack.enter_context(_target(place)) / "copy.dcm"

        def copy(path: Path, cold: bool) -> float:
            archive.forget(path)
            if cold:
                archive.forget(file)
            else:
                file.read_bytes()
            out.unlink(missing_ok=True)
            return timed(lambda: quietly("cp", path, out))

        def read(path: Path) -> float:
            archive.forget(path)
            file.read_bytes()
            return timed(lambda: quietly("dd", f"if={path}", "of=/dev/null", "bs=128K"))

        times = in_turns(2 * rounds, {name: partial(copy, path, False) for name, path in there.items()})
        work = "cp original.dcm, 256 MB, warm source"
        plain = {name: times[name] for name in FUSE_RIVALS if name in times}
        for name in FUSE_RIVALS:
            table.faster(work, name, times, at_least(1.5) if name == "passthrough_ll" else None)
        if plain:
            fastest = min(plain, key=lambda name: sorted(plain[name])[len(plain[name]) // 2])
            table.faster(work, f"the fastest of them ({fastest})", times, at_least(0.9), name=fastest)
        for name in FUSE_RIVALS:
            table.faster(work, f"{name} with our read-ahead", times, name=f"{name} tuned")
        cold = in_turns(rounds, {name: partial(copy, path, True) for name, path in there.items()})
        for name in FUSE_RIVALS:
            table.faster("cp original.dcm, 256 MB, cold source", name, cold)
        only = in_turns(2 * rounds, {name: partial(read, path) for name, path in there.items()})
        for name in FUSE_RIVALS:
            table.faster("dd original.dcm to nowhere, 256 MB, warm source", name, only)


def second(table: Table, place: Path, rounds: int) -> None:
    """What was read once is read again: from the kernel's pages, as any file."""
    goal = at_least(0.6)
    source, plain = place / "source", place / "plain"
    source.mkdir()
    archive.large(source / "large.dcm", SIZE)
    with mounted(source, place) as mount:
        paths = {"ours": mount.path / "large.dcm/original.dcm", "ext4": source / "large.dcm"}

        def read(path: Path) -> float:
            return timed(lambda: quietly("dd", f"if={path}", "of=/dev/null", "bs=128K"))

        in_turns(1, {name: partial(read, path) for name, path in paths.items()})
        times = in_turns(4 * rounds, {name: partial(read, path) for name, path in paths.items()})
        table.faster("second read of original.dcm, 256 MB", "the archive's file", times, goal, name="ext4")
    with warm_mount(films(place), place) as mount:
        folder = mount.path / "native.dcm"
        plain.mkdir()
        quietly("cp", "-r", folder / "frames", plain / "frames")
        quietly("cp", folder / "header.json", plain)

        def cat(path: Path, times: int) -> float:
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            return timed(lambda: [file.read_bytes() for _ in range(times) for file in files])

        for name, often, what in (("frames", 2, "50 frames (13 MB)"), ("header.json", 100, "header.json (opens)")):
            sides = {"ours": partial(cat, folder / name, often), "ext4": partial(cat, plain / name, often)}
            in_turns(1, sides)
            table.faster(f"second read of {what}", "their copy on ext4", in_turns(4 * rounds, sides), goal, name="ext4")
        quietly("chmod", "-R", "u+w", plain)
        shutil.rmtree(plain)


@contextlib.contextmanager
def _target(place: Path) -> Iterator[Path]:
    """Give a directory in memory where there is one, so that no disk is measured."""
    folder = (MEMORY if MEMORY.is_dir() else place) / f"dicomfs-bench-{place.parent.name}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
