"""Stored values to frames of a copy: uncompressed, or losslessly in RLE, JPEG-LS, JPEG 2000 and HTJ2K.

Only this module calls encoders. Each encoded frame is decoded again and compared before it is returned: a copy is the
same, or there is none.
"""

import importlib.util
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from dicomfs.codecs import packbits, registry
from dicomfs.codecs.bitstream import CodecError
from dicomfs.codecs.decoder_table import DECLINED
from dicomfs.codecs.decoders import Decoded
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom import uids

# Beyond, OpenJPEG does not decode HTJ2K, and loses bits of JPEG 2000 from 24 bits on with a colour transform.
_MAX_BITS = 16
# Segments of an RLE frame, and bytes of its header (PS3.5 G.5).
_MAX_SEGMENTS, _RLE_HEADER_BYTES = 15, 64


@dataclass(frozen=True, slots=True)
class Encoder:
    """One lossless encoder: a function, and whether it can hold the samples of a format."""

    encode: Callable[[np.ndarray, PixelFormat], bytes]
    holds: Callable[[PixelFormat], bool]
    ours: bool = False
    """Whether it works without imagecodecs."""


@cache
def _installed() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


@cache
def _imagecodecs(name: str) -> Callable[..., Any] | None:
    """Load an encoder of imagecodecs; None where this build has none."""
    try:
        encoder: Callable[..., Any] = getattr(importlib.import_module("imagecodecs"), name)
    except (ImportError, AttributeError):
        return None
    return encoder


def load_all() -> None:
    """Load every encoder that there is."""
    for name in ("htj2k_encode", "jpeg2k_encode", "jpegls_encode", "packbits_encode"):
        _imagecodecs(name)


def _needed(name: str) -> Callable[..., Any]:
    """Load an encoder of imagecodecs. Raises CodecError where there is none."""
    encoder = _imagecodecs(name)
    if encoder is None:
        raise CodecError(f"{name} of imagecodecs is not here: pip install --upgrade imagecodecs")
    return encoder


def target(plain: PixelFormat, transfer_syntax: str) -> PixelFormat | None:
    """Return how frames are stored in *transfer_syntax* that are stored as *plain* in an uncompressed copy.

    None where the syntax cannot hold them without loss, or nothing here writes it.
    """
    encoder = ENCODERS[transfer_syntax]
    if plain.real or plain.samples not in (1, 3) or not encoder.holds(plain) or not (encoder.ours or _installed()):
        return None
    photometric = plain.photometric
    if photometric == "RGB" and transfer_syntax in (uids.JPEG2000Lossless, uids.HTJ2KLossless):
        photometric = "YBR_RCT"
    # RLE has one colour after the other, whatever Planar Configuration was (PS3.5 G.2).
    planar = plain.samples > 1 and transfer_syntax == uids.RLELossless
    return replace(plain, transfer_syntax=transfer_syntax, photometric=photometric, planar=planar)


def source_format(fmt: PixelFormat) -> PixelFormat:
    """Return how to decode a frame for a copy: all its bits where some next to the value are overlays (G21)."""
    if not fmt.spare_bits:
        return fmt
    whole = fmt.dtype.itemsize * 8 if fmt.bits_allocated > 1 else 1
    return replace(fmt, spare_bits=False, signed=False, bits_stored=whole, high_bit=whole - 1)


def encode(decoded: Decoded, fmt: PixelFormat) -> bytes | memoryview:
    """Make a frame that is stored as *fmt* says, uncompressed or not, of decoded values. Raises CodecError."""
    values = _checked(decoded, fmt)
    if fmt.transfer_syntax == uids.ExplicitVRLittleEndian:
        return values.reshape(-1).view(np.uint8).data
    encoder = ENCODERS[fmt.transfer_syntax]
    encoded = _try(encoder.encode, values, fmt)
    again = registry.decode(encoded, source_format(fmt)).values
    if not np.array_equal(again.view(values.dtype), values):
        raise CodecError("the frame would not be the same in this transfer syntax")
    return encoded


def _try(encoder: Callable[[np.ndarray, PixelFormat], bytes], values: np.ndarray, fmt: PixelFormat) -> bytes:
    """Call an encoder; turn its failure into a CodecError."""
    try:
        return encoder(values, fmt)
    except CodecError:
        raise
    except DECLINED as error:
        raise CodecError(f"the frame cannot be encoded: {error}") from error


