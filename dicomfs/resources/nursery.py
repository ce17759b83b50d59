"""Tasks side by side whose errors come out as they are.

A nursery of trio's own raises a group of what its tasks raised, which no `except OSError` sees. All of dicomfs opens
its nurseries here.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def side_by_side() -> AsyncIterator[trio.Nursery]:
    """Open a nursery. The first error of a task ends the others and is raised here, without a group around it."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        raise first_of(group) from None


def first_of(error: BaseException) -> BaseException:
    """Give the first error in a group of them that is no mere cancellation, or else the first; any other as it is."""
    while isinstance(error, BaseExceptionGroup):
        _, errors = error.split(trio.Cancelled)
        error = (errors or error).exceptions[0]
    return error
