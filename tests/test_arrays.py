"""The arrays: what they hold where pydicom's `pixel_array` does not say it, and what reading a part of them costs."""

import errno
import hashlib
import io
import json
import mmap
import os
import re
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
import tifffile
import trio
import trio.testing
from pydicom.pixels import apply_modality_lut
from support.archives import PYDICOM, PYDICOM_DATA
from support.builders import (
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    JPEG_2000,
    PER_FRAME_GROUPS,
    SHARED_GROUPS,
    DataSet,
    Raw,
    Value,
    dicom,
    encapsulated,
    image,
    offsets,
)
from support.decoding import Decoding, read_at
from support.mounting import Loop, errno_of, mounted, tree_of, wait_for
from support.object_directories import Shown
from support.volume_objects import MEASURES, ORIENTATION, PLANE_ORIENTATION, PLANE_POSITION, POSITION, SPACING

from dicomfs.formats.npy import npy_head
from dicomfs.vfs.content import Content
from dicomfs.vfs.nodes import File

INTERCEPT, SLOPE, TRANSFORMATION = 0x00281052, 0x00281053, 0x00289145
MODALITY_LUTS, DESCRIPTOR, LUT_DATA = 0x00283000, 0x00283002, 0x00283006
MAPS, FIRST, LAST = 0x00409096, 0x00409216, 0x00409211
REAL_FIRST, REAL_LAST, MAP_TABLE = 0x00409214, 0x00409213, 0x00409212
MAP_INTERCEPT, MAP_SLOPE = 0x00409224, 0x00409225
DOSE_SCALING = 0x3004000E
MIB = 1 << 20


def array(shown: Shown, name: str) -> np.ndarray:
    """Load an array of a file."""
    loaded: np.ndarray = np.load(io.BytesIO(shown.read(name)))
    return loaded


@pytest.mark.parametrize("dtype", ["|u1", "|i1", "<u2", "<i2", "<u4", "<i8", "<f4", "<f8"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 4, 5), (9, 1, 1, 3), (100_000, 512, 512), (10**7, 10**9, 10**9, 3)])
def test_the_head_is_the_one_that_numpy_writes(dtype: str, shape: tuple[int, ...]) -> None:
    written = io.BytesIO()
    described = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(written, described)
    assert npy_head(np.dtype(dtype), shape) == written.getvalue()


# What is stored


def test_stored_values_of_every_kind(loop: Loop, tmp_path: Path) -> None:
    """Spare bits are cut off, signs extended, planes interleaved, bits spread out; nothing is done to the values."""
    words = np.arange(0, 65536, 257, dtype="<u2")[:240].reshape(2, 10, 12)
    twelve = np.where(words & 0x800, (words & 0xFFF).astype(np.int64) - 0x1000, words & 0xFFF).astype("<i2")
    planes = np.arange(2 * 3 * 10 * 12, dtype=np.uint16).astype(np.uint8).reshape(2, 3, 10, 12)
    bits = np.random.default_rng(1).integers(0, 2, (3, 5, 7), np.uint8)
    window = {0x00281050: ("DS", "3"), 0x00281051: ("DS", "4"), SLOPE: ("DS", "7"), INTERCEPT: ("DS", "5")}
    plain = image(10, 12, words.tobytes(), frames=2, bits=16, stored=12, signed=True, photometric="MONOCHROME1")
    cases = {
        "signed": (dicom(plain | window), twelve),
        "high": (
            dicom(image(10, 12, words.tobytes(), frames=2, bits=16, stored=12) | {0x00280102: ("US", 15)}),
            words >> 4,
        ),
        "big": (dicom(image(10, 12, words.astype(">u2").tobytes(), frames=2, bits=16), EXPLICIT_BIG), words),
        "planes": (
            dicom(image(10, 12, planes.tobytes(), frames=2, samples=3, planar=1, vr="OB")),
            planes.transpose(0, 2, 3, 1),
        ),
        "bits": (
            dicom(image(5, 7, np.packbits(bits.reshape(-1), bitorder="little").tobytes(), frames=3, bits=1, vr="OB")),
            bits,
        ),
        "double": (
            dicom(
                {tag: value for tag, value in image(2, 3, b"", bits=64).items() if tag != 0x7FE00010}
                | {0x7FE00009: ("OD", np.array([[1e300, np.nan, -0.0], [np.inf, 2, 3]]).tobytes())}
            ),
            np.array([[1e300, np.nan, -0.0], [np.inf, 2, 3]]),
        ),
        "one": (dicom(image(10, 12, words[0].tobytes(), bits=16)), words[0]),
    }
    for name, (data, expected) in cases.items():
        shown = Shown.of(loop, tmp_path, data)
        found = array(shown, "pixels.npy")
        assert found.shape == expected.shape, name
        assert found.dtype == expected.dtype, name
        assert np.array_equal(found, expected, equal_nan=name == "double"), name
        first = expected[0] if name not in ("one", "double") else expected
        tiff = tifffile.imread(io.BytesIO(shown.read("stored/0001.tif")))
        assert tiff.dtype == first.dtype, name
        assert np.array_equal(tiff, first, equal_nan=name == "double"), name


