"""What the bytes of an entry depend on besides the source: our version, that of decoders, and options.

It goes into the inode number, so that a mount that shows other bytes has other numbers, and backups read anew just what
may have changed. `--cine`, `--xattrs` and the like decide what is there, not what is in it, and are no part.
"""

from enum import Enum
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from dicomfs import __version__
from dicomfs.display.render import Window
from dicomfs.files.pictures import MONOCHROME
from dicomfs.image.instance import Instance


class Depends(Enum):
    """Upon what, each upon all that the ones before it depend on, too."""

    SOURCE = "nothing else: the bytes are the source's"
    PARSER = "how we read and write data sets"
    DECODERS = "decoders and encoders"
    WINDOW = "the window of the mount, where grey frames are shown through it"


# Packages of which another version may give other bytes. The names of elements are pydicom's.
_PARSERS = ("pydicom",)
_DECODERS = (*_PARSERS, "imagecodecs", "numpy", "av")
_PACKAGES = {Depends.PARSER: _PARSERS, Depends.DECODERS: _DECODERS, Depends.WINDOW: _DECODERS}


def mark_of(depends: Depends, instance: Instance, window: Window | None) -> bytes:
    """Give the mark of an entry for *instance*, in a mount with a *window* of its own or none (see `nodes.Child`)."""
    grey = instance.pixels is not None and instance.pixels.format.photometric in MONOCHROME
    return _mark(depends, window if depends is Depends.WINDOW and grey else None)


@cache
def _mark(depends: Depends, window: Window | None) -> bytes:
    if depends is Depends.SOURCE:
        return b""
    versions = [f"{package} {_version(package)}" for package in _PACKAGES[depends]]
    return ", ".join([f"dicomfs {__version__}", *versions, f"window {window}"]).encode()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "is missing"
