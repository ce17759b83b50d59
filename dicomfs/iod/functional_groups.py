"""The functional groups of a multi-frame object: what holds for one frame, and where it says so (PS3.3 C.7.6.16)."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import overload

from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.long_sequence import LongSequence


def functional_group(dataset: DataSet, frame: int, sequence: int) -> DataSet | None:
    """Give the Item of the functional group *sequence* that holds for *frame*, counted from 0; None without any."""
    return next(iter(functional_items(dataset, frame, sequence)), None)


def functional_items(dataset: DataSet, frame: int, sequence: int) -> Sequence[DataSet]:
    """Give all Items of the functional group *sequence* that holds for *frame*, counted from 0.

    A per-frame group comes before a shared one. () where neither is there; the groups of another frame are never
    taken instead, however short the Per-Frame Functional Groups Sequence is.
    """
    return own_items(dataset, frame, sequence) or shared_items(dataset, sequence)


def own_items(dataset: DataSet, frame: int, sequence: int) -> Sequence[DataSet]:
    """Give the Items of the functional group *sequence* that *frame*, counted from 0, states itself."""
    groups = dataset.items(tags.PerFrameFunctionalGroupsSequence)
    if frame >= len(groups):
        return ()
    return groups.items(frame, sequence) if isinstance(groups, LongSequence) else groups[frame].items(sequence)


def shared_items(dataset: DataSet, sequence: int) -> Sequence[DataSet]:
    """Give the Items of the functional group *sequence* that all frames share."""
    groups = dataset.items(tags.SharedFunctionalGroupsSequence)[:1]
    return groups[0].items(sequence) if groups else ()


def frames_with_groups(dataset: DataSet) -> int:
    """Count the frames that can have groups of their own: the first ones."""
    return len(dataset.items(tags.PerFrameFunctionalGroupsSequence))


def some_frame_has(dataset: DataSet, sequence: int) -> bool:
    """Tell whether any frame states the functional group *sequence* itself; asked again, that costs nothing."""
    groups = dataset.items(tags.PerFrameFunctionalGroupsSequence)
    return (
        groups.any_has(sequence)
        if isinstance(groups, LongSequence)
        else dataset.any_item_has(tags.PerFrameFunctionalGroupsSequence, sequence)
    )


def each_frame_has(dataset: DataSet, sequence: int) -> bool:
    """Tell whether each frame that has groups of its own states the functional group *sequence*."""
    groups = dataset.items(tags.PerFrameFunctionalGroupsSequence)
    if isinstance(groups, LongSequence):
        return groups.all_have(sequence)
    return all(item.items(sequence) for item in groups)


def distinct_frames(dataset: DataSet, frames: int, sequence: int) -> list[int]:
    """Choose of the first *frames* frames those that state the functional group *sequence* in other words.

    Of objects with few frames, all; of others the first for each content of the group, and one without any.
    """
    groups = dataset.items(tags.PerFrameFunctionalGroupsSequence)
    count = min(frames, len(groups) + 1)
    if not isinstance(groups, LongSequence):
        return list(range(count))
    return [frame for frame in groups.distinct(sequence) if frame < count] + [len(groups)] * (len(groups) < count)


def in_group(dataset: DataSet, frame: int, sequence: int, tag: int) -> DataSet:
    """Give the data set that states *tag* for *frame*: a functional group, or the object itself."""
    group = functional_group(dataset, frame, sequence)
    return group if group is not None and tag in group else dataset


def in_groups(dataset: DataSet, frames: int, sequence: int, tag: int) -> Sequence[DataSet]:
    """Give what `in_group` does for the first *frames* frames; the last data set holds for all frames that follow.

    It is one data set alone where no frame states anything of its own. Of long sequences, the data sets are made anew
    each time that somebody goes through them, and hold nothing but *tag*.
    """
    per_frame = dataset.items(tags.PerFrameFunctionalGroupsSequence)
    common = in_group(dataset, len(per_frame), sequence, tag)
    if isinstance(per_frame, LongSequence) and per_frame.any_states(sequence, tag):
        return _Holders(dataset, per_frame, frames, sequence, tag)
    holders = []
    for frame in range(min(frames, len(per_frame))):
        items = own_items(dataset, frame, sequence)
        if not items:
            holders.append(common)
        else:
            holders.append(items[0] if tag in items[0] else dataset)
    if all(holder is common for holder in holders):
        return [common]
    return [*holders, common] if len(holders) < frames else holders


class _Holders(Sequence[DataSet]):
    """What `in_groups` gives of a long sequence, without an object for each frame."""

    def __init__(self, dataset: DataSet, groups: LongSequence, frames: int, sequence: int, tag: int) -> None:
        self._dataset, self._groups, self._frames = dataset, groups, frames
        self._sequence, self._tag = sequence, tag
        self._common = in_group(dataset, len(groups), sequence, tag)

    def __len__(self) -> int:
        return min(self._frames, len(self._groups) + 1)

    def __iter__(self) -> Iterator[DataSet]:
        for holder in islice(self._groups.holders(self._sequence, self._tag), self._frames):
            yield self._common if holder is None else holder if self._tag in holder else self._dataset
        if len(self._groups) < self._frames:
            yield self._common

    @overload
    def __getitem__(self, index: int) -> DataSet: ...
    @overload
    def __getitem__(self, index: slice) -> list[DataSet]: ...
    def __getitem__(self, index: int | slice) -> DataSet | list[DataSet]:
        if isinstance(index, slice):
            return list(self)[index]
        frame = range(len(self))[index]
        return in_group(self._dataset, frame, self._sequence, self._tag)
