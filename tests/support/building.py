"""Mounts whose virtual files are built as a test says. This file is also the daemon: `building.py … mount …`.

The folder that the environment names holds: `builds`, to which each build adds a byte; `hold`, while which builds do
not go on; `fate`, the name of what builds raise; `more`, while which they make a byte more; `ended`, to which each
build adds a byte when it ends in whatever way. `limit` and `linger` say, when the daemon starts, how many seconds a
build may take, and how long what is too large to be kept waits for whoever has asked for its size.
"""

import hashlib
import os
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import trio

from dicomfs.cli import main
from dicomfs.entries.built_file import BuiltFile, Recipe
from dicomfs.entries.dependence import Depends
from dicomfs.fuse import operations
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.tree import instance_directory
from dicomfs.vfs import builds
from support import script
from support.archives import PYDICOM
from support.mounting import Mount, mounted

# Name and size of what is built: large, smaller, tiny, and as large as no page.
SIZES = {"grown.bin": 7_654_321, "shrunk.bin": 1_234_567, "tiny.bin": 5, "exact.bin": 3_000_000}
FATES: dict[str, BaseException] = {
    "OSError": OSError(28, "No space left on device"),
    "ValueError": ValueError("secret^patient"),
    "GeneratorExit": GeneratorExit(),
    "SystemExit": SystemExit(3),
    "group": ExceptionGroup("secret^patient", [ExceptionGroup("", [OSError(5, "inner")])]),
}


def content(name: str) -> bytes:
    """Give the bytes that the file *name* has."""
    return np.random.default_rng(SIZES[name]).bytes(SIZES[name])


def digest(name: str) -> str:
    """Give the SHA-256 of the file *name*."""
    return hashlib.sha256(content(name)).hexdigest()


@dataclass
class Control:
    """What the test tells the builders, and what they tell."""

    folder: Path

    def count(self, name: str = "builds") -> int:
        path = self.folder / name
        return path.stat().st_size if path.exists() else 0

    def hold(self) -> None:
        (self.folder / "hold").touch()

    def let_go(self) -> None:
        (self.folder / "hold").unlink(missing_ok=True)

    def fate(self, name: str) -> None:
        (self.folder / "fate").write_text(name)

    def more(self) -> None:
        (self.folder / "more").touch()

    def seconds(self, name: str, seconds: float) -> None:
        (self.folder / name).write_text(str(seconds))

    def heal(self) -> None:
        (self.folder / "fate").unlink()


def control_in(place: Path, monkeypatch: pytest.MonkeyPatch) -> Control:
    """Make the folder that tells the builders of mounts to come what to do."""
    folder = place / "control"
    folder.mkdir()
    monkeypatch.setenv("DICOMFS_TEST_CONTROL", str(folder))
    return Control(folder)


def archive_in(place: Path, count: int = 2) -> Path:
    """Make an archive of `0.dcm`, `1.dcm` and so on, which differ in their last byte."""
    folder = place / "archive"
    folder.mkdir()
    sample = (PYDICOM / "CT_small.dcm").read_bytes()
    for number in range(count):
        (folder / f"{number}.dcm").write_bytes(sample[:-1] + bytes([number]))
    return folder


def serve(archive: Path, place: Path, *options: str, warn: bool = False) -> AbstractContextManager[Mount]:
    """Mount *archive* with the files of SIZES in each of its directories."""
    place.mkdir(exist_ok=True)
    return mounted(archive, place, *options, under=script("building"), warn=warn)


class ToldFile:
    """A virtual file whose build the test controls."""

    depends = Depends.DECODERS

    def __init__(self, name: str, control: Path) -> None:
        """Look into the folder *control* at each build."""
        self.name = name
        self._control = control

    def node(self, instance: Instance, subject: InstanceHandle) -> BuiltFile:
        """Give the file, for every object."""
        return BuiltFile(subject, Recipe(f"test {self.name}", None, self._build))

    async def _build(self, file: BinaryIO) -> None:
        self._add("builds")
        try:
            data = content(self.name)
            file.write(bytes(len(data) // 2))
            while (self._control / "hold").exists():
                await trio.sleep(0.01)
            fate = self._control / "fate"
            if fate.exists():
                raise FATES[fate.read_text()]
            file.seek(0)  # as a muxer goes back to write its header
            file.write(data)
            if (self._control / "more").exists():
                file.write(b".")
        finally:
            self._add("ended")

    def _add(self, name: str) -> None:
        with open(self._control / name, "ab") as file:
            file.write(b".")


if __name__ == "__main__":
    place = Path(os.environ["DICOMFS_TEST_CONTROL"])
    told = [(ToldFile(name, place), True) for name in SIZES]
    instance_directory.VIRTUAL_FILES = (*instance_directory.VIRTUAL_FILES, *told)
    for module, name, file in (
        (operations, "BUILD_LIMIT_SECONDS", place / "limit"),
        (builds, "LINGER_SECONDS", place / "linger"),
    ):
        if file.exists():
            setattr(module, name, float(file.read_text()))
    main.main(sys.argv[sys.argv.index("mount") :])
