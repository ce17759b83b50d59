"""Archives that are large in one way or another, made quickly and the same each time; and what is read of them."""

import os
from pathlib import Path

import numpy as np
import pydicom

from support.archives import PYDICOM
from support.builders import Raw, dicom, image


def many_copies(place: Path, count: int, directory_size: int = 100) -> Path:
    """Make an archive of *count* DICOM files, *directory_size* in each of its directories.

    They differ in their UID, as the files of a series do.
    """
    data = (PYDICOM / "MR_small.dcm").read_bytes()
    uid = pydicom.dcmread(PYDICOM / "MR_small.dcm").SOPInstanceUID.encode()
    for number in range(count):
        directory = place / f"{number // directory_size:04}"
        if number % directory_size == 0:
            directory.mkdir(parents=True)
        (directory / f"IM{number:06}.dcm").write_bytes(data.replace(uid, uid[:-9] + b"%09d" % (number + 10**8)))
    return place


def colour_film(path: Path, frames: int, rows: int = 960, columns: int = 1280) -> Path:
    """Make a native RGB object of 3.7 MB a frame, each frame different."""
    frame = rows * columns * 3
    empty = dicom(image(rows, columns, Raw(b"", frame * frames), frames=frames, samples=3))
    noise = np.random.default_rng(1).integers(0, 256, frame, np.uint8)
    with open(path, "wb") as file:
        file.write(empty)
        file.writelines(np.roll(noise, number * 1001).tobytes() for number in range(frames))
    assert os.path.getsize(path) == len(empty) + frame * frames
    return path


class Counting:
    """A stream over bytes or a file that counts what is read of it."""

    def __init__(self, data: bytes | Path) -> None:
        """Count from 0."""
        self.descriptor = os.memfd_create("stream") if isinstance(data, bytes) else os.open(data, os.O_RDONLY)
        if isinstance(data, bytes):
            os.write(self.descriptor, data)
        self.size = os.fstat(self.descriptor).st_size
        self.reads = self.bytes = 0

    def pread(self, length: int, offset: int) -> bytes:
        """Read, and count."""
        self.reads += 1
        data = os.pread(self.descriptor, length, offset)
        self.bytes += len(data)
        return data

    def __del__(self) -> None:
        os.close(self.descriptor)
