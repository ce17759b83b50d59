"""The archive on disk, read-only: listing, stat, recognition and bounded reads.

Only this module touches archive files. Paths are bytes relative to the root, without symbolic links: a link is
followed while it stays inside the archive, and what is returned is the path it leads to. Every step from the root
goes through directory descriptors, so that nobody can lead a read out of the archive by swapping a directory for a
link, and so that no path of our own mount is ever touched.
"""

import contextlib
import errno
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from dicomfs.dicom.recognition import HEAD, is_dicom
from dicomfs.resources.descriptors import SHORT, Descriptors, Kept
from dicomfs.sources.gather import Learnt, gather
from dicomfs.sources.mount_table import keeps_inodes, kind_of, kinds_below, other_lists, parts, place_of
from dicomfs.sources.posix_acl import OWNER_ALONE, Rights, passable, permitted

# As the kernel counts (MAXSYMLINKS).
MOST_LINKS = 40
# The coarsest clock that the kernel stamps files with (HZ=100), twice.
TICK_NS = 20_000_000
# What is read of a file whose inode number is not kept: a page, in which a DICOM file names its SOP Instance.
_BEGINNING = 4096
# Errors that say nothing about a file: we have no descriptors or memory left.
_OURS = SHORT | {errno.ENOMEM}
# Errors that say that nothing is there, or nothing that a name could lead to.
_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))
# Errors on reading what was a file a moment ago and is a link, a socket, a pipe or a directory now.
_SWAPPED = frozenset((errno.ELOOP, errno.ENXIO, errno.ESPIPE, errno.EISDIR))
# Errors that say whose a file is, not what is wrong with it.
_DENIED = frozenset((errno.EACCES, errno.EPERM))
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
    UNREAD = "file that we may not look into"


Steps = tuple[tuple[int, int], ...]
"""The directories from the root of the archive, which is left out, down to one: device and inode of each."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory of the archive.

    *path* is where it really is, behind all links, and *steps* are the directories that it is in there. *mode* has what
    lists deny taken off, and *left* are the permission bits that directories on the way of a link leave of it.
    *identity* is what tells this version of a file, or this directory, from all others that may be at its place, for
    good: it is the same in every mount, of dicomfs and of the archive's file system.
    """

    name: bytes
    path: bytes
    kind: Kind
    fingerprint: Fingerprint
    mode: int
    uid: int
    gid: int
    steps: Steps = ()
    left: int = 0o777
    identity: bytes = field(default=b"", compare=False)  # it follows from the others

    @property
    def version(self) -> Version:
        """Tell this version of this file from all others of the mount."""
        return Version(self.path, self.fingerprint)

    @property
    def inside(self) -> Steps:
        """The directories down to this one, which is a directory."""
        here = (self.fingerprint.device, self.fingerprint.inode)
        return (*self.steps, here) if self.path else ()


@dataclass(frozen=True, slots=True)
class Unseen:
    """One name in a directory, of which nothing else can be learnt just now, for the reason that is *error*."""

    name: bytes
    error: OSError


Look = Entry | Unseen | None
"""What a name in a directory is; None for what is never shown."""


class SourceFile:
    """One version of one archive file: reads give its bytes or SourceChanged, never another version's.

    Its descriptor counts in a budget. Where it had to give way, the file is opened again by its path for the next read,
    which gives SourceChanged where another version, or nothing, is in its place by then.
    """

    __slots__ = ("_descriptors", "_fingerprint", "_kept", "_reopen")

    def __init__(
        self, descriptors: Descriptors, descriptor: int, fingerprint: Fingerprint, reopen: Callable[[], int]
    ) -> None:
        """Own *descriptor*, which shows the version *fingerprint*; *reopen*, called in threads, gives another."""
        self._descriptors = descriptors
        self._fingerprint = fingerprint
        self._reopen = reopen
        self._kept = Kept()
        descriptors.adopt(self._kept, descriptor)
        descriptors.done(self._kept)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._fingerprint.size

    @property
    def is_open(self) -> bool:
        """Tell whether the descriptor is there, so that `pread_cached` may find something."""
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
            # Looked at after the read: a write that the read could have seen has changed the times by now.
            if Fingerprint.of(os.fstat(descriptor)) != self._fingerprint:
                raise SourceChanged
        finally:
            self._descriptors.done(self._kept)
        return data

    def pread_cached(self, length: int, offset: int) -> memoryview | None:
        """Read as `pread` does if all of it is in the page cache, else None: this never waits for a disk."""
        descriptor = self._descriptors.use(self._kept)
        if descriptor < 0:
            return None
        wanted = max(0, min(length, self.size - offset))
        buffer = np.empty(wanted, np.uint8).data  # unlike a bytearray not filled with zeros first
        try:
            if os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT) != wanted:
                return None
            changed = Fingerprint.of(os.fstat(descriptor)) != self._fingerprint
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
        """Give the descriptor back; a second time does nothing."""
        self._descriptors.close(self._kept)


