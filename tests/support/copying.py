"""Copies of samples as the tree makes them, and what other programs read in them."""

import io
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pydicom

from dicomfs.dicom.recognition import HEAD, is_dicom
from dicomfs.dicom.stream import Memory
from dicomfs.instance.instance import load
from support.archives import SAMPLES, corpus_files
from support.mounting import Loop, files_below, read_all, tree_of


def _is_dicom(path: Path) -> bool:
    with open(path, "rb") as file:
        return is_dicom(file.read(HEAD), path.stat().st_size)


SOURCES = [path for path in (*SAMPLES, *corpus_files()) if _is_dicom(path)]
# Larger ones are left to the slow tests.
SMALL = 200_000


@cache
def kinds() -> tuple[Path, ...]:
    """Give a small sample of each kind of pixels, all samples without any, and what is broken."""
    found: dict[object, Path] = {}
    for path in SOURCES:
        if path not in SAMPLES or path.stat().st_size > SMALL:
            continue
        instance = load(Memory(path.read_bytes()))
        pixels = instance.pixels
        if pixels is None:
            found[path] = path
            continue
        fmt = pixels.format
        most = len(pixels.frames) > 1, instance.problems != ()
        key = instance.transfer_syntax, fmt.photometric, fmt.bits_allocated, fmt.bits_stored, fmt.signed, fmt.planar
        found.setdefault((*key, *most), path)
    return tuple(found.values())


def copies(loop: Loop, path: Path, folder: str) -> dict[str, bytes | OSError]:
    """Read the file of one name, or those in the directories below one of that name, by the names of these.

    What cannot be read is the error.
    """

    async def work() -> dict[str, bytes | OSError]:
        found: dict[str, bytes | OSError] = {}
        with tree_of(loop, path) as top:
            for name, file in await files_below(top, frames=2):
                shown = name.decode().split("/")
                if shown[0] != folder:
                    continue
                try:
                    found[shown[min(1, len(shown) - 1)]] = await read_all(file)
                except OSError as error:
                    found[shown[min(1, len(shown) - 1)]] = error
        return found

    return loop.run(work)


def read(data: bytes) -> pydicom.FileDataset:
    """Read a copy as pydicom reads what is sound."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(data))


def frames(values: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Take an array of one or more frames apart."""
    yield from values if count > 1 else (values,)
