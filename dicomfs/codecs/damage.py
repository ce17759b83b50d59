"""Damage that decoders pass over: signs that the data of a frame are not those that its encoder wrote.

Decoders accept damaged data as long as they are a codestream of some image. The signs are data that end too early
or too late, and values that no sample has. Every function here raises CodecError where it doubts a frame; none
doubts one that is sound.
"""

import re
from dataclasses import replace

import numpy as np
from simplejpeg import decode_jpeg

from dicomfs.codecs import jpeg as jpeg_stream
from dicomfs.codecs.bitstream import CodecError
from dicomfs.codecs.decoder_table import Decode
from dicomfs.codecs.encoded import Encoded
from dicomfs.codecs.lossless_end import ends_elsewhere

# What the second decoder cannot do, which says nothing about the data.
_CANNOT = re.compile("[Nn]ot supported|not implemented|[Uu]nsupported|omitted|[Mm]emory|Could not determine")
_COLOURS = {1: "GRAY", 3: "RGB", 4: "CMYK"}


def _damaged(what: str) -> CodecError:
    return CodecError(f"the data of the frame are damaged: {what} (E16)")


def check_jpeg(encoded: Encoded, scans: jpeg_stream.Scans, decode: Decode) -> None:
    """Refuse a JPEG of which libjpeg warns, which decoders drop, and one with blocks brighter than any sample.

    Of a lossy JPEG no more is decoded than the mean of each block; of more than 8 bits by *decode*, which decoded it.
    """
    stream, header = encoded.stream, encoded.header
    colours = _COLOURS.get(header.components)
    if colours is None:
        return
    probe, quantisers = jpeg_stream.for_probe(stream, header, scans, 8)
    # Lossless frames are never made smaller, though the decoder would lay them into room for a small one.
    factor = 1 if header.lossless else 8
    room = np.empty(header.rows * header.columns * header.components, np.uint8)
    try:
        means = decode_jpeg(probe, colours, min_height=1, min_width=1, min_factor=factor, buffer=room, strict=True)
    except ValueError as error:
        if not _CANNOT.search(str(error)):
            raise _damaged(str(error).removeprefix("Corrupt JPEG data: ")) from error
        return
    if quantisers and header.precision > 8:
        probe, _ = jpeg_stream.for_probe(stream, header, scans, header.precision)
        means = decode(replace(encoded, stream=probe, ybr=False))
    if quantisers:
        _check_means(means, quantisers, header.precision)


def _check_means(means: np.ndarray, quantisers: tuple[int, ...], precision: int) -> None:
    """Refuse blocks whose mean no samples of *precision* bits have."""
    half = 1 << (precision - 1)
    limits = np.array([half // quantiser + 1 if quantiser else half for quantiser in quantisers])
    distances = np.abs(means.reshape(-1, len(quantisers)).astype(np.int32) - half).max(axis=0)
    if (distances > limits).any():
        raise _damaged(f"blocks are brighter or darker than {precision} bits allow")


def check_lossless(encoded: Encoded, scans: jpeg_stream.Scans, decode: Decode, values: np.ndarray) -> None:
    """Refuse samples beyond the precision, which are differences that went astray, and data that end elsewhere.

    Where the end does not tell, libjpeg's warnings do: that is another decoding.
    """
    header = encoded.header
    if header.precision < values.itemsize * 8 and int(values.max(initial=0)) >> header.precision:
        raise _damaged(f"it has values of more than {header.precision} bits")
    elsewhere = ends_elsewhere(encoded.stream, header, scans, values)
    if elsewhere:
        raise _damaged("they do not end with the last sample")
    if elsewhere is None:
        check_jpeg(encoded, scans, decode)
