"""TIFF as libtiff, tifffile, ImageMagick, OpenCV, ITK and Pillow read it; `test_imagej` has ImageJ read it.

What is expected is written by tifffile, compared by libtiff, or stated in TIFF 6.0.
"""

import struct
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image
from support.builders import DataSet, Value, dicom, image
from support.mounting import Loop
from support.object_directories import Shown

from dicomfs.formats.tiff import CENTIMETRE, CMYK, GREY, PALETTE, RGB, Resolution, head_size, resolution_of, tiff_head

Program = Callable[[str], str]
TYPES = ["u1", "i1", "<u2", "<i2", "<u4", "<i4", "<f4", "<f8", "<u8", "<i8"]
ROWS, COLUMNS = 7, 5


def values_of(dtype: np.dtype[np.generic], samples: int = 1) -> np.ndarray:
    """Make values over the whole range of a type, each row different."""
    shape = (ROWS, COLUMNS) if samples == 1 else (ROWS, COLUMNS, samples)
    raw = np.random.default_rng(7).integers(0, 256, (*shape, dtype.itemsize), np.uint8)
    if dtype.kind != "f":
        return raw.reshape(-1).view(dtype).reshape(shape)
    return (raw.astype(dtype)[..., 0] - 128) * np.array(1e10 / 3, dtype)


def written(path: Path, values: np.ndarray, photometric: int = GREY, **more: Value) -> Path:
    """Write a file as it is served."""
    samples = 1 if values.ndim == 2 else values.shape[2]
    resolution = more.get("resolution", Resolution())
    head = tiff_head(*values.shape[:2], samples, values.dtype, photometric, resolution, more.get("palette", b""))
    assert len(head) == head_size(photometric)
    path.write_bytes(head + values.tobytes())
    return path


def told(program: Program, path: Path) -> str:
    """Give what tiffinfo says of a file; it may have nothing to complain about."""
    done = subprocess.run([program("tiffinfo"), "-s", path], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("samples", [1, 3])
def test_every_type_is_what_tifffile_writes(name: str, samples: int, tmp_path: Path, program: Program) -> None:
    values = values_of(np.dtype(name), samples)
    path = written(tmp_path / "ours.tif", values, RGB if samples == 3 else GREY)
    read = tifffile.imread(path)
    assert read.dtype == values.dtype
    assert np.array_equal(read, values)
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].is_memmappable
        assert len(file.pages) == 1
        assert len(file.pages[0].dataoffsets) == 1
    if name not in ("<u8", "<i8"):
        other = tmp_path / "theirs.tif"
        photometric = "rgb" if samples == 3 else "minisblack"
        tifffile.imwrite(other, values, photometric=photometric, metadata=None, rowsperstrip=ROWS, software=False)
        done = subprocess.run([program("tiffcmp"), path, other], capture_output=True, text=True, check=False)
        # Where a tag is stated by one of the two alone it is told, and is no difference of the image.
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"Image Width: {COLUMNS} Image Length: {ROWS}" in told(program, path)


@pytest.mark.parametrize("name", ["u1", "i1", "<u2", "<i2", "<i4", "<f4", "<f8"])
def test_opencv_reads_every_type_that_it_has(name: str, tmp_path: Path) -> None:
    values = values_of(np.dtype(name))
    read = cv2.imread(str(written(tmp_path / "x.tif", values)), cv2.IMREAD_UNCHANGED)
    assert read is not None
    assert read.dtype == values.dtype
    assert np.array_equal(read, values)


@pytest.mark.parametrize("name", ["u1", "i1", "<u2", "<i2", "<u4", "<i4", "<f4"])
@pytest.mark.parametrize("samples", [1, 3])
def test_itk_reads_every_type_up_to_32_bits(name: str, samples: int, tmp_path: Path) -> None:
    """As ITK-SNAP and 3D Slicer do, which are built on it; it has no 64 bits in TIFF."""
    values = values_of(np.dtype(name), samples)
    path = written(tmp_path / "x.tif", values, RGB if samples == 3 else GREY)
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))
    assert read.dtype == values.dtype
    assert np.array_equal(read, values)


@pytest.mark.parametrize("name", ["u1", "<u2"])
def test_opencv_and_pillow_read_colour(name: str, tmp_path: Path) -> None:
    values = values_of(np.dtype(name), 3)
    path = written(tmp_path / "x.tif", values, RGB)
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert read is not None
    assert np.array_equal(read[..., ::-1], values)
    if name == "u1":
        assert np.array_equal(np.asarray(Image.open(path)), values)


@pytest.mark.parametrize(("name", "samples"), [("u1", 1), ("<u2", 1), ("u1", 3), ("<u2", 3)])
def test_imagemagick_reads_the_same_samples(name: str, samples: int, tmp_path: Path, program: Program) -> None:
    values = values_of(np.dtype(name), samples)
    path = written(tmp_path / "x.tif", values, RGB if samples == 3 else GREY)
    depth = values.dtype.itemsize * 8
    kind = f"{'rgb' if samples == 3 else 'gray'}:-"
    command = [program("convert"), str(path), "-depth", str(depth), "-endian", "LSB", kind]
    assert subprocess.run(command, capture_output=True, check=True).stdout == values.tobytes()


