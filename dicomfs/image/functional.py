"""The functional groups of a multi-frame object: what holds for one frame, and where it says so (PS3.3 C.7.6.16)."""

from dicomfs.dicom.elements import DataSet

SHARED_GROUPS, PER_FRAME_GROUPS = 0x52009229, 0x52009230


def functional_group(dataset: DataSet, frame: int, sequence: int) -> DataSet | None:
    """Give the Item of the functional group *sequence* that holds for *frame*, counted from 0.

    A per-frame group comes before a shared one. None where neither is there; the groups of another frame are never
    taken instead, however short the Per-Frame Functional Groups Sequence is.
    """
    per_frame = dataset.items(PER_FRAME_GROUPS)
    shared = dataset.items(SHARED_GROUPS)
    for groups in (*per_frame[frame : frame + 1], *shared[:1]):
        items = groups.items(sequence)
        if items:
            return items[0]
    return None


def in_group(dataset: DataSet, frame: int, sequence: int, tag: int) -> DataSet:
    """Give the data set that states *tag* for *frame*: a functional group, or the object itself."""
    group = functional_group(dataset, frame, sequence)
    return group if group is not None and tag in group else dataset
