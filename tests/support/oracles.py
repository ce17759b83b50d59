"""Other programs' answers to what the frames of a DICOM file hold, and the table of how ours compare with them.

Every oracle gives, for a file, a list with one array of stored values a frame, and None for what it does not decode.
"""

import io
import struct
import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from dicomfs.codecs import registry
from dicomfs.codecs.registry import CodecError
from dicomfs.dicom.stream import Memory
from dicomfs.instance.instance import Instance, load
from dicomfs.workers.decoder_process import Task, perform

MAX_FRAMES = 12
Answers = list[np.ndarray | None]

JPEG = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70))
JPEG_LS = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (80, 81))
RLE = "1.2.840.10008.1.2.5"
# imagecodecs' functions for single codestreams. Colour JPEG has several meanings, and there others judge.
_IMAGECODECS: dict[str, Callable[[bytes], np.ndarray]] = {
    **dict.fromkeys(JPEG, imagecodecs.jpeg8_decode),
    **dict.fromkeys(JPEG_LS, imagecodecs.jpegls_decode),
    **{f"1.2.840.10008.1.2.4.{number}": imagecodecs.jpeg2k_decode for number in (90, 91)},
    **{f"1.2.840.10008.1.2.4.{number}": imagecodecs.htj2k_decode for number in (201, 202, 203)},
    **{f"1.2.840.10008.1.2.4.{number}": imagecodecs.jpegxl_decode for number in (110, 111, 112)},
}
# What decoders raise when they decline.
_DECLINED = (InvalidDicomError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, OSError, struct.error)


@dataclass
class Ours:
    """What dicomfs makes of the frames of a file: values, or why there are none."""

    instance: Instance
    frames: list[np.ndarray | str]
    rgb: bool

    @property
    def lossy(self) -> bool:
        """Whether decoders may differ: by the transfer syntax that the frames have."""
        assert self.instance.pixels
        return registry.CODECS[self.instance.pixels.format.transfer_syntax].lossy


def ours(data: bytes) -> Ours | None:
    """Decode the first frames of a file as a worker does; None for a file without pixels."""
    instance = load(Memory(data))
    pixels = instance.pixels
    if pixels is None:
        return None
    fmt = pixels.format
    stream = instance.inflated or Memory(data)
    made: list[np.ndarray | str] = []
    rgb = False
    for frame in range(min(len(pixels.frames), MAX_FRAMES)):
        encoded = b"".join(stream.pread(length, offset) for offset, length in pixels.frames.extents(frame))
        bits = pixels.frames.bit_offset(frame)
        size = fmt.dtype.itemsize * int(np.prod(fmt.shape))
        try:
            if not encoded:
                raise CodecError("declared but not in the file (N3)")
            stored = perform(Task(fmt, bits, "stored", None, size), memoryview(encoded))
        except CodecError as error:
            made.append(str(error.strerror))
            continue
        if fmt.samples == 3 and not any(isinstance(values, np.ndarray) for values in made):
            rgb = registry.decode(encoded, fmt, bits).photometric == "RGB"
        made.append(np.frombuffer(stored, fmt.dtype).reshape(fmt.shape))
    return Ours(instance, made, rgb)


def ask_pydicom(data: bytes, rgb: bool) -> Iterator[tuple[str, Answers]]:
    """Ask each plugin that pydicom has; *rgb* asks for colours instead of what is stored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
            count = min(int(dataset.get("NumberOfFrames") or 1), MAX_FRAMES)
        except _DECLINED:
            return
        for plugin in decoder.available_plugins if decoder.is_encapsulated else ("",):
            answers: Answers = []
            for frame in range(count):
                try:
                    values, _ = decoder.as_array(dataset, index=frame, raw=not rgb, decoding_plugin=plugin)
                    answers.append(values)
                except _DECLINED:
                    answers.append(None)
            yield f"pydicom {plugin}".strip(), answers


def ask_imagecodecs(data: bytes, samples: int) -> Answers:
    """Ask imagecodecs for each codestream as pydicom finds them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            syntax = dataset.file_meta.TransferSyntaxUID
            count = int(dataset.get("NumberOfFrames") or 1)
            if syntax not in _IMAGECODECS or (samples > 1 and syntax in JPEG):
                return []
            frames = list(islice(generate_frames(dataset.PixelData, number_of_frames=count), MAX_FRAMES))
        except _DECLINED:
            return []
    answers: Answers = []
    for frame in frames:
        try:
            answers.append(_IMAGECODECS[syntax](frame))
        except _DECLINED:
            answers.append(None)
    return answers


def ask_dcmtk(path: Path, syntax: str, rgb: bool, program: Callable[[str], str], folder: Path) -> Answers:
    """Ask DCMTK's decompressor for the syntax."""
    plain = folder / "dcmtk.dcm"
    if syntax in JPEG:
        # Colours are converted where the header says YBR, or are left as they are stored.
        command = [program("dcmdjpeg"), "+cp" if rgb else "+cn"]
    elif syntax in JPEG_LS:
        command = [program("dcmdjpls")]
    elif syntax == RLE:
        command = [program("dcmdrle")]
    else:
        command = [program("dcmconv"), "+te"]
    return _converted([*command, str(path), str(plain)], plain, rgb)


