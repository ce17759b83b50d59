"""Archives that are large in one way or another, made quickly and the same each time."""

import os
from pathlib import Path

import numpy as np
import pydicom
from archives import PYDICOM
from samples import Raw, dicom, image


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
