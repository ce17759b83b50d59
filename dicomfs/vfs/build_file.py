"""A file that is being built, in the directory of the disk cache if possible, otherwise among the temporary files.

It moves to the temporary files when the disk of the cache is full, unnoticed by the builder.
"""

import io
import os
import tempfile
import threading
from typing import TYPE_CHECKING

from dicomfs.cache.disk import DiskCache
from dicomfs.resources.descriptors import Descriptors

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_CHUNK_BYTES = 1 << 20
_VAR_TMP = "/var/tmp"  # noqa: S108 - only files without a name are put there


class BuildFile(io.RawIOBase):
    """A private file to write, seek and read.

    `close` does nothing. After `discard`, late writes from an abandoned thread or buffer are dropped, and its other
    calls raise OSError (EBADF).
    """

    def __init__(self, cache: DiskCache | None, descriptors: Descriptors) -> None:
        """Create an empty file in *cache* or elsewhere; idle *descriptors* give way to it. Raises OSError."""
        super().__init__()
        self._lock = threading.Lock()
        self._descriptors = descriptors
        self._cache = cache
        self._draft = cache.draft() if cache else None
        self._descriptor = self._draft.descriptor if self._draft else self._unnamed()

    def finish(self, key: bytes) -> tuple[int, int, bool]:
        """Return a descriptor, which the caller owns, the size, and whether the cache keeps the file under *key*."""
        size = os.fstat(self._descriptor).st_size
        kept = bool(self._cache and self._draft and size and self._cache.keep(key, self._draft, size))
        return self._descriptors.opening_at_once(os.dup, self._descriptor), size, kept

    def discard(self) -> None:
        """Close the file, but not the descriptor that `finish` has returned."""
        with self._lock:
            self._close()
            self._descriptor = -1

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        with self._lock:
            return os.lseek(self._descriptor, offset, whence)

    def truncate(self, size: int | None = None) -> int:
        """Cut or lengthen the file."""
        size = self.tell() if size is None else size
        with self._lock:
            os.ftruncate(self._descriptor, size)
        return size

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read."""
        with self._lock:
            return os.readv(self._descriptor, [buffer])

    def write(self, data: "ReadableBuffer") -> int:
        """Write some of *data* at least, elsewhere if it must be."""
        length = memoryview(data).nbytes
        with self._lock:
            while self._descriptor >= 0:
                try:
                    return os.write(self._descriptor, data)
                except OSError as error:
                    if self._draft is None or self._cache is None:
                        raise
                    if not self._cache.relieve(error, length):
                        self._move()
        return length

    def _move(self) -> None:
        """Go on among the temporary files."""
        elsewhere, here = self._unnamed(), os.lseek(self._descriptor, 0, os.SEEK_CUR)
        try:
            offset = 0
            while data := os.pread(self._descriptor, _CHUNK_BYTES, offset):
                offset += os.pwrite(elsewhere, data, offset)
            os.lseek(elsewhere, here, os.SEEK_SET)
        except BaseException:
            os.close(elsewhere)
            raise
        self._close()
        self._draft, self._descriptor = None, elsewhere

    def _close(self) -> None:
        if self._cache and self._draft:
            self._cache.discard(self._draft)
        else:
            os.close(self._descriptor)

    def _unnamed(self) -> int:
        """Open a temporary file without a name, on disk rather than in memory unless the environment says otherwise."""
        directory = os.environ.get("TMPDIR") or (_VAR_TMP if os.access(_VAR_TMP, os.W_OK) else None)
        with self._descriptors.opening_at_once(tempfile.TemporaryFile, buffering=0, dir=directory) as file:
            return self._descriptors.opening_at_once(os.dup, file.fileno())
