"""JPEG and JPEG-LS streams, read without decoding: markers, frame header, scans (ITU-T T.81 Annex B, T.87 Annex C).

Only this module walks their markers, and only it repairs them.
"""

import contextlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from dicomfs.codecs.bitstream import CodecError, Codestream, HeaderCut, end_without
from dicomfs.dicom.stream import Stream

TRAILING = 64
"""Bytes of padding after an End Of Image marker among which it is found without walking the scans."""

EOI = b"\xff\xd9"
REPAIRED = "corrected the spectral selection of a JPEG scan (E22)"
CUT = "the JPEG frame is cut short (E16)"
UNENDED = "the JPEG-LS frame has no end marker (E16)"

_NO_FRAME = "the JPEG stream has no frame header"
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_RESTARTS = b"\xff\xdd\0\4"
# An Adobe segment that says so (T.81 B.2.4.6 has the form).
_NO_TRANSFORM = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)


def read_header(data: bytes) -> Codestream:
    """Walk the segments up to the frame header."""
    jfif, transform = False, None
    for marker, position in segments(data):
        length = struct.unpack_from(">H", data, position)[0]
        body = data[position + 2 : position + length]
        if marker == 0xE0 and body.startswith(b"JFIF\0"):
            jfif = True
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            transform = body[11]
        elif _is_frame(marker):
            precision, rows, columns, components = struct.unpack_from(">BHHB", body)
            # APP14 may still follow; no known encoder writes it after the frame header, but it is as valid there.
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
                smaller=_smaller(body[7 : 7 + 3 * components : 3]),
            )
        elif marker in (0xDA, 0xD9):
            break
    raise CodecError(_NO_FRAME)


def _is_frame(marker: int) -> bool:
    """Return whether a frame header follows, of JPEG or JPEG-LS."""
    return marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC))


def _smaller(sampling: bytes) -> bool:
    """Tell by the sampling factors of the components whether one has fewer samples than the first (T.81 A.1.1)."""
    first = sampling[:1]
    return any(factor >> 4 < first[0] >> 4 or factor & 15 < first[0] & 15 for factor in sampling[1:])


def segments(data: bytes, position: int = 2) -> Iterator[tuple[int, int]]:
    """Yield the second byte of each marker from *position* on but SOI and TEM, and the offset of its length field.

    Entropy-coded data is searched through where a scan is gone past. Raises HeaderCut and struct.error at the end.
    """
    while True:
        match = _MARKER.search(data, position)
        if match is None:
            raise HeaderCut
        position, marker = match.end(), data[match.end() - 1]
        if marker not in (0xD8, 0x01):
            yield marker, position
            position += struct.unpack_from(">H", data, position)[0]


def _late_transform(data: bytes, position: int) -> int | None:
    """Look for an Adobe segment between the frame header and the first scan."""
    with contextlib.suppress(CodecError, struct.error):
        for marker, segment in segments(data, position):
            length = struct.unpack_from(">H", data, segment)[0]
            if marker == 0xEE and data[segment + 2 : segment + 7] == b"Adobe" and length >= 14:
                return data[segment + 13]
            if marker in (0xDA, 0xD9):
                break
    return None


@dataclass(frozen=True, slots=True)
class Scans:
    """What the headers tell of the scans, as far as they are there.

    *process* is the marker of the frame header (0xC0 baseline, 0xC3 lossless ..., 0 without one), *first* where the
    length field of the first scan's header is, *one* whether it is the only one; *restarts* says that there are markers
    after which a decoder continues beyond a gap.
    """

    process: int
    first: int | None
    one: bool
    restarts: bool


def scans_of(data: bytes, components: int) -> Scans:
    """Look at the scans of a JPEG with so many components.

    All of them in the first scan are all that there is, but in progressive processes (T.81 B.2.3): libjpeg reads no
    further either, and the search through the rest, a tenth of what decoding takes, is not needed.
    """
    process, first = 0, None
    with contextlib.suppress(CodecError, struct.error):
        process = frame_marker(data)
        marker, place = next(found for found in segments(data) if found[0] in (0xDA, 0xD9))
        first = place if marker == 0xDA else None
    one = first is not None and data[first + 2 : first + 3] == bytes([components]) and process not in _PROGRESSIVE
    return Scans(process, first, one, _RESTARTS in (data[:first] if one else data))


def scan_headers(data: bytes) -> tuple[list[int], int | None]:
    """Walk a whole JPEG: the offsets of its SOS segments' length fields, and of the byte after EOI (None without)."""
    scans: list[int] = []
    with contextlib.suppress(CodecError, struct.error):
        for marker, position in segments(data):
            if marker == 0xD9:
                return scans, position
            if marker == 0xDA:
                scans.append(position)
    return scans, None


def is_whole(data: bytes) -> bool:
    """Return whether a JPEG ends as it should: libjpeg fills in grey for missing data and says nothing (E16)."""
    if data.rfind(EOI, max(2, len(data) - TRAILING)) >= 0 and data.rstrip(b"\0\xff").endswith(b"\xd9"):
        return True
    return scan_headers(data)[1] is not None


def seems_whole(stream: Stream) -> bool:
    """Tell the same from the last bytes alone; wrong only where more than 4 KiB of anything follow the end marker.

    Entropy-coded data cannot contain the marker (T.81 B.1.1.5).
    """
    end = end_without(stream, b"\0\xff")
    starts = (max(2, end - TRAILING), max(2, end - 4096))
    return any(EOI in stream.pread(max(0, end - start), start) for start in starts)


