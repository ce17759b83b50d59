"""The colour model of an encoded frame: luminance and chrominance, or red, green and blue.

Only this module decides that. Clues contradict each other in real files; the order in which they count is that in which
programs agree and real files are right. The header of a frame is all that is looked at. Where the clues leave doubt,
PixelFormat.colour may hold what the frames of the object show, which `greys` and `shown_by` read from them.

JPEG, lossy (T.81, T.871, PS3.5 8.2.1), the first that applies:

1. JFIF, and Photometric Interpretation says YBR: YCbCr.
2. The colour transform of Adobe's segment: 0 is RGB, any other YCbCr.
3. Component identifiers R, G, B: RGB.
4. Chrominance smaller than the first component, or JFIF: YCbCr.
5. Photometric Interpretation; YCbCr where it is not there.

JPEG, lossless: nothing is transformed, so that Photometric Interpretation holds. Where it is not there: Adobe's
segment, identifiers, JFIF, in that order; RGB otherwise.

Four components are CMYK, or YCCK where Adobe's transform is 2; with Adobe's segment they are stored inverted.

JPEG 2000: its colour transform gives RGB, smaller components are YCbCr that decoders turn to RGB; without either,
Photometric Interpretation holds, but that YBR_RCT and YBR_ICT are the names of a transform. The boxes of a JP2 file
do not count. JPEG-LS and RLE: Photometric Interpretation, whatever transform of samples or
interleaving the stream has, which decoders undo. JPEG XL: always RGB.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from dicomfs.codecs.bitstream import Codestream
from dicomfs.codecs.pixel_format import PixelFormat

# How a frame is asked for its colours, in steps of 8 bits: a sample further than this from the middle is not grey by
# chance; two samples within this distance are alike.
_MIN_CONTRAST, _MAX_DIFFERENCE = 12, 6
# The greater share of grey pixels must pass the other by this much, and be so many times as large.
_MIN_LEAD, _MIN_RATIO = 0.05, 2
# Rows and columns, about, that are looked at.
_THINNED_LINES = 200


class Colour(NamedTuple):
    """The colour model of three components, *ybr* or RGB; *doubtful* where the frames should be asked.

    *overruled* is a sentence on clues that say something else, empty without any; *by_picture* says that the frames
    overruled them all. *inverted* is for CMYK that is stored as light instead of ink.
    """

    ybr: bool
    doubtful: bool = False
    overruled: str = ""
    by_picture: bool = False
    inverted: bool = False


def plain_photometric(fmt: PixelFormat) -> str:
    """Name what native samples are: 4:2:2 has been brought to full resolution, RCT and ICT are JPEG 2000's."""
    if fmt.photometric in ("YBR_RCT", "YBR_ICT"):
        return "RGB"
    return {"YBR_FULL_422": "YBR_FULL", "YBR_PARTIAL_422": "YBR_PARTIAL"}.get(fmt.photometric, fmt.photometric)


def decoded_photometric(header: Codestream, fmt: PixelFormat) -> str:
    """Return what the samples of a frame are once they are decoded, by the header of the frame (C1 to C4)."""
    if fmt.samples != 3:
        return plain_photometric(fmt)
    if header.kind == "jxl" or (header.kind == "jpg" and not header.lossless):
        return "RGB"
    if header.kind == "jpg" or header.mct or header.smaller:
        return "YBR_FULL" if colour_of(header, fmt).ybr else "RGB"
    return plain_photometric(fmt)


def colour_of(header: Codestream, fmt: PixelFormat) -> Colour:
    """Decide by all clues; where they leave doubt, by what the frames show, if that is known."""
    if header.components == fmt.samples == 4 and header.transform is not None and fmt.photometric == "CMYK":
        sentence = "samples of CMYK are inverted, as the programs do that write Adobe's marker (C1)"
        return Colour(header.transform == 2, overruled=sentence, inverted=True)
    if header.components != 3 or fmt.samples != 3:
        return Colour(False)
    if header.kind == "jpg":
        found = _lossless(header, fmt) if header.lossless else _lossy(header, fmt)
    elif header.kind == "j2k":
        found = _jpeg2000(header, fmt)
    else:
        found = Colour(header.kind != "jxl" and plain_photometric(fmt).startswith("YBR"))
    shown = fmt.colour == "YBR"
    if found.doubtful and fmt.colour in ("RGB", "YBR") and shown != found.ybr:
        return found._replace(ybr=shown, by_picture=True)
    return found


def _says_ybr(fmt: PixelFormat) -> bool | None:
    """Return what Photometric Interpretation says; None without one."""
    return None if fmt.colour == "unstated" else fmt.photometric.startswith("YBR")


