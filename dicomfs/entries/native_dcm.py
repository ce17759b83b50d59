"""`native.dcm`: the object uncompressed, in Explicit VR Little Endian.

Only this module puts the pieces of a DICOM file together whose frames are decoded when they are read.
"""

import math
from collections.abc import Sequence

import numpy as np

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import tags, uids
from dicomfs.dicom.part10_writer import Change, Part, element_header, encode, encoded_size
from dicomfs.dicom.stream import Stream
from dicomfs.entries.dependence import Depends
from dicomfs.entries.frame_values import FrameMissing, frame_values, pixels_of
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.instance.uncompressed_format import MAX_VALUE_BYTES, image_elements, value_length
from dicomfs.iod.pixels_elsewhere import JPIP
from dicomfs.pixeldata.frames import NativeFrames
from dicomfs.pixeldata.pixel_data import PIXEL_TAGS
from dicomfs.resources.threads import Purpose, run
from dicomfs.sources.source import SourceFile
from dicomfs.vfs.content import (
    Buffer,
    Concatenation,
    Content,
    FrameRun,
    InflatedExtent,
    Literal,
    SourceExtent,
    Wanted,
    always,
)
from dicomfs.vfs.nodes import Attributes, File, Node

# What says where frames lie in the source.
_TABLES = frozenset(
    (tags.ExtendedOffsetTable, tags.ExtendedOffsetTableLengths, tags.EncapsulatedPixelDataValueTotalLength)
)


class NativeDcm:
    """The object as every reader of DICOM knows it."""

    name = "native.dcm"
    depends = Depends.DECODERS

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve it where all is known that it must say; its size follows from the header."""
        parsed = instance.parsed
        if parsed is None or not can_be_copied(instance):
            return None
        size = encoded_size(parsed, change_of(instance, uids.ExplicitVRLittleEndian))
        if instance.uncompressed_format:
            length = _length(instance, instance.uncompressed_format)
            if length > MAX_VALUE_BYTES:
                return None
            size += len(_pixel_header(instance.uncompressed_format, length)) + length
        return _NativeFile(handle.file(size), handle)


def can_be_copied(instance: Instance) -> bool:
    """Whether a copy in another transfer syntax would say the same.

    Not so where pixels cannot be found or are elsewhere, where elements are missing, and of a DICOMDIR, in which
    offsets in the file count (PS3.10 8.5).
    """
    parsed = instance.parsed
    if parsed is None or not parsed.whole or tags.DirectoryRecordSequence in parsed.dataset:
        return False
    if any(tag in parsed.dataset for tag in PIXEL_TAGS):
        pixels = instance.pixels
        return instance.uncompressed_format is not None and pixels is not None and len(pixels.frames) > 0
    return parsed.transfer_syntax not in JPIP


def change_of(instance: Instance, transfer_syntax: str, fmt: PixelFormat | None = None) -> Change:
    """Return the changes of a copy in *transfer_syntax*, which stores frames as *fmt*, by default uncompressed."""
    pixels, fmt = instance.pixels, fmt or instance.uncompressed_format
    if pixels is None or fmt is None:
        return Change(transfer_syntax)
    elements = image_elements(pixels.dataset, fmt, len(pixels.frames), pixels.format)
    return Change(transfer_syntax, elements, _TABLES)


def _length(instance: Instance, plain: PixelFormat) -> int:
    """Compute the length of Pixel Data, with its pad byte."""
    length = value_length(plain, len(instance.pixels.frames) if instance.pixels else 0)
    return length + length % 2


def _pixel_header(plain: PixelFormat, length: int) -> bytes:
    tag = tags.PixelData if not plain.real else PIXEL_TAGS[1] if plain.bits_allocated == 32 else PIXEL_TAGS[2]
    return element_header(tag, plain.pixel_vr, length)


class _NativeFile(File):
    """The copy; its header is encoded when it is opened."""

    __slots__ = ("_handle",)

    def __init__(self, attributes: Attributes, handle: InstanceHandle) -> None:
        super().__init__(attributes)
        self._handle = handle

    async def open(self, wanted: Wanted = always, limit: float = math.inf) -> Content:
        handle = self._handle
        instance = await handle.instance()
        parsed, plain = instance.parsed, instance.uncompressed_format
        assert parsed is not None  # noqa: S101 - the object has not changed since
        # In a thread: a header can be long. The file is opened last, so that no failure leaves it open.
        change = change_of(instance, uids.ExplicitVRLittleEndian)
        head, tail = await run(Purpose.COMPUTING, encode, parsed, change)
        file = await handle.open()
        stream = instance.stream_in(file)
        parts = source_parts(head, stream)
        if plain is not None:
            values = _values(handle, instance, plain, stream)
            length = _length(instance, plain)
            padding = bytes(length - sum(part.size for part in values))
            parts += [Literal(_pixel_header(plain, length)), *values, Literal(padding)]
        return Concatenation([*parts, *source_parts(tail, stream)], file)


def source_parts(parts: Sequence[Part], stream: Stream) -> list[Content]:
    """Serve what `encode` returns, from the *stream* that was parsed."""
    return [Literal(part) if isinstance(part, bytes) else source_extent(stream, *part) for part in parts]


def source_extent(stream: Stream, offset: int, length: int, word: int = 1) -> Content:
    """Serve an extent of a source file, or of an inflated data set, which is always little endian."""
    if isinstance(stream, SourceFile):
        return SourceExtent(stream, offset, length, word)
    return InflatedExtent(stream, offset, length)


class _MissingFrames(Content):
    """Frames that the header declares and the file does not hold."""

    __slots__ = ("_frame",)

    def __init__(self, size: int, frame: int) -> None:
        self._frame = frame
        self.size = size

    async def read(self, start: int, stop: int) -> Buffer:
        raise FrameMissing(self._frame)


class _Packed(Content):
    """Samples of one bit, eight in a byte, the first in the lowest bit (PS3.5 8.1.1)."""

    __slots__ = ("_values",)

    def __init__(self, values: FrameRun) -> None:
        self._values = values
        self.size = -(-values.size // 8)

    async def read(self, start: int, stop: int) -> Buffer:
        values = await self._values.read(8 * start, min(8 * stop, self._values.size))
        return np.packbits(np.frombuffer(values, np.uint8), bitorder="little").tobytes()

    def close(self) -> None:
        self._values.close()


def _values(handle: InstanceHandle, instance: Instance, plain: PixelFormat, stream: Stream) -> list[Content]:
    """Serve the pixels: native frames verbatim but for the order of bytes, others decoded."""
    pixels = pixels_of(instance)
    fmt, frames = pixels.format, pixels.frames
    if not isinstance(frames, NativeFrames) or fmt.bits_allocated == 12 or frames.padded:
        values = frame_values(handle, instance, "copy")
        return [_Packed(values) if plain.bits_allocated == 1 else values]
    # Bytes of whole frames, and the pad byte where it is in the last word.
    word = fmt.word if fmt.bits_allocated < 16 else fmt.bits_allocated // 8
    there = frames.there
    size = value_length(plain, there)
    size = size // word * word if there < len(frames) else -(-size // word) * word
    parts = [source_extent(stream, frames.start, size, word if fmt.big_endian else 1)]
    if there < len(frames):
        parts.append(_MissingFrames(_length(instance, plain) - size, there))
    return parts
