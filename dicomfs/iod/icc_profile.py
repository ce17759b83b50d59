"""The ICC profile of a file: where it is, and whether it can go along with the display images (PS3.3 C.11.15).

Only this module reads profiles, and no more than the header of one: applying a profile is up to the viewer (L9).
"""

import struct
from dataclasses import dataclass

from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet

_HEADER = 128
_COLOURS = {b"RGB ": 3, b"GRAY": 1}

MAX_PROFILE_BYTES = 4 << 20
"""Bytes of a profile that go into each display image; those of slide scanners reach some hundred thousand."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The extent of a profile; *samples* is 3 where it is for RGB display images, 1 for grey ones, otherwise 0."""

    offset: int
    length: int
    samples: int


def profile_of(dataset: DataSet) -> tuple[Profile | None, tuple[str, ...]]:
    """Find the profile of the object, or the one of its optical paths if all have the same (G18)."""
    element = dataset.get(tags.ICCProfile)
    if element is not None and element.length:
        return _examined(dataset)
    paths = dataset.items(tags.OpticalPathSequence)
    holders = [path for path in paths if (found := path.get(tags.ICCProfile)) is not None and found.length]
    if not holders:
        return None, ()
    if len({_value(holder) for holder in holders}) > 1:
        return None, ("the optical paths have different ICC profiles; none is shown but in bulk/ (G18)",)
    return _examined(holders[0])


def _examined(holder: DataSet) -> tuple[Profile, tuple[str, ...]]:
    """Read how long the profile is and which colours it is for (ICC.1 7.2); the value may have a byte of padding."""
    element, header = holder.elements[tags.ICCProfile], holder.value(tags.ICCProfile, _HEADER)
    length = struct.unpack_from(">L", header)[0] if len(header) == _HEADER else 0
    if element.length - length not in (0, 1) or header[36:40] != b"acsp":
        return Profile(element.offset, element.length, 0), (
            "the ICC profile is damaged; display images do not state it (G18)",
        )
    if length > MAX_PROFILE_BYTES:
        return Profile(element.offset, length, 0), ("the ICC profile is too long; display images do not state it (L9)",)
    return Profile(element.offset, length, _COLOURS.get(header[16:20], 0)), ()


def _value(holder: DataSet) -> bytes:
    """Return a value for comparison; of what is too long for display images, the offset is enough."""
    element = holder.elements[tags.ICCProfile]
    if element.length > MAX_PROFILE_BYTES:
        return struct.pack(">Q", element.offset)
    return holder.value(tags.ICCProfile, MAX_PROFILE_BYTES)
