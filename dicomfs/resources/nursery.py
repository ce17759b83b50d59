"""Concurrent tasks whose errors are raised without a group around them.

A nursery of trio raises an exception group, which no `except OSError` catches. All nurseries are opened here.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def side_by_side() -> AsyncIterator[trio.Nursery]:
    """Open a nursery. The first error of a task ends the other tasks and is raised here."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        raise first_of(group) from None


def first_of(error: BaseException) -> BaseException:
    """Return the first error of a group that is not a cancellation, otherwise the first; a single error unchanged."""
    while isinstance(error, BaseExceptionGroup):
        _, errors = error.split(trio.Cancelled)
        error = (errors or error).exceptions[0]
    return error
