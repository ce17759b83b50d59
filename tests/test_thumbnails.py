"""Which picture stands for an object: the representative frame, or the whole level of a slide."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.builders import PER_FRAME_GROUPS, DataSet, dicom, encapsulated, image
from support.mounting import Loop
from support.object_directories import Shown

from dicomfs.rendering.resize import Shrunk

REPRESENTATIVE = 0x00286010
MATRIX_COLUMNS, MATRIX_ROWS, ORGANIZATION = 0x00480006, 0x00480007, 0x00209311
SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
RLE = "1.2.840.10008.1.2.5"


def thumbnail(loop: Loop, folder: Path, data: bytes) -> np.ndarray:
    path = folder / "thumbnail.png"
    path.write_bytes(Shown.of(loop, folder, data).read("thumbnail.png"))
    return np.asarray(Image.open(path))


@pytest.mark.parametrize(("stated", "shown"), [(None, 3), (2, 2), (1, 1), (5, 5), (0, 3), (6, 3)])
def test_the_representative_frame(stated: int | None, shown: int, loop: Loop, tmp_path: Path) -> None:
    pixels = b"".join(bytes([40 * number]) * 64 for number in range(1, 6))
    more: DataSet = {} if stated is None else {REPRESENTATIVE: ("US", stated)}
    picture = thumbnail(loop, tmp_path, dicom(image(8, 8, pixels, frames=5, more={**more, **window()})))
    assert (picture == 40 * shown).all()


def window() -> DataSet:
    return {0x00281050: ("DS", "128"), 0x00281051: ("DS", "256"), 0x00281056: ("CS", "LINEAR")}


def level(rows: int, columns: int) -> np.ndarray:
    """Draw something of low resolution, so that making it small does not change it much."""
    down, across = np.mgrid[0:rows, 0:columns]
    red = down * 255 // max(1, rows - 1)
    green = across * 255 // max(1, columns - 1)
    return np.stack([red, green, np.full_like(red, 77)], axis=-1).astype(np.uint8)


def tiles(picture: np.ndarray, side: int) -> list[tuple[int, int, np.ndarray]]:
    """Cut a level into tiles, those at its end filled up with black."""
    rows, columns = picture.shape[:2]
    down, across = -(-rows // side), -(-columns // side)
    padded = np.zeros((down * side, across * side, 3), np.uint8)
    padded[:rows, :columns] = picture
    return [
        (row * side, column * side, padded[row * side : (row + 1) * side, column * side : (column + 1) * side])
        for row in range(down)
        for column in range(across)
    ]


def slide(
    rows: int, columns: int, side: int, *, sparse: bool = False, leave_out: int = 0, more: DataSet | None = None
) -> bytes:
    found = tiles(level(rows, columns), side)
    extra: dict[int, tuple[str, object]] = {
        0x00080016: ("UI", SLIDE),
        MATRIX_COLUMNS: ("UL", columns),
        MATRIX_ROWS: ("UL", rows),
        ORGANIZATION: ("CS", "TILED_SPARSE" if sparse else "TILED_FULL"),
    }
    if sparse:
        found = found[::-1][leave_out:]
        extra[PER_FRAME_GROUPS] = (
            "SQ",
            [
                {0x0048021A: ("SQ", [{0x0048021E: ("SL", column + 1), 0x0048021F: ("SL", row + 1)}])}
                for row, column, _ in found
            ],
        )
    pixels = b"".join(tile.tobytes() for _, _, tile in found)
    return dicom(image(side, side, pixels, frames=len(found), samples=3, more={**extra, **(more or {})}))


@pytest.mark.parametrize(
    ("rows", "columns", "side"),
    [(256, 256, 64), (1000, 700, 64), (300, 301, 128), (40, 900, 50), (90, 70, 64), (130, 4000, 64)],
)
@pytest.mark.parametrize("sparse", [False, True])
def test_a_level_is_shown_whole(rows: int, columns: int, side: int, sparse: bool, loop: Loop, tmp_path: Path) -> None:
    """Also where the last tiles reach beyond it; Pillow makes the same of the level."""
    picture = thumbnail(loop, tmp_path, slide(rows, columns, side, sparse=sparse))
    height, width = picture.shape[:2]
    assert max(height, width) == min(256, max(rows, columns))
    assert abs(height / width - rows / columns) <= rows / columns / min(height, width)
    expected = np.asarray(Image.fromarray(level(rows, columns)).resize((width, height), Image.Resampling.BOX))
    assert np.abs(picture.astype(int) - expected).max() <= 3 + 3 * 255 // min(rows, columns, 256)


def test_what_no_tile_covers_is_glass(loop: Loop, tmp_path: Path) -> None:
    picture = thumbnail(loop, tmp_path, slide(256, 256, 64, sparse=True, leave_out=1))
    assert (picture[200:, 200:] == 255).all()
    assert (picture[:190, :190, 2] == 77).all()


def test_a_broken_tile_is_an_error_not_a_hole(loop: Loop, tmp_path: Path) -> None:
    found = tiles(level(128, 128), 64)
    good = [rle(tile) for _, _, tile in found]
    extra: DataSet = {MATRIX_COLUMNS: ("UL", 128), MATRIX_ROWS: ("UL", 128), ORGANIZATION: ("CS", "TILED_FULL")}
    for frames, whole in ((good, True), ([*good[:3], good[3][:70]], False)):
        elements = image(64, 64, encapsulated(frames), frames=4, samples=3, vr="OB", more=extra)
        shown = Shown.of(loop, tmp_path, dicom(elements, RLE))
        if whole:
            assert shown.read("thumbnail.png")
        else:
            with pytest.raises(OSError, match="RLE"):
                shown.read("thumbnail.png")


def rle(tile: np.ndarray) -> bytes:
    """Encode a tile as three segments of literal runs (PS3.5 G.3)."""
    segments = []
    for sample in range(3):
        flat = tile[..., sample].tobytes()
        runs = [flat[at : at + 128] for at in range(0, len(flat), 128)]
        segments.append(b"".join(bytes([len(run) - 1]) + run for run in runs) + b"\x80")
    segments = [segment + b"\0" * (len(segment) % 2) for segment in segments]
    starts = [64, 64 + len(segments[0]), 64 + len(segments[0]) + len(segments[1])]
    return struct.pack("<16L", 3, *starts, *[0] * 12) + b"".join(segments)


@pytest.mark.parametrize("icon", [False, True])
def test_a_level_of_very_many_tiles_has_its_icon_or_none(icon: bool, loop: Loop, tmp_path: Path) -> None:
    small = image(2, 2, bytes((9, 9, 9, 9)), bits=8)
    more: DataSet = {MATRIX_COLUMNS: ("UL", 64 * 65), MATRIX_ROWS: ("UL", 64 * 65)}
    if icon:
        more = {
            **more,
            0x00880200: ("SQ", [{tag: value for tag, value in small.items() if tag >> 16 in (0x28, 0x7FE0)}]),
        }
    shown = Shown.of(loop, tmp_path, slide(64, 128, 64, more=more))
    assert ("thumbnail.png" in shown.names) == icon
    if icon:
        assert shown.read("thumbnail.png") == shown.read("icon.png")


@pytest.mark.parametrize("factors", [(2, 2), (1, 4), (8, 2), (3, 2), (5, 7)])
@pytest.mark.parametrize("samples", [(), (3,)])
def test_a_shrunk_pixel_is_the_mean_of_its_block_rounded_half_up(factors: tuple[int, int], samples: tuple[int]) -> None:
    down, across = factors
    picture = np.random.default_rng(down).integers(0, 256, (24 * down, 31 * across, *samples), np.uint8)
    means = picture.reshape(24, down, 31, across, *samples).astype(np.int64).sum(axis=(1, 3))
    assert np.array_equal(Shrunk(24, 31).apply(picture), (2 * means + down * across) // (2 * down * across))
