"""Ways through the directories of an archive that never leave it.

Every step from the root goes through a directory descriptor and follows no link, so that nobody can lead a read out of
the archive by swapping a directory for a link, and so that no path of our own mount is ever touched.
"""

import errno
import os
import stat
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager

from dicomfs.resources.descriptors import Descriptors
from dicomfs.sources.file_systems import FileSystems
from dicomfs.sources.local_file import object_id_of
from dicomfs.sources.mount_table import parts
from dicomfs.sources.posix_acl import Rights
from dicomfs.sources.source import OutsideSource, SourceChanged, Steps

# As the kernel counts (MAXSYMLINKS).
MAX_LINKS = 40
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


class Walk:
    """Leads to the directories of an archive by paths relative to its root."""

    def __init__(
        self, root: int, names: Sequence[tuple[bytes, ...]], descriptors: Descriptors, file_systems: FileSystems
    ) -> None:
        """Start at the directory descriptor *root*; absolute links that begin with one of its *names* stay inside."""
        self._root = root
        self._names = names
        self._descriptors = descriptors
        self._file_systems = file_systems

    @contextmanager
    def opened(self, directory: bytes, wanted: Steps | None = None) -> Iterator[tuple[int, Steps]]:
        """Hold a descriptor (O_PATH) of a directory, and return the steps to it.

        Raises SourceChanged where the way does not lead through the directories that are *wanted*.
        """
        descriptor = self._root
        steps: list[Hashable] = []
        try:
            for depth, part in enumerate(directory.split(b"/") if directory else ()):
                if part in (b"", b".", b".."):
                    raise FileNotFoundError(errno.ENOENT, "not a path within the archive")
                try:
                    below = self._descriptors.opening(os.open, part, _STEP, dir_fd=descriptor)
                except (FileNotFoundError, NotADirectoryError):
                    if wanted is None:
                        raise
                    raise SourceChanged from None  # it was there: its holder must look up the name again
                if descriptor != self._root:
                    os.close(descriptor)
                descriptor = below
                steps.append(object_id_of(os.fstat(descriptor)))
                if wanted is not None and steps[depth] != wanted[depth]:
                    raise SourceChanged
            yield descriptor, tuple(steps)
        finally:
            if descriptor != self._root:
                os.close(descriptor)

    def resolve(self, directory: bytes, name: bytes, steps: Steps) -> tuple[bytes, list[Rights]]:
        """Follow links to a path without any. Raises OutsideSource where that leaves the archive.

        Also returns the rights of the directories on the way that are neither *directory* nor above it (*steps*).
        """
        done = directory.split(b"/") if directory else []
        way: dict[Hashable, Rights] = {}
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
            with self.opened(b"/".join(done)) as (step, above):
                if above and above[-1] not in steps and above[-1] not in way:
                    status = os.fstat(step)
                    mode = self._file_systems.effective_mode(step, b".", status)
                    way[above[-1]] = Rights(mode, status.st_uid, status.st_gid)
                if not stat.S_ISLNK(os.stat(part, dir_fd=step, follow_symlinks=False).st_mode):
                    done.append(part)
                    continue
                target = os.readlink(part, dir_fd=step)
            links += 1
            if links > MAX_LINKS:
                raise OutsideSource(errno.ELOOP)
            if target.startswith(b"/"):
                done, target = [], self._relative(target)
            todo.extend(reversed(target.split(b"/")))
        return b"/".join(done), list(way.values())

    def _relative(self, target: bytes) -> bytes:
        """Return an absolute path as one relative to the root. Raises OutsideSource."""
        absolute = parts(target)
        for name in self._names:
            if absolute[: len(name)] == name:
                return b"/".join(absolute[len(name) :])
        raise OutsideSource
