"""Frames as places in a stream: the interface, and native frames, which follow from arithmetic (PS3.5 8.1.1).

Only this module decides how many frames are listed when fewer are there than are declared.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

# How many frames that are declared but not there are listed (each reading as an error). Beyond that the
# declaration is nonsense and only what is there is listed.
MOST_MISSING = 1000
# More numbered files than this no tool lists; frames of a few bits could claim billions.
MOST_FRAMES = 10_000_000


class Extent(NamedTuple):
    """A run of bytes in the stream."""

    offset: int
    length: int


class Frames(Protocol):
    """The frames of one Instance, as places in its stream."""

    @property
    def found_by(self) -> str:
        """How the frames were found, in words."""

    def __len__(self) -> int:
        """Frames that are listed."""

    def extents(self, frame: int) -> tuple[Extent, ...]:
        """Give the bytes of one frame, counted from 0; empty when they are not in the file."""

    def bit_offset(self, frame: int) -> int:
        """Bits at the start of the extent that belong to the frame before (native data only)."""


@dataclass(frozen=True, slots=True)
class NativeFrames:
    """Frames that follow each other without Items, *frame_bits* each, read in whole *word*s (PS3.5 8.1.1)."""

    start: int
    length: int
    frame_bits: int
    count: int
    word: int = 1
    found_by: str = "arithmetic"

    def __len__(self) -> int:
        """Frames that are listed."""
        return self.count

    @property
    def there(self) -> int:
        """Frames that are wholly in the file: the first ones."""
        return min(self.count, self.length // self.word * self.word * 8 // self.frame_bits)

    def extents(self, frame: int) -> tuple[Extent, ...]:
        """Give the bytes of one frame; empty when the data ends before it does."""
        bits = self.word * 8
        first = frame * self.frame_bits // bits * self.word
        stop = -(-(frame + 1) * self.frame_bits // bits) * self.word
        return (Extent(self.start + first, stop - first),) if stop <= self.length else ()

    def bit_offset(self, frame: int) -> int:
        """Bits at the start of the extent that belong to the frame before: 1-bit frames do not start on a byte."""
        return frame * self.frame_bits % (self.word * 8)


def native_frames(
    extent: Extent, frame_bits: int, declared: int, word: int = 1
) -> tuple[NativeFrames, tuple[str, ...]]:
    """Lay *declared* native frames over *extent*, and say what does not fit (PS3.5 8.1.1).

    A frame that is not wholly there is listed and reads as an error; nothing is filled in.
    """
    there = extent.length // word * word * 8 // frame_bits if frame_bits else 0
    count = listed(min(there, declared), declared)
    problems = []
    needed = -(-declared * frame_bits // 8)
    if there < declared:
        problems.append(f"Pixel Data holds {there} of {declared} frames; the others cannot be read (N3)")
    elif extent.length > needed + needed % 2:
        spare = extent.length - needed
        problems.append(f"Pixel Data is {spare} bytes longer than its {declared} frames; they are left out (N2)")
    return NativeFrames(extent.offset, extent.length, frame_bits, count, word), tuple(problems)


def listed(there: int, declared: int) -> int:
    """Give the number of frames to list: a missing one reads as an error rather than being dropped in silence."""
    return min(MOST_FRAMES, declared if there < declared <= there + MOST_MISSING else there)
