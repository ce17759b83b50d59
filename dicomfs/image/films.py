"""Which objects are seen as films, and what stands against it."""

import importlib.util
from collections.abc import Iterator

from dicomfs.image.pixels import Pixels
from dicomfs.image.timing import moves, wrong_times
from dicomfs.image.video import Video

MISSING = None if importlib.util.find_spec("av") else "PyAV is not installed: pip install 'dicomfs[video]'"
"""Why no film can be made here, if so."""

# H.264 has no larger pictures (table A-1, level 6.2).
_LONGEST, _MOST_PIXELS = 8192, 139_264 * 256
# Two hours at 30 a second; the times of all of them are in memory while they are encoded.
_MOST_FRAMES = 216_000


def is_film(pixels: Pixels, *, every: bool) -> bool:
    """Whether there is a film of *pixels*: they move, or *every* object with several frames is to be one."""
    if len(pixels.frames) < 2 or MISSING or _too_large(pixels):
        return False
    return every or moves(pixels.dataset, len(pixels.frames))


def film_problems(pixels: Pixels) -> Iterator[str]:
    """Say which rates of the file are not used, and why there is no film where there should be one."""
    count = len(pixels.frames)
    if count < 2:
        return
    yield from wrong_times(pixels.dataset, count)
    if (MISSING or _too_large(pixels)) and moves(pixels.dataset, count):
        yield f"video.mp4 is left out: {MISSING or 'no player shows so many or so large pictures'}"


def video_problems(video: Video | None) -> Iterator[str]:
    """Say what a stored video lacks here."""
    if video is not None and MISSING and video.kind != "bin":
        names = "thumbnail.png is" if video.kind == "mp4" else "video.mp4 and thumbnail.png are"
        yield f"{names} left out: {MISSING}"


def _too_large(pixels: Pixels) -> bool:
    fmt = pixels.format
    return max(fmt.rows, fmt.columns) > _LONGEST or fmt.pixels > _MOST_PIXELS or len(pixels.frames) > _MOST_FRAMES
