"""`frames.json`: for each frame its extents, its status, its location and time; and what all frames share.

The numbers let another program read frames straight out of the source: extents are offset and length in
`original.dcm` (or, as stated, in its inflated data set).

What is wrong with an encoded frame is seen in its first and last bytes. They are read when the file is opened, not when
it is listed: rows have a fixed length, which has room for the longest status. The few frames of which these bytes do
not tell everything are decoded then.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import BinaryIO

from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.dictionary import uid_name
from dicomfs.dicom.long_sequence import has_long
from dicomfs.entries.built_file import BuiltFile, Recipe
from dicomfs.entries.dependence import Depends
from dicomfs.entries.frame_request import FrameRequest, room_for
from dicomfs.entries.frame_rows import FrameRows, describe_mappings
from dicomfs.entries.frame_values import MeasureVariant
from dicomfs.entries.written_text import write_parts
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import MAX_DESCRIBED_FRAMES, Instance
from dicomfs.iod.cine import Timing, timing_of
from dicomfs.iod.image_plane import is_mosaic
from dicomfs.iod.real_world_values import dose_of, shared_mappings
from dicomfs.pixeldata.frame_status import UNDECODED, Status, repaired_status, status
from dicomfs.pixeldata.pixel_data import PixelData
from dicomfs.sources.source import SourceFile
from dicomfs.vfs.content import Content, Literal, Wanted, always
from dicomfs.vfs.nodes import Attributes, File, Node
from dicomfs.workers.pool import DecodeError, NoAnswer

# Goes up whenever the bytes change.
_EDITION = 2
# Frames of one object that are decoded for their status, a tenth of a second or so each. One with more is unheard of.
_MAX_DECODED = 64
_END = b"\n ]\n}\n"


class FramesJson:
    """One object with what all frames share, and a list with one object a frame, each on a line of its own."""

    name = "frames.json"
    depends = Depends.DECODERS

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve it where there are frames. Its size follows from the header."""
        if instance.parsed is None or instance.pixels is None or len(instance.pixels.frames) > MAX_DESCRIBED_FRAMES:
            return None
        head, rows = _layout(instance)
        size = len(head) + rows.size + len(_END)

        if has_long(instance.parsed.dataset):
            # Writing it takes seconds, and tens of megabytes.
            return BuiltFile(handle, Recipe(f"{self.name} {_EDITION}", size, partial(_build, handle)))
        return _FramesFile(handle.file(size), handle)


class _FramesFile(File):
    """The file of an object of few frames, which is made whole and kept among the texts."""

    __slots__ = ("_handle",)

    def __init__(self, attributes: Attributes, handle: InstanceHandle) -> None:
        super().__init__(attributes)
        self._handle = handle

    async def open(self, wanted: Wanted = always, limit: float = math.inf) -> Content:
        key = (self._handle.version, FramesJson.name)
        return Literal(await self._handle.services.texts.get(key, self._text))

    async def _text(self) -> bytes:
        instance = await self._handle.instance()
        statuses = await _all_statuses(self._handle, instance)
        return await self._handle.read(_joined, instance, statuses)


async def _build(handle: InstanceHandle, file: BinaryIO) -> None:
    """Write the file of an object of many frames."""
    instance = await handle.instance()
    await write_parts(file, _parts(instance, await _all_statuses(handle, instance)))


def _joined(_: SourceFile, instance: Instance, statuses: Sequence[Status]) -> bytes:
    return b"".join(_parts(instance, statuses))


async def _all_statuses(handle: InstanceHandle, instance: Instance) -> list[Status]:
    """Find the status of each frame, by its first and last bytes or, where these do not tell, by decoding it."""
    statuses = await handle.read(_statuses, instance)
    unsure = [frame for frame, reported in enumerate(statuses) if not reported.decisive]
    for number, frame in enumerate(unsure):
        statuses[frame] = await _decoded(handle, frame) if number < _MAX_DECODED else UNDECODED
    return statuses


def _statuses(file: SourceFile, instance: Instance) -> list[Status]:
    """Look at all frames, in the open *file*."""
    pixels, stream = instance.pixels, instance.stream_in(file)
    if pixels is None:
        return []
    return [status(stream, pixels.format, pixels.frames, frame) for frame in range(len(pixels.frames))]


async def _decoded(handle: InstanceHandle, frame: int) -> Status:
    """Have a frame decoded, to learn what was repaired. Raises NoAnswer when that fails by chance."""
    pixels = (await handle.instance()).pixels
    assert pixels is not None  # noqa: S101 - it is the same file
    repairs = MeasureVariant("repairs", room_for(pixels.format.values_bytes, 0))
    try:
        said = await handle.services.frames.verdict(FrameRequest(handle, frame, repairs))
    except NoAnswer:
        raise
    except DecodeError as error:
        return Status("error", (str(error.strerror),))
    return repaired_status(tuple(said.decode().rstrip().splitlines()))


def _layout(instance: Instance) -> tuple[bytes, FrameRows]:
    """Write what all frames share, up to the first row, and lay out the rows."""
    pixels, parsed = instance.pixels, instance.parsed
    assert pixels is not None and parsed is not None  # noqa: S101, PT018 - no file is made where there are none
    timing = timing_of(parsed.dataset, len(pixels.frames))
    head = json.dumps(_shared(instance, parsed.dataset, pixels, timing), indent=1)
    return f'{head[:-2]},\n "frames": [\n'.encode("ascii"), FrameRows(pixels, timing, parsed.stream.size)


def _parts(instance: Instance, statuses: Sequence[Status]) -> Iterator[bytes]:
    """Write the file in parts."""
    head, rows = _layout(instance)
    yield head
    yield from rows.parts(statuses)
    yield _END


def _shared(instance: Instance, dataset: DataSet, pixels: PixelData, timing: Timing | None) -> dict[str, object]:
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
        shared["real_world_values"] = describe_mappings(mappings)
    return shared
