"""What encoded frames say about themselves: markers, dimensions and sample types, read without decoding.

Only this module walks JPEG, JPEG-LS, JPEG 2000 and JPEG XL headers, and only it mends them. A decoder is never
asked how large a picture will be: the header of a hostile stream would have it allocate gigabytes first.
"""

import errno
import re
import struct
from dataclasses import dataclass


class CodecError(OSError):
    """A frame is damaged, cut short, not what its header says, or in an encoding that nothing here reads."""

    def __init__(self, reason: str) -> None:
        """Say why in a sentence for a user."""
        super().__init__(errno.EIO, reason)


@dataclass(frozen=True, slots=True)
class Codestream:
    """The header of one encoded frame.

    *kind* is jpg, jls, j2k or jxl. *precision* is the bits of a sample and *components* their number, 0 where the
    header was not read that far. *lossless* is a lossless JPEG process, *transform* the colour transform of an
    Adobe APP14 segment, *ids* are the component identifiers of a JPEG; *mct* says that JPEG 2000 has mixed the
    components.
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
    mct: bool = False


JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
JXL_SIGNATURE = b"\x00\x00\x00\x0cJXL \r\n\x87\n"

LEADING = 64
"""Bytes of padding before a codestream that are skipped in search of its start."""

TRAILING = 64
"""Bytes of padding after an End Of Image marker among which it is found without walking the scans."""

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_STARTS = re.compile(
    b"|".join(map(re.escape, (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", JP2_SIGNATURE, b"\xff\x0a", JXL_SIGNATURE)))
)


def sniff(head: bytes) -> str:
    """Name the extension of a codestream by its first 16 bytes, better 64: jpg jls j2k jp2 jph jxl rle bin."""
    if head.startswith(b"\xff\xd8\xff"):
        try:
            return "jls" if frame_marker(head) == 0xF7 else "jpg"
        except (CodecError, struct.error):
            # The frame header lies further on. Of the markers that come first, SPIFF's APP8 speaks for JPEG-LS.
            return "jls" if head[3:4] in (b"\xe8", b"\xf8") else "jpg"
    if head.startswith(b"\xff\x4f\xff\x51"):
        return "j2k"
    if head.startswith(JP2_SIGNATURE):
        return "jph" if head[20:24] == b"jph " else "jp2"
    if head.startswith((b"\xff\x0a", JXL_SIGNATURE)):
        return "jxl"
    if len(head) >= 8:
        count, first = struct.unpack_from("<II", head)
        if 1 <= count <= 15 and first == 64:  # PS3.5 G.5
            return "rle"
    return "bin"


def find_start(data: bytes) -> int | None:
    """Find where a codestream starts behind at most 64 bytes of padding; None when there is none."""
    match = _STARTS.search(data, 0, LEADING + 16)
    return match.start() if match else None


def read_header(data: bytes) -> Codestream:
    """Read the header of the codestream that starts at the first byte of *data*."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"\xff\x4f"):
            return _jpeg2000(data, 0)
        if data.startswith(JP2_SIGNATURE):
            return _jpeg2000(data, jp2_codestream(data))
        return _jpegxl(data)
    except (struct.error, IndexError) as error:
        raise CodecError("the codestream ends inside its header") from error


# JPEG and JPEG-LS (ITU-T T.81 Annex B, T.87 Annex C)


def _jpeg(data: bytes) -> Codestream:
    """Walk the segments up to the frame header."""
    jfif, transform, position = False, None, 2
    while True:
        position, marker = _next_marker(data, position)
        if marker in (0xD8, 0x01):
            continue
        length = struct.unpack_from(">H", data, position)[0]
        body = data[position + 2 : position + length]
        if marker == 0xE0 and body.startswith(b"JFIF\0"):
            jfif = True
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            transform = body[11]
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            precision, rows, columns, components = struct.unpack_from(">BHHB", body)
            # APP14 may still follow; nobody writes it behind the frame header, but it is as valid there.
            transform = _late_transform(data, position + length) if transform is None else transform
            return Codestream(
                "jls" if marker == 0xF7 else "jpg",
                rows,
                columns,
                components,
                precision,
                lossless=marker in (0xC3, 0xC7, 0xCB, 0xCF, 0xF7),
                jfif=jfif,
                transform=transform,
                ids=body[6 : 6 + 3 * components : 3],
            )
        elif marker in (0xDA, 0xD9):
            raise CodecError("the JPEG stream has no frame header")
        position += length


