"""How the processes use memory: what Python's collector and malloc are told, once, at the start."""

import ctypes
import gc

# Headers and listings are many long-lived objects without cycles: with Python's own thresholds an eighth of a first
# `ls -lR` goes into collections that find nothing.
_COLLECTIONS = (20_000, 50, 1000)
# malloc.h. Frames of some MB come and go in several threads. Left alone, each thread's arena keeps the largest that it
# ever held: reading a film of 3.7 MB frames grew the daemon by 31 MB, with two arenas by 18 MB, at the same speed.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST_ON_HEAP = 32 << 20
_ARENAS = 2
_KEPT_BY_DAEMON, _KEPT_BY_WORKER = 4 << 20, 8 << 20


def tune() -> None:
    """Set the daemon up; call it once all that lives as long as the mount has been made."""
    gc.freeze()
    gc.set_threshold(*_COLLECTIONS)
    _keep(_KEPT_BY_DAEMON)


def trim() -> None:
    """Give back to the kernel what malloc keeps in the gaps between what is still used: a millisecond.

    Headers and frames come and go in other orders than they came: after a large archive was read, a quarter of the
    daemon's memory was such gaps.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(_KEPT_BY_DAEMON)


def tune_worker() -> None:
    """Set a process up that makes pictures, or one that forks such processes."""
    _keep(_KEPT_BY_WORKER)


def _keep(freed: int) -> None:
    """Have malloc keep so many *freed* bytes: what is given back to the kernel is faulted in again page by page.

    Without that, native arrays are read at a third of the speed, and drawing a colour frame takes twice to four times
    as long.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl has not
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, freed)
        mallopt(_MMAP_THRESHOLD, _LARGEST_ON_HEAP)
        mallopt(_ARENA_MAX, _ARENAS)
