"""Files that are made as a whole when they are opened, because only that tells how large they are.

Until then `stat` shows what was found out before, or an estimate. The kernel may keep that, so that listings cost
nothing: whoever serves an open has it ask again.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import BinaryIO

from dicomfs.builds import BuiltContent, build_key, lasting_key
from dicomfs.files.subject import Subject
from dicomfs.nodes import Attributes, File


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a file is built from one version of a source.

    *name* says what is built, with every parameter and a number that goes up whenever the bytes change: two recipes of
    one name must give the same bytes. *estimate* is what `stat` shows before the first build. *build* writes the whole
    into a seekable file that is empty at first, in bounded memory; it raises OSError, and may be cancelled.
    """

    name: str
    estimate: int
    build: Callable[[BinaryIO], Awaitable[None]]


class BuiltFile(File):
    """A file that *open* builds; its attributes are exact from then on."""

    __slots__ = ("_key", "_recipe", "_subject", "_valid")

    def __init__(self, subject: Subject, recipe: Recipe) -> None:
        """Build with *recipe* when somebody opens it."""
        self._subject = subject
        self._recipe = recipe
        self._key = build_key(subject.version, recipe.name)
        super().__init__(subject.file(max(1, recipe.estimate)))

    @property
    def attributes(self) -> Attributes:
        """Show the exact size where it is known, else the estimate."""
        size = self._subject.services.builds.size(self._key) or max(1, self._recipe.estimate)
        return replace(self._subject.file(size), valid=self._valid)

    @attributes.setter
    def attributes(self, attributes: Attributes) -> None:
        self._valid = attributes.valid  # the rest follows from the build

    async def open(self) -> BuiltContent:
        """Build, unless that is done."""
        return await self.open_while(lambda: True)

    async def open_while(self, wanted: Callable[[], bool]) -> BuiltContent:
        """Do the same for as long as *wanted* says so, which is asked now and then. Raises OpenAbandoned."""
        return await self._subject.services.builds.open(self._key, self._recipe.build, wanted, self._name)

    async def _name(self) -> bytes:
        return lasting_key(await self._subject.digest(), self._recipe.name)
