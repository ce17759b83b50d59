"""The Pixel Data of a data set: the element that holds it, its format, the number of frames, and the extents of each.

Only this module decides between what the transfer syntax says and what is there.
"""

import struct
from dataclasses import dataclass, replace

from dicomfs.codecs.codestream import sniff
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.registry import CODECS
from dicomfs.dicom import tags, uids
from dicomfs.dicom.data_set import DataSet, Element
from dicomfs.dicom.fragments import Fragments, scan_fragments
from dicomfs.dicom.on_demand import on_demand
from dicomfs.dicom.part10_reader import DicomFile
from dicomfs.dicom.stream import Extent, Stream
from dicomfs.iod.image_display import palette_of
from dicomfs.iod.image_pixel import PixelsUnusable, pixel_format
from dicomfs.pixeldata.bare_codestream import BARE, SYNTAXES, bare_codestream
from dicomfs.pixeldata.frame_status import doubtful_colours
from dicomfs.pixeldata.frames import Frames, Unplaced, native_frames
from dicomfs.pixeldata.offset_tables import encapsulated_frames, longest_table
from dicomfs.pixeldata.video_stream import Video, is_video, video_of
from dicomfs.rendering.render import Display, picture_samples

# The three elements that hold pixels, each excluding the others (PS3.3 C.7.6.3, C.7.6.24, C.7.6.25).
PIXEL_TAGS = (tags.PixelData, tags.FloatPixelData, tags.DoubleFloatPixelData)
# SMPTE ST 2110 (PS3.22): live streams, never stored.
LIVE = tuple(f"1.2.840.10008.1.2.7.{number}" for number in (1, 2, 3))
# Syntaxes whose Pixel Data is native (PS3.5 A.1 to A.3, A.5).
NATIVE = frozenset(
    (
        uids.ExplicitVRLittleEndian,
        uids.ImplicitVRLittleEndian,
        uids.ExplicitVRBigEndian,
        uids.DeflatedExplicitVRLittleEndian,
        uids.PrivateGEImplicitVRBigEndianPixelData,
    )
)


@dataclass(frozen=True)
class PixelData:
    """The frames of an Instance, or its icon: how they are stored, where, and how many samples a pixel has when shown.

    *dataset* says how they are shown.
    """

    dataset: DataSet
    format: PixelFormat
    frames: Frames
    picture_samples: int

    @on_demand
    def doubtful_colours(self) -> bool:
        """Whether the headers of frames that stand for all leave doubt about their colours. Reads these headers."""
        stream = self.dataset.stream
        return stream is not None and doubtful_colours(stream, self.format, self.frames)


@dataclass(frozen=True, slots=True)
class FoundPixels:
    """What Pixel Data is: *pixels* where frames can be told apart, *fragments* where there are Items, or a *video*."""

    pixels: PixelData | None = None
    fragments: Fragments | None = None
    video: Video | None = None
    problems: tuple[str, ...] = ()


def number_of_frames(dataset: DataSet) -> tuple[int, tuple[str, ...]]:
    """Read Number of Frames; absent is 1, senseless is 1 and a problem (PS3.3 C.7.6.6.1.1)."""
    declared = dataset.integer(tags.NumberOfFrames)
    if declared is None:
        element = dataset.get(tags.NumberOfFrames)
        empty = element is None or not (element.value or b"").strip(b" \0")
        return 1, () if empty else ("Number of Frames is not a number; 1 is used (L4)",)
    if declared < 1:
        return 1, (f"Number of Frames is {declared}; 1 is used (L4)",)
    return declared, ()


def has_pixel_data(dataset: DataSet) -> bool:
    """Whether any element is there that holds pixels."""
    return any(tag in dataset for tag in PIXEL_TAGS)


def find_pixels(parsed: DicomFile) -> FoundPixels:
    """Find the pixels of a data set. Reads offset tables and the first bytes of codestreams, and judges no frame."""
    dataset, syntax = parsed.dataset, parsed.transfer_syntax
    present = [tag for tag in PIXEL_TAGS if tag in dataset]
    if not present:
        return FoundPixels()
    problems: list[str] = []
    if len(present) > 1:
        problems.append("there is more than one kind of Pixel Data; the first is used (N22)")
    element = dataset.elements[present[0]]
    fragments = parsed.fragments if present[0] == tags.PixelData else None
    if fragments is None and _holds_items(parsed, element):
        fragments = scan_fragments(parsed.stream, element.offset)
        problems.append("encapsulated Pixel Data states a length; its Items are read all the same (E19)")
    if is_video(parsed, element, fragments):
        video, wrong = video_of(parsed, element, fragments)
        return FoundPixels(None, fragments, video, (*problems, *wrong))
    if syntax in LIVE:
        problems.append("the transfer syntax is one of live streams (SMPTE ST 2110); what is stored here is unknown")
        return FoundPixels(None, fragments, None, tuple(problems))
    try:
        fmt = pixel_format(dataset, syntax)
    except PixelsUnusable as error:
        return FoundPixels(None, fragments, None, (*problems, str(error.strerror)))
    if not (dataset.text(tags.PhotometricInterpretation) or "").strip():
        fmt = replace(fmt, colour="unstated")
    declared, wrong = number_of_frames(dataset)
    problems += wrong
    extent = Extent(element.offset, element.length)
    bare = bare_codestream(parsed.stream, extent, fmt, declared) if fragments is None else None
    try:
        if bare is not None:
            problems.append(BARE)
            fmt, frames, wrong = _encapsulated(parsed, bare[0], bare[1], declared)
        elif fragments is not None:
            fmt, frames, wrong = _encapsulated(parsed, fmt, fragments, declared)
        else:
            fmt, frames, wrong = _native(syntax, fmt, extent, declared)
    except Unplaced as error:
        return FoundPixels(None, fragments, None, (*problems, str(error.strerror)))
    pixels = PixelData(dataset, fmt, frames, _display_samples(dataset, fmt))
    return FoundPixels(pixels, fragments, None, (*problems, *wrong))


