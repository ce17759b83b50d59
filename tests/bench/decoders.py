"""Decoding in worker processes beside decoding in threads of the daemon: how fast, and how long all else waits."""

import math
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import trio

from bench.frames import FILMS, films
from bench.table import Table, Times, in_turns, seconds
from dicomfs.dicom.stream import Memory
from dicomfs.entries.frame_values import encoded_frame
from dicomfs.formats.png import png_size
from dicomfs.instance.instance import load
from dicomfs.iod.image_display import display_of
from dicomfs.workers.decoder_process import Task, perform
from dicomfs.workers.pool import WorkerPool

Work = tuple[Task, bytes]
Do = Callable[[Task, bytes], Awaitable[bytes]]


def processes_and_threads(table: Table, place: Path, rounds: int) -> None:
    """All frames of a film to PNG, as many at a time as there are cores, in one program that runs an event loop.

    What comes back is memory of this program's own in both cases. The event loop is looked at each millisecond.
    """
    source, cores = films(place), len(os.sched_getaffinity(0))
    for film, (name, _) in FILMS.items():
        work = _tasks(source / f"{film}.dcm")
        late: Times = {"ours": [], "threads": []}
        sides = {
            "ours": partial(trio.run, _processes, work, cores, late["ours"]),
            "threads": partial(trio.run, _threads, work, cores, late["threads"]),
        }
        times = in_turns(2 * rounds, sides)
        threads = f"{cores} threads of the daemon"
        table.faster(f"{name} decoded by {cores} processes", threads, times, name="threads")
        worst = {side: max(lateness) for side, lateness in late.items()}
        table.figure(
            f"{name}: the event loop is late by, with processes",
            worst["ours"] * 1000,
            "ms",
            rival=threads,
            theirs=seconds(worst["threads"]),
        )


def _tasks(file: Path) -> list[Work]:
    stream = Memory(file.read_bytes())
    pixels = load(stream).pixels
    assert pixels
    fmt = pixels.format
    display, _ = display_of(pixels.dataset, 0, fmt)
    size = png_size(fmt.rows, fmt.columns, pixels.picture_samples)
    return [
        (Task(fmt, pixels.frames.bit_offset(frame), "png", display, size), encoded_frame(pixels.frames, frame, stream))
        for frame in range(len(pixels.frames))
    ]


async def _processes(work: list[Work], cores: int, late: list[float]) -> float:
    async with WorkerPool(cores) as pool:
        return await _all(pool.run, work, cores, late)


async def _threads(work: list[Work], cores: int, late: list[float]) -> float:
    def draw(task: Task, data: bytes) -> bytes:
        return bytes(perform(task, memoryview(data)))

    return await _all(partial(trio.to_thread.run_sync, draw), work, cores, late)


async def _all(do: Do, work: list[Work], cores: int, late: list[float]) -> float:
    """Do all of *work*, and some before the clock starts; give the seconds, and to *late* the worst of the loop."""
    waiting = iter(work[:cores] * 3)

    async def take() -> None:
        for task, data in waiting:
            await do(task, data)

    async def everybody() -> float:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(cores):
                nursery.start_soon(take)
        return trio.current_time() - start

    await everybody()
    waiting = iter(work)
    worst = -math.inf
    async with trio.open_nursery() as nursery:

        async def look() -> None:
            nonlocal worst
            while True:
                wanted = trio.current_time() + 0.001
                await trio.sleep_until(wanted)
                worst = max(worst, trio.current_time() - wanted)

        nursery.start_soon(look)
        taken = await everybody()
        nursery.cancel_scope.cancel()
    late.append(worst)
    return taken
