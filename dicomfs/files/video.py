"""Stored videos: the stream itself, bit for bit, named by what it is."""

from dicomfs.content import Content, Gathered, Ready
from dicomfs.files.subject import ContentFile, Subject
from dicomfs.image.fragments import JoinedStream
from dicomfs.image.instance import Instance
from dicomfs.nodes import Node


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

    async def open_content() -> Content:
        instance = await subject.instance()
        assert instance.video is not None  # noqa: S101 - the caller looked
        joined = instance.video.joined
        if instance.inflated:
            return Content([Ready(JoinedStream(joined, instance.inflated).pread(size, 0))])
        source = await subject.open()
        return Content([Gathered(source, joined, size)], source.close)

    return ContentFile(subject.file(size), open_content)
