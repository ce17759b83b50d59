"""What options mean: sizes, counts, windows, and what `-o` says."""

import argparse
import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from dicomfs.instance.entry_selection import ALL, Selection

# numpy is not loaded before a window or an entry is really named: `--help` is quick.
if TYPE_CHECKING:
    from dicomfs.rendering.render import Window

_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# What fstab and mount(8) say to every file system, and what we are anyway.
_IGNORED = re.compile(
    r"ro|rw|suid|nosuid|dev|nodev|exec|noexec|sync|async|atime|noatime|relatime|norelatime|diratime|nodiratime"
    r"|auto|noauto|users?|nousers?|owner|group|defaults|_netdev|nofail|(x-|comment=).*"
)
_PASSED_ON = re.compile(
    r"allow_other|allow_root|auto_unmount|default_permissions|(fsname|context|fscontext|rootcontext)=.*"
)
CINE = ("auto", "all")
_NUMBER = r"[+-]?[0-9]{1,15}(?:\.[0-9]{0,15})?"
MOST = 256
"""Decoding processes of a mount: each takes memory and descriptors, and no machine has many more processors."""


class UsageError(Exception):
    """The command line makes no sense; the text says what to write instead."""


def count(text: str) -> int:
    """Read a number of processes, at least one."""
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST}")
    return int(text)


def flag(text: str) -> bool:
    """Read an option that is there or not."""
    if text:
        raise argparse.ArgumentTypeError("takes no value")
    return True


def cine(text: str) -> str:
    """Read which objects are shown as films."""
    if text not in CINE:
        raise argparse.ArgumentTypeError(f"{text!r} is neither of {', '.join(CINE)}")
    return text


def window(text: str) -> "Window":
    """Read a window: two numbers with a comma between them, or a slash where commas part options."""
    from dicomfs.rendering.render import Window

    match = re.fullmatch(f"({_NUMBER})[,/]({_NUMBER})", text)
    if match is None or not float(match[2]) > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a centre and a width above 0, like 40,400")
    center, width = float(match[1]), float(match[2])
    # LINEAR, the function of windows that name none, has no width below 1 (PS3.3 C.11.2.1.2).
    return Window(center, width, "LINEAR" if width >= 1 else "LINEAR_EXACT")


def size(text: str) -> int:
    """Read a number of bytes."""
    match = re.fullmatch(r"([0-9]{1,15})([KMG]?)", text.upper())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 64M")
    return int(match[1]) * _SIZES[match[2]]


def entries(text: str) -> Collection[str]:
    """Read names of entries, with commas between them, or colons where commas part options.

    A name without its extension stands for all that are called so.
    """
    from dicomfs.entries import VIRTUAL_FILES

    names = [virtual.name for virtual, _ in VIRTUAL_FILES]
    found: list[str] = []
    for word in re.split("[,:+]", text):
        wanted = word.strip().removesuffix("/")
        meant = [wanted] if wanted in (*names, ALL) else [name for name in names if wanted == name.partition(".")[0]]
        if not meant:
            raise argparse.ArgumentTypeError(f"{word!r} is not an entry; there are {', '.join(names)}, and all")
        found += meant
    return found


def selection(show: Collection[str], hide: Collection[str]) -> Selection:
    """Put together what shall be listed and what shall not exist. Raises UsageError where that is the same."""
    if both := sorted(set(show) & set(hide)):
        raise UsageError(f"{', '.join(both)} can be shown or hidden, not both")
    return Selection(frozenset(show), frozenset(hide))


_OWN: Mapping[str, Callable[[str], object]] = {
    "workers": count,
    "cache_memory": size,
    "cache_size": size,
    "cache_dir": str,
    "cache_frames": flag,
    "log_file": str,
    "window": window,
    "xattrs": flag,
    "trust_modes": flag,
    "cine": cine,
    "show": entries,
    "hide": entries,
}


def kernel_options(options: argparse.Namespace) -> frozenset[str]:
    """Take apart what `-o` says: our own options go into *options*, those for the kernel are returned."""
    chosen = {"allow_other"} if options.allow_other else set()
    for option in ",".join(options.fuse_options).split(","):
        name, _, value = option.partition("=")
        if name in _OWN:
            try:
                read = _OWN[name](value)
                # Lists add up.
                setattr(options, name, [*getattr(options, name), *read] if isinstance(read, list) else read)
            except argparse.ArgumentTypeError as error:
                raise UsageError(f"-o {option}: {error}") from None
        elif _PASSED_ON.fullmatch(option):
            chosen.add(option)
        elif option and not _IGNORED.fullmatch(option):
            raise UsageError(f"-o {option} is not known; `dicomfs mount --help` lists the options")
    return frozenset(chosen)
