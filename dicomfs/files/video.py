"""Stored videos: the stream itself bit for bit, named by what it is, and the same in an MP4."""

from fractions import Fraction
from typing import BinaryIO

from dicomfs.content import Content, Gathered, Ready
from dicomfs.files.built import BuiltFile, Recipe
from dicomfs.files.exchange import Exchange
from dicomfs.files.subject import ContentFile, Subject
from dicomfs.image.films import MISSING
from dicomfs.image.fragments import JoinedStream
from dicomfs.image.instance import Instance
from dicomfs.image.timing import usual_step
from dicomfs.nodes import Node
from dicomfs.workers.channel import ROOM
from dicomfs.workers.film import Job
from dicomfs.workers.remux import DEMUXERS, Remux

# Goes up whenever the bytes of an MP4 change.
_VERSION = 1
# Tiny pictures take more in the index of an MP4 than as a stream; this is room for that of any film of hours.
_INDEX = 256 << 20


class StoredVideo:
    """The fragments of a video of one kind, joined."""

    def __init__(self, kind: str) -> None:
        """Serve streams of *kind* (see `image.video.KINDS`)."""
        self.name = f"video.{kind}"
        self._kind = kind

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve the stream of an object that is such a video."""
        video = instance.video
        return stored_video(subject, video.size) if video and video.kind == self._kind else None


def stored_video(subject: Subject, size: int) -> ContentFile:
    """Give the stream of a stored video of *size* bytes as a file."""
    return ContentFile(subject.file(size), lambda: _stream(subject))


def remuxed_video(instance: Instance, subject: Subject) -> Node | None:
    """Give the MP4 that a stored video of another kind is put into, without encoding it anew."""
    video = instance.video
    if video is None or video.kind not in DEMUXERS or MISSING:
        return None
    kind, size = video.kind, video.size

    async def build(file: BinaryIO) -> None:
        parsed = (await subject.instance()).parsed
        assert parsed is not None  # noqa: S101 - there is a video in it
        # 29.97 frames a second are 30000 in 1001.
        rate = 1 / Fraction(usual_step(parsed.dataset) / 1000).limit_denominator(60_000)
        await _direct(subject, Remux(kind, size, rate), file, 2 * size + _INDEX)

    return BuiltFile(subject, Recipe(f"remux {_VERSION}", size, build))


async def _direct(subject: Subject, job: Job, file: BinaryIO, most: int) -> None:
    """Have *job* done on the stream of a stored video; it may write *most* bytes into *file*."""
    stream = await _stream(subject)
    try:
        await subject.services.decoder.direct(job, ROOM, Exchange(file, most, stream).serve)
    finally:
        stream.close()


async def _stream(subject: Subject) -> Content:
    """Open the stream of a stored video."""
    instance = await subject.instance()
    assert instance.video is not None  # noqa: S101 - the caller looked
    joined, size = instance.video.joined, instance.video.size
    if instance.inflated:
        return Content([Ready(JoinedStream(joined, instance.inflated).pread(size, 0))])
    source = await subject.open()
    return Content([Gathered(source, joined, size)], source.close)
