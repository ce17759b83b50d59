"""What the kernel was told of sizes that nothing but making the file tells.

It holds on to a size for as long as it holds the number of the file, and shares what it read by it: so the size that it
was told first stays the size, also when the file had to be made a second time.
"""

from dicomfs.vfs.content import WrongSize


class ReportedSizes:
    """The sizes of files whose listing tells none, by number, for as long as the kernel holds them."""

    def __init__(self) -> None:
        """Start with none."""
        self._held: dict[int, int] = {}
        self._sizes: dict[int, int] = {}

    def hold(self, inode: int) -> int | None:
        """Count one lookup, which `forget` takes back; give the size, if it was told."""
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
        """Give the size, if it was told."""
        return self._sizes.get(inode)

    def tell(self, inode: int, size: int) -> int:
        """Note the size that the kernel is going to be told. Raises WrongSize where it was told another."""
        told = self._sizes.setdefault(inode, size)
        if told != size:
            raise WrongSize(told, size)
        return size
