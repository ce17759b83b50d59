"""`pixels.npy` equals pydicom's `pixel_array`, and `stored/*.tif` its values as stored, for every sample.

The table at the end of the run counts what was compared and gives a reason for each difference.
"""

import io
import math
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from pydicom.pixels import iter_pixels, pixel_array
from support.archives import CORPUS, SAMPLES, corpus_files, swept
from support.decoding import read_at
from support.mounting import Loop, read_all, tree_of
from support.oracles import REPORTS

from dicomfs.vfs.nodes import Directory, File

# Of objects with more frames than this the first ones stand for all, but for the slow tests.
MAX_FRAMES = 4
# Samples of a frame that were rounded otherwise: lossy colour is computed with real numbers.
ROUNDED = {
    "VL4_J2KI": "two builds of OpenJPEG round one sample in a million differently",
    "VL5_J2KI": "two builds of OpenJPEG round one sample in a million differently",
}
# Where pydicom is wrong: no other program is right either, see the rows of C8.
MENDED = {
    "JPEGLossless_1s_1f_i_16_16_bad.dcm": "the stream of a faulty encoder, which pydicom takes to the letter (C8)"
}
BYTE_ORDER = "big endian in the file: ours is little endian, as of all files"
# A series has 80 slices of one kind; some stand for all.
CORPUS_FILES = corpus_files()


class Report:
    """What was compared, and how it came out."""

    def __init__(self) -> None:
        self.files: dict[str, set[Path]] = {}
        self.reasons: dict[str, set[Path]] = {}

    def count(self, what: str, path: Path) -> None:
        self.files.setdefault(what, set()).add(path)

    def differs(self, path: Path, reason: str) -> None:
        self.reasons.setdefault(reason, set()).add(path)

    def lines(self) -> Iterator[str]:
        for what, paths in self.files.items():
            yield f"{len(paths):>6} {what}"
        for reason, paths in self.reasons.items():
            yield f"{len(paths):>6} {reason}: {', '.join(sorted(path.name for path in paths))}"


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest) -> Report:
    reports = request.config.stash.setdefault(REPORTS, {})
    return reports.setdefault("pixels.npy and stored/ beside pydicom's pixel_array", Report())


