"""One version of a file on disk, read by a descriptor that may give way and come back."""

import errno
import os
import struct
from collections.abc import Callable, Hashable

import numpy as np

from dicomfs.resources.descriptors import Descriptors, Kept
from dicomfs.sources.source import Fingerprint, SourceChanged

# Device, inode, size, modification time and change time (both in nanoseconds).
_FINGERPRINT = struct.Struct("<QQQqq")


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    """Return the fingerprint of the version that *status* describes."""
    return _FINGERPRINT.pack(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def object_id_of(status: os.stat_result) -> Hashable:
    """Return what tells a file or directory from all others of this machine."""
    return status.st_dev, status.st_ino


class LocalFile:
    """One version of one archive file (see `SourceFile`).

    Its descriptor counts in a budget. After it had to give way, the next read opens the file again by its path, and
    raises SourceChanged if another version, or nothing, is there by then.
    """

    __slots__ = ("_descriptors", "_fingerprint", "_kept", "_reopen", "size")

    def __init__(
        self, descriptors: Descriptors, descriptor: int, fingerprint: Fingerprint, reopen: Callable[[], int]
    ) -> None:
        """Own *descriptor*, of the version *fingerprint*; *reopen*, called in threads, returns another one."""
        self.size: int = _FINGERPRINT.unpack(fingerprint)[2]
        self._descriptors = descriptors
        self._fingerprint = fingerprint
        self._reopen = reopen
        self._kept = Kept()
        descriptors.adopt(self._kept, descriptor)
        descriptors.done(self._kept)

    @property
    def is_open(self) -> bool:
        """Whether the descriptor is there, so that `pread_cached` may find something."""
        return self._kept.descriptor >= 0

    def pread(self, length: int, offset: int) -> bytes:
        """Read *length* bytes at *offset*; fewer only at the end. Raises SourceChanged."""
        wanted = max(0, min(length, self.size - offset))
        descriptor = self._descriptors.use(self._kept)
        if descriptor < 0:
            descriptor = self._descriptors.adopt(self._kept, self._reopen())
        try:
            data = os.pread(descriptor, wanted, offset)
            while len(data) < wanted:
                more = os.pread(descriptor, wanted - len(data), offset + len(data))
                if not more:
                    raise SourceChanged
                data += more
            # Compared after the read: a write that the read may have seen has changed the times by now.
            if fingerprint_of(os.fstat(descriptor)) != self._fingerprint:
                raise SourceChanged
        finally:
            self._descriptors.done(self._kept)
        return data

    def pread_cached(self, length: int, offset: int) -> memoryview | None:
        """Read like `pread` if all of it is in the page cache, otherwise return None. Never waits for a disk."""
        descriptor = self._descriptors.use(self._kept)
        if descriptor < 0:
            return None
        wanted = max(0, min(length, self.size - offset))
        buffer = np.empty(wanted, np.uint8).data  # unlike a bytearray not filled with zeros first
        try:
            if os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT) != wanted:
                return None
            changed = fingerprint_of(os.fstat(descriptor)) != self._fingerprint
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return None
            raise
        finally:
            self._descriptors.done(self._kept)
        if changed:
            raise SourceChanged
        return buffer

    def close(self) -> None:
        """Release the descriptor; a second call has no effect."""
        self._descriptors.close(self._kept)
