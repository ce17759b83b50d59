"""Encoded frames to their stored values: JPEG, JPEG-LS, JPEG 2000 and JPEG XL.

What a stream claims is compared with the Image Pixel attributes before a decoder of `decoder_table` sees it, and what
the decoder gives passes the same checks whichever decoder it was.
"""

from dataclasses import dataclass, replace

import numpy as np

from dicomfs.codecs import codestream, damage, decoder_table, native, predictor
from dicomfs.codecs import jpeg as jpeg_stream
from dicomfs.codecs import jpeg2000 as jpeg2000_stream
from dicomfs.codecs.bitstream import CodecError, Codestream
from dicomfs.codecs.colour import colour_of, decoded_photometric
from dicomfs.codecs.encoded import Encoded, Kind
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.remarks import Remark
from dicomfs.dicom.stream import Memory


@dataclass(frozen=True, slots=True)
class Decoded:
    """The stored values of one frame.

    *values* has the shape and type that the PixelFormat states. *photometric* says what they are now, which is
    "RGB" where a decoder undid a colour transform. *repairs* are sentences on what was repaired or overruled, *remarks*
    are for the display image.
    """

    values: np.ndarray
    photometric: str
    repairs: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()


def check_header(header: Codestream, fmt: PixelFormat) -> None:
    """Refuse a frame whose header does not match the Image Pixel attributes (E21). Raises CodecError."""
    if (header.rows, header.columns) != (fmt.rows, fmt.columns):
        raise CodecError(
            f"the frame is {header.columns} x {header.rows} pixels, the header says {fmt.columns} x {fmt.rows} (E21)"
        )
    if header.components not in (0, fmt.samples):
        raise CodecError(f"the frame has {header.components} components, the header says {fmt.samples} (E21)")
    if header.precision > fmt.dtype.itemsize * 8:
        raise CodecError(f"the frame has {header.precision} bits a sample, the header says {fmt.bits_allocated} (C6)")


def _checked_header(stream: bytes, fmt: PixelFormat) -> Codestream:
    header = codestream.read_header(stream)
    check_header(header, fmt)
    return header


def _from_stream(values: np.ndarray, fmt: PixelFormat, precision: int) -> np.ndarray:
    """Return decoded samples in the type of the stored values.

    The precision of the stream, not Bits Stored, tells where the sign bit is; whether there is one, Pixel
    Representation tells (C5, C6). Only where no sample reaches beyond Bits Stored, the sign cannot be further up (C7).
    """
    if values.dtype.kind not in "iub":
        raise CodecError(f"the frame decodes to {values.dtype} samples")
    values = np.ascontiguousarray(values)
    if fmt.spare_bits and fmt.high_bit < precision:
        return native.cut(values, fmt.dtype, fmt.bits_stored, fmt.high_bit + 1 - fmt.bits_stored)
    if fmt.spare_bits and fmt.bits_stored == 1:
        raise CodecError(f"the compressed frame has {precision} bits a sample, no bit {fmt.high_bit} (G21)")
    if fmt.signed and fmt.bits_stored < precision:
        highest = int(values.view(f"<u{values.itemsize}").max())
        precision = precision if highest >> fmt.bits_stored else fmt.bits_stored
    return native.cut(values, fmt.dtype, precision)


def _decoded(
    values: np.ndarray, header: Codestream, fmt: PixelFormat, repairs: tuple[str, ...], *, second: bool
) -> Decoded:
    """Return what *values* are, who decoded them, and which clues to their colours were overruled."""
    colour = colour_of(header, fmt)
    repairs += (colour.overruled,) if colour.overruled else ()
    remarks: tuple[Remark, ...] = (Remark.COLOUR_OVERRULED,) if colour.overruled else ()
    remarks += (Remark.COLOUR_SHOWN,) if colour.by_picture else ()
    remarks += (Remark.SECOND_DECODER,) if second else ()
    return Decoded(values, decoded_photometric(header, fmt), repairs, remarks)


def jpeg(stream: bytes, fmt: PixelFormat, *, first_left_out: bool = False) -> Decoded:
    """Decode any JPEG process but JPEG-LS (T.81)."""
    header = _checked_header(stream, fmt)
    if not jpeg_stream.is_whole(stream):
        raise CodecError(jpeg_stream.CUT)
    repairs: tuple[str, ...] = ()
    scans = jpeg_stream.scans_of(stream, header.components)
    repaired = jpeg_stream.repair_spectral_selection(stream, scans)
    if repaired is not None:
        stream, repairs = repaired, (jpeg_stream.REPAIRED,)
    colour = colour_of(header, fmt)
    encoded = Encoded(stream, header, ybr=colour.ybr and not header.lossless)
    values, decode, second = decoder_table.decode(_jpeg_kind(header), encoded, first_left_out=first_left_out)
    if header.lossless:
        damage.check_lossless(encoded, scans, decode, values)
        values = values.astype(np.uint8, copy=False) if header.precision <= 8 else values
    else:
        damage.check_jpeg(encoded, scans, decode)
    if colour.inverted:
        values = ((1 << header.precision) - 1) - values
    if header.lossless and values.dtype == np.uint16 and jpeg_stream.predictor(stream, scans) == 6:
        values, repairs = _repair_predictor(values, fmt, repairs)
    return _decoded(_from_stream(values, fmt, header.precision), header, fmt, repairs, second=second)


