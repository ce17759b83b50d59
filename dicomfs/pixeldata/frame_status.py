"""The status of a frame without decoding it: sound, in need of repair, or unreadable, with the reasons.

Only this module judges frames by their first and last bytes. A frame that it calls right may still be damaged
within; then reading it is an error. One that it calls an error is one for the decoder, too. Where decoding may repair
what these bytes do not show, a Status is not decisive.
"""

import contextlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from dicomfs.codecs import jpeg, jpeg2000, rle
from dicomfs.codecs.bitstream import CodecError, Codestream, HeaderCut
from dicomfs.codecs.codestream import read_header
from dicomfs.codecs.colour import colour_of
from dicomfs.codecs.decoders import check_header, jpeg2000_repairs
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.registry import CODECS, Recognised, recognise
from dicomfs.dicom import uids
from dicomfs.dicom.dictionary import is_known_uid, uid_name
from dicomfs.dicom.printable import frame_list
from dicomfs.dicom.stream import Extent, Stream
from dicomfs.pixeldata.frames import Frames

# Most headers end within the first; tables of contents and colour profiles before them may need more. A header that
# is longer than the last is taken for right.
_HEAD_BYTES = (1024, 1 << 16, 1 << 20)
# What a frame's end must show: an end marker, padding, the last tile-part of JPEG 2000.
_TAIL_BYTES = 64
# Marker segments and tile-parts of one frame that are looked at.
_MAX_SEGMENTS = 200
# The longest segment that begins a scan (T.81 B.2.3).
_SCAN_HEADER_BYTES = 14
# Of objects with more frames than this, the first, the middle and the last stand for all when the object is loaded.
_MAX_FRAMES_EACH = 8

_RULE = re.compile(r"\(([A-Z]\d+)\)$")


class Status(NamedTuple):
    """Whether a frame can be read, and why not. *decisive* is false if only decoding can settle it."""

    state: Literal["ok", "repaired", "error", "unknown"]
    reasons: tuple[str, ...] = ()
    decisive: bool = True

    def __str__(self) -> str:
        """Write it with the rules that the reasons name, such as "repaired (E15, E22)"."""
        rules = [found[1] for reason in self.reasons if (found := _RULE.search(reason))]
        return f"{self.state} ({', '.join(rules)})" if rules else self.state


OK = Status("ok")
UNDECODED = Status("unknown", ("the encoder may have been faulty, which decoding the frame shows (C8)",))
# The longest Status as text: all repairs that one frame may need.
LONGEST = len("repaired (E15, E17, E24, C4, C5, C9)")


@dataclass(slots=True)
class _Frame:
    """The bytes of one frame as a stream, its fragments joined; *skip* bytes before it are left out.

    The first and last bytes are read once.
    """

    stream: Stream
    extents: Sequence[Extent]
    skip: int = 0
    head: bytes = b""
    tail: bytes = b""

    def __post_init__(self) -> None:
        self.head = self._read(_HEAD_BYTES[0], 0)
        self.tail = self._read(_TAIL_BYTES, max(0, self.size - _TAIL_BYTES))

    @property
    def size(self) -> int:
        """Bytes in the frame."""
        return sum(length for _, length in self.extents) - self.skip

    def pread(self, length: int, offset: int) -> bytes:
        """Read *length* bytes at *offset*; fewer only where the frame ends."""
        if offset + length <= len(self.head):
            return self.head[offset : offset + length]
        start = self.size - len(self.tail)
        if offset >= start:
            return self.tail[offset - start : offset - start + length]
        return self._read(length, offset)

    def _read(self, length: int, offset: int) -> bytes:
        parts, offset = [], offset + self.skip
        for start, there in self.extents:
            if offset < there and length:
                parts.append(self.stream.pread(min(length, there - offset), start + offset))
                length -= len(parts[-1])
                offset = there
            offset -= there
        return b"".join(parts)


def needs_look(fmt: PixelFormat) -> bool:
    """Whether frames of *fmt* must be read to be judged; others are judged by their extents."""
    codec = CODECS.get(fmt.transfer_syntax)
    return codec is not None and codec.extension != "bin"


def status(stream: Stream | None, fmt: PixelFormat, frames: Frames, frame: int) -> Status:
    """Return the status of frame *frame* (from 0) after a few small reads; *stream* is needed if `needs_look`."""
    extents = frames.extents(frame)
    if not extents:
        encapsulated = frames.found_by != "arithmetic"
        return Status("error", (f"the frame is declared but not in the file ({'E6' if encapsulated else 'N3'})",))
    codec = CODECS.get(fmt.transfer_syntax)
    if codec is None:
        return Status("error", (f"no decoder reads {_syntax(fmt.transfer_syntax)}",))
    if stream is None or codec.extension == "bin":
        return _native(sum(length for _, length in extents), fmt)
    try:
        return _judged(_Frame(stream, extents), fmt)
    except (CodecError, struct.error) as error:
        sentence = str(error.strerror) if isinstance(error, CodecError) else "the codestream ends inside its header"
        return Status("error", (sentence,))


def _syntax(uid: str) -> str:
    """Name a transfer syntax, unless it is one that is not known: such a UID may be any text."""
    return f"the transfer syntax {uid_name(uid)}" if is_known_uid(uid) else "this transfer syntax, which is not known"


def repaired_status(reasons: tuple[str, ...], *, decisive: bool = True) -> Status:
    """Return the status of a frame that can be read after the repairs in *reasons*."""
    return Status("repaired" if reasons else "ok", reasons, decisive)


