"""One DICOM object in the stages in which it is opened: parsed, then its Pixel Data found, then each part on demand.

Parsing alone serves header texts, extended attributes, the original and an index of many files. Nothing else is
computed before somebody asks for it. What needs the stream reads it through the data set, whose stream outlives the
open file (see `VersionStream`).
"""

from dataclasses import replace

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import tags
from dicomfs.dicom.fragments import Fragments
from dicomfs.dicom.on_demand import on_demand
from dicomfs.dicom.part10_reader import DicomFile
from dicomfs.dicom.stream import Stream
from dicomfs.instance.uncompressed_format import uncompressed_format_of
from dicomfs.iod.icc_profile import Profile, profile_of
from dicomfs.pixeldata.overlays import Overlay, overlays_of
from dicomfs.pixeldata.pixel_data import FoundPixels, PixelData, find_pixels, icon_of
from dicomfs.pixeldata.video_stream import Video
from dicomfs.volume.volume import Volume, volume_of

# Bytes that the grid positions of a frame take in a volume, and of frames as many as a volume can have.
_FRAME_BYTES, _MAX_FRAMES = 16, 200_000
# Bytes that an Item takes: its offset and length, and once more where a video joins the values of all Items.
_ITEM_BYTES = 32


class Stages:
    """One DICOM object; *parsed* is None, and *unreadable* says why, when not even a header could be read.

    *inflated* is the data set of a deflated file, which all extents then refer to.
    """

    def __init__(self, parsed: DicomFile | None, inflated: Stream | None = None, unreadable: str = "") -> None:
        """Start with the data set alone."""
        self.parsed = parsed
        self.inflated = inflated
        self.unreadable = unreadable
        self.weight = _weight(parsed)

    @property
    def transfer_syntax(self) -> str:
        """UID of the transfer syntax as it is used; empty without a header."""
        return self.parsed.transfer_syntax if self.parsed else ""

    @on_demand
    def found(self) -> FoundPixels:
        """The second stage: what Pixel Data is, and where its frames are. Reads a little of the stream."""
        return find_pixels(self.parsed) if self.parsed else FoundPixels()

    @on_demand
    def pixels(self) -> PixelData | None:
        """The frames; None where they cannot be told apart, or there are none."""
        pixels = self.found.pixels
        if pixels is not None and any(overlay.frames is None for overlay in self.overlays):
            return replace(pixels, format=replace(pixels.format, spare_bits=True))
        return pixels

    @property
    def fragments(self) -> Fragments | None:
        """The Items of encapsulated Pixel Data, also where no frames can be made of them."""
        return self.found.fragments

    @property
    def video(self) -> Video | None:
        """The stored video, where Pixel Data is one."""
        return self.found.video

    @property
    def overlays(self) -> tuple[Overlay, ...]:
        """The overlay planes that can be shown."""
        return self.overlays_found[0]

    @property
    def icon(self) -> PixelData | None:
        """The icon, which has one frame."""
        return self.icon_found[0]

    @property
    def profile(self) -> Profile | None:
        """The ICC profile."""
        return self.profile_found[0]

    @property
    def volume(self) -> Volume | None:
        """The frames as a volume, where they form one."""
        return self.volume_found[0]

    @on_demand
    def uncompressed_format(self) -> PixelFormat | None:
        """How frames are stored in an uncompressed copy; None where there is none. Reads the first frame's header."""
        if self.parsed is None or self.pixels is None:
            return None
        return uncompressed_format_of(self.parsed.stream, self.pixels.format, self.pixels.frames)

    @on_demand
    def overlays_found(self) -> tuple[tuple[Overlay, ...], tuple[str, ...]]:
        """The overlay planes, and what is wrong with them."""
        if self.parsed is None:
            return (), ()
        pixels = self.found.pixels
        image = (pixels.format, len(pixels.frames)) if pixels else (None, 0)
        return overlays_of(self.parsed.dataset, *image)

    @on_demand
    def icon_found(self) -> tuple[PixelData | None, tuple[str, ...]]:
        """The icon, and what is wrong with it."""
        return icon_of(self.parsed) if self.parsed else (None, ())

    @on_demand
    def profile_found(self) -> tuple[Profile | None, tuple[str, ...]]:
        """The ICC profile, and what is wrong with it."""
        return profile_of(self.parsed.dataset) if self.parsed else (None, ())

    @on_demand
    def volume_found(self) -> tuple[Volume | None, tuple[str, ...]]:
        """The volume, and why there is none or what had to be assumed."""
        return volume_of(self.pixels) if self.pixels else (None, ())

    def stream_in(self, file: Stream) -> Stream:
        """Return the stream that extents refer to: the inflated data set, where there is one, otherwise *file*."""
        return self.inflated or file

    def settle(self) -> None:
        """Find all that reading frames needs and the stream must be read for, so that nothing waits for it later."""
        _ = self.uncompressed_format, self.profile
        if self.pixels is not None:
            _ = self.pixels.doubtful_colours

    @property
    def is_settled(self) -> bool:
        """Whether `settle` has nothing left to do."""
        return Stages.profile_found.known(self) and Stages.uncompressed_format.known(self)

    @property
    def is_begun(self) -> bool:
        """Whether anything beyond the first stage was asked for."""
        return Stages.found.known(self)


def _weight(parsed: DicomFile | None) -> int:
    """Bytes of memory that an object costs, roughly, once all its stages have been asked for."""
    if parsed is None:
        return 0
    frames = min(max(parsed.dataset.integer(tags.NumberOfFrames) or 1, 1), _MAX_FRAMES)
    items = len(parsed.fragments) if parsed.fragments else 0
    return parsed.weight + _ITEM_BYTES * items + (_FRAME_BYTES * frames if frames > 1 else 0)
