"""Work that nobody asked for is not done, and nobody waits for the work of others: counted, not timed."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import trio
import trio.testing
from support.builders import JPEG_2000, dicom, encapsulated, image, offsets
from support.decoding import read_at
from support.mounting import Loop, Mount, mounted, read_all, tree_of, wait_for
from support.real_films import SYNTAXES, file_of, film

from dicomfs.entries import VIRTUAL_FILES, VirtualFile
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.sources.local_file import LocalFile
from dicomfs.vfs.nodes import Directory, File, Node

SIDE = 512
WORKERS = 2


def slow_film(path: Path, frames: int) -> None:
    """Make a film whose frames take some 30 ms each to decode."""
    picture = np.random.default_rng(1).integers(0, 4096, (SIDE, SIDE), np.uint16)
    stream = imagecodecs.jpeg2k_encode(picture, reversible=True, codecformat="j2k", bitspersample=12)
    value = encapsulated([stream] * frames, offsets([[stream]] * frames))
    elements = image(SIDE, SIDE, value, frames=frames, bits=16, stored=12, vr="OB")
    path.write_bytes(dicom(elements | {0x00281050: ("DS", "2048"), 0x00281051: ("DS", "4096")}, JPEG_2000))


def quick_film(path: Path, frames: int) -> None:
    """Make a film of tiny frames."""
    path.write_bytes(file_of(encapsulated(film("jpeg", frames).frames), frames, SYNTAXES["jpeg"]))


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    source = tmp_path / "source"
    source.mkdir()
    slow_film(source / "slow.dcm", 60)
    quick_film(source / "quick.dcm", 60)
    with mounted(source, tmp_path, "--workers", str(WORKERS)) as mount:
        yield mount


def settled(mount: Mount) -> int:
    """Give how many frames were decoded when no more are."""
    before = -1
    while (now := mount.statistics()["decoded"]) != before:
        before = now
        time.sleep(0.3)
    return now


@pytest.mark.parametrize(
    "order", [range(0, 60, 7), range(59, -1, -1), range(0, 60, 2), [number * 23 % 60 for number in range(60)]]
)
def test_random_access_decodes_what_is_asked_for_and_nothing_else(order: range | list[int], mount: Mount) -> None:
    for number in order:
        (mount.path / f"quick.dcm/frames/{number + 1:04}.png").read_bytes()
    assert settled(mount) == len(set(order))


def test_a_file_manager_that_looks_at_beginnings_decodes_each_once(mount: Mount) -> None:
    for number in (1, 20, 40, 1, 20, 40):
        with open(mount.path / f"quick.dcm/frames/{number:04}.png", "rb", buffering=0) as file:
            assert file.read(100)
    assert settled(mount) == 3


def test_a_killed_reader_leaves_no_work_behind(mount: Mount, tmp_path: Path) -> None:
    frames = sorted((mount.path / "slow.dcm/frames").iterdir())
    with open(tmp_path / "out", "wb") as out:
        reader = subprocess.Popen(["cat", *frames], stdout=out)
    wait_for(lambda: mount.statistics()["decoded"] >= 6)
    reader.kill()
    reader.wait()
    at_kill = mount.statistics()["decoded"]
    # The frame that it waited for, one a worker behind that, and two for when a worker is done early.
    after = settled(mount)
    assert after - at_kill <= 1 + WORKERS + 2
    assert after < len(frames)
    (mount.path / "quick.dcm/frames/0030.png").read_bytes()
    assert settled(mount) == after + 1


def test_a_second_read_asks_the_daemon_for_no_byte(mount: Mount) -> None:
    for name in ("frames/0003.png", "original.dcm", "header.json", "raw/0001.jpg"):
        path = mount.path / "quick.dcm" / name
        first, asked = path.read_bytes(), []
        before = mount.statistics()
        for _ in range(3):
            assert path.read_bytes() == first
            after = mount.statistics()
            assert after["decoded"] == before["decoded"]
            asked.append(after["requests"] - before["requests"])
            before = after
        # Open and release; the release of the read before may be late. The kernel may take pages back at any time.
        assert min(asked) <= 3, name


def test_what_was_listed_is_not_asked_for_again(mount: Mount) -> None:
    folder = mount.path / "quick.dcm/frames"
    names = os.listdir(folder)
    before = mount.statistics()["requests"]
    sizes = {os.stat(folder / name).st_size for name in names}
    assert len(sizes) == 1
    assert mount.statistics()["requests"] - before <= 1  # releasedir may be late


def test_listing_with_ls_costs_few_requests(tmp_path: Path) -> None:
    """READDIRPLUS brings the attributes along, and nothing is asked a name: no lookup, no attribute, no xattr."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "x.dcm").write_bytes(dicom(image(1, 1, bytes(5000), frames=5000)))
    with mounted(source, tmp_path) as mount:
        folder = mount.path / "x.dcm/frames"
        os.stat(folder)
        before = mount.statistics()["requests"]
        listed = subprocess.run(["ls", "-l", folder], capture_output=True, check=True).stdout
        assert listed.count(b"\n") == 5001
        assert mount.statistics()["requests"] - before < 5000 / 10


