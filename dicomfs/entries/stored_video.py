"""Stored videos: the stream itself bit for bit, named by what it is, the same in an MP4, and a small picture of it."""

import io
import math
from fractions import Fraction
from functools import partial
from typing import BinaryIO

import trio

from dicomfs.dicom import tags
from dicomfs.dicom.fragments import JoinedStream
from dicomfs.dicom.part10_reader import DicomFile
from dicomfs.entries.built_file import BuiltFile, Recipe
from dicomfs.entries.dependence import Depends
from dicomfs.formats.mp4 import fill_up
from dicomfs.formats.png import PHYSICAL_SIZE, png_size
from dicomfs.instance.cine_loop import MISSING
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.iod.cine import usual_step
from dicomfs.iod.pixel_size import physical
from dicomfs.pixeldata.video_stream import Video
from dicomfs.rendering.resize import Shrunk, shrunk_to
from dicomfs.resources.threads import Purpose, run
from dicomfs.vfs.content import Concatenation, Content, JoinedExtents, Literal, Wanted, always
from dicomfs.vfs.nodes import Attributes, File, Node
from dicomfs.video.films import DEMUXERS, SEEN, FilmFailed, FilmHost, Job, PosterFrame, Remux, remuxed_size

_MAX_SIDE_PIXELS = 65535
# Bytes that are read, and seconds that it may take, until there is a picture.
_POSTER_BYTES, _POSTER_SECONDS = 256 << 20, 30.0
# Goes up whenever the bytes of an MP4 or a picture change.
_STILL_VERSION, _REMUX_VERSION = 1, 2


class StoredVideo:
    """The fragments of a video of one kind, joined."""

    def __init__(self, kind: str) -> None:
        """Serve streams of *kind* (see `image.video.KINDS`)."""
        self.name = f"video.{kind}"
        self.depends = Depends.PARSER
        self._kind = kind

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve the stream of an object that is such a video."""
        video = instance.video
        return stored_video(handle, video.size) if video and video.kind == self._kind else None


def stored_video(handle: InstanceHandle, size: int) -> File:
    """Return the stream of a stored video of *size* bytes as a file."""
    return _StreamFile(handle.file(size), handle)


class _StreamFile(File):
    """The stream of a stored video."""

    __slots__ = ("_handle",)

    def __init__(self, attributes: Attributes, handle: InstanceHandle) -> None:
        super().__init__(attributes)
        self._handle = handle

    async def open(self, wanted: Wanted = always, limit: float = math.inf) -> Content:
        return await _stream(self._handle)


def remuxed_video(instance: Instance, handle: InstanceHandle) -> Node | None:
    """Return the MP4 that a stored video of another kind is remuxed into, padded to its promised size."""
    video, parsed = instance.video, instance.parsed
    if video is None or parsed is None or video.kind not in DEMUXERS or MISSING:
        return None
    promised = remuxed_size(video.size, parsed.dataset.integer(tags.NumberOfFrames) or 0)
    return BuiltFile(handle, Recipe(f"remux {_REMUX_VERSION}", promised, partial(_remux, handle, promised)))


async def _remux(handle: InstanceHandle, promised: int, file: BinaryIO) -> None:
    """Build the MP4, filled up to the *promised* size."""
    video, parsed = await _video(handle)
    # 29.97 frames a second are 30000 in 1001.
    rate = 1 / Fraction(usual_step(parsed.dataset) / 1000).limit_denominator(60_000)
    await _direct(handle, Remux(video.kind, video.size, rate), file, promised)
    await run(Purpose.DISK, fill_up, file, promised, finish=True)


def poster_file(instance: Instance, handle: InstanceHandle, longest: int) -> Node | None:
    """Return the first picture of a stored video, at most *longest* pixels long and wide.

    It is as large as the header says that the pictures are, or in proportion to that, whatever the stream says: its
    size is known before anybody looks at the stream.
    """
    video, parsed = instance.video, instance.parsed
    if video is None or parsed is None or video.kind not in SEEN or MISSING:
        return None
    rows, columns = (parsed.dataset.integer(tag) or 0 for tag in (tags.Rows, tags.Columns))
    if not (0 < rows <= _MAX_SIDE_PIXELS and 0 < columns <= _MAX_SIDE_PIXELS):
        return None
    small = shrunk_to(longest, rows, columns)
    size = png_size(small.rows, small.columns, 3, PHYSICAL_SIZE)
    build = partial(_build_poster, handle, small, (rows, columns), size)
    return BuiltFile(handle, Recipe(f"still {_STILL_VERSION}", size, build))


async def _build_poster(
    handle: InstanceHandle, small: Shrunk, shape: tuple[int, int], size: int, file: BinaryIO
) -> None:
    """Build the image, of *size* bytes, of a video whose header states the *shape*. Raises FilmFailed."""
    video, parsed = await _video(handle)
    pixel = physical(parsed.dataset, 0, (shape[0] / small.rows, shape[1] / small.columns))
    job = PosterFrame(video.kind, video.size, small.rows, small.columns, shape, pixel)
    with trio.move_on_after(_POSTER_SECONDS) as limit:
        await _direct(handle, job, file, size, _POSTER_BYTES)
    if limit.cancelled_caught:
        raise FilmFailed(f"finding a picture took longer than {_POSTER_SECONDS:g} s")
    if file.seek(0, io.SEEK_END) != size:
        raise FilmFailed("the picture is not as large as it should be")


async def _direct(handle: InstanceHandle, job: Job, file: BinaryIO, most: int, traffic: int = 1 << 62) -> None:
    """Have *job* done on the stream of a stored video; it may write *most* bytes into *file*, and move *traffic*."""
    stream = await _stream(handle)
    try:
        await FilmHost(file, most, stream, traffic).run(handle.services.frames.pool, job)
    finally:
        stream.close()


async def _stream(handle: InstanceHandle) -> Content:
    """Open the stream of a stored video."""
    video, _ = await _video(handle)
    inflated = (await handle.instance()).inflated
    if inflated:
        return Literal(JoinedStream(video.joined, inflated).pread(video.size, 0))
    source = await handle.open()
    return Concatenation([JoinedExtents(source, video.joined, video.size)], source)


async def _video(handle: InstanceHandle) -> tuple[Video, DicomFile]:
    """Return what a file whose pixels are a video is."""
    instance = await handle.instance()
    assert instance.video is not None and instance.parsed is not None  # noqa: S101, PT018 - the caller looked
    return instance.video, instance.parsed