class Source:
    """An archive: a directory, or a single file."""

    def __init__(self, root: str | bytes, descriptors: Descriptors | None = None, *, trusting: bool = True) -> None:
        """Open *root*; raises OSError when it is not there or neither a directory nor a regular file.

        Files that stay open count in *descriptors*, by default in a budget of their own. Unless *trusting*, modes on
        file systems whose lists cannot be read are those of the owner alone.
        """
        self.descriptors = descriptors or Descriptors.of_process()
        status = os.stat(root)
        self.root = os.path.realpath(os.fsencode(root))
        self.is_file = stat.S_ISREG(status.st_mode)
        if not self.is_file and not stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EINVAL, "the source is neither a directory nor a regular file", os.fsdecode(root))
        directory, self.file_name = os.path.split(self.root) if self.is_file else (self.root, b"")
        # Absolute links are written with the name that people know the archive by, which may be a link itself.
        known_as = os.path.abspath(os.fsencode(root))
        self._known_as = (parts(directory), *(() if self.is_file else (parts(known_as),)))
        self._root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.trusting = trusting
        # By device, so that a listing does not ask for each file: whether it has such lists, whether it keeps inodes.
        self._foreign: dict[int, bool] = {}
        self._keeps_inodes: dict[int, bool] = {}

    def close(self) -> None:
        """Give the root descriptor back."""
        os.close(self._root)

    def holds(self, place: str | bytes) -> bool:
        """Tell whether *place* is the archive's directory or lies inside it, under whatever name it is reached."""
        if self.is_file:
            return False
        root, root_place = os.fstat(self._root), place_of(self.root)
        here = os.path.realpath(os.fsencode(place))
        while True:
            # A dead mount cannot be looked at, nor be the archive; its parents can.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(here), root):
                    return True
                # Behind a bind mount of one of the archive's directories, no parent is the archive.
                if root_place and (place_of(here) or ())[: len(root_place)] == root_place:
                    return True
            parent = os.path.dirname(here)
            if parent == here:
                return False
            here = parent

    def free_space(self) -> os.statvfs_result:
        """Describe the file system that the archive is on."""
        return os.fstatvfs(self._root)

    def other_lists(self) -> set[str]:
        """Name the types of file systems in the archive that have lists which modes do not show."""
        return other_lists(kinds_below(self._root, self.root), self._root)

    def root_entry(self) -> Entry:
        """Describe the archive itself."""
        return self.entry(b"", self.file_name) if self.is_file else self.directory(b"")

    def directory(self, path: bytes, inside: Steps | None = None) -> Entry:
        """Describe a directory by its path; raises SourceChanged where it, or one above it, is not that of *inside*."""
        with self._opened(path, inside) as (descriptor, steps):
            return self._entry(descriptor, b".", path.rpartition(b"/")[2], path, os.fstat(descriptor), steps[:-1])

    def entry(self, directory: bytes, name: bytes, known: Entry | None = None, inside: Steps | None = None) -> Entry:
        """Describe *name* in *directory*; raises FileNotFoundError also for what is never shown.

        What is *known* of it and has not changed is given again without looking into it. Raises SourceChanged where
        the directory, or one above it, is not that of *inside*.
        """
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            raise FileNotFoundError(errno.ENOENT, "not a name")
        with self._opened(directory, inside) as (descriptor, steps):
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            return self.descriptors.opening(self._describe, descriptor, directory, name, status, known, steps)

    def entries(
        self,
        directory: bytes,
        known: Mapping[bytes, Entry] = MappingProxyType({}),
        inside: Steps | None = None,
        learnt: Learnt[Look] | None = None,
        stop: threading.Event | None = None,
    ) -> list[Entry | Unseen]:
        """Describe all of a directory, sorted by name; what vanishes meanwhile or is never shown is left out.

        What was *known* by its name before and has not changed is given again without looking into it. What is
        *learnt* already is not looked at, and what was learnt when *stop* is set, or an error ends the try, is there
        for the next one. Raises SourceChanged as `entry` does.
        """
        learnt = Learnt() if learnt is None else learnt
        with self._opened(directory, inside) as (step, steps):
            descriptor = self.descriptors.opening(_open_to_read, b".", step, os.O_DIRECTORY)
            try:
                names = sorted(map(os.fsencode, self.descriptors.opening(os.listdir, descriptor)))
            finally:
                os.close(descriptor)

        @contextmanager
        def look() -> Iterator[Callable[[bytes], Look]]:
            with self._opened(directory, steps) as (here, _):
                yield lambda name: self._look(here, directory, name, known.get(name), steps)

        gather(names, look, learnt, stop or threading.Event())
        found = [learnt.values[name][0] for name in names if name in learnt.values]
        return [entry for entry in found if entry is not None]

    def open(self, path: bytes, fingerprint: Fingerprint, steps: Steps | None = None) -> SourceFile:
        """Open the version *fingerprint* of a file; raises SourceChanged when there is another one now.

        It is another one, too, if a directory that it is in is not that of *steps*. A file that was changed this very
        moment is waited for, a few milliseconds.
        """
        again = partial(self._open_version, path, fingerprint, steps)
        return SourceFile(self.descriptors, again(), fingerprint, again)

    def _open_version(self, path: bytes, fingerprint: Fingerprint, steps: Steps | None) -> int:
        directory, _, name = path.rpartition(b"/")
        with self._opened(directory, steps) as (step, _):
            status = os.stat(name, dir_fd=step, follow_symlinks=False)
            if Fingerprint.of(status) != fingerprint or not stat.S_ISREG(status.st_mode):
                raise SourceChanged
            descriptor = self.descriptors.opening(_open_to_read, name, step)
        # A change in the same tick of the kernel's clock as the last one would leave the times as they are.
        age = time.time_ns() - fingerprint.ctime_ns
        if 0 <= age < TICK_NS:
            time.sleep((TICK_NS - age) / 1e9)
        if Fingerprint.of(os.fstat(descriptor)) != fingerprint:
            os.close(descriptor)
            raise SourceChanged
        return descriptor

    def _look(self, directory: int, path: bytes, name: bytes, known: Entry | None, steps: Steps) -> Look:
        """Describe one name of a listing; raises FileNotFoundError where it is no longer there."""
        hidden = False
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            # Links that lead nowhere, and what is neither a file nor a directory.
            hidden = not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode)
            return self.descriptors.opening(self._describe, directory, path, name, status, known, steps)
        except OSError as error:
            if hidden and error.errno in _ABSENT:
                return None
            if isinstance(error, FileNotFoundError):
                raise
            return _unseen(name, error)

    def _describe(
        self, directory: int, path: bytes, name: bytes, status: os.stat_result, known: Entry | None, steps: Steps
    ) -> Entry:
        here = path + b"/" + name if path else name
        # Permissions and lists change the ctime, and a link's own fingerprint is nobody's.
        same = known is not None and known.path == here and known.fingerprint == Fingerprint.of(status)
        if known is not None and same and known.kind is not Kind.UNREAD:
            return known
        if not stat.S_ISLNK(status.st_mode):
            return self._entry(directory, name, name, here, status, steps)
        if self.is_file:
            raise OutsideSource  # its neighbours are no part of an archive of one file
        here, way = self._resolve(path, name, steps)
        parent, _, last = here.rpartition(b"/")
        with self._opened(parent) as (step, above):
            real = last or b"."
            status = os.stat(real, dir_fd=step, follow_symlinks=False)
            entry = self._entry(step, real, name, here, status, above)
            return replace(entry, left=passable(Rights(entry.mode, entry.uid, entry.gid), way))

    def _entry(
        self, directory: int, real: bytes, name: bytes, path: bytes, status: os.stat_result, steps: Steps
    ) -> Entry:
        """Describe what is called *real* in *directory* and shown as *name*."""
        kept = self._keeps(directory, real, status.st_dev)
        kind, beginning = _recognised(directory, real, status, HEAD if kept else _BEGINNING)
        mode = self._permitted(directory, real, status)
        fingerprint = Fingerprint.of(status)
        which = b"%d" % status.st_ino if kept else hashlib.blake2b(beginning, digest_size=16).digest()
        identity = _identity(kind, fingerprint, which)
        return Entry(name, path, kind, fingerprint, mode, status.st_uid, status.st_gid, steps, identity=identity)

    def _keeps(self, directory: int, name: bytes, device: int) -> bool:
        """Tell whether the file system of a file on *device* keeps inode numbers."""
        kept = self._keeps_inodes.get(device)
        if kept is None:
            descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                kept = self._keeps_inodes[device] = keeps_inodes(descriptor)
            finally:
                os.close(descriptor)
        return kept

    def _permitted(self, directory: int, name: bytes, status: os.stat_result) -> int:
        """Take off a mode what lists deny, and all but the owner's bits where there are lists that we cannot read."""
        place = b"/proc/self/fd/%d/%s" % (directory, name)
        mode = permitted(status.st_mode, status.st_uid, status.st_gid, place)
        if self.trusting:
            return mode
        foreign = self._foreign.get(status.st_dev)
        if foreign is None:
            descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                foreign = bool(other_lists({kind_of(descriptor)}, descriptor))
            finally:
                os.close(descriptor)
            self._foreign[status.st_dev] = foreign
        return mode & OWNER_ALONE if foreign else mode

    def _resolve(self, directory: bytes, name: bytes, steps: Steps) -> tuple[bytes, list[Rights]]:
        """Follow links to a path without any; raises OutsideSource where that leaves the archive.

        Also gives the rights of the directories on the way that are not above *directory* (*steps*) nor are it.
        """
        done = directory.split(b"/") if directory else []
        way: dict[tuple[int, int], Rights] = {}
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
            with self._opened(b"/".join(done)) as (step, above):
                if above and above[-1] not in steps and above[-1] not in way:
                    status = os.fstat(step)
                    way[above[-1]] = Rights(self._permitted(step, b".", status), status.st_uid, status.st_gid)
                if not stat.S_ISLNK(os.stat(part, dir_fd=step, follow_symlinks=False).st_mode):
                    done.append(part)
                    continue
                target = os.readlink(part, dir_fd=step)
            links += 1
            if links > MOST_LINKS:
                raise OutsideSource(errno.ELOOP)
            if target.startswith(b"/"):
                absolute = parts(target)
                root = next((known for known in self._known_as if absolute[: len(known)] == known), None)
                if root is None:
                    raise OutsideSource
                done, target = [], b"/".join(absolute[len(root) :])
            todo.extend(reversed(target.split(b"/")))
        return b"/".join(done), list(way.values())

    @contextmanager
    def _opened(self, directory: bytes, wanted: Steps | None = None) -> Iterator[tuple[int, Steps]]:
        """Hold a descriptor (O_PATH) of a directory, reached from the root without following a link.

        Raises SourceChanged where the way to it does not lead through the directories that are *wanted*.
        """
        descriptor = self._root
        steps = []
        try:
            for place, part in enumerate(directory.split(b"/") if directory else ()):
                if part in (b"", b".", b".."):
                    raise FileNotFoundError(errno.ENOENT, "not a path within the archive")
                try:
                    below = self.descriptors.opening(os.open, part, _STEP, dir_fd=descriptor)
                except (FileNotFoundError, NotADirectoryError):
                    if wanted is None:
                        raise
                    raise SourceChanged from None  # it was there: whoever holds it is to look for the name anew
                if descriptor != self._root:
                    os.close(descriptor)
                descriptor = below
                status = os.fstat(descriptor)
                steps.append((status.st_dev, status.st_ino))
                if wanted is not None and steps[place] != wanted[place]:
                    raise SourceChanged
            yield descriptor, tuple(steps)
        finally:
            if descriptor != self._root:
                os.close(descriptor)


