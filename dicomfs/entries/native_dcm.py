"""`native.dcm`: the object uncompressed, in Explicit VR Little Endian.

Only this module puts the pieces of a DICOM file together whose frames are decoded when they are read.
"""

from collections.abc import Sequence

import numpy as np

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import tags, uids
from dicomfs.dicom.part10_writer import Change, Part, element_header, encode, encoded_size
from dicomfs.dicom.stream import Stream
from dicomfs.entries.dependence import Depends
from dicomfs.entries.frame_values import FrameMissing, values_row
from dicomfs.instance.handle import ContentFile, Subject
from dicomfs.instance.instance import Instance
from dicomfs.instance.uncompressed_format import LONGEST_VALUE, image_elements, value_length
from dicomfs.iod.pixels_elsewhere import JPIP
from dicomfs.pixeldata.frames import NativeFrames
from dicomfs.pixeldata.pixel_data import PIXEL_TAGS
from dicomfs.resources.threads import Purpose, run
from dicomfs.sources.source import SourceFile
from dicomfs.vfs.content import Buffer, Content, Extracted, Piece, Ready, Row, Stored
from dicomfs.vfs.nodes import Node

# What says where frames lie in the source.
_TABLES = frozenset(
    (tags.ExtendedOffsetTable, tags.ExtendedOffsetTableLengths, tags.EncapsulatedPixelDataValueTotalLength)
)


class NativeDcm:
    """The object as every reader of DICOM knows it."""

    name = "native.dcm"
    depends = Depends.DECODERS

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve it where all is known that it must say; its size follows from the header."""
        parsed = instance.parsed
        if parsed is None or not can_be_copied(instance):
            return None
        size = encoded_size(parsed, change_of(instance, uids.ExplicitVRLittleEndian))
        if instance.plain:
            length = _length(instance, instance.plain)
            if length > LONGEST_VALUE:
                return None
            size += len(_pixel_header(instance.plain, length)) + length
        return ContentFile(subject.file(size), lambda: _open(subject))


def can_be_copied(instance: Instance) -> bool:
    """Tell whether a copy in another transfer syntax would say the same.

    Not so where pixels cannot be found or are elsewhere, where elements are missing, and of a DICOMDIR, in which
    offsets in the file count (PS3.10 8.5).
    """
    parsed = instance.parsed
    if parsed is None or not parsed.whole or tags.DirectoryRecordSequence in parsed.dataset:
        return False
    if any(tag in parsed.dataset for tag in PIXEL_TAGS):
        return instance.plain is not None and instance.pixels is not None and len(instance.pixels.frames) > 0
    return parsed.transfer_syntax not in JPIP


def change_of(instance: Instance, transfer_syntax: str, fmt: PixelFormat | None = None) -> Change:
    """Say what a copy in *transfer_syntax* says other than its source; it stores frames as *fmt*, or as plain."""
    pixels, fmt = instance.pixels, fmt or instance.plain
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


async def _open(subject: Subject) -> Content:
    instance = await subject.instance()
    parsed, plain = instance.parsed, instance.plain
    assert parsed is not None  # noqa: S101 - no file is made where there is no header
    # In a thread: a header can be long. The file is opened last, so that no failure leaves it open.
    change = change_of(instance, uids.ExplicitVRLittleEndian)
    head, tail = await run(Purpose.COMPUTING, encode, parsed, change)
    file = await subject.open()
    stream = instance.inflated or file
    pieces = source_pieces(head, stream)
    if plain is None:
        return Content([*pieces, *source_pieces(tail, stream)], file.close)
    values, row = _values(subject, instance, plain, stream)
    length = _length(instance, plain)
    padding = bytes(length - sum(piece.size for piece in values))
    pixels = [Ready(_pixel_header(plain, length)), *values, Ready(padding)]

    def close() -> None:
        file.close()
        if row is not None:
            row.close()

    return Content([*pieces, *pixels, *source_pieces(tail, stream)], close)


def source_pieces(parts: Sequence[Part], stream: Stream) -> list[Piece]:
    """Serve what `encode` gives, from the *stream* that was parsed."""
    return [Ready(part) if isinstance(part, bytes) else source_piece(stream, *part) for part in parts]


def source_piece(stream: Stream, offset: int, length: int, word: int = 1) -> Piece:
    """Serve an extent of a source file, or of an inflated data set, which is always little endian."""
    return Stored(stream, offset, length, word) if isinstance(stream, SourceFile) else Extracted(stream, offset, length)


class _Missing:
    """Frames that the header declares and the file does not hold."""

    __slots__ = ("_frame", "size")

    def __init__(self, size: int, frame: int) -> None:
        self._frame = frame
        self.size = size

    async def read(self, start: int, stop: int) -> Buffer:
        raise FrameMissing(self._frame)


class _Packed:
    """Samples of one bit out of a row of bytes, eight in each, the first in the lowest bit (PS3.5 8.1.1)."""

    __slots__ = ("_row", "size")

    def __init__(self, row: Row) -> None:
        self._row = row
        self.size = -(-row.size // 8)

    async def read(self, start: int, stop: int) -> Buffer:
        values = await self._row.read(8 * start, min(8 * stop, self._row.size))
        return np.packbits(np.frombuffer(values, np.uint8), bitorder="little").tobytes()


def _values(subject: Subject, instance: Instance, plain: PixelFormat, stream: Stream) -> tuple[list[Piece], Row | None]:
    """Serve the pixels: those of native frames as they stand but for the order of bytes, others as they are decoded."""
    assert instance.pixels is not None  # noqa: S101 - there is a format
    fmt, frames = instance.pixels.format, instance.pixels.frames
    if not isinstance(frames, NativeFrames) or fmt.bits_allocated == 12 or frames.padded:
        row = values_row(subject, instance, "copy")
        return [_Packed(row) if plain.bits_allocated == 1 else row], row
    # Bytes of whole frames, and the pad byte where it is in the last word.
    word = fmt.word if fmt.bits_allocated < 16 else fmt.bits_allocated // 8
    there = frames.there
    size = value_length(plain, there)
    size = size // word * word if there < len(frames) else -(-size // word) * word
    pieces = [source_piece(stream, frames.start, size, word if fmt.big_endian else 1)]
    if there < len(frames):
        pieces.append(_Missing(_length(instance, plain) - size, there))
    return pieces, None
