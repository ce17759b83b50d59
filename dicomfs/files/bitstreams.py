"""The frames as they are encoded: bitstreams in `raw/`, the Items of encapsulated Pixel Data in `fragments/`."""

from dicomfs.codestream import sniff
from dicomfs.files.subject import ContentFile, Subject
from dicomfs.instance import Instance
from dicomfs.nodes import Children, File, Node, NumberedChildren, ReadyDirectory
from dicomfs.source import SourceFile

# What `sniff` needs to see of a codestream.
_HEAD = 24


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
            extent = fragments.extent(index)
            return ContentFile(subject.file(extent.length), lambda: subject.stored([extent]))

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
        extents = frames.extents(frame)
        size = sum(length for _, length in extents)
        return ContentFile(subject.file(size), lambda: subject.stored(extents))

    # A code, two numbers for each fragment and one for each frame.
    weight = 25 * count
    return NumberedChildren(count, file, lambda frame: f".{kinds[codes[frame]]}", weight=weight)
