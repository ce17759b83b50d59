"""The collector of what is wrong with one file, while it is parsed."""

from collections.abc import Iterator

MAX_PROBLEMS = 100
"""Sentences of one file; a file that is wrong everywhere needs no more to be recognised as such."""


class Problems:
    """Sentences without patient data, in the order in which they were reported, each once."""

    __slots__ = ("_sentences",)

    def __init__(self) -> None:
        """Start without any."""
        self._sentences: dict[str, None] = {}

    def report(self, sentence: str) -> None:
        """Add *sentence*; beyond `MAX_PROBLEMS`, only the fact that there are more is added."""
        if len(self._sentences) < MAX_PROBLEMS:
            self._sentences[sentence] = None
        elif sentence not in self._sentences:
            self._sentences["there are more problems than are listed"] = None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the sentences."""
        return iter(self._sentences)
