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
from dicomfs.instance.handle import Subject
from dicomfs.instance.instance import Instance
from dicomfs.iod.cine import usual_step
from dicomfs.iod.pixel_size import physical
from dicomfs.pixeldata.video_stream import Video
from dicomfs.rendering.resize import Shrunk, shrunk_to
from dicomfs.resources.threads import Purpose, run
from dicomfs.vfs.content import Concatenation, Content, JoinedExtents, Literal
from dicomfs.vfs.nodes import Attributes, File, Node, Wanted, always
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

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve the stream of an object that is such a video."""
        video = instance.video
        return stored_video(subject, video.size) if video and video.kind == self._kind else None


def stored_video(subject: Subject, size: int) -> File:
    """Return the stream of a stored video of *size* bytes as a file."""
    return _StreamFile(subject.file(size), subject)


class _StreamFile(File):
    """The stream of a stored video."""

    __slots__ = ("_handle",)

    def __init__(self, attributes: Attributes, handle: Subject) -> None:
        super().__init__(attributes)
        self._handle = handle

    async def open(self, wanted: Wanted = always, limit: float = math.inf) -> Content:
        return await _stream(self._handle)


def remuxed_video(instance: Instance, subject: Subject) -> Node | None:
    """Give the MP4 that a stored video of another kind is put into, without encoding it anew, filled up to its size."""
    video, parsed = instance.video, instance.parsed
    if video is None or parsed is None or video.kind not in DEMUXERS or MISSING:
        return None
    promised = remuxed_size(video.size, parsed.dataset.integer(tags.NumberOfFrames) or 0)
    return BuiltFile(subject, Recipe(f"remux {_REMUX_VERSION}", promised, partial(_remux, subject, promised)))


async def _remux(subject: Subject, promised: int, file: BinaryIO) -> None:
    """Build the MP4, filled up to the *promised* size."""
    video, parsed = await _video(subject)
    # 29.97 frames a second are 30000 in 1001.
    rate = 1 / Fraction(usual_step(parsed.dataset) / 1000).limit_denominator(60_000)
    await _direct(subject, Remux(video.kind, video.size, rate), file, promised)
    await run(Purpose.DISK, fill_up, file, promised, finish=True)


def video_picture(instance: Instance, subject: Subject, longest: int) -> Node | None:
    """Give the first picture of a stored video, at most *longest* pixels long and wide.

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
    build = partial(_build_poster, subject, small, (rows, columns), size)
    return BuiltFile(subject, Recipe(f"still {_STILL_VERSION}", size, build))


async def _build_poster(subject: Subject, small: Shrunk, shape: tuple[int, int], size: int, file: BinaryIO) -> None:
    """Build the image, of *size* bytes, of a video whose header states the *shape*. Raises FilmFailed."""
    video, parsed = await _video(subject)
    pixel = physical(parsed.dataset, 0, (shape[0] / small.rows, shape[1] / small.columns))
    job = PosterFrame(video.kind, video.size, small.rows, small.columns, shape, pixel)
    with trio.move_on_after(_POSTER_SECONDS) as limit:
        await _direct(subject, job, file, size, _POSTER_BYTES)
    if limit.cancelled_caught:
        raise FilmFailed(f"finding a picture took longer than {_POSTER_SECONDS:g} s")
    if file.seek(0, io.SEEK_END) != size:
        raise FilmFailed("the picture is not as large as it should be")


async def _direct(subject: Subject, job: Job, file: BinaryIO, most: int, traffic: int = 1 << 62) -> None:
    """Have *job* done on the stream of a stored video; it may write *most* bytes into *file*, and move *traffic*."""
    stream = await _stream(subject)
    try:
        await FilmHost(file, most, stream, traffic).run(subject.services.frames.pool, job)
    finally:
        stream.close()


async def _stream(subject: Subject) -> Content:
    """Open the stream of a stored video."""
    video, _ = await _video(subject)
    inflated = (await subject.instance()).inflated
    if inflated:
        return Literal(JoinedStream(video.joined, inflated).pread(video.size, 0))
    source = await subject.open()
    return Concatenation([JoinedExtents(source, video.joined, video.size)], source)


async def _video(subject: Subject) -> tuple[Video, DicomFile]:
    """Give what a file whose pixels are a video is."""
    instance = await subject.instance()
    assert instance.video is not None and instance.parsed is not None  # noqa: S101, PT018 - the caller looked
    return instance.video, instance.parsed
