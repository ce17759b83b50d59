"""What a user feels under load, and what is held in memory: latencies, fairness, waste, resident bytes."""

import contextlib
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from support.large_archives import colour_film
from support.mounting import Mount, mounted, wait_for

from bench import archive
from bench.frames import films, warm_mount
from bench.rivals import family, quietly
from bench.table import Table, at_most, seconds, timed

MB = 1_000_000


def memory(table: Table, place: Path, rounds: int) -> None:
    """Memory with `--cache-memory 16M`: growth of the daemon, and all processes with what they share counted once."""
    source = place / "source"
    source.mkdir()
    colour_film(source / "film.dcm", 200)
    archive.sparse_frames(source / "many.dcm", 100_000)
    archive.small_jpegs(source / "warm.dcm", 20)

    def in_order(mount: Mount) -> None:
        for number in range(1, 201):
            (mount.path / f"film.dcm/frames/{number:04}.png").read_bytes()

    def at_random(mount: Mount) -> None:
        folder = mount.path / "many.dcm/frames"
        quietly("ls", "-l", folder)
        chosen = random.Random(2)
        for _ in range(3000):
            (folder / f"{chosen.randint(1, 100_000):06}.png").read_bytes()

    works: tuple[tuple[str, Callable[[Mount], None]], ...] = (
        ("0.7 GB file read in order", in_order),
        ("100,000-frame file listed, 3,000 read at random", at_random),
    )
    for what, work in works:
        with warm_mount(source, place, "--cache-memory", "16M") as mount, watched(mount.process.pid) as seen:
            work(mount)
        start, top = seen[0], seen[-1]
        for held in seen:
            top = Held(max(top.daemon, held.daemon), max(top.shared, held.shared))
        table.figure(
            f"{what}: daemon grows by (RSS)",
            (top.daemon - start.daemon) / MB,
            "MB",
            at_most(20, "MB"),
            rival="itself before",
            theirs=f"{start.daemon / MB:.0f} MB",
        )
        table.figure(
            f"{what}: all processes (PSS)",
            top.shared / MB,
            "MB",
            at_most(64, "MB"),
            rival="themselves before",
            theirs=f"{start.shared / MB:.0f} MB",
        )


def stat_under_load(table: Table, place: Path, rounds: int) -> None:
    """`stat` while eight `cp` take frames: of a name that the kernel knows, and of names that it has yet to ask for."""
    source = place / "source"
    source.mkdir()
    pictures = archive.slices(10)
    for number in range(4):
        archive.sparse_frames(source / f"native{number}.dcm", 500, 512)
        archive.ct_jpeg2000(source / f"slow{number}.dcm", pictures, 5)
    archive.instances(source / "other", 4000)
    names = sorted(path.relative_to(source) for path in (source / "other").rglob("*.dcm"))
    for folder in ("idle", "busy"):
        with mounted(source, place) as mount, contextlib.ExitStack() as stack:
            if folder == "busy":
                for file in [*source.glob("native*.dcm"), *source.glob("slow*.dcm")]:
                    out = place / f"{file.stem}.out"
                    stack.enter_context(_copying(mount.path / file.name / "frames", out))
                time.sleep(0.5)
            known, unknown = [], []
            os.stat(mount.path)
            end = time.monotonic() + 4
            fresh = iter(names)
            while time.monotonic() < end:
                known.append(timed(lambda: os.stat(mount.path)))
                name = next(fresh, None)
                if name is not None:
                    unknown.append(timed(lambda name=name: os.stat(mount.path / name)))
                time.sleep(0.001)
        if folder == "idle":
            alone = {"known": _worst(known), "unknown": _worst(unknown)}
            continue
        table.figure(
            "stat of a cached name, 99th percentile, during 8 cp of frames",
            _worst(known) * 1000,
            "ms",
            at_most(20, "ms"),
            rival="without the copies",
            theirs=seconds(alone["known"]),
        )
        table.figure(
            "stat of a name not seen before, 99th percentile, during 8 cp",
            _worst(unknown) * 1000,
            "ms",
            rival="without the copies",
            theirs=seconds(alone["unknown"]),
        )


def fairness(table: Table, place: Path, rounds: int) -> None:
    """One small frame while 500 others are copied."""
    source = place / "source"
    source.mkdir()
    archive.ct_lossless(source / "film.dcm", archive.slices(50), 10)
    archive.small_jpegs(source / "small.dcm", 2000)
    archive.small_jpegs(source / "warm.dcm", 20)
    with warm_mount(source, place) as mount:
        small = mount.path / "small.dcm/frames"
        chosen = random.Random(3).sample(range(1, 2001), 200)
        quietly("cat", small / "0001.png")
        alone = [timed(lambda number=number: quietly("cat", small / f"{number:04}.png")) for number in chosen[:60]]
        rest = iter(chosen[60:])
        busy = []
        with _copying(mount.path / "film.dcm/frames", place / "out") as copy:
            time.sleep(0.1)
            while copy.poll() is None and (number := next(rest, None)):
                busy.append(timed(lambda number=number: quietly("cat", small / f"{number:04}.png")))
                time.sleep(0.005)
    times = {"ours": busy, "alone": alone}
    table.slower(
        f"cat of a small frame during a 500-frame copy (worst {seconds(max(busy))})",
        "without the copy",
        times,
        name="alone",
        paired=False,
    )


def waste(table: Table, place: Path, rounds: int) -> None:
    """Frames decoded that nobody asked for: at random, and after a reader was killed."""
    source = films(place)
    with warm_mount(source, place) as mount:
        frames = mount.path / "colour.dcm/frames"
        before = mount.statistics()["decoded"]
        asked = random.Random(4).sample(range(1, archive.COLOUR_FRAMES + 1, 2), 40)
        for number in asked:
            (frames / f"{number:04}.png").read_bytes()
        decoded = mount.statistics()["decoded"] - before
        table.figure(
            "frames decoded beyond the 40 read at random", decoded - len(asked), "frames", at_most(0, "frames")
        )
        before = mount.statistics()["decoded"]
        with _copying(mount.path / "jpeg2000.dcm/frames", place / "out") as copy:
            wait_for(lambda: mount.statistics()["decoded"] >= before + 10)
            copy.kill()
            copy.wait()
            at_kill = mount.statistics()["decoded"]
            time.sleep(1.5)
            after = mount.statistics()["decoded"] - at_kill
    cores = os.cpu_count() or 1
    table.figure(
        f"frames decoded after their reader was killed ({cores} workers)", after, "frames", at_most(cores + 3, "frames")
    )


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes in memory: of the daemon, and of all processes with what they share counted once."""

    daemon: int
    shared: int


@contextlib.contextmanager
def watched(pid: int) -> Iterator[list[Held]]:
    """Measure from the start to the end, ten times a second."""
    time.sleep(0.2)
    seen = [_held(pid)]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            seen.append(_held(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
        seen.append(_held(pid))


def _held(pid: int) -> Held:
    daemon = shared = 0
    for number in family(pid):
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{number}/smaps_rollup").read_text()
            sizes = {name: int(size) * 1024 for name, size in re.findall(r"^(\w+): +(\d+) kB", rollup, re.MULTILINE)}
            shared += sizes["Pss"]
            daemon = sizes["Rss"] if number == pid else daemon
    return Held(daemon, shared)


@contextlib.contextmanager
def _copying(frames: Path, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Copy a directory meanwhile; whatever is left of it is ended and removed."""
    process = subprocess.Popen(["cp", "-r", "--no-preserve=mode", frames, out], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        shutil.rmtree(out, ignore_errors=True)


def _worst(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]
