"""Opening archive files without a trace, and telling DICOM files from others by their first bytes."""

import errno
import os
import stat

from dicomfs.dicom.recognition import HEAD, is_dicom
from dicomfs.sources.source import Kind, SourceChanged

# Errors on opening or reading what was a file a moment ago and is a link, a socket, a pipe or a directory now.
_SWAPPED = frozenset((errno.ELOOP, errno.ENXIO, errno.ESPIPE, errno.EISDIR))
# Errors that say whose a file is, not what is wrong with it.
_DENIED = frozenset((errno.EACCES, errno.EPERM))
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def recognise(directory: int, name: bytes, status: os.stat_result, length: int) -> tuple[Kind, bytes]:
    """Return the kind of a file and its first *length* bytes (at least `HEAD`); UNREAD where we may not read it.

    Only regular files are opened. Raises OSError where the kind cannot be told: after a wrong guess, a mirror of the
    mount would replace a directory with a file.
    """
    if stat.S_ISDIR(status.st_mode):
        return Kind.DIRECTORY, b""
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "neither a file nor a directory")
    try:
        descriptor = open_to_read(name, directory)
        try:
            beginning = os.pread(descriptor, length, 0)
            return Kind.DICOM if is_dicom(beginning[:HEAD], status.st_size) else Kind.OTHER, beginning
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _SWAPPED:
            raise SourceChanged from None
        if error.errno not in _DENIED:
            raise
        return Kind.UNREAD, b""  # opening it in the mount raises the same error


def open_to_read(name: bytes, directory: int, flags: int = 0) -> int:
    """Open a file, without changing its access time where that is allowed (to its owner and to root)."""
    try:
        return os.open(name, _READ | os.O_NOATIME | flags, dir_fd=directory)
    except PermissionError:
        return os.open(name, _READ | flags, dir_fd=directory)
