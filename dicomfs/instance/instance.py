"""One DICOM object: its parsed header, its frames and where they are, and what is wrong with it.

An Instance is plain values without an open file, so that it can be kept and shared; whoever reads its bytes brings
the stream.
"""

from dataclasses import dataclass, replace

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom.fragments import Fragments
from dicomfs.dicom.part10_reader import NotDicom, Parsed, parse
from dicomfs.dicom.printable import printable
from dicomfs.dicom.stream import Stream
from dicomfs.instance.cine_loop import film_problems
from dicomfs.instance.uncompressed_format import LONGEST_VALUE, NOT_WHOLE, TOO_LONG, uncompressed, value_length
from dicomfs.iod.icc_profile import Profile, profile_of
from dicomfs.pixeldata.overlays import Overlay, overlays_of
from dicomfs.pixeldata.pixel_data import Pixels, icon_of, pixels_of
from dicomfs.pixeldata.video_stream import Video
from dicomfs.volume.volume import Volume, volume_of

__all__ = ["Instance", "Pixels", "load"]

LONGEST_PROBLEM = 500
"""Characters of a sentence on what is wrong with a file."""
# Frames that frames.json describes: a few hundred bytes each, made at once.
MOST_DESCRIBED = 200_000
# Bytes of a frame in a TIFF, whose offsets have 32 bits; its head takes less than what is left.
MOST_IN_TIFF = (1 << 32) - 4096


@dataclass(frozen=True)
class Instance:
    """One DICOM object; *parsed* is None when not even a header could be read.

    *fragments* are there for all encapsulated Pixel Data, *pixels* only where frames can be made of it, *video* only
    where it is one. *inflated* is the data set of a deflated file, which all extents then refer to. *problems* has a
    line for whatever is wrong. *icon* has one frame. *plain* is how the frames are stored in an uncompressed copy,
    where there can be one. *volume* is there where the frames form one.
    """

    parsed: Parsed | None
    pixels: Pixels | None
    fragments: Fragments | None
    inflated: Stream | None
    problems: tuple[str, ...]
    overlays: tuple[Overlay, ...] = ()
    icon: Pixels | None = None
    profile: Profile | None = None
    plain: PixelFormat | None = None
    video: Video | None = None
    volume: Volume | None = None

    @property
    def transfer_syntax(self) -> str:
        """UID of the transfer syntax as it is used; empty without a header."""
        return self.parsed.transfer_syntax if self.parsed else ""

    @property
    def weight(self) -> int:
        """Bytes of memory that this costs, roughly."""
        total = 16 * len(self.fragments) if self.fragments else 0
        total += self.video.joined.weight if self.video else 0
        total += self.parsed.weight if self.parsed else 0
        if self.volume:
            total += 200 * len(self.volume.values)
            total += self.volume.order.nbytes + (self.volume.places.nbytes if self.volume.places is not None else 0)
        return total


def load(stream: Stream) -> Instance:
    """Read one DICOM object; what cannot be read is a problem, not an error. Raises OSError of the source only."""
    try:
        parsed = parse(stream)
    except NotDicom as error:
        return Instance(None, None, None, None, (str(error.strerror),))
    pixels, fragments, video, problems = pixels_of(parsed)
    image = (pixels.format, len(pixels.frames)) if pixels else (None, 0)
    overlays, wrong = overlays_of(parsed.dataset, *image)
    if pixels and any(overlay.frames is None for overlay in overlays):
        pixels = replace(pixels, format=replace(pixels.format, spare_bits=True))
    icon, icon_problems = icon_of(parsed)
    profile, profile_problems = profile_of(parsed)
    volume, volume_problems = volume_of(pixels) if pixels else (None, ())
    problems = parsed.problems + problems + wrong + icon_problems + profile_problems + volume_problems
    problems += tuple(film_problems(pixels)) if pixels else ()
    plain = uncompressed(parsed.stream, pixels.format, pixels.frames) if pixels else None
    problems += _copies_left_out(parsed, plain, image[1])
    if pixels is not None and len(pixels.frames) > MOST_DESCRIBED:
        problems += (f"frames.json is left out: it describes no more than {MOST_DESCRIBED} frames",)
    if pixels is not None and pixels.format.values_bytes > MOST_IN_TIFF:
        problems += ("stored/ is left out: a frame is larger than a TIFF can be (4 GiB)",)
    inflated = parsed.stream if parsed.stream is not stream else None
    problems = tuple(dict.fromkeys(printable(problem, LONGEST_PROBLEM) for problem in problems))
    return Instance(parsed, pixels, fragments, inflated, problems, overlays, icon, profile, plain, video, volume)


def _copies_left_out(parsed: Parsed, plain: PixelFormat | None, frames: int) -> tuple[str, ...]:
    if not parsed.whole:
        return (NOT_WHOLE,)
    return (TOO_LONG,) if plain and value_length(plain, frames) > LONGEST_VALUE else ()
