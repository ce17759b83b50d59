"""The poster frame of a stored video: its first intact key frame, reduced, as PNG."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from dicomfs.formats.png import shape_chunk, write_png
from dicomfs.video.protocol import HostClient, Unusable, opened, packets
from dicomfs.video.remux import DEMUXERS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SEEN = {"mp4": "mov", **DEMUXERS}
"""The FFmpeg demuxer of each kind of stream (see `pixeldata.video_stream.KINDS`) that has a poster frame."""

# Broken key frames, after which there is no poster frame.
_MAX_BROKEN = 20
# Part of a picture that may be unwritten: one macroblock of 16 x 16 pixels in 1920 x 1080 is more.
_MAX_UNWRITTEN = 1e-4
# Where a stream does not state its colours, pictures of more rows than standard definition television have BT.709.
_MAX_SD_ROWS = 576
_BT601, _BT709, _UNKNOWN = 5, 1, (0, 2)


@dataclass(frozen=True, slots=True)
class PosterFrame:
    """A picture of *rows* x *columns* from a stream of *size* bytes of *kind*.

    *stated* is the size of the pictures by the header, and *physical* that of their pixels, as a PNG chunk. Both serve
    where the stream does not state them.
    """

    kind: str
    size: int
    rows: int
    columns: int
    stated: tuple[int, int]
    physical: bytes

    def run(self, host: HostClient) -> None:
        """Decode as little as possible, and write the PNG."""
        import av.error

        try:
            with opened(host, self.size, SEEN[self.kind], {}) as container:
                stream = next((one for one in container.streams.video if one.codec_context), None)
                if stream is None:
                    raise Unusable("there are no pictures in the stream")
                frame = next(_whole_pictures(container, stream), None)
                if frame is None:
                    raise Unusable("no picture of the video can be decoded by itself")
                host.write(0, self._file(frame, stream.sample_aspect_ratio))
        except av.error.FFmpegError as error:
            raise Unusable(f"the stream is damaged so that no picture can be found ({type(error).__name__})") from None

    def _file(self, frame: "VideoFrame", aspect: Fraction | None) -> memoryview:
        """Make the PNG, of the promised size in pixels, whose shape is that in the stream."""
        turns = round(frame.rotation / 90) % 4
        rows, columns = (self.columns, self.rows) if turns % 2 else (self.rows, self.columns)
        matrix = (
            frame.colorspace if frame.colorspace not in _UNKNOWN else _BT709 if frame.height > _MAX_SD_ROWS else _BT601
        )
        small = frame.reformat(columns, rows, "rgb24", src_colorspace=matrix, interpolation="AREA")
        picture = np.ascontiguousarray(np.rot90(small.to_ndarray(), turns))
        if not aspect and (frame.height, frame.width) == self.stated:
            return write_png(picture, (self.physical,))
        width, height = Fraction(frame.width, columns) * (aspect or 1), Fraction(frame.height, rows)
        return write_png(picture, (shape_chunk(height, width) if turns % 2 else shape_chunk(width, height),))


def _whole_pictures(container: "InputContainer", stream: "VideoStream") -> Iterator["VideoFrame"]:
    """Decode key frames, and yield those without visible damage."""
    context = stream.codec_context
    context.thread_count = 1
    context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
    tries = 0
    held: list[Packet[Stream]] = []
    for packet in packets(container, stream):
        if not held and not packet.is_keyframe:
            continue
        held.append(packet)
        # A frame may consist of two fields, each in a packet of its own.
        if len(held) == 2:
            yield from _decoded(context, held)
            tries, held = tries + 1, []
        if tries == _MAX_BROKEN:
            return
    yield from _decoded(context, held)


def _decoded(context: "VideoCodecContext", held: "list[Packet[Stream]]") -> list["VideoFrame"]:
    """Decode only the packets *held*, and return the key frames without damage."""
    from av.error import FFmpegError

    frames: list[VideoFrame] = []
    try:
        for packet in (*held, None):
            frames += context.decode(packet)
    except FFmpegError:
        frames = []
    context.flush_buffers()
    return [frame for frame in frames if frame.key_frame and not frame.is_corrupt and not _has_holes(frame)]


def _has_holes(frame: "VideoFrame") -> bool:
    """Whether parts were never written: their memory is zero, which no colour is. Not all decoders report that."""
    if len(frame.planes) < 3 or frame.format.is_rgb:
        return False
    kind = np.dtype("<u2" if frame.format.components[1].bits > 8 else "u1")
    colours = [
        np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)[:, : plane.width] == 0
        for plane in frame.planes[1:3]
    ]
    return bool(np.mean(colours[0] & colours[1]) > _MAX_UNWRITTEN)
