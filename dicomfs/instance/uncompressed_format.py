"""How the frames of an object are stored in an uncompressed copy: the Image Pixel attributes once they are decoded.

Only this module decides that, from the header and the first frame's codestream; no pixel is decoded for it.
"""

import struct
from dataclasses import replace

from dicomfs.codecs.bitstream import CodecError, Codestream
from dicomfs.codecs.colour import decoded_photometric, plain_photometric
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.registry import CODECS
from dicomfs.dicom import tags, uids
from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.stream import Stream
from dicomfs.pixeldata.frame_status import header_of, needs_look
from dicomfs.pixeldata.frames import Frames, NativeFrames

# The largest length that is even and not the mark of an undefined one (PS3.5 7.1.1).
MAX_VALUE_BYTES = 0xFFFFFFFE
TOO_LONG = "native.dcm is left out: its Pixel Data would pass 4 GiB, which no length in it can state"
NOT_WHOLE = "native.dcm and transcoded/ are left out: the data set is not whole, and a copy would hide that"
# JPEG processes that are never lossless (T.81): baseline, extended, spectral selection, full progression.
_DCT = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(50, 57))


def uncompressed_format_of(stream: Stream, fmt: PixelFormat, frames: Frames) -> PixelFormat | None:
    """Return how frames of *fmt* are stored in Explicit VR Little Endian; None where nothing decodes them.

    Native frames keep their bits, also those that no stored value has. What is decoded has one sample after the other
    (Planar Configuration 0), no unused bits above High Bit but the sign, and the colour space that its decoder gives.
    """
    codec = CODECS.get(fmt.transfer_syntax)
    if codec is None or codec.missing:
        return None
    plain = replace(fmt, transfer_syntax=uids.ExplicitVRLittleEndian, big_endian=False)
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
    """Return the VR of native Pixel Data (PS3.5 A.2); samples of 8 bits may have either."""
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
    """Return how the same frames are stored by pixel, in full chrominance, with nothing above High Bit but the sign."""
    stored = plain.high_bit if plain.spare_bits else plain.bits_stored - 1
    return replace(plain, planar=False, photometric=plain_photometric(plain), high_bit=stored)


def value_length(fmt: PixelFormat, frames: int) -> int:
    """Compute the bytes of the uncompressed Pixel Data of *frames* frames, without a pad byte (PS3.5 8.1.1)."""
    return -(-fmt.frame_bits * frames // 8)


def image_elements(
    dataset: DataSet, fmt: PixelFormat, frames: int, source: PixelFormat
) -> dict[int, tuple[str, bytes]]:
    """Return those elements of an image that are not as *dataset* has them when *frames* frames are stored as *fmt*.

    Every attribute is stated that the Image Pixel Module requires (PS3.3 C.7.6.3; of floating-point numbers C.7.6.24),
    also where the source lacks it and readers have to guess. *source* is how the frames are stored there. The result
    maps tags to VR and value.
    """
    elements: dict[int, tuple[str, bytes]] = {}
    if (dataset.text(tags.PhotometricInterpretation) or "").strip().upper() != fmt.photometric:
        elements[tags.PhotometricInterpretation] = "CS", fmt.photometric.encode("ascii")
    numbers = {
        tags.SamplesPerPixel: fmt.samples,
        tags.Rows: fmt.rows,
        tags.Columns: fmt.columns,
        tags.BitsAllocated: fmt.bits_allocated,
    }
    if fmt.samples > 1:
        numbers[tags.PlanarConfiguration] = int(fmt.planar)
    if not fmt.real:
        numbers |= {
            tags.BitsStored: fmt.bits_stored,
            tags.HighBit: fmt.high_bit,
            tags.PixelRepresentation: int(fmt.signed),
        }
    for tag, number in numbers.items():
        if dataset.integer(tag) != number:
            elements[tag] = "US", struct.pack("<H", number)
    if dataset.integer(tags.NumberOfFrames) != frames and (tags.NumberOfFrames in dataset or frames != 1):
        elements[tags.NumberOfFrames] = "IS", str(frames).encode("ascii")
    if source.transfer_syntax in _DCT and dataset.text(tags.LossyImageCompression) != "01":
        elements[tags.LossyImageCompression] = "CS", b"01"
    return elements
