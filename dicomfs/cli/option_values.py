"""The values that options take: numbers, sizes, windows, names of entries."""

import argparse
import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from dicomfs.instance.entry_selection import ALL, Selection

# NumPy is loaded only when a window or an entry is given, so that `--help` is quick.
if TYPE_CHECKING:
    from dicomfs.rendering.render import Window

CINE = ("auto", "all")

MAX_WORKERS = 256
"""Decoding processes of one mount. Each needs memory and descriptors, and few machines have more processors."""

_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_NUMBER = r"[+-]?[0-9]{1,15}(?:\.[0-9]{0,15})?"


class UsageError(Exception):
    """The command line makes no sense; the text says what to write instead."""


def count(text: str) -> int:
    """Parse a number of processes, at least one."""
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MAX_WORKERS}")
    return int(text)


def flag(text: str) -> bool:
    """Parse the value of an option that takes none."""
    if text:
        raise argparse.ArgumentTypeError("takes no value")
    return True


def cine(text: str) -> str:
    """Parse which objects are shown as cine loops."""
    if text not in CINE:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(CINE)}")
    return text


def window(text: str) -> "Window":
    """Parse a window: centre and width, separated by a comma, or by a slash where commas separate options."""
    from dicomfs.rendering.render import Window

    match = re.fullmatch(f"({_NUMBER})[,/]({_NUMBER})", text)
    if match is None or not float(match[2]) > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a centre and a width above 0, such as 40,400")
    center, width = float(match[1]), float(match[2])
    # LINEAR, the function of windows that name none, has no width below 1 (PS3.3 C.11.2.1.2).
    return Window(center, width, "LINEAR" if width >= 1 else "LINEAR_EXACT")


def size(text: str) -> int:
    """Parse a number of bytes."""
    match = re.fullmatch(r"([0-9]{1,15})([KMG]?)", text.upper())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 64M")
    return int(match[1]) * _BYTES[match[2]]


def entries(text: str) -> Collection[str]:
    """Parse names of entries, separated by commas, or by colons where commas separate options.

    A name without its extension stands for all entries of that name.
    """
    from dicomfs.entries import VIRTUAL_FILES

    names = [virtual.name for virtual, _ in VIRTUAL_FILES]
    found: list[str] = []
    for word in re.split("[,:+]", text):
        wanted = word.strip().removesuffix("/")
        meant = [wanted] if wanted in (*names, ALL) else [name for name in names if wanted == name.partition(".")[0]]
        if not meant:
            raise argparse.ArgumentTypeError(f"{word!r} is not an entry; the entries are {', '.join(names)}, and all")
        found += meant
    return found


def selection(show: Collection[str], hide: Collection[str]) -> Selection:
    """Combine `--show` and `--hide`. Raises UsageError where both name the same entry."""
    if both := sorted(set(show) & set(hide)):
        raise UsageError(f"{', '.join(both)} can be shown or hidden, not both")
    return Selection(frozenset(show), frozenset(hide))
