"""The rows of `frames.json`: a JSON object for each frame, padded with spaces so that arithmetic tells its length.

A listing shows the size of the file. So the most that a row can take follows from counts and from what may differ
between frames at all: digits of offsets, 24 characters for a floating-point number, the longest text of an attribute.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.on_demand import on_demand
from dicomfs.iod.cine import Timing
from dicomfs.iod.frame_location import MAX_INTEGER_DIGITS, location_of, locations_alike
from dicomfs.iod.functional_groups import distinct_frames, in_groups, some_frame_has
from dicomfs.iod.image_plane import plane_of, planes_alike
from dicomfs.iod.real_world_values import RealWorldValueMapping, has_own_mappings, own_mappings
from dicomfs.pixeldata.frame_status import LONGEST, Status, needs_look
from dicomfs.pixeldata.frames import Frames
from dicomfs.pixeldata.pixel_data import PixelData

# The longest that Python writes a floating-point number: -2.2250738585072014e-308.
_NUMBER_WIDTH = 24
# The longest status of frames whose bytes need no look.
_LONGEST_BY_LENGTH = "repaired (N2)"
_MISSING: dict[str, object] = {"error": "declared but not in the file"}
# Members of a row with the functional group that may state them for each frame: how many numbers each has.
_GEOMETRY = (
    ("position", 3, tags.PlanePositionSequence),
    ("orientation", 6, tags.PlaneOrientationSequence),
    ("pixel_spacing", 2, tags.PixelMeasuresSequence),
    ("slice_thickness", 1, tags.PixelMeasuresSequence),
)
_LOCATION = ("number", "tile", "focal_plane", "optical_path", "segment")


@dataclass(frozen=True)
class FrameRows:
    """The rows of one object; *stream_size* bounds the offsets and lengths of extents."""

    pixels: PixelData
    timing: Timing | None
    stream_size: int

    @property
    def size(self) -> int:
        """Bytes of all rows with what separates them."""
        frames, count = self.pixels.frames, len(self.pixels.frames)
        return count * self._width + frames.max_extents_of_all * self._extent_width + len(",\n") * max(0, count - 1)

    def parts(self, statuses: Sequence[Status]) -> Iterator[bytes]:
        """Write the rows with the *statuses* of all frames, `size` bytes together."""
        separator = b""
        for frame, reported in enumerate(statuses):
            yield separator + self._row(frame, reported).encode("ascii")
            separator = b",\n"

    def _row(self, frame: int, reported: Status) -> str:
        frames = self.pixels.frames
        stored = _members(_stored(frames, frame))
        time = f', "time_ms": {_milliseconds(self.timing.offsets[frame])}' if self.timing else ""
        text = f'  {{"frame": {frame + 1}, "status": {json.dumps(str(reported))}{stored}{self._own(frame)}{time}}}'
        return text.ljust(self._width + frames.max_extents(frame) * self._extent_width)

    def _own(self, frame: int) -> str:
        """Write what a frame states; of frames that are alike, all after the second state what that does."""
        first = self._first_own
        return first[min(frame, 1)] if self._alike else _members(own_members(self.pixels.dataset, frame))

    @on_demand
    def _alike(self) -> bool:
        return planes_alike(self.pixels.dataset) and locations_alike(self.pixels.dataset)

    @on_demand
    def _first_own(self) -> list[str]:
        return [_members(own_members(self.pixels.dataset, frame)) for frame in range(2)]

    @on_demand
    def _extent_width(self) -> int:
        """Characters of an extent at most: brackets, comma and space, and the same after it."""
        return 2 * len(str(self.stream_size)) + len("[, ], ")

    @on_demand
    def _width(self) -> int:
        """Characters of a row at most, without its extents."""
        fmt, frames = self.pixels.format, self.pixels.frames
        reported = LONGEST if needs_look(fmt) else len(_LONGEST_BY_LENGTH)
        width = len('  {"frame": , "status": ""}') + len(str(len(frames))) + reported
        width += len(_members({"extents": []}))
        width += len(_members(_MISSING)) if frames.some_missing else 0
        width += len(_members({"bit_offset": 10})) if fmt.frame_bits % (8 * fmt.word) else 0
        if self.timing is not None:
            # They ascend from 0, and have six decimals.
            width += len(', "time_ms": .000000') + len(str(int(self.timing.offsets[-1])))
        return width + self._own_width

    @on_demand
    def _own_width(self) -> int:
        """Characters of what a frame states at most."""
        if self._alike:
            return max(map(len, self._first_own))
        dataset, count = self.pixels.dataset, len(self.pixels.frames)
        shared = [own_members(dataset, frame) for frame in range(2)]
        width = 0
        for name, numbers, sequence in _GEOMETRY:
            differs = some_frame_has(dataset, sequence)
            if differs or (name == "position" and tags.GridFrameOffsetVector in dataset):
                width += _numbers_width(name, numbers)
            else:
                width += max(len(_members({name: each[name]} if name in each else {})) for each in shared)
        return width + _location_width(dataset, count) + _mappings_width(dataset, count)


def describe_mappings(mappings: tuple[RealWorldValueMapping, ...]) -> list[dict[str, object]]:
    """Describe real world value mappings by what they state."""
    return [
        {
            name: value
            for name, value in asdict(mapping).items()
            if value not in (None, "") and (name, value) != ("entries", 0)
        }
        for mapping in mappings
    ]


def own_members(dataset: DataSet, frame: int) -> dict[str, object]:
    """Describe the location of a frame and what its values mean, by itself or as one of the object."""
    plane = plane_of(dataset, frame)
    described: dict[str, object] = {
        "position": plane.position,
        "orientation": plane.orientation,
        "pixel_spacing": plane.spacing,
        "slice_thickness": plane.thickness,
    }
    place = location_of(dataset, frame)
    described |= {name: getattr(place, name) for name in _LOCATION}
    described = {name: value for name, value in described.items() if value}
    if mappings := own_mappings(dataset, frame):
        described["real_world_values"] = describe_mappings(mappings)
    return described


def _members(described: dict[str, object]) -> str:
    """Write members of an object after others."""
    return f", {json.dumps(described)[1:-1]}" if described else ""


def _milliseconds(offset: float) -> str:
    return repr(round(offset, 6))


def _stored(frames: Frames, frame: int) -> dict[str, object]:
    """Describe where a frame is stored."""
    extents = frames.extents(frame)
    described: dict[str, object] = {"extents": extents}
    if not extents:
        described |= _MISSING
    if bits := frames.bit_offset(frame):
        described["bit_offset"] = bits
    return described


def _numbers_width(name: str, numbers: int) -> int:
    """Characters at most of a member that is one number, or a list of some."""
    brackets = len("[]") if numbers > 1 else 0
    return len(f', "{name}": ') + numbers * _NUMBER_WIDTH + (numbers - 1) * len(", ") + brackets


def _location_width(dataset: DataSet, count: int) -> int:
    """Characters at most of what `location_of` finds; of objects that state none of it, none."""
    longest = "9" * MAX_INTEGER_DIGITS
    numbers = {"number": longest, "tile": f"[{longest}, {longest}]", "focal_plane": longest, "segment": longest}
    tiled = dataset.text(tags.DimensionOrganizationType) == "TILED_FULL"
    tile = tiled or _states(dataset, tags.PlanePositionSlideSequence)
    segment = tiled or _states(dataset, tags.SegmentIdentificationSequence)
    stated = {
        "number": tags.ConcatenationFrameOffsetNumber in dataset,
        "tile": tile,
        "focal_plane": tiled,
        "segment": segment,
    }
    width = sum(len(f', "{name}": {numbers[name]}') for name, known in stated.items() if known)
    group = tags.OpticalPathIdentificationSequence
    paths = {item.text(tags.OpticalPathIdentifier) for item in dataset.items(tags.OpticalPathSequence) if tiled}
    if _states(dataset, group):
        holders = in_groups(dataset, count, group, tags.OpticalPathIdentifier).distinct
        paths |= {holder.text(tags.OpticalPathIdentifier) for holder in holders}
    return width + max((len(_members({"optical_path": path})) for path in paths if path), default=0)


def _states(dataset: DataSet, sequence: int) -> bool:
    """Whether the functional group *sequence* is there for any frame, or shared."""
    shared = dataset.items(tags.SharedFunctionalGroupsSequence)[:1]
    return some_frame_has(dataset, sequence) or any(item.items(sequence) for item in shared)


def _mappings_width(dataset: DataSet, count: int) -> int:
    """Characters at most of the mappings that a frame states itself."""
    if not has_own_mappings(dataset):
        return 0
    frames = distinct_frames(dataset, count, tags.RealWorldValueMappingSequence)
    described = (describe_mappings(own_mappings(dataset, frame)) for frame in frames)
    return max((len(_members({"real_world_values": each})) for each in described), default=0)