def looked_at(count: int) -> list[int]:
    """Choose the frames that stand for all of *count*."""
    return sorted(range(count) if count <= _MAX_FRAMES_EACH else {0, count // 2, count - 1})


def problems(stream: Stream, fmt: PixelFormat, frames: Frames) -> tuple[str, ...]:
    """Report what is wrong with the frames that stand for all, those left out that are not in the file at all."""
    found: dict[tuple[bool, str], list[int]] = {}
    chosen = [frame for frame in looked_at(len(frames)) if frames.extents(frame)]
    for frame in chosen:
        state, reasons, _ = status(stream, fmt, frames, frame)
        for reason in reasons:
            found.setdefault((state == "error", reason), []).append(frame + 1)
    lines = []
    for (is_error, reason), numbers in found.items():
        subject = "all frames" if len(numbers) == len(frames) > 1 else frame_list(numbers)
        lines.append(f"{subject} cannot be read: {reason}" if is_error else f"{subject}: {reason}")
    return tuple(lines)


def _native(length: int, fmt: PixelFormat) -> Status:
    """Judge an uncompressed frame by its length; that of a deflated one says nothing."""
    needed = -(-fmt.frame_bits // 8)
    if fmt.transfer_syntax != uids.EncapsulatedUncompressedExplicitVRLittleEndian or needed <= length <= needed + 1:
        return OK
    if length < needed:
        return Status("error", (f"the frame is cut short: {length} of {needed} bytes (N3)",))
    return Status("repaired", (f"left out {length - needed} bytes after the pixels of the frame (N2)",))


def _judged(frame: _Frame, fmt: PixelFormat) -> Status:
    """Look at the header and the end of an encoded frame for what decoding it repairs. Raises CodecError."""
    found = recognise(frame, fmt)
    if found.start:
        frame = _Frame(frame.stream, frame.extents, found.start)
    if found.kind == "rle":
        rle.segment_bounds(frame.pread(64, 0), frame.size, rle.segment_count(fmt))
        return repaired_status(found.repairs)
    header, head = _header(frame, found)
    if header is None:
        return repaired_status(found.repairs)
    check_header(header, fmt)
    overruled = colour_of(header, fmt).overruled
    colour = (overruled,) if overruled else ()
    if found.kind == "jpg":
        reasons, sure = _jpeg(frame, header)
        return repaired_status(found.repairs + reasons + colour, decisive=sure)
    if found.kind == "jls" and not jpeg.is_ended(frame):
        return repaired_status((*found.repairs, jpeg.UNENDED))
    if found.kind == "j2k":
        repairs = found.repairs + jpeg2000_repairs(header, fmt)
        return repaired_status((repairs if found.scrambled else repairs + _jpeg2000(frame, head)) + colour)
    return repaired_status(found.repairs)


def doubtful_colours(stream: Stream, fmt: PixelFormat, frames: Frames) -> bool:
    """Return whether the headers of frames that stand for all leave doubt about their colours."""
    if fmt.samples != 3 or not needs_look(fmt):
        return False
    for frame in looked_at(len(frames)):
        with contextlib.suppress(CodecError, struct.error):
            header = header_of(stream, fmt, frames.extents(frame)) if frames.extents(frame) else None
            if header is not None and colour_of(header, fmt).doubtful:
                return True
    return False


def header_of(stream: Stream, fmt: PixelFormat, extents: Sequence[Extent]) -> Codestream | None:
    """Read the header of an encoded frame; None where it has none that tells anything. Raises CodecError."""
    frame = _Frame(stream, extents)
    found = recognise(frame, fmt)
    if found.kind == "rle":
        return None
    return _header(_Frame(stream, extents, found.start) if found.start else frame, found)[0]


def _header(frame: _Frame, found: Recognised) -> tuple[Codestream | None, bytes]:
    """Read the header of a codestream that starts where *frame* does, and the bytes that it was read from."""
    head = found.head if found.scrambled else b""
    header = read_header(head) if head else None
    for length in _HEAD_BYTES:
        if header is None:
            head = frame.pread(length, 0)
            header = _complete_header(head, frame.size)
    return header, head


def _complete_header(head: bytes, size: int) -> Codestream | None:
    """Read a header, or say that more than *head* of the *size* bytes must be read for it. Raises CodecError."""
    try:
        return read_header(head)
    except HeaderCut:
        if len(head) >= size:
            raise
        return None


def _jpeg(frame: _Frame, header: Codestream) -> tuple[tuple[str, ...], bool]:
    """Judge the end of a JPEG, and its first scan for all; tell whether nothing else can be the matter with it."""
    if not jpeg.seems_whole(frame):
        raise CodecError(jpeg.CUT)
    for length in _HEAD_BYTES:
        head = frame.pread(length, 0)
        scans = jpeg.scans_of(head, header.components)
        if scans.first is not None and scans.first + _SCAN_HEADER_BYTES <= len(head):
            reasons = (jpeg.REPAIRED,) if jpeg.repair_spectral_selection(head, scans) is not None else ()
            # Its encoder may have let the predictor overflow (C8), for which there must be all 16 bits.
            return reasons, not (header.lossless and header.precision == 16 and jpeg.predictor(head, scans) == 6)
    return (), True


def _jpeg2000(frame: _Frame, head: bytes) -> tuple[str, ...]:
    """Walk the tile-parts of JPEG 2000 to see whether the last is there, and what follows it."""
    end = jpeg2000.end_of_tiles(frame, jpeg2000.codestream_offset(head), _MAX_SEGMENTS)
    if end is None:
        raise CodecError(jpeg2000.CUT)
    return (jpeg2000.REPAIRED,) if frame.pread(2, end) == jpeg2000.COMMENT else ()
