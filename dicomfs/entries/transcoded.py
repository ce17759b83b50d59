"""`transcoded/`: the object losslessly encoded anew in other transfer syntaxes, built when its size is asked for.

A directory for each transfer syntax holds one file of the source's own name, so that copies of many objects can lie
side by side.

Each frame is decoded and encoded by one worker; there are never more of them in memory than workers, and one.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import BinaryIO

import trio

from dicomfs.codecs.encoders import source_format, target
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import uids
from dicomfs.dicom.encapsulation import Encapsulation
from dicomfs.dicom.part10_writer import encode
from dicomfs.entries.built_file import BuiltFile, Recipe
from dicomfs.entries.dependence import Depends
from dicomfs.entries.frame_values import encoded_frame, settled
from dicomfs.entries.native_dcm import can_be_copied, change_of, source_pieces
from dicomfs.instance.handle import Subject
from dicomfs.instance.instance import Instance
from dicomfs.instance.uncompressed_format import in_rows, value_length
from dicomfs.pixeldata.pixel_data import Pixels
from dicomfs.resources.nursery import side_by_side
from dicomfs.resources.threads import Purpose, run
from dicomfs.vfs.content import Content, Piece
from dicomfs.vfs.nodes import Children, Directory, NamedChildren, Node, ReadyDirectory
from dicomfs.workers.decoder_process import Task

_SYNTAXES = {
    "rle": uids.RLELossless,
    "jpeg-ls": uids.JPEGLSLossless,
    "jpeg2000": uids.JPEG2000Lossless,
    "htj2k": uids.HTJ2KLossless,
}
# Of the recipes: goes up whenever the bytes change.
_EDITION = 1
# Bytes that are copied at a time.
_CHUNK = 1 << 20


class Transcoded:
    """The object in the transfer syntaxes that can hold it without loss."""

    name = "transcoded"
    depends = Depends.DECODERS

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve those that can be made; what holds most, RLE, tells whether there are some."""
        if _target(instance, uids.RLELossless) is None:
            return None

        async def find() -> Children:
            instance = await subject.instance()
            return NamedChildren(
                [
                    (name.encode(), _syntax(subject, syntax))
                    for name, syntax in _SYNTAXES.items()
                    if _target(instance, syntax)
                ]
            )

        return subject.late_directory(self.name, subject.directory(), find)


def _target(instance: Instance, transfer_syntax: str) -> PixelFormat | None:
    """Say how the frames are stored in that syntax; None where there is no such copy."""
    if instance.plain is None or not can_be_copied(instance):
        return None
    return target(in_rows(instance.plain), transfer_syntax)


def _syntax(subject: Subject, transfer_syntax: str) -> Directory:
    """Give the directory of one transfer syntax."""
    recipe = Recipe(
        f"transcoded {transfer_syntax} {_EDITION}", None, lambda file: _build(subject, transfer_syntax, file)
    )
    return ReadyDirectory(subject.directory(), NamedChildren([(subject.entry.name, BuiltFile(subject, recipe))]))


async def _build(subject: Subject, transfer_syntax: str, file: BinaryIO) -> None:
    """Write the copy. Raises OSError where a frame cannot be read: a copy has all of them or there is none."""
    instance = await subject.instance()
    fmt, pixels, parsed = _target(instance, transfer_syntax), instance.pixels, instance.parsed
    assert fmt is not None and pixels is not None and parsed is not None  # noqa: S101, PT018 - the node was made of them
    source = await subject.open()
    try:
        stream = instance.inflated or source
        head, tail = encode(parsed, change_of(instance, transfer_syntax, fmt))
        await _copy(source_pieces(head, stream), file)
        count = len(pixels.frames)
        encapsulation = await run(Purpose.DISK, Encapsulation, file, count, finish=True)

        async def make(frame: int) -> bytes:
            # No name for what is stored of the frame: the worker lets it go when it has it.
            return await subject.services.decoder.run(
                await settled(subject, _task(pixels, frame, fmt)),
                await run(Purpose.SOURCE, encoded_frame, pixels.frames, frame, stream, finish=True),
                subject.version,
                lasting=True,
            )

        async def use(encoded: bytes) -> None:
            await run(Purpose.DISK, encapsulation.add, encoded, finish=True)

        await _in_order(count, make, use, subject.services.decoder.workers + 1)
        await run(Purpose.DISK, encapsulation.finish, finish=True)
        await _copy(source_pieces(tail, stream), file)
    finally:
        source.close()


async def _copy(pieces: Sequence[Piece], file: BinaryIO) -> None:
    """Append *pieces* to *file*."""
    content, offset = Content(pieces), 0
    while offset < content.size:
        data = await content.read(offset, _CHUNK)
        await run(Purpose.DISK, file.write, data, finish=True)
        offset += len(data)


def _task(pixels: Pixels, frame: int, fmt: PixelFormat) -> Task:
    """Have a frame decoded and encoded as *fmt* says; noise may make it longer than it is uncompressed."""
    size = 2 * value_length(fmt, 1) + (1 << 16)
    bit_offset = pixels.frames.bit_offset(frame)
    return Task(source_format(pixels.format), bit_offset, "copy", None, size, copy=fmt, at_most=True)


async def _in_order(
    count: int, make: Callable[[int], Awaitable[bytes]], use: Callable[[bytes], Awaitable[None]], at_once: int
) -> None:
    """Make what is numbered from 0 to *count*, *at_once* at a time, and use it in the order of its numbers."""
    begun = used = 0
    turn = trio.Condition()

    async def work() -> None:
        nonlocal begun, used
        while begun < count:
            number, begun = begun, begun + 1
            made = await make(number)
            async with turn:
                while used != number:
                    await turn.wait()
                await use(made)
                used += 1
                turn.notify_all()

    async with side_by_side() as nursery:
        for _ in range(at_once):
            nursery.start_soon(work)
