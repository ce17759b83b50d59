"""When the frames of a film are shown (PS3.3 C.7.6.5)."""

from dataclasses import dataclass
from itertools import accumulate

from dicomfs.dicom.elements import DataSet

_INCREMENT_POINTER, _FRAME_TIME, _FRAME_TIME_VECTOR = 0x00280009, 0x00181063, 0x00181065
# Frames per second, in the order in which they are asked when no frame time is there.
_RATES = ((0x00082144, "Recommended Display Frame Rate"), (0x00180040, "Cine Rate"))
_DURATION = 0x00181242
# Rates that no film has: less than one frame in ten seconds, more than one a millisecond.
_SLOWEST, _FASTEST = 0.1, 1000.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds from the first frame to each, and the attribute that said so."""

    offsets: tuple[float, ...]
    stated_by: str


def timing_of(dataset: DataSet, count: int) -> Timing | None:
    """Find the times of *count* frames; None where nothing sensible is stated."""
    pointers = dataset.integers(_INCREMENT_POINTER)
    steps = dataset.numbers(_FRAME_TIME_VECTOR)
    pointed_at = _FRAME_TIME_VECTOR in pointers or not pointers
    # A value that is no number is left out of `numbers`, and the others would move up.
    whole = len(steps) == len(dataset.texts(_FRAME_TIME_VECTOR)) == count > 0
    if pointed_at and whole and min(steps) >= 0 and _sensible(1000.0 * (count - 1), sum(steps[1:])):
        return Timing(tuple(accumulate(steps[1:], initial=0.0)), "Frame Time Vector")
    frame_time = dataset.number(_FRAME_TIME)
    if frame_time is not None and _sensible(1000.0, frame_time):
        return _even(frame_time, count, "Frame Time")
    for tag, name in _RATES:
        rate = dataset.number(tag)
        if rate is not None and _sensible(rate, 1.0):
            return _even(1000.0 / rate, count, name)
    duration = dataset.number(_DURATION)
    if count > 1 and duration is not None and _sensible(1000.0, duration):
        return _even(duration, count, "Actual Frame Duration")
    return None


def _sensible(frames: float, seconds: float) -> bool:
    return seconds > 0 and _SLOWEST <= frames / seconds <= _FASTEST


def _even(step: float, count: int, name: str) -> Timing:
    return Timing(tuple([step * frame for frame in range(count)]), name)
