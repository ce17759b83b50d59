"""Inflates deflated data sets (PS3.5 A.5): small ones in memory, others into a temporary file without a name.

Only this module inflates them, and decides how large one may grow (L3).
"""

import os
import tempfile
import weakref
import zlib
from collections.abc import Callable

from dicomfs.dicom.stream import Stream

MAX_INFLATED_BYTES = 4 << 30
"""Bytes that a deflated data set may grow to."""
# Zeros shrink to a 1032nd at best. What is nothing but that, and this large, was made to fill disks.
SUSPICIOUS_BYTES, _BOMB_RATIO = 1 << 30, 1000
# What stays in memory, and the bytes on disk that weigh as much as one in memory.
_IN_MEMORY_BYTES, _ON_DISK = 4 << 20, 128
_CHUNK_BYTES = 1 << 20
_VAR_TMP = "/var/tmp"  # noqa: S108 - only files without a name are put there


class Inflated:
    """An inflated data set as a stream. *whole* is false where something is missing, and *fault* says why."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.size = 0
        self.whole = False
        self.fault = ""
        self._chunks: list[bytes] = []
        self._file = -1
        self.discard: Callable[[], object] = bool

    @property
    def in_memory(self) -> bool:
        """Whether reading never waits for a disk."""
        return self._file < 0

    @property
    def weight(self) -> int:
        """What to count as memory; a file weighs a part of its size, so that caches do not fill the disk."""
        return self.size if self._file < 0 else max(1 << 20, self.size // _ON_DISK)

    def pread(self, length: int, offset: int) -> bytes:
        """Read *length* bytes at *offset*; fewer only where the stream ends."""
        length = max(0, min(length, self.size - offset))
        if self._file >= 0:
            data = os.pread(self._file, length, offset)
            while 0 < len(data) < length:
                data += os.pread(self._file, length - len(data), offset + len(data))
            return data
        first, start = divmod(offset, _CHUNK_BYTES)
        chunks = self._chunks[first : (offset + length + _CHUNK_BYTES - 1) // _CHUNK_BYTES]
        joined = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return joined[start : start + length]

    def add(self, chunk: bytes) -> None:
        """Append a chunk, all but the last of which are equally long. Raises OSError where the disk is full."""
        if self._file < 0 and self.size + len(chunk) > _IN_MEMORY_BYTES:
            directory = os.environ.get("TMPDIR") or (_VAR_TMP if os.access(_VAR_TMP, os.W_OK) else None)
            with tempfile.TemporaryFile(buffering=0, dir=directory) as file:
                self._file = os.dup(file.fileno())
            self.discard = weakref.finalize(self, os.close, self._file)
            kept, self._chunks, self.size = self._chunks, [], 0
            for each in kept:
                self._write(each)
        if self._file < 0:
            self._chunks.append(chunk)
            self.size += len(chunk)
        else:
            self._write(chunk)

    def _write(self, chunk: bytes) -> None:
        descriptor, start = self._file, 0
        if chunk.count(0) == len(chunk):
            os.ftruncate(descriptor, self.size + len(chunk))  # a hole, which reads as zeros and takes no room
        else:
            while start < len(chunk):
                start += os.pwrite(descriptor, chunk[start:], self.size + start)
        self.size += len(chunk)


def inflate(stream: Stream, position: int) -> tuple[Inflated, bool]:
    """Inflate what begins at *position*, also with a zlib or gzip header; tell whether there is one.

    Raises OSError where reading does, and where there is no room on the disk for what comes out.
    """
    found = _inflate(stream, position, -zlib.MAX_WBITS)
    if not found.size:
        other = _inflate(stream, position, zlib.MAX_WBITS | 32)
        if other.size:
            return other, True
    return found, False


def _inflate(stream: Stream, position: int, bits: int) -> Inflated:
    found = Inflated()
    try:
        _fill(found, stream, position, bits)
    except OSError:
        found.discard()
        raise
    return found


def _fill(found: Inflated, stream: Stream, position: int, bits: int) -> None:
    """Inflate into *found* until the deflated data, the stream or what is allowed ends."""
    inflater, start = zlib.decompressobj(bits), position
    chunk = bytearray()
    data = b""
    while not inflater.eof and not found.fault:
        if not data:
            data = stream.pread(_CHUNK_BYTES, position)
            position += len(data)
        starved = not data
        try:
            chunk += inflater.decompress(data, _CHUNK_BYTES - len(chunk))
        except zlib.error:
            break
        data = inflater.unconsumed_tail
        if len(chunk) == _CHUNK_BYTES:
            found.add(bytes(chunk))
            chunk.clear()
            if not inflater.eof:
                found.fault = _too_much(found.size, position - start - len(data))
        elif starved:
            break
    if chunk:
        found.add(bytes(chunk))
    found.whole = inflater.eof
    if not found.whole and not found.fault:
        found.fault = "the deflated data set is damaged; what could be inflated is shown (L3)"


def _too_much(size: int, deflated: int) -> str:
    """Return why no more is inflated of *deflated* bytes that have grown to *size*; empty where it may be."""
    if size >= MAX_INFLATED_BYTES:
        limit = MAX_INFLATED_BYTES >> 20
        return f"the deflated data set is larger than {limit} MiB; the rest is not shown (L3)"
    if size >= SUSPICIOUS_BYTES and size > _BOMB_RATIO * deflated:
        return f"the deflated data set grows to more than {_BOMB_RATIO} times its size; no more of it is inflated (L3)"
    return ""
