"""The frames as they are encoded: bitstreams in `raw/`, the Items of encapsulated Pixel Data in `fragments/`."""

from collections.abc import Sequence

from dicomfs.codecs.codestream import sniff
from dicomfs.dicom.stream import Extent, Stream
from dicomfs.entries.dependence import Depends
from dicomfs.instance.handle import ContentFile, Subject
from dicomfs.instance.instance import Instance
from dicomfs.pixeldata.frames import Frames
from dicomfs.sources.source import SourceFile
from dicomfs.vfs.nodes import Children, File, Node, NumberedChildren, ReadyDirectory

# What `sniff` needs to see of a codestream.
_HEAD = 24
# Kinds that end with this marker. A pad byte behind it only makes the Item's length even (PS3.5 A.4, E15).
_ENDED, _END = ("jpg", "jls", "j2k", "jp2", "jph"), b"\xff\xd9"


class Raw:
    """The encoded bitstream of each frame, its fragments joined, named by what it is."""

    name = "raw"
    depends = Depends.PARSER

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve what is there; what each bitstream is, is found out when somebody lists them."""
        if instance.pixels is None:
            return None
        if instance.fragments is None:
            return ReadyDirectory(subject.directory(), _native_children(instance.pixels.frames, subject))

        async def find() -> Children:
            instance = await subject.instance()
            return await subject.read(lambda file: _raw_children(instance, subject, file))

        return subject.late_directory(self.name, subject.directory(), find)


class Fragments:
    """The Items of encapsulated Pixel Data as they stand, the Basic Offset Table as `0000`."""

    name = "fragments"
    depends = Depends.PARSER

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve the values of the Items."""
        fragments = instance.fragments
        if fragments is None or not len(fragments):
            return None

        def file(index: int) -> File:
            extent = fragments.extent(index)
            return ContentFile(subject.file(extent.length), lambda: subject.stored([extent]))

        children = NumberedChildren(len(fragments), file, "", first=0)
        return ReadyDirectory(subject.directory(), children)


def _native_children(frames: Frames, subject: Subject) -> Children:
    """Give the files of frames that are not encoded: nothing needs to be looked at."""

    def file(frame: int) -> File:
        extents = frames.extents(frame)
        return ContentFile(subject.file(_size(extents)), lambda: subject.stored(extents))

    return NumberedChildren(_there(frames), file, ".bin")


def _raw_children(instance: Instance, subject: Subject, source: SourceFile) -> Children:
    """Look at the first bytes of every frame, and give the files."""
    assert instance.pixels is not None  # noqa: S101 - the caller looked
    frames = instance.pixels.frames
    stream = instance.inflated or source
    count = _there(frames)
    kinds: list[str] = []
    codes, padding = bytearray(), bytearray()
    for frame in range(count):
        extents = frames.extents(frame)
        kind = sniff(stream.pread(_HEAD, extents[0].offset)) if extents else "bin"
        if kind not in kinds:
            kinds.append(kind)
        codes.append(kinds.index(kind))
        padding.append(kind in _ENDED and _is_padded(stream, extents))

    def file(frame: int) -> File:
        extents = frames.extents(frame)
        if padding[frame]:
            extents = (*extents[:-1], Extent(extents[-1].offset, extents[-1].length - 1))
        return ContentFile(subject.file(_size(extents)), lambda: subject.stored(extents))

    # Two codes, two numbers for each fragment and one for each frame.
    weight = 26 * count
    return NumberedChildren(count, file, lambda frame: f".{kinds[codes[frame]]}", weight=weight)


def _there(frames: Frames) -> int:
    """Count the frames up to the last one that is in the file: those declared beyond come last."""
    count = len(frames)
    while count and not frames.extents(count - 1):
        count -= 1
    return count


def _size(extents: Sequence[Extent]) -> int:
    return sum(length for _, length in extents)


def _is_padded(stream: Stream, extents: Sequence[Extent]) -> bool:
    """Whether just one byte of padding follows the end marker of a frame."""
    last = [(offset + length - min(3, length), min(3, length)) for offset, length in extents[-2:]]
    tail = b"".join(stream.pread(length, offset) for offset, length in last)[-3:]
    return tail in (_END + b"\0", _END + b"\xff")