@pytest.mark.parametrize("name", ["i1", "<i2", "<u4", "<i4", "<f4", "<f8"])
def test_imagemagick_knows_the_shape_of_the_others(name: str, tmp_path: Path, program: Program) -> None:
    path = written(tmp_path / "x.tif", values_of(np.dtype(name)))
    command = [program("identify"), "-format", "%m %w %h %z", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    depth = min(np.dtype(name).itemsize * 8, 64)
    assert done.stdout.split() == ["TIFF", str(COLUMNS), str(ROWS), str(depth)]
    assert not done.stderr


def test_a_palette_is_indices_and_colours(tmp_path: Path) -> None:
    values = values_of(np.dtype("u1"))
    colours = np.random.default_rng(1).integers(0, 256, (3, 256), np.uint8)
    path = written(tmp_path / "x.tif", values, PALETTE, palette=(colours.astype("<u2") * 257).tobytes())
    assert np.array_equal(tifffile.imread(path), values)
    shown = np.asarray(Image.open(path).convert("RGB"))
    assert np.array_equal(shown, colours.T[values])
    read = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert read is not None
    assert np.array_equal(read[..., ::-1], shown)


def test_four_samples(tmp_path: Path, program: Program) -> None:
    values = values_of(np.dtype("u1"), 4)
    path = written(tmp_path / "cmyk.tif", values, CMYK)
    assert "Photometric Interpretation: separated" in told(program, path)
    assert np.array_equal(np.asarray(Image.open(path)), values)
    plain = written(tmp_path / "bands.tif", values)
    assert "Extra Samples: 3<unspecified, unspecified, unspecified>" in told(program, plain)
    assert np.array_equal(tifffile.imread(plain), values)


def test_imagej_finds_what_it_wants(tmp_path: Path) -> None:
    """Its TiffDecoder takes one directory, an uncompressed strip, and pixels per inch or centimetre."""
    values = values_of(np.dtype("<i2"))
    path = written(tmp_path / "x.tif", values, resolution=resolution_of([(0.5, 0.25)]))
    data = path.read_bytes()
    assert data[:8] == b"II*\0\x08\0\0\0"
    (count,) = struct.unpack_from("<H", data, 8)
    entries = [struct.unpack_from("<HHLL", data, 10 + 12 * index) for index in range(count)]
    tags = [entry[0] for entry in entries]
    assert tags == sorted(set(tags))
    assert data[10 + 12 * count :][:4] == bytes(4)  # no further directory
    # Values that are not in their entry begin at an even place (TIFF 6.0, section 2).
    sizes = {3: 2, 4: 4, 5: 8}
    assert all(entry[3] % 2 == 0 for entry in entries if sizes[entry[1]] * entry[2] > 4)


@pytest.mark.parametrize(
    ("stated", "across", "down", "unit"),
    [
        # Distance of rows first, which is the height of a pixel (PS3.3 10.7.1.3).
        ({0x00280030: ("DS", "0.5\\0.25")}, 40, 20, 3),
        ({0x00280030: ("DS", "0.661468\\0.661468")}, 10 / 0.661468, 10 / 0.661468, 3),
        ({0x00181164: ("DS", "0.1\\0.2")}, 50, 100, 3),
        ({0x00280030: ("DS", "0\\0.25")}, 1, 1, 1),
        ({0x00280030: ("DS", "0.00000001\\1")}, 1, 1, 1),
        ({}, 1, 1, 1),
    ],
)
def test_the_resolution_is_that_of_pixel_spacing(
    stated: DataSet, across: float, down: float, unit: int, loop: Loop, tmp_path: Path
) -> None:
    shown = Shown.of(loop, tmp_path, dicom(image(3, 4, bytes(12), more=stated)))
    path = tmp_path / "x.tif"
    path.write_bytes(shown.read("stored/0001.tif"))
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        found = [tags[name].value for name in ("XResolution", "YResolution", "ResolutionUnit")]
    assert found[0][0] / found[0][1] == pytest.approx(across, rel=1e-7)
    assert found[1][0] / found[1][1] == pytest.approx(down, rel=1e-7)
    assert found[2] == unit


@pytest.mark.parametrize("spacing", [(1e-6, 1e6), (1e-5, 123456.789), (1 / 3, 2 / 7), (999999.0, 1.1e-6)])
def test_any_resolution_fits_into_its_numbers(spacing: tuple[float, float]) -> None:
    resolution = resolution_of([(), spacing])
    values = values_of(np.dtype("u1"))
    if not 1e-6 < min(spacing) <= max(spacing) < 1e6:
        assert resolution == Resolution()
        return
    assert resolution.unit == CENTIMETRE
    head = tiff_head(ROWS, COLUMNS, 1, values.dtype, GREY, resolution)
    count = struct.unpack_from("<H", head, 8)[0]
    for index, distance in ((9, spacing[1]), (10, spacing[0])):
        place = struct.unpack_from("<L", head, 10 + 12 * index + 8)[0]
        assert place >= 10 + 12 * count
        assert float(Fraction(*struct.unpack_from("<LL", head, place))) == pytest.approx(10 / distance, rel=1e-3)
