"""Stored values of one frame to an 8-bit display image: the whole pipeline of PS3.4 N.2, in NumPy alone.

Only this module turns values into grey or colour. It knows no DICOM attributes; what they say arrives as a
Display, which is small enough to be sent to a worker process with each frame.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dicomfs.codecs.bitstream import CodecError
from dicomfs.codecs.decoders import Decoded
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.registry import CODECS

WHITE = 255

# Frames of one object mostly look alike, and a worker draws frames of few objects at a time. A table is 64 or 192 KiB.
_MAX_TABLES = 8

# Largest share of the values in a gap: the blurred outline of a CT's field of view is below 1 %.
_MAX_GAP_SHARE = 0.02


class RenderError(CodecError):
    """A frame was decoded, but there is no right way to show it."""


@dataclass(frozen=True, slots=True)
class Lut:
    """A look-up table: *entries* are little endian 16-bit values of *bits* bits, the first for input *first*."""

    first: int
    bits: int
    entries: bytes

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Look *values* up; beyond the ends of the table its first and last entries hold (PS3.3 C.11.1.1)."""
        table = np.frombuffer(self.entries, "<u2").astype(np.float64)
        return np.asarray(table[_positions(values, self.first, len(table))])


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window; *function* is LINEAR, LINEAR_EXACT or SIGMOID (PS3.3 C.11.2.1)."""

    center: float
    width: float
    function: str = "LINEAR"

    @property
    def valid(self) -> bool:
        """Return whether the width is one that the function allows."""
        return self.width >= 1 if self.function == "LINEAR" else self.width > 0

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Map *values* to 0..1."""
        if self.function == "SIGMOID":
            return np.asarray(1.0 / (1.0 + np.exp(-4.0 * (values - self.center) / self.width)))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.center) / self.width + 0.5, 0.0, 1.0)
        center = self.center - 0.5
        if self.width == 1:
            return np.where(values <= center, 0.0, 1.0)
        return np.clip((values - center) / (self.width - 1.0) + 0.5, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours for stored values from *first* on, three bytes each: red, green, blue.

    With *supplemental* only the values from *first* on are coloured and those below are grey
    (PS3.3 C.7.6.19); otherwise lower values have the first colour.
    """

    first: int
    colours: bytes
    supplemental: bool = False

    @classmethod
    def of_tables(
        cls, first: int, bits: int, red: np.ndarray, green: np.ndarray, blue: np.ndarray, supplemental: bool = False
    ) -> "Palette":
        """Make a palette of three tables of *bits* (8 or 16) bit entries.

        A table of 16-bit entries that never exceed 255 holds 8-bit values in its low bytes (G15).
        """
        table = np.stack((red, green, blue), axis=-1)
        if bits > 8 and table.size and table.max() > WHITE:
            table = table >> (bits - 8)
        return cls(first, table.astype(np.uint8).tobytes(), supplemental)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return the colours of *values*, shape + (3,)."""
        table = np.frombuffer(self.colours, np.uint8).reshape(-1, 3)
        return np.asarray(table[_positions(values, self.first, len(table))])


@dataclass(frozen=True, slots=True)
class Display:
    """The steps from the stored values of one frame to a display image, in the order in which they are applied.

    *padding* is an inclusive range of stored values that are background. Without *window* and *voi_lut* the full
    range of the stored values goes from black to white. *automatic* says that the file states no window.
    """

    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: Lut | None = None
    window: Window | None = None
    voi_lut: Lut | None = None
    invert: bool = False
    palette: Palette | None = None
    padding: tuple[float, float] | None = None
    automatic: bool = False


def automatic_window(low: float, high: float) -> Window:
    """Make the window that shows *low* black and *high* white; where they are one value, that is black."""
    if not high > low:
        high = low + max(1.0, abs(low) * 1e-6)
    return Window(low / 2 + high / 2, high - low, "LINEAR_EXACT")


def modality_range(stored: tuple[float, float], display: Display) -> tuple[float, float]:
    """Bring a range of stored values through the Modality LUT or rescaling; return its lower end first."""
    lut = display.modality_lut
    if lut is None:
        ends = sorted(float(end) * display.slope + display.intercept for end in stored)
        return ends[0], ends[1]
    table = np.frombuffer(lut.entries, "<u2")
    first, last = (int(min(max(end - lut.first, 0), len(table) - 1)) for end in stored)
    return float(table[first : last + 1].min()), float(table[first : last + 1].max())


def picture_samples(fmt: PixelFormat, display: Display) -> int:
    """Return the number of samples of a pixel of the display image: 1 (grey) or 3 (red, green, blue)."""
    return 3 if fmt.samples >= 3 or fmt.photometric == "PALETTE COLOR" or display.palette is not None else 1


def picture(decoded: Decoded, fmt: PixelFormat, display: Display) -> np.ndarray:
    """Draw one frame: uint8, (rows, columns) or (rows, columns, 3). Raises RenderError."""
    if fmt.samples != 1:
        return _colour(_eight_bits(decoded.values, fmt), decoded.photometric)
    if decoded.photometric == "PALETTE COLOR" and (display.palette is None or not display.palette.colours):
        raise RenderError("the palette is missing")
    return _drawn(decoded.values, fmt, display)


def value_range(decoded: Decoded, fmt: PixelFormat, display: Display) -> tuple[float, float] | None:
    """Find the least and greatest finite value after the Modality LUT, padding left out; None without any."""
    if fmt.samples != 1 or decoded.photometric == "PALETTE COLOR":
        return None
    values = without_padding(decoded.values, fmt, display)
    if values.size == 0:
        return None
    if display.modality_lut is not None:
        values = display.modality_lut.apply(values)
        return float(values.min()), float(values.max())
    return modality_range((values.min(), values.max()), display)


def without_padding(values: np.ndarray, fmt: PixelFormat, display: Display) -> np.ndarray:
    """Return the finite stored values, in a row or as they are, without padding and its blur from lossy coding."""
    if display.padding is not None:
        values = values[~_within(values, display.padding)]
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if display.padding is not None and values.size and CODECS[fmt.transfer_syntax].lossy:
        values = _without_blur(values, display.padding)
    return values


def _without_blur(values: np.ndarray, padding: tuple[float, float]) -> np.ndarray:
    """Leave out what lossy coding has made of padding: values around it, where a gap parts them from the others.

    The blur may reach a third of the way from the padding to the far end of the values; if the last half of that
    way is as good as empty, there is a gap. Padding amid the values that are shown (0 in a radiograph) has none.
    Of the outline as many values may be left after the gap as in it, so these are left out, too.
    """
    centre = (float(padding[0]) + float(padding[1])) / 2
    distance = np.abs(values.astype(np.float64) - centre)
    reach = distance.max() / 3
    between = np.count_nonzero((distance > reach / 2) & (distance <= reach))
    if between > _MAX_GAP_SHARE * values.size:
        return values
    # Not by a quantile: NumPy imports more for that at its first use, which the sandbox forbids.
    order = np.sort(distance[distance > reach])
    return np.asarray(values[distance >= order[int(_MAX_GAP_SHARE * len(order))]])


def modality(values: np.ndarray, display: Display) -> np.ndarray:
    """Apply the Modality LUT, or slope and intercept, in float64 (PS3.3 C.11.1)."""
    if display.modality_lut is not None:
        return display.modality_lut.apply(values)
    return np.asarray(values.astype(np.float64) * display.slope + display.intercept)


def _positions(values: np.ndarray, first: int, count: int) -> np.ndarray:
    """Return the index of each value in a table of *count* entries that begins at *first*, clipped to the ends."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=first, posinf=first + count - 1, neginf=first)
        return np.asarray(np.clip(np.floor(values - first + 0.5), 0, count - 1).astype(np.intp))
    # uint64 minus a Python int would wrap, so the ends are clipped in the values' own type first.
    low, high = np.iinfo(values.dtype).min, np.iinfo(values.dtype).max
    clipped = np.clip(values, min(max(first, low), high), max(min(first + count - 1, high), low))
    return np.asarray(np.clip(clipped.astype(np.int64) - first, 0, count - 1))


def _drawn(values: np.ndarray, fmt: PixelFormat, display: Display) -> np.ndarray:
    """Draw every value: once for each that there can be, where that is cheaper than for each pixel."""
    if values.dtype.itemsize > 2 or values.size < 1 << (8 * values.dtype.itemsize):
        return _draw(values, fmt, display)
    return np.asarray(np.take(_table(fmt, display), values.view(f"<u{values.dtype.itemsize}"), axis=0))


@lru_cache(maxsize=_MAX_TABLES)
def _table(fmt: PixelFormat, display: Display) -> np.ndarray:
    """Draw every value that there can be, in the order of their bits taken as an unsigned number."""
    width = fmt.dtype.itemsize
    table = _draw(np.arange(1 << (8 * width), dtype=f"<u{width}").view(fmt.dtype), fmt, display)
    table.flags.writeable = False
    return table


def _draw(values: np.ndarray, fmt: PixelFormat, display: Display) -> np.ndarray:
    """Bring stored values of one sample to grey, or to colour where there is a palette."""
    palette = display.palette
    if palette is None:
        return _grey(values, fmt, display)
    if not palette.supplemental:
        return palette.apply(values)
    above = values >= palette.first
    return np.where(above[..., None], palette.apply(values), _grey(values, fmt, display)[..., None])


def _grey(stored: np.ndarray, fmt: PixelFormat, display: Display) -> np.ndarray:
    """Bring stored values to 0..255: modality, VOI, polarity, background."""
    with np.errstate(over="ignore", invalid="ignore"):  # floating point may be anything; NaN is drawn black
        values = modality(stored, display)
        if display.voi_lut is not None:
            grey = display.voi_lut.apply(values) / ((1 << display.voi_lut.bits) - 1)
        elif display.window is not None:
            grey = display.window.apply(values)
        else:
            grey = automatic_window(*_full_range(fmt, display, values)).apply(values)
    if display.invert:
        grey = 1.0 - grey
    drawn = np.clip(np.nan_to_num(grey) * WHITE + 0.5, 0, WHITE).astype(np.uint8)
    if fmt.real:
        drawn[np.isnan(stored)] = 0
    if display.padding is not None:
        drawn[_within(stored, display.padding)] = 0
    return drawn


def _full_range(fmt: PixelFormat, display: Display, values: np.ndarray) -> tuple[float, float]:
    """Return the range after the Modality LUT that the stored values can have; floating point values' own range."""
    if display.modality_lut is not None:
        return 0.0, float((1 << display.modality_lut.bits) - 1)
    if fmt.real:
        finite = values[np.isfinite(values)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return modality_range(fmt.stored_range, display)


def _within(values: np.ndarray, padding: tuple[float, float]) -> np.ndarray:
    """Mark padding; its two ends may come in either order (PS3.3 C.7.5.1.1.2)."""
    return np.logical_and(values >= min(padding), values <= max(padding))


# Colour


def _eight_bits(values: np.ndarray, fmt: PixelFormat) -> np.ndarray:
    """Bring colour samples to eight bits by the range that they can have."""
    if fmt.real:
        raise RenderError("colour frames of floating point samples cannot be shown")
    if fmt.signed:
        values = values.astype(np.int64) + (1 << (fmt.bits_stored - 1))
    if fmt.bits_stored > 8:
        values = values >> (fmt.bits_stored - 8)
    elif fmt.bits_stored < 8:
        values = values.astype(np.uint16) * WHITE // ((1 << fmt.bits_stored) - 1)
    return values.astype(np.uint8, copy=False)


# Defined terms for colours (PS3.3 C.7.6.3.1.2), retired ones included: others may be any text, and are not repeated.
_DEFINED = frozenset(("RGB", "HSV", "ARGB", "CMYK", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "XYB"))


def _colour(values: np.ndarray, photometric: str) -> np.ndarray:
    """Convert 8-bit colour samples to RGB."""
    if photometric in ("RGB", "YBR_RCT", "YBR_ICT", "XYB") and values.shape[-1] == 3:
        return values
    if photometric in ("YBR_FULL", "YBR_FULL_422") and values.shape[-1] == 3:
        return _linear(values, _FULL, (0.0, 128.0, 128.0))
    if photometric.startswith("YBR_PARTIAL") and values.shape[-1] == 3:
        return _linear(values, _PARTIAL, (16.0, 128.0, 128.0))
    if photometric == "ARGB" and values.shape[-1] == 4:
        return values[..., 1:]
    if photometric == "CMYK" and values.shape[-1] == 4:
        left = WHITE - values.astype(np.uint16)
        return ((left[..., :3] * left[..., 3:] + 127) // WHITE).astype(np.uint8)
    model = photometric if photometric in _DEFINED else "this Photometric Interpretation"
    raise RenderError(f"nothing here shows {values.shape[-1]} samples a pixel of {model}")


# Rows are red, green, blue; columns are Y, Cb, Cr (ITU-R BT.601, PS3.3 C.7.6.3.1.2).
_FULL = np.array([[1.0, 0.0, 1.402], [1.0, -0.114 * 1.772 / 0.587, -0.299 * 1.402 / 0.587], [1.0, 1.772, 0.0]])
_PARTIAL = _FULL * np.array([255 / 219, 255 / 224, 255 / 224])


def _linear(values: np.ndarray, matrix: np.ndarray, zero: tuple[float, float, float]) -> np.ndarray:
    """Convert luminance and chrominance to RGB."""
    offset = matrix @ np.array(zero) - 0.5
    converted = values.reshape(-1, 3).astype(np.float32) @ matrix.T.astype(np.float32)
    converted -= offset.astype(np.float32)
    return np.clip(converted, 0, WHITE).astype(np.uint8).reshape(values.shape)
