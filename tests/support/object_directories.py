"""How tests of display see a file as a user does: its directory in the tree, pictures decoded by Pillow."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from dicomfs.vfs.nodes import File
from support.archives import CORPUS, SAMPLES, files
from support.builders import DataSet
from support.mounting import Loop, files_below, read_all, tree_of

FOUND = {path.name: path for path in (*SAMPLES, *(files(CORPUS) if CORPUS.is_dir() else ()))}
"""Samples by their names."""


def of_corpus(*names: str) -> list[str]:
    """Give those samples that are here: the larger corpus may not be."""
    return [name for name in names if name in FOUND]


def window(low: float, high: float) -> DataSet:
    """Show *low* black and *high* white."""
    return {
        0x00281050: ("DS", f"{(low + high) / 2}"),
        0x00281051: ("DS", f"{high - low}"),
        0x00281056: ("CS", "LINEAR_EXACT"),
    }


def spread(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Compute what such a window makes of values."""
    return np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255


def close(drawn: np.ndarray, expected: np.ndarray, tolerance: float = 0.501) -> None:
    """Compare pictures: rounding is all that may differ, unless more is tolerated."""
    assert drawn.shape == expected.shape
    assert np.abs(drawn.astype(np.float64) - expected).max() <= tolerance


class Shown:
    """The directory of one DICOM file."""

    def __init__(self, loop: Loop, path: Path) -> None:
        """Look at the file at *path*."""
        self._loop = loop
        self._path = path

    @classmethod
    def of(cls, loop: Loop, folder: Path, data: bytes) -> "Shown":
        """Look at a file of *data* that is made in *folder*."""
        path = folder / f"{len(list(folder.iterdir()))}.dcm"
        path.write_bytes(data)
        return cls(loop, path)

    @property
    def names(self) -> list[str]:
        """Paths of all files in the directory."""

        async def listed() -> list[str]:
            with tree_of(self._loop, self._path) as top:
                return [name.decode() for name, _ in await files_below(top)]

        return self._loop.run(listed)

    def read(self, name: str) -> bytes:
        """Read a file whole, and see that it is as long as it said. Raises OSError as the reader would get it."""

        async def work() -> bytes:
            with tree_of(self._loop, self._path) as top:
                files: dict[bytes, File] = dict(await files_below(top))
                data = await read_all(files[name.encode()])
                assert len(data) == files[name.encode()].attributes.size
                return data

        return self._loop.run(work)

    def picture(self, frame: int = 1) -> np.ndarray:
        """Decode the picture of a frame, counted from 1."""
        return np.asarray(Image.open(io.BytesIO(self.read(f"frames/{frame:04}.png"))))

    def refusal(self, frame: int = 1) -> str:
        """Give the reason why a frame has no picture; fail when it has one."""
        try:
            self.read(f"frames/{frame:04}.png")
        except OSError as error:
            return error.strerror or ""
        raise AssertionError(f"frame {frame} is shown")

    @property
    def problems(self) -> str:
        """What the file says is wrong with itself."""
        return self.read("problems.txt").decode() if "problems.txt" in self.names else ""
