"""The archive on disk, read-only: listing, stat, recognition and bounded reads.

Only this module touches archive files. Paths are bytes relative to the root, without symbolic links: a link is
followed while it stays inside the archive, and what is returned is the path it leads to. Every step from the root
goes through directory descriptors, so that nobody can lead a read out of the archive by swapping a directory for a
link, and so that no path of our own mount is ever touched.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from dicomfs.recognise import HEAD, is_dicom

# As the kernel counts (MAXSYMLINKS).
MOST_LINKS = 40
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


class SourceChanged(OSError):
    """The file is no longer the version that was opened."""

    def __init__(self) -> None:
        """Carry ESTALE."""
        super().__init__(errno.ESTALE, "the source changed while it was in use")


class OutsideSource(OSError):
    """A symbolic link leads out of the archive, or in a circle."""

    def __init__(self, number: int = errno.ENOENT) -> None:
        """Carry ENOENT, or ELOOP for a circle: what is outside does not exist here."""
        super().__init__(number, os.strerror(number))


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells one version of a file from another."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Fingerprint":
        """Take the fingerprint out of a stat."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Kind(Enum):
    """What an entry of the archive is to us."""

    DIRECTORY = "directory"
    DICOM = "DICOM file"
    OTHER = "other file"


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory of the archive; *path* is where it really is, behind all links."""

    name: bytes
    path: bytes
    kind: Kind
    fingerprint: Fingerprint
    mode: int
    uid: int
    gid: int


class SourceFile:
    """One open version of one archive file: reads give its bytes or SourceChanged, never another version's."""

    __slots__ = ("_descriptor", "_fingerprint")

    def __init__(self, descriptor: int, fingerprint: Fingerprint) -> None:
        """Own *descriptor*, which shows the version *fingerprint*."""
        self._descriptor = descriptor
        self._fingerprint = fingerprint

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._fingerprint.size

    def pread(self, length: int, offset: int) -> bytes:
        """Read *length* bytes at *offset*; fewer only at the end. Raises SourceChanged."""
        wanted = max(0, min(length, self.size - offset))
        data = os.pread(self._descriptor, wanted, offset)
        while len(data) < wanted:
            more = os.pread(self._descriptor, wanted - len(data), offset + len(data))
            if not more:
                raise SourceChanged
            data += more
        # Looked at after the read: a write that the read could have seen has changed the times by now.
        if Fingerprint.of(os.fstat(self._descriptor)) != self._fingerprint:
            raise SourceChanged
        return data

    def pread_cached(self, length: int, offset: int) -> bytes | None:
        """Read as `pread` does if all of it is in the page cache, else None: this never waits for a disk."""
        wanted = max(0, min(length, self.size - offset))
        buffer = bytearray(wanted)
        try:
            if os.preadv(self._descriptor, [buffer], offset, os.RWF_NOWAIT) != wanted:
                return None
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return None
            raise
        if Fingerprint.of(os.fstat(self._descriptor)) != self._fingerprint:
            raise SourceChanged
        return bytes(buffer)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


