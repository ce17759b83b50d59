"""The log: its destination, and records of one line each without control characters."""

import errno
import logging
import logging.handlers
import os
import stat
from typing import TextIO

from dicomfs.dicom.printable import printable

_MAX_LINE_CHARACTERS = 2000


class OneLine(logging.Formatter):
    """Formats each record as one line, whatever text its message quotes."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return printable(super().format(record), _MAX_LINE_CHARACTERS)


def start_log(log_file: str | None, foreground: bool) -> None:
    """Log to a file, to the terminal in the foreground, or otherwise to syslog where there is one.

    Raises OSError where the file is not one that only its owner can read.
    """
    handler: logging.Handler
    if log_file:
        handler = logging.StreamHandler(_closed_file(log_file))
    elif foreground:
        handler = logging.StreamHandler()
    elif os.path.exists("/dev/log"):
        handler = logging.handlers.SysLogHandler("/dev/log")
    else:
        return
    syslog = isinstance(handler, logging.handlers.SysLogHandler)
    plain = f"dicomfs[{os.getpid()}]: %(levelname)s: %(message)s"
    handler.setFormatter(OneLine(plain if syslog else f"%(asctime)s {plain}"))
    logger = logging.getLogger("dicomfs")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _closed_file(path: str) -> TextIO:
    """Open a file of ours that only we can read, to append to it. A character device keeps its mode."""
    access = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, access, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "a log is not written through a symbolic link", path) from None
        raise
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        reason = ""
        if status.st_uid != os.geteuid():
            reason = "belongs to another user, who could read the log"
        elif status.st_nlink > 1:
            reason = "has another name, so that it may be another file"
        else:
            os.fchmod(descriptor, 0o600)
    else:
        reason = "" if stat.S_ISCHR(status.st_mode) else "is not a file that a log can be appended to"
    if reason:
        os.close(descriptor)
        raise OSError(errno.EPERM, reason, path)
    return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")
