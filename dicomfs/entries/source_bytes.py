"""Files that are bytes of the source: some extents of it, or all of it."""

import math
from collections.abc import Sequence

from dicomfs.dicom.stream import Extent
from dicomfs.instance.handle import InstanceHandle
from dicomfs.vfs.content import Concatenation, Content, SourceExtent, Wanted, always
from dicomfs.vfs.nodes import Attributes, File


class ExtentsFile(File):
    """Extents of the source, or of its inflated data set, end to end."""

    __slots__ = ("_extents", "_handle", "_word")

    def __init__(self, handle: InstanceHandle, extents: Sequence[Extent], word: int = 1) -> None:
        """Serve *extents*; the bytes of each *word* of more than one byte are reversed."""
        super().__init__(handle.file(sum(length for _, length in extents)))
        self._handle = handle
        self._extents = extents
        self._word = word

    async def open(self, wanted: Wanted = always, limit: float = math.inf) -> Content:
        """Open the source."""
        return await self._handle.stored(self._extents, self._word)


class SourceCopy(File):
    """The source verbatim, with *attributes* of its own where it is no DICOM file."""

    __slots__ = ("_handle",)

    def __init__(self, handle: InstanceHandle, attributes: Attributes | None = None) -> None:
        """Serve the whole file."""
        super().__init__(attributes or handle.file(handle.entry.size))
        self._handle = handle

    async def open(self, wanted: Wanted = always, limit: float = math.inf) -> Content:
        """Open the source."""
        file = await self._handle.open()
        return Concatenation([SourceExtent(file, 0, self.attributes.size)], file)
