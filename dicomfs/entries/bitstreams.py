"""The frames as they are encoded: bitstreams in `raw/`, the Items of encapsulated Pixel Data in `fragments/`."""

from collections.abc import Sequence
from functools import partial

from dicomfs.codecs.codestream import sniff
from dicomfs.dicom.fragments import Fragments as EncapsulatedItems
from dicomfs.dicom.stream import Extent, Stream
from dicomfs.entries.dependence import Depends
from dicomfs.entries.frame_values import pixels_of
from dicomfs.entries.source_bytes import ExtentsFile
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.pixeldata.frames import Frames
from dicomfs.sources.source import SourceFile
from dicomfs.vfs.nodes import Children, File, Node, NumberedChildren, ReadyDirectory

# What `sniff` needs to see of a codestream.
_HEAD_BYTES = 24
# Kinds that end with this marker. A pad byte after it only makes the Item's length even (PS3.5 A.4, E15).
_WITH_END_MARKER, _END_MARKER = ("jpg", "jls", "j2k", "jp2", "jph"), b"\xff\xd9"


class Raw:
    """The encoded bitstream of each frame, its fragments joined, named by what it is."""

    name = "raw"
    depends = Depends.PARSER

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve one file a frame; the kinds of encoded frames are found when the directory is listed."""
        if instance.pixels is None:
            return None
        if instance.fragments is None:
            return ReadyDirectory(handle.directory(), _native_children(instance.pixels.frames, handle))

        return handle.lazy_directory(self.name, handle.directory(), partial(_find_raw, handle))


class FragmentsDirectory:
    """The Items of encapsulated Pixel Data verbatim, the Basic Offset Table as `0000`."""

    name = "fragments"
    depends = Depends.PARSER

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve the values of the Items."""
        fragments = instance.fragments
        if fragments is None or not len(fragments):
            return None
        children = NumberedChildren(len(fragments), partial(_fragment_file, handle, fragments), "", first=0)
        return ReadyDirectory(handle.directory(), children)


def _fragment_file(handle: InstanceHandle, fragments: EncapsulatedItems, index: int) -> File:
    return ExtentsFile(handle, [fragments.extent(index)])


def _native_children(frames: Frames, handle: InstanceHandle) -> Children:
    """Return the files of frames that are not encoded; nothing of them is read."""
    return NumberedChildren(_stored_frames(frames), partial(_native_file, handle, frames), ".bin")


def _native_file(handle: InstanceHandle, frames: Frames, frame: int) -> File:
    return ExtentsFile(handle, frames.extents(frame))


async def _find_raw(handle: InstanceHandle) -> Children:
    """Read the first and last bytes of every frame in a thread."""
    instance = await handle.instance()
    return await handle.read(_raw_children, instance, handle)


def _raw_children(source: SourceFile, instance: Instance, handle: InstanceHandle) -> Children:
    """Read the first and last bytes of every frame, and return the files."""
    raw = _RawFrames(instance.stream_in(source), instance, handle)
    # Two codes, two numbers for each fragment and one for each frame.
    return NumberedChildren(raw.count, raw.file, raw.extension, weight=26 * raw.count)


class _RawFrames:
    """The codestreams of the frames: of which kind each is, and whether a pad byte follows it."""

    __slots__ = ("_codes", "_frames", "_handle", "_kinds", "_padding", "count")

    def __init__(self, stream: Stream, instance: Instance, handle: InstanceHandle) -> None:
        self._handle = handle
        self._frames = pixels_of(instance).frames
        self.count = _stored_frames(self._frames)
        self._kinds: list[str] = []
        self._codes, self._padding = bytearray(), bytearray()
        for frame in range(self.count):
            extents = self._frames.extents(frame)
            kind = sniff(stream.pread(_HEAD_BYTES, extents[0].offset)) if extents else "bin"
            if kind not in self._kinds:
                self._kinds.append(kind)
            self._codes.append(self._kinds.index(kind))
            self._padding.append(kind in _WITH_END_MARKER and _is_padded(stream, extents))

    def file(self, frame: int) -> File:
        """Return the file of a frame, counted from 0, without its pad byte."""
        extents = self._frames.extents(frame)
        if self._padding[frame]:
            extents = (*extents[:-1], Extent(extents[-1].offset, extents[-1].length - 1))
        return ExtentsFile(self._handle, extents)

    def extension(self, frame: int) -> str:
        """Return the extension of its name."""
        return f".{self._kinds[self._codes[frame]]}"


def _stored_frames(frames: Frames) -> int:
    """Count the frames up to the last one in the file: frames that are declared and missing come last."""
    count = len(frames)
    while count and not frames.extents(count - 1):
        count -= 1
    return count


def _is_padded(stream: Stream, extents: Sequence[Extent]) -> bool:
    """Whether just one byte of padding follows the end marker of a frame."""
    last = [(offset + length - min(3, length), min(3, length)) for offset, length in extents[-2:]]
    tail = b"".join(stream.pread(length, offset) for offset, length in last)[-3:]
    return tail in (_END_MARKER + b"\0", _END_MARKER + b"\xff")