def ask_gdcm(path: Path, rgb: bool, program: Callable[[str], str], folder: Path) -> Answers:
    """Ask GDCM for an uncompressed version."""
    plain = folder / "gdcm.dcm"
    return _converted([program("gdcmconv"), "--raw", str(path), str(plain)], plain, rgb)


def _converted(command: list[str], plain: Path, rgb: bool) -> Answers:
    """Run a converter and read the native words of its output."""
    try:
        failed = subprocess.run(command, capture_output=True, check=False, timeout=60).returncode
    except subprocess.TimeoutExpired:
        return []
    if failed or not plain.exists():
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _native_frames(pydicom.dcmread(plain), rgb)
    except _DECLINED:
        return []


def _native_frames(dataset: pydicom.Dataset, rgb: bool) -> Answers:
    """Read native frames with numpy alone, colours converted with pydicom's formula where that is wanted."""
    if dataset.file_meta.TransferSyntaxUID not in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"):
        return []
    rows, columns, samples, bits = dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.BitsAllocated
    photometric = dataset.PhotometricInterpretation
    if bits not in (1, 8, 16, 32) or (samples > 1 and photometric not in ("RGB", "YBR_FULL")):
        return []
    count = int(dataset.get("NumberOfFrames") or 1)
    size = rows * columns * samples
    if bits == 1:
        words = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
    else:
        words = np.frombuffer(dataset.PixelData, f"<u{bits // 8}")
    if len(words) < size * count:
        return []
    answers: Answers = []
    for frame in range(min(count, MAX_FRAMES)):
        values = words[frame * size : (frame + 1) * size]
        if samples > 1 and dataset.get("PlanarConfiguration"):
            values = values.reshape(samples, rows, columns).transpose(1, 2, 0)
        values = values.reshape((rows, columns, samples) if samples > 1 else (rows, columns))
        if rgb and photometric == "YBR_FULL":
            values = pydicom.pixels.convert_color_space(values, "YBR_FULL", "RGB")
        answers.append(values)
    return answers


def as_stored(words: np.ndarray, ours: Ours) -> np.ndarray:
    """Bring *words* as a program gave them to stored values: only Bits Stored, with their sign (PS3.5 8.1.1)."""
    assert ours.instance.pixels
    fmt = ours.instance.pixels.format
    if words.dtype.kind == "f" or words.dtype.kind == "i" or fmt.bits_allocated == 1:
        return words
    values = words.astype(np.int64)
    if ours.lossy and not fmt.signed:
        return values  # lossy coding may push samples beyond Bits Stored; masking would hide that
    if words.dtype.itemsize * 8 > fmt.bits_stored:
        values = (values >> (fmt.high_bit + 1 - fmt.bits_stored)) & ((1 << fmt.bits_stored) - 1)
    if fmt.signed:
        values = np.where(values >> (fmt.bits_stored - 1) & 1, values - (1 << fmt.bits_stored), values)
    return values


@dataclass
class Row:
    """One line of the table, for one transfer syntax."""

    files: int = 0
    frames: int = 0
    judged: int = 0
    decoded: int = 0
    exact: int = 0
    near: int = 0
    worst: float = 0.0
    refused: dict[str, int] = field(default_factory=dict)


@dataclass
class Table:
    """How our stored values compare with everybody else's, by transfer syntax."""

    rows: dict[str, Row] = field(default_factory=dict)

    def row(self, syntax: str) -> Row:
        """Give the line of a transfer syntax."""
        return self.rows.setdefault(syntax, Row())

    def lines(self) -> Iterator[str]:
        """Print the table."""
        head = f"{'transfer syntax':<60}{'files':>6}{'frames':>7}{'judged':>7}"
        yield head + f"{'decoded':>8}{'exact':>6}{'near':>5}  worst"
        for syntax, row in sorted(self.rows.items()):
            name = f"{UID(syntax).name.split('(')[0].strip()[:35]} {syntax}"
            numbers = f"{row.files:>6}{row.frames:>7}{row.judged:>7}{row.decoded:>8}{row.exact:>6}{row.near:>5}"
            yield f"{name:<60}{numbers}  {row.worst:g}"
            for reason, count in row.refused.items():
                yield f"    refused: {count} of {reason}"


class Report(Protocol):
    """Something that tests found out, to be printed at the end of the run."""

    def lines(self) -> Iterator[str]:
        """Print it."""


REPORTS = pytest.StashKey[dict[str, Report]]()
"""Further reports, by their titles."""

TABLE = pytest.StashKey[Table]()
"""Where a run of the tests keeps its table."""
