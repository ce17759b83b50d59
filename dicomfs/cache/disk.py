"""The disk cache: results that outlive the mount, one file each, named by a digest and checked when opened.

Only this module knows the format of an entry: the content, then a trailer with its key and checksum. The content comes
first, so that it can be written before its length is known. An entry gets its name when it is complete and never
changes afterwards; eviction removes the name, and clients that have it open read on. Several mounts may share one
directory.

A cache that fails is a miss: once the directory was accepted, nothing here raises.
"""

import contextlib
import errno
import fcntl
import logging
import os
import re
import stat
import struct
import threading
import time
from dataclasses import dataclass

from isal import isal_zlib

log = logging.getLogger(__name__)

# Magic with the format's version, key, bytes of content; then the CRC-32 of the content and of all this.
_TRAILER = struct.Struct("<8s20sQ")
_CHECK = struct.Struct("<I")
_MAGIC = b"dicomfs\x01"
_EXTRA = _TRAILER.size + _CHECK.size
_ENTRY = re.compile(r"[0-9a-f]{40}\.entry")
_DRAFT = re.compile(r"[0-9a-f]{16}\.draft")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK_BYTES = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
"""The errors of a full disk."""
# A full cache frees one part in so many at once. After so much was added, all entries are counted again: other mounts
# add some too.
_SHARE = 16
# Checked entries that are remembered.
_MAX_CHECKED = 100_000


class CacheRefused(OSError):
    """This directory cannot hold the cache; the text says why."""

    def __init__(self, reason: str) -> None:
        """Carry EACCES."""
        super().__init__(errno.EACCES, reason)


@dataclass(slots=True)
class Draft:
    """A file that is being written in the cache's directory; *name* is empty where it needs none."""

    descriptor: int
    name: str = ""