def _checked(decoded: Decoded, fmt: PixelFormat) -> np.ndarray:
    """Refuse values that *fmt* does not describe; return them in rows and in its type."""
    means = "RGB" if fmt.photometric == "YBR_RCT" else fmt.photometric
    if decoded.photometric != means:
        raise CodecError("the frame has another colour model than the first one (M8)")
    values = np.ascontiguousarray(decoded.values)
    if values.shape != fmt.shape or values.dtype.itemsize != fmt.dtype.itemsize:
        raise CodecError(f"the frame decodes to {values.dtype} {values.shape} (E21)")
    if fmt.spare_bits:
        return values
    low = -(1 << fmt.bits_stored - 1) if fmt.signed else 0
    if values.size and (int(values.min()) < low or int(values.max()) >= low + (1 << fmt.bits_stored)):
        raise CodecError(f"the frame has values of more than {fmt.bits_stored} bits, which Bits Stored denies (C6)")
    return values


# Syntaxes


def encode_rle(values: np.ndarray, fmt: PixelFormat) -> bytes:
    """Encode byte planes, most significant first, each row on its own (PS3.5 G.2 to G.5)."""
    if fmt.bits_allocated == 1:
        planes = [np.packbits(values, bitorder="little")[None]]
    else:
        size = values.itemsize
        octets = values.view(np.uint8).reshape(fmt.rows, fmt.columns, fmt.samples, size)
        planes = [octets[:, :, sample, place] for sample in range(fmt.samples) for place in reversed(range(size))]
    encode_plane = _imagecodecs("packbits_encode") or packbits.encode
    segments = [encode_plane(np.ascontiguousarray(plane)) for plane in planes]
    segments = [segment + bytes(len(segment) % 2) for segment in segments]
    starts, position = [], _RLE_HEADER_BYTES
    for segment in segments:
        starts.append(position)
        position += len(segment)
    starts += [0] * (_MAX_SEGMENTS - len(starts))
    return struct.pack("<16L", len(segments), *starts) + b"".join(segments)


def _jpegls(values: np.ndarray, fmt: PixelFormat) -> bytes:
    """Encode all bits of the samples, the sign as it stands: JPEG-LS knows no sign (C7)."""
    unsigned = values.view(f"<u{values.itemsize}")
    return bytes(_needed("jpegls_encode")(unsigned, out=2 * values.nbytes + 4096))


def _jpeg2000(values: np.ndarray, fmt: PixelFormat) -> bytes:
    """Encode Bits Stored with their sign, reversibly; of a wider type imagecodecs would encode more."""
    narrow = values.astype(f"<{'i' if fmt.signed else 'u'}{_bytes(fmt)}")
    return bytes(
        _needed("jpeg2k_encode")(
            narrow,
            level=0,
            codecformat="j2k",
            reversible=True,
            mct=fmt.photometric == "YBR_RCT",
            bitspersample=fmt.bits_stored,
            numthreads=1,
        )
    )


def _htj2k(values: np.ndarray, fmt: PixelFormat) -> bytes:
    """Encode Bits Stored with their sign, reversibly.

    imagecodecs states the bits of the type, not those that are stored. Signed samples are not shifted before they are
    coded (T.800 G.1), so what is shifted here is coded as the encoder would have done it for the right number of
    bits, and only the size marker segment remains to be corrected (A.5.1).
    """
    half = 0 if fmt.signed else 1 << fmt.bits_stored - 1
    shifted = (values.astype(np.int32) - half).astype(f"<i{_bytes(fmt)}")
    stream = bytearray(_needed("htj2k_encode")(shifted, rgb=fmt.photometric == "YBR_RCT"))
    for component in range(fmt.samples):
        stream[42 + 3 * component] = fmt.signed << 7 | fmt.bits_stored - 1
    return bytes(stream)


def _bytes(fmt: PixelFormat) -> int:
    """Return the number of bytes that Bits Stored of a sample need."""
    return 1 if fmt.bits_stored <= 8 else 2


def _rle_holds(fmt: PixelFormat) -> bool:
    return fmt.bits_allocated // 8 * fmt.samples <= _MAX_SEGMENTS


def _jpegls_holds(fmt: PixelFormat) -> bool:
    return fmt.bits_allocated in (8, 16) and not fmt.spare_bits


def _jpeg2000_holds(fmt: PixelFormat) -> bool:
    return fmt.bits_stored <= _MAX_BITS and not fmt.spare_bits


ENCODERS = {
    uids.RLELossless: Encoder(encode_rle, _rle_holds, ours=True),
    uids.JPEGLSLossless: Encoder(_jpegls, _jpegls_holds),
    uids.JPEG2000Lossless: Encoder(_jpeg2000, _jpeg2000_holds),
    uids.HTJ2KLossless: Encoder(_htj2k, _jpeg2000_holds),
}
