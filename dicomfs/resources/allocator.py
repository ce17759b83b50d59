"""Settings of Python's garbage collector and of malloc, made once at the start."""

import ctypes
import gc

# Headers and listings are many long-lived objects without cycles: with Python's own thresholds, collections that find
# nothing take an eighth of the time of a first `ls -lR`.
_COLLECTIONS = (20_000, 50, 1000)
# malloc.h. Frames of some MB come and go in several threads, and by default the arena of each thread keeps the largest
# one that it ever held: reading a cine loop of 3.7 MB frames grew the daemon by 31 MB, with two arenas by 18 MB, at the
# same speed.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_MAX_HEAP_BYTES = 32 << 20
_ARENAS = 2
_DAEMON_BYTES, _WORKER_BYTES = 4 << 20, 8 << 20


def tune_daemon() -> None:
    """Set up the daemon; to be called once all objects that live as long as the mount were made."""
    gc.freeze()
    gc.set_threshold(*_COLLECTIONS)
    _keep(_DAEMON_BYTES)


def trim() -> None:
    """Return the free gaps between used memory to the kernel, in about a millisecond.

    Headers and frames go in other orders than they come: after a large archive was read, a quarter of the daemon's
    memory was such gaps.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(_DAEMON_BYTES)


def tune_worker() -> None:
    """Set up a worker, or the process that forks workers."""
    _keep(_WORKER_BYTES)


def _keep(freed: int) -> None:
    """Let malloc keep up to *freed* free bytes: memory that goes back to the kernel is faulted in again page by page.

    Without that, native arrays are read at a third of the speed, and drawing a colour frame takes two to four times as
    long.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl has not
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, freed)
        mallopt(_MMAP_THRESHOLD, _MAX_HEAP_BYTES)
        mallopt(_ARENA_MAX, _ARENAS)
