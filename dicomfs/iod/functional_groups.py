"""The functional groups of a multi-frame object: the Items that apply to a frame (PS3.3 C.7.6.16)."""

from array import array
from collections.abc import Sequence
from typing import overload

import numpy as np

from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.item_columns import Column
from dicomfs.dicom.long_sequence import LongSequence

Integers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def functional_group(dataset: DataSet, frame: int, sequence: int) -> DataSet | None:
    """Return the Item of the functional group *sequence* that holds for *frame*, counted from 0; None without any."""
    return next(iter(functional_items(dataset, frame, sequence)), None)


def functional_items(dataset: DataSet, frame: int, sequence: int) -> Sequence[DataSet]:
    """Return all Items of the functional group *sequence* that holds for *frame*, counted from 0.

    A per-frame group comes before a shared one. () where neither is there; the groups of another frame are never
    taken instead, however short the Per-Frame Functional Groups Sequence is.
    """
    return own_items(dataset, frame, sequence) or shared_items(dataset, sequence)


def own_items(dataset: DataSet, frame: int, sequence: int) -> Sequence[DataSet]:
    """Return the Items of the functional group *sequence* that *frame*, counted from 0, states itself."""
    groups = dataset.items(tags.PerFrameFunctionalGroupsSequence)
    if frame >= len(groups):
        return ()
    return groups.items(frame, sequence) if isinstance(groups, LongSequence) else groups[frame].items(sequence)


def shared_items(dataset: DataSet, sequence: int) -> Sequence[DataSet]:
    """Return the Items of the functional group *sequence* that all frames share."""
    groups = dataset.items(tags.SharedFunctionalGroupsSequence)[:1]
    return groups[0].items(sequence) if groups else ()


def frames_with_groups(dataset: DataSet) -> int:
    """Count the frames that can have groups of their own: the first ones."""
    return len(dataset.items(tags.PerFrameFunctionalGroupsSequence))


def some_frame_has(dataset: DataSet, sequence: int) -> bool:
    """Return whether any frame states the functional group *sequence* itself; asked again, that costs nothing."""
    groups = dataset.items(tags.PerFrameFunctionalGroupsSequence)
    return (
        groups.any_has(sequence)
        if isinstance(groups, LongSequence)
        else dataset.any_item_has(tags.PerFrameFunctionalGroupsSequence, sequence)
    )


def each_frame_has(dataset: DataSet, sequence: int) -> bool:
    """Return whether each frame that has groups of its own states the functional group *sequence*."""
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
    """Return the data set that states *tag* for *frame*: a functional group, or the object itself."""
    group = functional_group(dataset, frame, sequence)
    return group if group is not None and tag in group else dataset


def in_groups(dataset: DataSet, frames: int, sequence: int, tag: int) -> "GroupValues":
    """Return what `in_group` does for the first *frames* frames, as `all_in_groups` does for one attribute."""
    return all_in_groups(dataset, frames, ((sequence, tag),))[0]


def all_in_groups(dataset: DataSet, frames: int, attributes: Sequence[tuple[int, int]]) -> "list[GroupValues]":
    """Return the data sets that state *attributes*, each a sequence and a tag, for the first *frames* frames.

    Long functional groups are walked once for all of them.
    """
    groups = dataset.items(tags.PerFrameFunctionalGroupsSequence)
    stated = list(attributes)
    columns: dict[tuple[int, int], Column] = {}
    if isinstance(groups, LongSequence):
        stated = [each for each in attributes if _differs(dataset, groups, *each)]
        columns = dict(zip(stated, groups.columns(stated), strict=True))
    return [_group_values(dataset, frames, *each, columns.get(each)) for each in attributes]


def _differs(dataset: DataSet, groups: LongSequence, sequence: int, tag: int) -> bool:
    """Whether what holds for a frame may depend on its own groups."""
    if groups.any_states(sequence, tag):
        return True
    # A frame's group without the attribute still takes the place of the shared one.
    return groups.any_has(sequence) and in_group(dataset, len(groups), sequence, tag) is not dataset


