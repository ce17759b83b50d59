"""What `stat` shows of the archive's own files and directories."""

from dicomfs.sources.source import Entry
from dicomfs.vfs.nodes import Attributes, read_only

MIRROR_SECONDS = 5.0
"""How long the kernel may show what it saw of the archive before it asks again.

A file that is opened is checked in any case: an old version gives ESTALE, and the kernel then looks again by itself.
"""


def directory_attributes(entry: Entry) -> Attributes:
    """Describe a directory of the archive, or the directory that stands for a DICOM file."""
    return Attributes(_mode(entry, directory=True), entry.uid, entry.gid, 0, entry.mtime_ns, MIRROR_SECONDS)


def file_attributes(entry: Entry) -> Attributes:
    """Describe a file that is not DICOM."""
    return Attributes(_mode(entry), entry.uid, entry.gid, entry.size, entry.mtime_ns, MIRROR_SECONDS)


def _mode(entry: Entry, *, directory: bool = False) -> int:
    return read_only(entry.mode & ~0o777 | entry.mode & entry.left, directory=directory)
