"""Sequential access: which frames a client will probably read next."""

from collections import OrderedDict
from collections.abc import Hashable

# Sequences whose clients are remembered. More at a time are not read by one person, nor by one copy.
_MAX_SEQUENCES = 64


class SequentialAccess:
    """Watch which frame of which sequence is read, and predict the next ones.

    One frame predicts nothing. From the second in a row on, the prediction grows with the row, up to *depth* frames, so
    that looking at a single frame, or at every tenth, never makes work.
    """

    def __init__(self, depth: int) -> None:
        """Predict at most *depth* frames."""
        self._depth = depth
        self._rows: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        """Count the sequences that are remembered."""
        return len(self._rows)

    def after(self, sequence: Hashable, index: int) -> range:
        """Note that frame *index* of *sequence* is read; return the frames to make meanwhile, the nearest first."""
        last, row = self._rows.pop(sequence, (index, 0))
        if index != last:
            row = row + 1 if index == last + 1 else 0
        self._rows[sequence] = index, row
        if len(self._rows) > _MAX_SEQUENCES:
            self._rows.popitem(last=False)
        return range(index + 1, index + 1 + min(row, self._depth))
