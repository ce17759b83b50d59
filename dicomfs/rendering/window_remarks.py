"""What drawing a frame shows of it that no header tells: a window that misses it, clipping, nothing but padding."""

import numpy as np

from dicomfs.codecs.decoders import Decoded
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.remarks import Remark
from dicomfs.rendering.render import WHITE, Display, modality, value_range, without_padding

# Share of the pixels that are no padding which may be beyond an automatic window without a remark.
_MAX_CLIPPED_SHARE = 0.05


def remarks(decoded: Decoded, fmt: PixelFormat, display: Display, shown: np.ndarray) -> tuple[Remark, ...]:
    """Return the remarks on *shown*, the display image of a frame; those of the decoder come first."""
    if fmt.samples != 1 or decoded.photometric == "PALETTE COLOR" or display.palette is not None:
        return decoded.remarks
    found: tuple[Remark, ...] = ()
    if display.automatic:
        found = _of_automatic(decoded, fmt, display)
    elif (display.window is not None or display.voi_lut is not None) and not _has_grey(shown):
        found = _of_stated(decoded, fmt, display, shown)
    elif display.padding is not None and not shown.any():
        found = () if without_padding(decoded.values, fmt, display).size else (Remark.ALL_PADDING,)
    return decoded.remarks + found


def _has_grey(shown: np.ndarray) -> bool:
    """Return whether anything is neither black nor white, so that the window shows something."""
    return bool(((shown > 0) & (shown < WHITE)).any())


def _of_stated(decoded: Decoded, fmt: PixelFormat, display: Display, shown: np.ndarray) -> tuple[Remark, ...]:
    """Judge an image of black and white alone: one of them alone, where values differ, shows nothing."""
    ends = value_range(decoded, fmt, display)
    if ends is None:
        return (Remark.ALL_PADDING,) if display.padding is not None else ()
    if display.padding is not None:
        low, high = sorted(display.padding)
        shown = shown[(decoded.values < low) | (decoded.values > high)]
    return (Remark.WINDOW_BESIDE,) if ends[0] < ends[1] and shown.min() == shown.max() else ()


def _of_automatic(decoded: Decoded, fmt: PixelFormat, display: Display) -> tuple[Remark, ...]:
    """Count the values beyond an automatic window, which was found in other frames of the object."""
    ends = value_range(decoded, fmt, display)
    if ends is None:
        return (Remark.ALL_PADDING,) if display.padding is not None else ()
    if display.window is None:
        return ()
    low, high = display.window.center - display.window.width / 2, display.window.center + display.window.width / 2
    slack = 1e-9 * max(abs(low), abs(high))
    if ends[0] >= low - slack and ends[1] <= high + slack:
        return ()
    values = modality(without_padding(decoded.values, fmt, display), display)
    beyond = np.count_nonzero((values < low - slack) | (values > high + slack))
    return (Remark.CLIPPED,) if beyond > _MAX_CLIPPED_SHARE * values.size else ()
