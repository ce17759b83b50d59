"""An object is opened in stages: the data set alone serves its texts, and nothing else is computed unasked."""

import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.archives import PYDICOM
from support.builders import dicom, encapsulated, image
from support.mounting import Loop, read_all

from dicomfs.dicom.part10_reader import parse
from dicomfs.dicom.stream import Memory
from dicomfs.instance.handle import InstanceHandle, MountServices
from dicomfs.instance.instance import Instance, load
from dicomfs.instance.version_stream import VersionStream, lend
from dicomfs.iod.image_display import frame_display
from dicomfs.iod.image_pixel import pixel_format
from dicomfs.iod.rescale import scale_of
from dicomfs.sources.local import LocalSource
from dicomfs.tree.mirror import root
from dicomfs.vfs.nodes import Directory, File

TEXTS = (b"header.json", b"header.txt", b"original.dcm")


class Counted(Memory):
    """A stream that counts what is read of it."""

    reads = 0

    def pread(self, length: int, offset: int) -> bytes:
        """Read, and count."""
        self.reads += 1
        return super().pread(length, offset)


@contextmanager
def opened(loop: Loop, folder: Path) -> Iterator[tuple[Directory, InstanceHandle]]:
    """Show the only file of *folder*, and its handle."""
    source = LocalSource(str(folder))
    services = MountServices.of(source, loop.decoder)
    (entry,) = source.entries(b"")
    try:
        yield root(services), InstanceHandle(entry, services)
    finally:
        source.close()


async def _entry(top: Directory, name: bytes) -> File | Directory | None:
    (child,) = await top.listing()
    assert isinstance(child.node, Directory)
    found = await child.node.lookup(name)
    assert found is None or isinstance(found.node, (File, Directory))
    return found.node if found else None


@pytest.mark.parametrize("name", TEXTS, ids=bytes.decode)
def test_texts_and_the_original_need_the_data_set_alone(name: bytes, loop: Loop, tmp_path: Path) -> None:
    shutil.copy(PYDICOM / "CT_small.dcm", tmp_path)

    async def work() -> Instance:
        with opened(loop, tmp_path) as (top, subject):
            node = await _entry(top, name)
            assert isinstance(node, File)
            assert len(await read_all(node)) == node.attributes.size
            return await subject.parsed()

    instance = loop.run(work)
    assert instance.parsed is not None
    assert not instance.is_begun


def test_extended_attributes_need_the_data_set_alone(loop: Loop, tmp_path: Path) -> None:
    shutil.copy(PYDICOM / "CT_small.dcm", tmp_path)

    async def work() -> Instance:
        with opened(loop, tmp_path) as (_, subject):
            assert await subject.header_attributes()
            return await subject.parsed()

    assert not loop.run(work).is_begun


@pytest.mark.parametrize("name", [b"frames", b"pixels.npy", b"native.dcm"], ids=bytes.decode)
def test_what_frames_need_is_found_while_the_file_is_open(name: bytes, loop: Loop, tmp_path: Path) -> None:
    shutil.copy(PYDICOM / "JPEG2000.dcm", tmp_path)

    async def work() -> Instance:
        with opened(loop, tmp_path) as (top, subject):
            assert await _entry(top, b"header.txt") is not None
            begun = (await subject.parsed()).is_begun
            assert await _entry(top, name) is not None
            assert not begun
            return await subject.parsed()

    assert loop.run(work).is_settled


@pytest.mark.parametrize("name", [b"frames", b"header.json"], ids=bytes.decode)
def test_problems_are_looked_for_when_they_are_listed_or_asked_for(name: bytes, loop: Loop, tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(dicom(image(4, 4, bytes(16), frames=3)))

    async def work() -> tuple[bool, bool, bytes]:
        with opened(loop, tmp_path) as (top, subject):
            assert await _entry(top, name) is not None
            before = Instance.problems.known(await subject.parsed())
            node = await _entry(top, b"problems.txt")
            assert isinstance(node, File)
            return before, Instance.problems.known(await subject.parsed()), await read_all(node)

    before, after, text = loop.run(work)
    assert (before, after) == (False, True)
    assert b"1 of 3 frames" in text


def long_tables(entries: int = 40_000) -> bytes:
    """Make an object whose Modality LUT and VOI LUT are too long to be kept with its header."""
    numbers = struct.pack(f"<{entries}H", *range(entries))

    def table() -> list:
        return [{0x00283002: ("US", [entries, 0, 16]), 0x00283006: ("OW", numbers)}]

    more = {0x00283000: ("SQ", table()), 0x00283010: ("SQ", table()), 0x00281053: ("DS", "2"), 0x00281052: ("DS", "1")}
    return dicom(image(2, 2, bytes(8), bits=16, more=more))


def test_a_data_set_reads_long_values_itself() -> None:
    stream = Counted(long_tables())
    parsed = parse(stream)
    fmt = pixel_format(parsed.dataset, parsed.transfer_syntax)
    stream.reads = 0
    display, problems = frame_display(parsed.dataset, 0, fmt)
    assert not problems
    assert display.modality_lut is not None
    assert display.voi_lut is not None
    assert len(display.modality_lut.entries) == len(display.voi_lut.entries) == 80_000
    assert stream.reads == 2


def test_quantities_do_not_cost_what_display_images_need() -> None:
    stream = Counted(long_tables())
    parsed = parse(stream)
    fmt = pixel_format(parsed.dataset, parsed.transfer_syntax)
    stream.reads = 0
    scale = scale_of(parsed.dataset, 0, fmt)
    assert scale.lut is not None
    assert stream.reads == 1


class Closing(Counted):
    """A file that is opened for one read."""

    closed = 0

    def close(self) -> None:
        """Count that it was closed."""
        self.closed += 1


def test_a_stream_of_a_version_reads_what_is_lent_and_else_opens_the_file() -> None:
    own, lent, inner = Closing(b"abc"), Counted(b"xyz"), Counted(b"uvw")
    stream = VersionStream("version", 3, lambda: own)
    assert (stream.pread(2, 1), own.reads, own.closed) == (b"bc", 1, 1)
    with lend("version", lent):
        assert stream.pread(2, 1) == b"yz"
        with lend("other version", inner):
            assert stream.pread(3, 0) == b"xyz"
        with lend("version", inner):
            assert stream.pread(3, 0) == b"uvw"
        assert stream.pread(3, 0) == b"xyz"
    assert (stream.pread(1, 0), own.reads, own.closed) == (b"a", 2, 2)
    assert (lent.reads, inner.reads) == (3, 1)


def test_what_raises_is_computed_again_the_next_time() -> None:
    class Failing(Counted):
        fails = False

        def pread(self, length: int, offset: int) -> bytes:
            if self.fails:
                raise OSError("the server is gone")
            return super().pread(length, offset)

    stream = Failing(dicom(image(2, 2, encapsulated([b"\0\0\0\0"]), vr="OB"), "1.2.840.10008.1.2.1.98"))
    instance = load(stream)
    stream.fails = True
    with pytest.raises(OSError, match="the server is gone"):
        assert instance.problems
    stream.fails = False
    assert instance.problems == ()
    assert instance.pixels is not None
