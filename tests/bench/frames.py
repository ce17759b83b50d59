"""Frames to PNG: all of them, one of them, on one core and on more, and what one costs in small and large files."""

import contextlib
import os
import random
import resource
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from support.mounting import Mount, mounted

from bench import archive
from bench.rivals import Script, family, program, quietly
from bench.table import Table, Times, at_least, at_most, in_turns, timed

# What each film is called in the table, and what it is to be compared with.
FILMS = {
    "native": (f"{archive.CT_FRAMES} frames of native CT 512x512 16 bit", at_least(5)),
    "lossless": (f"{archive.CT_FRAMES} of the same in JPEG lossless", at_least(4)),
    "colour": (f"{archive.COLOUR_FRAMES} colour JPEG 640x480", at_least(8)),
    "jpeg2000": (f"{archive.CT_FRAMES} of the same in JPEG 2000", at_least(1.8)),
}
SCRIPT = "pydicom+pylibjpeg+pillow script"
PGM = "dcmj2pnm to PGM/PPM, uncompressed as ours"


def films(place: Path) -> Path:
    """Make the archive of films, with a small one to warm up on; once for all benchmarks."""
    source = place.parent / "films"
    if source.exists():
        return source
    source.mkdir()
    pictures = archive.slices(archive.CT_FRAMES)
    archive.ct_native(source / "native.dcm", pictures)
    archive.ct_lossless(source / "lossless.dcm", pictures)
    archive.ct_jpeg2000(source / "jpeg2000.dcm", pictures)
    archive.colour_jpeg(source / "colour.dcm")
    archive.small_jpegs(source / "warm.dcm", 20)
    return source


@contextlib.contextmanager
def warm_mount(source: Path, place: Path, *options: str, under: tuple[str, ...] = ()) -> Iterator[Mount]:
    """Mount the films, with decoders that have worked already; nothing is known of the films."""
    with mounted(source, place, *options, under=under) as mount:
        for number in range(1, 21):
            (mount.path / f"warm.dcm/frames/{number:04}.png").read_bytes()
        yield mount


class Frames:
    """The rivals of one film, and ourselves."""

    def __init__(self, source: Path, place: Path, film: str) -> None:
        """Take the film *film* of the archive *source*; work in *place*."""
        self.file = source / f"{film}.dcm"
        self.source, self.place, self.film = source, place, film
        self.out = place / "out"
        self.inner: list[float] = []
        self.cpu: Times = {}
        self._window = () if film == "colour" else ("+Wi", "1")

    def _emptied(self) -> None:
        if self.out.exists():
            quietly("chmod", "-R", "u+w", self.out)
            shutil.rmtree(self.out)

    def _took(self, side: str, act: Callable[[], object], *, cold: bool, daemon: int | None = None) -> float:
        """Give the seconds of *act*, which fills `out`; note what all processes of that *side* computed meanwhile."""
        if cold:
            archive.forget(self.file)
        else:
            self.file.read_bytes()
        before = cpu_seconds(daemon)
        taken = timed(act)
        self.cpu.setdefault(side, []).append(cpu_seconds(daemon) - before)
        made = len(os.listdir(self.out))
        assert made == int(FILMS[self.film][0].split()[0]), (self.film, made)
        self._emptied()
        return taken

    def ours(self, cold: bool, pinned: tuple[str, ...] = (), *options: str) -> float:
        """Copy the frames out of a new mount."""
        self._emptied()
        with warm_mount(self.source, self.place, *options, under=pinned) as mount:
            frames = mount.path / self.file.name / "frames"
            return self._took(
                "ours", lambda: quietly(*pinned, "cp", "-r", frames, self.out), cold=cold, daemon=mount.process.pid
            )

    def dcmtk(self, cold: bool, pinned: tuple[str, ...] = (), kind: str = "+on") -> float:
        """Have dcmj2pnm write all frames."""
        self._emptied()
        self.out.mkdir()
        command = (*pinned, "dcmj2pnm", kind, "+Fa", *self._window, self.file, self.out / "f")
        return self._took(kind, lambda: quietly(*command), cold=cold)

    def script(self, script: Script, cold: bool) -> float:
        """Have the script write all frames."""
        self._emptied()
        self.out.mkdir()
        return self._took(SCRIPT, lambda: self.inner.append(script.run(self.file, self.out)), cold=cold)


def all_frames(table: Table, place: Path, rounds: int) -> None:
    """All frames of a film: copied out of a new mount, and converted by the rival."""
    source, script = films(place), Script(place)
    dcmtk = program("dcmj2pnm")
    for film, (name, goal) in FILMS.items():
        it = Frames(source, place, film)
        for cold in (False, True):
            work = f"{name} to PNG, {'cold' if cold else 'warm'} source"
            if film == "jpeg2000":
                times = in_turns(rounds, {"ours": partial(it.ours, cold), SCRIPT: partial(it.script, script, cold)})
                table.faster(work, SCRIPT, times, goal)
                table.faster(f"{work}, imports not counted", SCRIPT, {"ours": times["ours"], SCRIPT: it.inner})
                it.inner.clear()
                continue
            sides = {
                "ours": partial(it.ours, cold),
                "dcmj2pnm": partial(it.dcmtk, cold) if dcmtk else None,
                "pgm": partial(it.dcmtk, cold, (), "+op") if dcmtk else None,
            }
            times = in_turns(rounds, sides)
            table.faster(work, "dcmj2pnm", times, goal)
            table.faster(work, PGM, times, name="pgm")
        # Less troubled by what else the machine does.
        work = f"{name} to PNG, CPU time of all processes"
        for side, rival in (("+on", "dcmj2pnm"), ("+op", PGM), (SCRIPT, SCRIPT)):
            if side in it.cpu:
                table.faster(work, rival, it.cpu, name=side, paired=False)
        if film != "jpeg2000" and dcmtk and program("taskset"):
            one = ("taskset", "-c", str(min(os.sched_getaffinity(0))))
            times = in_turns(rounds, {"ours": partial(it.ours, False, one), "dcmtk": partial(it.dcmtk, False, one)})
            table.faster(f"{name} to PNG, all on one core", "dcmj2pnm", times, name="dcmtk")


