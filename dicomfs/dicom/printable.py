"""Text that somebody else has written, as it may stand in a log, on a terminal or in a line of a file.

Only this module decides what is harmless there. What a value may say is another matter: a message quotes nothing that
can name a patient, however printable it is.
"""

import re
from collections.abc import Iterable

LIMIT = 200
"""Characters of a text before it is cut."""

_CUT = "..."
# Letters, marks and signs that Python calls printable and that are shown as nothing: fillers, joiners, selectors of
# variants, blanks of Braille.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def printable(text: str, limit: int | None = LIMIT) -> str:
    """Return *text* in one line of at most *limit* characters, with a number in place of each that is not plainly seen.

    That is any control character (C0, C1, line ends), mark of direction, separator of lines, blank other than the
    space, half of a surrogate pair, and whatever has no shape or no meaning: "\\x1b", "\\u202e", "\\U000e0041". Never
    raises.
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - len(_CUT)] + _CUT
    if text.isascii() and text.isprintable():
        return text
    shown = "".join([each if each.isprintable() else _numbered(each) for each in text])
    shown = _INVISIBLE.sub(lambda found: _numbered(found[0]), shown)
    if limit is not None and len(shown) > limit:
        shown = re.sub(r"\\[xuU]?[0-9a-f]{0,7}$", "", shown[: limit - len(_CUT)]) + _CUT
    return shown


def frame_list(numbers: Iterable[int]) -> str:
    """Name frames by their *numbers*, as messages do: "frame 3", "frames 3, 7"."""
    listed = [str(number) for number in numbers]
    return f"frame{'s' if len(listed) > 1 else ''} {', '.join(listed)}"


def _numbered(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
