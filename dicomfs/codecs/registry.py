"""Transfer syntaxes to pure functions from the bytes of one frame to its stored values: the table CODECS.

Only this module chooses a decoder. It imports in a bare worker process.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from dicomfs.codecs import codestream, decoder_table, decoders, jpeg2000, native
from dicomfs.codecs.bitstream import JP2_SIGNATURE, CodecError
from dicomfs.codecs.codestream import sniff
from dicomfs.codecs.codestream_ends import followed
from dicomfs.codecs.colour import plain_photometric
from dicomfs.codecs.decoders import Decoded
from dicomfs.codecs.encoded import Kind
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.remarks import Remark
from dicomfs.codecs.rle import rle
from dicomfs.dicom import uids
from dicomfs.dicom.stream import Memory, Stream

__all__ = ["CODECS", "Codec", "CodecError", "Decoded", "Recognised", "decode", "recognise", "sniff"]

Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Codec:
    """How frames of one transfer syntax are decoded.

    *extension* names the files of its bare bitstreams, *kinds* are the codestreams that it may hold.
    """

    name: str
    decode: Callable[[Buffer, PixelFormat, int, bool], Decoded]
    extension: str = "bin"
    lossy: bool = False
    kinds: tuple[Kind, ...] = ()

    @property
    def slow(self) -> bool:
        """Return whether decoding takes several times as long as reading what was decoded from a disk."""
        return self.extension in ("j2k", "jls", "jxl") or (self.extension == "jpg" and not self.lossy)

    @property
    def missing(self) -> str:
        """Return what to install before this codec works; empty when it does."""
        for kind in self.kinds:
            if not any(decoder.installed for decoder in decoder_table.DECODERS[kind]):
                return decoder_table.lacking(kind)
        return ""

    @property
    def has_second(self) -> bool:
        """Return whether another decoder than the first is there for one of its kinds of codestream."""
        decoders_of = (decoder_table.DECODERS[kind] for kind in self.kinds)
        return any(decoder.installed for table in decoders_of for decoder in table[1:])


def decode(data: Buffer, fmt: PixelFormat, bit_offset: int = 0, *, first_left_out: bool = False) -> Decoded:
    """Decode one frame; native frames may start *bit_offset* bits into *data*. Raises CodecError.

    *first_left_out* asks the second decoder, where the first ended its process.
    """
    codec = CODECS.get(fmt.transfer_syntax)
    if codec is None:
        raise CodecError("no decoder reads this transfer syntax")
    return codec.decode(data, fmt, bit_offset, first_left_out)


def has_second(fmt: PixelFormat) -> bool:
    """Return whether a frame may be decoded by another decoder than the first."""
    codec = CODECS.get(fmt.transfer_syntax)
    return codec is not None and codec.has_second


# Native data


def _native(data: Buffer, fmt: PixelFormat, bit_offset: int, first_left_out: bool = False) -> Decoded:
    """Decode a native frame (PS3.5 A.1 to A.3)."""
    return Decoded(native.unpack(data, fmt, bit_offset), plain_photometric(fmt))


def _encapsulated(data: Buffer, fmt: PixelFormat, bit_offset: int, first_left_out: bool = False) -> Decoded:
    """Decode a native frame in a fragment of its own: little endian, from the first bit (PS3.5 A.4.11)."""
    return Decoded(native.unpack(data, replace(fmt, big_endian=False)), plain_photometric(fmt))


def _deflated(data: Buffer, fmt: PixelFormat, bit_offset: int, first_left_out: bool = False) -> Decoded:
    """Inflate a native frame (PS3.5 A.4.13), never to more bytes than it has and the one that pads it.

    The stream ends where the frame does, and at most a pad byte follows; otherwise it is damaged.
    """
    size = -(-fmt.frame_bits // 8)
    errors = []
    for wbits in (-15, 15, 31):  # as the standard has it; with the head of zlib; of gzip
        inflater = zlib.decompressobj(wbits)
        try:
            frame = inflater.decompress(data, size + size % 2 + 1)
        except zlib.error as error:
            errors.append(str(error))
            continue
        if len(frame) > size + size % 2:
            raise CodecError(f"the frame inflates to more than the {size} bytes that the header asks for (E21)")
        if len(frame) >= size and not (inflater.eof and inflater.unused_data in (b"", b"\0")):
            raise CodecError("the data of the frame are damaged: they do not end where the frame does (E16)")
        return _encapsulated(frame, fmt, 0)
    raise CodecError(f"the frame cannot be inflated: {errors[0]}")


# Compressed data: what a frame really is decides (E24)


@dataclass(frozen=True, slots=True)
class Recognised:
    """A recognised frame: *kind* by the key of its decoder, after *start* bytes of padding, or *scrambled* (C12).

    *head* is its first bytes without padding and scrambling, as many as were read. *repairs* are sentences on
    departures from the standard.
    """

    kind: str
    start: int
    scrambled: bool
    head: bytes
    repairs: tuple[str, ...]


def recognise(stream: Stream, fmt: PixelFormat) -> Recognised:
    """Return what an encoded frame is, whatever its transfer syntax says (E24). Raises CodecError."""
    head = stream.pread(codestream.LEADING + 64, 0)
    start, scrambled, repairs = 0, False, []
    kind = sniff(head)
    if kind == "bin":
        start = codestream.find_start(head) or 0
        kind = sniff(head[start:])
        if start:
            repairs.append("skipped padding before the codestream (E15)")
    expected = CODECS[fmt.transfer_syntax]
    if kind == "bin" and expected.extension == "j2k":
        plain = jpeg2000.scrambled_head(stream)
        if plain is not None:
            kind, scrambled, head = "j2k", True, plain
            repairs.append(jpeg2000.UNSCRAMBLED)
    if kind == "bin":
        raise CodecError(f"the frame is not a {expected.name} codestream, nor any other that is known")
    if kind in ("jp2", "jph"):
        repairs.append(f"the frame is a {kind.upper()} file where its codestream alone should be (E17)")
        kind = "j2k"
    if kind != expected.extension:
        repairs.append(f"the frame is {_NAMES[kind]}, not {expected.name} as the transfer syntax says (E24)")
    return Recognised(kind, start, scrambled, head[start:], tuple(repairs))


def _compressed(data: Buffer, fmt: PixelFormat, bit_offset: int, first_left_out: bool = False) -> Decoded:
    """Decode a frame by its content, which overrules the transfer syntax."""
    stream = bytes(data)
    found = recognise(Memory(stream), fmt)
    stream = jpeg2000.unscramble(stream) if found.scrambled else stream[found.start :]
    try:
        decoded = _DECODERS[found.kind](stream, fmt, first_left_out=first_left_out)
    except struct.error as error:
        raise CodecError("the codestream ends inside its header") from error
    if decoded.values.shape != fmt.shape:
        raise CodecError(f"the frame decodes to {decoded.values.shape}, the header says {fmt.shape} (E21)")
    kind = "jp2" if stream.startswith(JP2_SIGNATURE) else _FOLLOWED_AS.get(found.kind, "")
    remarks = (Remark.FOLLOWED, *decoded.remarks) if followed(kind, stream) else decoded.remarks
    return replace(decoded, repairs=found.repairs + decoded.repairs, remarks=remarks)


_DECODERS: dict[str, Callable[..., Decoded]] = {
    "jpg": decoders.jpeg,
    "jls": decoders.jpegls,
    "j2k": decoders.jpeg2000,
    "jxl": decoders.jpegxl,
    "rle": rle,
}

_FOLLOWED_AS = {"jpg": "jpeg", "jls": "jpeg", "j2k": "j2k", "jxl": "jxl"}
_NAMES = {"jpg": "JPEG", "jls": "JPEG-LS", "j2k": "JPEG 2000", "jxl": "JPEG XL", "rle": "RLE"}

_NATIVE = Codec("uncompressed", _native)
_LOSSY_JPEG = (Kind.JPEG_8, Kind.JPEG_12)
_LOSSLESS_JPEG = (Kind.JPEG_LOSSLESS_8, Kind.JPEG_LOSSLESS)

CODECS: dict[str, Codec] = {
    uids.ImplicitVRLittleEndian: _NATIVE,
    uids.ExplicitVRLittleEndian: _NATIVE,
    uids.DeflatedExplicitVRLittleEndian: _NATIVE,
    uids.ExplicitVRBigEndian: _NATIVE,
    uids.PrivateGEImplicitVRBigEndianPixelData: _NATIVE,
    uids.EncapsulatedUncompressedExplicitVRLittleEndian: Codec("encapsulated uncompressed", _encapsulated),
    uids.DeflatedImageFrameCompression: Codec("deflated frames", _deflated),
    uids.RLELossless: Codec("RLE", _compressed, "rle", kinds=(Kind.RLE,)),
    uids.JPEGBaseline8Bit: Codec("JPEG baseline", _compressed, "jpg", True, (Kind.JPEG_8,)),
    uids.JPEGExtended12Bit: Codec("JPEG extended", _compressed, "jpg", True, _LOSSY_JPEG),
    uids.JPEGExtended35: Codec("JPEG extended (3, 5)", _compressed, "jpg", True, _LOSSY_JPEG),
    uids.JPEGSpectralSelectionNonHierarchical68: Codec(
        "JPEG spectral selection", _compressed, "jpg", True, _LOSSY_JPEG
    ),
    uids.JPEGSpectralSelectionNonHierarchical79: Codec(
        "JPEG spectral selection (7, 9)", _compressed, "jpg", True, _LOSSY_JPEG
    ),
    uids.JPEGFullProgressionNonHierarchical1012: Codec("JPEG progressive", _compressed, "jpg", True, _LOSSY_JPEG),
    uids.JPEGFullProgressionNonHierarchical1113: Codec(
        "JPEG progressive (11, 13)", _compressed, "jpg", True, _LOSSY_JPEG
    ),
    uids.JPEGLossless: Codec("JPEG lossless", _compressed, "jpg", False, _LOSSLESS_JPEG),
    uids.JPEGLosslessNonHierarchical15: Codec("JPEG lossless (15)", _compressed, "jpg", False, _LOSSLESS_JPEG),
    uids.JPEGLosslessSV1: Codec("JPEG lossless SV1", _compressed, "jpg", False, _LOSSLESS_JPEG),
    uids.JPEGLSLossless: Codec("JPEG-LS lossless", _compressed, "jls", False, (Kind.JPEG_LS,)),
    uids.JPEGLSNearLossless: Codec("JPEG-LS near-lossless", _compressed, "jls", True, (Kind.JPEG_LS,)),
    uids.JPEG2000Lossless: Codec("JPEG 2000 lossless", _compressed, "j2k", False, (Kind.JPEG_2000,)),
    uids.JPEG2000: Codec("JPEG 2000", _compressed, "j2k", True, (Kind.JPEG_2000,)),
    uids.JPEG2000MCLossless: Codec("JPEG 2000 part 2 lossless", _compressed, "j2k", False, (Kind.JPEG_2000,)),
    uids.JPEG2000MC: Codec("JPEG 2000 part 2", _compressed, "j2k", True, (Kind.JPEG_2000,)),
    uids.JPEGXLLossless: Codec("JPEG XL lossless", _compressed, "jxl", False, (Kind.JPEG_XL,)),
    uids.JPEGXLJPEGRecompression: Codec("JPEG XL recompressed JPEG", _compressed, "jxl", True, (Kind.JPEG_XL,)),
    uids.JPEGXL: Codec("JPEG XL", _compressed, "jxl", True, (Kind.JPEG_XL,)),
    uids.HTJ2KLossless: Codec("HTJ2K lossless", _compressed, "j2k", False, (Kind.HTJ2K,)),
    uids.HTJ2KLosslessRPCL: Codec("HTJ2K lossless RPCL", _compressed, "j2k", False, (Kind.HTJ2K,)),
    uids.HTJ2K: Codec("HTJ2K", _compressed, "j2k", True, (Kind.HTJ2K,)),
}