def test_colours_are_red_green_and_blue_in_every_precision(loop: Loop, tmp_path: Path) -> None:
    """Of more than 8 bits pydicom clips at 255; the formula is that of PS3.3 C.7.6.3.1.2 for any of them."""
    rng = np.random.default_rng(5)
    for bits in (8, 16):
        ybr = rng.integers(0, 1 << bits, (6, 8, 3), np.uint16).astype(f"<u{bits // 8}")
        shown = Shown.of(
            loop, tmp_path, dicom(image(6, 8, ybr.tobytes(), samples=3, bits=bits, photometric="YBR_FULL"))
        )
        y, blue, red = (ybr[..., sample].astype(np.float64) - (sample > 0) * (1 << bits - 1) for sample in range(3))
        expected = np.stack((y + 1.402 * red, y - 0.344136286 * blue - 0.714136286 * red, y + 1.772 * blue), -1)
        expected = np.clip(expected, 0, (1 << bits) - 1)
        for found in (array(shown, "pixels.npy"), tifffile.imread(io.BytesIO(shown.read("stored/0001.tif")))):
            assert found.dtype == ybr.dtype
            assert np.abs(found - expected).max() <= 0.5 + bits / 100


def test_a_palette_stays_a_palette(loop: Loop) -> None:
    path = PYDICOM / "examples_palette.dcm"
    dataset = pydicom.dcmread(path)
    assert dataset.PhotometricInterpretation == "PALETTE COLOR"
    shown = Shown(loop, path)
    assert "rescaled.npy" not in shown.names
    assert np.array_equal(array(shown, "pixels.npy"), dataset.pixel_array)
    with tifffile.TiffFile(io.BytesIO(shown.read("stored/0001.tif"))) as file:
        page = file.pages[0]
        indices = page.asarray()
        assert page.photometric == tifffile.PHOTOMETRIC.PALETTE
        colours = page.colormap.T[indices] >> 8
    assert np.array_equal(indices, dataset.pixel_array)
    assert np.array_equal(colours, shown.picture())


# What it stands for


RAMP = np.arange(0, 4096, 16, dtype=np.int64).reshape(16, 16)


def ramp(more: DataSet, frames: int = 1, *, signed: bool = False) -> bytes:
    values = (RAMP - (2048 if signed else 0)).astype("<i2" if signed else "<u2")
    number = frames if frames > 1 else None
    return dicom(image(16, 16, values.tobytes() * frames, frames=number, bits=16, stored=12, signed=signed, more=more))


def close(found: np.ndarray, expected: np.ndarray) -> None:
    """Compare with float64 rounded once."""
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert np.array_equal(found, expected.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "mlut_18.dcm", "rtdose.dcm", "emri_small.dcm"])
def test_samples_are_rescaled_as_pydicom_does(name: str, loop: Loop) -> None:
    path = next(folder / name for folder in (PYDICOM, PYDICOM_DATA) if (folder / name).exists())
    dataset = pydicom.dcmread(path)
    expected = apply_modality_lut(dataset.pixel_array, dataset).astype(np.float64)
    if "DoseGridScaling" in dataset:
        expected = dataset.pixel_array * float(dataset.DoseGridScaling)
    close(array(Shown(loop, path), "rescaled.npy"), expected)


def test_without_rescaling_the_values_are_themselves(loop: Loop, tmp_path: Path) -> None:
    close(array(Shown.of(loop, tmp_path, ramp({}, signed=True)), "rescaled.npy"), RAMP - 2048)


def test_a_modality_lut_overrules_rescaling_also_of_angiography(loop: Loop, tmp_path: Path) -> None:
    table = (np.arange(4096) * 3 + 5).astype("<u2")
    lut = [{DESCRIPTOR: ("US", (4096, 0, 16)), LUT_DATA: ("OW", table.tobytes())}]
    more: dict[int, tuple[str, Value]] = {MODALITY_LUTS: ("SQ", lut), SLOPE: ("DS", "9"), INTERCEPT: ("DS", "1")}
    for sop_class in ("1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.12.1"):
        shown = Shown.of(loop, tmp_path, ramp(more | {0x00080016: ("UI", sop_class)}))
        close(array(shown, "rescaled.npy"), table[RAMP].astype(np.float64))


@pytest.mark.parametrize("most", [1, 100, 255, 65535])
@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP", "BINARY"])
def test_fractions_of_a_segment_are_parts_of_one(kind: str, most: int, loop: Loop, tmp_path: Path) -> None:
    """Those of Maximum Fractional Value (M2), unless a real world value map comes first; no other numbers are parts."""
    values = np.linspace(0, min(most, 255), 12).astype(np.uint8).reshape(3, 4)
    elements = image(3, 4, values.tobytes(), vr="OB", more={0x00620001: ("CS", kind), 0x0062000E: ("US", most)})
    shown = Shown.of(loop, tmp_path, dicom(elements))
    close(array(shown, "rescaled.npy"), values / most if kind == "FRACTIONAL" else values)
    mapped = Shown.of(loop, tmp_path, dicom(elements | {MAPS: ("SQ", [real(3, 1, 0, 255)])}))
    close(array(mapped, "rescaled.npy"), values * 3.0 + 1)


