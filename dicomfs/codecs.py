"""Transfer syntaxes to pure functions from the bytes of one frame to its stored values: the table CODECS.

Only this module calls decoders. It imports in a bare worker process, and every failure of a decoder leaves it
as a CodecError. What a stream claims is compared with the Image Pixel attributes before a decoder sees it.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import imagecodecs
import numpy as np
from imagecodecs import (
    jpeg2k_decode,
    jpeg8_decode,
    jpegls_decode,
    jpegxl_decode,
    packbits_decode,
)

from dicomfs import codestream, native
from dicomfs.codestream import CodecError, Codestream, sniff
from dicomfs.pixelformat import PixelFormat

__all__ = ["CODECS", "Codec", "CodecError", "Decoded", "decode", "preload", "sniff"]

Buffer = bytes | memoryview

# What decoders raise on bad input; imagecodecs' own errors are RuntimeErrors.
_DECLINED = (RuntimeError, ValueError, TypeError, OverflowError, MemoryError, IndexError, OSError)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The stored values of one frame.

    *values* has the shape and type that the PixelFormat states. *photometric* says what they are now, which is
    "RGB" where a decoder undid a colour transform. *repairs* are sentences on what was mended or overruled.
    """

    values: np.ndarray
    photometric: str
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Codec:
    """How frames of one transfer syntax are decoded; *extension* names the files of its bare bitstreams."""

    name: str
    decode: Callable[[Buffer, PixelFormat, int], Decoded]
    extension: str = "bin"
    lossy: bool = False
    needs: str = ""

    @property
    def missing(self) -> str:
        """Say what to install before this codec works; empty when it does."""
        if not self.needs or getattr(imagecodecs, self.needs).available:
            return ""
        return f"this build of imagecodecs has no {self.needs}: pip install --upgrade imagecodecs"


def decode(data: Buffer, fmt: PixelFormat, bit_offset: int = 0) -> Decoded:
    """Decode one frame; native frames may start *bit_offset* bits into *data*. Raises CodecError."""
    codec = CODECS.get(fmt.transfer_syntax)
    if codec is None:
        raise CodecError(f"no decoder reads transfer syntax {fmt.transfer_syntax}")
    return codec.decode(data, fmt, bit_offset)


def preload() -> None:
    """Import the decoders that are otherwise imported at first use, before a sandbox forbids opening files."""
    import openjpeg.utils  # noqa: F401
    import PIL.JpegImagePlugin  # noqa: F401


# Native data


def _native(data: Buffer, fmt: PixelFormat, bit_offset: int) -> Decoded:
    """Decode a native frame (PS3.5 A.1 to A.3)."""
    return Decoded(native.unpack(data, fmt, bit_offset), _plain_photometric(fmt))


def _encapsulated(data: Buffer, fmt: PixelFormat, bit_offset: int) -> Decoded:
    """Decode a native frame in a fragment of its own: little endian, from the first bit (PS3.5 A.4.11)."""
    return Decoded(native.unpack(data, replace(fmt, big_endian=False)), _plain_photometric(fmt))


