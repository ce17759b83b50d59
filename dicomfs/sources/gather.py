"""Describe many names in several threads, and keep what was learnt when a try is cut short.

A directory with many files on a slow server cannot be described within the time limit of one request.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

Value = TypeVar("Value")
Looker = Callable[[], AbstractContextManager[Callable[[bytes], Value]]]

# A name that takes longer is waited for: several threads then wait at once.
_SLOW_SECONDS = 0.001
# The time over which names are averaged.
_WINDOW_SECONDS = 0.05
# Threads that help one listing, and all listings of a process together.
_MAX_HELPERS, _MAX_ALL_HELPERS = 15, 45
# A listing within this time continues the last one; later, what was learnt is only a hint.
_RESUME_SECONDS = 600.0

_free = threading.BoundedSemaphore(_MAX_ALL_HELPERS)


class Learnt(Generic[Value]):
    """The values of names that are known so far, and since when (in seconds of `time.monotonic`)."""

    def __init__(self) -> None:
        """Know nothing."""
        self.values: dict[bytes, tuple[Value, float]] = {}
        self._touched = time.monotonic()

    def note(self, name: bytes, value: Value) -> None:
        """Remember the present value of *name*."""
        self._touched = time.monotonic()
        self.values[name] = value, self._touched

    @property
    def old(self) -> bool:
        """Whether nothing was added for so long that the values must be checked."""
        return time.monotonic() - self._touched > _RESUME_SECONDS


class _Try(Generic[Value]):
    """One try: the names that are left, and the threads that describe them."""

    def __init__(self, names: Iterable[bytes], look: Looker[Value], learnt: Learnt[Value], stop: threading.Event):
        self._left = deque(names)
        self._look = look
        self._learnt = learnt
        self._stop = stop
        self._error: BaseException | None = None
        self._helpers: list[threading.Thread] = []

    def run(self) -> None:
        """Describe all names, with help while each takes long. Raises what a look raises."""
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - raised below, when the helpers have ended
            self._error = error
        for helper in self._helpers:
            helper.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        since, done = time.monotonic(), 0
        with self._look() as look:
            while self._next(look):
                done += 1
                passed = time.monotonic() - since
                if passed >= _WINDOW_SECONDS:
                    if passed > done * _SLOW_SECONDS:
                        self._get_help()
                    since, done = time.monotonic(), 0

    def _next(self, look: Callable[[bytes], Value]) -> bool:
        """Look at one name; return whether there may be more."""
        if self._stop.is_set() or self._error is not None:
            return False
        try:
            name = self._left.popleft()
        except IndexError:
            return False
        if name not in self._learnt.values:
            # A name that has vanished since it was listed is looked at again if it comes back.
            with contextlib.suppress(FileNotFoundError):
                self._learnt.note(name, look(name))
        return True

    def _get_help(self) -> None:
        while len(self._helpers) < min(_MAX_HELPERS, len(self._left)) and _free.acquire(blocking=False):
            # A daemon thread: when it hangs in a dead file system, the process can still end.
            helper = threading.Thread(target=self._help, daemon=True)
            try:
                helper.start()
            except RuntimeError:  # this user may start no more threads: it works without help
                _free.release()
                return
            self._helpers.append(helper)

    def _help(self) -> None:
        try:
            with self._look() as look:
                while self._next(look):
                    pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, `run` raises it
            self._error = error
        finally:
            _free.release()


def gather(names: Iterable[bytes], look: Looker[Value], learnt: Learnt[Value], stop: threading.Event) -> None:
    """Add the missing values of *names* to *learnt*, until *stop* is set.

    Each thread enters *look* once, and calls its value with one name at a time. A FileNotFoundError means that the name
    has vanished; any other error ends the try. What was learnt is kept.
    """
    _Try(names, look, learnt, stop).run()