def _jpeg_kind(header: Codestream) -> Kind:
    """Return which decoders read a JPEG."""
    if header.lossless:
        return Kind.JPEG_LOSSLESS_8 if header.precision == 8 else Kind.JPEG_LOSSLESS
    return Kind.JPEG_8 if header.precision <= 8 else Kind.JPEG_12


def _repair_predictor(
    values: np.ndarray, fmt: PixelFormat, repairs: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Undo what an encoder did that let predictor 6 overflow (C8). Raises CodecError where that is undecided."""
    planes = values.reshape(fmt.rows, fmt.columns, -1)
    repaired = []
    for plane in (planes[:, :, place] for place in range(planes.shape[2])):
        meant = predictor.choose(plane, fmt.signed) if predictor.overflows(plane) else plane
        if meant is None:
            raise CodecError("predictor 6 of the JPEG frame overflows, and the encoder may have been faulty (C8)")
        repaired.append(meant)
    if all(np.shares_memory(plane, values) for plane in repaired):
        return values, repairs
    return np.stack(repaired, -1).reshape(values.shape), (*repairs, "undid a faulty predictor of a JPEG encoder (C8)")


def jpegls(stream: bytes, fmt: PixelFormat, *, first_left_out: bool = False) -> Decoded:
    """Decode JPEG-LS (T.87)."""
    header = _checked_header(stream, fmt)
    repairs: tuple[str, ...] = ()
    if not jpeg_stream.is_ended(Memory(stream)):
        stream, repairs = stream + jpeg_stream.EOI, (jpeg_stream.UNENDED,)
    encoded = Encoded(stream, header)
    values, _, second = decoder_table.decode(Kind.JPEG_LS, encoded, first_left_out=first_left_out)
    if values.shape != fmt.shape and values.shape == fmt.shape[2:] + fmt.shape[:2]:
        values = values.transpose(1, 2, 0)
    return _decoded(_from_stream(values, fmt, header.precision), header, fmt, repairs, second=second)


def jpeg2000(stream: bytes, fmt: PixelFormat, *, first_left_out: bool = False) -> Decoded:
    """Decode JPEG 2000 part 1 and HTJ2K (T.800, T.814): the codestream, without what a JP2 file says of its colours."""
    header = _checked_header(stream, fmt)
    stream = stream[jpeg2000_stream.codestream_offset(stream) :]
    end = jpeg2000_stream.end_of_tiles(Memory(stream), 0)
    if end is None:
        raise CodecError(jpeg2000_stream.CUT)
    repairs = jpeg2000_repairs(header, fmt)
    repaired = jpeg2000_stream.repair_after_tiles(stream, end)
    if repaired is not None:
        stream, repairs = repaired, (*repairs, jpeg2000_stream.REPAIRED)
    kind = Kind.HTJ2K if header.high_throughput else Kind.JPEG_2000
    values, _, second = decoder_table.decode(kind, Encoded(stream, header), first_left_out=first_left_out)
    decoded = _decoded(_from_stream(values, fmt, header.precision), header, fmt, repairs, second=second)
    # Only the first decoder passes on what OpenJPEG reports of code-blocks.
    return replace(decoded, remarks=(*decoded.remarks, Remark.DAMAGE_UNHEARD)) if second else decoded


def jpeg2000_repairs(header: Codestream, fmt: PixelFormat) -> tuple[str, ...]:
    """Return where the header of a JPEG 2000 stream overrules Pixel Representation (C5)."""
    if header.signed != fmt.signed:
        return ("the sign of the JPEG 2000 stream contradicts Pixel Representation (C5)",)
    return ()


def jpegxl(stream: bytes, fmt: PixelFormat, *, first_left_out: bool = False) -> Decoded:
    """Decode JPEG XL (ISO/IEC 18181); a recompressed JPEG comes out as RGB."""
    header = _checked_header(stream, fmt)
    values, _, second = decoder_table.decode(Kind.JPEG_XL, Encoded(stream, header), first_left_out=first_left_out)
    if values.dtype.itemsize > fmt.dtype.itemsize:
        raise CodecError(f"the frame decodes to {values.dtype}, the header says {fmt.dtype} (C6)")
    return _decoded(_from_stream(values, fmt, fmt.bits_stored), header, fmt, (), second=second)
