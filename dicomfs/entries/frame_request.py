"""Frame requests: a frame, the object that it is from, and what is wanted of it."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dicomfs.dicom.stream import Stream
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.sources.open_files import WouldBlock
from dicomfs.sources.source import SourceFile
from dicomfs.workers.decoder_process import Task
from dicomfs.workers.processes import Buffer


class Variant(Hashable, Protocol):
    """What is wanted of a frame: its display image, its stored values, the range of its values, and so on."""

    @property
    def size(self) -> int:
        """Bytes of the result, at most."""

    @property
    def room(self) -> int:
        """Bytes of memory that are needed while it is made."""

    def read(self, stream: Stream, instance: Instance, frame: int) -> tuple[Task, bytes]:
        """Read the encoded bytes of *frame*, counted from 0, and describe the task. Raises OSError."""

    async def complete(self, handle: InstanceHandle, frame: int, task: Task) -> Task:
        """Add to the task what only other frames tell. Raises OSError."""


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """One result of one frame, counted from 0; it is the key of the result in the frame cache."""

    handle: InstanceHandle
    frame: int
    variant: Variant

    @property
    def owner(self) -> Hashable:
        """The version of the object."""
        return self.handle.version

    @property
    def size(self) -> int:
        """Bytes of the result, at most."""
        return self.variant.size

    @property
    def room(self) -> int:
        """Bytes of memory that are needed while it is made."""
        return self.variant.room

    async def prepare(self) -> tuple[Task, Buffer]:
        """Read the encoded bytes, at once where they are in memory; describe the task. Raises OSError."""
        instance = await self.handle.instance()
        try:
            with await self.handle.at_hand() as stream:
                task, data = self.variant.read(instance.stream_in(stream), instance, self.frame)
        except WouldBlock:
            task, data = await self.handle.read(self._read, instance)
        return await self.variant.complete(self.handle, self.frame, task), data

    def _read(self, file: SourceFile, instance: Instance) -> tuple[Task, bytes]:
        return self.variant.read(instance.stream_in(file), instance, self.frame)


@dataclass(frozen=True, slots=True)
class FrameSequence:
    """The requests for some frames of one object, in an order."""

    handle: InstanceHandle
    variant: Variant
    frames: Sequence[int]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.frames)

    def __getitem__(self, index: int) -> FrameRequest:
        """Return the request for one of them."""
        return FrameRequest(self.handle, self.frames[index], self.variant)


def room_for(frame_bytes: int, result_bytes: int) -> int:
    """Return the memory that a task needs in the daemon: the slot, and either the encoded frame or the result."""
    return 2 * max(frame_bytes, result_bytes)
