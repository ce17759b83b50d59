"""Dependences of the bytes of an entry besides the source: the versions of dicomfs and decoders, and options.

It goes into the inode number, so that a mount that shows other bytes has other numbers, and backups read anew just what
may have changed. `--cine`, `--xattrs` and the like decide what is there, not what is in it, and are no part.
"""

from enum import Enum
from functools import cache

from dicomfs import __version__
from dicomfs.cache.edition import edition
from dicomfs.dicom.dictionary import SOURCE
from dicomfs.entries.display_images import MONOCHROME
from dicomfs.instance.instance import Instance
from dicomfs.rendering.render import Window


class Depends(Enum):
    """Upon what, each upon all that the ones before it depend on, too."""

    SOURCE = "nothing else: the bytes are the source's"
    PARSER = "how we read and write data sets"
    DECODERS = "decoders and encoders"
    WINDOW = "the window of the mount, where grey frames are shown through it"


def mark_of(depends: Depends, instance: Instance, window: Window | None) -> bytes:
    """Return the mark of an entry for *instance*, in a mount with a *window* of its own or none (see `nodes.Child`)."""
    if depends is not Depends.WINDOW or window is None:
        return _mark(depends, None)
    grey = instance.pixels is not None and instance.pixels.format.photometric in MONOCHROME
    return _mark(depends, window if grey else None)


@cache
def _mark(depends: Depends, window: Window | None) -> bytes:
    if depends is Depends.SOURCE:
        return b""
    code = f"dicomfs {__version__}" if depends is Depends.PARSER else edition()
    # The names of elements are from its dictionary.
    return f"{code}; {SOURCE}; window {window}".encode()
