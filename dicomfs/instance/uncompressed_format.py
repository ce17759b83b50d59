"""How the frames of an object are stored in an uncompressed copy: the Image Pixel attributes once they are decoded.

Only this module decides that, from the header and the first frame's codestream; no pixel is decoded for it.
"""

import struct
from dataclasses import replace

from dicomfs.codecs.bitstream import CodecError, Codestream
from dicomfs.codecs.colour import decoded_photometric, plain_photometric
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.registry import CODECS
from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.stream import Stream
from dicomfs.pixeldata.frame_status import header_of, needs_look
from dicomfs.pixeldata.frames import Frames, NativeFrames

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
# The largest length that is even and not the mark of an undefined one (PS3.5 7.1.1).
LONGEST_VALUE = 0xFFFFFFFE
TOO_LONG = "native.dcm is left out: its Pixel Data would pass 4 GiB, which no length in it can state"
NOT_WHOLE = "native.dcm and transcoded/ are left out: the data set is not whole, and a copy would hide that"
_LOSSY, _PHOTOMETRIC, _PLANAR, _FRAMES = 0x00282110, 0x00280004, 0x00280006, 0x00280008
_ALLOCATED, _STORED, _HIGH_BIT, _REPRESENTATION = 0x00280100, 0x00280101, 0x00280102, 0x00280103
_SAMPLES, _ROWS, _COLUMNS = 0x00280002, 0x00280010, 0x00280011
# JPEG processes that are never lossless (T.81): baseline, extended, spectral selection, full progression.
_DCT = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(50, 57))


def uncompressed(stream: Stream, fmt: PixelFormat, frames: Frames) -> PixelFormat | None:
    """Say how frames of *fmt* are stored in Explicit VR Little Endian; None where nothing decodes them.

    Native frames keep their bits, also those that no stored value has. What is decoded has one sample after the other
    (Planar Configuration 0), no unused bits above High Bit but the sign, and the colour space that its decoder gives.
    """
    codec = CODECS.get(fmt.transfer_syntax)
    if codec is None or codec.missing:
        return None
    plain = replace(fmt, transfer_syntax=EXPLICIT_LITTLE, big_endian=False)
    if isinstance(frames, NativeFrames) and not frames.padded and fmt.bits_allocated != 12:
        photometric = "RGB" if fmt.photometric in ("YBR_RCT", "YBR_ICT") else fmt.photometric
        return replace(plain, photometric=photometric, pixel_vr=_pixel_vr(plain, fmt.pixel_vr))
    allocated = 1 if fmt.bits_allocated == 1 else fmt.dtype.itemsize * 8
    plain = replace(plain, bits_allocated=allocated, planar=False, photometric=plain_photometric(fmt))
    header = _first_header(stream, fmt, frames)
    if header is not None:
        plain = replace(plain, photometric=decoded_photometric(header, fmt))
    if fmt.spare_bits:
        return replace(plain, pixel_vr=_pixel_vr(plain))
    stored = fmt.bits_stored
    if header is not None and codec.lossy and stored < header.precision <= allocated:
        stored = header.precision  # lossy coding overshoots, and only the precision of the codestream bounds that
    return replace(plain, bits_stored=stored, high_bit=stored - 1, pixel_vr=_pixel_vr(plain))


def _pixel_vr(fmt: PixelFormat, native: str = "OB") -> str:
    """Give the VR of native Pixel Data (PS3.5 A.2); samples of 8 bits may have either."""
    if fmt.real:
        return "OF" if fmt.bits_allocated == 32 else "OD"
    return "OW" if fmt.bits_allocated > 8 or native == "OW" else "OB"


def _first_header(stream: Stream, fmt: PixelFormat, frames: Frames) -> Codestream | None:
    """Read the header of the first frame that is there, where it tells something; None also where it is damaged."""
    if not needs_look(fmt):
        return None
    extents = next((found for frame in range(len(frames)) if (found := frames.extents(frame))), ())
    try:
        return header_of(stream, fmt, extents) if extents else None
    except (CodecError, struct.error):
        return None  # the frame is an error; what others are, the attributes tell


def in_rows(plain: PixelFormat) -> PixelFormat:
    """Say how the same frames are stored by pixel, in full chrominance, with nothing above High Bit but the sign."""
    stored = plain.high_bit if plain.spare_bits else plain.bits_stored - 1
    return replace(plain, planar=False, photometric=plain_photometric(plain), high_bit=stored)


def value_length(fmt: PixelFormat, frames: int) -> int:
    """Compute the bytes of the uncompressed Pixel Data of *frames* frames, without a pad byte (PS3.5 8.1.1)."""
    return -(-fmt.frame_bits * frames // 8)


def image_elements(
    dataset: DataSet, fmt: PixelFormat, frames: int, source: PixelFormat
) -> dict[int, tuple[str, bytes]]:
    """Give those elements of an image that are not as *dataset* has them when *frames* frames are stored as *fmt*.

    Every attribute is stated that the Image Pixel Module requires (PS3.3 C.7.6.3; of real numbers C.7.6.24), also where
    the source lacks it and readers have to guess. *source* is how the frames are stored there. VR and value, by tag.
    """
    elements: dict[int, tuple[str, bytes]] = {}
    if (dataset.text(_PHOTOMETRIC) or "").strip().upper() != fmt.photometric:
        elements[_PHOTOMETRIC] = "CS", fmt.photometric.encode("ascii")
    numbers = {_SAMPLES: fmt.samples, _ROWS: fmt.rows, _COLUMNS: fmt.columns, _ALLOCATED: fmt.bits_allocated}
    if fmt.samples > 1:
        numbers[_PLANAR] = int(fmt.planar)
    if not fmt.real:
        numbers |= {_STORED: fmt.bits_stored, _HIGH_BIT: fmt.high_bit, _REPRESENTATION: int(fmt.signed)}
    for tag, number in numbers.items():
        if dataset.integer(tag) != number:
            elements[tag] = "US", struct.pack("<H", number)
    if dataset.integer(_FRAMES) != frames and (_FRAMES in dataset or frames != 1):
        elements[_FRAMES] = "IS", str(frames).encode("ascii")
    if source.transfer_syntax in _DCT and dataset.text(_LOSSY) != "01":
        elements[_LOSSY] = "CS", b"01"
    return elements