def _group_values(dataset: DataSet, frames: int, sequence: int, tag: int, column: Column | None) -> "GroupValues":
    groups = dataset.items(tags.PerFrameFunctionalGroupsSequence)
    common = in_group(dataset, len(groups), sequence, tag)
    count = min(frames, len(groups))
    if column is not None:
        which = column.which[:count]
        if count < frames:
            which.append(len(column))
        return GroupValues(dataset, common, tag, column, which)
    holders: list[DataSet | None] = []
    if not isinstance(groups, LongSequence):
        holders = [next(iter(item.items(sequence)), None) for item in groups[:count]]
    values = GroupValues(dataset, common, tag, holders, array("L", range(min(frames, len(holders) + 1))))
    if all(holder is common for holder in values):
        return GroupValues(dataset, common, tag, (), array("L", [0]))
    return values


class GroupValues(Sequence[DataSet]):
    """The data set that states one attribute for each frame; the last one holds for all frames that follow.

    *distinct* are those that differ, and *which* has the index of each frame's therein. It is one data set alone where
    no frame states anything of its own.
    """

    def __init__(
        self,
        dataset: DataSet,
        common: DataSet,
        tag: int,
        holders: Sequence[DataSet | None],
        which: "array[int]",
    ) -> None:
        """Take *holders* of *tag*, the *dataset* where one lacks it, and *common* where there is none."""
        self._dataset, self._common, self._tag, self._holders = dataset, common, tag, holders
        self.which = which

    def integer_rows(self, width: int, *, exact: bool = False) -> Integers | None:
        """Read the first *width* integers of all frames at once, a row each; None where a frame states fewer.

        None also where a frame states more and *exact* is wanted, and where they are beyond 64 bits.
        """
        which = np.asarray(self.which)
        table = self._packed_rows()
        if table is None or int(which.max(initial=0)) >= len(self._holders):
            distinct, rows = self.distinct, {}
            for index in set(self.which):
                rows[index] = numbers = distinct[index].integers(self._tag)
                if len(numbers) < width or (exact and len(numbers) > width) or any(abs(n) >> 63 for n in numbers):
                    return None
            return np.array([rows[index][:width] for index in self.which], np.int64)
        if table.shape[1] < width or (exact and table.shape[1] > width):
            return None
        wanted: Integers = table[which, :width]
        return wanted

    def _packed_rows(self) -> Integers | None:
        """Read all distinct values at once where they are as many numbers of 32 bits (UL) each."""
        packed = self._holders.packed if isinstance(self._holders, Column) else None
        if packed is None or packed[0] != "UL" or not packed[1] or packed[1] % 4:
            return None
        numbers = np.frombuffer(packed[2], ">u4" if self._dataset.big_endian else "<u4")
        return numbers.reshape(-1, packed[1] // 4).astype(np.int64)

    @property
    def distinct(self) -> "Distinct":
        """The data sets that differ; each is made when it is asked for."""
        return Distinct(self._dataset, self._common, self._tag, self._holders)

    def __len__(self) -> int:
        """Count the frames that may differ, and one for all that follow."""
        return len(self.which)

    @overload
    def __getitem__(self, index: int) -> DataSet: ...
    @overload
    def __getitem__(self, index: slice) -> list[DataSet]: ...
    def __getitem__(self, index: int | slice) -> DataSet | list[DataSet]:
        """Return the data set of a frame, or of some."""
        distinct = self.distinct
        if isinstance(index, slice):
            return [distinct[each] for each in self.which[index]]
        return distinct[self.which[index]]


class Distinct(Sequence[DataSet]):
    """The data sets of `GroupValues` that differ, and the one that holds for all other frames as the last."""

    def __init__(self, dataset: DataSet, common: DataSet, tag: int, holders: Sequence[DataSet | None]) -> None:
        """Resolve *holders* as `GroupValues` does."""
        self._dataset, self._common, self._tag, self._holders = dataset, common, tag, holders

    def __len__(self) -> int:
        """Count them."""
        return len(self._holders) + 1

    @overload
    def __getitem__(self, index: int) -> DataSet: ...
    @overload
    def __getitem__(self, index: slice) -> list[DataSet]: ...
    def __getitem__(self, index: int | slice) -> DataSet | list[DataSet]:
        """Return one, or some."""
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if index >= len(self):
            raise IndexError(index)
        holder = self._holders[index] if index < len(self._holders) else None
        return self._common if holder is None else holder if self._tag in holder else self._dataset
