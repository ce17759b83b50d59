"""The contract of every virtual file, over every sample, on the tree and through the kernel.

Its size is the number of its bytes, also the first time that somebody asks; any slice is the slice of the whole; it is
the same each time and for eight readers at once; listing it decodes nothing. A file that cannot be read says so with
EIO, always. A program that searches for DICOM finds each object once.
"""

import errno
import hashlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
import SimpleITK
import trio
from support.archives import DICOM_SAMPLES, PYDICOM, PYDICOM_DATA, sample_id, swept
from support.decoding import read_at
from support.mounting import Loop, Mount, answer, answer_of_path, errno_of, files_below, mounted, read_all, tree_of

from dicomfs.entries import VIRTUAL_FILES
from dicomfs.entries.built_file import BuiltFile
from dicomfs.vfs.nodes import File

# Of objects with more frames than this, the first two, the middle and the last frame stand for all.
MAX_FRAMES = 12
# Larger files (arrays and copies of a colour film) are read whole by one test alone.
MOST_BYTES = 64 << 20
# Of samples that are larger than this nothing is built: tests of their own do.
MOST_BUILT = 1 << 20
# What is made of the same frames as the pictures.
VALUES = (b"stored/0001.tif", b"pixels.npy", b"rescaled.npy")
SYNTAXES = (b"rle", b"jpeg-ls", b"jpeg2000", b"htj2k")


def small(files: list[tuple[bytes, File]], most: int = MOST_BYTES) -> list[tuple[bytes, File]]:
    """Leave out files of more than *most* bytes, and what would take long to build."""
    whole = max((file.attributes.size for path, file in files if path == b"native.dcm"), default=0)
    return [
        (path, file)
        for path, file in files
        if (whole <= MOST_BUILT if isinstance(file, BuiltFile) else file.attributes.size <= most)
    ]


@pytest.fixture(scope="module")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Path, Mount]]:
    """Mount the folders of samples, as they are."""
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    show = "--show=all"
    with mounted(PYDICOM, first, show, warn=True) as one, mounted(PYDICOM_DATA, second, show, warn=True) as two:
        yield {PYDICOM: one, PYDICOM_DATA: two}


@pytest.mark.parametrize("sample", swept(DICOM_SAMPLES))
def test_size_slices_and_repetition(sample: Path, loop: Loop) -> None:
    async def check() -> None:
        with tree_of(loop, sample) as top, tree_of(loop, sample) as again:
            files = await files_below(top, frames=MAX_FRAMES)
            others = dict(await files_below(again, frames=MAX_FRAMES))
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
                assert len(whole) == (await file.current()).size, path
                assert await read_all(others[path]) == whole, path
                content = await file.open()
                for _ in range(5):
                    offset = chance.randrange(len(whole) + 10)
                    length = chance.choice((1, 7, 4096, 131072, chance.randrange(1, len(whole) + 10)))
                    assert bytes(await read_at(content, offset, length)) == whole[offset : offset + length], path
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


@pytest.mark.parametrize("sample", swept(DICOM_SAMPLES))
def test_the_mount_shows_the_same(sample: Path, loop: Loop, mounts: dict[Path, Mount]) -> None:
    async def expected() -> dict[bytes, str]:
        with tree_of(loop, sample) as top:
            return {path: await answer(file) for path, file in small(await files_below(top, frames=MAX_FRAMES))}

    base = PYDICOM if sample.is_relative_to(PYDICOM) else PYDICOM_DATA
    place = mounts[base].path / sample.relative_to(base)
    for path, digest in loop.run(expected).items():
        shown = os.path.join(os.fsencode(place), path)
        assert os.path.basename(path) in os.listdir(os.path.dirname(shown)), path
        # Nobody has asked for it before.
        size = errno_of(lambda shown=shown: os.stat(shown)) or os.stat(shown).st_size
        assert answer_of_path(shown) == digest, path
        if digest == "EIO":
            assert size == errno.EIO or os.stat(shown).st_size == size, path
        else:
            assert os.stat(shown).st_size == os.path.getsize(shown) == size == length(shown), path


def length(path: bytes) -> int:
    """Count the bytes that can be read."""
    with open(path, "rb", buffering=0) as file:
        return sum(len(data) for data in iter(lambda: file.read(1 << 20), b""))


@pytest.mark.slow
def test_what_cannot_be_read_is_few_and_explained(loop: Loop) -> None:
    """Every frame of the samples is shown, but for files that are broken on purpose."""

    async def failures(sample: Path) -> list[bytes]:
        with tree_of(loop, sample) as top:
            files = small(await files_below(top, frames=MAX_FRAMES))
            return [path for path, file in files if await answer(file) == "EIO"]

    def frames_of(sample: str) -> list[bytes]:
        copies = [b"transcoded/%s/%s" % (syntax, os.path.basename(sample).encode()) for syntax in SYNTAXES]
        return [b"frames/0001.png", *VALUES, b"native.dcm", *copies, b"thumbnail.png"]

    broken = {sample_id(sample): loop.run(failures, sample) for sample in DICOM_SAMPLES}
    invisible = "JPEG2000-embedded-sequence-delimiter.dcm"  # the image size marker of the codestream was overwritten
    cut = "MR_truncated.dcm"  # the only frame is not wholly there
    assert {name: sorted(found) for name, found in broken.items() if found} == {
        invisible: sorted(frames_of(invisible)),
        cut: sorted([*frames_of(cut), b"volume.nii"]),
    }


