"""The archive on disk, read-only: listing, stat, recognition and bounded reads.

Only this module touches archive files. Paths are bytes relative to the root, without symbolic links: a link is
followed while it stays inside the archive, and what is returned is the path it leads to. Every step from the root
goes through directory descriptors, so that nobody can lead a read out of the archive by swapping a directory for a
link, and so that no path of our own mount is ever touched.
"""

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from dicomfs.access import without_masks
from dicomfs.dicom.recognise import HEAD, is_dicom

# As the kernel counts (MAXSYMLINKS).
MOST_LINKS = 40
# The coarsest clock that the kernel stamps files with (HZ=100), twice.
TICK_NS = 20_000_000
# Errors that say nothing about a file: we have no descriptors or memory left.
_OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))
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


class Fingerprint(NamedTuple):
    """What tells one version of a file from another; a tuple, since every cache looks it up."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Fingerprint":
        """Take the fingerprint out of a stat."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Version(NamedTuple):
    """One version of one file: no two files of a mount share it, even where file systems number inodes anew."""

    path: bytes
    fingerprint: Fingerprint


class Kind(Enum):
    """What an entry of the archive is to us."""

    DIRECTORY = "directory"
    DICOM = "DICOM file"
    OTHER = "other file"
    UNREAD = "file that could not be looked into just now"


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

    @property
    def version(self) -> Version:
        """Tell this version of this file from all others of the mount."""
        return Version(self.path, self.fingerprint)


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

    def pread_cached(self, length: int, offset: int) -> memoryview | None:
        """Read as `pread` does if all of it is in the page cache, else None: this never waits for a disk."""
        wanted = max(0, min(length, self.size - offset))
        buffer = np.empty(wanted, np.uint8).data  # unlike a bytearray not filled with zeros first
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
        return buffer

    def close(self) -> None:
        """Give the descriptor back; a second time it may be another file's and is left alone."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class Source:
    """An archive: a directory, or a single file."""

    def __init__(self, root: str | bytes) -> None:
        """Open *root*; raises OSError when it is not there or neither a directory nor a regular file."""
        status = os.stat(root)
        self.root = os.path.realpath(os.fsencode(root))
        self.is_file = stat.S_ISREG(status.st_mode)
        if not self.is_file and not stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EINVAL, "the source is neither a directory nor a regular file", os.fsdecode(root))
        directory, self.file_name = os.path.split(self.root) if self.is_file else (self.root, b"")
        # Absolute links are written with the name that people know the archive by, which may be a link itself.
        known_as = os.path.abspath(os.fsencode(root))
        self._known_as = (_parts(directory), *(() if self.is_file else (_parts(known_as),)))
        self._root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give the root descriptor back."""
        os.close(self._root)

    def holds(self, place: str | bytes) -> bool:
        """Tell whether *place* is the archive's directory or lies inside it, under whatever name it is reached."""
        if self.is_file:
            return False
        root, root_place = os.fstat(self._root), _place(self.root)
        here = os.path.realpath(os.fsencode(place))
        while True:
            # A dead mount cannot be looked at, nor be the archive; its parents can.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(here), root):
                    return True
                # Behind a bind mount of one of the archive's directories, no parent is the archive.
                if root_place and (_place(here) or ())[: len(root_place)] == root_place:
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
            return _entry(descriptor, b".", path.rpartition(b"/")[2], path, os.fstat(descriptor), Kind.DIRECTORY)

    def entry(self, directory: bytes, name: bytes) -> Entry:
        """Describe *name* in *directory*; raises FileNotFoundError also for what is never shown."""
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            raise FileNotFoundError(errno.ENOENT, "not a name")
        with self._opened(directory) as (descriptor, path):
            return self._describe(descriptor, path, name)

    def entries(self, directory: bytes, known: Mapping[bytes, Entry] = MappingProxyType({})) -> list[Entry]:
        """Describe all of a directory, sorted by name; what vanishes meanwhile or is never shown is left out.

        What was *known* by its name before and has not changed is given again without looking into it.
        """
        with self._opened(directory) as (step, path):
            descriptor = _open_to_read(b".", step, os.O_DIRECTORY)
            try:
                names = sorted(map(os.fsencode, os.listdir(descriptor)))
                found = []
                for name in names:
                    try:
                        found.append(self._describe(descriptor, path, name, known.get(name)))
                    except OSError as error:
                        if error.errno in _OURS:
                            raise  # a listing that lacks files because we ran short would be mirrored as deletions
                        # Gone, outside or unreadable: its own lookup says which, its neighbours stay.
                return found
            finally:
                os.close(descriptor)

    def open(self, path: bytes, fingerprint: Fingerprint) -> SourceFile:
        """Open the version *fingerprint* of a file; raises SourceChanged when there is another one now.

        A file that was changed this very moment is waited for, a few milliseconds.
        """
        directory, _, name = path.rpartition(b"/")
        with self._opened(directory) as (step, _):
            status = os.stat(name, dir_fd=step, follow_symlinks=False)
            if Fingerprint.of(status) != fingerprint or not stat.S_ISREG(status.st_mode):
                raise SourceChanged
            descriptor = _open_to_read(name, step)
        # A change in the same tick of the kernel's clock as the last one would leave the times as they are.
        age = time.time_ns() - fingerprint.ctime_ns
        if 0 <= age < TICK_NS:
            time.sleep((TICK_NS - age) / 1e9)
        if Fingerprint.of(os.fstat(descriptor)) != fingerprint:
            os.close(descriptor)
            raise SourceChanged
        return SourceFile(descriptor, fingerprint)

    def _describe(self, directory: int, path: bytes, name: bytes, known: Entry | None = None) -> Entry:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        here = path + b"/" + name if path else name
        # Permissions and lists change the ctime, and a link's own fingerprint is nobody's.
        if known is not None and known.kind is not Kind.UNREAD and known.fingerprint == Fingerprint.of(status):
            return known
        if stat.S_ISLNK(status.st_mode):
            if self.is_file:
                raise OutsideSource  # its neighbours are no part of an archive of one file
            here = self._resolve(path, name)
            parent, _, last = here.rpartition(b"/")
            with self._opened(parent) as (step, _):
                status = os.stat(last or b".", dir_fd=step, follow_symlinks=False)
                return _entry(step, last or b".", name, here, status, _kind(step, last or b".", status))
        return _entry(directory, name, name, here, status, _kind(directory, name, status))

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
                parts = _parts(target)
                root = next((known for known in self._known_as if parts[: len(known)] == known), None)
                if root is None:
                    raise OutsideSource
                done, target = [], b"/".join(parts[len(root) :])
            todo.extend(reversed(target.split(b"/")))
        return b"/".join(done)

    @contextmanager
    def _opened(self, directory: bytes) -> Iterator[tuple[int, bytes]]:
        """Hold a descriptor (O_PATH) of a directory, reached from the root without following a link."""
        descriptor = self._root
        try:
            for part in directory.split(b"/") if directory else ():
                if part in (b"", b".", b".."):
                    raise FileNotFoundError(errno.ENOENT, "not a path within the archive")
                below = os.open(part, _STEP, dir_fd=descriptor)
                if descriptor != self._root:
                    os.close(descriptor)
                descriptor = below
            yield descriptor, directory
        finally:
            if descriptor != self._root:
                os.close(descriptor)


