"""Texts that are too long to write for a listing: they are written into a file when somebody opens them or asks."""

from collections.abc import Awaitable, Callable, Iterator
from typing import BinaryIO

from dicomfs.entries.built_file import BuiltFile, Recipe
from dicomfs.instance.handle import Subject
from dicomfs.instance.instance import Instance
from dicomfs.resources.threads import Purpose, run

# Goes up whenever the bytes of a text change.
_EDITION = 1
# What is written at a time.
_PART = 256 << 10


def written_file(subject: Subject, name: str, write: Callable[[Instance], Iterator[bytes]]) -> BuiltFile:
    """Give a file of the parts that *write* makes of the data set, in bounded memory."""

    async def build(file: BinaryIO) -> None:
        instance, wanted = await subject.parsed(), True

        def work() -> None:
            pending = bytearray()
            for part in write(instance):
                pending += part
                if len(pending) >= _PART:
                    file.write(pending)
                    pending.clear()
                    if not wanted:
                        return
            file.write(pending)

        try:
            await run(Purpose.COMPUTING, work)
        finally:
            wanted = False  # a thread that nobody waits for any longer need not go on

    return BuiltFile(subject, Recipe(f"{name} {_EDITION}", None, build))


def built_file(subject: Subject, name: str, make: Callable[[], Awaitable[bytes]]) -> BuiltFile:
    """Give a file of the bytes that *make* gives as a whole."""

    async def build(file: BinaryIO) -> None:
        data = await make()
        await run(Purpose.DISK, file.write, data, finish=True)

    return BuiltFile(subject, Recipe(f"{name} {_EDITION}", None, build))
