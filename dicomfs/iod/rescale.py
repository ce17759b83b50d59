"""The quantities that stored values stand for: attributes to a Scale.

Only this module chooses between real world value maps, the Modality LUT, rescaling, the scale of a dose and fractions.
"""

import errno
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.iod.functional_groups import distinct_frames, frames_with_groups, own_items, some_frame_has
from dicomfs.iod.image_display import check_groups, whole_segment
from dicomfs.iod.modality import is_colour, modality_lut, rescaling
from dicomfs.iod.real_world_values import RealWorldValueMapping, has_own_mappings, mappings_of
from dicomfs.rendering.rescale import Scale


class MappingMissing(OSError):
    """The values of one frame have no meaning, since it lacks a real world value map that others have."""

    def __init__(self, frame: int) -> None:
        """Name the frame, counted from 0, as the user counts."""
        super().__init__(errno.EIO, f"frame {frame + 1} has no real world value map, others have one")


def scale_of(dataset: DataSet, frame: int, fmt: PixelFormat) -> Scale:
    """Read what the stored values of *frame*, counted from 0, stand for; they have one sample.

    A real world value map comes before the Modality LUT, and that before rescaling or the scale of a dose
    (PS3.3 C.7.6.16.2.11, C.11.1); what is part of a segment is a fraction of 1 (C.8.20.2, M2). Raises GroupMissing and
    MappingMissing for a frame without what others have (G6), and OSError where a long table cannot be read.
    """
    found = [_mapped(mapping, item) for mapping, item in mappings_of(dataset, frame)]
    if found:
        return replace(found[0], further=tuple(found[1:]))
    if has_own_mappings(dataset):
        raise MappingMissing(frame)
    check_groups(dataset, frame)
    lut = modality_lut(dataset, fmt)
    if lut is not None:
        return Scale(lut=lut)
    slope, intercept, _ = (1.0, 0.0, ()) if is_colour(fmt) else rescaling(dataset, frame)
    whole = whole_segment(dataset) or 1
    return Scale(slope / whole, intercept / whole)


def shared_scale(dataset: DataSet, frames: int, fmt: PixelFormat) -> Scale | None:
    """Return the slope and intercept that hold for all *frames*; None where frames differ, or a table is used."""
    if dataset.items(tags.ModalityLUTSequence):
        return None
    own = min(frames, frames_with_groups(dataset))
    for sequence in (tags.RealWorldValueMappingSequence, tags.PixelValueTransformationSequence):
        if not some_frame_has(dataset, sequence):
            continue
        first = own_items(dataset, 0, sequence)
        distinct = distinct_frames(dataset, frames, sequence)
        if own < frames or any(not _alike(own_items(dataset, frame, sequence), first) for frame in distinct):
            return None
    try:
        scale = scale_of(dataset, 0, fmt)
    except MappingMissing:
        return None
    return None if scale.table or scale.further else scale


def _alike(one: Sequence[DataSet], other: Sequence[DataSet]) -> bool:
    """Return whether Items have equal elements. Values that were too long to keep count as different."""
    return one is other or (
        len(one) == len(other)
        and all(
            mine.elements.keys() == theirs.elements.keys()
            and all(
                element.value == theirs.elements[tag].value
                and (element.value is not None or element.items is not None)
                and _alike(element.items or (), theirs.elements[tag].items or ())
                for tag, element in mine.elements.items()
            )
            for mine, theirs in zip(one, other, strict=True)
        )
    )


def _mapped(mapping: RealWorldValueMapping, item: DataSet) -> Scale:
    """Turn one mapping into a scale; *item* states it, and holds its table where it has one."""
    if mapping.slope is not None and mapping.intercept is not None:
        return Scale(mapping.slope, mapping.intercept, None, mapping.first, mapping.last)
    data = item.value(tags.RealWorldValueLUTData, 8 * mapping.entries)
    order = ">" if item.big_endian else "<"
    return Scale(
        first=mapping.first,
        last=mapping.end,
        table=np.frombuffer(data, order + "f8", mapping.entries).astype("<f8").tobytes(),
    )
