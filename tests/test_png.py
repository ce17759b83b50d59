"""PNG files are exactly as long as promised, and readers that are not ours see the same picture."""

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from dicomfs.formats.png import BLOCK, chunk, png_size, write_png


def noise(rows: int, columns: int, samples: int) -> np.ndarray:
    """Make a picture of random bytes, the same each time."""
    shape = (rows, columns) if samples == 1 else (rows, columns, samples)
    return np.random.default_rng(rows * 1009 + columns).integers(0, 256, shape, np.uint8)


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from((1, 3)))
@settings(deadline=None, max_examples=150)
def test_the_promised_length_is_kept_and_pillow_reads_the_picture_back(rows: int, columns: int, samples: int) -> None:
    picture = noise(rows, columns, samples)
    file = write_png(picture)
    assert len(file) == png_size(rows, columns, samples)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(file))), picture)


# Shapes whose image data end exactly at, just before and just after the border of a stored block.
@pytest.mark.parametrize(
    ("rows", "columns"), [(1, BLOCK - 1), (1, BLOCK), (1, BLOCK - 2), (2, BLOCK - 1), (257, 254), (15, 4368), (1, 1)]
)
def test_block_borders(rows: int, columns: int) -> None:
    picture = noise(rows, columns, 1)
    file = write_png(picture)
    assert len(file) == png_size(rows, columns, 1)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(file))), picture)


@pytest.mark.parametrize("samples", [1, 3])
def test_pngcheck_accepts_the_file(samples: int, tmp_path: Path, program: Callable[[str], str]) -> None:
    density = chunk(b"pHYs", (3000).to_bytes(4, "big") + (4000).to_bytes(4, "big") + b"\x01")
    path = tmp_path / "x.png"
    path.write_bytes(write_png(noise(300, 333, samples), (density,)))
    answer = subprocess.run([program("pngcheck"), "-v", path], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
    assert "No errors detected" in answer.stdout
    assert "3000x4000 pixels/meter" in answer.stdout


def test_chunks_count_in_the_length() -> None:
    chunks = (chunk(b"sBIT", b"\x08"), chunk(b"tEXt", b"Software\0dicomfs"))
    file = write_png(noise(10, 20, 1), chunks)
    assert len(file) == png_size(10, 20, 1, sum(map(len, chunks)))
    with Image.open(io.BytesIO(file)) as opened:
        assert isinstance(opened, PngImageFile)
        assert opened.text == {"Software": "dicomfs"}


def test_a_picture_that_is_not_contiguous_is_written_as_it_looks() -> None:
    picture = noise(40, 60, 3)[::-1, ::2]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(write_png(picture)))), picture)