def _deflated(data: Buffer, fmt: PixelFormat, bit_offset: int) -> Decoded:
    """Inflate a native frame (PS3.5 A.4.13), never to more bytes than it has."""
    size = -(-fmt.frame_bits // 8)
    errors = []
    for wbits in (-15, 15, 31):  # as the standard has it; with the head of zlib; of gzip
        try:
            frame = zlib.decompressobj(wbits).decompress(data, size)
        except zlib.error as error:
            errors.append(str(error))
            continue
        return _encapsulated(frame, fmt, 0)
    raise CodecError(f"the frame cannot be inflated: {errors[0]}")


def _plain_photometric(fmt: PixelFormat) -> str:
    """Name what native samples are: 4:2:2 has been brought to full resolution, RCT and ICT are JPEG 2000's."""
    if fmt.photometric in ("YBR_RCT", "YBR_ICT"):
        return "RGB"
    return {"YBR_FULL_422": "YBR_FULL", "YBR_PARTIAL_422": "YBR_PARTIAL"}.get(fmt.photometric, fmt.photometric)


# Compressed data: what a frame really is decides (E24)


def _compressed(data: Buffer, fmt: PixelFormat, bit_offset: int) -> Decoded:
    """Decode a frame by its content, which overrules the transfer syntax."""
    stream = bytes(data)
    repairs: tuple[str, ...] = ()
    kind = sniff(stream[:64])
    if kind == "bin":
        start = codestream.find_start(stream)
        if start:
            stream, repairs = stream[start:], ("skipped padding before the codestream (E15)",)
            kind = sniff(stream[:64])
    expected = CODECS[fmt.transfer_syntax]
    if kind == "bin" and expected.extension == "j2k":
        unscrambled = codestream.unscramble(stream)
        if unscrambled is not None:
            stream, kind, repairs = unscrambled, "j2k", ("undid the scrambling of a Zeiss JPEG 2000 file (C12)",)
    if kind == "bin":
        raise CodecError(f"the frame is not a {expected.name} codestream, nor any other that is known")
    if kind in ("jp2", "jph"):
        kind = "j2k"
    if kind != expected.extension:
        repairs += (f"the frame is {_NAMES[kind]}, not {expected.name} as the transfer syntax says (E24)",)
    try:
        decoded = _DECODERS[kind](stream, fmt)
    except struct.error as error:
        raise CodecError("the codestream ends inside its header") from error
    if decoded.values.shape != fmt.shape:
        raise CodecError(f"the frame decodes to {decoded.values.shape}, the header says {fmt.shape} (E21)")
    return replace(decoded, repairs=repairs + decoded.repairs)


def _checked_header(stream: bytes, fmt: PixelFormat) -> Codestream:
    """Read the header of *stream* and refuse what does not match the Image Pixel attributes (E21)."""
    header = codestream.read_header(stream)
    if (header.rows, header.columns) != (fmt.rows, fmt.columns):
        raise CodecError(
            f"the frame is {header.columns} x {header.rows} pixels, the header says {fmt.columns} x {fmt.rows} (E21)"
        )
    if header.components not in (0, fmt.samples):
        raise CodecError(f"the frame has {header.components} components, the header says {fmt.samples} (E21)")
    if header.precision > fmt.dtype.itemsize * 8:
        raise CodecError(f"the frame has {header.precision} bits a sample, the header says {fmt.bits_allocated} (C6)")
    return header


def _run(decoder: Callable[[], np.ndarray], fallback: Callable[[], np.ndarray] | None = None) -> np.ndarray:
    """Call *decoder*, and *fallback* where it declines; turn every failure into a CodecError."""
    try:
        return decoder()
    except _DECLINED as error:
        if fallback is not None:
            try:
                return fallback()
            except _DECLINED:
                pass  # the first decoder's reason is the better one
        raise CodecError(f"the frame cannot be decoded: {error}") from error


def _from_stream(values: np.ndarray, fmt: PixelFormat, precision: int) -> np.ndarray:
    """Give decoded samples the type of the stored values.

    The precision of the stream, not Bits Stored, tells where the sign bit is; whether there is one, Pixel
    Representation tells (C5, C6). Only where no sample reaches beyond Bits Stored, the sign cannot be further up (C7).
    """
    if values.dtype.kind not in "iub":
        raise CodecError(f"the frame decodes to {values.dtype} samples")
    values = np.ascontiguousarray(values)
    if fmt.signed and fmt.bits_stored < precision:
        highest = int(values.view(f"<u{values.itemsize}").max())
        precision = precision if highest >> fmt.bits_stored else fmt.bits_stored
    return native.cut(values, fmt.dtype, precision)


def _jpeg(stream: bytes, fmt: PixelFormat) -> Decoded:
    """Decode any JPEG process but JPEG-LS (T.81)."""
    header = _checked_header(stream, fmt)
    if not codestream.jpeg_is_whole(stream):
        raise CodecError("the JPEG frame is cut short (E16)")
    repairs: tuple[str, ...] = ()
    mended = codestream.mend_spectral_selection(stream)
    if mended is not None:
        stream, repairs = mended, ("corrected the spectral selection of a JPEG scan (E22)",)
    source, target, photometric = _jpeg_colour(header, fmt)
    values = _run(
        lambda: jpeg8_decode(stream, colorspace=source, outcolorspace=target),
        lambda: _pillow(stream, header),
    )
    return Decoded(_from_stream(values, fmt, header.precision), photometric, repairs)


def _jpeg_colour(header: Codestream, fmt: PixelFormat) -> tuple[str | None, str | None, str]:
    """Choose the colour space of a JPEG, the one to decode to, and what the values then are (C1, C2)."""
    if header.components != 3:
        return None, None, fmt.photometric
    stated = fmt.photometric.startswith("YBR")
    if header.transform is not None:
        ybr = header.transform == 1
    elif header.lossless:
        ybr = stated
    elif header.ids == b"RGB":
        ybr = False
    else:
        ybr = header.jfif or stated
    if header.lossless:
        # Nothing is transformed, so that the stored values are the ones that were compressed.
        return "RGB", "RGB", "YBR_FULL" if ybr else "RGB"
    return ("YCbCr" if ybr else "RGB"), "RGB", "RGB"


def _pillow(stream: bytes, header: Codestream) -> np.ndarray:
    """Decode an 8-bit JPEG with Pillow, whose libjpeg is lenient in other places."""
    import io

    import PIL.Image

    if header.precision != 8 or header.components != 1:
        raise ValueError("Pillow is asked for 8-bit grey frames only")
    return np.asarray(PIL.Image.open(io.BytesIO(stream)))


def _jpegls(stream: bytes, fmt: PixelFormat) -> Decoded:
    """Decode JPEG-LS (T.87)."""
    header = _checked_header(stream, fmt)
    repairs: tuple[str, ...] = ()
    if not stream.rstrip(b"\0").endswith(b"\xff\xd9"):
        # CharLS searches for seconds for the end of a stream that has none.
        stream, repairs = stream + b"\xff\xd9", ("the JPEG-LS frame has no end marker (E16)",)
    values = _run(lambda: jpegls_decode(stream))
    if values.shape != fmt.shape and values.shape == fmt.shape[2:] + fmt.shape[:2]:
        values = values.transpose(1, 2, 0)
    return Decoded(_from_stream(values, fmt, header.precision), _plain_photometric(fmt), repairs)


def _jpeg2000(stream: bytes, fmt: PixelFormat) -> Decoded:
    """Decode JPEG 2000 part 1 and HTJ2K (T.800, T.814)."""
    header = _checked_header(stream, fmt)
    if not codestream.jpeg2000_is_whole(stream):
        raise CodecError("the JPEG 2000 frame is cut short (E16)")
    repairs: tuple[str, ...] = ()
    mended = codestream.mend_after_tiles(stream)
    if mended is not None:
        stream, repairs = mended, ("dropped a misplaced comment from the JPEG 2000 stream (C9)",)
    # OpenJPEG for HTJ2K too: imagecodecs' OpenJPH is twice as fast, but drops the errors of damaged streams and
    # lets samples beyond the range wrap around, so that white shows as black.
    values = _run(lambda: jpeg2k_decode(stream), lambda: _openjpeg(stream))
    photometric = fmt.photometric
    if header.components == 3 and (header.mct or photometric in ("YBR_RCT", "YBR_ICT")):
        if not header.mct:
            repairs += (f"{photometric}, but the stream has no colour transform: taken as RGB (C4)",)
        photometric = "RGB"
    if header.signed != fmt.signed:
        repairs += ("the sign of the JPEG 2000 stream contradicts Pixel Representation (C5)",)
    return Decoded(_from_stream(values, fmt, header.precision), photometric, repairs)


def _openjpeg(stream: bytes) -> np.ndarray:
    """Decode JPEG 2000 with pylibjpeg-openjpeg, which forgives some broken marker segments (C9)."""
    import openjpeg.utils

    return np.asarray(openjpeg.utils.decode(stream))


def _jpegxl(stream: bytes, fmt: PixelFormat) -> Decoded:
    """Decode JPEG XL (ISO/IEC 18181); a recompressed JPEG comes out as RGB."""
    _checked_header(stream, fmt)
    values = _run(lambda: jpegxl_decode(stream, index=0))
    if values.dtype.itemsize > fmt.dtype.itemsize:
        raise CodecError(f"the frame decodes to {values.dtype}, the header says {fmt.dtype} (C6)")
    photometric = "RGB" if fmt.samples == 3 else fmt.photometric
    return Decoded(_from_stream(values, fmt, fmt.bits_stored), photometric)


def _rle(stream: bytes, fmt: PixelFormat) -> Decoded:
    """Decode RLE (PS3.5 Annex G): byte planes, most significant first, colour always by plane."""
    if fmt.bits_allocated == 1:
        packed = _rle_planes(stream, 1, -(-fmt.pixels * fmt.samples // 8))
        return Decoded(native.unpack(packed.reshape(-1).data, replace(fmt, big_endian=False)), fmt.photometric)
    if fmt.bits_allocated == 12:
        raise CodecError("samples of 12 bits have no byte planes (N7)")
    size = fmt.bits_allocated // 8
    planes = _rle_planes(stream, size * fmt.samples, fmt.pixels).reshape(fmt.samples, size, fmt.pixels)
    samples = np.empty((fmt.samples, fmt.pixels, size), np.uint8)
    for place in range(size):
        samples[:, :, size - 1 - place] = planes[:, place]
    values = samples.reshape(-1).view(f"<{'f' if fmt.real else 'u'}{size}")
    return Decoded(native.stored_values(native.arrange(values, fmt, planar=True), fmt), _plain_photometric(fmt))


def _rle_planes(stream: bytes, count: int, length: int) -> np.ndarray:
    """Decode the *count* segments of an RLE frame to *length* bytes each (PS3.5 G.3, G.5).

    The segments are taken apart here: imagecodecs' own decoder of whole frames crashes on a wrong header.
    """
    segments, *offsets = struct.unpack_from("<16I", stream)
    if segments != count:
        raise CodecError(f"the RLE frame has {segments} segments, the header asks for {count} (E21)")
    ends = [*offsets[1:count], len(stream)]
    planes = np.empty((count, length), np.uint8)
    for index, (start, end) in enumerate(zip(offsets, ends, strict=False)):
        if not 64 <= start <= end <= len(stream):
            raise CodecError("the RLE frame's segments lie outside of it (L7)")
        # Some encoders go on behind the last pixel; one run more than a plane is allowed for.
        decoded = _run(partial(_packbits, stream[start:end], length + 128))
        if len(decoded) < length:
            raise CodecError(f"an RLE segment has {len(decoded)} of {length} bytes (E16)")
        planes[index] = decoded[:length]
    return planes


def _packbits(segment: bytes, most: int) -> np.ndarray:
    """Decode one RLE segment (PS3.5 G.3) to at most *most* bytes."""
    return np.frombuffer(packbits_decode(segment, out=bytearray(most)), np.uint8)


_DECODERS: dict[str, Callable[[bytes, PixelFormat], Decoded]] = {
    "jpg": _jpeg,
    "jls": _jpegls,
    "j2k": _jpeg2000,
    "jxl": _jpegxl,
    "rle": _rle,
}

_NAMES = {"jpg": "JPEG", "jls": "JPEG-LS", "j2k": "JPEG 2000", "jxl": "JPEG XL", "rle": "RLE"}

_NATIVE = Codec("uncompressed", _native)

CODECS: dict[str, Codec] = {
    "1.2.840.10008.1.2": _NATIVE,
    "1.2.840.10008.1.2.1": _NATIVE,
    "1.2.840.10008.1.2.1.99": _NATIVE,
    "1.2.840.10008.1.2.2": _NATIVE,
    "1.2.840.113619.5.2": _NATIVE,
    "1.2.840.10008.1.2.1.98": Codec("encapsulated uncompressed", _encapsulated),
    "1.2.840.10008.1.2.8.1": Codec("deflated frames", _deflated),
    "1.2.840.10008.1.2.5": Codec("RLE", _compressed, "rle", needs="PACKBITS"),
    "1.2.840.10008.1.2.4.50": Codec("JPEG baseline", _compressed, "jpg", True, "JPEG8"),
    "1.2.840.10008.1.2.4.51": Codec("JPEG extended", _compressed, "jpg", True, "JPEG8"),
    "1.2.840.10008.1.2.4.52": Codec("JPEG extended (3, 5)", _compressed, "jpg", True, "JPEG8"),
    "1.2.840.10008.1.2.4.53": Codec("JPEG spectral selection", _compressed, "jpg", True, "JPEG8"),
    "1.2.840.10008.1.2.4.54": Codec("JPEG spectral selection (7, 9)", _compressed, "jpg", True, "JPEG8"),
    "1.2.840.10008.1.2.4.55": Codec("JPEG progressive", _compressed, "jpg", True, "JPEG8"),
    "1.2.840.10008.1.2.4.56": Codec("JPEG progressive (11, 13)", _compressed, "jpg", True, "JPEG8"),
    "1.2.840.10008.1.2.4.57": Codec("JPEG lossless", _compressed, "jpg", False, "JPEG8"),
    "1.2.840.10008.1.2.4.58": Codec("JPEG lossless (15)", _compressed, "jpg", False, "JPEG8"),
    "1.2.840.10008.1.2.4.70": Codec("JPEG lossless SV1", _compressed, "jpg", False, "JPEG8"),
    "1.2.840.10008.1.2.4.80": Codec("JPEG-LS lossless", _compressed, "jls", False, "JPEGLS"),
    "1.2.840.10008.1.2.4.81": Codec("JPEG-LS near-lossless", _compressed, "jls", True, "JPEGLS"),
    "1.2.840.10008.1.2.4.90": Codec("JPEG 2000 lossless", _compressed, "j2k", False, "JPEG2K"),
    "1.2.840.10008.1.2.4.91": Codec("JPEG 2000", _compressed, "j2k", True, "JPEG2K"),
    "1.2.840.10008.1.2.4.92": Codec("JPEG 2000 part 2 lossless", _compressed, "j2k", False, "JPEG2K"),
    "1.2.840.10008.1.2.4.93": Codec("JPEG 2000 part 2", _compressed, "j2k", True, "JPEG2K"),
    "1.2.840.10008.1.2.4.110": Codec("JPEG XL lossless", _compressed, "jxl", False, "JPEGXL"),
    "1.2.840.10008.1.2.4.111": Codec("JPEG XL recompressed JPEG", _compressed, "jxl", True, "JPEGXL"),
    "1.2.840.10008.1.2.4.112": Codec("JPEG XL", _compressed, "jxl", True, "JPEGXL"),
    "1.2.840.10008.1.2.4.201": Codec("HTJ2K lossless", _compressed, "j2k", False, "JPEG2K"),
    "1.2.840.10008.1.2.4.202": Codec("HTJ2K lossless RPCL", _compressed, "j2k", False, "JPEG2K"),
    "1.2.840.10008.1.2.4.203": Codec("HTJ2K", _compressed, "j2k", True, "JPEG2K"),
}
