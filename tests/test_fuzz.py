"""Damaged files, end to end: what is listed can be read to its size or is EIO, and nothing else ever comes of it.

Real files are damaged where it hurts most: in the headers of their elements. Seeds are fixed, so that a failure comes
again; `DICOMFS_FUZZ` gives another number of files.
"""

import errno
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from support.archives import SAMPLES, corpus_files
from support.mounting import Loop, answer_of_path, errno_of, files_below, mounted, read_all, tree_of

from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.part10_reader import NotDicom, parse
from dicomfs.dicom.stream import Memory
from dicomfs.vfs.nodes import File

pytestmark = pytest.mark.slow

COUNT = int(os.environ.get("DICOMFS_FUZZ", "400"))
LARGEST = 300_000
# Lengths, counts and sizes at which programs break.
EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
# What says how many frames there are, of what size, and where.
TELLING = frozenset((
    0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102,
    0x00280103, 0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00281101, 0x00281201, 0x00283002, 0x00283006,
    0x7FE00001, 0x7FE00002, 0x7FE00010, 0x00020010, 0x00080005, 0x60003000, 0x60000010, 0x3004000C, 0x00480006,
))  # fmt: skip
HANGS = 120.0


def originals() -> list[bytes]:
    """Read the files that are small enough, each once."""
    paths = SAMPLES + [path for path in corpus_files() if path.parent.name != "series"]
    return list({path.read_bytes(): None for path in paths if path.stat().st_size <= LARGEST})


def headers(data: bytes) -> list[int]:
    """Find where elements begin, those that tell most many times over."""
    try:
        parsed = parse(Memory(data))
    except NotDicom:
        return [0]
    places = []

    def walk(dataset: DataSet) -> None:
        for element in dataset.elements.values():
            long = dataset.explicit and element.vr in ("OB", "OW", "SQ", "UN", "UT", "OF", "OD")
            places.extend([max(0, element.offset - (12 if long else 8))] * (20 if element.tag in TELLING else 1))
            for item in element.items or ():
                walk(item)

    walk(parsed.meta)
    walk(parsed.dataset)
    return places or [0]


def damaged(chance: random.Random, data: bytes) -> bytes:
    """Damage a file in one to four places."""
    places = headers(data)
    broken = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = min(chance.choice(places) + chance.randrange(20), len(broken)) if chance.random() < 0.8 else 0
        place = place or chance.randrange(len(broken) + 1)
        kind = chance.randrange(8)
        if kind == 0:
            broken[place : place + 1] = chance.randbytes(1)
        elif kind == 1:
            broken[place : place + 4] = struct.pack("<L", chance.choice(EXTREMES))
        elif kind == 2:
            broken[place : place + 2] = struct.pack("<H", chance.choice(EXTREMES) & 0xFFFF)
        elif kind == 3:
            broken[place : place + 8] = chance.randbytes(8)
        elif kind == 4:
            del broken[place : place + chance.choice((1, 2, 8, 100))]
        elif kind == 5:
            broken[place:place] = chance.randbytes(chance.choice((1, 2, 8, 100)))
        elif kind == 6:
            other = chance.choice(places)
            broken[place:place] = data[other : other + chance.choice((8, 16, 200))]
        elif chance.random() < 0.3:
            del broken[place:]
    return bytes(broken)


def cases(seed: int, count: int) -> Iterator[bytes]:
    """Make damaged files."""
    chance = random.Random(seed)
    whole = originals()
    for _ in range(count):
        yield damaged(chance, chance.choice(whole))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_on_the_tree(seed: int, loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "damaged.dcm"

    async def walk() -> int:
        read = 0
        with tree_of(loop, tmp_path) as top, trio.fail_after(HANGS):
            for name, file in await files_below(top, frames=5):
                length = await outcome(file)
                assert length == errno.EIO or length == (await file.current()).size, name
                read += 1
        return read

    for number, data in enumerate(cases(seed, COUNT // 4)):
        path.write_bytes(data)
        try:
            assert loop.run(walk) >= 1
        except BaseException as error:
            kept = tmp_path / f"seed-{seed}-{number}.dcm"
            kept.write_bytes(data)
            raise AssertionError(f"{kept}: {type(error).__name__}: {error}") from error


@pytest.mark.timeout(3600)
def test_damaged_files_in_a_mount(tmp_path: Path) -> None:
    """The daemon outlives them all, logs nothing but frames that cannot be read, and its memory stays bounded."""
    archive, place = tmp_path / "archive", tmp_path / "place"
    archive.mkdir()
    place.mkdir()
    for number, data in enumerate(cases(99, COUNT // 2)):
        (archive / f"{number:04}.dcm").write_bytes(data)
    with mounted(archive, place, "--show=all", warn=True) as mount:
        listed = 0
        for folder, _, names in os.walk(mount.path, onerror=_raise):
            for name in names if len(names) < 12 else [*names[:4], *names[-2:]]:
                path = Path(folder) / name
                size = size_of(path)
                told = answer_of_path(path)
                assert told == "EIO" or (len(told) == 64 and size_of(path) == size), path
                assert size is not None or told == "EIO", path
                listed += 1
        assert listed > COUNT
        assert [line for line in mount.warnings() if ": EIO: " not in line] == []
        assert mount.resident() < 600 << 20


async def outcome(file: File) -> int | None:
    """Give the bytes that a file has, or the errno that reading it raises."""
    try:
        return len(await read_all(file))
    except OSError as error:
        return error.errno if error.strerror else None


def size_of(path: Path) -> int | None:
    """Give the size of a file; None where it cannot be made."""
    failed = errno_of(path.stat)
    assert failed in (None, errno.EIO), path
    return None if failed else path.stat().st_size


def _raise(error: OSError) -> None:
    raise error
