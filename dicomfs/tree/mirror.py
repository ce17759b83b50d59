"""The mirror of the archive: its names, with a directory in place of every DICOM file."""

import errno
import os
import threading
from collections.abc import Hashable, Sequence
from dataclasses import replace

from dicomfs.entries.source_bytes import SourceCopy
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.services import MountServices
from dicomfs.resources.threads import Purpose, run
from dicomfs.sources.gather import Learnt
from dicomfs.sources.source import Entry, Kind, Look, Steps, Unseen
from dicomfs.tree.attributes import directory_attributes, file_attributes
from dicomfs.tree.instance_directory import InstanceDirectory
from dicomfs.tree.single_file import SingleFile
from dicomfs.vfs.nodes import Attributes, Child, Directory, Node, Unknown


class MirrorDirectory(Directory):
    """A directory of the archive: this very one, not any that has its name.

    After it was moved away or replaced, lookups and listings raise SourceChanged (ESTALE), and the kernel looks up the
    name again: the directory that is there now may deny access to users who could read this one.
    """

    __slots__ = ("_ancestors", "_entry", "_known", "_learnt", "_services")

    def __init__(self, entry: Entry, services: MountServices, ancestors: frozenset[Hashable] = frozenset()) -> None:
        """Mirror the directory *entry*; *ancestors* are those on the way to it (`Entry.object_id`)."""
        super().__init__(directory_attributes(entry), entry.object_id)
        self._entry = entry
        self._services = services
        self._ancestors = ancestors | {entry.object_id}
        # As last listed. The kernel holds them all anyway, and most do not change until the next time.
        self._known: dict[bytes, tuple[Entry, Node]] = {}
        # What listings have found that were cut short.
        self._learnt: Learnt[Look] | None = None

    async def current(self) -> Attributes:
        """Look at the directory again: its time changes when names come and go. Raises SourceChanged."""
        entry = await run(Purpose.SOURCE, self._services.source.directory, self._entry.path, self._entry.inside)
        self.attributes = directory_attributes(replace(entry, left=self._entry.left))
        return self.attributes

    async def lookup(self, name: bytes) -> Child | None:
        """Find a name in the archive. Raises SourceChanged."""
        known, node = self._known.get(name, (None, None))
        here = self._entry
        entry = await run(Purpose.SOURCE, self._services.source.entry, here.path, name, known, here.inside)
        if entry is not known:
            node = self._node(entry)
        return None if node is None else Child(name, node, mark=entry.identity)

    async def listing(self) -> Sequence[Child]:
        """List the archive's directory. A listing after one that was cut short continues it."""
        known = {name: entry for name, (entry, _) in self._known.items()}
        learnt = self._learnt
        if learnt is not None and learnt.old:
            known |= {name: entry for name, (entry, _) in learnt.values.items() if isinstance(entry, Entry)}
            learnt = None
        if learnt is None:
            learnt = Learnt()
        self._learnt = learnt
        here, stop = self._entry, threading.Event()
        try:
            entries = await run(
                Purpose.SOURCE, self._services.source.entries, here.path, known, here.inside, learnt, stop
            )
        finally:
            stop.set()
        if self._learnt is learnt:
            self._learnt = None
        return self._children(entries, learnt)

    def replaces(self, before: Node) -> bool:
        """Return whether this is somewhere else than *before*, or looks different."""
        moved = isinstance(before, MirrorDirectory) and before._place != self._place
        return moved or super().replaces(before)

    @property
    def _place(self) -> tuple[bytes, Steps]:
        return self._entry.path, self._entry.inside

    def _children(self, entries: Sequence[Entry | Unseen], learnt: Learnt[Look]) -> Sequence[Child]:
        found: dict[bytes, tuple[Entry, Node]] = {}
        children = []
        for entry in entries:
            if isinstance(entry, Unseen):
                children.append(Child(entry.name, Unknown(entry.error.errno or errno.EIO)))
                continue
            before, node = self._known.get(entry.name, (None, None))
            if before is not entry:
                node = self._node(entry)
            if node is not None:
                found[entry.name] = entry, node
                children.append(Child(entry.name, node, mark=entry.identity, seen=learnt.values[entry.name][1]))
        self._known = found
        return children

    def _node(self, entry: Entry) -> Node | None:
        if entry.kind is Kind.DICOM:
            return InstanceDirectory(entry, self._services)
        if entry.kind is not Kind.DIRECTORY:
            return _passed_through(entry, self._services)
        if entry.object_id in self._ancestors:
            return None  # a link to a directory above: a walk that follows it would never end
        return MirrorDirectory(entry, self._services, self._ancestors)


def _passed_through(entry: Entry, services: MountServices) -> SourceCopy:
    """Show a file that is not DICOM: the same bytes as in the archive."""
    node = SourceCopy(InstanceHandle(entry, services), file_attributes(entry))
    node.identity = entry.version
    return node


def root(services: MountServices) -> Directory:
    """Return the root of the tree for an archive; raises OSError when a single file is not DICOM."""
    entry = services.source.root_entry()
    if entry.kind is Kind.DIRECTORY:
        return MirrorDirectory(entry, services)
    if entry.kind is not Kind.DICOM:
        raise OSError(errno.EINVAL, "not a DICOM file", os.fsdecode(services.source.name))
    return SingleFile(entry, services)