def test_fractions_of_the_corpus(loop: Loop, corpus: Path | None) -> None:
    if corpus is None:
        return
    for path in sorted((corpus / "highdicom").glob("seg_image_ct_*fractional.dcm")):
        dataset = pydicom.dcmread(path)
        shown = Shown(loop, path)
        close(array(shown, "rescaled.npy"), dataset.pixel_array / dataset.MaximumFractionalValue)
        voxels = shown.read("volume.nii")
        slope = np.frombuffer(voxels, "<f4", 1, 112)[0]  # scl_slope
        assert slope == np.float32(1 / dataset.MaximumFractionalValue)


def rescaling(slope: float, intercept: float) -> DataSet:
    return {TRANSFORMATION: ("SQ", [{SLOPE: ("DS", str(slope)), INTERCEPT: ("DS", str(intercept))}])}


def test_each_frame_has_its_own_rescaling(loop: Loop, tmp_path: Path) -> None:
    groups = [rescaling(2, -1000), rescaling(0.5, 3), rescaling(-1, 0)]
    found = array(Shown.of(loop, tmp_path, ramp({PER_FRAME_GROUPS: ("SQ", groups)}, 3)), "rescaled.npy")
    close(found, np.stack((RAMP * 2.0 - 1000, RAMP * 0.5 + 3, RAMP * -1.0)))


def real(slope: float, intercept: float, first: int, last: int) -> DataSet:
    """Make the Item of a linear real world value map."""
    limits = {FIRST: ("US", first), LAST: ("US", last)}
    return limits | {MAP_SLOPE: ("FD", slope), MAP_INTERCEPT: ("FD", intercept)}


def test_a_real_world_value_map_comes_first(loop: Loop, tmp_path: Path) -> None:
    """The first of several; what it does not cover is not a number."""
    maps = [real(0.25, 10, 160, 3200), real(99, 99, 0, 4095)]
    more: dict[int, tuple[str, Value]] = {MAPS: ("SQ", maps), SLOPE: ("DS", "2"), INTERCEPT: ("DS", "1")}
    expected = np.where((RAMP >= 160) & (RAMP <= 3200), RAMP * 0.25 + 10, np.nan)
    close(array(Shown.of(loop, tmp_path, ramp(more)), "rescaled.npy"), expected)


def labelled(mapping: DataSet, label: str, units: str = "") -> DataSet:
    return {**mapping, 0x00409210: ("SH", label), 0x004008EA: ("SQ", [{0x00080100: ("SH", units)}])}


def test_real_world_value_maps_in_parts(loop: Loop, tmp_path: Path) -> None:
    """Each value by the map that reaches to it; not a number where none does."""
    pieces = [real(1, 0, 0, 999), real(2, -1000, 2000, 4000), real(3, 5, 1000, 1900)]
    more: dict[int, tuple[str, Value]] = {MAPS: ("SQ", pieces)}
    expected = np.select(
        [RAMP <= 999, (RAMP >= 1000) & (RAMP <= 1900), (RAMP >= 2000) & (RAMP <= 4000)],
        [RAMP * 1.0, RAMP * 3.0 + 5, RAMP * 2.0 - 1000],
        np.nan,
    )
    assert 0 < np.isnan(expected).sum() < 30
    close(array(Shown.of(loop, tmp_path, ramp(more)), "rescaled.npy"), expected)
    shared = {SHARED_GROUPS: ("SQ", [more])}
    close(array(Shown.of(loop, tmp_path, ramp(shared)), "rescaled.npy"), expected)
    own = {PER_FRAME_GROUPS: ("SQ", [more, {MAPS: ("SQ", pieces[::-1])}])}
    close(array(Shown.of(loop, tmp_path, ramp(own, 2)), "rescaled.npy"), np.stack((expected, expected)))


def test_a_line_and_a_table_are_parts_of_one_range_and_the_first_has_the_value_they_share(
    loop: Loop, tmp_path: Path
) -> None:
    table = {FIRST: ("US", 160), LAST: ("US", 400), MAP_TABLE: ("FD", list(np.sqrt(np.arange(160.0, 401.0))))}
    more: dict[int, tuple[str, Value]] = {MAPS: ("SQ", [real(0.5, 1, 0, 160), table])}
    expected = np.where(RAMP <= 160, RAMP * 0.5 + 1, np.where(RAMP <= 400, np.sqrt(RAMP), np.nan))
    close(array(Shown.of(loop, tmp_path, ramp(more)), "rescaled.npy"), expected)


def test_maps_of_one_label_overlap_and_those_of_other_quantities_are_not_mixed(loop: Loop, tmp_path: Path) -> None:
    first, second = real(1, 0, 100, 999), real(7, 7, 0, 4095)
    both = RAMP * 7.0 + 7
    both[(RAMP >= 100) & (RAMP <= 999)] = RAMP[(RAMP >= 100) & (RAMP <= 999)]
    alone = np.where((RAMP >= 100) & (RAMP <= 999), RAMP * 1.0, np.nan)
    for pair, expected in (
        ((labelled(first, "SUV", "g/ml"), labelled(second, "SUV", "g/ml")), both),
        ((labelled(first, "SUV", "g/ml"), labelled(second, "SUL", "g/ml")), alone),
        ((labelled(first, "A", "HU"), labelled(real(7, 7, 1000, 4095), "A", "mg/cm3")), alone),
    ):
        close(array(Shown.of(loop, tmp_path, ramp({MAPS: ("SQ", list(pair))})), "rescaled.npy"), expected)


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_the_range_of_a_map_has_the_sign_of_the_pixels(vr: str, loop: Loop, tmp_path: Path) -> None:
    limits = {FIRST: (vr, 65536 - 1024 if vr == "US" else -1024), LAST: (vr, 1000)}
    more: DataSet = {MAPS: ("SQ", [limits | {MAP_SLOPE: ("FD", 2.0), MAP_INTERCEPT: ("FD", 0.0)}])}
    values = RAMP - 2048
    expected = np.where((values >= -1024) & (values <= 1000), values * 2.0, np.nan)
    shown = Shown.of(loop, tmp_path, ramp(more, signed=True))
    close(array(shown, "rescaled.npy"), expected)
    assert json.loads(shown.read("frames.json"))["real_world_values"][0]["first"] == -1024


