"""When the packets of a stream are decoded and shown: time stamps made sound enough for an MP4 (pure).

Recorders start their clock anew at each pause, leave out time stamps, and are damaged on the way. An MP4 needs one time
line from its start to its end, and decoding times that only grow.
"""

from collections.abc import Sequence

import numpy as np

MISSING = -(1 << 63)
"""In place of a time stamp."""

# Seconds that a clock may stand still, or go back because of another encoder of the same; else it began anew. What is
# missing for less than this shows as a picture that stays.
_LONGEST_GAP, _BACK = 10.0, 0.1
# Beginnings of the clock among which the one of a packet is looked for: those of its neighbours.
_NEIGHBOURS = 4
# Frames that are decoded before one that is shown earlier, each of two fields: no decoder keeps more (H.264 A.3.1).
_MOST_EARLY = 2 * 16 + 2


class WrongOrder(Exception):
    """The pictures are said to be shown in an order that no decoder could follow."""


class Clock:
    """What the time stamps of all streams of one recording refer to, through all its beginnings."""

    def __init__(self, second: int) -> None:
        """Read time stamps of which a second has so many."""
        self._gap, self._back = int(_LONGEST_GAP * second), int(_BACK * second)
        self._shifts = [0]
        self._of: dict[int, int] = {}
        self._due: dict[int, tuple[int, int]] = {}

    def shift(self, stream: int, stamp: int, duration: int) -> int:
        """Give what is to be added to the time stamps of the next packet of *stream*, which is decoded at *stamp*."""
        shift = self._of.get(stream, self._shifts[-1])
        due = self._due.get(stream)
        # One wrong stamp is not followed: the next packet is due after it, or after the one before.
        if due is not None and not any(self._follows(stamp + shift, time) for time in due):
            known = self._shifts[: -_NEIGHBOURS - 1 : -1]
            shift = next((other for other in known if self._follows(stamp + other, due[0])), due[0] - stamp)
            if shift not in known:
                self._shifts = [*self._shifts[-_NEIGHBOURS:], shift]
        self._of[stream] = shift
        next_due = stamp + shift + duration
        self._due[stream] = next_due, due[0] if due else next_due
        return shift

    def _follows(self, time: int, due: int) -> bool:
        return -self._back <= time - due <= self._gap


def in_order(stamps: Sequence[int], durations: Sequence[int], keys: Sequence[int]) -> np.ndarray:
    """Give times of pictures that are shown in the order of *keys*, each after the one before it where it has no stamp.

    Raises WrongOrder.
    """
    order = np.argsort(np.asarray(keys), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    if len(order) and (np.arange(len(order)) - rank).max() > _MOST_EARLY:
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
    """Make each time later than the one before it by *step* at least."""
    steps = np.arange(len(times)) * step
    return np.asarray(np.maximum.accumulate(times - steps) + steps)


def decoding(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the times at which packets are shown, all different, and those at which they are decoded: never later."""
    order = np.argsort(times, kind="stable")
    decoded = growing(times[order])
    shown = np.empty_like(decoded)
    shown[order] = decoded
    return shown, decoded - (decoded - shown).max(initial=0)
