"""What an encoded frame says about itself, as one value, and the error of a frame that cannot be decoded.

Only this module reads the boxes that may hold JPEG 2000 and JPEG XL codestreams (ISO base media, T.800 Annex I).
"""

import errno
import struct
from dataclasses import dataclass

from dicomfs.dicom.stream import Stream


class CodecError(OSError):
    """A frame is damaged, cut short, not what its header says, or in an encoding that nothing here reads."""

    def __init__(self, reason: str) -> None:
        """Say why in a sentence for a user."""
        super().__init__(errno.EIO, reason)


class HeaderCut(CodecError):
    """The bytes end inside of a header; more of them, if there are more, may complete it."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__("the codestream ends inside its header")


@dataclass(frozen=True, slots=True)
class Codestream:
    """The header of one encoded frame.

    *kind* is jpg, jls, j2k or jxl. *precision* is the bits of a sample and *components* their number, 0 where the
    header was not read that far. *lossless* is a lossless JPEG process, *transform* the colour transform of an
    Adobe APP14 segment, *ids* are the component identifiers of a JPEG. *smaller* says that a component has fewer
    samples than the first, *mixed* that components differ in precision or sign, *mct* that JPEG 2000 has a colour
    transform of the components, *high_throughput* that its code-blocks are those of HTJ2K (T.814).
    """

    kind: str
    rows: int
    columns: int
    components: int
    precision: int
    signed: bool = False
    lossless: bool = False
    jfif: bool = False
    transform: int | None = None
    ids: bytes = b""
    smaller: bool = False
    mct: bool = False
    mixed: bool = False
    high_throughput: bool = False


JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
JXL_SIGNATURE = b"\x00\x00\x00\x0cJXL \r\n\x87\n"


def box(data: bytes, *kinds: bytes) -> tuple[bytes, int] | None:
    """Find the first top-level box of one of *kinds*; return its kind and the offset of its content.

    Raises HeaderCut where *data* ends before such a box.
    """
    position = 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, position + 8)[0], 16
        if kind in kinds:
            return kind, position + head
        if length < head:
            return None
        position += length
    raise HeaderCut


def end_without(stream: Stream, padding: bytes) -> int:
    """Return the size of *stream* without the bytes of *padding* at its end; nothing before them is read."""
    end, step = stream.size, 64
    while end:
        step = min(step, end)
        kept = stream.pread(step, end - step).rstrip(padding)
        if kept:
            return end - step + len(kept)
        end -= step
        step *= 2
    return 0
