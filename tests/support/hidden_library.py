"""Libraries that processes cannot import, or that are others than they say: stubs that come first on the path."""

import importlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ABSENT = "raise ImportError('hidden by a test')"
"""What a stub does that hides a library."""

_STUB = """
import importlib
import os

def codec(*data, **options):
    {act}

def __getattr__(name):
    if name.isupper():
        return type(name, (), {{"available": True}})
    if not name.startswith(("jpeg", "packbits", "htj2k")):
        raise AttributeError(name)
    return codec
"""
ENDING = _STUB.format(act="os.abort()")
"""What a stub of imagecodecs does that ends its process at the first frame."""
DECLINING = _STUB.format(act="raise RuntimeError('declined')")
"""What a stub of imagecodecs does that declines every frame."""


def stubs(place: Path, libraries: Mapping[str, str]) -> Path:
    """Write a stub of each library into *place*; give the folder to put on a path."""
    for name, text in libraries.items():
        folder = place / "stubs" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text(text + "\n")
    return place / "stubs"


def environment(folder: Path) -> dict[str, str]:
    """Give the environment of a process that finds stubs first; its workers do so, too."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}


def run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run Python with stubs."""
    return subprocess.run(
        [sys.executable, "-P", *command], capture_output=True, check=False, timeout=250, env=environment(folder)
    )


def hide_imagecodecs_from_dicomfs(place: Path) -> None:
    """Have dicomfs find no imagecodecs, in this process and those that it starts; tests import it all the same."""
    importlib.import_module("imagecodecs")
    folder = str(stubs(place, {"imagecodecs": ABSENT}))
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
    sys.modules["dicomfs.codecs.by_imagecodecs"] = None
