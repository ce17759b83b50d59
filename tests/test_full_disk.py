"""A disk that is really full: what is only kept makes way for what somebody waits for, films and copies included."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import trio
from support.builders import dicom, image
from support.mounting import Mount, errno_of, mounted

from dicomfs.cache.disk import DiskCache
from dicomfs.resources.nursery import first_of, side_by_side
from dicomfs.vfs.builds import BuildCache, BuiltContent

SIDE, FRAMES = 512, 8
ROOM = 12 << 20


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Mount a small file system, where temporary files go."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "small", place], check=True)
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    subprocess.run(["umount", "-l", place], check=True)


async def beside(file: BinaryIO, size: int) -> None:
    """Write as films and copies are written: in a task of a nursery, in threads."""

    async def write() -> None:
        for _ in range(size >> 20):
            await trio.to_thread.run_sync(file.write, os.urandom(1 << 20))

    async with side_by_side() as nursery:
        nursery.start_soon(write)
        nursery.start_soon(trio.sleep, 0.01)


@pytest.mark.parametrize("cached", [False, True])
def test_what_is_kept_makes_way_for_what_is_built_in_a_nursery(small: Path, cached: bool) -> None:
    async def act() -> None:
        cache = DiskCache(str(small / "cache"), 1 << 30) if cached else None
        builds = BuildCache(1 << 30, 2, cache)

        async def opened(key: int) -> BuiltContent:
            async def name() -> bytes:
                return bytes([key] * 20)

            return await builds.open(bytes([key]), lambda file: beside(file, 5 << 20), name=name)

        async def read(key: int) -> int:
            content = await opened(key)
            content.close()
            return content.size

        for key in range(6):
            assert await read(key) == 5 << 20
        assert builds.stats.failed == 0
        held = [await opened(key) for key in (0, 1)]
        with pytest.raises(OSError, match="No space left") as caught:
            await read(2)
        assert caught.value.errno == errno.ENOSPC
        for content in held:
            content.close()
        assert await read(2) == 5 << 20
        builds.close()
        if cache:
            cache.close()

    trio.run(act)


def films(place: Path, count: int) -> Path:
    """Make objects whose copies take 2 MiB each, noise."""
    place.mkdir()
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, SIDE * SIDE * FRAMES, np.uint8).tobytes()
        elements = image(SIDE, SIDE, noise, frames=FRAMES) | {0x00180040: ("IS", "25")}
        (place / f"{number}.dcm").write_bytes(dicom(elements))
    return place


def built(mount: Mount, name: str) -> list[Path]:
    copies = [path for path in (mount.path / name / "transcoded").rglob("*") if path.is_file()]
    return [*sorted(copies), mount.path / name / "video.mp4"]


@pytest.mark.slow
def test_films_and_copies_of_a_real_mount(small: Path, tmp_path: Path) -> None:
    archive = films(tmp_path / "archive", 4)
    with mounted(archive, tmp_path) as mount:
        for number in range(4):
            for path in built(mount, f"{number}.dcm"):
                assert len(path.read_bytes()) == path.stat().st_size
        figures = mount.statistics()
        assert (figures["build_failures"], figures["cancelled_builds"]) == (0, 0)
        assert figures["builds"] >= 20  # what made way is built again when it is opened after it was measured
    assert errno_of(lambda: os.rmdir(small)) == errno.EBUSY  # still there, and nothing in it
    assert os.listdir(small) == []


def test_errors_come_out_of_a_nursery_as_they_are() -> None:
    async def fail(error: BaseException) -> None:
        raise error

    async def beside_others(*errors: BaseException, body: BaseException | None = None) -> None:
        async with side_by_side() as nursery:
            for error in errors:
                nursery.start_soon(fail, error)
            if body is not None:
                raise body
            await trio.sleep_forever()

    async def nested() -> None:
        async with side_by_side() as nursery:
            nursery.start_soon(beside_others, OSError(errno.ENOSPC, "full"))

    for act in (
        lambda: beside_others(OSError(errno.ENOSPC, "full")),
        lambda: beside_others(OSError(errno.ENOSPC, "full"), OSError(errno.ENOSPC, "full")),
        lambda: beside_others(body=OSError(errno.ENOSPC, "full")),
        nested,
    ):
        with pytest.raises(OSError, match="full"):
            trio.run(act)


def test_a_cancellation_from_outside_is_none_of_its_errors() -> None:
    async def act() -> None:
        with trio.move_on_after(0.01) as scope:
            async with side_by_side() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(trio.sleep_forever)
        assert scope.cancelled_caught

        async def fails_when_cancelled() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise OSError(errno.EIO, "while it ends")

        async with side_by_side() as nursery:
            nursery.start_soon(fails_when_cancelled)
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    with pytest.raises(OSError, match="while it ends"):
        trio.run(act)
    inner = OSError(errno.EIO, "inner")
    assert first_of(ExceptionGroup("", [ExceptionGroup("", [inner]), ValueError()])) is inner
    assert first_of(inner) is inner