def is_ended(stream: Stream) -> bool:
    """Return whether a JPEG-LS stream has its end marker: CharLS searches for it for seconds."""
    end = end_without(stream, b"\0")
    return stream.pread(2, max(0, end - 2)) == EOI


def predictor(data: bytes, scans: Scans) -> int:
    """Return the predictor of a lossless JPEG (T.81 table H.1); 0 where samples are shifted or lines start anew."""
    if scans.first is None or scans.restarts:
        return 0
    end = scans.first + int.from_bytes(data[scans.first : scans.first + 2], "big")
    selection, _, shifts = data[end - 3 : end]
    return 0 if shifts & 0x0F else selection


def repair_spectral_selection(data: bytes, scans: Scans) -> bytes | None:
    """Write 0..63 into scans of a sequential JPEG that claim Ss=0, Se=0 (E22); None where none does.

    T.81 B.2.3 demands Se=63 in sequential processes; several vendors' 12-bit encoders wrote 0, and libjpeg
    then sees a broken progressive stream.
    """
    # An encoder that does this does it in each scan.
    if scans.process not in (0xC0, 0xC1) or scans.first is None or not _claims_nothing(data, scans.first):
        return None
    repaired = bytearray(data)
    for offset in scan_headers(data)[0]:
        if _claims_nothing(data, offset):
            repaired[offset + struct.unpack_from(">H", data, offset)[0] - 2] = 63
    return bytes(repaired)


def huffman_tables(data: bytes) -> dict[int, dict[int, tuple[int, int]]]:
    """Read the tables of class 0 before the first scan: word and length by symbol, by number (T.81 Annex C)."""
    tables: dict[int, dict[int, tuple[int, int]]] = {}
    for marker, position in segments(data):
        if marker == 0xDA:
            break
        if marker != 0xC4:
            continue
        place, end = position + 2, position + int.from_bytes(data[position : position + 2], "big")
        while place + 17 <= end:
            selector, counts = data[place], data[place + 1 : place + 17]
            symbols = iter(data[place + 17 : place + 17 + sum(counts)])
            table, word = {}, 0
            for length, count in enumerate(counts, 1):
                for _, symbol in zip(range(count), symbols, strict=False):
                    table[symbol] = word, length
                    word += 1
                word <<= 1
            if selector < 16:
                tables[selector] = table
            place += 17 + sum(counts)
    return tables


def end_of_scan(data: bytes, start: int) -> int:
    """Find where the entropy-coded data that begin at *start* end, without bytes that fill up to a marker."""
    found = _MARKER.search(data, start)
    return start + len(data[start : found.start() if found else len(data)].rstrip(b"\xff"))


def with_precision(data: bytes, precision: int) -> bytes:
    """State that samples have *precision* bits."""
    changed = bytearray(data)
    for marker, position in segments(data):
        if _is_frame(marker):
            changed[position + 2] = precision
            break
    return bytes(changed)


def for_probe(data: bytes, header: Codestream, scans: Scans, precision: int) -> tuple[bytes, tuple[int, ...]]:
    """Return a JPEG whose entropy-coded data are the same, for a decoder that looks for damage in them.

    It has *precision* bits a sample, nothing that makes decoders convert colours or warn of what is no damage, and the
    mean of each block is all that is left of it, not multiplied by its quantiser. These quantisers follow, one a
    component; none where the process has none or they are unknown.
    """
    probe, used = bytearray(data), b""
    tables: dict[int, int] = {}
    for marker, position in segments(data):
        body = position + 2
        if marker == 0xE0 or marker == 0xEE:
            probe[body : body + 1] = b"X"
        elif marker == 0xDB:
            tables.update(_flattened(probe, position))
        elif marker == scans.process:
            probe[body] = precision
            used = data[body + 8 : body + 6 + 3 * header.components : 3]
        elif marker in (0xDA, 0xD9):
            break
    if scans.process in (0xC0, 0xC1) and scans.first is not None:
        for offset in [scans.first] if scans.one else scan_headers(data)[0]:
            end = offset + int.from_bytes(data[offset : offset + 2], "big")
            probe[end - 3 : end] = b"\0\x3f\0"
    known = not header.lossless and all(table in tables for table in used)
    if known and not scans.one and scans.first is not None:
        known = data.find(b"\xff\xdb", scans.first) < 0  # none is replaced between the scans
    quantisers = tuple(tables[table] for table in used) if known else ()
    return bytes(probe[:2]) + _NO_TRANSFORM + bytes(probe[2:]), quantisers


def _flattened(probe: bytearray, position: int) -> Iterator[tuple[int, int]]:
    """Take all but the means out of the quantisation tables of a segment; yield the number and quantiser of each."""
    end = position + int.from_bytes(probe[position : position + 2], "big")
    place = position + 2
    while place < end:
        size, number = (probe[place] >> 4) + 1, probe[place] & 15
        yield number, int.from_bytes(probe[place + 1 : place + 1 + size], "big")
        table = (1).to_bytes(size, "big") + bytes(63 * size)
        probe[place + 1 : place + 1 + len(table)] = table
        place += 1 + len(table)


def _claims_nothing(data: bytes, header: int) -> bool:
    """Return whether a scan claims Ss=0, Se=0."""
    selection = header + int.from_bytes(data[header : header + 2], "big") - 3
    return data[selection : selection + 2] == b"\0\0"


def frame_marker(data: bytes) -> int:
    """Return the second byte of the frame header's marker (0xC0 baseline, 0xC3 lossless, 0xF7 JPEG-LS ...)."""
    for marker, position in segments(data):
        if _is_frame(marker):
            return marker
        if marker in (0xDA, 0xD9) or position + 2 > len(data):
            break
    raise CodecError(_NO_FRAME)