@pytest.mark.parametrize(("vr", "first", "last", "signed"), [("US", 0, 65535, True), ("SS", -1024, 3000, False)])
def test_a_range_that_only_the_other_sign_puts_in_order(
    vr: str, first: int, last: int, signed: bool, loop: Loop, tmp_path: Path
) -> None:
    limits = {FIRST: (vr, first), LAST: (vr, last)}
    more: DataSet = {MAPS: ("SQ", [limits | {MAP_SLOPE: ("FD", 2.0), MAP_INTERCEPT: ("FD", 0.0)}])}
    values = RAMP - (2048 if signed else 0)
    expected = np.where((values >= first) & (values <= last), values * 2.0, np.nan)
    close(array(Shown.of(loop, tmp_path, ramp(more, signed=signed)), "rescaled.npy"), expected)


@pytest.mark.parametrize("having", [{1, 3}, {1}, {2}, {3}])
def test_a_frame_is_refused_whichever_others_are_rescaled(having: set[int], loop: Loop, tmp_path: Path) -> None:
    """The first, the middle and the last of five are as good as all others."""
    for group, reason in ((rescaling(2, 1), "Transformation"), ({MAPS: ("SQ", [real(2, 1, 0, 4095)])}, "map")):
        groups = [group if frame in having else {} for frame in range(5)]
        shown = Shown.of(loop, tmp_path, ramp({PER_FRAME_GROUPS: ("SQ", groups)}, 5))
        size = 4 * RAMP.size
        with pytest.raises(OSError, match=f"has no .*{reason}"):
            shown.read("rescaled.npy")
        for frame in range(5):
            if reason == "map":
                break
            if frame in having:
                assert shown.picture(frame + 1).size * 4 == size
            else:
                assert "G6" in shown.refusal(frame + 1)


@pytest.mark.parametrize("long", [False, True])
def test_a_real_world_value_map_may_be_a_table(loop: Loop, tmp_path: Path, long: bool) -> None:
    """A long one is left in the file until it is needed."""
    last = 4095 if long else 320
    table = np.sqrt(np.arange(16, last + 1, dtype=np.float64))
    limits = {FIRST: ("US", 16), LAST: ("US", last)}
    more: DataSet = {MAPS: ("SQ", [limits | {MAP_TABLE: ("FD", list(table))}])}
    expected = np.where((RAMP >= 16) & (last >= RAMP), np.sqrt(RAMP), np.nan)
    close(array(Shown.of(loop, tmp_path, ramp(more)), "rescaled.npy"), expected)


def test_the_map_of_a_frame_and_that_of_all(loop: Loop, tmp_path: Path) -> None:
    own = {MAPS: ("SQ", [real(3, 1, 0, 4095)])}
    shared = {MAPS: ("SQ", [real(5, 2, 0, 4095)])}
    more = {PER_FRAME_GROUPS: ("SQ", [own, {}]), SHARED_GROUPS: ("SQ", [shared])}
    close(array(Shown.of(loop, tmp_path, ramp(more, 2)), "rescaled.npy"), np.stack((RAMP * 3.0 + 1, RAMP * 5.0 + 2)))


def test_a_frame_without_what_others_have_is_an_error(loop: Loop, tmp_path: Path) -> None:
    for group, reason in (({MAPS: ("SQ", [real(3, 1, 0, 4095)])}, "map"), (rescaling(2, 1), "Transformation")):
        shown = Shown.of(loop, tmp_path, ramp({PER_FRAME_GROUPS: ("SQ", [group, {}])}, 2))
        with pytest.raises(OSError, match=f"frame 2 has no .*{reason}") as caught:
            shown.read("rescaled.npy")
        assert caught.value.errno == errno.EIO
        assert array(shown, "pixels.npy").shape == (2, 16, 16)


def test_real_numbers_keep_what_is_no_number(loop: Loop, tmp_path: Path) -> None:
    values = np.array([[1.5, np.nan, -np.inf], [1e30, 2, 3]], "<f4")
    plain = {tag: value for tag, value in image(2, 3, b"", bits=32).items() if tag != 0x7FE00010}
    limits = {REAL_FIRST: ("FD", -10.0), REAL_LAST: ("FD", 10.0), MAP_SLOPE: ("FD", 2.0), MAP_INTERCEPT: ("FD", 1.0)}
    shown = Shown.of(loop, tmp_path, dicom(plain | {0x7FE00008: ("OF", values.tobytes()), MAPS: ("SQ", [limits])}))
    close(array(shown, "rescaled.npy"), np.array([[4, np.nan, np.nan], [np.nan, 5, 7]]))