def workers(table: Table, place: Path, rounds: int) -> None:
    """All frames with one decoding process and with one a core."""
    source, cores = films(place), len(os.sched_getaffinity(0))
    for film, (name, _) in FILMS.items():
        it = Frames(source, place, film)
        times = in_turns(
            rounds,
            {
                "ours": partial(it.ours, False, (), "--workers", str(cores)),
                "one": partial(it.ours, False, (), "--workers", "1"),
            },
        )
        table.faster(f"{name} to PNG, {cores} workers", "dicomfs --workers 1", times, name="one")


def cpu_seconds(daemon: int | None) -> float:
    """Sum the CPU time of our programs that have ended and of *daemon* with all below it."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for number in family(daemon) if daemon else ():
        with contextlib.suppress(OSError):  # a worker that has just retired
            fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def first_byte(table: Table, place: Path, rounds: int) -> None:
    """The first byte of one frame in the middle, by a program that reads it: new mount, nothing of the file known."""
    source, script = films(place), Script(place)
    out = place / "out"
    out.mkdir()
    frame = 24

    def head(path: Path) -> float:
        return timed(lambda: quietly("head", "-c", "1", path))

    def dcmtk(file: Path) -> float:
        archive.forget(file)
        window = () if file.stem == "colour" else ("+Wi", "1")
        return timed(lambda: quietly("dcmj2pnm", "+on", "+F", str(frame + 1), *window, file, out / "f.png"))

    def pydicom(file: Path) -> float:
        archive.forget(file)
        return timed(lambda: script.run(file, out, frame))

    cold: dict[str, Times] = {film: {"ours": [], "rival": []} for film in FILMS}
    warm: dict[str, list[float]] = {film: [] for film in FILMS}
    for _ in range(2 * rounds):
        with warm_mount(source, place) as mount:
            for film in FILMS:
                file = source / f"{film}.dcm"
                pictures = mount.path / file.name / "frames"
                archive.forget(file)
                cold[film]["ours"].append(head(pictures / f"{frame + 1:04}.png"))
                # Another one of the same file, far from the first; the header is known now, the source is cached.
                file.read_bytes()
                warm[film].append(head(pictures / "0007.png"))
                if film == "jpeg2000":
                    cold[film]["rival"].append(pydicom(file))
                elif program("dcmj2pnm"):
                    cold[film]["rival"].append(dcmtk(file))
    for film, times in cold.items():
        rival = SCRIPT if film == "jpeg2000" else "dcmj2pnm on that frame"
        kind = film if film != "colour" else "colour JPEG"
        table.faster(f"first byte of one frame, {kind}, cold", rival, times, at_least(10), name="rival")
        table.faster(f"first byte of one frame, {kind}, warm", rival, times | {"ours": warm[film]}, name="rival")


def cost_per_frame(table: Table, place: Path, rounds: int) -> None:
    """One frame out of 10, 1,000 and 100,000 in a file, in no order; each one once."""
    counts = {10: 40, 1000: 1, 100_000: 1}  # so many copies of the file
    source = place / "many"
    source.mkdir()
    for count, copies in counts.items():
        for copy in range(copies):
            archive.sparse_frames(source / f"native-{count}-{copy}.dcm", count)
            archive.small_jpegs(source / f"jpeg-{count}-{copy}.dcm", count)
    chosen = random.Random(1)

    def read(path: Path) -> None:
        with open(path, "rb", buffering=0) as file:
            assert file.read(1 << 20)

    with mounted(source, place) as mount:
        for kind in ("native", "jpeg"):
            wanted: dict[int, list[Path]] = {}
            for count, copies in counts.items():
                wanted[count] = []
                for copy in range(copies):
                    frames = mount.path / f"{kind}-{count}-{copy}.dcm" / "frames"
                    names = [f"{number:0{max(4, len(str(count)))}}.png" for number in range(1, count + 1)]
                    read(frames / names[0])  # the header is known from here on
                    places = chosen.sample(names[1:], min(count - 1, 60 * rounds))
                    wanted[count] += [frames / name for name in places]
                chosen.shuffle(wanted[count])
            turns = min(map(len, wanted.values()))
            frames_of = {str(count): iter(paths) for count, paths in wanted.items()}
            times = in_turns(
                turns,
                {name: lambda paths=paths: timed(lambda: read(next(paths))) for name, paths in frames_of.items()},
            )
            for count in (1000, 100_000):
                one_and_other = {"ours": times[str(count)], "small": times["10"]}
                work = f"one frame of {count:,} in a file, {kind}"
                table.slower(work, "one frame of 10 in a file", one_and_other, at_most(1.2), name="small", paired=False)
