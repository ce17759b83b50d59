"""Damage that decoders pass over: what shows that the data of a frame are not those that its encoder wrote.

Decoders make a picture of damaged data as long as it is a stream of some picture. What tells is that the data end too
early or too late, and values that no sample has. Every function here raises CodecError where it doubts a frame; none
doubts one that is sound.
"""

import logging
import re
import threading
from collections.abc import Callable

import numpy as np
from imagecodecs import jpeg8_decode
from simplejpeg import decode_jpeg

from dicomfs.codecs import jpeg as jpeg_stream
from dicomfs.codecs.bitstream import CodecError, Codestream
from dicomfs.codecs.lossless_end import ends_elsewhere

# What the second decoder cannot do, which says nothing about the data.
_CANNOT = re.compile("[Nn]ot supported|not implemented|[Uu]nsupported|omitted|[Mm]emory|Could not determine")
# How OpenJPEG reports code-blocks that end too early or too late. A few bytes of the latter are rounding: sound ones
# have been seen to want 11.
_EXCESS = re.compile(r"(\d+) remaining bytes in code block")
_LACK = re.compile(r"(\d+) synthesized 0xFF markers read")
_MOST_LACKING = 16
_COLOURS = {1: "GRAY", 3: "RGB", 4: "CMYK"}


def _damaged(what: str) -> CodecError:
    return CodecError(f"the data of the frame are damaged: {what} (E16)")


def check_jpeg(stream: bytes, header: Codestream, scans: jpeg_stream.Scans) -> None:
    """Have libjpeg's warnings, which imagecodecs drops, and look for blocks brighter than any sample.

    Of a lossy JPEG no more is decoded than the mean of each block.
    """
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
        space = {1: None, 3: "RGB", 4: "CMYK"}[header.components]
        means = jpeg8_decode(probe, colorspace=space, outcolorspace=space)
    if quantisers:
        _check_means(means, quantisers, header.precision)


def _check_means(means: np.ndarray, quantisers: tuple[int, ...], precision: int) -> None:
    """Refuse blocks whose mean no samples of *precision* bits have."""
    half = 1 << (precision - 1)
    limits = np.array([half // quantiser + 1 if quantiser else half for quantiser in quantisers])
    distances = np.abs(means.reshape(-1, len(quantisers)).astype(np.int32) - half).max(axis=0)
    if (distances > limits).any():
        raise _damaged(f"blocks are brighter or darker than {precision} bits allow")


def check_lossless(stream: bytes, header: Codestream, scans: jpeg_stream.Scans, values: np.ndarray) -> None:
    """Refuse samples beyond the precision, which are differences that went astray, and data that end elsewhere.

    Where the end does not tell, libjpeg's warnings do: that is another decoding.
    """
    if header.precision < values.itemsize * 8 and int(values.max(initial=0)) >> header.precision:
        raise _damaged(f"it has values of more than {header.precision} bits")
    elsewhere = ends_elsewhere(stream, header, scans, values)
    if elsewhere:
        raise _damaged("they do not end with the last sample")
    if elsewhere is None:
        check_jpeg(stream, header, scans)


def check_jpeg2000(decoder: Callable[[], np.ndarray]) -> np.ndarray:
    """Call *decoder*, which logs what OpenJPEG says of code-blocks; refuse what it says of damaged ones."""
    listener = _Listener()
    log = logging.getLogger("imagecodecs")
    propagates, level = log.propagate, log.level
    log.addHandler(listener)
    log.propagate = False
    log.setLevel(logging.INFO)
    try:
        values = decoder()
    finally:
        log.removeHandler(listener)
        log.propagate = propagates
        log.setLevel(level)
    if listener.doubt:
        raise _damaged(listener.doubt)
    return values


class _Listener(logging.Handler):
    """Keeps the first thing that OpenJPEG, called by this thread, says of damaged code-blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.doubt = ""
        self._caller = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Judge one message."""
        if self.doubt or record.thread != self._caller:
            return
        said = record.getMessage()
        if found := _EXCESS.search(said):
            self.doubt = f"a code-block has {found[1]} bytes too many"
        elif (found := _LACK.search(said)) and int(found[1]) > _MOST_LACKING:
            self.doubt = f"a code-block lacks {found[1]} bytes"