def _marks(header: Codestream, fmt: PixelFormat) -> tuple[list[str], list[str]]:
    """List the clues for YCbCr and those for RGB."""
    stated, transform = _says_ybr(fmt), header.transform
    ybr = {
        "Photometric Interpretation": stated is True,
        "Adobe's marker": transform is not None and transform != 0,
        "JFIF": header.jfif,
        "smaller chrominance": header.smaller,
    }
    rgb = {
        "Photometric Interpretation": stated is False,
        "Adobe's marker": transform == 0,
        "component identifiers": header.ids == b"RGB",
    }
    return [clue for clue, there in ybr.items() if there], [clue for clue, there in rgb.items() if there]


def _decided(ybr: bool, marks: tuple[list[str], list[str]], rule: str, doubtful: bool) -> Colour:
    """Return which clues are overruled where there are any for the other colours."""
    winners, losers = marks if ybr else marks[::-1]
    if not losers:
        return Colour(ybr, doubtful)
    name, other = ("YCbCr", "RGB") if ybr else ("RGB", "YCbCr")
    against = f", {' and '.join(winners)} for {name}" if winners else ""
    verb = "speak" if len(losers) > 1 else "speaks"
    return Colour(ybr, doubtful, f"{' and '.join(losers)} {verb} for {other}{against}: taken as {name} ({rule})")


def _lossy(header: Codestream, fmt: PixelFormat) -> Colour:
    stated = _says_ybr(fmt)
    marked_rgb = header.transform == 0 or header.ids == b"RGB"
    if header.jfif and stated:
        ybr = True
    elif header.transform is not None:
        ybr = header.transform != 0
    elif header.ids == b"RGB":
        ybr = False
    else:
        ybr = header.smaller or header.jfif or stated is not False
    marks = _marks(header, fmt)
    sure = (header.jfif and stated) or (header.smaller and not marked_rgb)
    alone = not (header.jfif or header.smaller or marked_rgb or header.transform)
    return _decided(ybr, marks, "C1", alone or (all(marks) and not sure))


def _lossless(header: Codestream, fmt: PixelFormat) -> Colour:
    stated = _says_ybr(fmt)
    ybr, marks = stated, _marks(header, fmt)
    if ybr is None:
        ybr = header.transform != 0 if header.transform is not None else header.jfif and header.ids != b"RGB"
    # Encoders state "RGB" so that libjpeg leaves the samples alone; it then marks them as RGB.
    return _decided(ybr, marks, "C2", all(marks) and (stated is None or (ybr and not header.jfif)))


def _jpeg2000(header: Codestream, fmt: PixelFormat) -> Colour:
    if header.smaller:
        return Colour(False)
    if header.mct:
        if fmt.photometric.startswith("YBR_FULL"):
            sentence = f"the stream has a colour transform, but {fmt.photometric} is no name of one: taken as RGB (C4)"
            return Colour(False, True, sentence)
        return Colour(False)
    if fmt.photometric in ("YBR_RCT", "YBR_ICT"):
        return Colour(False, False, f"{fmt.photometric}, but the stream has no colour transform: taken as RGB (C4)")
    return Colour(fmt.photometric.startswith("YBR"))


def as_coded(fmt: PixelFormat) -> PixelFormat:
    """Return the format that decodes a frame of doubtful colours to its components as they are coded."""
    return replace(fmt, colour="RGB")


def greys(values: np.ndarray, bits: int) -> tuple[float, float]:
    """Measure for a frame as it is coded, shape (rows, columns, 3): how much of it is grey if it is YCbCr, and if RGB.

    Pixels that would be black, white or of a middle grey as the other count for neither.
    """
    thinned = values[:: max(1, values.shape[0] // _THINNED_LINES), :: max(1, values.shape[1] // _THINNED_LINES)]
    first, second, third = np.moveaxis(thinned.astype(np.int64) * 256 >> bits, -1, 0)
    lit = np.abs(first - 128) > _MIN_CONTRAST
    ybr = lit & (np.abs(second - 128) <= _MAX_DIFFERENCE) & (np.abs(third - 128) <= _MAX_DIFFERENCE)
    rgb = lit & (np.abs(first - second) <= _MAX_DIFFERENCE) & (np.abs(second - third) <= _MAX_DIFFERENCE)
    return float(ybr.mean()), float(rgb.mean())


def shown_by(shares: Sequence[tuple[float, float]]) -> Literal["", "YBR", "RGB"]:
    """Return what the frames of an object are of which `greys` measured some; nothing where they leave doubt."""
    ybr, rgb = np.mean(shares, axis=0) if shares else (0.0, 0.0)
    if ybr >= rgb + _MIN_LEAD and ybr >= _MIN_RATIO * rgb:
        return "YBR"
    return "RGB" if rgb >= ybr + _MIN_LEAD and rgb >= _MIN_RATIO * ybr else ""