@pytest.mark.parametrize("name", ["parametric_map_float.dcm", "parametric_map_double_float.dcm"])
def test_parametric_maps(name: str, loop: Loop, corpus: Path | None) -> None:
    if corpus is None:
        return
    path = corpus / "pydicom-data-new" / name
    dataset = pydicom.dcmread(path)
    groups = (dataset.SharedFunctionalGroupsSequence[0], dataset.PerFrameFunctionalGroupsSequence[0])
    (mapping,) = next(
        group.RealWorldValueMappingSequence for group in groups if "RealWorldValueMappingSequence" in group
    )
    found = array(Shown(loop, path), "rescaled.npy")
    expected = dataset.pixel_array.astype(np.float64) * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
    covered = ~np.isnan(found)
    assert covered.any()
    assert np.array_equal(found[covered], expected.astype(np.float32)[covered])


# What it costs


def noise(number: int, rows: int = 512, columns: int = 512) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 65536, (rows, columns), np.uint16)


def packed(path: Path, frames: Sequence[bytes], rows: int = 512, columns: int = 512) -> Path:
    """Make a file whose frames a worker has to take out, at next to no cost."""
    pixels = encapsulated(frames, offsets([[frame] for frame in frames]))
    elements = image(rows, columns, pixels, frames=len(frames), bits=16, vr="OB")
    path.write_bytes(dicom(elements, ENCAPSULATED_UNCOMPRESSED))
    return path


def with_content(
    path: Path, name: bytes, act: Callable[[Decoding, Content], Awaitable[None]], *, look_ahead: bool = True
) -> None:
    """Have *act* read an open file of a tree whose decoder is nobody else's."""

    class Alone:
        decoder: Decoding

    async def main() -> None:
        async with Decoding(workers=2) as Alone.decoder, trio.open_nursery() as nursery:
            if look_ahead:
                nursery.start_soon(Alone.decoder.prefetcher.run)
                await trio.testing.wait_all_tasks_blocked()
            with tree_of(Alone, path) as top:
                child = await top.lookup(name)
                assert child is not None
                assert isinstance(child.node, File)
                content = await child.node.open()
                try:
                    await act(Alone.decoder, content)
                finally:
                    content.close()
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_frame_costs_that_frame(tmp_path: Path) -> None:
    """Any byte of a frame decodes it and no other, once; in order, those that follow are made meanwhile."""
    frames = [noise(number).tobytes() for number in range(30)]
    each = len(frames[0])

    async def read(decoder: Decoding, content: Content) -> None:
        assert decoder.stats.decoded == 0
        for number, frame in enumerate((17, 3, 28, 10), 1):
            for start, stop in ((0, 10), (each // 2, each // 2 + 100_000), (each - 10, each)):
                data = bytes(await read_at(content, 128 + frame * each + start, stop - start))
                assert data == frames[frame][start:stop]
                await trio.testing.wait_all_tasks_blocked()
                assert decoder.stats.decoded == number
        for frame in range(0, 30, 4):  # strides
            assert bytes(await read_at(content, 128 + frame * each, 1000)) == frames[frame][:1000]
        await trio.testing.wait_all_tasks_blocked()
        assert decoder.stats.decoded <= 4 + 8

    with_content(packed(tmp_path / "x.dcm", frames), b"pixels.npy", read)


def test_reading_in_order_is_decoded_ahead_within_bounds(tmp_path: Path) -> None:
    frames = [noise(number).tobytes() for number in range(12)]
    each = len(frames[0])
    ahead = []

    async def read(decoder: Decoding, content: Content) -> None:
        for frame, expected in enumerate(frames):
            assert bytes(await read_at(content, 128 + frame * each, each)) == expected
            with trio.move_on_after(10):
                while decoder.stats.decoded <= min(frame + 1, 11) and frame > 4:
                    await trio.sleep(0.01)
            ahead.append(decoder.stats.decoded - frame - 1)
        assert decoder.stats.decoded == 12

    with_content(packed(tmp_path / "x.dcm", frames), b"pixels.npy", read)
    assert ahead[:3] == [0, 0, 0]
    assert max(ahead) <= 2 + 2
    assert sum(ahead) >= 6


def test_uncompressed_frames_need_no_worker(tmp_path: Path) -> None:
    values = np.stack([noise(number, 64, 64) for number in range(20)])
    path = tmp_path / "x.dcm"

    for stored, mask in ((16, 0xFFFF), (12, 0xFFF)):
        expected = values & np.uint16(mask)

        async def read(decoder: Decoding, content: Content, expected: np.ndarray = expected) -> None:
            data = bytes(await read_at(content, 128, values.nbytes))
            assert np.array_equal(np.frombuffer(data, "<u2").reshape(values.shape), expected)
            for offset in (128, 129, 100_001):  # also from the middle of a word
                assert bytes(await read_at(content, offset, 77)) == data[offset - 128 : offset - 51]
            assert decoder.stats.decoded == 0

        path.write_bytes(dicom(image(64, 64, values.tobytes(), frames=20, bits=16, stored=stored)))
        with_content(path, b"pixels.npy", read)


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, ENCAPSULATED_UNCOMPRESSED])
def test_a_hundred_thousand_frames_cost_no_object_each(syntax: str, tmp_path: Path) -> None:
    count = 100_000
    values = np.arange(count * 4, dtype=np.uint32).astype(np.uint8)
    path = tmp_path / "x.dcm"
    pixels: Value = values.tobytes()
    if syntax == ENCAPSULATED_UNCOMPRESSED:
        pixels = encapsulated([values[start : start + 4].tobytes() for start in range(0, count * 4, 4)])
    path.write_bytes(dicom(image(2, 2, pixels, frames=count, vr="OB"), syntax))
    open_files = len(os.listdir("/proc/self/fd"))
    used = []

    async def read(decoder: Decoding, content: Content) -> None:
        assert bytes(await read_at(content, 128 + 4 * (count - 1), 9)) == values[-4:].tobytes()
        tracemalloc.start()
        try:
            for offset in (128, 4 * count - 40, 200_000):
                assert bytes(await read_at(content, offset, 8)) == values[offset - 128 : offset - 120].tobytes()
            used.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()

    with_content(path, b"pixels.npy", read)
    assert used[0] < 500_000
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= open_files)