def _display_samples(dataset: DataSet, fmt: PixelFormat) -> int:
    """Count the samples of a pixel when it is shown, for which nothing but the palette must be read."""
    palette = palette_of(dataset, fmt)[0] if fmt.samples == 1 else None
    return picture_samples(fmt, Display(palette=palette))


def _native(
    syntax: str, fmt: PixelFormat, extent: Extent, declared: int
) -> tuple[PixelFormat, Frames, tuple[str, ...]]:
    problems = []
    if syntax not in NATIVE and extent.length:
        fmt = replace(fmt, transfer_syntax=uids.ExplicitVRLittleEndian)
        problems.append("the transfer syntax is encapsulated but Pixel Data is native; it is read as such (E19)")
    frames, wrong = native_frames(extent, fmt.frame_bits, declared, fmt.word)
    return fmt, frames, (*problems, *wrong)


def _encapsulated(
    parsed: DicomFile, fmt: PixelFormat, fragments: Fragments, declared: int
) -> tuple[PixelFormat, Frames, tuple[str, ...]]:
    table = _table(parsed, tags.ExtendedOffsetTable, fragments, declared)
    lengths = _table(parsed, tags.ExtendedOffsetTableLengths, fragments, declared)
    frames, wrong = encapsulated_frames(parsed.stream, fragments, declared, table, lengths)
    problems = [*wrong]
    if fmt.transfer_syntax in NATIVE:
        fmt = replace(fmt, transfer_syntax=_syntax_of_content(parsed.stream, frames))
    elif (
        fmt.transfer_syntax not in CODECS or fmt.transfer_syntax == uids.EncapsulatedUncompressedExplicitVRLittleEndian
    ):
        # Where the syntax tells nothing of codestreams, or the frames are not as long as it says, their content tells.
        content = _syntax_of_content(parsed.stream, frames)
        if content != uids.EncapsulatedUncompressedExplicitVRLittleEndian and not _fits_native(fmt, frames):
            fmt = replace(fmt, transfer_syntax=content)
            problems.append("the frames are not what the transfer syntax says, but decoded by their content (E24)")
    return fmt, frames, tuple(problems)


def _fits_native(fmt: PixelFormat, frames: Frames) -> bool:
    """Whether the first frame is as long as uncompressed pixels, and a pad byte."""
    length = sum(extent.length for extent in frames.extents(0)) if len(frames) else 0
    return (
        fmt.transfer_syntax == uids.EncapsulatedUncompressedExplicitVRLittleEndian
        and 0 <= length - -(-fmt.frame_bits // 8) <= 1
    )


def icon_of(parsed: DicomFile) -> tuple[PixelData | None, tuple[str, ...]]:
    """Find the icon: an image without frames, native or encapsulated on its own (PS3.3 C.7.6.1.1.6, N22)."""
    item = next(iter(parsed.dataset.items(tags.IconImageSequence)), None)
    element = item.get(tags.PixelData) if item else None
    if item is None or element is None or not element.length:
        return None, ("the icon has no pixels",) if item else ()
    native = uids.ExplicitVRLittleEndian if parsed.transfer_syntax not in NATIVE else parsed.transfer_syntax
    try:
        fmt = pixel_format(item, native)
    except PixelsUnusable as error:
        return None, (f"the icon cannot be shown: {error.strerror}",)
    frames: Frames
    if element.undefined or _holds_items(parsed, element):
        frames, _ = encapsulated_frames(parsed.stream, scan_fragments(parsed.stream, element.offset), 1)
        fmt = replace(fmt, transfer_syntax=_syntax_of_content(parsed.stream, frames))
    elif bare := bare_codestream(parsed.stream, Extent(element.offset, element.length), fmt, 1):
        fmt = bare[0]
        frames, _ = encapsulated_frames(parsed.stream, bare[1], 1)
    else:
        frames, _ = native_frames(Extent(element.offset, element.length), fmt.frame_bits, 1, fmt.word)
    if not frames or not frames.extents(0):
        return None, ("the icon is cut short",)
    return PixelData(item, fmt, frames, _display_samples(item, fmt)), ()


def _syntax_of_content(stream: Stream, frames: Frames) -> str:
    """Choose a transfer syntax for Items in a file that says native, by the first frame that is there (E19)."""
    for frame in range(len(frames)):
        for offset, length in frames.extents(frame)[:1]:
            return SYNTAXES.get(
                sniff(stream.pread(min(64, length), offset)), uids.EncapsulatedUncompressedExplicitVRLittleEndian
            )
    return uids.EncapsulatedUncompressedExplicitVRLittleEndian


def _holds_items(parsed: DicomFile, element: Element) -> bool:
    """Whether Pixel Data of a stated length begins with the Item of a Basic Offset Table and ends as Items do."""
    head = parsed.stream.pread(8, element.offset)
    if element.length < 16 or head[:4] != b"\xfe\xff\x00\xe0":
        return False
    (table,) = struct.unpack_from("<L", head, 4)
    behind = parsed.stream.pread(4, element.offset + 8 + table)
    return 8 + table < element.length and behind == b"\xfe\xff\x00\xe0"


def _table(parsed: DicomFile, tag: int, fragments: Fragments, declared: int) -> bytes | None:
    """Read a value of 64-bit numbers, one a frame, as far as it can be of use."""
    if tag not in parsed.dataset:
        return None
    return parsed.dataset.value(tag, longest_table(fragments, declared, 8))
