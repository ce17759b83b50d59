"""The DICOM files that tests run over: pydicom's own, the package pydicom-data, and the larger corpus where it is."""

import importlib.util
import os
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pydicom.data
import pytest

from dicomfs.sources.local import LocalSource
from dicomfs.sources.source import Kind


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


FEW = 40
"""Samples that stand for all where a test is not run over the whole corpus."""


def swept(
    paths: Iterable[Path], name: Callable[[Path], str] | None = None, marks: tuple[pytest.MarkDecorator, ...] = ()
) -> list[object]:
    """Make parameters of *paths*: those of a stratified few run always, the others under the marker `corpus`."""
    return [
        pytest.param(
            path,
            id=(name or any_id)(path),
            marks=(*marks, *(() if path in stratified() else (pytest.mark.corpus,))),
        )
        for path in paths
    ]


def any_id(path: Path) -> str:
    """Name a sample, or a file of the larger corpus, in a test's id."""
    return f"corpus/{path.relative_to(CORPUS)}" if path.is_relative_to(CORPUS) else sample_id(path)


@cache
def stratified() -> frozenset[Path]:
    """Choose the smallest sample of each of FEW kinds: of every transfer syntax one, then of the most frequent kinds.

    A kind is what decides which code reads a file: its syntax, its pixels, whether it has several frames.
    """
    kinds: dict[tuple[str, ...], list[Path]] = {}
    for path in SAMPLES:
        kinds.setdefault(_kind(path), []).append(path)
    ranked: list[tuple[int, int, Path]] = []
    seen: dict[str, int] = {}
    for kind, found in sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0])):
        seen[kind[0]] = seen.get(kind[0], 0) + 1
        smallest = min(found, key=lambda path: (path.stat().st_size, path))
        ranked.append((min(seen[kind[0]], 2), -len(found), smallest))
    return frozenset(path for _, _, path in sorted(ranked)[:FEW])


def _kind(path: Path) -> tuple[str, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
            words = [dataset.get(name) for name in ("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated")]
            return str(syntax), *map(str, words), str(int(dataset.get("NumberOfFrames") or 1) > 1)
        except Exception:  # noqa: BLE001 - broken files are a kind of their own, whatever pydicom says of them
            return "broken", path.suffix


def is_dicom(path: Path) -> bool:
    source = LocalSource(str(path))
    try:
        return source.root_entry().kind is Kind.DICOM
    finally:
        source.close()


DICOM_SAMPLES = [path for path in SAMPLES if is_dicom(path)]
