"""Files that stay open for a moment: how long, how many, and what is read of them at once."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from dicomfs.dicom.stream import Stream
from dicomfs.sources.local import LocalSource
from dicomfs.sources.open_files import OpenFiles, WouldBlock
from dicomfs.sources.source import Entry, SourceChanged, Version

T = TypeVar("T")
SIZE = 5 << 20


class Place:
    """An archive of a few files, and how many of them are open."""

    def __init__(self, folder: Path) -> None:
        for number in range(6):
            (folder / f"{number}.dcm").write_bytes(bytes([number]) * SIZE)
        self.folder = folder
        self.source = LocalSource(str(folder))
        self.recent = OpenFiles()

    def entry(self, number: int) -> Entry:
        return self.source.entry(b"", b"%d.dcm" % number)

    def keep(self, number: int) -> Entry:
        entry = self.entry(number)
        self.recent.keep(entry.version, self.source.open(entry.path, entry.fingerprint))
        return entry

    @property
    def open_files(self) -> list[str]:
        links = [Path(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        named = [os.readlink(link) for link in links if link.is_symlink()]
        return sorted(Path(name).name for name in named if name.startswith(f"{self.folder}/"))


def use(place: Place, version: Version, read: Callable[[Stream], T]) -> T:
    with place.recent.lent(version) as stream:
        return read(stream)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_what_is_in_memory_is_read_at_once(place: Place) -> None:
    async def main() -> None:
        entry = place.keep(3)

        def end() -> bytes:
            (place.folder / "3.dcm").read_bytes()
            with contextlib.suppress(WouldBlock):  # the kernel may take pages back at any time
                return use(place, entry.version, lambda stream: stream.pread(9, SIZE - 4))
            return b""

        assert b"\3" * 4 in [end() for _ in range(3)]
        assert use(place, entry.version, lambda stream: stream.size) == SIZE

    trio.run(main)


def test_what_is_on_disk_or_long_is_not(place: Place) -> None:
    async def main() -> None:
        entry = place.keep(1)
        with pytest.raises(WouldBlock):
            use(place, entry.version, lambda stream: stream.pread(3 << 20, 0))
        with open(place.folder / "1.dcm", "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with pytest.raises(WouldBlock):
            use(place, entry.version, lambda stream: stream.pread(1000, 1 << 20))
        with pytest.raises(WouldBlock):
            use(place, place.entry(2).version, lambda stream: stream.pread(1, 0))

    trio.run(main)


def test_another_version_is_an_error_and_let_go(place: Place) -> None:
    async def main() -> None:
        entry = place.keep(0)
        (place.folder / "0.dcm").write_bytes(b"new")
        with pytest.raises(SourceChanged):
            use(place, entry.version, lambda stream: stream.pread(3, 0))
        assert entry.version not in place.recent
        assert place.open_files == []

    trio.run(main)


def test_only_the_last_few_are_open_and_only_for_a_moment(place: Place) -> None:
    async def main() -> None:
        entries = [place.keep(number) for number in (0, 1, 2, 3, 4, 5, 5)]
        assert place.open_files == ["2.dcm", "3.dcm", "4.dcm", "5.dcm"]
        with trio.fail_after(20):
            while len(place.open_files) > 1:
                use(place, entries[2].version, lambda stream: stream.size)
                await trio.sleep(0.01)
            assert place.open_files == ["2.dcm"]
            while place.open_files:
                await trio.sleep(0.1)
        place.keep(1)
        with trio.fail_after(20):
            while place.open_files:
                await trio.sleep(0.1)

    trio.run(main)


def test_nothing_is_open_when_the_loop_has_ended(place: Place) -> None:
    async def main() -> None:
        place.keep(1)

    trio.run(main)
    assert place.open_files == []
