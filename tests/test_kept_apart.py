"""What is made of one patient's file is never shown in place of another's, whatever numbers the source gives them.

`by_lookup` is a source that numbers files by the order of lookups and stamps all with one time.
"""

from pathlib import Path

import numpy as np
import pytest
from support.archives import PYDICOM
from support.builders import dicom, image
from support.by_lookup import numbered_by_lookup
from support.mounting import Loop, answer, files_below, mounted, tree_of, wait_for

from dicomfs.sources.source import Version
from dicomfs.workers.decoder_process import Task
from dicomfs.workers.processes import Worker

PATIENTS = {"a.dcm": "DOE^JANE", "b.dcm": "ROE^RICH"}


def sample(name: str, pixels: bytes) -> bytes:
    more = {0x00100010: ("PN", PATIENTS[name]), 0x00080018: ("UI", "1.2.3.4"), 0x00280008: ("IS", "2")}
    return dicom(image(64, 64, pixels, more=more))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of two patients that `stat` cannot tell apart but by their numbers."""
    place = tmp_path / "folder"
    place.mkdir()
    for number, name in enumerate(PATIENTS):
        (place / name).write_bytes(sample(name, np.random.default_rng(number).bytes(2 * 64 * 64)))
    return place


def copy_of(directory: Path) -> Path:
    """Find the copy in RLE, wherever it stands."""
    places = directory / "transcoded" / "rle.dcm", directory / "transcoded" / "rle" / directory.name
    return next(place for place in places if place.exists())


def test_a_remount_in_another_order_shows_nobody_elses_copy(folder: Path, tmp_path: Path) -> None:
    options = "--cache-dir", str(tmp_path / "cache"), "--cache-frames"
    shown = {}
    for first, second in (("a.dcm", "b.dcm"), ("b.dcm", "a.dcm")):
        with (
            numbered_by_lookup(folder, tmp_path / "source") as source,
            mounted(source, tmp_path, *options) as mount,
            open(source / first, "rb"),
            open(source / second, "rb"),
        ):  # numbers last while they are open
            for name in (first, second):
                content = copy_of(mount.path / name).read_bytes()
                assert PATIENTS[name].encode() in content
                assert shown.setdefault(name, content) == content
    assert len(list((tmp_path / "cache").iterdir())) == 2, "the second mount finds what the first one built"


def test_numbers_given_again_within_a_mount_mix_nothing_up(folder: Path, tmp_path: Path) -> None:
    with numbered_by_lookup(folder, tmp_path / "source") as source, mounted(source, tmp_path) as mount:
        numbers = set()
        for name in (*PATIENTS, *PATIENTS):
            number = 0

            def settled(name: str = name) -> bool:
                """Wait until the other file was forgotten, so that this one has the first number."""
                nonlocal number
                number = (source / name).stat().st_ino
                return number == 2

            wait_for(settled)
            numbers.add(number)
            directory = mount.path / name
            pixels = (folder / name).read_bytes()[-2 * 64 * 64 :]
            assert PATIENTS[name] in (directory / "header.txt").read_text()
            assert PATIENTS[name].encode() in (directory / "original.dcm").read_bytes()
            assert PATIENTS[name].encode() in copy_of(directory).read_bytes()
            assert (directory / "pixels.npy").read_bytes()[-len(pixels) :] == pixels
            # A picture of plain grey values holds them as they are, in rows behind a filter byte of zero.
            picture = (directory / "stored" / "0002.tif").read_bytes()
            assert pixels[64 * 64 :] in picture
        assert numbers == {2}


@pytest.mark.slow
def test_equal_headers_and_different_middles_are_two_contents(tmp_path: Path) -> None:
    """Nothing but the pixels in the middle differs: neither the header, nor path, size, times, number and ends."""
    pixels = bytearray(np.random.default_rng(1).bytes(2 * 64 * 64))
    for number in range(2):
        place = tmp_path / "folder"
        place.mkdir(exist_ok=True)
        pixels[len(pixels) // 2] ^= 1
        (place / "a.dcm").write_bytes(sample("a.dcm", bytes(pixels)))
        with (
            numbered_by_lookup(place, tmp_path / "source") as source,
            mounted(source, tmp_path, "--cache-dir", str(tmp_path / "cache")) as mount,
        ):
            assert copy_of(mount.path / "a.dcm").read_bytes()
            assert mount.statistics()["builds"] == 1
        assert len(list((tmp_path / "cache").iterdir())) == number + 1


@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "examples_ybr_color.dcm", "JPEG2000.dcm", "MR_small_bigendian.dcm"]
)
def test_every_frame_is_decoded_in_the_name_of_its_object(
    name: str, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a worker could not know when the object changes."""
    owners: list[object] = []
    right = Worker.request

    def request(self: Worker, task: Task, data: bytes, owner: object) -> None:
        owners.append(owner)
        right(self, task, data, owner)

    monkeypatch.setattr(Worker, "request", request)

    async def act() -> None:
        with tree_of(loop, PYDICOM / name, every_film=True) as top:
            for _, file in await files_below(top, frames=1):
                await answer(file)

    loop.run(act)
    assert owners
    assert {owner.path for owner in owners if isinstance(owner, Version)} == {name.encode()}
    assert all(isinstance(owner, Version) for owner in owners)
