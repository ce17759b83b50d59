"""Mistyped command lines: words that are not verbs, and paths that are not archives."""

import difflib
import os
import re
from collections.abc import Sequence

from dicomfs.cli.option_values import UsageError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Words that resemble none of the verbs, and the command that is meant.
_MEANT = {
    "status": "`findmnt -t fuse.dicomfs` lists what is mounted",
    "list": "`dicomfs ls` lists",
    "dir": "`dicomfs ls` lists",
    "copy": "`dicomfs cp` copies",
    "show": "`dicomfs info` says what a file holds",
    "version": "`dicomfs --version` says it",
}
# Offset, magic number (file(1)) and format.
_PACKED = (
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"\x1f\x8b\x08", "compressed (gzip)"),
    (0, b"BZh", "compressed (bzip2)"),
    (0, b"\xfd7zXZ\0", "compressed (xz)"),
    (0, b"\x28\xb5\x2f\xfd", "compressed (zstd)"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
)
_HEAD_BYTES = 512


def with_verb(given: Sequence[str], verbs: Sequence[str]) -> list[str]:
    """Return the command line with its verb: `mount` where it begins with an archive, as mount(8) calls us.

    Raises UsageError where the first word is neither an existing path nor a verb.
    """
    if not given or given[0].startswith("-"):
        return list(given)
    word, *others = given
    if word == "help" and (not others or others[0] in verbs):
        return [*others[:1], "--help"]
    if word == "help":
        word, others = others[0], []
    if word in verbs:
        return list(given)
    check_archive(word)
    if others and (os.path.lexists(word) or "/" in word):
        return ["mount", *given]
    if os.path.lexists(word):
        raise UsageError(f"what should be done with {word}? `dicomfs mount {word} MOUNTPOINT`, or `dicomfs ls {word}`")
    near = difflib.get_close_matches(word.lower(), verbs, 1)
    hint = _MEANT.get(word.lower()) or (f"did you mean `{near[0]}`?" if near else "`dicomfs --help` lists the verbs")
    raise UsageError(f"{word} is neither a verb nor an existing path; {hint}")


def check_archive(path: str) -> None:
    """Raise UsageError for a URL or a packed file; its text says what to do instead."""
    if _URL.match(path) and not os.path.lexists(path):
        raise UsageError(
            f"{path} is a URL, and dicomfs shows directories and DICOM files: mount it first, with `rclone mount` or "
            "`mount-s3` for example, and name that directory"
        )
    while not os.path.lexists(path) and os.path.dirname(path) not in ("", path):
        path = os.path.dirname(path)
    what = _packed(path)
    if what:
        raise UsageError(
            f"{path} is {what}, not a directory or a DICOM file: unpack it, or mount it first, with `ratarmount` for "
            "example, and name that directory"
        )


def _packed(path: str) -> str | None:
    """Return the format of a packed regular file; None for other files and those that cannot be read."""
    if not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None  # opening it as an archive raises the error
    if head[128:132] == b"DICM":
        return None
    return next((what for place, magic, what in _PACKED if head.startswith(magic, place)), None)
