"""One DICOM object: its parsed header, its frames and where they are, and what is wrong with it.

Only this module decides what of a data set is pixels. An Instance is plain values without an open file, so that it
can be kept and shared; whoever reads its bytes brings the stream.
"""

import struct
from dataclasses import dataclass, replace
from functools import cached_property

from dicomfs.codestream import sniff
from dicomfs.dataset import NotDicom, Parsed, parse
from dicomfs.display import PixelsUnusable, display_of, pixel_format
from dicomfs.elements import DataSet, Element
from dicomfs.extents import Extent, Frames, native_frames
from dicomfs.fragments import Fragments, scan_fragments
from dicomfs.offsets import encapsulated_frames, longest_table
from dicomfs.overlays import Overlay, overlays_of
from dicomfs.pixelformat import PixelFormat
from dicomfs.profile import Profile, profile_of
from dicomfs.render import picture_samples
from dicomfs.stream import Stream

PIXEL_DATA = 0x7FE00010
# The three elements that hold pixels, each excluding the others (PS3.3 C.7.6.3, C.7.6.24, C.7.6.25).
PIXEL_TAGS = (PIXEL_DATA, 0x7FE00008, 0x7FE00009)
EXTENDED_OFFSET_TABLE = 0x7FE00001
NUMBER_OF_FRAMES = 0x00280008
PIXEL_DATA_PROVIDER_URL = 0x00287FE0
ICON_IMAGE = 0x00880200
# MPEG-2, H.264 and HEVC with their fragmentable variants (PS3.5 10.5 and following): one stream, not frames.
_VIDEO = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))
# Syntaxes whose Pixel Data is native (PS3.5 A.1 to A.3, A.5) and, where Items were found in spite of that, one for
# each kind of codestream; within a kind, decoders go by the content.
EXPLICIT_LITTLE, ENCAPSULATED_NATIVE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.98"
NATIVE = frozenset(
    (EXPLICIT_LITTLE, "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.113619.5.2")
)
_SYNTAXES = {
    "jpg": "1.2.840.10008.1.2.4.50",
    "jls": "1.2.840.10008.1.2.4.80",
    "j2k": "1.2.840.10008.1.2.4.90",
    "jp2": "1.2.840.10008.1.2.4.90",
    "jph": "1.2.840.10008.1.2.4.201",
    "jxl": "1.2.840.10008.1.2.4.110",
    "rle": "1.2.840.10008.1.2.5",
}
# What an Element costs in memory besides its value.
_ELEMENT_BYTES = 250


@dataclass(frozen=True, slots=True)
class Pixels:
    """The frames of an Instance, or its icon: how they are stored, where, and how many samples a pixel has when shown.

    *dataset* says how they are shown.
    """

    dataset: DataSet
    format: PixelFormat
    frames: Frames
    picture_samples: int


@dataclass(frozen=True)
class Instance:
    """One DICOM object; *parsed* is None when not even a header could be read.

    *fragments* are there for all encapsulated Pixel Data, *pixels* only where frames can be made of it.
    *inflated* is the data set of a deflated file, which all extents then refer to. *problems* has a line for whatever
    is wrong. *icon* has one frame.
    """

    parsed: Parsed | None
    pixels: Pixels | None
    fragments: Fragments | None
    inflated: Stream | None
    problems: tuple[str, ...]
    overlays: tuple[Overlay, ...] = ()
    icon: Pixels | None = None
    profile: Profile | None = None

    @property
    def transfer_syntax(self) -> str:
        """UID of the transfer syntax as it is used; empty without a header."""
        return self.parsed.transfer_syntax if self.parsed else ""

    @property
    def is_video(self) -> bool:
        """Whether Pixel Data is one video stream."""
        return self.transfer_syntax.startswith(_VIDEO)

    @cached_property
    def weight(self) -> int:
        """Bytes of memory that this costs, roughly."""
        total = 16 * len(self.fragments) if self.fragments else 0
        if self.parsed:
            total += _weight(self.parsed.meta) + _weight(self.parsed.dataset)
        if self.inflated:
            total += self.inflated.size
        return total


def load(stream: Stream) -> Instance:
    """Read one DICOM object; what cannot be read is a problem, not an error. Raises OSError of the source only."""
    try:
        parsed = parse(stream)
    except NotDicom as error:
        return Instance(None, None, None, None, (str(error.strerror),))
    pixels, fragments, problems = _pixels(parsed)
    image = (pixels.format, len(pixels.frames)) if pixels else (None, 0)
    overlays, wrong = overlays_of(parsed.dataset, *image)
    if pixels and any(overlay.frames is None for overlay in overlays):
        pixels = replace(pixels, format=replace(pixels.format, spare_bits=True))
    icon, icon_problems = _icon(parsed)
    profile, profile_problems = profile_of(parsed)
    problems = parsed.problems + problems + wrong + icon_problems + profile_problems
    inflated = parsed.stream if parsed.stream is not stream else None
    return Instance(parsed, pixels, fragments, inflated, tuple(dict.fromkeys(problems)), overlays, icon, profile)


def number_of_frames(dataset: DataSet) -> tuple[int, tuple[str, ...]]:
    """Read Number of Frames; absent is 1, senseless is 1 and a problem (PS3.3 C.7.6.6.1.1)."""
    declared = dataset.integer(NUMBER_OF_FRAMES)
    if declared is None:
        element = dataset.get(NUMBER_OF_FRAMES)
        empty = element is None or not (element.value or b"").strip(b" \0")
        return 1, () if empty else ("Number of Frames is not a number; 1 is taken (L4)",)
    if declared < 1:
        return 1, (f"Number of Frames is {declared}; 1 is taken (L4)",)
    return declared, ()