def _next_marker(data: bytes, position: int) -> tuple[int, int]:
    """Find the next marker at or behind *position*; give the position after it and its second byte."""
    match = _MARKER.search(data, position)
    if match is None:
        raise CodecError("the codestream is cut short")
    return match.end(), data[match.end() - 1]


def _late_transform(data: bytes, position: int) -> int | None:
    """Look for an Adobe segment between the frame header and the first scan."""
    while True:
        try:
            position, marker = _next_marker(data, position)
            length = struct.unpack_from(">H", data, position)[0]
        except (CodecError, struct.error):
            return None
        if marker == 0xEE and data[position + 2 : position + 7] == b"Adobe" and length >= 14:
            return data[position + 13]
        if marker in (0xDA, 0xD9):
            return None
        position += length


def scan_headers(data: bytes) -> tuple[list[int], int | None]:
    """Walk a whole JPEG: the offsets of its SOS segments' length fields, and of the byte after EOI (None without)."""
    scans: list[int] = []
    position = 2
    while True:
        try:
            position, marker = _next_marker(data, position)
            if marker == 0xD9:
                return scans, position
            if marker in (0xD8, 0x01):
                continue
            if marker == 0xDA:
                scans.append(position)
            position += struct.unpack_from(">H", data, position)[0]
        except (CodecError, struct.error):
            return scans, None


def jpeg_is_whole(data: bytes) -> bool:
    """Tell whether a JPEG ends as it should: libjpeg fills in grey for what is missing and says nothing (E16)."""
    if data.rfind(b"\xff\xd9", max(2, len(data) - TRAILING)) >= 0 and data.rstrip(b"\0\xff").endswith(b"\xd9"):
        return True
    return scan_headers(data)[1] is not None


def mend_spectral_selection(data: bytes) -> bytes | None:
    """Write 0..63 into scans of a sequential JPEG that claim Ss=0, Se=0 (E22); None when there is nothing to mend.

    T.81 B.2.3 demands Se=63 in sequential processes; several vendors' 12-bit encoders wrote 0, and libjpeg
    then sees a broken progressive stream.
    """
    kind = frame_marker(data)
    if kind not in (0xC0, 0xC1):
        return None
    mended = bytearray(data)
    for offset in scan_headers(data)[0]:
        length = struct.unpack_from(">H", data, offset)[0]
        selection = offset + length - 3
        if data[selection : selection + 2] == b"\0\0":
            mended[selection + 1] = 63
    return bytes(mended) if mended != data else None


def frame_marker(data: bytes) -> int:
    """Give the second byte of the frame header's marker (0xC0 baseline, 0xC3 lossless, 0xF7 JPEG-LS ...)."""
    position = 2
    while True:
        position, marker = _next_marker(data, position)
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return marker
        if marker in (0xD8, 0x01):
            continue
        if marker in (0xDA, 0xD9) or position + 2 > len(data):
            raise CodecError("the JPEG stream has no frame header")
        position += struct.unpack_from(">H", data, position)[0]


# JPEG 2000 and HTJ2K (ITU-T T.800 Annexes A and I)


def jp2_codestream(data: bytes) -> int:
    """Find the offset of the contiguous codestream box's content in a JP2 or JPH file (T.800 I.5.4)."""
    position = 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, position + 8)[0], 16
        if kind == b"jp2c":
            return position + head
        if length < head:
            break
        position += length
    raise CodecError("the JP2 file holds no codestream")