class Source:
    """An archive: a directory, or a single file."""

    def __init__(self, root: str | bytes) -> None:
        """Open *root*; raises OSError when it is not there or neither a directory nor a regular file."""
        self.root = os.path.realpath(os.fsencode(root))
        status = os.stat(self.root)
        self.is_file = stat.S_ISREG(status.st_mode)
        if not self.is_file and not stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EINVAL, "the source is neither a directory nor a regular file", os.fsdecode(root))
        directory, self.file_name = os.path.split(self.root) if self.is_file else (self.root, b"")
        self._prefix = directory.rstrip(b"/") + b"/"
        self._root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give the root descriptor back."""
        os.close(self._root)

    def holds(self, place: str | bytes) -> bool:
        """Tell whether *place* is the archive's directory or lies inside it, under whatever name it is reached."""
        if self.is_file:
            return False
        root = os.fstat(self._root)
        here = os.path.realpath(os.fsencode(place))
        while True:
            # A dead mount cannot be looked at, nor be the archive; its parents can.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(here), root):
                    return True
            parent = os.path.dirname(here)
            if parent == here:
                return False
            here = parent

    def free_space(self) -> os.statvfs_result:
        """Describe the file system that the archive is on."""
        return os.fstatvfs(self._root)

    def root_entry(self) -> Entry:
        """Describe the archive itself."""
        return self.entry(b"", self.file_name) if self.is_file else self.directory(b"")

    def directory(self, path: bytes) -> Entry:
        """Describe a directory by its path."""
        with self._opened(path) as (descriptor, _):
            return _entry(path.rpartition(b"/")[2], path, os.fstat(descriptor), Kind.DIRECTORY)

    def entry(self, directory: bytes, name: bytes) -> Entry:
        """Describe *name* in *directory*; raises FileNotFoundError also for what is never shown."""
        with self._opened(directory) as (descriptor, path):
            return self._describe(descriptor, path, name)

    def entries(self, directory: bytes) -> list[Entry]:
        """Describe all of a directory, sorted by name; what vanishes meanwhile or is never shown is left out."""
        with self._opened(directory) as (step, path):
            descriptor = os.open(f"/proc/self/fd/{step}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                names = sorted(map(os.fsencode, os.listdir(descriptor)))
                found = []
                for name in names:
                    try:
                        found.append(self._describe(descriptor, path, name))
                    except OSError:
                        continue  # gone, outside or unreadable: its own lookup says which, its neighbours stay
                return found
            finally:
                os.close(descriptor)

    def open(self, path: bytes, fingerprint: Fingerprint) -> SourceFile:
        """Open the version *fingerprint* of a file; raises SourceChanged when there is another one now."""
        directory, _, name = path.rpartition(b"/")
        with self._opened(directory) as (step, _):
            status = os.stat(name, dir_fd=step, follow_symlinks=False)
            if Fingerprint.of(status) != fingerprint or not stat.S_ISREG(status.st_mode):
                raise SourceChanged
            descriptor = _open_to_read(name, step)
        if Fingerprint.of(os.fstat(descriptor)) != fingerprint:
            os.close(descriptor)
            raise SourceChanged
        return SourceFile(descriptor, fingerprint)

    def _describe(self, directory: int, path: bytes, name: bytes) -> Entry:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        here = path + b"/" + name if path else name
        if stat.S_ISLNK(status.st_mode):
            here = self._resolve(path, name)
            parent, _, last = here.rpartition(b"/")
            with self._opened(parent) as (step, _):
                status = os.stat(last or b".", dir_fd=step, follow_symlinks=False)
                return _entry(name, here, status, _kind(step, last or b".", status))
        return _entry(name, here, status, _kind(directory, name, status))

    def _resolve(self, directory: bytes, name: bytes) -> bytes:
        """Follow links to a path without any; raises OutsideSource where that leaves the archive."""
        done = directory.split(b"/") if directory else []
        todo = [name]
        links = 0
        while todo:
            part = todo.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                if not done:
                    raise OutsideSource
                done.pop()
                continue
            with self._opened(b"/".join(done)) as (step, _):
                if not stat.S_ISLNK(os.stat(part, dir_fd=step, follow_symlinks=False).st_mode):
                    done.append(part)
                    continue
                target = os.readlink(part, dir_fd=step)
            links += 1
            if links > MOST_LINKS:
                raise OutsideSource(errno.ELOOP)
            if target.startswith(b"/"):
                if not (target + b"/").startswith(self._prefix):
                    raise OutsideSource
                done, target = [], target[len(self._prefix) :]
            todo.extend(reversed(target.split(b"/")))
        return b"/".join(done)

    @contextmanager
    def _opened(self, directory: bytes) -> Iterator[tuple[int, bytes]]:
        """Hold a descriptor (O_PATH) of a directory, reached from the root without following a link."""
        descriptor = self._root
        try:
            for part in directory.split(b"/") if directory else ():
                below = os.open(part, _STEP, dir_fd=descriptor)
                if descriptor != self._root:
                    os.close(descriptor)
                descriptor = below
            yield descriptor, directory
        finally:
            if descriptor != self._root:
                os.close(descriptor)


def _entry(name: bytes, path: bytes, status: os.stat_result, kind: Kind) -> Entry:
    return Entry(name, path, kind, Fingerprint.of(status), status.st_mode, status.st_uid, status.st_gid)


def _kind(directory: int, name: bytes, status: os.stat_result) -> Kind:
    """Tell what a file is, opening nothing but regular files; one that cannot be read is an other file."""
    if stat.S_ISDIR(status.st_mode):
        return Kind.DIRECTORY
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "neither a file nor a directory")
    try:
        descriptor = _open_to_read(name, directory)
        try:
            return Kind.DICOM if is_dicom(os.pread(descriptor, HEAD, 0), status.st_size) else Kind.OTHER
        finally:
            os.close(descriptor)
    except OSError:
        return Kind.OTHER  # no permission, or a bad disk: opening it in the mount gives the same errno


def _open_to_read(name: bytes, directory: int) -> int:
    """Open a regular file without changing its access time where that is allowed (its owner or root)."""
    try:
        return os.open(name, _READ | os.O_NOATIME, dir_fd=directory)
    except PermissionError:
        return os.open(name, _READ, dir_fd=directory)
