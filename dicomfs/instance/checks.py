"""What `problems.txt` reports: the registry of checks, which run when somebody asks for it."""

from collections.abc import Callable, Iterator

from dicomfs.instance.cine_loop import cine_loop_problems
from dicomfs.instance.stages import Stages
from dicomfs.instance.uncompressed_format import MAX_VALUE_BYTES, NOT_WHOLE, TOO_LONG, value_length
from dicomfs.iod.pixels_elsewhere import pixels_elsewhere
from dicomfs.iod.window_check import frame_findings
from dicomfs.pixeldata.frame_status import problems as problems_of_frames
from dicomfs.pixeldata.frames import NativeFrames
from dicomfs.pixeldata.pixel_data import has_pixel_data

# Frames that frames.json describes: a few hundred bytes each.
MAX_DESCRIBED_FRAMES = 200_000
# Bytes of a frame in a TIFF, whose offsets have 32 bits; its head takes less than what is left.
MAX_TIFF_FRAME_BYTES = (1 << 32) - 4096


def _parser(opened: Stages) -> Iterator[str]:
    """Report what the parser found."""
    if opened.parsed is None:
        yield opened.unreadable
    else:
        yield from opened.parsed.problems


def _pixel_data(opened: Stages) -> Iterator[str]:
    """Report what is wrong with Pixel Data, or where the pixels are instead."""
    if opened.parsed is not None and not has_pixel_data(opened.parsed.dataset):
        yield from pixels_elsewhere(opened.parsed)
    yield from opened.found.problems


def _frames(opened: Stages) -> Iterator[str]:
    """Report which frames cannot be read, or must be repaired, by the first and last bytes of some. Reads these."""
    pixels = opened.found.pixels
    if opened.parsed is not None and pixels is not None and not isinstance(pixels.frames, NativeFrames):
        yield from problems_of_frames(opened.parsed.stream, pixels.format, pixels.frames)


def _display(opened: Stages) -> Iterator[str]:
    """Report what is wrong with how frames are shown. Reads long look-up tables."""
    pixels = opened.found.pixels
    if pixels is not None:
        yield from frame_findings(pixels.dataset, len(pixels.frames), pixels.format)


def _overlays(opened: Stages) -> Iterator[str]:
    yield from opened.overlays_found[1]


def _icon(opened: Stages) -> Iterator[str]:
    yield from opened.icon_found[1]


def _profile(opened: Stages) -> Iterator[str]:
    yield from opened.profile_found[1]


def _volume(opened: Stages) -> Iterator[str]:
    yield from opened.volume_found[1]


def _cine_loop(opened: Stages) -> Iterator[str]:
    if opened.pixels is not None:
        yield from cine_loop_problems(opened.pixels)


def _copies(opened: Stages) -> Iterator[str]:
    """Report which copies are left out."""
    fmt, pixels = opened.uncompressed_format, opened.pixels
    if opened.parsed is not None and not opened.parsed.whole:
        yield NOT_WHOLE
    elif fmt and pixels and value_length(fmt, len(pixels.frames)) > MAX_VALUE_BYTES:
        yield TOO_LONG


def _limits(opened: Stages) -> Iterator[str]:
    """Report which other entries are left out because of their size."""
    pixels = opened.pixels
    if pixels is not None and len(pixels.frames) > MAX_DESCRIBED_FRAMES:
        yield f"frames.json is left out: it describes no more than {MAX_DESCRIBED_FRAMES} frames"
    if pixels is not None and pixels.format.values_bytes > MAX_TIFF_FRAME_BYTES:
        yield "stored/ is left out: a frame is larger than a TIFF can be (4 GiB)"


CHECKS: tuple[Callable[[Stages], Iterator[str]], ...] = (
    _parser,
    _pixel_data,
    _frames,
    _display,
    _overlays,
    _icon,
    _profile,
    _volume,
    _cine_loop,
    _copies,
    _limits,
)
"""All checks, in the order in which `problems.txt` has their sentences. None raises but what the source does."""
