"""`transcoded/`: the object losslessly encoded anew in other transfer syntaxes, built when its size is asked for.

A directory for each transfer syntax holds one file of the source's own name, so that copies of many objects can lie
side by side.

Each frame is decoded and encoded by one worker; there are never more of them in memory than workers, and one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO

from dicomfs.codecs.encoders import source_format, target
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import uids
from dicomfs.dicom.encapsulation import Encapsulation
from dicomfs.dicom.part10_writer import encode
from dicomfs.dicom.stream import Stream
from dicomfs.entries.built_file import BuiltFile, Recipe
from dicomfs.entries.dependence import Depends
from dicomfs.entries.frame_request import FrameSequence, room_for
from dicomfs.entries.frame_values import encoded_frame, pixels_of, settled
from dicomfs.entries.native_dcm import can_be_copied, change_of, source_parts
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.instance.uncompressed_format import in_rows, value_length
from dicomfs.resources.threads import Purpose, run
from dicomfs.vfs.content import Concatenation, Content
from dicomfs.vfs.nodes import Children, Directory, NamedChildren, Node, ReadyDirectory
from dicomfs.workers.decoder_process import Task
from dicomfs.workers.prefetcher import in_order

_SYNTAXES = {
    "rle": uids.RLELossless,
    "jpeg-ls": uids.JPEGLSLossless,
    "jpeg2000": uids.JPEG2000Lossless,
    "htj2k": uids.HTJ2KLossless,
}
# Of the recipes: goes up whenever the bytes change.
_EDITION = 1
# Bytes that are copied at a time.
_CHUNK_BYTES = 1 << 20


class Transcoded:
    """The object in the transfer syntaxes that can hold it without loss."""

    name = "transcoded"
    depends = Depends.DECODERS

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve those that can be made; what holds most, RLE, tells whether there are some."""
        if _target(instance, uids.RLELossless) is None:
            return None
        return handle.lazy_directory(self.name, handle.directory(), partial(_find, handle))


async def _find(handle: InstanceHandle) -> Children:
    """Return a directory for each transfer syntax that can hold the object."""
    instance = await handle.instance()
    return NamedChildren(
        [(name.encode(), _syntax(handle, syntax)) for name, syntax in _SYNTAXES.items() if _target(instance, syntax)]
    )


def _target(instance: Instance, transfer_syntax: str) -> PixelFormat | None:
    """Return the format of the frames in a transfer syntax; None where it cannot hold them."""
    if instance.uncompressed_format is None or not can_be_copied(instance):
        return None
    return target(in_rows(instance.uncompressed_format), transfer_syntax)


def _syntax(handle: InstanceHandle, transfer_syntax: str) -> Directory:
    """Return the directory of one transfer syntax."""
    recipe = Recipe(f"transcoded {transfer_syntax} {_EDITION}", None, partial(_build, handle, transfer_syntax))
    return ReadyDirectory(handle.directory(), NamedChildren([(handle.entry.name, BuiltFile(handle, recipe))]))


async def _build(handle: InstanceHandle, transfer_syntax: str, file: BinaryIO) -> None:
    """Write the copy. Raises OSError where a frame cannot be read: a copy has all of them or there is none."""
    instance = await handle.instance()
    fmt, pixels, parsed = _target(instance, transfer_syntax), instance.pixels, instance.parsed
    assert fmt is not None and pixels is not None and parsed is not None  # noqa: S101, PT018 - the node was made of them
    source = await handle.open()
    try:
        stream = instance.stream_in(source)
        head, tail = encode(parsed, change_of(instance, transfer_syntax, fmt))
        await _copy(source_parts(head, stream), file)
        count = len(pixels.frames)
        encapsulation = await run(Purpose.DISK, Encapsulation, file, count, finish=True)
        variant = _EncodedVariant(fmt, room_for(pixels.format.values_bytes, value_length(fmt, 1)))
        async with in_order(handle.services.frames, FrameSequence(handle, variant, range(count))) as frames:
            for frame in range(count):
                encoded = await frames.take(frame)
                await run(Purpose.DISK, encapsulation.add, encoded or b"", finish=True)
                del encoded  # frames may be large
        await run(Purpose.DISK, encapsulation.finish, finish=True)
        await _copy(source_parts(tail, stream), file)
    finally:
        source.close()


async def _copy(parts: Sequence[Content], file: BinaryIO) -> None:
    """Append *parts* to *file*."""
    content, offset = Concatenation(parts), 0
    while offset < content.size:
        data = await content.read(offset, min(offset + _CHUNK_BYTES, content.size))
        await run(Purpose.DISK, file.write, data, finish=True)
        offset += len(data)


@dataclass(frozen=True, slots=True)
class _EncodedVariant:
    """A frame decoded, and encoded losslessly as *fmt* says; noise may make it longer than it is uncompressed."""

    fmt: PixelFormat
    room: int = field(compare=False)

    @property
    def size(self) -> int:
        return 2 * value_length(self.fmt, 1) + (1 << 16)

    def read(self, stream: Stream, instance: Instance, frame: int) -> tuple[Task, bytes]:
        pixels = pixels_of(instance)
        bit_offset, fmt = pixels.frames.bit_offset(frame), source_format(pixels.format)
        task = Task(fmt, bit_offset, "copy", None, self.size, copy=self.fmt, at_most=True)
        return task, encoded_frame(pixels.frames, frame, stream)

    async def complete(self, handle: InstanceHandle, frame: int, task: Task) -> Task:
        return await settled(handle, task)