@pytest.mark.parametrize("sample", swept(DICOM_SAMPLES))
def test_listing_decodes_nothing(sample: Path, loop: Loop) -> None:
    async def check() -> None:
        before = loop.decoder.stats
        with tree_of(loop, sample) as top:
            names = [child.name.decode() for child in await top.listing()]
            await files_below(top, frames=MAX_FRAMES)
        after = loop.decoder.stats
        assert (after.decoded, after.failed) == (before.decoded, before.failed)
        order = [virtual.name for virtual, _ in VIRTUAL_FILES]
        assert names == sorted(names, key=order.index)
        assert "original.dcm" in names

    loop.run(check)


@pytest.mark.slow
def test_ls_of_the_whole_mount_decodes_nothing(tmp_path: Path) -> None:
    """Not with the entries that are listed unless somebody asks for more, nor do the names of all of them."""
    with mounted(PYDICOM, tmp_path) as mount:
        listed = sum(1 for _, _, files in os.walk(mount.path) for name in files)
        assert os.system(f"ls -lR {mount.path} > /dev/null") == 0
        assert listed > 1000
        assert mount.statistics()["decoded"] == 0
    with mounted(PYDICOM, tmp_path, "--show=all") as mount:
        assert sum(1 for _, _, files in os.walk(mount.path) for name in files) > listed
        assert os.system(f"ls -R --color=never {mount.path} > /dev/null") == 0
        assert mount.statistics()["decoded"] == 0


@pytest.mark.slow
def test_a_search_for_dicom_finds_each_object_once(tmp_path: Path) -> None:
    """Whoever looks into every file, as ITK and dcm2niix do, finds the objects of the archive, each once."""

    def found(folder: Path) -> list[str]:
        uids = []
        for place, _, names in os.walk(folder):
            for name in names:
                with open(os.path.join(place, name), "rb") as file:
                    if file.read(132)[128:] == b"DICM":
                        file.seek(0)
                        uids.append(str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID))
        return sorted(uids)

    archive, place = tmp_path / "archive", tmp_path / "mount"
    archive.mkdir()
    place.mkdir()
    for sample in ("CT_small.dcm", "MR_small_RLE.dcm", "reportsi.dcm", "examples_ybr_color.dcm"):
        shutil.copy(PYDICOM / sample, archive)
    with mounted(archive, place) as mount:
        assert found(mount.path) == found(archive)
        assert len(found(archive)) == 4
    with mounted(archive, place, "--show=native,transcoded") as mount:
        assert len(found(mount.path)) == 4 + 4 + 3 * 4


def test_other_programs_build_the_volume_of_the_archive(tmp_path: Path, program: Callable[[str], str]) -> None:
    """ITK and dcm2niix, over a folder of slices and over its mount."""
    archive, place = tmp_path / "archive", tmp_path / "mount"
    archive.mkdir()
    place.mkdir()
    slices = 5
    for number in range(slices):
        dataset = pydicom.dcmread(PYDICOM / "CT_small.dcm")
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.77{number}"
        dataset.InstanceNumber = number + 1
        dataset.ImagePositionPatient[2] = 5.0 * number
        dataset.SliceThickness = dataset.SpacingBetweenSlices = 5
        dataset.PixelData = (dataset.pixel_array + 10 * number).astype("<i2").tobytes()
        dataset.save_as(archive / f"IM{number:04}")

    def itk(folder: Path) -> tuple[object, ...]:
        reader = SimpleITK.ImageSeriesReader()
        # Of whatever series, below folders too.
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), "", False, True))
        image = reader.Execute()
        values = SimpleITK.GetArrayFromImage(image)
        return image.GetSize(), image.GetSpacing(), image.GetOrigin(), hashlib.sha256(values.tobytes()).digest()

    def niix(folder: Path, target: Path) -> dict[str, bytes]:
        target.mkdir()
        subprocess.run(
            [program("dcm2niix"), "-o", target, "-f", "%s", "-b", "n", folder], capture_output=True, check=True
        )
        return {path.name: path.read_bytes() for path in target.iterdir()}

    with mounted(archive, place) as mount:
        volume = itk(mount.path)
        assert volume == itk(archive)
        assert volume[0] == (128, 128, slices)
        converted = niix(mount.path, tmp_path / "of-mount")
        assert len(converted) == 1
        assert converted == niix(archive, tmp_path / "of-archive")
