"""The frames as files: pictures in `frames/`, encoded bitstreams in `raw/`, Items in `fragments/`."""

import math
from dataclasses import replace
from struct import unpack

import trio

from dicomfs.codestream import sniff
from dicomfs.content import Buffer, Content, Literal, Made, Stored
from dicomfs.decode import DecodeError
from dicomfs.display import display_of
from dicomfs.files.subject import ContentFile, Subject
from dicomfs.instance import Instance, Pixels
from dicomfs.nodes import Children, File, LateDirectory, Node, NumberedChildren, ReadyDirectory
from dicomfs.png import png_size
from dicomfs.render import Display, Window, automatic_window, picture_samples
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
        if instance.pixels is None or instance.parsed is None or not len(instance.pixels.frames):
            return None
        fmt = instance.pixels.format
        display, _ = display_of(instance.parsed.dataset, 0, fmt)
        size = png_size(fmt.rows, fmt.columns, picture_samples(fmt, display))
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
            file = await subject.open()
            try:
                return await trio.to_thread.run_sync(_raw_children, instance, subject, file, abandon_on_cancel=False)
            finally:
                file.close()

        return LateDirectory(subject.directory(), find)


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

    return NumberedChildren(count, file, lambda frame: f".{kinds[codes[frame]]}")


async def _raw_content(subject: Subject, frame: int) -> Content:
    instance = await subject.instance()
    extents = instance.pixels.frames.extents(frame) if instance.pixels else ()
    if instance.inflated:
        return Content([Literal(instance.inflated.pread(length, offset)) for offset, length in extents])
    source = await subject.open()
    return Content([Stored(source, offset, length) for offset, length in extents], source.close)


async def _picture(subject: Subject, frame: int, size: int) -> bytes:
    """Have one frame decoded and drawn. Raises DecodeError."""

    async def make() -> tuple[Task, Buffer]:
        instance, pixels, data = await _encoded(subject, frame)
        display = _display(instance, pixels, frame)
        if _wants_window(pixels, display):
            display = replace(display, window=await _window(subject, len(pixels.frames)))
        return Task(pixels.format, pixels.frames.bit_offset(frame), "png", display, size), data

    return await subject.services.decoder.get((subject.fingerprint, "png", frame), make)


async def _window(subject: Subject, count: int) -> Window | None:
    """Find one window for the whole object, from its first, middle and last frame: a film must not flicker."""
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
        instance, pixels, data = await _encoded(subject, frame)
        display = _display(instance, pixels, frame)
        return Task(pixels.format, pixels.frames.bit_offset(frame), "range", display, 16), data

    return await subject.services.decoder.get((subject.fingerprint, "range", frame), make)


async def _encoded(subject: Subject, frame: int) -> tuple[Instance, Pixels, bytes]:
    instance = await subject.instance()
    data = await subject.frame_bytes(instance, frame)
    if instance.pixels is None or not data:
        raise FrameMissing(frame)
    return instance, instance.pixels, data


def _display(instance: Instance, pixels: Pixels, frame: int) -> Display:
    assert instance.parsed is not None  # noqa: S101 - pixels come from a parsed header
    return display_of(instance.parsed.dataset, frame, pixels.format)[0]


def _wants_window(pixels: Pixels, display: Display) -> bool:
    """Whether nothing in the file says what is black and what is white (PS3.3 C.11.2.1.2)."""
    return (
        picture_samples(pixels.format, display) == 1
        and display.window is None
        and display.voi_lut is None
        and pixels.format.bits_allocated > 1
    )
