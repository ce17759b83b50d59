"""The interface of an archive, whatever kind it is, and the values that it deals in.

Nothing above this folder knows how a source names its files or how it tells their versions apart: fingerprints and
identities are compared and hashed, never taken apart.
"""

import errno
import os
import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

from dicomfs.resources.descriptors import Descriptors
from dicomfs.sources.gather import Learnt

Fingerprint = bytes
"""Opaque. While the source is open, equal fingerprints at one path mean equal bytes."""

Steps = tuple[Hashable, ...]
"""The directories from the root of the archive, which is left out, down to one: the `object_id` of each."""


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


class Version(NamedTuple):
    """One version of one file: no two files of a mount share it. A tuple, since every cache looks it up."""

    path: bytes
    fingerprint: Fingerprint


class Kind(Enum):
    """How an entry of the archive is shown."""

    DIRECTORY = "directory"
    DICOM = "DICOM file"
    OTHER = "other file"
    UNREAD = "file that we may not read"


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory of the archive.

    *path* is what `Source.open` takes, with all links resolved, and *steps* are the directories above it there. *size*
    is in bytes. *mode* lacks what access control lists deny, and *left* holds the permission bits that the directories
    on the way of a link leave of it. *object_id* tells this file or directory from all others while the source is
    open, whatever links lead to it. *identity* tells this version of a file, or this directory, from all others that
    may be at its path, for good: it is the same in every mount, of dicomfs and of the archive's file system.
    """

    name: bytes
    path: bytes
    kind: Kind
    fingerprint: Fingerprint
    size: int
    mtime_ns: int
    mode: int
    uid: int
    gid: int
    object_id: Hashable
    steps: Steps = ()
    left: int = 0o777
    identity: bytes = field(default=b"", compare=False)  # it follows from the others

    @property
    def version(self) -> Version:
        """This version of this file."""
        return Version(self.path, self.fingerprint)

    @property
    def inside(self) -> Steps:
        """The directories down to this one, which is a directory."""
        return (*self.steps, self.object_id) if self.path else ()


@dataclass(frozen=True, slots=True)
class Unseen:
    """One name in a directory about which nothing else can be learnt now; *error* is the reason."""

    name: bytes
    error: OSError


Look = Entry | Unseen | None
"""A name in a directory; None for one that is never shown."""


@dataclass(frozen=True, slots=True)
class Space:
    """The storage that the archive is on: *blocks* of *block_size* bytes, and how many *files* it has room for.

    Reads of *transfer_size* bytes are best.
    """

    transfer_size: int
    block_size: int
    blocks: int
    files: int


@runtime_checkable
class SourceFile(Protocol):
    """One version of one file: reads give its bytes or raise SourceChanged, and never give those of another version."""

    @property
    def size(self) -> int:
        """Bytes in the file."""

    @property
    def is_open(self) -> bool:
        """Whether `pread_cached` may find something."""

    def pread(self, length: int, offset: int) -> bytes:
        """Read *length* bytes at *offset*, fewer only at the end. To be called in a thread. Raises SourceChanged."""

    def pread_cached(self, length: int, offset: int) -> memoryview | None:
        """Read like `pread` if all of it is in memory, otherwise return None. Never waits."""

    def close(self) -> None:
        """Close the file; a second call has no effect."""


class Source(Protocol):
    """An archive: a directory or a single file. All methods may wait and are to be called in threads."""

    @property
    def descriptors(self) -> Descriptors:
        """The budget of descriptors that open files count in."""

    @property
    def name(self) -> bytes:
        """What a user knows the archive by, such as its absolute path."""

    def root_entry(self) -> Entry:
        """Describe the archive itself."""

    def directory(self, path: bytes, inside: Steps | None = None) -> Entry:
        """Describe a directory by its path; raises SourceChanged unless it is reached through the directories *inside*.

        So a directory that has taken the path of another is not taken for it.
        """

    def entry(self, directory: bytes, name: bytes, known: Entry | None = None, inside: Steps | None = None) -> Entry:
        """Describe *name* in *directory*; raises FileNotFoundError also for what is never shown.

        The *known* entry is returned again if it has not changed, without a look into the file. Raises SourceChanged
        like `directory`.
        """

    def entries(
        self,
        directory: bytes,
        known: Mapping[bytes, Entry] = MappingProxyType({}),
        inside: Steps | None = None,
        learnt: Learnt[Look] | None = None,
        stop: threading.Event | None = None,
    ) -> list[Entry | Unseen]:
        """Describe everything in a directory, sorted by name. What vanishes meanwhile or is never shown is left out.

        A listing is complete, or an error. *known* entries that have not changed are returned again. Names that are
        *learnt* already are not looked at; when *stop* is set or an error ends the call, *learnt* holds what the next
        call need not look at. Raises SourceChanged like `directory`.
        """

    def open(self, path: bytes, fingerprint: Fingerprint, steps: Steps | None = None) -> SourceFile:
        """Open the version *fingerprint* of a file, reached through the directories *steps*. Raises SourceChanged."""

    def space(self) -> Space:
        """Measure the storage that the archive is on."""

    def close(self) -> None:
        """Release what the source itself holds; files that are open stay open."""
