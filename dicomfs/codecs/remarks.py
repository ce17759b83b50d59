"""What only decoding shows of a frame: the closed vocabulary of the text chunk of its display image.

`problems.txt` and `frames.json` hold what headers show and are promised before anything is decoded. Each later finding
is one of these remarks. The module imports nothing of ours, so that codecs and a bare worker process can use it.
"""

from enum import Enum


class Remark(Enum):
    """One finding on a display image; its value is the sentence that the image carries."""

    WINDOW_BESIDE = "the window misses all values of this frame (G12)"
    WINDOW_UNUSABLE = "a window of this frame makes no sense and is not used (G10)"
    CLIPPED = "more than 5 % of the pixels lie beyond the range that is shown (G13)"
    ALL_PADDING = "all pixels of this frame are padding (G14)"
    COLOUR_SHOWN = "the pictures decided the colours (C1)"
    COLOUR_OVERRULED = "the codestream overrules the colour that the header states (C1)"
    FOLLOWED = "another picture follows in the bytes of this frame and is left out (E4)"
    SECOND_DECODER = "the frame was decoded by a second decoder"
    DAMAGE_UNHEARD = "damage may have passed unnoticed"


LONGEST = 480
"""Bytes reserved for remarks in a display image, enough for all of them at once."""


def written(remarks: tuple[Remark, ...]) -> bytes:
    """Return *remarks*, each once, as text of *LONGEST* bytes: sentences, filled up with spaces."""
    return "; ".join(remark.value for remark in dict.fromkeys(remarks)).encode("ascii").ljust(LONGEST)


def read(text: bytes) -> tuple[str, ...]:
    """Return the sentences that `written` wrote."""
    return tuple(sentence for sentence in text.decode("ascii", "replace").strip().split("; ") if sentence)