def _jpeg2000(data: bytes, start: int) -> Codestream:
    """Read the SIZ marker segment, and COD for the multiple component transform."""
    if data[start : start + 4] != b"\xff\x4f\xff\x51":
        raise CodecError("the JPEG 2000 stream does not begin with its size")
    x1, y1, x0, y0, tile_x, tile_y = struct.unpack_from(">IIIIII", data, start + 8)
    components = struct.unpack_from(">H", data, start + 40)[0]
    depth, step_x, step_y = struct.unpack_from("BBB", data, start + 42)
    if not (step_x and step_y and tile_x and tile_y and x1 > x0 and y1 > y0):
        raise CodecError("the JPEG 2000 stream states an impossible size")
    mct, position = False, start + 4
    while True:
        position += struct.unpack_from(">H", data, position)[0]
        marker = struct.unpack_from(">H", data, position)[0]
        if marker == 0xFF52:
            mct = data[position + 8] == 1
        if marker in (0xFF90, 0xFFD9) or marker < 0xFF00:
            break
        position += 2
    return Codestream(
        "j2k",
        -(-y1 // step_y) - -(-y0 // step_y),
        -(-x1 // step_x) - -(-x0 // step_x),
        components,
        (depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        mct=mct,
    )


def jpeg2000_is_whole(data: bytes) -> bool:
    """Tell whether every tile-part of a JPEG 2000 stream is there: OpenJPH decodes a cut stream in silence (E16)."""
    return _end_of_tiles(data) is not None


def mend_after_tiles(data: bytes) -> bytes | None:
    """Drop comments that were written between the last tile-part and the end (C9); None without any.

    T.800 A.3 allows comments in headers only, and OpenJPEG refuses the stream for one that is elsewhere.
    """
    end = _end_of_tiles(data)
    if end is None or data[end : end + 2] != b"\xff\x64":
        return None
    return data[:end] + b"\xff\xd9"


def _end_of_tiles(data: bytes) -> int | None:
    """Walk the tile-parts; give the offset after the last one, None where one is cut short or EOC is missing."""
    position = 2 + (jp2_codestream(data) if data.startswith(JP2_SIGNATURE) else 0)
    end: int | None = None
    try:
        while True:
            marker = struct.unpack_from(">H", data, position)[0]
            if marker == 0xFFD9:
                return position if end is None else end
            if marker == 0xFF90:
                length = struct.unpack_from(">I", data, position + 6)[0]
                if length == 0:  # the last tile-part reaches to the end of the stream
                    last = data.rstrip(b"\0")
                    return len(last) - 2 if last.endswith(b"\xff\xd9") else None
                if length < 14:
                    return None
                position += length
                end = position
            else:
                position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    except struct.error:
        return None


def unscramble(data: bytes) -> bytes | None:
    """Undo the scrambling that Zeiss ophthalmic devices apply to a JP2 file (C12); None when this is not one.

    Every seventh byte is inverted in part and three regions are exchanged, so that the JP2 signature lies at
    three fifths of the length: finding it there is the proof.
    """
    middle = 3 * len(data) // 5
    if middle < 1016 or middle + 253 > len(data):
        return None
    plain = bytearray(data)
    plain[::7] = bytes(byte ^ 0x5A for byte in plain[::7])
    if not plain.startswith(JP2_SIGNATURE, middle):
        return None
    order = ((middle, middle + 253), (993, 1016), (276, 763), (23, 276), (1016, middle), (0, 23), (763, 993))
    return b"".join([plain[start:stop] for start, stop in order]) + plain[middle + 253 :]


# JPEG XL (ISO/IEC 18181-1 Annex D, 18181-2)


class _Bits:
    """Reads numbers bit by bit, least significant bit first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data[:64], "little")

    def take(self, count: int) -> int:
        """Take the next *count* bits."""
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        return value


_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def _jpegxl(data: bytes) -> Codestream:
    """Read the size header of a bare codestream or of the first codestream box."""
    start = 0 if data.startswith(b"\xff\x0a") else _jpegxl_codestream(data)
    if data[start : start + 2] != b"\xff\x0a":
        raise CodecError("the JPEG XL file holds no codestream")
    bits = _Bits(data[start + 2 : start + 66])
    small = bits.take(1)

    def side() -> int:
        return (bits.take(5) + 1) * 8 if small else bits.take((9, 13, 18, 30)[bits.take(2)]) + 1

    rows = side()
    ratio = bits.take(3)
    columns = side() if ratio == 0 else rows * _RATIOS[ratio - 1][0] // _RATIOS[ratio - 1][1]
    return Codestream("jxl", rows, columns, 0, 0)


def _jpegxl_codestream(data: bytes) -> int:
    """Find the first codestream byte in a JPEG XL container (boxes jxlc, jxlp)."""
    position = 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, position + 8)[0], 16
        if kind == b"jxlc":
            return position + head
        if kind == b"jxlp":
            return position + head + 4
        if length < head:
            break
        position += length
    raise CodecError("the JPEG XL file holds no codestream")
