"""The sizes reported to the kernel of files that must be made to be measured.

The kernel keeps a size as long as it holds the inode number, and caches pages by it. So the first size that was
reported stays the size, even when the file is made a second time.
"""

from dicomfs.vfs.content import WrongSize


class ReportedSizes:
    """Sizes by inode number, for as long as the kernel holds it."""

    def __init__(self) -> None:
        """Start without any."""
        self._held: dict[int, int] = {}
        self._sizes: dict[int, int] = {}

    def hold(self, inode: int) -> int | None:
        """Count one lookup, which `forget` takes back; return the size if it was reported."""
        self._held[inode] = self._held.get(inode, 0) + 1
        return self._sizes.get(inode)

    def forget(self, inode: int, lookups: int) -> None:
        """Take *lookups* back, of any file. The size of a number that the kernel no longer holds is forgotten."""
        held = self._held.get(inode)
        if held is None:
            return
        if held > lookups:
            self._held[inode] = held - lookups
        else:
            del self._held[inode]
            self._sizes.pop(inode, None)

    def get(self, inode: int) -> int | None:
        """Return the size if it was reported."""
        return self._sizes.get(inode)

    def report(self, inode: int, size: int) -> int:
        """Record the size that the kernel will get. Raises WrongSize where it got another."""
        reported = self._sizes.setdefault(inode, size)
        if reported != size:
            raise WrongSize(reported, size)
        return size
