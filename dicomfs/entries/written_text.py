"""Texts: short ones are made from the header and cached, long ones are written into a file when a client wants them."""

import math
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import BinaryIO

from dicomfs.entries.built_file import BuiltFile, Recipe
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.resources.threads import Purpose, run
from dicomfs.vfs.content import Content, Literal, Wanted, always
from dicomfs.vfs.nodes import File

# Goes up whenever the bytes of a long text change.
_EDITION = 1
_PART_BYTES = 256 << 10


class TextFile(File):
    """A text that is made from the header alone; its size is known by making it once."""

    __slots__ = ("_handle", "_key", "_make")

    def __init__(
        self, handle: InstanceHandle, instance: Instance, key: Hashable, make: Callable[[Instance], bytes]
    ) -> None:
        """Serve what *make* returns; it must return the same for the same Instance each time."""
        super().__init__(handle.file(len(make(instance))))
        self._handle = handle
        self._key = (handle.version, key)
        self._make = make

    async def open(self, wanted: Wanted = always, limit: float = math.inf) -> Content:
        """Return the text, made again if it is no longer in the cache."""
        return Literal(await self._handle.services.texts.get(self._key, self._text))

    async def _text(self) -> bytes:
        instance = await self._handle.parsed()
        return await run(Purpose.COMPUTING, self._make, instance)


def written_file(handle: InstanceHandle, name: str, write: Callable[[Instance], Iterator[bytes]]) -> BuiltFile:
    """Serve a file of the parts that *write* makes of an Instance, in bounded memory."""
    return BuiltFile(handle, Recipe(f"{name} {_EDITION}", None, partial(_build, handle, write)))


async def _build(handle: InstanceHandle, write: Callable[[Instance], Iterator[bytes]], file: BinaryIO) -> None:
    await write_parts(file, write(await handle.parsed()))


async def write_parts(file: BinaryIO, parts: Iterator[bytes]) -> None:
    """Write *parts* into *file* in a thread, which ends soon after the caller is cancelled."""
    writing = _Writing(file, parts)
    try:
        await run(Purpose.COMPUTING, writing.work)
    finally:
        writing.wanted = False


class _Writing:
    """Parts on their way into a file, for as long as they are *wanted*."""

    __slots__ = ("_file", "_parts", "wanted")

    def __init__(self, file: BinaryIO, parts: Iterator[bytes]) -> None:
        self._file = file
        self._parts = parts
        self.wanted = True

    def work(self) -> None:
        """Write everything, some parts at a time."""
        pending = bytearray()
        for part in self._parts:
            pending += part
            if len(pending) >= _PART_BYTES:
                self._file.write(pending)
                pending.clear()
                if not self.wanted:
                    return
        self._file.write(pending)
