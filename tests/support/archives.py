"""The DICOM files that tests run over: pydicom's own, the package pydicom-data, and the larger corpus where it is."""

import importlib.util
import os
from pathlib import Path

import pydicom.data


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


PYDICOM = Path(pydicom.data.__file__).parent / "test_files"
PYDICOM_DATA = _package_folder("data_store") / "data"
CORPUS = Path(os.environ.get("DICOMFS_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))

_MANY, _EACH = 20, 10


def files(folder: Path) -> list[Path]:
    """Give all regular files below *folder*."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))


def corpus_files() -> list[Path]:
    """Give the files of the larger corpus, if it is there; of a folder of many slices every tenth stands for all."""
    folders: dict[Path, list[Path]] = {}
    for path in files(CORPUS) if CORPUS.is_dir() else ():
        folders.setdefault(path.parent, []).append(path)
    return [path for found in folders.values() for path in (found if len(found) <= _MANY else found[::_EACH])]


SAMPLES = files(PYDICOM) + files(PYDICOM_DATA)


def sample_id(path: Path) -> str:
    """Name a sample in a test's id."""
    base = PYDICOM if path.is_relative_to(PYDICOM) else PYDICOM_DATA
    return str(path.relative_to(base))
