"""Run the benchmarks that are asked for and print one table."""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import arrays, copying, decoders, frames, listing, load, video
from bench.table import Table
from dicomfs import __version__

BENCHMARKS: dict[str, Callable[[Table, Path, int], None]] = {
    "frames": frames.all_frames,
    "first-byte": frames.first_byte,
    "original": copying.original,
    "second-read": copying.second,
    "directories": listing.directories,
    "instances": listing.instances,
    "ready": listing.ready,
    "memory": load.memory,
    "cost-per-frame": frames.cost_per_frame,
    "arrays": arrays.in_order,
    "array-frame": arrays.one_frame,
    "stat": load.stat_under_load,
    "fairness": load.fairness,
    "waste": load.waste,
    "workers": frames.workers,
    "decoders": decoders.processes_and_threads,
    "video": video.to_video,
    "video-memory": video.memory,
}


def main() -> None:
    """Run them one after the other; what one leaves behind is removed before the next."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {' '.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often the sides take turns (3)")
    parser.add_argument("--folder", default="/var/tmp", help="where the files are made, some GB (/var/tmp)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"not known: {' '.join(sorted(unknown))}")
    table = Table(lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    with tempfile.TemporaryDirectory(prefix="dicomfs-bench-", dir=options.folder) as folder:
        start = time.monotonic()
        for name, benchmark in BENCHMARKS.items():
            if not options.names or name in options.names:
                print(f"{name} ({time.monotonic() - start:.0f} s)", file=sys.stderr, flush=True)
                place = Path(folder) / name
                place.mkdir()
                benchmark(table, place, options.rounds)
                shutil.rmtree(place)
        taken = time.monotonic() - start
        print(_machine(folder), table, f"It took {taken:.0f} s.", sep="\n\n")


def _machine(folder: str) -> str:
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=False
    ).stdout.strip()
    load = os.getloadavg()[0]
    return (
        f"dicomfs {__version__}, Python {platform.python_version()}, Linux {platform.release()}, "
        f"{len(os.sched_getaffinity(0))} cores (load {load:.1f} at the end), files on {kind}.\n"
        "Medians; the ratio is theirs to ours where the goal is >=, ours to theirs where it is <=."
    )


if __name__ == "__main__":
    main()