def _pixels(parsed: Parsed) -> tuple[Pixels | None, Fragments | None, tuple[str, ...]]:
    dataset = parsed.dataset
    present = [tag for tag in PIXEL_TAGS if tag in dataset]
    if not present:
        if PIXEL_DATA_PROVIDER_URL in dataset:
            return None, None, ("the pixels are elsewhere, at the Pixel Data Provider URL; nothing is fetched",)
        return None, None, ()
    problems: list[str] = []
    if len(present) > 1:
        problems.append("there is more than one kind of Pixel Data; the first is used (N22)")
    element = dataset.elements[present[0]]
    fragments = parsed.fragments if present[0] == PIXEL_DATA else None
    if fragments is None and _holds_items(parsed, element):
        fragments = scan_fragments(parsed.stream, element.offset)
        problems.append("encapsulated Pixel Data states a length; its Items are read all the same (E19)")
    if parsed.transfer_syntax.startswith(_VIDEO):
        problems.append("the frames of a video are not taken apart; the stream is in fragments/")
        return None, fragments, tuple(problems)
    try:
        fmt = pixel_format(dataset, parsed.transfer_syntax)
    except PixelsUnusable as error:
        return None, fragments, (*problems, str(error.strerror))
    declared, wrong = number_of_frames(dataset)
    problems += wrong
    frames: Frames
    if fragments is not None:
        frames, wrong = encapsulated_frames(
            parsed.stream, fragments, declared, _extended_table(parsed, fragments, declared)
        )
        if parsed.transfer_syntax in NATIVE:
            fmt = replace(fmt, transfer_syntax=_syntax_of_content(parsed.stream, frames))
    else:
        if parsed.transfer_syntax not in NATIVE and element.length:
            fmt = replace(fmt, transfer_syntax=EXPLICIT_LITTLE)
            problems.append("the transfer syntax is encapsulated but Pixel Data is native; it is read as such (E19)")
        frames, wrong = native_frames(Extent(element.offset, element.length), fmt.frame_bits, declared, fmt.word)
    problems += wrong
    display, wrong = display_of(dataset, 0, fmt, parsed.stream)
    problems += wrong
    return Pixels(dataset, fmt, frames, picture_samples(fmt, display)), fragments, tuple(problems)


def _icon(parsed: Parsed) -> tuple[Pixels | None, tuple[str, ...]]:
    """Find the icon: an image without frames, native or encapsulated on its own (PS3.3 C.7.6.1.1.6, N22)."""
    item = next(iter(parsed.dataset.items(ICON_IMAGE)), None)
    element = item.get(PIXEL_DATA) if item else None
    if item is None or element is None or not element.length:
        return None, ("the icon has no pixels",) if item else ()
    native = EXPLICIT_LITTLE if parsed.transfer_syntax not in NATIVE else parsed.transfer_syntax
    try:
        fmt = pixel_format(item, native)
    except PixelsUnusable as error:
        return None, (f"the icon cannot be shown: {error.strerror}",)
    frames: Frames
    if element.undefined or _holds_items(parsed, element):
        frames, _ = encapsulated_frames(parsed.stream, scan_fragments(parsed.stream, element.offset), 1)
        fmt = replace(fmt, transfer_syntax=_syntax_of_content(parsed.stream, frames))
    else:
        frames, _ = native_frames(Extent(element.offset, element.length), fmt.frame_bits, 1, fmt.word)
    if not frames or not frames.extents(0):
        return None, ("the icon is cut short",)
    display, _ = display_of(item, 0, fmt, parsed.stream)
    return Pixels(item, fmt, frames, picture_samples(fmt, display)), ()


def _syntax_of_content(stream: Stream, frames: Frames) -> str:
    """Choose a transfer syntax for Items in a file that says native, by the first frame that is there (E19)."""
    for frame in range(len(frames)):
        for offset, length in frames.extents(frame)[:1]:
            return _SYNTAXES.get(sniff(stream.pread(min(64, length), offset)), ENCAPSULATED_NATIVE)
    return ENCAPSULATED_NATIVE


def _holds_items(parsed: Parsed, element: Element) -> bool:
    """Whether Pixel Data of a stated length begins with the Item of a Basic Offset Table and ends as Items do."""
    head = parsed.stream.pread(8, element.offset)
    if element.length < 16 or head[:4] != b"\xfe\xff\x00\xe0":
        return False
    (table,) = struct.unpack_from("<L", head, 4)
    behind = parsed.stream.pread(4, element.offset + 8 + table)
    return 8 + table < element.length and behind == b"\xfe\xff\x00\xe0"


def _extended_table(parsed: Parsed, fragments: Fragments, declared: int) -> bytes | None:
    element = parsed.dataset.get(EXTENDED_OFFSET_TABLE)
    if element is None:
        return None
    length = min(element.length, longest_table(fragments, declared, 8))
    return parsed.stream.pread(length, element.offset) if element.value is None else element.value[:length]


def _weight(dataset: DataSet) -> int:
    total = 0
    for element in dataset.elements.values():
        total += _ELEMENT_BYTES + len(element.value or b"")
        for item in element.items or ():
            total += _weight(item)
    return total
