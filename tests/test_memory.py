"""Memory of the daemon: what the reference states, and what is counted is what is taken."""

import concurrent.futures
import contextlib
import os
import re
import subprocess
from pathlib import Path

import pytest
from support.large_archives import colour_film, many_copies
from support.mounting import Mount, mounted, wait_for

from dicomfs.fuse.session import HELD_BYTES
from dicomfs.instance.services import CHILDREN_BYTES, HEADER_BYTES, TEXT_BYTES
from dicomfs.workers.frame_cache import WORKING_BYTES

MIB = 1 << 20


def shared_and_own(pid: int) -> int:
    """Bytes of memory of a process, what it shares counted in parts (PSS)."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def look_at_all(mount: Mount) -> int:
    return subprocess.run(["find", mount.path], capture_output=True, check=True).stdout.count(b"\n")


@pytest.mark.parametrize("memory", ["0", "32M"])
def test_open_files_keep_no_frame_each(memory: str, tmp_path: Path) -> None:
    """Forty readers of frames of 3.7 MB: the cache, and some for what is being read, not one for each."""
    archive = tmp_path / "archive"
    archive.mkdir()
    colour_film(archive / "film.dcm", 40)
    with mounted(archive, tmp_path, "--workers", "2", "--cache-memory", memory) as mount:
        folder = mount.path / "film.dcm"
        (folder / "frames/0001.png").read_bytes()
        before = mount.resident()
        with contextlib.ExitStack() as stack:
            for number in range(40):
                for name in (f"frames/{number + 1:04}.png", "native.dcm"):
                    file = stack.enter_context(open(folder / name, "rb", buffering=0))
                    file.seek(3_700_000 * number + 5000 if name == "native.dcm" else 5000)
                    assert len(file.read(1000)) == 1000
            # The cache; a frame for each worker and two; those on their way; and gaps.
            allowed = int(memory.removesuffix("M")) * MIB + 4 * 4 * MIB + 32 * MIB
            assert mount.resident() - before < allowed


def test_forty_clients_at_once_take_the_memory_of_a_few(tmp_path: Path) -> None:
    """Each wants another frame of 18 MB at the same time: not all are read from the source to wait for a worker."""
    archive, clients = tmp_path / "archive", 40
    archive.mkdir()
    colour_film(archive / "film.dcm", clients, 2000, 3000)
    with mounted(archive, tmp_path, "--workers", "2", "--cache-memory", "0") as mount:
        folder, most = mount.path / "film.dcm/frames", []
        (folder / "0001.png").read_bytes()
        before = mount.resident()
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            starts = [pool.submit(_start, folder / f"{number + 1:04}.png") for number in range(clients)]
            while not all(start.done() for start in starts):
                most.append(mount.resident() - before)
        assert all(start.result().startswith(b"\x89PNG") for start in starts)
        assert max(most) < 2 * WORKING_BYTES


def _start(path: Path) -> bytes:
    """Read the first bytes of a file, without the kernel's reading on."""
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        return file.read(1000)


@pytest.mark.slow
def test_what_a_listing_leaves_is_what_is_counted(tmp_path: Path) -> None:
    """Objects cost what the caches take for them, and what the kernel holds."""
    count = 1200
    with mounted(many_copies(tmp_path / "archive", count), tmp_path) as mount:
        (mount.path / "0000/IM000000.dcm/frames/0001.png").read_bytes()
        before, known = mount.resident(), mount.statistics()["inodes"]
        assert look_at_all(mount) > 15 * count
        inodes = mount.statistics()["inodes"] - known
        wait_for(lambda: mount.resident() - before < count * (24 << 10) + inodes * HELD_BYTES + HEADER_BYTES)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_nine_thousand_objects(tmp_path: Path) -> None:
    """The reference: 80 MB for the processes, and at most 170 MB for headers and listings; a tenth more for chance."""
    with mounted(many_copies(tmp_path / "archive", 9000), tmp_path, "--workers", "2") as mount:
        look_at_all(mount)
        look_at_all(mount)
        assert mount.resident() < (80 + 170) * 10**6 * 1.1
        assert shared_and_own(mount.process.pid) < (80 + 170) * 10**6 * 1.1
        for number in range(0, 9000, 9):
            for name in ("header.json", "frames/0001.png", "original.dcm", "pixels.npy", "raw/0001.bin"):
                (mount.path / f"{number // 100:04}/IM{number:06}.dcm" / name).read_bytes()
        assert mount.resident() < (80 + 170 + 34 + 10) * 10**6 * 1.1


def test_the_reference_states_the_sum_of_the_caches() -> None:
    text = " ".join((Path(__file__).parents[1] / "docs/reference.md").read_text().split())
    found = re.search(r"at most (\d+) MB", text)
    assert found
    assert int(found[1]) * 10**6 >= HEADER_BYTES + TEXT_BYTES + CHILDREN_BYTES
