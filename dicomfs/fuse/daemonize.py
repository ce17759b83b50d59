"""Leaving the terminal: the command returns when the mount answers, with the exit code that this earned."""

import contextlib
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import IO

# What the child sends through the pipe when all is well; anything else is its complaint.
_READY = b"\0ready"


def detach(serve: Callable[[Callable[[], None]], int]) -> int:
    """Run *serve* in a background process; return when it calls what it is given, or with its exit code.

    *serve* prints its own errors: the terminal stays its standard error until it is ready.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        if said == _READY:
            return 0
        return said[0] if said else 1
    os.close(reading)
    waiting = os.fdopen(writing, "wb", buffering=0)
    os.setsid()
    os.chdir("/")

    code = serve(partial(_ready, waiting))
    if not waiting.closed:  # otherwise the parent has returned, and the number may be another file's
        with contextlib.suppress(BrokenPipeError):  # the parent was killed
            waiting.write(bytes([code]))
    return code


def _ready(waiting: IO[bytes]) -> None:
    """Release the terminal and let the parent, which is *waiting*, return."""
    sys.stdout.flush()
    sys.stderr.flush()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    waiting.write(_READY)
    waiting.close()