def asked(path: Path, most: int | None, *, raw: bool) -> tuple[int, list[np.ndarray]]:
    """Ask pydicom for the number of frames, and for all or the first of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        count = int(pydicom.dcmread(path, stop_before_pixels=True).get("NumberOfFrames") or 1)
        if most is not None and count > most:
            return count, list(islice(iter_pixels(path, raw=raw), most))
        whole = pixel_array(path, raw=raw)
        return count, list(whole) if count > 1 else [whole]


def theirs(path: Path, most: int | None) -> tuple[tuple[int, ...], np.dtype[np.generic], list[np.ndarray]] | str:
    """Give shape, type and frames as pydicom has them, or why it has none."""
    try:
        count, frames = asked(path, most, raw=False)
    except Exception as error:  # noqa: BLE001 - whatever it is, it has no answer
        return str(error).splitlines()[0].rstrip(":")
    shape = frames[0].shape
    return shape if count == 1 else (count, *shape), frames[0].dtype, frames


async def ours(loop: Loop, path: Path, most: int | None) -> tuple[bytes, list[bytes]] | None:
    """Read pixels.npy, or its first frames, and as many files of stored/; None where they are not there."""
    with tree_of(loop, path) as top:
        child = await top.lookup(b"pixels.npy")
        if child is None:
            assert await top.lookup(b"stored") is None
            return None
        assert isinstance(child.node, File)
        size = child.node.attributes.size
        content = await child.node.open()
        head = bytes(await read_at(content, 0, 128))
        shape, _, dtype = np.lib.format.read_array_header_1_0(_behind_magic(head))
        stored = await top.lookup(b"stored")
        assert stored is not None
        assert isinstance(stored.node, Directory)
        children = await stored.node.listing()
        frames = len(children)
        assert size == 128 + math.prod(shape) * dtype.itemsize
        wanted = 128 + min(frames, most or frames) * ((size - 128) // frames)
        parts, offset = [head], 128
        while offset < wanted:
            parts.append(bytes(await read_at(content, offset, min(1 << 20, wanted - offset))))
            offset += len(parts[-1])
        content.close()
        nodes = [children[place].node for place in range(min(frames, most or frames))]
        return b"".join(parts), [await read_all(node) for node in nodes if isinstance(node, File)]


def _behind_magic(head: bytes) -> io.BytesIO:
    stream = io.BytesIO(head)
    assert np.lib.format.read_magic(stream) == (1, 0)
    return stream


def attempt(path: Path, loop: Loop, most: int | None) -> tuple[bytes, list[bytes]] | str | None:
    """Read what `ours` does, or the reason why it cannot be read."""
    try:
        return loop.run(ours, loop, path, most)
    except OSError as error:
        return str(error.strerror)


def check(path: Path, loop: Loop, report: Report, most: int | None) -> None:
    """Compare shape, type and values of one file."""
    answer = theirs(path, most)
    made = attempt(path, loop, most)
    if isinstance(answer, str):
        if isinstance(made, str):
            report.differs(path, f"refused by us ({made}) and by pydicom ({answer})")
        elif made:
            report.differs(path, f"read by us alone; pydicom says: {answer}")
        return
    assert isinstance(made, tuple), f"refused by us, not by pydicom: {made}"
    shape, dtype, frames = answer
    data, pictures = made
    stream = _behind_magic(data[:128])
    our_shape, _, our_dtype = np.lib.format.read_array_header_1_0(stream)
    assert our_shape == shape
    assert our_dtype == dtype.newbyteorder("<")
    if dtype.byteorder == ">":
        report.differs(path, BYTE_ORDER)
    values = np.frombuffer(data, our_dtype, offset=128).reshape(len(frames), *frames[0].shape)
    _, stored = asked(path, most, raw=True)
    for frame, expected in enumerate(frames):
        same(path, values[frame], expected)
        picture = tifffile.imread(io.BytesIO(pictures[frame]))
        converted = not np.array_equal(stored[frame], expected, equal_nan=expected.dtype.kind == "f")
        same(path, picture, expected if converted else stored[frame])
    if path.name in ROUNDED | MENDED:
        report.differs(path, (ROUNDED | MENDED)[path.name])
    else:
        report.count("files equal in shape, type and value", path)


def same(path: Path, values: np.ndarray, expected: np.ndarray) -> None:
    assert values.dtype == expected.dtype.newbyteorder("<")
    assert values.shape == expected.shape
    if path.name in ROUNDED:
        difference = np.abs(values.astype(np.int64) - expected)
        assert 0 < np.count_nonzero(difference) < 1e-5 * difference.size
        assert difference.max() == 1
    elif path.name in MENDED:
        assert not np.array_equal(values, expected)
    else:
        assert np.array_equal(values, expected, equal_nan=expected.dtype.kind == "f")


DICOM = [path for path in SAMPLES if pydicom.misc.is_dicom(path)]


@pytest.mark.parametrize("path", swept(DICOM))
def test_samples_equal_pydicom(path: Path, loop: Loop, report: Report) -> None:
    check(path, loop, report, MAX_FRAMES)


@pytest.mark.slow
@pytest.mark.parametrize("path", swept(DICOM))
def test_all_frames_of_the_samples_equal_pydicom(path: Path, loop: Loop, report: Report) -> None:
    check(path, loop, report, None)


@pytest.mark.slow
@pytest.mark.parametrize("path", CORPUS_FILES, ids=lambda path: str(path.relative_to(CORPUS)))
def test_the_corpus_equals_pydicom(path: Path, loop: Loop, report: Report) -> None:
    # pydicom goes by a header that says RGB where only chrominance can be smaller (see test_colour).
    if pydicom.misc.is_dicom(path) and path.name != "SC_rgb_jpeg_lossy_gdcm.dcm":
        check(path, loop, report, None)
