"""Threads for what waits or computes: so many for each purpose that one which hangs does not hold up the others.

A thread cannot be ended from outside. One that waits for a dead server goes on waiting after its request was given up,
and keeps its place; with places in common, a dead server would take them all.
"""

from collections.abc import Callable
from enum import Enum
from typing import TypeVar, TypeVarTuple

import trio

from dicomfs.resources.processors import usable

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Purpose(Enum):
    """What a thread is for, by how many may be busy with it at a time."""

    # The archive, which may be on a server far away: many waits at once cost nothing.
    SOURCE = "source"
    # Asking the archive how much room there is, which every `df` does.
    SPACE = "space"
    # What this machine's own disk keeps: the disk cache, and files that were built.
    DISK = "disk"
    # Parsing and composing: more threads than processors only wait for each other.
    COMPUTING = "computing"


def _places(purpose: Purpose) -> int:
    return {Purpose.SOURCE: 64, Purpose.SPACE: 4, Purpose.DISK: 16, Purpose.COMPUTING: usable() + 1}[purpose]


# An event loop has limits of its own: places are given back through the loop that gave them.
_LIMITS = {purpose: trio.lowlevel.RunVar[trio.CapacityLimiter](purpose.value) for purpose in Purpose}


def limit(purpose: Purpose) -> trio.CapacityLimiter:
    """Give what counts the threads of *purpose* in this event loop."""
    variable = _LIMITS[purpose]
    try:
        return variable.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_places(purpose))
        variable.set(limiter)
        return limiter


async def run(
    purpose: Purpose, work: Callable[[*Arguments], Result], *arguments: *Arguments, finish: bool = False
) -> Result:
    """Have *work* done in a thread, once there is a place for its purpose.

    Who is cancelled goes at once and leaves the thread behind, unless the work must *finish* first.
    """
    return await trio.to_thread.run_sync(work, *arguments, abandon_on_cancel=not finish, limiter=limit(purpose))
