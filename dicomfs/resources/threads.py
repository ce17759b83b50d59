"""Threads with a limit for each purpose, so that a purpose that hangs does not delay the others.

A thread cannot be ended from outside: one that waits for a dead server goes on waiting after its request was given up,
and still counts. With a common limit, one dead server would use up all threads.
"""

from collections.abc import Callable
from enum import Enum
from typing import TypeVar, TypeVarTuple

import trio

from dicomfs.resources.processors import usable

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Purpose(Enum):
    """What a thread is for."""

    # The archive, which may be on a distant server: many waits at once cost nothing.
    SOURCE = "source"
    # The size of the archive's storage, which every `df` asks for.
    SPACE = "space"
    # The disk of this machine: the disk cache, and files that were built.
    DISK = "disk"
    # Parsing and composing: threads beyond the processors only wait for each other.
    COMPUTING = "computing"


def _count(purpose: Purpose) -> int:
    return {Purpose.SOURCE: 64, Purpose.SPACE: 4, Purpose.DISK: 16, Purpose.COMPUTING: usable() + 1}[purpose]


# Each event loop has limits of its own: a thread reports its end to the loop that started it.
_LIMITS = {purpose: trio.lowlevel.RunVar[trio.CapacityLimiter](purpose.value) for purpose in Purpose}


def limit(purpose: Purpose) -> trio.CapacityLimiter:
    """Return the limiter of *purpose* in this event loop."""
    variable = _LIMITS[purpose]
    try:
        return variable.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_count(purpose))
        variable.set(limiter)
        return limiter


async def run(
    purpose: Purpose, work: Callable[[*Arguments], Result], *arguments: *Arguments, finish: bool = False
) -> Result:
    """Call *work* in a thread, when its purpose has one free.

    A task that is cancelled abandons the thread and goes on at once, unless the work must *finish* first.
    """
    return await trio.to_thread.run_sync(work, *arguments, abandon_on_cancel=not finish, limiter=limit(purpose))
