"""`frames.json`: for each frame where it is stored, what codec it has, where it lies and when it is shown.

The numbers let another program read frames straight out of the source: extents are offset and length in
`original.dcm` (or, as stated, in its inflated data set).

What is wrong with an encoded frame is seen in its first and last bytes. They are read when the file is opened, not when
it is listed: room is kept for the longest that may be said, and spaces fill it. The few frames of which these bytes do
not tell everything are decoded then.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict

from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.dictionary import uid_name
from dicomfs.dicom.long_sequence import has_long
from dicomfs.dicom.stream import Stream
from dicomfs.entries.dependence import Depends
from dicomfs.entries.frame_request import FrameRequest, room_for
from dicomfs.entries.frame_values import MeasureVariant
from dicomfs.entries.written_text import built_file
from dicomfs.instance.handle import ContentFile, Subject
from dicomfs.instance.instance import MOST_DESCRIBED, Instance, Pixels
from dicomfs.iod.cine import Timing, timing_of
from dicomfs.iod.frame_location import place_of, places_alike
from dicomfs.iod.image_plane import is_mosaic, plane_of, planes_alike
from dicomfs.iod.real_world_values import Mapping, dose_of, own_mappings, shared_mappings
from dicomfs.pixeldata.frame_status import LONGEST, UNDECODED, Status, mended, needs_look, status
from dicomfs.vfs.content import Content, Literal
from dicomfs.vfs.nodes import Node
from dicomfs.workers.pool import DecodeError, NoAnswer

# Frames of one object that are decoded for their status, a tenth of a second or so each. One with more is unheard of.
_MOST_DECODED = 64


class FramesJson:
    """One object with what all frames share, and a list with one object a frame, each on a line of its own."""

    name = "frames.json"
    depends = Depends.DECODERS

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve it where there are frames."""
        if instance.pixels is None or len(instance.pixels.frames) > MOST_DESCRIBED:
            return None

        async def make() -> bytes:
            instance = await subject.instance()
            statuses = await subject.read(lambda file: _statuses(instance, instance.inflated or file))
            unsure = [frame for frame, told in enumerate(statuses) if not told.decisive]
            for number, frame in enumerate(unsure):
                statuses[frame] = await _decoded(subject, frame) if number < _MOST_DECODED else UNDECODED
            return await subject.read(lambda _: _write(instance, statuses))

        async def open_content() -> Content:
            return Literal(await subject.services.texts.get((subject.version, self.name), make))

        if instance.parsed is not None and has_long(instance.parsed.dataset):
            # A listing would take seconds to write it. What is read of frames to judge them is part of building it.
            return built_file(subject, self.name, make)
        return ContentFile(subject.file(len(_write(instance, None))), open_content)


def _statuses(instance: Instance, stream: Stream) -> list[Status]:
    """Look at all frames, which are in *stream*."""
    pixels = instance.pixels
    if pixels is None:
        return []
    return [status(stream, pixels.format, pixels.frames, frame) for frame in range(len(pixels.frames))]


async def _decoded(subject: Subject, frame: int) -> Status:
    """Have a frame decoded, to learn what was mended. Raises NoAnswer when that fails by chance."""
    pixels = (await subject.instance()).pixels
    assert pixels is not None  # noqa: S101 - it is the same file
    repairs = MeasureVariant("repairs", room_for(pixels.format.values_bytes, 0))
    try:
        said = await subject.services.frames.verdict(FrameRequest(subject, frame, repairs))
    except NoAnswer:
        raise
    except DecodeError as error:
        return Status("error", (str(error.strerror),))
    return mended(tuple(said.decode().rstrip().splitlines()))


