"""The contract of every virtual file, over every sample, on the tree and through the kernel.

Its size is the number of its bytes (for what is built, once it was opened); any slice is the slice of the whole; it is
the same each time and for eight readers at once; listing it decodes nothing. A file that cannot be read says so with
EIO, always.
"""

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from archives import PYDICOM, PYDICOM_DATA, SAMPLES, sample_id
from mounting import Loop, Mount, answer, answer_of_path, files_below, mounted, read_all, tree_of

from dicomfs.files import VIRTUAL_FILES
from dicomfs.files.built import BuiltFile
from dicomfs.nodes import File
from dicomfs.source import Kind, Source

# Of objects with more frames than this, the first two, the middle and the last frame stand for all.
MOST_FRAMES = 12
# Larger files (arrays and copies of a colour film) are read whole by one test alone.
MOST_BYTES = 64 << 20
# What is estimated larger takes long to build, and is built by tests of its own.
MOST_BUILT = 2 << 20
# What is made of the same frames as the pictures.
VALUES = (b"stored/0001.tif", b"pixels.npy", b"rescaled.npy")
COPIES = (b"native.dcm", *(b"transcoded/%s.dcm" % name for name in (b"rle", b"jpeg-ls", b"jpeg2000", b"htj2k")))


def is_dicom(path: Path) -> bool:
    source = Source(str(path))
    try:
        return source.root_entry().kind is Kind.DICOM
    finally:
        source.close()


def small(files: list[tuple[bytes, File]], most: int = MOST_BYTES) -> list[tuple[bytes, File]]:
    return [
        (path, file)
        for path, file in files
        if file.attributes.size <= (MOST_BUILT if isinstance(file, BuiltFile) else most)
    ]


DICOM_SAMPLES = [path for path in SAMPLES if is_dicom(path)]


@pytest.fixture(scope="module")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Path, Mount]]:
    """Mount the folders of samples, as they are."""
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    with mounted(PYDICOM, first, warn=True) as one, mounted(PYDICOM_DATA, second) as two:
        yield {PYDICOM: one, PYDICOM_DATA: two}


@pytest.mark.parametrize("sample", DICOM_SAMPLES, ids=sample_id)
def test_size_slices_and_repetition(sample: Path, loop: Loop) -> None:
    async def check() -> None:
        with tree_of(loop, sample) as top, tree_of(loop, sample) as again:
            files = await files_below(top, frames=MOST_FRAMES)
            others = dict(await files_below(again, frames=MOST_FRAMES))
            assert [path for path, _ in files] == list(others)
            files = small(files, sys.maxsize)
            chance = random.Random(str(sample))
            for path, file in files:
                assert others[path].attributes == file.attributes, path
                try:
                    whole = await read_all(file)
                except OSError:
                    assert await answer(file) == await answer(others[path]) == "EIO", path
                    continue
                assert len(whole) == file.attributes.size, path
                assert await read_all(others[path]) == whole, path
                content = await file.open()
                for _ in range(5):
                    offset = chance.randrange(len(whole) + 10)
                    length = chance.choice((1, 7, 4096, 131072, chance.randrange(1, len(whole) + 10)))
                    assert bytes(await content.read(offset, length)) == whole[offset : offset + length], path
                content.close()

    loop.run(check)


@pytest.mark.parametrize("sample", DICOM_SAMPLES[::5], ids=sample_id)
def test_eight_readers_at_once(sample: Path, loop: Loop) -> None:
    async def check() -> None:
        with tree_of(loop, sample) as top:
            for path, file in small(await files_below(top, frames=3)):
                answers: list[str] = []

                async def read(file=file, answers=answers) -> None:  # type: ignore[no-untyped-def]
                    answers.append(await answer(file))

                async with trio.open_nursery() as nursery:
                    for _ in range(8):
                        nursery.start_soon(read)
                assert len(answers) == 8, path
                assert len(set(answers)) == 1, path

    loop.run(check)


@pytest.mark.parametrize("sample", DICOM_SAMPLES, ids=sample_id)
def test_the_mount_shows_the_same(sample: Path, loop: Loop, mounts: dict[Path, Mount]) -> None:
    async def expected() -> dict[bytes, tuple[bool, str, int]]:
        with tree_of(loop, sample) as top:
            files = small(await files_below(top, frames=MOST_FRAMES))
            return {
                path: (isinstance(file, BuiltFile), await answer(file), file.attributes.size) for path, file in files
            }

    base = PYDICOM if sample.is_relative_to(PYDICOM) else PYDICOM_DATA
    place = mounts[base].path / sample.relative_to(base)
    for path, (built, digest, size) in loop.run(expected).items():
        shown = os.path.join(os.fsencode(place), path)
        # What is built shows an estimate before it is opened.
        estimate = os.stat(shown).st_size
        assert estimate if built else estimate == size, path
        assert answer_of_path(shown) == digest, path
        assert os.stat(shown).st_size == size, path


def test_what_cannot_be_read_is_few_and_explained(loop: Loop) -> None:
    """Every frame of the samples is shown, but for files that are broken on purpose."""

    async def failures(sample: Path) -> list[bytes]:
        with tree_of(loop, sample) as top:
            files = small(await files_below(top, frames=MOST_FRAMES))
            return [path for path, file in files if await answer(file) == "EIO"]

    broken = {sample_id(sample): loop.run(failures, sample) for sample in DICOM_SAMPLES}
    assert {name: found for name, found in broken.items() if found} == {
        # The image size marker of the codestream was overwritten.
        "JPEG2000-embedded-sequence-delimiter.dcm": [b"frames/0001.png", *VALUES, *COPIES, b"thumbnail.png"],
        # The only frame is not wholly there.
        "MR_truncated.dcm": [b"frames/0001.png", *VALUES, b"volume.nii", *COPIES, b"thumbnail.png"],
    }


@pytest.mark.parametrize("sample", DICOM_SAMPLES, ids=sample_id)
def test_listing_decodes_nothing(sample: Path, loop: Loop) -> None:
    async def check() -> None:
        before = loop.decoder.stats
        with tree_of(loop, sample) as top:
            names = [child.name.decode() for child in await top.listing()]
            await files_below(top, frames=MOST_FRAMES)
        after = loop.decoder.stats
        assert (after.decoded, after.failed) == (before.decoded, before.failed)
        order = [virtual.name for virtual in VIRTUAL_FILES]
        assert names == sorted(names, key=order.index)
        assert "original.dcm" in names

    loop.run(check)


def test_ls_of_the_whole_mount_decodes_nothing(tmp_path: Path) -> None:
    with mounted(PYDICOM, tmp_path) as mount:
        listed = sum(1 for _, _, files in os.walk(mount.path) for name in files)
        assert os.system(f"ls -lR {mount.path} > /dev/null") == 0
        assert listed > 1000
        assert mount.statistics()["decoded"] == 0
