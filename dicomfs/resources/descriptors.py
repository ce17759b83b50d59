"""The budget of file descriptors: files that stay open between two uses, to save work.

A file gives way when the budget is used up, or when the process (EMFILE) or the machine (ENFILE) has no descriptor
left. The least recently used one goes first. The budget leaves a reserve for files that are open for a moment only:
listings, `stat`, worker processes. Everything here may be called from any thread.
"""

import contextlib
import errno
import os
import resource
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

SHORT = frozenset((errno.EMFILE, errno.ENFILE))
"""The errors of a system that has no descriptor left."""

# Outside of the budget: descriptors that are open as long as the mount, those that all threads (see `threads`) open
# while they walk down a path, and the sockets, process descriptors and memory of a worker and of a process for films.
_FIXED, _OF_THREADS, _OF_WORKER = 48, 260, 6
# More descriptors cost more memory, here and in the kernel, than opening the files again is worth.
_MAX_DESCRIPTORS = 16_384
# Waits of a thread, one after the other, where nothing gives way: other threads close what they have opened.
_PAUSE_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
# When none is left, one unused descriptor in so many gives way at once, but at least so many.
_SHARE, _MIN_CLOSED = 4, 16


class Kept:
    """One descriptor of the budget. It gives way only while nobody uses it; *descriptor* is then negative."""

    __slots__ = ("closed", "descriptor", "users")

    def __init__(self) -> None:
        """Begin without a descriptor."""
        self.descriptor = -1
        self.users = 0
        self.closed = False


class Descriptors:
    """Up to *most* descriptors that stay open between two uses."""

    def __init__(self, most: int) -> None:
        """Begin with none open."""
        self._most = most
        self._lock = threading.Lock()
        self._open = 0
        self._unused: OrderedDict[Kept, None] = OrderedDict()

    @classmethod
    def of_process(cls, workers: int = 0) -> "Descriptors":
        """Make the budget of a process with so many *workers* from its limit as it is now."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit == resource.RLIM_INFINITY:
            return cls(_MAX_DESCRIPTORS)
        left = limit - _FIXED - _OF_THREADS - _OF_WORKER * workers
        return cls(min(_MAX_DESCRIPTORS, max(limit // 8, left)))

    @property
    def kept(self) -> int:
        """Count what the budget has open, in use or not."""
        return self._open

    def adopt(self, kept: Kept, descriptor: int, *, must: bool = False) -> int:
        """Put *descriptor* into the budget as that of *kept*, in use once; return the one to use.

        That is another one where a second thread has opened the same file meanwhile. A descriptor that *must* stay open
        while it is used is closed where there is no room, with OSError (EMFILE).
        """
        closing = []
        try:
            with self._lock:
                if kept.descriptor >= 0 or kept.closed:
                    closing.append(descriptor)
                    return self._use(kept)
                if must and self._open - len(self._unused) >= self._most:
                    closing.append(descriptor)
                    raise OSError(errno.EMFILE, "too many files are open that cannot be opened again")
                kept.descriptor = descriptor
                kept.users = 1
                self._open += 1
                while self._open > self._most and self._unused:
                    closing.append(self._drop_oldest())
                return descriptor
        finally:
            _close(closing)

    def use(self, kept: Kept) -> int:
        """Use the descriptor of *kept* until `done`; it is negative after it has given way.

        Raises OSError (EBADF) after `close`.
        """
        with self._lock:
            return self._use(kept)

    def done(self, kept: Kept) -> None:
        """End a use; the descriptor stays open while there is room."""
        closing = []
        with self._lock:
            kept.users -= 1
            if not kept.users:
                if kept.closed or self._open > self._most:
                    closing.append(self._drop(kept))
                else:
                    self._unused[kept] = None
        _close(closing)

    def close(self, kept: Kept) -> None:
        """Close it for good, as soon as nobody uses it. A second call has no effect."""
        closing = []
        with self._lock:
            kept.closed = True
            if not kept.users and kept.descriptor >= 0:
                del self._unused[kept]
                closing.append(self._drop(kept))
        _close(closing)

    def full(self) -> bool:
        """Return whether all of the budget is in use, so that nothing can give way."""
        with self._lock:
            return self._open - len(self._unused) >= self._most

    def give_way(self) -> bool:
        """Close some descriptors that nobody uses; return whether there were any."""
        with self._lock:
            count = max(_MIN_CLOSED, len(self._unused) // _SHARE)
            closing = [self._drop_oldest() for _ in range(min(count, len(self._unused)))]
        _close(closing)
        return bool(closing)

    def opening(self, act: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call *act*, which opens something and can be repeated; kept descriptors give way to it. Call it in a thread.

        Raises what *act* raises; EMFILE and ENFILE only after nothing has given way for a second.
        """
        pauses = iter(_PAUSE_SECONDS)
        while True:
            try:
                return self.opening_at_once(act, *args, **kwargs)
            except OSError as error:
                pause = next(pauses, None)
                if error.errno not in SHORT or pause is None:
                    raise
            time.sleep(pause)

    def opening_at_once(self, act: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Do the same without waiting, for the event loop."""
        while True:
            try:
                return act(*args, **kwargs)
            except OSError as error:
                if error.errno not in SHORT or not self.give_way():
                    raise

    def _use(self, kept: Kept) -> int:
        if kept.closed:
            raise OSError(errno.EBADF, "closed")
        if kept.descriptor >= 0:
            if not kept.users:
                del self._unused[kept]
            kept.users += 1
        return kept.descriptor

    def _drop_oldest(self) -> int:
        kept, _ = self._unused.popitem(last=False)
        return self._drop(kept)

    def _drop(self, kept: Kept) -> int:
        """Take the descriptor of *kept* out of the budget; the caller closes it, without the lock: it may wait."""
        descriptor, kept.descriptor = kept.descriptor, -1
        self._open -= 1
        return descriptor


def raise_limit() -> None:
    """Raise the soft limit of open files to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # above fs.nr_open, which was lowered
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
