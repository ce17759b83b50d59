"""Learning something of each of many names, in as many threads as help; what was learnt outlives a try cut short.

Of a directory with many files on a slow server, nobody learns everything within the time that one request may take.
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

# Above this, in seconds for each name, the time goes into waiting: then several wait at once.
_SLOW = 0.001
# How often that is judged, in seconds.
_WINDOW = 0.05
# Threads that help one listing, and all of a mount together.
_HELPERS, _ALL_HELPERS = 15, 45
# Who comes again within this many seconds goes on with what was learnt; else it is only a hint.
_RESUME = 600.0

_free = threading.BoundedSemaphore(_ALL_HELPERS)


class Learnt(Generic[Value]):
    """What is known of names so far, and since when (in seconds of `time.monotonic`)."""

    def __init__(self) -> None:
        """Know nothing."""
        self.values: dict[bytes, tuple[Value, float]] = {}
        self._touched = time.monotonic()

    def note(self, name: bytes, value: Value) -> None:
        """Remember what *name* is now."""
        self._touched = time.monotonic()
        self.values[name] = value, self._touched

    @property
    def old(self) -> bool:
        """Whether nothing was added for so long that it should be checked."""
        return time.monotonic() - self._touched > _RESUME


class _Try(Generic[Value]):
    """One try: what is left to do, and the threads that do it."""

    def __init__(self, names: Iterable[bytes], look: Looker[Value], learnt: Learnt[Value], stop: threading.Event):
        self._left = deque(names)
        self._look = look
        self._learnt = learnt
        self._stop = stop
        self._error: BaseException | None = None
        self._helpers: list[threading.Thread] = []

    def run(self) -> None:
        """Work until nothing is left, with help while each name takes long. Raises what a look raises."""
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
                if passed >= _WINDOW:
                    if passed > done * _SLOW:
                        self._get_help()
                    since, done = time.monotonic(), 0

    def _next(self, look: Callable[[bytes], Value]) -> bool:
        """Look at one name; tell whether there may be more."""
        if self._stop.is_set() or self._error is not None:
            return False
        try:
            name = self._left.popleft()
        except IndexError:
            return False
        if name not in self._learnt.values:
            # One that has vanished since it was listed is looked at should it come back.
            with contextlib.suppress(FileNotFoundError):
                self._learnt.note(name, look(name))
        return True

    def _get_help(self) -> None:
        while len(self._helpers) < min(_HELPERS, len(self._left)) and _free.acquire(blocking=False):
            # Daemons: one that hangs in a dead file system must not keep the process from ending.
            helper = threading.Thread(target=self._help, daemon=True)
            try:
                helper.start()
            except RuntimeError:  # no more threads for this user: it works without help, too
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
    """Add to *learnt* what is not known of *names* yet, until *stop* is set.

    Each thread enters *look* once and calls what that gives with a name at a time. A FileNotFoundError says that the
    name is gone; whatever else is raised ends the try, with what was learnt kept.
    """
    _Try(names, look, learnt, stop).run()
