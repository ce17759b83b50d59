"""Whether the process that asked for something still waits for the answer.

The kernel does not take a request back when its process is killed or interrupted: the process waits for the answer in
a sleep from which only the answer wakes it. That a signal is waiting for it can be seen, though.
"""

import errno
import re
import signal

# Whoever sends one of these wants the process to stop what it is doing. A default action has made it a SIGKILL already.
_STOPPING = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_MASK = sum(1 << (number - 1) for number in _STOPPING)
_SIGNALS = re.compile(rb"^(SigPnd|ShdPnd|SigBlk):\s*([0-9a-f]+)$", re.MULTILINE)


class Requester:
    """A thread that has asked, by its number; 0 is one that we cannot see."""

    def __init__(self, number: int) -> None:
        """Look at the thread while it certainly waits: one that does not show now is never taken for gone."""
        self._status = f"/proc/{number}/status"
        try:
            self._visible = number > 0 and self._read() is not None
        except OSError:
            self._visible = False

    def is_waiting(self) -> bool:
        """Tell whether the answer is still wanted, as far as can be seen."""
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
