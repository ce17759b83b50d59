"""How the daemon keeps its memory small: what Python's collector and malloc are told, once, at the start."""

import ctypes
import gc

# Headers and listings are many long-lived objects without cycles: with Python's own thresholds an eighth of a first
# `ls -lR` goes into collections that find nothing.
_COLLECTIONS = (20_000, 50, 1000)
# malloc.h. Frames of some MB come and go in several threads. Left alone, each thread's arena keeps the largest that it
# ever held: reading a film of 3.7 MB frames grew the daemon by 31 MB, with two arenas by 18 MB, at the same speed.
# What is given back after each request of 1 MiB is faulted in again for the next; where some of it is kept, native
# frames are read three times as fast, and the daemon grows no more.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT_ON_HEAP, _LARGEST_ON_HEAP = 4 << 20, 32 << 20
_ARENAS = 2


def tune() -> None:
    """Set the process up; call it once all that lives as long as the mount has been made."""
    gc.freeze()
    gc.set_threshold(*_COLLECTIONS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl has not
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT_ON_HEAP)
        mallopt(_MMAP_THRESHOLD, _LARGEST_ON_HEAP)
        mallopt(_ARENA_MAX, _ARENAS)