# Through the kernel


@pytest.fixture(scope="module")
def codes() -> tuple[list[bytes], np.ndarray]:
    """Encode six frames, of which the third is cut and no codestream any more; give their values, too."""
    values = np.stack([noise(number, 256, 512) >> 4 for number in range(6)])
    codes = [imagecodecs.jpeg2k_encode(frame, reversible=True, bitspersample=12, codecformat="j2k") for frame in values]
    codes[2] = codes[2][: len(codes[2]) // 8] + bytes(1000)
    return codes, values


@pytest.fixture(scope="module")
def made_broken(codes: tuple[list[bytes], np.ndarray]) -> Callable[[DataSet], bytes]:
    """Give what makes a film with a bad frame of it."""

    def make(more: DataSet) -> bytes:
        pixels = encapsulated(codes[0], offsets([[code] for code in codes[0]]))
        return dicom(image(256, 512, pixels, frames=6, bits=16, stored=12, vr="OB", more=more), JPEG_2000)

    return make


@pytest.fixture
def broken(
    made_broken: Callable[[DataSet], bytes], codes: tuple[list[bytes], np.ndarray], tmp_path: Path
) -> tuple[Path, np.ndarray]:
    """Make the film, alone in its folder."""
    path = tmp_path / "broken" / "film.dcm"
    path.parent.mkdir()
    path.write_bytes(made_broken({}))
    return path, codes[1]


def test_a_bad_frame_is_an_error_there_and_nowhere_else(broken: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, values = broken
    each = values[0].nbytes
    with mounted(path.parent, tmp_path, warn=True) as mount:
        shown = mount.path / "film.dcm"
        for name in ("pixels.npy", "rescaled.npy"):
            copied = subprocess.run(["cp", shown / name, tmp_path / name], capture_output=True, text=True, check=False)
            assert copied.returncode == 1
            assert "Input/output error" in copied.stderr
        # A page of memory is whole or not at all: 4096 bytes on each side go with the bad frame.
        file = os.open(shown / "pixels.npy", os.O_RDONLY)
        try:
            start, stop = 128 + 2 * each, 128 + 3 * each
            assert os.pread(file, 4096, 0)[128:] == values.tobytes()[: 4096 - 128]
            before = b"".join(os.pread(file, 65536, at) for at in range(0, start - 65536, 65536))
            assert before == (npy_head(values.dtype, values.shape) + values.tobytes())[: len(before)]
            assert errno_of(lambda: os.pread(file, 10, start + 10)) == errno.EIO
            assert errno_of(lambda: os.pread(file, 10, stop - 10)) == errno.EIO
            assert os.pread(file, each, stop + 4096) == values.tobytes()[stop + 4096 - 128 :][:each]
        finally:
            os.close(file)
        mapped = np.load(shown / "pixels.npy", mmap_mode="r")
        for frame in (0, 1, 4, 5):
            assert np.array_equal(mapped[frame, 8:-8], values[frame, 8:-8])
        del mapped  # a map keeps the mount busy
        assert len(os.listdir(shown / "stored")) == 6
        for frame in range(6):
            if frame == 2:
                assert errno_of(lambda: (shown / "stored" / "0003.tif").read_bytes()) == errno.EIO
            else:
                assert np.array_equal(tifffile.imread(shown / "stored" / f"{frame + 1:04}.tif"), values[frame])


COPIERS = {
    "cp": lambda path, place: ["cp", path, place],
    "rsync": lambda path, place: ["rsync", path, place],
    "dd": lambda path, place: ["dd", f"if={path}", f"of={place}", "bs=64K"],
    "tar": lambda path, place: ["tar", "-cf", place, path],
}


def test_copying_what_holds_a_bad_frame_fails_loudly(
    tmp_path: Path, program: Callable[[str], str], made_broken: Callable[[DataSet], bytes]
) -> None:
    """Every program, every file of all frames; and what is left of the file is read beside it."""
    archive = tmp_path / "archive"
    archive.mkdir()
    places = [{PLANE_POSITION: ("SQ", [{POSITION: ("DS", f"0\\0\\{place}")}])} for place in range(6)]
    shared = {
        PLANE_ORIENTATION: ("SQ", [{ORIENTATION: ("DS", "1\\0\\0\\0\\1\\0")}]),
        MEASURES: ("SQ", [{SPACING: ("DS", "1\\1")}]),
    }
    (archive / "film.dcm").write_bytes(made_broken({SHARED_GROUPS: ("SQ", [shared]), PER_FRAME_GROUPS: ("SQ", places)}))
    heads = {"pixels.npy": 128, "rescaled.npy": 128, "volume.nii": 352, "native.dcm": None, "stored/0003.tif": 256}
    with mounted(archive, tmp_path, warn=True) as mount:
        for name, head in heads.items():
            path = mount.path / "film.dcm" / name
            for copier, command in COPIERS.items():
                words = [program(copier), *command(str(path), str(tmp_path / "copy"))[1:]]
                done = subprocess.run(words, capture_output=True, text=True, check=False)
                assert done.returncode != 0, (name, copier)
                assert any(word in done.stderr for word in ("Input/output error", "rsync error", "File shrank")), copier
            if name.startswith("stored"):
                continue
            size = path.stat().st_size
            each = 256 * 512 * (4 if name == "rescaled.npy" else 2)
            start = (size - 6 * each if head is None else head) // 4096 * 4096
            with open(path, "rb", buffering=0) as file:
                for frame in (0, 1, 2, 3, 4, 5):
                    inside = start + frame * each + 8192
                    told = errno_of(lambda at=inside: os.pread(file.fileno(), 4096, at))
                    assert told == (errno.EIO if frame == 2 else None), (name, frame)


def test_frames_that_are_missing_are_errors_and_the_others_are_there(tmp_path: Path) -> None:
    archive, place = tmp_path / "archive", tmp_path / "place"
    archive.mkdir()
    place.mkdir()
    values = np.stack([noise(number, 128, 128) for number in range(4)])
    whole = dicom(image(128, 128, values.tobytes(), frames=4, bits=16))
    (archive / "x.dcm").write_bytes(whole[:-1000])
    with mounted(archive, place, warn=True) as mount:
        mapped = np.load(mount.path / "x.dcm" / "pixels.npy", mmap_mode="r")
        assert mapped.shape == (4, 128, 128)
        assert np.array_equal(mapped[:2], values[:2])
        assert np.array_equal(mapped[2, :100], values[2, :100])
        del mapped
        with open(mount.path / "x.dcm" / "pixels.npy", "rb") as file:
            file.seek(128 + 4 * values[0].nbytes - 100)
            assert errno_of(lambda: file.read(10)) == errno.EIO


def test_one_frame_by_memory_map_costs_no_more_than_what_the_kernel_reads_around(tmp_path: Path) -> None:
    archive, place = tmp_path / "archive", tmp_path / "place"
    archive.mkdir()
    place.mkdir()
    frames = [noise(number, 2048, 1024).tobytes() for number in range(12)]
    packed(archive / "x.dcm", frames, 2048, 1024)
    with mounted(archive, place) as mount:
        mapped = np.load(mount.path / "x.dcm" / "pixels.npy", mmap_mode="r")
        assert mount.statistics()["decoded"] <= 1
        assert mapped[5].tobytes() == frames[5]
        assert mount.statistics()["decoded"] <= 1 + 3
        # One page in the middle of a frame is that frame.
        before = mount.statistics()["decoded"]
        far: np.memmap = np.load(mount.path / "x.dcm" / "pixels.npy", mmap_mode="r")
        far._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]
        assert far[9, 1000, 7] == np.frombuffer(frames[9], "<u2").reshape(2048, 1024)[1000, 7]
        assert mount.statistics()["decoded"] == before + 1
        del mapped, far


def test_a_frame_of_a_large_object_costs_that_frame(tmp_path: Path) -> None:
    """Of 0.7 GB, native: what the daemon reads, and what it holds afterwards."""
    archive = tmp_path / "archive"
    archive.mkdir()
    shape, frames = (1024, 1792), 200
    each = 2 * 1024 * 1792
    head = dicom(image(*shape, Raw(b"", frames * each), frames=frames, bits=16))
    with open(archive / "large.dcm", "wb") as file:
        file.write(head)
        file.truncate(len(head) + frames * each)
        file.seek(len(head) + 150 * each)
        file.write(noise(150, *shape).tobytes())
    with mounted(archive, tmp_path) as mount:
        path = mount.path / "large.dcm" / "pixels.npy"
        assert path.stat().st_size == 128 + frames * each
        held, taken = mount.resident(), read_by(mount.process.pid)
        mapped = np.load(path, mmap_mode="r")
        assert np.array_equal(mapped[150], noise(150, *shape))
        # The kernel reads up to 1 MiB before and behind what is touched.
        assert read_by(mount.process.pid) - taken < each + 3 * MIB
        assert mount.resident() - held < 20 * MIB
        assert not mount.statistics()["decoded"]
        del mapped


def read_by(pid: int) -> int:
    """Give the bytes that a process has read of anything."""
    found = re.search(r"rchar: (\d+)", Path(f"/proc/{pid}/io").read_text())
    assert found
    return int(found[1])


# Maps an array, touches its first frame, and its last one when told so.
MAPPER = """
import hashlib, sys
import numpy as np
mapped = np.load(sys.argv[1], mmap_mode="r")
print(hashlib.sha256(mapped[0].tobytes()).hexdigest(), flush=True)
sys.stdin.readline()
print(hashlib.sha256(mapped[-1].tobytes()).hexdigest(), flush=True)
"""


@pytest.mark.parametrize("how", ["truncated", "written anew", "replaced"])
@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, ENCAPSULATED_UNCOMPRESSED])
def test_a_source_that_changes_under_an_array_is_never_a_mix(how: str, syntax: str, tmp_path: Path) -> None:
    """Who has it open gets what was there, or an error; who maps it, the same or a signal."""
    archive = tmp_path / "archive"
    archive.mkdir()
    old, new = (np.stack([noise(start + number, 512, 1024) for number in range(8)]) for start in (0, 100))

    def written(path: Path, values: np.ndarray) -> None:
        if syntax == EXPLICIT_LITTLE:
            path.write_bytes(dicom(image(512, 1024, values.tobytes(), frames=8, bits=16)))
        else:
            packed(path, [frame.tobytes() for frame in values], 512, 1024)

    file = archive / "x.dcm"
    written(file, old)
    with mounted(archive, tmp_path, warn=True) as mount:
        path = mount.path / "x.dcm" / "pixels.npy"
        command = [sys.executable, "-c", MAPPER, str(path)]
        with (
            open(path, "rb", buffering=0) as kept,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as mapper,
        ):
            assert os.pread(kept.fileno(), old[0].nbytes, 128) == old[0].tobytes()
            assert mapper.stdout
            assert mapper.stdout.readline().strip() == hashlib.sha256(old[0].tobytes()).hexdigest()
            if how == "truncated":
                os.truncate(file, 100_000)
            elif how == "written anew":
                written(file, new)
            else:
                written(tmp_path / "new", new)
                os.rename(tmp_path / "new", file)
            try:
                last = os.pread(kept.fileno(), old[0].nbytes, 128 + 7 * old[0].nbytes)
            except OSError as error:
                assert error.errno == errno.ESTALE  # noqa: PT017
            else:
                assert how == "replaced"
                assert last == old[7].tobytes()
            told, _ = mapper.communicate("\n")
        if told:
            assert how == "replaced"
            assert told.strip() == hashlib.sha256(old[7].tobytes()).hexdigest()
        else:
            assert mapper.returncode == -signal.SIGBUS


