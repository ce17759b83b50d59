"""Files that are made as a whole before they are read.

The size of such a file is either known by arithmetic, or nobody knows it before it is made: then asking for it makes
the file. No listing asks.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import BinaryIO

from dicomfs.instance.handle import InstanceHandle
from dicomfs.vfs.builds import BuiltContent, build_key, lasting_key
from dicomfs.vfs.content import Wanted, WrongSize, always
from dicomfs.vfs.nodes import Attributes, File


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a file is built from one version of a source.

    *name* says what is built, with every parameter and a number that goes up whenever the bytes change: two recipes of
    one name must give the same bytes. *size* is the number of bytes where it is known before they are made, which is a
    promise, else None. *build* writes the whole into a seekable file that is empty at first, in bounded memory; it
    raises OSError, and may be cancelled.
    """

    name: str
    size: int | None
    build: Callable[[BinaryIO], Awaitable[None]]


class BuiltFile(File):
    """A file that is built when it is opened, or when its size is requested and must be measured."""

    __slots__ = ("_handle", "_key", "_recipe")
    slow = True

    def __init__(self, handle: InstanceHandle, recipe: Recipe) -> None:
        """Build with *recipe*."""
        self._handle = handle
        self._recipe = recipe
        self._key = build_key(handle.version, recipe.name)
        super().__init__(replace(handle.file(recipe.size or 0), sized=recipe.size is not None))

    async def current(self) -> Attributes:
        """Return the attributes with the exact size, if need be by building the file. Raises OSError."""
        return replace(self.attributes, size=await self.find_size(), sized=True)

    async def find_size(self, wanted: Wanted = always, limit: float = math.inf) -> int:
        """Return the exact size, if need be by building the file as `open` does."""
        size = self._recipe.size
        if size is None:
            size = self._handle.services.builds.size(self._key)
        if size is None:
            content = await self.open(wanted, limit)
            size = content.size
            self._handle.services.builds.close_soon(content)
        return size

    async def open(self, wanted: Wanted = always, limit: float = math.inf) -> BuiltContent:
        """Return the content, built unless that is done.

        Raises OpenAbandoned, BuildUnfinished, and WrongSize where another size was promised.
        """
        builds, recipe = self._handle.services.builds, self._recipe
        content = await builds.open(self._key, recipe.build, wanted, self._name, limit)
        if recipe.size is not None and content.size != recipe.size:
            content.close()
            raise WrongSize(recipe.size, content.size)
        return content

    async def _name(self) -> bytes:
        return lasting_key(await self._handle.digest(), self._recipe.name)
