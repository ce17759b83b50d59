"""When the frames of a film are shown (PS3.3 C.7.6.5), and which objects move at all.

Only this module reads rates. What it finds absurd it leaves out, and says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

from dicomfs.dicom.data_set import DataSet
from dicomfs.iod.frame_times import frame_durations, frame_times, in_one_place, stated_times

_SOP_CLASS = 0x00080016
_INCREMENT_POINTER, _FRAME_TIME, _FRAME_TIME_VECTOR = 0x00280009, 0x00181063, 0x00181065
# Frames per second, in the order in which they are asked when no frame time is there.
_RATES = ((0x00082144, "Recommended Display Frame Rate"), (0x00180040, "Cine Rate"))
_DURATION = 0x00181242
_START_TRIM, _STOP_TRIM = 0x00082142, 0x00082143
# Rates that no film has: less than one frame in ten seconds, more than one a millisecond.
_SLOWEST, _FASTEST = 0.1, 1000.0
# Frames per second of classes whose frames follow each other in time, where a file states none: what such
# machines record at.
_ULTRASOUND, _XRAY, _CAMERA = 30.0, 15.0, 25.0
_OF_CLASS = {
    "1.2.840.10008.5.1.4.1.1.3": _ULTRASOUND,  # ultrasound multi-frame, retired
    "1.2.840.10008.5.1.4.1.1.3.1": _ULTRASOUND,
    "1.2.840.10008.5.1.4.1.1.6": _ULTRASOUND,  # ultrasound of one frame, as it should be; retired
    "1.2.840.10008.5.1.4.1.1.6.1": _ULTRASOUND,
    "1.2.840.10008.5.1.4.1.1.12.1": _XRAY,  # X-ray angiography
    "1.2.840.10008.5.1.4.1.1.12.1.1": _XRAY,
    "1.2.840.10008.5.1.4.1.1.12.2": _XRAY,  # X-ray fluoroscopy
    "1.2.840.10008.5.1.4.1.1.12.2.1": _XRAY,
    "1.2.840.10008.5.1.4.1.1.12.3": _XRAY,  # biplane, retired
    "1.2.840.10008.5.1.4.1.1.77.1.1": _CAMERA,  # endoscopy, microscopy, photography
    "1.2.840.10008.5.1.4.1.1.77.1.1.1": _CAMERA,
    "1.2.840.10008.5.1.4.1.1.77.1.2": _CAMERA,
    "1.2.840.10008.5.1.4.1.1.77.1.2.1": _CAMERA,
    "1.2.840.10008.5.1.4.1.1.77.1.4": _CAMERA,
    "1.2.840.10008.5.1.4.1.1.77.1.4.1": _CAMERA,
}
# Nuclear medicine says how long it counted for a frame, which is also how fast a gated or dynamic one is shown.
_NUCLEAR = "1.2.840.10008.5.1.4.1.1.20"
# An X-ray pulse is a small part of the time from frame to frame, so that its duration says nothing about that.
_PULSED = frozenset(uid for uid, rate in _OF_CLASS.items() if rate == _XRAY)
# Of what is no film, shown as one because somebody asked for it.
_OTHERWISE = 10.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds from the first frame to each, and the attribute that said so."""

    offsets: tuple[float, ...]
    stated_by: str

    @property
    def duration(self) -> float:
        """Milliseconds to the end of the last of at least two frames, which is shown as long as the one before it."""
        last = self.offsets[-1]
        return last + (last - self.offsets[-2] or last / (len(self.offsets) - 1))

    def part(self, frames: range) -> "Timing":
        """Give the times of at least two *frames*, counted from the first of them."""
        return replace(self, offsets=tuple([self.offsets[frame] - self.offsets[frames.start] for frame in frames]))


def timing_of(dataset: DataSet, count: int) -> Timing | None:
    """Find the times of *count* frames; None where nothing sensible is stated.

    The order of preference: the Frame Time Vector, then the times that the functional groups state of each frame (see
    `frame_times`), unless the Frame Increment Pointer names the Frame Time; then, for frames at equal distances, the
    Frame Time, the Recommended Display Frame Rate, the Cine Rate and the Actual Frame Duration; last the Frame
    Acquisition Durations of frames in one place, each of which then begins where the one before ends.
    """
    steps = dataset.numbers(_FRAME_TIME_VECTOR)
    if _points_at_vector(dataset) and _is_sensible_vector(dataset, steps, count):
        return Timing(tuple(accumulate(steps[1:], initial=0.0)), "Frame Time Vector")
    if timing := _by_groups(dataset, count):
        return timing
    step = _stated(dataset)
    if step is None:
        duration = dataset.number(_DURATION)
        step = (duration, "Actual Frame Duration") if duration is not None and count > 1 else None
    if step is None:
        return _by_durations(dataset, count)
    if not _sensible(1000.0, step[0]):
        return None
    return _even(step[0], count, step[1])


def _by_groups(dataset: DataSet, count: int) -> Timing | None:
    """Find the times that functional groups state, where a film can have them and nothing else is pointed at."""
    if _FRAME_TIME in dataset.integers(_INCREMENT_POINTER) and _stated(dataset) is not None:
        return None
    found = frame_times(dataset, count)
    if found is None or not _sensible(1000.0 * (count - 1), found[0][-1]):
        return None
    return Timing(tuple(found[0]), found[1])


