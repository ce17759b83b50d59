"""The acquisition time of each frame, from the functional groups of multi-frame objects (PS3.3 C.7.6.16.2.2).

Only this module reads these times: of temporal positions, of cardiac and respiratory triggers, and by the clock.
"""

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.iod.functional_groups import frames_with_groups, functional_group, in_group

_PLANES = (
    (tags.PlanePositionSequence, tags.ImagePositionPatient),
    (tags.PlanePositionVolumeSequence, tags.ImagePositionVolume),
)
# YYYYMMDDHHMMSS.FFFFFF without the offset from UTC, which no two frames of an object differ in (PS3.5 6.2).
_MOMENT = re.compile(r"([0-9]{14})(\.[0-9]{1,6})?(?:[+-][0-9]{4})?")
_START = datetime(1970, 1, 1, tzinfo=UTC)
# Microseconds that binary numbers hold with all their digits: 285 years.
_MAX_MICROSECONDS = 9e15

Reader = Callable[[DataSet, int], float | None]


def _measured(sequence: int, tag: int, unit: float) -> Reader:
    """Return what reads a time of *unit* microseconds from a functional group."""

    def read(dataset: DataSet, frame: int) -> float | None:
        number = in_group(dataset, frame, sequence, tag).number(tag)
        if number is None or not math.isfinite(number) or abs(number * unit) > _MAX_MICROSECONDS:
            return None
        return number * unit

    return read


def _moment(tag: int) -> Reader:
    """Return what reads a date and time, as microseconds from some moment."""

    def read(dataset: DataSet, frame: int) -> float | None:
        content = functional_group(dataset, frame, tags.FrameContentSequence)
        stated = _MOMENT.fullmatch((content.text(tag) if content else None) or "")
        if not stated:
            return None
        try:
            moment = datetime.strptime(stated[1], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            return None
        fraction = round(float(stated[2] or 0) * 1e6)
        return float((moment - _START) // timedelta(microseconds=1) + fraction)

    return read


TIMES: tuple[tuple[str, Reader], ...] = (
    ("Temporal Position Time Offset", _measured(tags.TemporalPositionSequence, tags.TemporalPositionTimeOffset, 1e6)),
    (
        "Nominal Cardiac Trigger Delay Time",
        _measured(tags.CardiacSynchronizationSequence, tags.NominalCardiacTriggerDelayTime, 1e3),
    ),
    (
        "Actual Cardiac Trigger Delay Time",
        _measured(tags.CardiacSynchronizationSequence, tags.ActualCardiacTriggerDelayTime, 1e3),
    ),
    (
        "Nominal Respiratory Trigger Delay Time",
        _measured(tags.RespiratorySynchronizationSequence, tags.NominalRespiratoryTriggerDelayTime, 1e3),
    ),
    ("Frame Reference DateTime", _moment(tags.FrameReferenceDateTime)),
    ("Frame Acquisition DateTime", _moment(tags.FrameAcquisitionDateTime)),
)
"""What states the time of a frame, in microseconds from some moment, in the order of trust.

Times within a cycle come before those of the clock: where a cycle was put together from many, the clock tells when its
parts were measured. They begin anew with each cycle, and so do not ascend where frames show several of them.
"""


def frame_times(dataset: DataSet, count: int) -> tuple[Sequence[float], str] | None:
    """Find the milliseconds from the first of *count* frames to each, and what states them.

    None where nothing is stated for all frames, or nothing that ascends from each frame to the next: times that repeat
    or go back are those of several planes, stacks or cycles, and not of a cine loop.
    """
    if count < 2 or frames_with_groups(dataset) < count:
        return None
    for name, read in TIMES:
        if _ascend([read(dataset, frame) for frame in _few(count)]):
            times = [read(dataset, frame) for frame in range(count)]
            if found := _ascend(times):
                return [(time - found[0]) / 1000 for time in found], name
    return None


def stated_times(dataset: DataSet) -> str:
    """Name what states a time of the first frame; empty where nothing does."""
    return next((name for name, read in TIMES if read(dataset, 0) is not None), "")


def frame_durations(dataset: DataSet, count: int) -> Sequence[float] | None:
    """Return the Frame Acquisition Duration of each of *count* frames in milliseconds; None unless all state one."""
    if count < 2 or frames_with_groups(dataset) < count:
        return None
    read = _measured(tags.FrameContentSequence, tags.FrameAcquisitionDuration, 1.0)
    found = []
    for frame in range(count):
        duration = read(dataset, frame)
        if duration is None or duration <= 0:
            return None
        found.append(duration)
    return found


def in_one_place(dataset: DataSet, count: int, *, at_a_glance: bool = False) -> bool:
    """Return whether all *count* frames are in one place, or nowhere: whether they can be a cine loop of it.

    *at_a_glance* looks at a few of them only.
    """

    def places(frame: int) -> list[tuple[float, ...]]:
        return [in_group(dataset, frame, sequence, tag).numbers(tag) for sequence, tag in _PLANES]

    first = places(0)
    return all(places(frame) == first for frame in (_few(count) if at_a_glance else range(count)))


def _few(count: int) -> list[int]:
    """Choose frames that tell most of the time whether to look at all."""
    return sorted({0, 1, count // 2, count - 1})


def _ascend(times: Sequence[float | None]) -> list[float] | None:
    """Return *times* where all are there and each is later than the one before."""
    known = [time for time in times if time is not None]
    later = all(one < other for one, other in pairwise(known))
    return known if len(known) == len(times) and later else None
