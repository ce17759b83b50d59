"""Remuxing: a stored video is put into an MP4 without decoding or encoding; only its times are repaired.

The stream is read twice. The first pass finds the parts that an MP4 can hold and the time of each packet; the second
one copies in one go. Neither keeps more of the stream than a few packets.
"""

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dicomfs.video.picture_order import H264Order, HevcOrder, Unreadable, units
from dicomfs.video.protocol import HostClient, Unusable, mp4, opened, packets
from dicomfs.video.timeline import MISSING, Clock, WrongOrder, decoding, growing, in_order

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

DEMUXERS = {"ts": "mpegts", "mpg": "mpeg", "m2v": "mpegvideo", "h264": "h264", "h265": "hevc"}
"""The FFmpeg demuxer of each kind of stream (see `pixeldata.video_stream.KINDS`) that is put into an MP4."""

# Elementary video streams, which have no times.
_BARE = ("m2v", "h264", "h265")
# Codecs that MP4 holds and players support there, by their names in FFmpeg.
_PICTURES = frozenset(("mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc"))
_SOUND = frozenset(("mp2", "mp3", "aac", "ac3", "eac3", "dts", "opus"))
# All parts of the stream must begin within so many bytes and microseconds, which are kept until then.
_PROBED = {"probesize": str(16 << 20), "analyzeduration": "20000000"}
# Sensible frame rates; others are ignored, as those of DICOM are.
_MIN_RATE, _MAX_RATE = Fraction(1, 10), 1000
# Parameter sets of HEVC. Where they change, the sample entry tells players to look for them (ISO/IEC 14496-15 8.3.3).
_SETS, _FIXED, _CHANGING = (32, 33, 34), "hvc1", "hev1"
# Sound packets with damaged headers that are left out, before the stream counts as damaged.
_MAX_DAMAGED = 10_000


class _Untimed(Exception):
    """Pictures lack times, so that their order must be read."""


@dataclass(slots=True)
class _Part:
    """What the first pass finds about one part of the stream: time stamps and durations by packet."""

    codec: str
    video: bool
    step: int = 1
    """The smallest difference of two times, in ticks."""
    stamps: "array[int]" = field(default_factory=partial(array, "q"))
    durations: "array[int]" = field(default_factory=partial(array, "q"))
    keys: "array[int]" = field(default_factory=partial(array, "q"))
    begun: int | None = None
    """The index of the first packet that can be decoded without those before it."""
    sets: frozenset[bytes] = frozenset()
    changing: bool = False


@dataclass(frozen=True, slots=True)
class _Times:
    """The display and decoding times of the packets from *begun* on, in ticks."""

    begun: int
    shown: np.ndarray
    decoded: np.ndarray
    durations: "array[int]"

    def moved(self, ticks: int) -> "_Times":
        return _Times(self.begun, self.shown - ticks, self.decoded - ticks, self.durations)


@dataclass(frozen=True, slots=True)
class Remux:
    """A stream of *size* bytes of *kind*, with *rate* frames a second where it states none."""

    kind: str
    size: int
    rate: Fraction

    def run(self, host: HostClient) -> None:
        """Read the stream once to find its times, then copy it."""
        import av.error

        try:
            try:
                parts = self._look(host, ordered=self.kind in ("h264", "h265"))
            except _Untimed:
                parts = self._look(host, ordered=True)
            self._copy(host, parts, _times(parts))
        except (av.error.FFmpegError, WrongOrder) as error:
            raise Unusable(
                f"the stream is damaged so that it cannot be put into an MP4 ({type(error).__name__})"
            ) from None

    def _open(self, host: HostClient) -> "InputContainer":
        rate = {"framerate": f"{self.rate.numerator}/{self.rate.denominator}"} if self.kind in _BARE else {}
        return opened(host, self.size, DEMUXERS[self.kind], _PROBED | rate)

    def _look(self, host: HostClient, *, ordered: bool) -> dict[int, _Part]:
        """Read all packets; return the parts by index. Raises _Untimed where times are missing unless *ordered*."""
        with self._open(host) as container:
            parts = {stream.index: part for stream in container.streams if (part := _part(stream))}
            if not any(part.video for part in parts.values()):
                raise Unusable("there are no pictures in the stream that an MP4 could hold")
            orders = {index: _ORDERS[part.codec]() for index, part in parts.items() if part.codec in _ORDERS}
            base = next(_base(container.streams[index]) for index in parts)
            clock = None if self.kind in _BARE else Clock(round(1 / base))
            for packet in packets(container, *(container.streams[index] for index in parts)):
                part = parts[packet.stream_index]
                if ordered and packet.stream_index in orders:
                    part.keys.append(_key(orders[packet.stream_index], packet, part.keys))
                self._note(part, packet, clock)
            return parts

    def _note(self, part: _Part, packet: "Packet[Stream]", clock: Clock | None) -> None:
        """Record the times of a packet."""
        base = _base(packet.stream)
        duration = packet.duration or 0
        if part.video and (not duration or not _MIN_RATE <= 1 / (duration * base) <= _MAX_RATE):
            duration = round(1 / (self.rate * base))
        stamp = packet.dts if packet.dts is not None else packet.pts
        shift = clock.shift(packet.stream_index, stamp, duration) if clock and stamp is not None else 0
        if packet.pts is not None:
            part.stamps.append(packet.pts + shift)
        elif not part.video:
            part.stamps.append(part.stamps[-1] + part.durations[-1] if part.stamps else (stamp or 0) + shift)
        elif part.keys or part.codec not in _ORDERS:
            part.stamps.append(MISSING)
        else:
            raise _Untimed
        part.durations.append(duration)
        if packet.is_keyframe:
            if part.begun is None:
                part.begun = len(part.stamps) - 1
            if part.codec == "hevc":
                found = frozenset(_sets(bytes(packet)))
                part.sets = part.sets or found
                part.changing |= not found <= part.sets

    def _copy(self, host: HostClient, parts: dict[int, _Part], times: dict[int, _Times]) -> None:
        """Write the MP4."""
        with self._open(host) as container, mp4(host) as film:
            left_out = sorted({_codec(stream) for stream in container.streams if stream.index not in times})
            if left_out:
                film.metadata["comment"] = f"left out, as MP4 does not hold it: {', '.join(left_out)}"
                host.leave_out(len(container.streams) - len(times))
            _carry(container, film, parts, times)


