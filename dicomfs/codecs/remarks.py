"""What only decoding a frame shows, as a short fixed vocabulary that a worker may hand on with the picture."""

from enum import Flag


class Remark(Flag):
    """Things to know of one frame beside its values; none of them is an error."""

    NONE = 0
    COLOUR = 1
    """Clues to what its colours are contradict each other, and some were overruled."""
    COLOUR_SHOWN = 2
    """The pictures of the object overruled what the clues say."""
    SECOND_DECODER = 4
    """The first decoder for its syntax did not take it, another one did."""

    @property
    def words(self) -> str:
        """Write them for a user."""
        return ", ".join(_WORDS[remark] for remark in self)


_WORDS = {
    Remark.COLOUR: "a colour clue overruled",
    Remark.COLOUR_SHOWN: "colours as the picture shows",
    Remark.SECOND_DECODER: "second decoder",
}