def test_a_name_is_looked_up_without_making_others(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_film(tmp_path / "a.dcm", 3)
    made = []
    for virtual, _ in VIRTUAL_FILES:

        def node(instance: Instance, subject: InstanceHandle, virtual: VirtualFile = virtual) -> Node | None:
            made.append(virtual.name)
            return type(virtual).node(virtual, instance, subject)

        monkeypatch.setattr(virtual, "node", node)
    reads = []
    right = LocalFile.pread
    monkeypatch.setattr(LocalFile, "pread", lambda *wanted: reads.append(wanted) or right(*wanted))

    async def look(top: Directory) -> None:
        found = await top.lookup(b"a.dcm")
        assert found is not None
        instance = found.node
        assert isinstance(instance, Directory)
        reads.clear()  # what it is was looked at
        for name in (b".directory", b".hidden", b"desktop.ini", b"frames.txt"):
            assert await instance.lookup(name) is None
        assert reads == made == []
        for _ in range(3):
            assert await instance.lookup(b"frames") is not None
            assert await instance.lookup(b"windows") is None
        assert made == ["frames", "windows"]
        names = [child.name.decode() for child in await instance.listing()]
        assert len(set(names)) == len(names) > 5
        order = [virtual.name for virtual, _ in VIRTUAL_FILES]  # all are listed in the trees of tests
        assert sorted(made) == sorted(order)
        assert names == [name for name in order if name in names]

    with tree_of(loop, tmp_path) as top:
        loop.run(look, top)


def test_a_picture_is_made_again_only_after_all_of_it_was_read(loop: Loop, tmp_path: Path) -> None:
    """The kernel then has it; who has seen a part will want the rest."""
    quick_film(tmp_path / "a.dcm", 3)

    async def reads(top: Directory) -> list[int]:
        file = await look_up(top, "a.dcm", "frames", "0002.png")
        assert isinstance(file, File)
        size, decoded = file.attributes.size, []
        for offset, length in [(0, 0), (size - 50, 50), (0, 100), (0, size - 1), (0, size), (0, 100), (0, 100)]:
            before = loop.decoder.stats.decoded
            content = await file.open()
            assert len(await read_at(content, offset, length)) == length
            content.close()
            decoded.append(loop.decoder.stats.decoded - before)
        return decoded

    with tree_of(loop, tmp_path) as top:
        assert loop.run(reads, top) == [0, 1, 0, 0, 0, 1, 0]


def test_who_leaves_takes_back_his_own_wishes_alone(loop: Loop, tmp_path: Path) -> None:
    """A file that is opened and not read says nothing; one that is left in the middle does."""
    quick_film(tmp_path / "a.dcm", 12)

    async def main(top: Directory) -> list[int]:
        decoder, waiting = loop.decoder, []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(decoder.prefetcher.run)
            await trio.testing.wait_all_tasks_blocked()
            for number in range(1, 5):
                await read_all(await frame(top, number))
            for length in (0, 10):
                with decoder.frames.busy(), decoder.frames.busy(), decoder.frames.busy():
                    await read_all(await frame(top, 5))
                    content = await (await frame(top, 6)).open()
                    await read_at(content, 0, length)
                    content.close()
                    waiting.append(decoder.prefetcher.queued)
            nursery.cancel_scope.cancel()
        return waiting

    async def frame(top: Directory, number: int) -> File:
        found = await look_up(top, "a.dcm", "frames", f"{number:04}.png")
        assert isinstance(found, File)
        return found

    with tree_of(loop, tmp_path) as top:
        kept, left = loop.run(main, top)
    assert kept > 0
    assert left == 0


async def look_up(tree: Node, *names: str) -> Node:
    for name in names:
        assert isinstance(tree, Directory)
        child = await tree.lookup(name.encode())
        assert child is not None
        tree = child.node
    return tree


def test_a_single_frame_does_not_wait_for_those_who_copy(loop: Loop, tmp_path: Path) -> None:
    """Four readers take all frames of a slow film each; who wants one small frame gets it among the next few."""
    readers, frames = 4, 40
    for number in range(readers):
        slow_film(tmp_path / f"slow{number}.dcm", frames)
    quick_film(tmp_path / "quick.dcm", 5)

    async def read(tree: Node, film: str, number: int) -> None:
        file = await look_up(tree, film, "frames", f"{number:04}.png")
        assert isinstance(file, File)
        assert await read_all(file)

    async def copy(tree: Node, film: str) -> None:
        for number in range(1, frames + 1):
            await read(tree, film, number)

    async def main(tree: Directory) -> list[int]:
        decoder, passed = loop.decoder, []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(decoder.prefetcher.run)
            for number in range(readers):
                nursery.start_soon(copy, tree, f"slow{number}.dcm")
            start = decoder.stats.decoded
            while decoder.stats.decoded < start + 2 * readers:
                await trio.sleep(0.01)
            for number in (1, 3, 5):
                before = decoder.stats.decoded
                await read(tree, "quick.dcm", number)
                passed.append(decoder.stats.decoded - before)
            nursery.cancel_scope.cancel()
        return passed

    with tree_of(loop, tmp_path) as tree:
        passed: list[int] = loop.run(main, tree)
    # One each of those who wait, one a worker made ahead, those that end while ours is read from the file, and ours.
    assert max(passed) <= 2 * (readers + WORKERS), passed
