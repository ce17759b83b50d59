"""The root of a mount of one DICOM file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dicomfs.instance.services import MountServices
from dicomfs.resources.threads import Purpose, run
from dicomfs.sources.source import Entry
from dicomfs.tree.attributes import MIRROR_SECONDS
from dicomfs.tree.instance_directory import InstanceDirectory
from dicomfs.vfs.nodes import Attributes, Child, Directory


class SingleFile(Directory):
    """The root of a mount of one file: the directory of that file as it is now."""

    __slots__ = ("_current", "_services")

    def __init__(self, entry: Entry, services: MountServices) -> None:
        """Show the DICOM file *entry*."""
        self._services = services
        self._current = InstanceDirectory(entry, services)
        super().__init__(self._current.attributes, self._current.identity)

    async def current(self) -> Attributes:
        """Look at the file again. Another version has other virtual files."""
        entry = await run(Purpose.SOURCE, self._services.source.root_entry)
        if entry.version != self._current.identity:
            self._current = InstanceDirectory(entry, self._services)
            self.attributes = self._current.attributes
        return self.attributes

    async def extended(self) -> Mapping[bytes, bytes]:
        """Return the header values of the current version."""
        await self.current()
        return await self._current.extended()

    async def lookup(self, name: bytes) -> Child | None:
        """Find a virtual file of the current version."""
        await self.current()
        child = await self._current.lookup(name)
        return None if child is None else self._here(child)

    async def listing(self) -> Sequence[Child]:
        """List the current version."""
        await self.current()
        return [self._here(child) for child in await self._current.listing()]

    def _here(self, child: Child) -> Child:
        # Not by place, and not for long: the same name is another file when the source has changed.
        child.node.attributes = replace(child.node.attributes, valid=MIRROR_SECONDS)
        return Child(child.name, child.node, mark=self._current.version + child.mark)
