"""How a command ends: its exit code, and one line for each error."""

import os
import sys
import traceback

from dicomfs.dicom.printable import printable

# Exit codes, as the README states them.
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class Complaints:
    """Prints errors of single paths as they happen; *code* is the exit code that they make."""

    def __init__(self) -> None:
        """Start without an error."""
        self.code = DONE

    def add(self, path: str, error: OSError) -> None:
        """Print why *path* failed."""
        complain(f"{path}: {error.strerror or error}")
        self.code = FAILED


def complain(text: str) -> None:
    """Print one line to standard error, without control characters."""
    print(f"dicomfs: {printable(text, None)}", file=sys.stderr)


def describe(error: Exception) -> str:
    """Return the text of an expected error, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def describe_unexpected(error: BaseException) -> str:
    """Return where an unexpected error was raised. Its text is left out: it may quote a patient's values."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = reversed(traceback.extract_tb(error.__traceback__))
    places = " < ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in frames)
    return f"unexpected {type(error).__name__} at {places}"