def test_readers_that_seek(tmp_path: Path, program: Callable[[str], str]) -> None:
    """NumPy with strides, `dd` with an offset, tifffile's memory map."""
    archive, place = tmp_path / "archive", tmp_path / "place"
    archive.mkdir()
    place.mkdir()
    values = np.stack([noise(number, 96, 80) for number in range(16)])
    packed(archive / "packed.dcm", [frame.tobytes() for frame in values], 96, 80)
    (archive / "plain.dcm").write_bytes(dicom(image(96, 80, values.tobytes(), frames=16, bits=16)))
    (archive / "spare.dcm").write_bytes(dicom(image(96, 80, values.tobytes(), frames=16, bits=16, stored=10)))
    with mounted(archive, place) as mount:
        for name, expected in (("packed.dcm", values), ("plain.dcm", values), ("spare.dcm", values & 0x3FF)):
            shown = mount.path / name
            mapped = np.load(shown / "pixels.npy", mmap_mode="r")
            assert np.array_equal(mapped[1::5, ::-7, 3::11], expected[1::5, ::-7, 3::11])
            assert np.array_equal(mapped[:, 40, 41], expected[:, 40, 41])
            command = [program("dd"), f"if={shown / 'pixels.npy'}", "bs=1000", "skip=100", "count=31", "status=none"]
            taken = subprocess.run(command, capture_output=True, check=True).stdout
            assert taken == (npy_head(values.dtype, values.shape) + expected.tobytes())[100_000:131_000]
            picture = tifffile.memmap(shown / "stored" / "0007.tif", mode="r")
            assert np.array_equal(picture[::3, ::-5], expected[6, ::3, ::-5])
            stack = tifffile.TiffSequence(str(shown / "stored" / "*.tif"))
            assert np.array_equal(stack.asarray(), expected)
            scaled = np.load(shown / "rescaled.npy", mmap_mode="r")
            assert np.array_equal(scaled[::3, 5], expected[::3, 5].astype(np.float32))
            del mapped, picture, scaled


def test_what_makes_no_sense_is_absent(loop: Loop, tmp_path: Path) -> None:
    colour = Shown.of(loop, tmp_path, dicom(image(2, 2, bytes(12), samples=3)))
    assert {"pixels.npy", "stored/0001.tif"} <= set(colour.names)
    assert "rescaled.npy" not in colour.names
    report = Shown.of(loop, tmp_path, dicom({0x00080060: ("CS", "SR")}))
    assert not {"pixels.npy", "rescaled.npy"} & set(report.names)


def test_a_frame_too_large_for_tiff_is_in_the_array_alone(loop: Loop, tmp_path: Path) -> None:
    for columns, present in ((16384, False), (16383, True)):
        shown = Shown.of(loop, tmp_path, dicom(image(32768, columns, b"", bits=64)))
        assert "pixels.npy" in shown.names
        assert ("stored/0001.tif" in shown.names) is present
        assert ("stored/ is left out" in shown.problems) is not present
