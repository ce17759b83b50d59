"""Detects interrupted clients.

The kernel never withdraws a request: a client that is killed or interrupted sleeps until it is answered. But a signal
that is pending for the calling thread shows in /proc.
"""

import errno
import re
import signal

# Signals that tell a process to stop what it is doing. The kernel turns a fatal one without a handler into SIGKILL.
_STOPPING = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_MASK = sum(1 << (number - 1) for number in _STOPPING)
_SIGNALS = re.compile(rb"^(SigPnd|ShdPnd|SigBlk):\s*([0-9a-f]+)$", re.MULTILINE)


class Requester:
    """The thread that has made a request, by its number; 0 is a thread of another PID namespace, which is invisible."""

    def __init__(self, number: int) -> None:
        """Look the thread up while it certainly waits: one that is invisible now is never taken for ended."""
        self._status = f"/proc/{number}/status"
        try:
            self._visible = number > 0 and self._read() is not None
        except OSError:
            self._visible = False

    def is_waiting(self) -> bool:
        """Whether the client still waits for its answer, as far as /proc shows."""
        if not self._visible:
            return True
        try:
            status = self._read()
        except OSError:
            return True  # we could not look
        if status is None:
            return False
        masks = {name: int(mask, 16) for name, mask in _SIGNALS.findall(status)}
        pending = masks.get(b"SigPnd", 0) | masks.get(b"ShdPnd", 0)
        return not pending & ~masks.get(b"SigBlk", 0) & _MASK

    def _read(self) -> bytes | None:
        """Read its state; None when there is no such thread. Raises OSError where we lack descriptors or memory."""
        try:
            with open(self._status, "rb") as file:
                return file.read()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise
            return None
