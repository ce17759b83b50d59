"""Frames as extents of a stream: the interface, and native frames, which follow from arithmetic (PS3.5 8.1.1).

Only this module decides how many frames are listed when fewer are there than are declared.
"""

import errno
from dataclasses import dataclass
from typing import Protocol

from dicomfs.dicom.stream import Extent

# How many frames that are declared but not there are listed (each reading as an error). Beyond that the
# declaration is nonsense and only what is there is listed.
MAX_MISSING_FRAMES = 1000
# More numbered files than this no tool lists; frames of a few bits could claim billions.
MAX_FRAMES = 10_000_000


class Frames(Protocol):
    """The frames of one Instance, as places in its stream."""

    @property
    def found_by(self) -> str:
        """How the frames were found, in words."""

    def __len__(self) -> int:
        """Frames that are listed."""

    def extents(self, frame: int) -> tuple[Extent, ...]:
        """Return the bytes of one frame, counted from 0; empty when they are not in the file."""

    def bit_offset(self, frame: int) -> int:
        """Bits at the start of the extent that belong to the frame before (native data only)."""

    def max_extents(self, frame: int) -> int:
        """Extents that a frame can have at most: its Items."""

    @property
    def max_extents_of_all(self) -> int:
        """The sum of `max_extents` over all frames."""

    @property
    def some_missing(self) -> bool:
        """Whether some listed frame may have no extents."""


class Unplaced(OSError):
    """Nothing tells where native frames begin."""

    def __init__(self, reason: str) -> None:
        """Carry the reason, a sentence for a user."""
        super().__init__(errno.EIO, reason)


@dataclass(frozen=True, slots=True)
class NativeFrames:
    """Frames that follow each other without Items, *frame_bits* each, read in whole *word*s (PS3.5 8.1.1).

    *pitch* is the bits from the start of a frame to that of the next, where there is padding after each; otherwise 0.
    """

    start: int
    length: int
    frame_bits: int
    count: int
    word: int = 1
    pitch: int = 0
    found_by: str = "arithmetic"

    def __len__(self) -> int:
        """Frames that are listed."""
        return self.count

    @property
    def padded(self) -> bool:
        """Whether there is something between the frames."""
        return self.pitch > 0

    @property
    def there(self) -> int:
        """Frames that are wholly in the file: the first ones."""
        return min(self.count, _whole_frames(self.length, self.frame_bits, self.pitch, self.word))

    def extents(self, frame: int) -> tuple[Extent, ...]:
        """Return the bytes of one frame; empty when the data ends before it does."""
        bits, begin = self.word * 8, frame * (self.pitch or self.frame_bits)
        first = begin // bits * self.word
        stop = -(-(begin + self.frame_bits) // bits) * self.word
        return (Extent(self.start + first, stop - first),) if stop <= self.length else ()

    def bit_offset(self, frame: int) -> int:
        """Bits at the start of the extent that belong to the frame before: 1-bit frames do not start on a byte."""
        return frame * (self.pitch or self.frame_bits) % (self.word * 8)

    def max_extents(self, frame: int) -> int:
        """Native frames have one extent each."""
        return 1

    @property
    def max_extents_of_all(self) -> int:
        """Native frames have one extent each."""
        return self.count

    @property
    def some_missing(self) -> bool:
        """Whether the data ends before the last frame does."""
        return self.there < self.count


def native_frames(
    extent: Extent, frame_bits: int, declared: int, word: int = 1
) -> tuple[NativeFrames, tuple[str, ...]]:
    """Lay *declared* native frames over *extent*, and say what does not fit (PS3.5 8.1.1).

    Frames follow each other without padding. Some writers begin each at a byte, or pad each to an even length: where
    the data is just as long as that, it is what they did. A frame that is not wholly there is listed and reads as an
    error; nothing is filled in. Raises Unplaced where more is there than the frames take, and may be between them.
    """
    there = _whole_frames(extent.length, frame_bits, 0, word)
    count = listed(min(there, declared), declared)
    needed = -(-declared * frame_bits // 8)
    if there < declared:
        told = f"Pixel Data holds {there} of {declared} frames; the others cannot be read (N3)"
        return NativeFrames(extent.offset, extent.length, frame_bits, count, word), (told,)
    if extent.length <= needed + needed % 2:
        return NativeFrames(extent.offset, extent.length, frame_bits, count, word), ()
    pitch = pitch_of(extent.length, frame_bits, declared)
    told = f"Pixel Data is {extent.length - needed} bytes longer than its {declared} frames"
    if pitch is None:
        raise Unplaced(f"{told}, and nothing tells where each of them begins (N2)")
    told += f": each is padded to {pitch // 8} bytes (N2)" if pitch else "; they are left out (N2)"
    return NativeFrames(extent.offset, extent.length, frame_bits, count, word, pitch), (told,)


def pitch_of(length: int, frame_bits: int, declared: int) -> int | None:
    """Find the bits from frame to frame by the length of all; 0 where none are between the frames.

    None where more bytes are there than *declared* frames take, and these do not all end where writers could begin the
    next one: the bytes may be between them.
    """
    needed = -(-declared * frame_bits // 8)
    if declared < 2 or length <= needed + needed % 2:
        return 0
    for unit in (8, 16):
        pitch = -(-frame_bits // unit) * unit
        # A pad byte may make the whole even, and the last frame may go without its own padding.
        whole = declared * pitch // 8
        short = whole - pitch // 8 + -(-frame_bits // 8)
        if pitch > frame_bits and length in (whole, whole + whole % 2, short, short + short % 2):
            return pitch
    return None if frame_bits % 16 else 0


def _whole_frames(length: int, frame_bits: int, pitch: int, word: int) -> int:
    """Count the frames that are wholly in *length* bytes, of which whole words are read."""
    bits = length // word * word * 8
    if not frame_bits or bits < frame_bits:
        return 0
    return (bits - frame_bits) // (pitch or frame_bits) + 1


def listed(there: int, declared: int) -> int:
    """Return the number of frames to list: a missing one reads as an error rather than being dropped in silence."""
    return min(MAX_FRAMES, declared if there < declared <= there + MAX_MISSING_FRAMES else there)
