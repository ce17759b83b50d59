"""Listing: large directories beside the same on ext4, many instances beside dcmdump, and how soon a mount answers."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from support.large_archives import many_copies
from support.mounting import mounted

from bench import archive
from bench.rivals import program, quietly
from bench.table import Table, at_most, in_turns, timed

DICOMFS = (sys.executable, "-m", "dicomfs")


def directories(table: Table, place: Path, rounds: int) -> None:
    """`find` and `ls -l` over a directory, warm, beside a directory on ext4 with the same names and sizes."""
    source, plain = place / "source", place / "plain"
    source.mkdir()
    plain.mkdir()
    pairs = []
    with_frames = (10_000, 100_000)
    for count in with_frames:
        archive.sparse_frames(source / f"{count}.dcm", count, 64)
    archive.directory_of_files(source / "other", 10_000, 5000, "{:06}.txt")
    archive.directory_of_dicom(source / "dicom", 10_000)
    with mounted(source, place) as mount:
        for count in with_frames:
            frames = mount.path / f"{count}.dcm" / "frames"
            with os.scandir(frames) as entries:
                first = next(entries)
                size, digits = first.stat().st_size, len(Path(first.name).stem)
            same = archive.directory_of_files(plain / f"{count}", count, size, f"{{:0{digits}}}.png")
            pairs.append((f"{count:,} frames of one file", frames, same))
        pairs.append(("10,000 other files", mount.path / "other", source / "other"))
        dicom = plain / "dicom"
        dicom.mkdir()
        for name in os.listdir(source / "dicom/000"):
            (dicom / name).mkdir()
        pairs.append(("10,000 DICOM files (directories)", mount.path / "dicom/000", dicom))
        for what, ours, theirs in pairs:
            deep = ("-maxdepth", "1") if "DICOM" in what else ()
            for tool, command in (("find", ("find", "{}", *deep)), ("ls -l", ("ls", "-l", "{}"))):
                sides = {
                    name: partial(_run, *(str(path) if word == "{}" else word for word in command))
                    for name, path in (("ours", ours), ("ext4", theirs))
                }
                in_turns(1, sides)
                times = in_turns(rounds if "100,000" in what else 2 * rounds, sides)
                table.slower(f"{tool} over {what}, warm", "the same on ext4", times, at_most(2.5), name="ext4")


def instances(table: Table, place: Path, rounds: int) -> None:
    """`ls -lR` of 5,000 instances, with the exact sizes of all their texts; for the first time, and again."""
    source = archive.instances(place / "source", 5000)
    files = sorted(map(str, source.rglob("*.dcm")))
    first: dict[str, list[float]] = {"ours": [], "dcmdump": []}
    again: list[float] = []
    for _ in range(max(2, rounds // 2)):
        if program("dcmdump"):
            first["dcmdump"].append(_run("dcmdump", *files))
        with mounted(source, place) as mount:
            first["ours"].append(_run("ls", "-lR", str(mount.path)))
            again.append(_run("ls", "-lR", str(mount.path)))
    table.slower("ls -lR of 5,000 instances, first time", "one dcmdump of the files", first, at_most(3), name="dcmdump")
    times = {"ours": again, "dcmdump": first["dcmdump"]}
    table.slower("ls -lR of 5,000 instances, again", "one dcmdump of the files", times, at_most(0.2), name="dcmdump")


def ready(table: Table, place: Path, rounds: int) -> None:
    """Until `dicomfs mount` returns and the mount has been listed."""
    mountpoint = place / "mnt"
    mountpoint.mkdir()

    def mount(source: Path) -> float:
        def act() -> None:
            subprocess.run([*DICOMFS, "mount", source, mountpoint], check=True)
            os.listdir(mountpoint)

        taken = timed(act)
        subprocess.run(["fusermount3", "-u", mountpoint], check=True)
        return taken

    archives = {count: many_copies(place / f"{count}", count) for count in (20, 20_000)}
    times = in_turns(2 * rounds, {str(count): partial(mount, source) for count, source in archives.items()})
    for count in archives:
        taken = sorted(times[str(count)])
        table.figure(
            f"mount of {count:,} files is ready",
            taken[len(taken) // 2],
            "s",
            at_most(1, "s"),
            theirs=f"{taken[-1]:.2f} s worst",
        )


def _run(*command: str) -> float:
    return timed(lambda: quietly(*command))