class DiskCache:
    """Up to *limit* bytes of entries in *directory*. The least recently used ones are evicted first."""

    def __init__(self, directory: str, limit: int) -> None:
        """Open the directory, made if need be. Raises CacheRefused."""
        self._limit = limit
        self._lock = threading.Lock()
        # Bytes of all entries: as last counted, plus what was added since. Unknown at first.
        self._bytes: int | None = None
        self._added = 0
        self._checked: dict[bytes, tuple[int, int, int]] = {}
        self._complained = False
        self._directory = _accepted(directory)
        self._clear_drafts()

    def close(self) -> None:
        """Release the directory."""
        os.close(self._directory)

    def open(self, key: bytes) -> tuple[int, int] | None:
        """Open the entry of *key*: a descriptor, which is the caller's, and the bytes of content at its start.

        It is checked the first time; a damaged one is removed.
        """
        opened = self._opened(key)
        if opened is None:
            return None
        descriptor, status = opened
        try:
            mark = status.st_ino, status.st_size, status.st_mtime_ns
            length = status.st_size - _EXTRA
            if self._checked.get(key) != mark:
                if not _sound(descriptor, key, length):
                    raise OSError(errno.EIO, "damaged")
                if len(self._checked) >= _MAX_CHECKED:
                    self._checked.clear()
                self._checked[key] = mark
        except OSError:
            os.close(descriptor)
            self._remove(_name(key))
            return None
        self._touch(descriptor, status)
        return descriptor, length

    def load(self, key: bytes, length: int) -> bytes | None:
        """Return the content of *key*, which must have *length* bytes. It is checked each time; if damaged, removed."""
        opened = self._opened(key)
        if opened is None:
            return None
        descriptor, status = opened
        with open(descriptor, "rb", buffering=0) as file:
            try:
                content, trailer = file.read(length), file.read(_EXTRA + 1)
                sound = trailer == _trailer(key, length, isal_zlib.crc32(content)) and len(content) == length
            except OSError:
                sound = False
            if sound:
                self._touch(descriptor, status)
                return content
        self._remove(_name(key))
        return None

    def store(self, key: bytes, content: bytes) -> None:
        """Keep *content* under *key*, if that is possible."""
        if draft := self.draft():
            try:
                self._write(draft.descriptor, content, 0)
            except OSError as error:
                self._complain(error)
            else:
                self._enter(key, draft, len(content), isal_zlib.crc32(content))
            self.discard(draft)

    def draft(self) -> Draft | None:
        """Begin a file in the cache's directory; the caller ends it with `discard`, after `keep` perhaps."""
        access = os.O_RDWR | os.O_CLOEXEC
        try:
            try:
                return Draft(os.open(".", access | os.O_TMPFILE, 0o600, dir_fd=self._directory))
            except OSError as error:
                # The errors of kernels and file systems that have no files without a name.
                if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                    raise
            name = f"{os.urandom(8).hex()}.draft"
            draft = Draft(os.open(name, access | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._directory), name)
            # Shows mounts that start meanwhile that this draft is in use.
            fcntl.flock(draft.descriptor, fcntl.LOCK_EX)
        except OSError as error:
            self._complain(error)
            return None
        return draft

    def keep(self, key: bytes, draft: Draft, length: int) -> bool:
        """Make the draft, which has *length* bytes, the entry of *key*; return whether that was possible."""
        try:
            check = _checksum(draft.descriptor, length)
        except OSError as error:
            self._complain(error)
            return False
        return self._enter(key, draft, length, check)

    def discard(self, draft: Draft) -> None:
        """Close a draft and remove it unless it was kept."""
        if draft.name:
            self._remove(draft.name)
        os.close(draft.descriptor)

    def relieve(self, error: OSError, needed: int) -> bool:
        """If *error* is that of a full disk, evict *needed* bytes of entries; return whether there were any."""
        if error.errno not in FULL:
            return False
        with self._lock:
            entries = self._entries()
            return self._evict(entries, sum(size for _, size, _ in entries) - needed)

    def _opened(self, key: bytes) -> tuple[int, os.stat_result] | None:
        """Open the file of an entry, unchecked."""
        try:
            descriptor = os.open(_name(key), _READ, dir_fd=self._directory)
            status = os.fstat(descriptor)
        except OSError:
            return None
        if stat.S_ISREG(status.st_mode):
            return descriptor, status
        os.close(descriptor)
        return None

    def _enter(self, key: bytes, draft: Draft, length: int, check: int) -> bool:
        """Write the trailer and give the draft the name of its entry."""
        size = length + _EXTRA
        if size > self._limit:
            return False
        self._make_room(size)
        try:
            self._write(draft.descriptor, _trailer(key, length, check), length)
            if draft.name:
                os.rename(draft.name, _name(key), src_dir_fd=self._directory, dst_dir_fd=self._directory)
                draft.name = ""
            else:
                with contextlib.suppress(FileExistsError):  # another mount has made the same entry
                    os.link(f"/proc/self/fd/{draft.descriptor}", _name(key), dst_dir_fd=self._directory)
        except OSError as error:
            self._complain(error)
            return False
        with self._lock:
            self._added += size
            self._bytes = None if self._bytes is None else self._bytes + size
        return True

    def _make_room(self, needed: int) -> None:
        with self._lock:
            if self._bytes is None or self._bytes + needed > self._limit or self._added > self._limit // _SHARE:
                entries = self._entries()
                self._added = 0
                self._bytes = sum(size for _, size, _ in entries)
                if self._bytes + needed > self._limit:
                    self._evict(entries, self._limit - self._limit // _SHARE - needed)

    def _evict(self, entries: list[tuple[int, int, str]], target: int) -> bool:
        """Remove the least recently used entries until at most *target* bytes are left."""
        left = sum(size for _, size, _ in entries)
        removed = False
        for _, size, name in sorted(entries):
            if left <= target:
                break
            self._remove(name)
            left -= size
            removed = True
        self._bytes = left
        return removed

    def _entries(self) -> list[tuple[int, int, str]]:
        """Return time of use, size and name of each entry. Other files in the directory are ignored."""
        found = []
        with contextlib.suppress(OSError):
            for name in os.listdir(self._directory):
                if _ENTRY.fullmatch(name):
                    with contextlib.suppress(OSError):
                        status = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
                        found.append((status.st_atime_ns, status.st_size, name))
        return found

    def _clear_drafts(self) -> None:
        """Remove the drafts of daemons that were killed; those of a living one are locked."""
        with contextlib.suppress(OSError):
            for name in filter(_DRAFT.fullmatch, os.listdir(self._directory)):
                with contextlib.suppress(OSError):
                    descriptor = os.open(name, _READ, dir_fd=self._directory)
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        os.unlink(name, dir_fd=self._directory)
                    finally:
                        os.close(descriptor)

    def _touch(self, descriptor: int, status: os.stat_result) -> None:
        """Record the use as access time. The modification time identifies the entry that was checked, and stays."""
        with contextlib.suppress(OSError):
            os.utime(descriptor, ns=(time.time_ns(), status.st_mtime_ns))

    def _write(self, descriptor: int, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            try:
                written = os.pwrite(descriptor, view, offset)
            except OSError as error:
                if not self.relieve(error, len(view)):
                    raise
            else:
                view, offset = view[written:], offset + written

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._directory)

    def _complain(self, error: OSError) -> None:
        """Log once that nothing can be written to the cache."""
        if not self._complained:
            self._complained = True
            log.warning("the disk cache takes nothing for now: %s", error.strerror)


def _accepted(directory: str) -> int:
    """Open the cache's directory, made if need be. Raises CacheRefused."""
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CacheRefused(f"{directory}: {error.strerror}") from error
    status = os.fstat(descriptor)
    reason = ""
    if status.st_uid != os.geteuid():
        reason = "belongs to another user, who could put false content there"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        reason = "can be written by others, who could put false content there; chmod 700 it"
    if reason:
        os.close(descriptor)
        raise CacheRefused(f"{directory} {reason}")
    return descriptor


def _name(key: bytes) -> str:
    return f"{key.hex()}.entry"


def _trailer(key: bytes, length: int, check: int) -> bytes:
    described = _TRAILER.pack(_MAGIC, key, length)
    return described + _CHECK.pack(isal_zlib.crc32(described, check))


def _sound(descriptor: int, key: bytes, length: int) -> bool:
    """Return whether an entry has the key *key* and the bytes that were written."""
    if length < 0:
        return False
    trailer = os.pread(descriptor, _EXTRA, length)
    return trailer[: _TRAILER.size] == _TRAILER.pack(_MAGIC, key, length) and trailer == _trailer(
        key, length, _checksum(descriptor, length)
    )


def _checksum(descriptor: int, length: int) -> int:
    check = 0
    for offset in range(0, length, _CHUNK_BYTES):
        check = isal_zlib.crc32(os.pread(descriptor, min(_CHUNK_BYTES, length - offset), offset), check)
    return check
