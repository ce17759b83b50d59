"""Which objects are cine loops, and why one cannot be exported."""

import importlib.util
from collections.abc import Iterator

from dicomfs.codecs.registry import CODECS
from dicomfs.iod.cine import moves, wrong_times
from dicomfs.pixeldata.pixel_data import PixelData

MISSING = None if importlib.util.find_spec("av") else "PyAV is not installed: pip install av"
"""Why no cine loop can be encoded on this machine; None where it can. `doctor` and the log report it."""

# H.264 has no larger pictures (table A-1, level 6.2).
_MAX_SIDE_PIXELS, _MAX_PIXELS = 8192, 139_264 * 256
# Two hours at 30 frames a second. All times are in memory while the frames are encoded.
_MAX_FRAMES = 216_000


def is_cine_loop(pixels: PixelData, *, every: bool) -> bool:
    """Return whether *pixels* are a cine loop: they move, or *every* object with several frames counts as one."""
    if len(pixels.frames) < 2 or MISSING or _too_large(pixels):
        return False
    return every or moves(pixels.dataset, len(pixels.frames))


def cine_loop_problems(pixels: PixelData) -> Iterator[str]:
    """Report which rates of the file are not used, and why there is no cine loop where there should be one."""
    count = len(pixels.frames)
    if count < 2:
        return
    yield from wrong_times(pixels.dataset, count)
    if _too_large(pixels) and moves(pixels.dataset, count):
        yield "video.mp4 is left out: no player shows so many or so large pictures"


def lacking() -> Iterator[str]:
    """Report what this machine lacks for cine loops, and to decode frames."""
    if MISSING:
        yield f"there are no films (video.mp4), nor pictures of videos: {MISSING}"
    for reason in dict.fromkeys(codec.missing for codec in CODECS.values() if codec.missing):
        yield f"some frames cannot be read: {reason}"


def _too_large(pixels: PixelData) -> bool:
    fmt = pixels.format
    return max(fmt.rows, fmt.columns) > _MAX_SIDE_PIXELS or fmt.pixels > _MAX_PIXELS or len(pixels.frames) > _MAX_FRAMES