def _entry(directory: int, real: bytes, name: bytes, path: bytes, status: os.stat_result, kind: Kind) -> Entry:
    """Describe what is called *real* in *directory* and shown as *name*."""
    mode = without_masks(status.st_mode, b"/proc/self/fd/%d/%s" % (directory, real))
    return Entry(name, path, kind, Fingerprint.of(status), mode, status.st_uid, status.st_gid)


def _kind(directory: int, name: bytes, status: os.stat_result) -> Kind:
    """Tell what a file is, opening nothing but regular files; one that cannot be read is UNREAD."""
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
    except OSError as error:
        if error.errno in _OURS or error.errno == errno.ENOENT:
            raise
        return Kind.UNREAD  # no permission, or a bad disk: opening it in the mount gives the same errno


def _open_to_read(name: bytes, directory: int, more: int = 0) -> int:
    """Open without changing the access time where that is allowed (to the owner and to root)."""
    try:
        return os.open(name, _READ | os.O_NOATIME | more, dir_fd=directory)
    except PermissionError:
        return os.open(name, _READ | more, dir_fd=directory)


def _parts(path: bytes) -> tuple[bytes, ...]:
    return tuple([part for part in path.split(b"/") if part not in (b"", b".")])


def _place(path: bytes) -> tuple[bytes, ...] | None:
    """Say where *path* is on its device, whatever mount it is reached through; None where the kernel does not tell.

    The first part is the device as /proc/self/mountinfo has it (see proc_pid_mountinfo(5)).
    """
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", "rb") as info, open("/proc/self/mountinfo", "rb") as mounts:
            mount = next((line.split()[1] for line in info if line.startswith(b"mnt_id:")), None)
            for line in mounts:
                number, _, device, root, point = [_unescaped(field) for field in line.split()[:5]]
                if number == mount:
                    return device, *_parts(root), *_parts(os.path.relpath(path, point))
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return None


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), field)
