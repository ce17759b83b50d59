"""Overlay planes (PS3.3 C.9.2): single bits over the image, in values of their own or in spare bits of the pixels.

Only this module reads the groups 6000 to 601E. A plane is one bit for each of its pixels and is unpacked like a
frame of single bits, so all that is found here is a PixelFormat and where the frames are.
"""

from dataclasses import dataclass, replace

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import tags, uids
from dicomfs.dicom.data_set import DataSet
from dicomfs.iod.image_pixel import MAX_SAMPLES
from dicomfs.pixeldata.frames import MAX_FRAMES, Frames, NativeFrames, pitch_of

MAX_PLANES = 16
"""Groups that overlay planes can be in, every second one from 6000 (PS3.5 7.6)."""

_GROUP = 0x60000000
_ROWS, _COLUMNS, _FRAMES, _ORIGIN, _FIRST_FRAME = 0x10, 0x11, 0x15, 0x50, 0x51
_COMPRESSION, _ALLOCATED, _POSITION, _DATA = 0x60, 0x100, 0x102, 0x3000


@dataclass(frozen=True, slots=True)
class Overlay:
    """One overlay plane, *number* 1 to 16.

    *format* says how its frames are stored, which are *frames*, or those of the Pixel Data where it is None.
    *top* and *left* is where its first pixel is on the image, from 0. It is there for *count* frames of the image
    from *first* (from 0) on: each has its own, or, *repeated*, they share one.
    """

    number: int
    format: PixelFormat
    frames: Frames | None
    top: int
    left: int
    first: int
    count: int
    repeated: bool


def overlays_of(dataset: DataSet, fmt: PixelFormat | None, frames: int) -> tuple[tuple[Overlay, ...], tuple[str, ...]]:
    """Read all overlay planes of an image of *frames* frames, or of an object without pixels (G20, G21)."""
    overlays, problems = [], []
    groups = {tag >> 16 for tag in dataset.elements}
    for number in range(1, MAX_PLANES + 1):
        if (_GROUP >> 16) + (number - 1) * (tags.FileMetaInformationGroupLength >> 16) not in groups:
            continue
        overlay, wrong = _overlay(dataset, number, fmt, frames)
        if overlay is not None:
            overlays.append(overlay)
        problems += [f"overlay plane {number} {problem}" for problem in wrong]
    return tuple(overlays), tuple(problems)


def _overlay(dataset: DataSet, number: int, fmt: PixelFormat | None, frames: int) -> tuple[Overlay | None, list[str]]:
    """Read one overlay plane; the problems go on after "overlay plane 1"."""
    group = _GROUP + (number - 1) * tags.FileMetaInformationGroupLength
    data = dataset.get(group + _DATA)
    if data is None or not data.length:
        return _embedded(dataset, number, fmt, frames)
    if data.undefined or (dataset.text(group + _COMPRESSION) or "NONE") != "NONE":
        return None, ["is compressed and is not shown (G20)"]
    rows, columns = dataset.integer(group + _ROWS) or 0, dataset.integer(group + _COLUMNS) or 0
    if rows <= 0 or columns <= 0 or rows * columns > MAX_SAMPLES:
        return None, ["has no usable size and is not shown (G20)"]
    bits = PixelFormat(
        rows, columns, 1, 1, 1, 0, False, "MONOCHROME2", False, uids.ExplicitVRLittleEndian,
        big_endian=dataset.big_endian, pixel_vr=data.vr,
    )  # fmt: skip
    declared = max(dataset.integer(group + _FRAMES) or 1, 1)
    there = data.length // bits.word * bits.word * 8 // bits.frame_bits
    if not there:
        return None, ["has too little data and is not shown (G20)"]
    if dataset.integer(group + _ALLOCATED) not in (None, 1) and data.length > -(-bits.frame_bits * declared // 16) * 2:
        return None, ["has more than one bit a pixel and is not shown (G20)"]
    pitch = pitch_of(data.length, bits.frame_bits, declared)
    if pitch is None:
        return None, ["has more data than frames, nothing tells where each begins, and it is not shown (G20)"]
    problems = [f"has data for {there} of {declared} frames (G20)"] if there < declared else []
    problems += [f"has frames that are padded to {pitch // 8} bytes each (G20)"] if pitch else []
    count = min(there, declared, MAX_FRAMES)
    stored = NativeFrames(data.offset, data.length, bits.frame_bits, count, bits.word, pitch)
    return _laid_out(dataset, number, bits, stored, frames if fmt else 0, problems)


def _laid_out(
    dataset: DataSet, number: int, bits: PixelFormat, stored: NativeFrames, frames: int, problems: list[str]
) -> tuple[Overlay | None, list[str]]:
    """Report which of the image's *frames* the *stored* frames of a plane belong to, and where they are on them."""
    group, count = _GROUP + (number - 1) * tags.FileMetaInformationGroupLength, len(stored)
    if not frames:
        return Overlay(number, bits, stored, 0, 0, 0, count, False), problems
    origin = dataset.integers(group + _ORIGIN, True)
    if len(origin) != 2:
        problems.append("has no usable origin; it begins at the first pixel (G20)")
        origin = (1, 1)
    first = dataset.integer(group + _FIRST_FRAME)
    repeated = first is None and count == 1
    first = 0 if first is None else first - 1
    last = frames if repeated else min(frames, first + count)
    if not 0 <= first < last:
        return None, [*problems, "is not for any frame of the image (G20)"]
    if not repeated and first + count > frames:
        problems.append("has frames beyond those of the image (G20)")
    top, left = origin[0] - 1, origin[1] - 1
    return Overlay(number, bits, stored, top, left, first, last - first, repeated), problems


def _embedded(dataset: DataSet, number: int, fmt: PixelFormat | None, frames: int) -> tuple[Overlay | None, list[str]]:
    """Find a plane in bits of the pixels next to the stored values (retired; PS3.5 8.1.2, G21)."""
    group = _GROUP + (number - 1) * tags.FileMetaInformationGroupLength
    allocated, position = dataset.integer(group + _ALLOCATED) or 1, dataset.integer(group + _POSITION)
    if allocated == 1 or position is None:
        # Presentation states activate planes that are elsewhere; without a size nothing was meant to be here.
        return None, ["has no data (G20)"] if dataset.integer(group + _ROWS) else []
    if fmt is None or fmt.samples != 1 or fmt.real or allocated != fmt.bits_allocated:
        return None, ["is said to be in the pixels, which cannot hold it (G21)"]
    if not 0 <= position < allocated or fmt.high_bit - fmt.bits_stored < position <= fmt.high_bit:
        return None, ["is said to be in bits of the pixel values and is not shown (G21)"]
    bit = replace(fmt, bits_stored=1, high_bit=position, signed=False, photometric="MONOCHROME2", spare_bits=True)
    return Overlay(number, bit, None, 0, 0, 0, frames, False), []
