"""Stored videos: all fragments of Pixel Data as one stream, what that is, and where it ends (PS3.5 8.2.5 to 8.2.11).

Only this module names video streams. It goes by their first bytes, for the transfer syntax often says something else,
and by their structure, never by end markers: those occur within.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from dicomfs.codecs.codestream import sniff
from dicomfs.dicom.data_set import Element
from dicomfs.dicom.fragments import Fragments, Joined, JoinedStream
from dicomfs.dicom.part10_reader import DicomFile
from dicomfs.dicom.stream import Extent, Stream

KINDS = ("mp4", "ts", "mpg", "m2v", "h264", "h265", "avi", "wmv", "mkv", "bin")
"""What a stream may be, as extensions of file names; the last is for all else."""

# Containers that DICOM does not provide for and players know: AVI (RIFF), ASF (by its GUID), Matroska and WebM (EBML).
_FOREIGN = {
    "avi": re.compile(rb"RIFF....AVI ", re.DOTALL),
    "wmv": re.compile(re.escape(bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"))),
    "mkv": re.compile(re.escape(bytes.fromhex("1a45dfa3"))),
}

# MPEG-2, H.264 and HEVC with their fragmentable variants (PS3.5 10.5 and following).
_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))
# What tells streams apart is within so many bytes, also after a few parameter sets.
_HEAD = 4096
# Boxes of a file that is not MP4, but close (QuickTime), may come in any order.
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"pnot")
# Boxes that are looked at: a cine loop of hours in fragments of a second has some ten thousand.
_MAX_BOXES = 20_000
# Sync bytes of a transport stream (ISO/IEC 13818-1 2.4.3.2) that must be in their places.
_SYNC, _PACKETS = 0x47, 5
# The longest packet of a program stream is 65,541 bytes; the last pack begins within this, but for odd ones.
_LAST_PACKS_BYTES, _MAX_CHANCES = 1 << 18, 16
_PACK, _PROGRAM_END, _SEQUENCE_END = b"\0\0\1\xba", b"\0\0\1\xb9", b"\0\0\1\xb7"
_START_CODE = re.compile(b"\0\0\1(..)", re.DOTALL)
_ZEROS = re.compile(b"\0*\0\0\1")
# NAL units that begin a stream: parameter sets, delimiters, SEI, pictures that stand alone (H.264 table 7-1, HEVC 7-1).
_H264_STARTS, _HEVC_STARTS = frozenset((5, 6, 7, 8, 9)), frozenset((16, 17, 18, 19, 20, 21, 32, 33, 34, 35, 39))


@dataclass(frozen=True, slots=True)
class Video:
    """A stored video: of what kind it is (see KINDS), where it is, and how many of its bytes are not padding."""

    kind: str
    joined: Joined
    size: int


def is_video(parsed: DicomFile, element: Element, fragments: Fragments | None) -> bool:
    """Whether Pixel Data is a video: the transfer syntax says so, and it does not begin like a picture instead."""
    if not parsed.transfer_syntax.startswith(_SYNTAXES):
        return False
    return sniff(JoinedStream(_joined(element, fragments), parsed.stream).pread(64, 0)) == "bin"


def video_of(parsed: DicomFile, element: Element, fragments: Fragments | None) -> tuple[Video | None, tuple[str, ...]]:
    """Find the stream of a video; None where it is empty. Returns it and a line for each thing to know about it."""
    joined = _joined(element, fragments)
    stream, size = JoinedStream(joined, parsed.stream), joined.size
    if not size:
        return None, ("Pixel Data is a video without a byte",)
    kind = kind_of(stream.pread(_HEAD, 0), size)
    measure = _END.get(kind)
    end = measure(stream) if measure else None
    padded = end == size - 1 and stream.pread(1, size - 1) == b"\0"
    problems = [
        "Pixel Data is a video, whose frames are not taken apart here; ffmpeg does that: "
        f"ffmpeg -i video.{kind} ~/%04d.png"
    ]
    if kind == "bin":
        problems.append("the video is of a kind that is not known here; players may know it")
    elif kind in _FOREIGN:
        problems.append(f"the video is a file of the kind {kind}, which DICOM does not provide for; players know it")
    elif (end is not None and end > size) or (fragments is not None and fragments.cut):
        problems.append("the video is cut short; players show what is there of it")
    return Video(kind, joined, size - padded), tuple(problems)


def kind_of(head: bytes, size: int) -> str:
    """Return what a stream of *size* bytes is by its first ones."""
    if head[4:8] in _BOXES and (int.from_bytes(head[:4], "big") >= 8 or head[:4] in (bytes(4), b"\0\0\0\1")):
        return "mp4"
    if foreign := next((kind for kind, start in _FOREIGN.items() if start.match(head)), None):
        return foreign
    if _packet(head, size):
        return "ts"
    zeros = _ZEROS.match(head)
    code = head[zeros.end()] if zeros and zeros.end() < len(head) else 0
    if code == 0xBA:
        return "mpg"
    if code in (0xB3, 0xB8):
        return "m2v"
    return (zeros and _nal_kind(head)) or "bin"


def _nal_kind(head: bytes) -> str | None:
    """Tell H.264 from HEVC by the first NAL unit that can begin only one of them (H.264 7.3.1, HEVC 7.3.1.2)."""
    for match in _START_CODE.finditer(head):
        first, second = match[1]
        # HEVC: no layer but the base, and the lowest temporal sub-layer.
        if first >> 1 in _HEVC_STARTS and first & 1 == 0 and second == 1:
            return "h265"
        reference = first >> 5 & 3
        # Delimiters and SEI are never referred to, all others of these always are.
        if first < 0x80 and first & 31 in _H264_STARTS and (reference == 0) == (first & 31 in (6, 9)):
            return "h264"
    return None


def _packet(head: bytes, size: int) -> int:
    """Return the length of the packets of a transport stream: 188, or 192 with time stamps before them; 0 for none."""
    for length, first in ((188, 0), (192, 4)):
        places = range(first, min(_PACKETS * length, size), length)
        if size >= length and all(head[place : place + 1] == bytes([_SYNC]) for place in places):
            return length
    return 0


def _joined(element: Element, fragments: Fragments | None) -> Joined:
    if fragments is None:
        return Joined([Extent(element.offset, element.length)])
    return Joined([fragments.extent(index) for index in range(1, len(fragments))])


# Each of these says where the structure of a stream ends, beyond the last byte where it is cut; None where it tells
# nothing. A pad byte that makes the length of an Item even is after that end.


def _end_of_boxes(stream: Stream) -> int | None:
    """Follow the boxes of the file (ISO/IEC 14496-12 4.2)."""
    position = 0
    for _ in range(_MAX_BOXES):
        head = stream.pread(16, position)
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if len(head) < 8 or length < 8 or not head[4:8].isascii():
            return position  # the last box reaches to the end, or what follows is no box
        position += length
        if position >= stream.size - 1:
            return position
    return None


def _end_of_packets(stream: Stream) -> int | None:
    """Count packets, of which the last must begin where it should."""
    length = _packet(stream.pread(_PACKETS * 192, 0), stream.size)
    whole = stream.size // length * length
    sync = 0 if length == 188 else 4
    if stream.pread(1, whole - length + sync) != bytes([_SYNC]):
        return None
    return whole + length if stream.pread(1, whole + sync) == bytes([_SYNC]) else whole


def _end_of_packs(stream: Stream) -> int | None:
    """Follow the packets from one of the first pack headers near the end; a few may be there by chance."""
    start = max(0, stream.size - _LAST_PACKS_BYTES)
    data = stream.pread(_LAST_PACKS_BYTES, start)
    for found in islice(re.finditer(_PACK, data), _MAX_CHANCES):
        end = _follow_packs(data, found.start())
        if end is not None:
            return start + end
    return None


def _follow_packs(data: bytes, position: int) -> int | None:
    """Go from packet to packet to the end or beyond (ISO/IEC 13818-1 2.5.3); None where something else is there."""
    while position < len(data) - 1:
        code, rest = data[position : position + 4], len(data) - position
        if code == _PROGRAM_END:
            position += 4
        elif code == _PACK and rest >= 14:
            # MPEG-2 has the bits 01 there, and stuffing at the end; MPEG-1 has 0010.
            position += 14 + (data[position + 13] & 7) if data[position + 4] >> 6 == 1 else 12
        elif code[:3] == _PACK[:3] and code[3] > _PACK[3] and rest >= 6:
            position += 6 + int.from_bytes(data[position + 4 : position + 6], "big")
        else:
            return None
    return position


def _end_of_sequence(stream: Stream) -> int | None:
    """Look for the code that ends an elementary MPEG-2 stream; slices may end with a byte of zeros themselves."""
    tail = stream.pread(5, max(0, stream.size - 5))
    return stream.size - 1 if tail == _SEQUENCE_END + b"\0" else None


def _end_of_units(stream: Stream) -> int | None:
    """Look at the end of the last NAL unit, which is never a zero (H.264 7.4.1, HEVC 7.4.2.1).

    More zeros than one were not put there to make a length even.
    """
    tail = stream.pread(2, max(0, stream.size - 2))
    return stream.size - 1 if len(tail) == 2 and tail[1] == 0 != tail[0] else None


def _end_of_riff(stream: Stream) -> int | None:
    """Read the length of the one chunk that an AVI file is; files above 1 GiB have more of them (OpenDML)."""
    head = stream.pread(8, 0)
    end = 8 + int.from_bytes(head[4:], "little")
    return end if stream.pread(4, end) != b"RIFF" else None


_END: dict[str, Callable[[Stream], int | None]] = {
    "mp4": _end_of_boxes,
    "ts": _end_of_packets,
    "mpg": _end_of_packs,
    "m2v": _end_of_sequence,
    "h264": _end_of_units,
    "h265": _end_of_units,
    "avi": _end_of_riff,
}
