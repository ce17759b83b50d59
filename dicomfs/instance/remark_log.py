"""Logs the remarks of display images: each sentence once for each file, without the file's name."""

import logging
from collections import OrderedDict
from collections.abc import Hashable, Sequence

log = logging.getLogger(__name__)

# Sentences of files that are remembered as said.
_MAX_SENTENCES = 1000


class RemarkLog:
    """The log of one mount, and what was last said there."""

    def __init__(self) -> None:
        """Start with nothing said."""
        self._said: OrderedDict[tuple[Hashable, str], None] = OrderedDict()

    def note(self, file: Hashable, sentences: Sequence[str]) -> None:
        """Log those of *sentences* that were not said of *file* lately."""
        for sentence in sentences:
            key = file, sentence
            if key not in self._said:
                log.info("a picture says: %s", sentence)
            self._said[key] = None
            self._said.move_to_end(key)
            if len(self._said) > _MAX_SENTENCES:
                self._said.popitem(last=False)
