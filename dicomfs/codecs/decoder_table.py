"""Which decoders read a kind of codestream, in the order in which they are asked: the table DECODERS.

The first decoder is asked for every frame. The next one is asked where the library of the first is not installed, lacks
the codec, declines the stream, or ended its worker process. Libraries are loaded at their first use, since the daemon
decodes nothing, and by `load_all` in the process from which workers are forked, since these open no files.
"""

import importlib
import importlib.util
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from dicomfs.codecs.bitstream import CodecError
from dicomfs.codecs.encoded import Encoded, Kind

DECLINED = (
    ImportError,
    RuntimeError,  # imagecodecs' own errors, and pylibjpeg's
    ValueError,
    TypeError,
    ArithmeticError,
    MemoryError,
    LookupError,
    OSError,
    SyntaxError,  # Pillow, of a header
    EOFError,
    struct.error,
)
"""What decoders raise where they decline a codestream."""

Decode = Callable[[Encoded], np.ndarray]


@dataclass(frozen=True, slots=True)
class Decoder:
    """One decoder: a *function* of a *module* of this folder, which imports *package*.

    *library* is the name by which the package is installed, *feature* what its build must have. A *spare* decoder takes
    too much memory (31 MB) to be loaded in vain: it is loaded where none before it in the table is there.
    """

    library: str
    package: str
    module: str
    function: str
    feature: str = ""
    spare: bool = False

    @property
    def installed(self) -> bool:
        """Return whether the library is there, without loading it."""
        return _installed(self.package)

    @property
    def loaded(self) -> Callable[..., Any] | None:
        """The function, once its library is loaded; None where that is not installed or lacks the codec."""
        return load(self)


_JPEG8 = Decoder("imagecodecs", "imagecodecs", "by_imagecodecs", "jpeg", "JPEG8")
_LOSSLESS = Decoder("imagecodecs", "imagecodecs", "by_imagecodecs", "jpeg_lossless", "JPEG8")
_JPEG_LS = Decoder("imagecodecs", "imagecodecs", "by_imagecodecs", "jpeg_ls", "JPEGLS")
_JPEG_2000 = Decoder("imagecodecs", "imagecodecs", "by_imagecodecs", "jpeg_2000", "JPEG2K")
_JPEG_XL = Decoder("imagecodecs", "imagecodecs", "by_imagecodecs", "jpeg_xl", "JPEGXL")
_PACKBITS = Decoder("imagecodecs", "imagecodecs", "by_imagecodecs", "packbits", "PACKBITS")
_PILLOW = Decoder("pillow", "PIL", "by_pillow", "jpeg", "jpg")
_PILLOW_2000 = Decoder("pillow", "PIL", "by_pillow", "jpeg_2000", "jpg_2000")
_OPENJPEG = Decoder("pylibjpeg-openjpeg", "openjpeg", "by_pylibjpeg", "jpeg_2000", "openjpeg")
_LIBJPEG = Decoder("pylibjpeg-libjpeg", "libjpeg", "by_pylibjpeg", "jpeg", "libjpeg")
_PYDICOM = Decoder("pydicom", "pydicom", "by_pydicom", "packbits", "rle", spare=True)
_OWN_RLE = Decoder("dicomfs", "dicomfs", "packbits", "packbits")

DECODERS: dict[Kind, tuple[Decoder, ...]] = {
    Kind.JPEG_8: (_JPEG8, _PILLOW, _LIBJPEG),
    Kind.JPEG_12: (_JPEG8, _LIBJPEG),
    Kind.JPEG_LOSSLESS_8: (_LOSSLESS, _PILLOW, _LIBJPEG),
    Kind.JPEG_LOSSLESS: (_LOSSLESS, _LIBJPEG),
    Kind.JPEG_LS: (_JPEG_LS, _LIBJPEG),
    Kind.JPEG_2000: (_JPEG_2000, _OPENJPEG, _PILLOW_2000),
    Kind.HTJ2K: (_JPEG_2000, _OPENJPEG, _PILLOW_2000),
    Kind.JPEG_XL: (_JPEG_XL,),
    Kind.RLE: (_PACKBITS, _PYDICOM, _OWN_RLE),
}

OPTIONAL = frozenset(("pylibjpeg-libjpeg",))
"""Libraries that are not installed with dicomfs: their licence is not permissive."""


class Answer(NamedTuple):
    """The samples that a decoder gave, the decoder, and whether it is another one than the first of the table."""

    values: np.ndarray
    decode: Decode
    second: bool


@cache
def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@cache
def load(decoder: Decoder) -> Callable[..., Any] | None:
    """Return the function of *decoder*, loading its library once; None where that is absent or lacks the codec."""
    try:
        module = importlib.import_module(f"dicomfs.codecs.{decoder.module}")
    except ImportError:
        return None
    there = not decoder.feature or module.has(decoder.feature)
    function: Callable[..., Any] | None = getattr(module, decoder.function) if there else None
    return function


def load_all() -> None:
    """Load every decoder that there is."""
    for kind in DECODERS:
        for _ in usable(kind):
            pass


def usable(kind: Kind, *, first_left_out: bool = False) -> Iterator[tuple[Callable[..., Any], bool]]:
    """List the decoders of *kind* that are there, in their order, each with whether it is another than the first."""
    any_before = False
    for place, decoder in enumerate(DECODERS[kind]):
        if (decoder.spare and any_before) or decoder.loaded is None:
            continue
        any_before = True
        if not (first_left_out and place == 0):
            yield decoder.loaded, place > 0


def decode(kind: Kind, encoded: Encoded, *, first_left_out: bool = False) -> Answer:
    """Have the first decoder that does not decline it decode *encoded*. Raises CodecError.

    A decoder that finds damage raises a CodecError, and no other is asked then.
    """
    reason: Exception | None = None
    for function, second in usable(kind, first_left_out=first_left_out):
        try:
            return Answer(function(encoded), function, second)
        except CodecError:
            raise
        except DECLINED as error:
            reason = reason or error
    if reason is None:
        raise CodecError(lacking(kind, first_left_out=first_left_out))
    raise CodecError(f"the frame cannot be decoded: {reason}") from reason


def lacking(kind: Kind, *, first_left_out: bool = False) -> str:
    """Explain that nothing here decodes *kind*, and what to install."""
    libraries = [decoder.library for decoder in DECODERS[kind] if decoder.library not in OPTIONAL]
    if first_left_out:
        return f"{libraries[0]} ended at this frame, and no other decoder here reads {kind.value}"
    return f"no decoder here reads {kind.value}: pip install --upgrade {' or '.join(libraries)}"
