"""Files for tests of data sets: pydicom's own of every kind, the larger corpus, and damaged ones."""

import random
from collections.abc import Iterator
from pathlib import Path

import data_store
import pydicom
import pytest

from dicomfs.dicom.part10_reader import DicomFile, NotDicom, parse
from dicomfs.dicom.stream import Memory
from support.archives import CORPUS, corpus_files, swept
from support.encoded import dicom_file

PYDICOM = Path(pydicom.__file__).parent / "data"


PYDICOM_DATA = Path(data_store.__file__).parent / "data"


def _samples() -> Iterator[tuple[str, Path]]:
    roots = (("pydicom", PYDICOM, PYDICOM.rglob("*")), ("pydicom-data", PYDICOM_DATA, PYDICOM_DATA.rglob("*")))
    for name, root, paths in (*roots, ("corpus", CORPUS, corpus_files())):
        for path in sorted(paths):
            if path.is_file() and path.suffix not in (".py", ".pyc", ".md", ".json", ".txt"):
                yield f"{name}/{path.relative_to(root)}", path


def parsed_or_none(path: Path) -> DicomFile | None:
    try:
        return parse(Memory(path.read_bytes()))
    except NotDicom:
        return None


NAMES = {path: name for name, path in _samples()}


every_file = pytest.mark.parametrize("path", swept(NAMES, NAMES.__getitem__))


def mutations(count: int, seed: int) -> Iterator[bytes]:
    """Damage small real files: bytes, lengths, cuts, copies."""
    chance = random.Random(seed)
    small = (path for path in NAMES if path.stat().st_size < 60_000)
    sources = [path.read_bytes() for path in small if parsed_or_none(path)]
    for _ in range(count):
        data = bytearray(chance.choice(sources))
        for _ in range(chance.choice((1, 1, 2, 5, 30))):
            place = chance.randrange(128, min(len(data), chance.choice((400, 3000, 60_000))))
            kind = chance.randrange(5)
            if kind == 0:
                data[place] = chance.randrange(256)
            elif kind == 1:
                data[place : place + 4] = chance.choice(
                    (b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", bytes(4), b"\0\0\0\x80")
                )
            elif kind == 2:
                data[place : place + 4] = chance.choice((b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"))
            elif kind == 3:
                data[place : place + 2] = chance.choice((b"SQ", b"UN", b"OB", b"UT", b"??", b"FD", b"AT", b"PN"))
            else:
                del data[place : place + chance.randrange(1, 200)]
            if len(data) < 500:
                break
        yield bytes(data)


def read(body: bytes, syntax: str = "1.2.840.10008.1.2.1") -> DicomFile:
    return parse(Memory(dicom_file(body, syntax)))
