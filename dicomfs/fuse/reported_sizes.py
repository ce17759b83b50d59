"""Sizes that were reported to the kernel for files that must be built to be measured.

The kernel keeps a size for as long as it holds the inode number, and shares its pages by that number. So the size that
was reported first stays the size, even when the file has to be built again.
"""

from dicomfs.vfs.content import WrongSize


class ReportedSizes:
    """Sizes of files whose listings state none, by inode number, for as long as the kernel holds them."""

    def __init__(self) -> None:
        """Start with none."""
        self._held: dict[int, int] = {}
        self._sizes: dict[int, int] = {}

    def hold(self, inode: int) -> int | None:
        """Count one lookup, which `forget` takes back; return the size, if one was reported."""
        self._held[inode] = self._held.get(inode, 0) + 1
        return self._sizes.get(inode)

    def forget(self, inode: int, lookups: int) -> None:
        """Take *lookups* back, of whatever file; a size that the kernel no longer holds is free."""
        held = self._held.get(inode)
        if held is None:
            return
        if held > lookups:
            self._held[inode] = held - lookups
        else:
            del self._held[inode]
            self._sizes.pop(inode, None)

    def get(self, inode: int) -> int | None:
        """Return the size, if it was told."""
        return self._sizes.get(inode)

    def tell(self, inode: int, size: int) -> int:
        """Note the size that is reported to the kernel. Raises WrongSize where another one was reported before."""
        told = self._sizes.setdefault(inode, size)
        if told != size:
            raise WrongSize(told, size)
        return size
