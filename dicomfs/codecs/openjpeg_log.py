"""What OpenJPEG reports of damaged code-blocks, for a codestream that says that they end predictably (T.800 A.6.1)."""

import contextlib
import logging
import re
import threading
from collections.abc import Iterator

from dicomfs.codecs.bitstream import CodecError

# How OpenJPEG reports code-blocks that end too early or too late. A few bytes of the latter are rounding: sound ones
# have been seen to lack 11.
_EXCESS = re.compile(r"(\d+) remaining bytes in code block")
_LACK = re.compile(r"(\d+) synthesized 0xFF markers read")
_MAX_LACKING_BYTES = 16


@contextlib.contextmanager
def raising_of_damage(logger: str) -> Iterator[None]:
    """Listen to the *logger* to which a library passes OpenJPEG's messages; raise CodecError of damaged code-blocks."""
    listener = _Listener()
    log = logging.getLogger(logger)
    propagates, level = log.propagate, log.level
    log.addHandler(listener)
    log.propagate = False
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(listener)
        log.propagate = propagates
        log.setLevel(level)
    if listener.doubt:
        raise CodecError(f"the data of the frame are damaged: {listener.doubt} (E16)")


class _Listener(logging.Handler):
    """Keeps the first message on damaged code-blocks of OpenJPEG, called by this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.doubt = ""
        self._caller = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Judge one message."""
        if self.doubt or record.thread != self._caller:
            return
        message = record.getMessage()
        if found := _EXCESS.search(message):
            self.doubt = f"a code-block has {found[1]} bytes too many"
        elif (found := _LACK.search(message)) and int(found[1]) > _MAX_LACKING_BYTES:
            self.doubt = f"a code-block lacks {found[1]} bytes"
