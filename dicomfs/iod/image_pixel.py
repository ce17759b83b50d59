"""How frames are stored: the Image Pixel attributes as a PixelFormat, tolerant of nonsense (PS3.3 C.7.6.3)."""

import errno
from dataclasses import replace

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import tags, uids
from dicomfs.dicom.data_set import DataSet

_NATIVE = (
    uids.ImplicitVRLittleEndian,
    uids.ExplicitVRLittleEndian,
    uids.DeflatedExplicitVRLittleEndian,
    uids.ExplicitVRBigEndian,
    uids.PrivateGEImplicitVRBigEndianPixelData,
)

MAX_SAMPLES = 1 << 29
"""Samples of one frame that are tried: beyond any real frame, and a PNG of it still is one IDAT chunk (L4)."""

ONE_SAMPLE = frozenset(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"))


class PixelsUnusable(OSError):
    """The Image Pixel attributes do not describe frames."""

    def __init__(self, reason: str) -> None:
        """Carry the reason, a sentence for a user."""
        super().__init__(errno.EIO, reason)


def pixel_format(dataset: DataSet, transfer_syntax: str) -> PixelFormat:
    """Read how frames are stored (PS3.3 C.7.6.3). Raises PixelsUnusable."""
    rows = _needed(dataset, tags.Rows, "Rows")
    columns = _needed(dataset, tags.Columns, "Columns")
    samples = dataset.integer(tags.SamplesPerPixel)
    samples = 1 if samples is None else samples
    if samples not in (1, 3, 4):
        raise PixelsUnusable(f"frames of {samples} samples a pixel cannot be shown (N19)")
    if rows * columns * samples > MAX_SAMPLES:
        raise PixelsUnusable(f"frames of {columns} x {rows} pixels are too large (L4)")
    photometric = (dataset.text(tags.PhotometricInterpretation) or "").strip().upper()
    photometric = photometric or ("MONOCHROME2" if samples == 1 else "RGB")
    real, allocated = _allocated(dataset)
    tag = next(
        (tag for tag in (tags.PixelData, tags.FloatPixelData, tags.DoubleFloatPixelData) if tag in dataset), None
    )
    element = dataset.get(tag) if tag is not None else None
    if samples == 1 and photometric not in ONE_SAMPLE:
        frames = max(dataset.integer(tags.NumberOfFrames) or 1, 1)
        full = rows * columns * 3 * allocated // 8 * frames
        coloured = photometric.startswith(("RGB", "YBR", "ARGB", "HSV", "CMYK")) and transfer_syntax in _NATIVE
        if coloured and element is not None and element.length >= full:
            raise PixelsUnusable("one sample a pixel contradicts Pixel Data, which is as long as three (N19)")
        photometric = "MONOCHROME2"  # the values do not depend on it; `display_problems` says so
    if samples != 1 and photometric in ONE_SAMPLE:
        raise PixelsUnusable(f"{samples} samples a pixel contradict the photometric interpretation (N19)")
    stored = dataset.integer(tags.BitsStored) or 0
    if not 0 < stored <= allocated or real:
        stored = allocated
    high = dataset.integer(tags.HighBit)
    if high is None or not stored - 1 <= high < allocated:
        high = stored - 1
    fmt = PixelFormat(
        rows=rows,
        columns=columns,
        samples=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high,
        signed=dataset.integer(tags.PixelRepresentation) == 1 and not real,
        photometric=photometric,
        planar=dataset.integer(tags.PlanarConfiguration) == 1,
        transfer_syntax=transfer_syntax,
        real=real,
        big_endian=transfer_syntax in (uids.ExplicitVRBigEndian, uids.PrivateGEImplicitVRBigEndianPixelData),
        pixel_vr=element.vr if element else "OW",
    )
    if fmt.halved and element and _is_full_444(fmt, element.length, dataset):
        return replace(fmt, photometric=photometric.removesuffix("_422"))
    return fmt


def _needed(dataset: DataSet, tag: int, name: str) -> int:
    """Read a count that has to be there and positive (N20)."""
    value = dataset.integer(tag)
    if value is None or value <= 0:
        raise PixelsUnusable(f"{name} is {'missing' if value is None else value} (N20)")
    if value > 0xFFFFFFFF:
        raise PixelsUnusable(f"{name} is too large (L4)")
    return value


def _allocated(dataset: DataSet) -> tuple[bool, int]:
    """Read whether samples are floating-point numbers and how many bits each takes."""
    if tags.PixelData not in dataset:
        if tags.FloatPixelData in dataset:
            return True, 32
        if tags.DoubleFloatPixelData in dataset:
            return True, 64
    allocated = _needed(dataset, tags.BitsAllocated, "Bits Allocated")
    if allocated not in (1, 8, 12, 16, 32, 64):
        raise PixelsUnusable(f"samples of {allocated} bits cannot be read (N8)")
    return False, allocated


def _is_full_444(fmt: PixelFormat, length: int, dataset: DataSet) -> bool:
    """Return whether native data called 4:2:2 has full chrominance by its length (N2)."""
    frames = max(dataset.integer(tags.NumberOfFrames) or 1, 1)
    full = fmt.pixels * 3 * fmt.bits_allocated // 8 * frames
    return fmt.transfer_syntax in _NATIVE and length >= full
