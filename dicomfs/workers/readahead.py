"""Which frames will probably be wanted next: those behind the ones that somebody is reading in order."""

from collections import OrderedDict
from collections.abc import Hashable

# Objects whose readers are remembered. More at once are not read by one person, nor by one copy.
_REMEMBERED = 64


class Ahead:
    """Watch which frame of which object is wanted, and guess the next ones.

    One frame says nothing. From the second in a row on, the guess grows with the row, up to *most* frames, so that
    looking at a single frame, or at every tenth, never makes work.
    """

    def __init__(self, most: int) -> None:
        """Guess at most *most* frames."""
        self._most = most
        self._rows: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()

    def after(self, subject: Hashable, frame: int) -> range:
        """Note that *frame* of *subject* is wanted; give the frames to make meanwhile, the nearest first."""
        last, row = self._rows.pop(subject, (frame, 0))
        if frame != last:
            row = row + 1 if frame == last + 1 else 0
        self._rows[subject] = frame, row
        if len(self._rows) > _REMEMBERED:
            self._rows.popitem(last=False)
        return range(frame + 1, frame + 1 + min(row, self._most))
