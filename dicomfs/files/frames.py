"""The frames as files: pictures in `frames/`, encoded bitstreams in `raw/`, Items in `fragments/`."""

import math
from dataclasses import replace
from struct import unpack
from typing import Literal

from dicomfs.codestream import sniff
from dicomfs.content import Buffer, Content, Made, Ready, Stored
from dicomfs.decode import DecodeError
from dicomfs.display import check_groups, display_of, wants_automatic_window
from dicomfs.files.subject import ContentFile, Subject
from dicomfs.instance import Instance
from dicomfs.nodes import Children, File, Node, NumberedChildren, ReadyDirectory
from dicomfs.png import png_size
from dicomfs.render import Window, automatic_window
from dicomfs.source import SourceFile
from dicomfs.worker import Task

# What `sniff` needs to see of a codestream.
_HEAD = 24


class FrameMissing(DecodeError):
    """The header declares a frame that is not in the file."""

    def __init__(self, frame: int) -> None:
        """Name the frame, counted from 0, as the user counts."""
        super().__init__(f"frame {frame + 1} is declared but not in the file")


class Frames:
    """One display picture a frame: 8-bit grey or RGB."""

    name = "frames"

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve a picture for every frame; sizes follow from the header."""
        if instance.pixels is None or not len(instance.pixels.frames):
            return None
        fmt = instance.pixels.format
        size = png_size(fmt.rows, fmt.columns, instance.pixels.picture_samples)
        attributes = subject.file(size)

        def file(frame: int) -> File:
            async def open_content() -> Content:
                return Content([Made(size, lambda: _picture(subject, frame, size))])

            return ContentFile(attributes, open_content)

        children = NumberedChildren(len(instance.pixels.frames), file, lambda _: ".png")
        return ReadyDirectory(subject.directory(), children)


class Raw:
    """The encoded bitstream of each frame, its fragments joined, named by what it is."""

    name = "raw"

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve what is there; what each bitstream is, is found out when somebody lists them."""
        if instance.pixels is None:
            return None

        async def find() -> Children:
            instance = await subject.instance()
            return await subject.read(lambda file: _raw_children(instance, subject, file))

        return subject.late_directory(self.name, subject.directory(), find)


class Fragments:
    """The Items of encapsulated Pixel Data as they stand, the Basic Offset Table as `0000`."""

    name = "fragments"

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve the values of the Items."""
        fragments = instance.fragments
        if fragments is None or not len(fragments):
            return None

        def file(index: int) -> File:
            offset, length = fragments.extent(index)

            async def open_content() -> Content:
                source = await subject.open()
                return Content([Stored(source, offset, length)], source.close)

            return ContentFile(subject.file(length), open_content)

        children = NumberedChildren(len(fragments), file, lambda _: "", first=0)
        return ReadyDirectory(subject.directory(), children)


def _raw_children(instance: Instance, subject: Subject, source: SourceFile) -> Children:
    """Look at the first bytes of every frame, and give the files."""
    assert instance.pixels is not None  # noqa: S101 - the caller looked
    frames = instance.pixels.frames
    stream = instance.inflated or source
    count = len(frames)
    while count and not frames.extents(count - 1):
        count -= 1  # declared frames that are not there come last
    kinds: list[str] = []
    codes = bytearray()
    for frame in range(count):
        extents = frames.extents(frame)
        kind = "bin"
        if instance.fragments is not None and extents:
            kind = sniff(stream.pread(_HEAD, extents[0].offset))
        if kind not in kinds:
            kinds.append(kind)
        codes.append(kinds.index(kind))

    def file(frame: int) -> File:
        size = sum(length for _, length in frames.extents(frame))

        async def open_content() -> Content:
            return await _raw_content(subject, frame)

        return ContentFile(subject.file(size), open_content)

    # A code, two numbers for each fragment and one for each frame.
    weight = 25 * count
    return NumberedChildren(count, file, lambda frame: f".{kinds[codes[frame]]}", weight=weight)


async def _raw_content(subject: Subject, frame: int) -> Content:
    instance = await subject.instance()
    extents = instance.pixels.frames.extents(frame) if instance.pixels else ()
    if instance.inflated:
        return Content([Ready(instance.inflated.pread(length, offset)) for offset, length in extents])
    source = await subject.open()
    return Content([Stored(source, offset, length) for offset, length in extents], source.close)


async def _picture(subject: Subject, frame: int, size: int) -> bytes:
    """Have one frame decoded and drawn. Raises DecodeError."""

    async def make() -> tuple[Task, Buffer]:
        task, data, wants_window = await _encoded(subject, frame, "png", size)
        if wants_window and task.display:
            window = await _window(subject)
            task = replace(task, display=replace(task.display, window=window))
        return task, data

    return await subject.services.decoder.get((subject.fingerprint, "png", frame), make)


async def _window(subject: Subject) -> Window | None:
    """Find one window for the whole object, from its first, middle and last frame: a film must not flicker."""
    instance = await subject.instance()
    count = len(instance.pixels.frames) if instance.pixels else 0
    ranges = []
    for frame in sorted({0, count // 2, count - 1}):
        try:
            low, high = unpack("<dd", await _range(subject, frame))
        except DecodeError:
            continue  # a broken frame says nothing about the others
        if not math.isnan(low):
            ranges.append((low, high))
    if not ranges:
        return None
    return automatic_window(min(low for low, _ in ranges), max(high for _, high in ranges))


async def _range(subject: Subject, frame: int) -> bytes:
    """Have the range of one frame's values found, after the Modality LUT and without padding."""

    async def make() -> tuple[Task, Buffer]:
        task, data, _ = await _encoded(subject, frame, "range", 16)
        return task, data

    return await subject.services.decoder.get((subject.fingerprint, "range", frame), make)


async def _encoded(
    subject: Subject, frame: int, output: Literal["png", "range"], size: int
) -> tuple[Task, bytes, bool]:
    """Read what is stored of one frame, and how it is shown; the last says that a window must be found for it."""
    instance = await subject.instance()

    def read(file: SourceFile) -> tuple[Task, bytes, bool]:
        pixels, parsed = instance.pixels, instance.parsed
        extents = pixels.frames.extents(frame) if pixels else ()
        if pixels is None or parsed is None or not extents:
            raise FrameMissing(frame)
        stream = instance.inflated or file
        data = b"".join([stream.pread(length, offset) for offset, length in extents])
        check_groups(parsed.dataset, frame)
        display, _ = display_of(parsed.dataset, frame, pixels.format, stream)
        task = Task(pixels.format, pixels.frames.bit_offset(frame), output, display, size)
        return task, data, wants_automatic_window(parsed.dataset, pixels.format, display)

    return await subject.read(read)