def _by_durations(dataset: DataSet, count: int) -> Timing | None:
    if dataset.text(_SOP_CLASS) in _PULSED:
        return None
    durations = frame_durations(dataset, count)
    if durations is None or not _sensible(1000.0 * count, sum(durations)) or not in_one_place(dataset, count):
        return None
    return Timing(tuple(accumulate(durations[:-1], initial=0.0)), "Frame Acquisition Duration")


def film_timing(dataset: DataSet, count: int) -> Timing:
    """Find the times of *count* frames; what is usual for the class of the object where nothing sensible is stated."""
    timing = timing_of(dataset, count)
    if timing is not None:
        return timing
    rate = _OF_CLASS.get(dataset.text(_SOP_CLASS) or "", _OTHERWISE)
    return _even(1000.0 / rate, count, "default")


def shown_frames(dataset: DataSet, count: int) -> range:
    """Give those of *count* frames, counted from 0, that are to be shown as a film.

    Start Trim and Stop Trim number the first and the last one from 1 (PS3.3 C.7.6.5). What makes no sense, or leaves no
    film, is not used.
    """
    first, last = _trim(dataset, count)
    return range(first - 1, last) if 1 <= first < last <= count else range(count)


def _trim(dataset: DataSet, count: int) -> tuple[int, int]:
    """Give the numbers of the first and the last frame as they are stated."""
    first, last = dataset.integer(_START_TRIM), dataset.integer(_STOP_TRIM)
    return 1 if first is None else first, count if last is None else last


def moves(dataset: DataSet, count: int) -> bool:
    """Whether *count* frames are to be seen as a film: by their class, or because the object states a rate.

    For most classes the time that acquiring a frame took says nothing about that. Times of frames do where all lie in
    one place: slices are taken one after the other, too.
    """
    if count < 2:
        return False
    sop_class = dataset.text(_SOP_CLASS)
    if sop_class in _OF_CLASS or _stated(dataset) is not None:
        return True
    if sop_class == _NUCLEAR:
        return timing_of(dataset, count) is not None
    if _points_at_vector(dataset) and _is_sensible_vector(dataset, dataset.numbers(_FRAME_TIME_VECTOR), count):
        return True
    if not in_one_place(dataset, count, at_a_glance=True):
        return False
    return _by_groups(dataset, count) is not None and in_one_place(dataset, count)


def usual_step(dataset: DataSet) -> float:
    """Find the milliseconds from frame to frame of a camera, on the average; nobody knows how many frames there are."""
    count = max(2, len(dataset.numbers(_FRAME_TIME_VECTOR)))
    if timing := timing_of(dataset, count):
        return timing.offsets[-1] / (count - 1)
    return 1000.0 / _OF_CLASS.get(dataset.text(_SOP_CLASS) or "", _CAMERA)


def wrong_times(dataset: DataSet, count: int) -> Iterator[str]:
    """Say which statements about the rate of *count* frames are absurd, and so left out."""
    steps = dataset.numbers(_FRAME_TIME_VECTOR)
    if steps and count > 1 and not _is_sensible_vector(dataset, steps, count):
        yield f"the Frame Time Vector does not give sensible times for {count} frames and is not used"
    first, last = _trim(dataset, count)
    if count > 1 and not 1 <= first < last <= count:
        yield f"Start Trim and Stop Trim do not name a part of {count} frames and are not used"
    for tag, name, unit in ((_FRAME_TIME, "Frame Time", 1000.0), *((tag, name, 0.0) for tag, name in _RATES)):
        value = dataset.number(tag)
        if value is not None and count > 1 and not _sensible(*((unit, value) if unit else (value, 1.0))):
            yield f"{name} {value:g} is not that of a film and is not used"

    if dataset.text(_SOP_CLASS) in _OF_CLASS and (name := stated_times(dataset)) and _ungrouped(dataset, count):
        ascend = frame_times(dataset, count) is not None
        said = f"is not that of a film of {count} frames" if ascend else "does not ascend from each frame to the next"
        yield f"{name} {said} and is not used"


def _ungrouped(dataset: DataSet, count: int) -> bool:
    """Whether times that functional groups state are not used though nothing comes before them."""
    timing = timing_of(dataset, count)
    return _by_groups(dataset, count) is None and (timing is None or timing.stated_by != "Frame Time Vector")


def _points_at_vector(dataset: DataSet) -> bool:
    pointers = dataset.integers(_INCREMENT_POINTER)
    return _FRAME_TIME_VECTOR in pointers or not pointers


def _is_sensible_vector(dataset: DataSet, steps: tuple[float, ...], count: int) -> bool:
    # A value that is no number is left out of `numbers`, and the others would move up.
    whole = len(steps) == len(dataset.texts(_FRAME_TIME_VECTOR)) == count > 0
    return whole and min(steps) >= 0 and _sensible(1000.0 * (count - 1), sum(steps[1:]))


def _stated(dataset: DataSet) -> tuple[float, str] | None:
    """Give the milliseconds between frames that are all alike, and what states them."""
    frame_time = dataset.number(_FRAME_TIME)
    if frame_time is not None and _sensible(1000.0, frame_time):
        return frame_time, "Frame Time"
    for tag, name in _RATES:
        rate = dataset.number(tag)
        if rate is not None and _sensible(rate, 1.0):
            return 1000.0 / rate, name
    return None


def _sensible(frames: float, seconds: float) -> bool:
    return seconds > 0 and _SLOWEST <= frames / seconds <= _FASTEST


def _even(step: float, count: int, name: str) -> Timing:
    return Timing(tuple([step * frame for frame in range(count)]), name)
