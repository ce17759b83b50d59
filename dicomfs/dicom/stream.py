"""Random access to bytes, wherever they are: the one interface that parsing and frame finding read through."""

from typing import NamedTuple, Protocol


class Extent(NamedTuple):
    """A run of bytes in the stream."""

    offset: int
    length: int


class Stream(Protocol):
    """Bytes that can be read at any offset and do not change."""

    @property
    def size(self) -> int:
        """Bytes in the whole stream."""

    def pread(self, length: int, offset: int) -> bytes:
        """Read *length* bytes at *offset*; fewer only where the stream ends."""


class Memory:
    """A stream over bytes that are in memory already, such as an inflated data set."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        """Serve *data*."""
        self._data = data

    @property
    def size(self) -> int:
        """Bytes in the whole stream."""
        return len(self._data)

    def pread(self, length: int, offset: int) -> bytes:
        """Read *length* bytes at *offset*; fewer only where the stream ends."""
        return self._data[offset : offset + length]
