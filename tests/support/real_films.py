"""Films of real frames: pictures that differ, encoded so that they can be compared after decoding."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np

from dicomfs.pixeldata.frame_status import LONGEST
from support.builders import Value, dicom, image
from support.mounting import Loop
from support.object_directories import Shown

SYNTAXES = {
    "rle": "1.2.840.10008.1.2.5",
    "jpeg": "1.2.840.10008.1.2.4.70",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg 2000": "1.2.840.10008.1.2.4.90",
    "htj2k": "1.2.840.10008.1.2.4.201",
    "jpeg xl": "1.2.840.10008.1.2.4.110",
}
ROWS, COLUMNS = 24, 34


def rle(values: np.ndarray) -> bytes:
    """Encode a grey frame of 8 bits as RLE, in literal runs (PS3.5 G.3.1)."""
    data = values.tobytes()
    parts = [data[start : start + 128] for start in range(0, len(data), 128)]
    segment = b"".join(bytes([len(part) - 1]) + part for part in parts)
    return struct.pack("<16I", 1, 64, *[0] * 14) + segment + b"\0" * (len(segment) % 2)


ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "rle": rle,
    "jpeg": lambda values: imagecodecs.jpeg8_encode(values, lossless=True),
    "jpeg-ls": imagecodecs.jpegls_encode,
    "jpeg 2000": lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True),
    "jp2": lambda values: imagecodecs.jpeg2k_encode(values, codecformat="jp2", reversible=True),
    "htj2k": lambda values: imagecodecs.htj2k_encode(values, reversible=True),
    "jpeg xl": lambda values: imagecodecs.jpegxl_encode(values, lossless=True),
}
# How raw/ names them.
EXTENSIONS = {
    "rle": "rle",
    "jpeg": "jpg",
    "jpeg-ls": "jls",
    "jpeg 2000": "j2k",
    "jp2": "jp2",
    "htj2k": "j2k",
    "jpeg xl": "jxl",
}


def grey(number: int, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """Make the picture of frame *number*: none is like another, and all values occur."""
    return np.random.default_rng(number).integers(0, 256, (rows, columns), np.uint8)


class Film(NamedTuple):
    """Pictures, and how they are encoded."""

    pictures: list[np.ndarray]
    frames: list[bytes]


def film(kind: str, count: int) -> Film:
    """Make a film of *count* grey frames of 8 bits."""
    pictures = [grey(number) for number in range(count)]
    return Film(pictures, [ENCODERS[kind](picture) for picture in pictures])


def file_of(pixels: Value, frames: int | None, syntax: str, **more: Value) -> bytes:
    """Make a DICOM file of such a film."""
    return dicom(image(ROWS, COLUMNS, pixels, frames=frames, vr="OB", **more), syntax)


class Seen:
    """What a user sees of the frames of one file: pictures or errors, their status, and the problems."""

    def __init__(self, shown: Shown) -> None:
        """Look at a file."""
        self.shown = shown
        self.names = shown.names
        self.problems = shown.read("problems.txt").decode().splitlines() if "problems.txt" in self.names else []

    @classmethod
    def of(cls, loop: Loop, folder: Path, data: bytes) -> "Seen":
        """Look at a file of *data* that is made in *folder*."""
        return cls(Shown.of(loop, folder, data))

    @property
    def index(self) -> dict[str, Value]:
        """The content of `frames.json`."""
        written = self.shown.read("frames.json")
        index: dict[str, Value] = json.loads(written)
        assert all(len(frame["status"]) <= LONGEST for frame in index["frames"])
        return index

    @property
    def statuses(self) -> list[str]:
        """How the frames fare, as `frames.json` says."""
        return [frame["status"] for frame in self.index["frames"]]

    @property
    def count(self) -> int:
        """Frames that are listed."""
        return sum(name.startswith("frames/") for name in self.names)

    def told(self, *rules: str) -> bool:
        """Whether the problems name these rules, all of them and no other."""
        found = {rule[1] for line in self.problems if (rule := re.search(r"\(([A-Z]\d+)\)$", line))}
        return found == set(rules)

    def are(self, pictures: list[np.ndarray | None]) -> bool:
        """Whether the frames are these pictures, and errors where there is None; their statuses must agree."""
        assert self.count == len(pictures), (self.count, self.problems)
        for number, (picture, status) in enumerate(zip(pictures, self.statuses, strict=True), 1):
            assert status.startswith("error") == (picture is None), (number, status)
            if picture is None:
                assert self.shown.refusal(number), number
            else:
                assert np.array_equal(self.shown.picture(number), picture), number
        return True
