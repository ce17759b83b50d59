"""Encoding: the frames of a cine loop to H.264 in an MP4."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from dicomfs.video.film_size import Effort
from dicomfs.video.protocol import HostClient, Unusable, mp4

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

_MICROSECONDS = Fraction(1, 1_000_000)

# Text on the images stays sharp. Without B-frames, decoding order is display order, and players seek quickly. Key
# frames are little better than others (ipratio), and no frame is worse because none refers to it (mbtree), so that all
# frames of a noisy cine loop are as good as its rate allows.
_OPTIONS = {"preset": "veryfast", "bf": "0", "g": "30", "aq-strength": "0.5", "x264-params": "mbtree=0:ipratio=1.1"}
# The encoder's clock: all frames have one duration, so that each gets as many bits, however long it is shown.
_FRAMES_PER_SECOND = 25
_FRAME_MICROSECONDS = 1_000_000 // _FRAMES_PER_SECOND
# ITU-T H.273: primaries, transfer function and matrix of BT.709, and values from 16 to 235.
_BT709, _LIMITED = 1, 1
# Luma of each level of grey.
_LEVELS = np.round(16 + np.arange(256) * (219 / 255)).astype(np.uint8)
# One thread on every machine: the bytes depend on the number of threads, and with a rate buffer that several share they
# differ each time. Other processors decode meanwhile.
_THREADS = "1"


@dataclass(frozen=True, slots=True)
class Encode:
    """A cine loop. *times* are those of its frames and of its end, in microseconds.

    Display images have 1 or 3 *samples* of 8 bits a pixel. *aspect* is the width and height of a pixel. *effort* limits
    the encoder.
    """

    columns: int
    rows: int
    samples: int
    aspect: tuple[int, int]
    times: tuple[int, ...]
    effort: Effort

    def run(self, host: HostClient) -> None:
        """Encode frame by frame. In place of a broken frame the one before it stays, or the first one comes earlier."""
        with mp4(host) as container:
            stream = self._stream(container)
            shown = array("q")
            last = None  # held back until its duration is known
            for frame in self._frames(host, shown):
                for packet in stream.encode(frame):
                    time = shown[_known(packet.pts) // _FRAME_MICROSECONDS]
                    packet.time_base, packet.pts, packet.dts = _MICROSECONDS, time, time
                    if last is not None:
                        last.duration = time - _known(last.pts)
                        container.mux(last)
                    last = packet
            if last is None:
                raise Unusable("no frame of the film can be decoded")
            last.duration = self.times[-1] - _known(last.pts)
            container.mux(last)

    def _stream(self, container: "OutputContainer") -> "VideoStream":
        """Begin the video stream."""
        stream = container.add_stream("libx264", options=_OPTIONS | _limits(self.effort) | {"threads": _THREADS})
        stream.width, stream.height = self.columns + self.columns % 2, self.rows + self.rows % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = _MICROSECONDS
        # The encoder derives the level from this: more frames a second need a higher one.
        context.framerate = Fraction(max(_FRAMES_PER_SECOND, -(-(len(self.times) - 1) * 1_000_000 // self.times[-1])))
        context.sample_aspect_ratio = Fraction(*self.aspect)
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED
        return stream

    def _frames(self, host: HostClient, shown: "array[int]") -> "Iterator[VideoFrame | None]":
        """Yield the frames that are not broken, on the encoder's clock, then None; append their times to *shown*."""
        from av.video.reformatter import VideoReformatter

        converter = VideoReformatter()
        for index, time in enumerate(self.times[:-1]):
            picture = host.frame(index)
            if picture is not None:
                frame = self._frame(picture, converter)
                frame.time_base, frame.pts = _MICROSECONDS, _FRAME_MICROSECONDS * len(shown)
                shown.append(time if shown else 0)
                yield frame
        if shown:
            yield None

    def _frame(self, picture: memoryview, converter: "VideoReformatter") -> "VideoFrame":
        """Convert a display image. An odd number of rows or columns is made even by repeating the last."""
        from av.video.frame import VideoFrame
        from av.video.reformatter import Interpolation

        shape = (self.rows, self.columns, self.samples)[: 2 if self.samples == 1 else 3]
        values = np.frombuffer(picture, np.uint8).reshape(shape)
        if self.rows % 2 or self.columns % 2:
            values = np.pad(values, [(0, self.rows % 2), (0, self.columns % 2), (0, 0)][: values.ndim], "edge")
        if self.samples == 1:
            # The library's own conversion leaves grey slightly coloured.
            neutral = np.full((values.shape[0] // 2, values.shape[1]), 128, np.uint8)
            return VideoFrame.from_ndarray(np.concatenate([_LEVELS[values], neutral]), "yuv420p")
        # With the flags that give the same result on every processor.
        return converter.reformat(
            VideoFrame.from_ndarray(values, "rgb24"),
            format="yuv420p",
            dst_colorspace=_BT709,
            dst_color_range=_LIMITED,
            interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
            threads=1,  # more would compete with the encoder
        )


def _known(time: int | None) -> int:
    assert time is not None  # noqa: S101 - the frame had one
    return time


def _limits(effort: Effort) -> dict[str, str]:
    """Return the encoder's options for *effort*, by the second of its clock."""
    if not effort.frame_bits:
        return {"qp": str(effort.factor)}
    rate = {"maxrate": str(effort.frame_bits * _FRAMES_PER_SECOND), "bufsize": str(effort.buffer_bits)}
    return {"crf": str(effort.factor), **rate}