def _identity(kind: Kind, version: Fingerprint, which: bytes) -> bytes:
    """Give the identity of an entry; *which* is its inode where that is kept, else a digest of its first bytes.

    So a file that takes the name, size and times of another one is another file on any file system. The device is no
    part, since it may be another one each time. Nor is the version of a directory: it is the same directory when
    names come and go.
    """
    if kind is Kind.DIRECTORY:
        return b"directory " + which
    what = b"DICOM" if kind is Kind.DICOM else b"other"
    return b"%b %d %d %d %b" % (what, version.size, version.mtime_ns, version.ctime_ns, which)


def _unseen(name: bytes, error: OSError) -> Unseen:
    """Have a name listed that cannot be looked at; raises *error* if that is our own fault.

    A listing that lacks files because we ran short would be mirrored as deletions; so would one that lacks what is
    there and cannot be looked at, also where it is denied to us.
    """
    if error.errno in _OURS:
        raise error
    return Unseen(name, OSError(error.errno, os.strerror(error.errno or errno.EIO)))


def _recognised(directory: int, name: bytes, status: os.stat_result, most: int) -> tuple[Kind, bytes]:
    """Tell what a file is and give its first bytes, *most* of them; one that we may not read is UNREAD.

    Nothing but regular files is opened. Raises OSError where the kind cannot be told: a guess could have a mirror
    replace a directory with a file.
    """
    if stat.S_ISDIR(status.st_mode):
        return Kind.DIRECTORY, b""
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "neither a file nor a directory")
    try:
        descriptor = _open_to_read(name, directory)
        try:
            beginning = os.pread(descriptor, most, 0)
            return Kind.DICOM if is_dicom(beginning[:HEAD], status.st_size) else Kind.OTHER, beginning
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _SWAPPED:
            raise SourceChanged from None
        if error.errno not in _DENIED:
            raise
        return Kind.UNREAD, b""  # opening it in the mount gives the same errno


def _open_to_read(name: bytes, directory: int, more: int = 0) -> int:
    """Open without changing the access time where that is allowed (to the owner and to root)."""
    try:
        return os.open(name, _READ | os.O_NOATIME | more, dir_fd=directory)
    except PermissionError:
        return os.open(name, _READ | more, dir_fd=directory)