def _carry(
    container: "InputContainer", film: "OutputContainer", parts: dict[int, _Part], times: dict[int, _Times]
) -> None:
    """Copy all packets of the parts in *times*."""
    import av.error

    streams = {index: film.add_stream_from_template(container.streams[index]) for index in times}
    for index, stream in streams.items():
        if parts[index].codec == "hevc":
            stream.codec_tag = _CHANGING if parts[index].changing else _FIXED
    count, damaged = dict.fromkeys(times, 0), 0
    for packet in packets(container, *(container.streams[index] for index in times)):
        index = packet.stream_index
        of, place = times[index], count[index] - times[index].begun
        count[index] += 1
        if place < 0:
            continue
        if place >= len(of.shown):
            raise Unusable("the stream is not twice the same")
        packet.stream = streams[index]
        packet.pts, packet.dts, packet.duration = int(of.shown[place]), int(of.decoded[place]), of.durations[place]
        try:
            film.mux(packet)
        except av.error.InvalidDataError:
            damaged += 1
            if parts[index].video or damaged > _MAX_DAMAGED:
                raise


_ORDERS: dict[str, type[H264Order] | type[HevcOrder]] = {"h264": H264Order, "hevc": HevcOrder}


def _codec(stream: "Stream") -> str:
    """Return the name of a codec, whatever decoder is used for it."""
    context = stream.codec_context
    return context.codec.canonical_name if context else stream.type


def _base(stream: "Stream") -> Fraction:
    """Return the duration of a tick, in seconds."""
    return stream.time_base or Fraction(1, 90_000)


def _part(stream: "Stream") -> _Part | None:
    """Begin a part of the stream; None where MP4 does not hold it."""
    from av.audio.stream import AudioStream
    from av.video.stream import VideoStream

    codec = _codec(stream)
    if isinstance(stream, VideoStream) and codec in _PICTURES:
        return _Part(codec, video=True) if stream.codec_context.width else None
    if isinstance(stream, AudioStream) and codec in _SOUND:
        rate = stream.codec_context.sample_rate
        # An MP4 counts samples.
        return _Part(codec, video=False, step=math.ceil(1 / (rate * _base(stream))) + 1) if rate else None
    return None


def _key(order: H264Order | HevcOrder, packet: "Packet[Stream]", before: "array[int]") -> int:
    """Return the sort key of a picture; one that cannot be read comes after the pictures *before* it."""
    try:
        key = order.key(bytes(packet))
    except Unreadable:
        key = None
    if key is None:
        return before[-1] if before else 0
    return key


def _sets(packet: bytes) -> Iterator[bytes]:
    """Yield the HEVC parameter sets before a picture."""
    for start, stop in units(packet):
        kind = packet[start] >> 1 if start < stop else 0
        if kind in _SETS:
            yield packet[start:stop].rstrip(b"\0")


def _times(parts: dict[int, _Part]) -> dict[int, _Times]:
    """Find the times of all packets of each part that has any; the first one is shown at 0."""
    times = {}
    for index, part in parts.items():
        if not part.stamps:
            continue
        if part.begun is None:
            if part.video:
                raise Unusable("no picture of the stream can be shown without one that is missing")
            continue
        stamps, durations = part.stamps[part.begun :], part.durations[part.begun :]
        if part.video and (part.keys or MISSING in stamps):
            shown = in_order(stamps, durations, part.keys[part.begun :] or range(len(stamps)))
        else:
            shown = np.array(stamps, np.int64)
        shown, decoded = decoding(shown) if part.video else (growing(shown, part.step),) * 2
        times[index] = _Times(part.begun, shown, decoded, durations)
    if not any(parts[index].video for index in times):
        raise Unusable("there are no pictures in the stream")
    first = min(int(of.shown.min()) for of in times.values())
    return {index: of.moved(first) for index, of in times.items()}
