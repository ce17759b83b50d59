"""Texts that are too long to write for a listing: they are written into a file when somebody opens them or asks."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

from dicomfs.entries.built_file import BuiltFile, Recipe
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.resources.threads import Purpose, run

# Goes up whenever the bytes of a text change.
_EDITION = 1
# What is written at a time.
_PART_BYTES = 256 << 10


def written_file(subject: InstanceHandle, name: str, write: Callable[[Instance], Iterator[bytes]]) -> BuiltFile:
    """Serve a file of the parts that *write* makes of the data set, in bounded memory."""

    async def build(file: BinaryIO) -> None:
        instance = await subject.parsed()
        await write_parts(file, lambda: write(instance))

    return BuiltFile(subject, Recipe(f"{name} {_EDITION}", None, build))


async def write_parts(file: BinaryIO, parts: Callable[[], Iterator[bytes]]) -> None:
    """Write *parts* into *file* in a thread, which ends soon after nobody waits for it any longer."""
    wanted = True

    def work() -> None:
        pending = bytearray()
        for part in parts():
            pending += part
            if len(pending) >= _PART_BYTES:
                file.write(pending)
                pending.clear()
                if not wanted:
                    return
        file.write(pending)

    try:
        await run(Purpose.COMPUTING, work)
    finally:
        wanted = False
