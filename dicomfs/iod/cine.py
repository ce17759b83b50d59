"""The times of the frames of a cine loop (PS3.3 C.7.6.5), and the classes of objects that are one.

Only this module reads rates. It leaves absurd ones out, and reports them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

from dicomfs.dicom import tags, uids
from dicomfs.dicom.data_set import DataSet
from dicomfs.iod.frame_times import frame_durations, frame_times, in_one_place, stated_times

# Frames per second, in the order in which they are asked when no frame time is there.
_RATES = ((tags.RecommendedDisplayFrameRate, "Recommended Display Frame Rate"), (tags.CineRate, "Cine Rate"))
# Rates that no cine loop has: less than one frame in ten seconds, more than one a millisecond.
_MIN_RATE, _MAX_RATE = 0.1, 1000.0
# Frames per second of classes whose frames follow each other in time, where a file states none: what such
# machines record at.
_ULTRASOUND, _XRAY, _CAMERA = 30.0, 15.0, 25.0
_OF_CLASS = {
    uids.UltrasoundMultiFrameImageStorageRetired: _ULTRASOUND,  # ultrasound multi-frame, retired
    uids.UltrasoundMultiFrameImageStorage: _ULTRASOUND,
    uids.UltrasoundImageStorageRetired: _ULTRASOUND,  # ultrasound of one frame, as it should be; retired
    uids.UltrasoundImageStorage: _ULTRASOUND,
    uids.XRayAngiographicImageStorage: _XRAY,  # X-ray angiography
    uids.EnhancedXAImageStorage: _XRAY,
    uids.XRayRadiofluoroscopicImageStorage: _XRAY,  # X-ray fluoroscopy
    uids.EnhancedXRFImageStorage: _XRAY,
    uids.XRayAngiographicBiPlaneImageStorage: _XRAY,  # biplane, retired
    uids.VLEndoscopicImageStorage: _CAMERA,  # endoscopy, microscopy, photography
    uids.VideoEndoscopicImageStorage: _CAMERA,
    uids.VLMicroscopicImageStorage: _CAMERA,
    uids.VideoMicroscopicImageStorage: _CAMERA,
    uids.VLPhotographicImageStorage: _CAMERA,
    uids.VideoPhotographicImageStorage: _CAMERA,
}
# Nuclear medicine says how long it counted for a frame, which is also how fast a gated or dynamic one is shown.
# An X-ray pulse is a small part of the time from frame to frame, so that its duration says nothing about that.
_PULSED = frozenset(uid for uid, rate in _OF_CLASS.items() if rate == _XRAY)
# Rate for objects that are not cine loops (`--cine all`).
_DEFAULT_RATE = 10.0


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
        """Return the times of at least two *frames*, counted from the first of them."""
        return replace(self, offsets=tuple([self.offsets[frame] - self.offsets[frames.start] for frame in frames]))


def timing_of(dataset: DataSet, count: int) -> Timing | None:
    """Find the times of *count* frames; None where nothing sensible is stated.

    The order of preference: the Frame Time Vector, then the times that the functional groups state of each frame (see
    `frame_times`), unless the Frame Increment Pointer names the Frame Time; then, for frames at equal distances, the
    Frame Time, the Recommended Display Frame Rate, the Cine Rate and the Actual Frame Duration; last the Frame
    Acquisition Durations of frames in one place, each of which then begins where the one before ends.
    """
    steps = dataset.numbers(tags.FrameTimeVector)
    if _points_at_vector(dataset) and _is_sensible_vector(dataset, steps, count):
        return Timing(tuple(accumulate(steps[1:], initial=0.0)), "Frame Time Vector")
    if timing := _by_groups(dataset, count):
        return timing
    step = _stated(dataset)
    if step is None:
        duration = dataset.number(tags.ActualFrameDuration)
        step = (duration, "Actual Frame Duration") if duration is not None and count > 1 else None
    if step is None:
        return _by_durations(dataset, count)
    if not _sensible(1000.0, step[0]):
        return None
    return _even(step[0], count, step[1])


def _by_groups(dataset: DataSet, count: int) -> Timing | None:
    """Find the times that functional groups state, where a cine loop can have them and nothing else is pointed at."""
    if tags.FrameTime in dataset.integers(tags.FrameIncrementPointer) and _stated(dataset) is not None:
        return None
    found = frame_times(dataset, count)
    if found is None or not _sensible(1000.0 * (count - 1), found[0][-1]):
        return None
    return Timing(tuple(found[0]), found[1])


def _by_durations(dataset: DataSet, count: int) -> Timing | None:
    if dataset.text(tags.SOPClassUID) in _PULSED:
        return None
    durations = frame_durations(dataset, count)
    if durations is None or not _sensible(1000.0 * count, sum(durations)) or not in_one_place(dataset, count):
        return None
    return Timing(tuple(accumulate(durations[:-1], initial=0.0)), "Frame Acquisition Duration")


def cine_loop_timing(dataset: DataSet, count: int) -> Timing:
    """Find the times of *count* frames; what is usual for the class of the object where nothing sensible is stated."""
    timing = timing_of(dataset, count)
    if timing is not None:
        return timing
    rate = _OF_CLASS.get(dataset.text(tags.SOPClassUID) or "", _DEFAULT_RATE)
    return _even(1000.0 / rate, count, "default")


def shown_frames(dataset: DataSet, count: int) -> range:
    """Return those of *count* frames, counted from 0, that are to be shown as a cine loop.

    Start Trim and Stop Trim number the first and the last one from 1 (PS3.3 C.7.6.5). What makes no sense, or leaves no
    film, is not used.
    """
    first, last = _trim(dataset, count)
    return range(first - 1, last) if 1 <= first < last <= count else range(count)


def _trim(dataset: DataSet, count: int) -> tuple[int, int]:
    """Return the numbers of the first and the last frame as they are stated."""
    first, last = dataset.integer(tags.StartTrim), dataset.integer(tags.StopTrim)
    return 1 if first is None else first, count if last is None else last


def moves(dataset: DataSet, count: int) -> bool:
    """Whether *count* frames are to be seen as a cine loop: by their class, or because the object states a rate.

    For most classes the time that acquiring a frame took says nothing about that. Times of frames do where all are in
    one place: slices are taken one after the other, too.
    """
    if count < 2:
        return False
    sop_class = dataset.text(tags.SOPClassUID)
    if sop_class in _OF_CLASS or _stated(dataset) is not None:
        return True
    if sop_class == uids.NuclearMedicineImageStorage:
        return timing_of(dataset, count) is not None
    if _points_at_vector(dataset) and _is_sensible_vector(dataset, dataset.numbers(tags.FrameTimeVector), count):
        return True
    if not in_one_place(dataset, count, at_a_glance=True):
        return False
    return _by_groups(dataset, count) is not None and in_one_place(dataset, count)


def usual_step(dataset: DataSet) -> float:
    """Find the milliseconds from frame to frame of a camera, on the average; nobody knows how many frames there are."""
    count = max(2, len(dataset.numbers(tags.FrameTimeVector)))
    if timing := timing_of(dataset, count):
        return timing.offsets[-1] / (count - 1)
    return 1000.0 / _OF_CLASS.get(dataset.text(tags.SOPClassUID) or "", _CAMERA)


def wrong_times(dataset: DataSet, count: int) -> Iterator[str]:
    """Report which statements about the rate of *count* frames are absurd, and so left out."""
    steps = dataset.numbers(tags.FrameTimeVector)
    if steps and count > 1 and not _is_sensible_vector(dataset, steps, count):
        yield f"the Frame Time Vector does not give sensible times for {count} frames and is not used"
    first, last = _trim(dataset, count)
    if count > 1 and not 1 <= first < last <= count:
        yield f"Start Trim and Stop Trim do not name a part of {count} frames and are not used"
    for tag, name, unit in ((tags.FrameTime, "Frame Time", 1000.0), *((tag, name, 0.0) for tag, name in _RATES)):
        value = dataset.number(tag)
        if value is not None and count > 1 and not _sensible(*((unit, value) if unit else (value, 1.0))):
            yield f"{name} {value:g} is not that of a film and is not used"

    if dataset.text(tags.SOPClassUID) in _OF_CLASS and (name := stated_times(dataset)) and _ungrouped(dataset, count):
        ascend = frame_times(dataset, count) is not None
        said = f"is not that of a film of {count} frames" if ascend else "does not ascend from each frame to the next"
        yield f"{name} {said} and is not used"


def _ungrouped(dataset: DataSet, count: int) -> bool:
    """Whether times that functional groups state are not used though nothing comes before them."""
    timing = timing_of(dataset, count)
    return _by_groups(dataset, count) is None and (timing is None or timing.stated_by != "Frame Time Vector")


def _points_at_vector(dataset: DataSet) -> bool:
    pointers = dataset.integers(tags.FrameIncrementPointer)
    return tags.FrameTimeVector in pointers or not pointers


def _is_sensible_vector(dataset: DataSet, steps: tuple[float, ...], count: int) -> bool:
    # A value that is no number is left out of `numbers`, and the others would move up.
    whole = len(steps) == len(dataset.texts(tags.FrameTimeVector)) == count > 0
    return whole and min(steps) >= 0 and _sensible(1000.0 * (count - 1), sum(steps[1:]))


def _stated(dataset: DataSet) -> tuple[float, str] | None:
    """Return the milliseconds between frames that are all alike, and what states them."""
    frame_time = dataset.number(tags.FrameTime)
    if frame_time is not None and _sensible(1000.0, frame_time):
        return frame_time, "Frame Time"
    for tag, name in _RATES:
        rate = dataset.number(tag)
        if rate is not None and _sensible(rate, 1.0):
            return 1000.0 / rate, name
    return None


def _sensible(frames: float, seconds: float) -> bool:
    return seconds > 0 and _MIN_RATE <= frames / seconds <= _MAX_RATE


def _even(step: float, count: int, name: str) -> Timing:
    return Timing(tuple([step * frame for frame in range(count)]), name)