def _write(instance: Instance, statuses: Sequence[Status] | None) -> bytes:
    """Write it; without *statuses* as long, but without what must be read for them."""
    pixels, parsed = instance.pixels, instance.parsed
    if pixels is None or parsed is None:
        return b""
    timing = timing_of(parsed.dataset, len(pixels.frames))
    head = json.dumps(_shared(instance, parsed.dataset, pixels, timing), indent=1)
    looks = needs_look(pixels.format)
    alike = planes_alike(parsed.dataset) and places_alike(parsed.dataset)
    own, lines = "", []
    for frame in range(len(pixels.frames)):
        if frame < 2 or not alike:  # those behind the second are like it: there may be 100,000
            own = _members(_own(parsed.dataset, frame))
        said = ""
        if statuses is not None:
            said = str(statuses[frame])
        elif not looks:
            said = str(status(None, pixels.format, pixels.frames, frame))
        time = f', "time_ms": {round(timing.offsets[frame], 6)!r}' if timing else ""
        stored = _members(_stored(pixels, frame))
        room = " " * (LONGEST - len(said)) if looks else ""
        lines.append(f'  {{"frame": {frame + 1}, "status": {json.dumps(said)}{stored}{own}{time}}}{room}')
    frames = ",\n".join(lines)
    return f'{head[:-2]},\n "frames": [\n{frames}\n ]\n}}\n'.encode()


def _shared(instance: Instance, dataset: DataSet, pixels: Pixels, timing: Timing | None) -> dict[str, object]:
    fmt = pixels.format
    shared: dict[str, object] = {
        "transfer_syntax": {"uid": fmt.transfer_syntax, "name": uid_name(fmt.transfer_syntax)},
        "number_of_frames": len(pixels.frames),
        "found_by": pixels.frames.found_by,
        "extents_in": "inflated data set" if instance.inflated else "original.dcm",
        "rows": fmt.rows,
        "columns": fmt.columns,
        "samples_per_pixel": fmt.samples,
        "bits_allocated": fmt.bits_allocated,
        "bits_stored": fmt.bits_stored,
        "high_bit": fmt.high_bit,
        "sample_type": "real" if fmt.real else "signed" if fmt.signed else "unsigned",
        "photometric_interpretation": fmt.photometric,
        "time_stated_by": timing.stated_by if timing else None,
    }
    if is_mosaic(dataset):
        shared["layout"] = "each frame is a mosaic of slices, shown as it is stored"
    if (volume := instance.volume) and volume.names:
        # In the order in which they follow each other in volume.nii.
        shared["volumes"] = [dict(zip(volume.names, values, strict=True)) for values in volume.values]
    if dose := dose_of(dataset):
        shared["dose"] = asdict(dose)
    if mappings := shared_mappings(dataset):
        shared["real_world_values"] = _mappings(mappings)
    return shared


def _mappings(mappings: tuple[Mapping, ...]) -> list[dict[str, object]]:
    """Describe mappings by what they state."""
    return [
        {
            name: value
            for name, value in asdict(mapping).items()
            if value not in (None, "") and (name, value) != ("entries", 0)
        }
        for mapping in mappings
    ]


def _members(described: dict[str, object]) -> str:
    """Write members of an object behind others."""
    return f", {json.dumps(described)[1:-1]}" if described else ""


def _stored(pixels: Pixels, frame: int) -> dict[str, object]:
    """Describe where a frame is."""
    extents = pixels.frames.extents(frame)
    described: dict[str, object] = {"extents": extents}
    if not extents:
        described["error"] = "declared but not in the file"
    if bits := pixels.frames.bit_offset(frame):
        described["bit_offset"] = bits
    return described


def _own(dataset: DataSet, frame: int) -> dict[str, object]:
    """Describe where a frame belongs and what its values mean, by itself or as one of the object."""
    described: dict[str, object] = {}
    plane = plane_of(dataset, frame)
    geometry = {
        "position": plane.position,
        "orientation": plane.orientation,
        "pixel_spacing": plane.spacing,
        "slice_thickness": plane.thickness,
    }
    described |= {name: value for name, value in geometry.items() if value}
    place = place_of(dataset, frame)
    described |= {name: value for name, value in asdict(place).items() if value}
    if mappings := own_mappings(dataset, frame):
        described["real_world_values"] = _mappings(mappings)
    return described
