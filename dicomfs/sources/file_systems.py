"""The file systems that an archive spans: whether each keeps inode numbers and has lists that modes do not show."""

import os
from collections.abc import Callable
from functools import partial

from dicomfs.resources.descriptors import Descriptors
from dicomfs.sources.mount_table import keeps_inodes, kind_of, other_lists
from dicomfs.sources.posix_acl import OWNER_ALONE, effective_mode


class FileSystems:
    """What is known of each file system, by its device, so that a listing does not ask for each file."""

    def __init__(self, descriptors: Descriptors, *, trusting: bool) -> None:
        """Know nothing. If *trusting*, modes say all that lists say, on file systems whose lists cannot be read."""
        self._descriptors = descriptors
        self.trusting = trusting
        self.closed_to_others: dict[int, bool] = {}
        self._keep_inodes: dict[int, bool] = {}

    def keep_inodes(self, directory: int, name: bytes, device: int) -> bool:
        """Return whether the file system of a file on *device* keeps inode numbers when it is mounted again."""
        return self._known(self._keep_inodes, device, partial(_ask, keeps_inodes, name, directory))

    def effective_mode(self, directory: int, name: bytes, status: os.stat_result) -> int:
        """Return the mode of a file without what lists deny, and with the owner's bits alone where they are unknown."""
        place = b"/proc/self/fd/%d/%s" % (directory, name)
        mode = effective_mode(status.st_mode, status.st_uid, status.st_gid, place)
        if self.trusting:
            return mode
        closed = self._known(self.closed_to_others, status.st_dev, partial(_ask, _has_other_lists, name, directory))
        return mode & OWNER_ALONE if closed else mode

    def _known(self, known: dict[int, bool], device: int, ask: Callable[[], bool]) -> bool:
        answer = known.get(device)
        if answer is None:
            answer = known[device] = self._descriptors.opening(ask)
        return answer


def _ask(question: Callable[[int], bool], name: bytes, directory: int) -> bool:
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        return question(descriptor)
    finally:
        os.close(descriptor)


def _has_other_lists(descriptor: int) -> bool:
    return bool(other_lists({kind_of(descriptor)}, descriptor))
