"""The archive on disk, read-only: listing, description, recognition and opening.

Paths are bytes relative to the root, without symbolic links: a link is followed while it stays inside the archive, and
an entry has the path that it leads to.
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
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from dicomfs.dicom.recognition import HEAD
from dicomfs.resources.descriptors import SHORT, Descriptors
from dicomfs.sources.file_systems import FileSystems
from dicomfs.sources.gather import Learnt, gather
from dicomfs.sources.local_file import LocalFile, fingerprint_of, object_id_of
from dicomfs.sources.local_recognition import open_to_read, recognise
from dicomfs.sources.mount_table import kinds_below, other_lists, parts, place_of
from dicomfs.sources.posix_acl import Rights, passable
from dicomfs.sources.source import (
    Entry,
    Fingerprint,
    Kind,
    Look,
    OutsideSource,
    SourceChanged,
    Space,
    Steps,
    Unseen,
)
from dicomfs.sources.walk import Walk

# The coarsest clock that the kernel stamps files with (HZ=100), twice.
TICK_NS = 20_000_000
# Bytes that are read of a file whose inode number is not kept: a page, which holds the SOP Instance UID.
_PAGE_BYTES = 4096
# Errors that say nothing about a file: we lack descriptors or memory.
_OURS = SHORT | {errno.ENOMEM}
# Errors that say that a name leads nowhere.
_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))


class LocalSource:
    """A directory or a single file on disk (see `Source`)."""

    def __init__(self, root: str | bytes, descriptors: Descriptors | None = None, *, trusting: bool = True) -> None:
        """Open *root*; raises OSError where it does not exist or is neither a directory nor a regular file.

        Open files count in *descriptors*, by default in a budget of their own. Unless *trusting*, modes on file systems
        whose lists cannot be read are those of the owner alone.
        """
        self.descriptors = descriptors or Descriptors.of_process()
        status = os.stat(root)
        self.name = os.path.realpath(os.fsencode(root))
        self.is_file = stat.S_ISREG(status.st_mode)
        if not self.is_file and not stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EINVAL, "the source is neither a directory nor a regular file", os.fsdecode(root))
        directory, self.file_name = os.path.split(self.name) if self.is_file else (self.name, b"")
        # Absolute links are written with the name that people know the archive by, which may be a link itself.
        known_as = os.path.abspath(os.fsencode(root))
        names = (parts(directory), *(() if self.is_file else (parts(known_as),)))
        self._root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.file_systems = FileSystems(self.descriptors, trusting=trusting)
        self._walk = Walk(self._root, names, self.descriptors, self.file_systems)

    def close(self) -> None:
        """Release the descriptor of the root."""
        os.close(self._root)

    def holds(self, place: str | bytes) -> bool:
        """Return whether *place* is the archive's directory or inside it, by whatever name it is reached."""
        if self.is_file:
            return False
        root, root_place = os.fstat(self._root), place_of(self.name)
        here = os.path.realpath(os.fsencode(place))
        while True:
            # A dead mount cannot be looked at, nor be the archive; its parents can.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(here), root):
                    return True
                # Below a bind mount of one of the archive's directories, no parent is the archive.
                if root_place and (place_of(here) or ())[: len(root_place)] == root_place:
                    return True
            parent = os.path.dirname(here)
            if parent == here:
                return False
            here = parent

    def space(self) -> Space:
        """Measure the file system that the archive is on."""
        status = os.fstatvfs(self._root)
        return Space(status.f_bsize, status.f_frsize, status.f_blocks, status.f_files)

    def other_lists(self) -> set[str]:
        """Return the types of the file systems in the archive that have lists which modes do not show."""
        return other_lists(kinds_below(self._root, self.name), self._root)

    def root_entry(self) -> Entry:
        """Describe the archive itself."""
        return self.entry(b"", self.file_name) if self.is_file else self.directory(b"")

    def directory(self, path: bytes, inside: Steps | None = None) -> Entry:
        """Describe a directory by its path (see `Source`)."""
        with self._walk.opened(path, inside) as (descriptor, steps):
            return self._entry(descriptor, b".", path.rpartition(b"/")[2], path, os.fstat(descriptor), steps[:-1])

    def entry(self, directory: bytes, name: bytes, known: Entry | None = None, inside: Steps | None = None) -> Entry:
        """Describe *name* in *directory* (see `Source`)."""
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            raise FileNotFoundError(errno.ENOENT, "not a name")
        with self._walk.opened(directory, inside) as (descriptor, steps):
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
        """Describe everything in a directory (see `Source`)."""
        learnt = Learnt() if learnt is None else learnt
        with self._walk.opened(directory, inside) as (step, steps):
            descriptor = self.descriptors.opening(open_to_read, b".", step, os.O_DIRECTORY)
            try:
                names = sorted(map(os.fsencode, self.descriptors.opening(os.listdir, descriptor)))
            finally:
                os.close(descriptor)
        gather(names, partial(self._looking, directory, known, steps), learnt, stop or threading.Event())
        found = [learnt.values[name][0] for name in names if name in learnt.values]
        return [entry for entry in found if entry is not None]

    def open(self, path: bytes, fingerprint: Fingerprint, steps: Steps | None = None) -> LocalFile:
        """Open the version *fingerprint* of a file (see `Source`).

        After a change at this very moment, that takes a few milliseconds.
        """
        descriptor = self._open_version(path, fingerprint, steps)
        reopen = partial(self._open_version, path, fingerprint, steps)
        return LocalFile(self.descriptors, descriptor, fingerprint, reopen)

    def _open_version(self, path: bytes, fingerprint: Fingerprint, steps: Steps | None) -> int:
        directory, _, name = path.rpartition(b"/")
        with self._walk.opened(directory, steps) as (step, _):
            status = os.stat(name, dir_fd=step, follow_symlinks=False)
            if fingerprint_of(status) != fingerprint or not stat.S_ISREG(status.st_mode):
                raise SourceChanged
            descriptor = self.descriptors.opening(open_to_read, name, step)
        # A change in the same tick of the kernel's clock as the last one would leave the times as they are.
        age = time.time_ns() - status.st_ctime_ns
        if 0 <= age < TICK_NS:
            time.sleep((TICK_NS - age) / 1e9)
        if fingerprint_of(os.fstat(descriptor)) != fingerprint:
            os.close(descriptor)
            raise SourceChanged
        return descriptor

    @contextmanager
    def _looking(
        self, directory: bytes, known: Mapping[bytes, Entry], steps: Steps
    ) -> Iterator[Callable[[bytes], Look]]:
        """Hold a directory open; return what describes a name in it."""
        with self._walk.opened(directory, steps) as (descriptor, _):
            yield partial(self._look, descriptor, directory, known, steps)

    def _look(self, directory: int, path: bytes, known: Mapping[bytes, Entry], steps: Steps, name: bytes) -> Look:
        """Describe one name of a listing; raises FileNotFoundError where it no longer exists."""
        hidden = False
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            # Links that lead nowhere, and what is neither a file nor a directory.
            hidden = not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode)
            return self.descriptors.opening(self._describe, directory, path, name, status, known.get(name), steps)
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
        # Permissions and lists change the ctime, and no file has the fingerprint of a link.
        same = known is not None and known.path == here and known.fingerprint == fingerprint_of(status)
        if known is not None and same and known.kind is not Kind.UNREAD:
            return known
        if not stat.S_ISLNK(status.st_mode):
            return self._entry(directory, name, name, here, status, steps)
        if self.is_file:
            raise OutsideSource  # its neighbours are no part of an archive of one file
        here, way = self._walk.resolve(path, name, steps)
        parent, _, last = here.rpartition(b"/")
        with self._walk.opened(parent) as (step, above):
            real = last or b"."
            status = os.stat(real, dir_fd=step, follow_symlinks=False)
            entry = self._entry(step, real, name, here, status, above)
            return replace(entry, left=passable(Rights(entry.mode, entry.uid, entry.gid), way))

    def _entry(
        self, directory: int, real: bytes, name: bytes, path: bytes, status: os.stat_result, steps: Steps
    ) -> Entry:
        """Describe the file called *real* in *directory* and shown as *name*."""
        kept = self.file_systems.keep_inodes(directory, real, status.st_dev)
        kind, beginning = recognise(directory, real, status, HEAD if kept else _PAGE_BYTES)
        which = b"%d" % status.st_ino if kept else hashlib.blake2b(beginning, digest_size=16).digest()
        return Entry(
            name,
            path,
            kind,
            fingerprint_of(status),
            status.st_size,
            status.st_mtime_ns,
            self.file_systems.effective_mode(directory, real, status),
            status.st_uid,
            status.st_gid,
            object_id_of(status),
            steps,
            identity=_identity(kind, status, which),
        )


def _identity(kind: Kind, status: os.stat_result, which: bytes) -> bytes:
    """Return the identity of an entry; *which* is its inode number where that is kept, or a digest of its first bytes.

    So a file that takes the name, size and times of another one is another file on any file system. The device is no
    part, since it may be another one each time. Nor is the version of a directory: it is the same directory when
    names come and go.
    """
    if kind is Kind.DIRECTORY:
        return b"directory " + which
    what = b"DICOM" if kind is Kind.DICOM else b"other"
    return b"%b %d %d %d %b" % (what, status.st_size, status.st_mtime_ns, status.st_ctime_ns, which)


def _unseen(name: bytes, error: OSError) -> Unseen:
    """List a name that cannot be described; raises *error* if the fault is ours.

    A mirror of the mount takes a file that is missing in a listing for a deleted one. So a file that exists but cannot
    be described is listed, and a listing for which we ran short is an error.
    """
    if error.errno in _OURS:
        raise error
    return Unseen(name, OSError(error.errno, os.strerror(error.errno or errno.EIO)))
