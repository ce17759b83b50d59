"""The time line of a stream: repairs time stamps so that an MP4 can hold them.

Recorders restart their clock after each pause, and leave out time stamps; damage adds wrong ones. An MP4 needs one time
line from its start to its end, and decoding times that only grow.
"""

from collections.abc import Sequence

import numpy as np

MISSING = -(1 << 63)
"""Stands for a missing time stamp."""

# A clock may jump forward or back by so many seconds (two encoders of one recording differ); otherwise it was
# restarted. During a gap that is shorter than this, the last picture stays.
_MAX_GAP_SECONDS, _MAX_BACK_SECONDS = 10.0, 0.1
# The last restarts of the clock, among which that of a packet is searched.
_MAX_RESTARTS = 4
# Pictures that may be decoded before one that is shown earlier, each of two fields: no decoder keeps more
# (H.264 A.3.1).
_MAX_REORDERED = 2 * 16 + 2


class WrongOrder(Exception):
    """The stated display order is one that no decoder could follow."""


class Clock:
    """The clock of one recording, which all its streams refer to, through all restarts."""

    def __init__(self, second: int) -> None:
        """Read time stamps in ticks, of which a *second* has so many."""
        self._gap, self._back = int(_MAX_GAP_SECONDS * second), int(_MAX_BACK_SECONDS * second)
        self._shifts = [0]
        self._of: dict[int, int] = {}
        self._due: dict[int, tuple[int, int]] = {}

    def shift(self, stream: int, stamp: int, duration: int) -> int:
        """Return the offset for the time stamps of the next packet of *stream*, which is decoded at *stamp*."""
        shift = self._of.get(stream, self._shifts[-1])
        due = self._due.get(stream)
        # A single wrong stamp is ignored: the next packet is due after it, or after the one before.
        if due is not None and not any(self._follows(stamp + shift, time) for time in due):
            known = self._shifts[: -_MAX_RESTARTS - 1 : -1]
            shift = next((other for other in known if self._follows(stamp + other, due[0])), due[0] - stamp)
            if shift not in known:
                self._shifts = [*self._shifts[-_MAX_RESTARTS:], shift]
        self._of[stream] = shift
        next_due = stamp + shift + duration
        self._due[stream] = next_due, due[0] if due else next_due
        return shift

    def _follows(self, time: int, due: int) -> bool:
        return -self._back <= time - due <= self._gap


def in_order(stamps: Sequence[int], durations: Sequence[int], keys: Sequence[int]) -> np.ndarray:
    """Return the times of pictures in the order of *keys*; one without a stamp follows the one before it.

    Raises WrongOrder.
    """
    order = np.argsort(np.asarray(keys), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    if len(order) and (np.arange(len(order)) - rank).max() > _MAX_REORDERED:
        raise WrongOrder
    times = np.empty(len(order), np.int64)
    first = next((place for place, index in enumerate(order) if stamps[index] != MISSING), 0)
    time = stamps[order[first]] if first < len(order) and stamps[order[first]] != MISSING else 0
    time -= sum(durations[index] for index in order[:first])
    for index in order:
        if stamps[index] != MISSING:
            time = stamps[index]
        times[index] = time
        time += durations[index]
    return times


def growing(times: np.ndarray, step: int = 1) -> np.ndarray:
    """Make each time later than the one before it, by at least *step*."""
    steps = np.arange(len(times)) * step
    return np.asarray(np.maximum.accumulate(times - steps) + steps)


def decoding(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return display times, all different, and decoding times, none later than the display time of its packet."""
    order = np.argsort(times, kind="stable")
    decoded = growing(times[order])
    shown = np.empty_like(decoded)
    shown[order] = decoded
    return shown, decoded - (decoded - shown).max(initial=0)
