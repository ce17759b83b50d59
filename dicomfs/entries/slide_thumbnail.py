"""`thumbnail.png` of a level of a whole-slide image: all tiles of the level, each reduced by a worker.

A tile alone would show nothing of the slide. The image is built as a whole when it is opened, as cine loops are.
"""

from functools import partial
from typing import BinaryIO

import numpy as np

from dicomfs.entries.built_file import BuiltFile, Recipe
from dicomfs.entries.display_images import display_pixels, profile_of
from dicomfs.formats.png import PHYSICAL_SIZE, png_size, profile_chunk, profile_size, write_png
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.iod.pixel_size import physical
from dicomfs.iod.whole_slide import Level, tiles_of
from dicomfs.rendering.resize import Shrunk, shrunk_to
from dicomfs.resources.threads import Purpose, run
from dicomfs.sources.source import SourceFile
from dicomfs.workers.prefetcher import in_order

# Goes up whenever the bytes of such a picture change.
_VERSION = 1
# Pixels of a tile that are kept for one of the picture, in each direction: the mean of them is what the picture shows.
_FINER = 4
# What no tile covers: glass in colours, nothing in fluorescence.
_GLASS, _NOTHING = 255, 0


def slide_thumbnail_file(handle: InstanceHandle, instance: Instance, level: Level, longest: int) -> BuiltFile:
    """Return the picture of *level*, at most *longest* pixels long and wide."""
    pixels = instance.pixels
    assert pixels is not None  # noqa: S101 - a level has tiles
    small = shrunk_to(longest, level.rows, level.columns)
    profile = profile_of(instance)
    ancillary = PHYSICAL_SIZE + (profile_size(profile.length) if profile else 0)
    size = png_size(small.rows, small.columns, pixels.picture_samples, ancillary)
    build = partial(_build, handle, level, longest)
    return BuiltFile(handle, Recipe(f"slide {_VERSION} {handle.services.view.window}", size, build))


async def _build(handle: InstanceHandle, level: Level, longest: int, file: BinaryIO) -> None:
    """Build the image. Raises OSError."""
    small = shrunk_to(longest, level.rows, level.columns)
    instance = await handle.instance()
    canvas = await _canvas(handle, instance, level, longest)
    chunks = await handle.read(_chunks, instance, level, small)
    await run(Purpose.DISK, file.write, write_png(small.apply(canvas), chunks), finish=True)


async def _canvas(handle: InstanceHandle, instance: Instance, level: Level, longest: int) -> np.ndarray:
    """Draw the level somewhat larger than the picture will be, and no larger than it is. Raises DecodeError."""
    pixels = instance.pixels
    assert pixels is not None  # noqa: S101 - the file was made of them
    tile = _reduced(level, longest)
    samples = pixels.picture_samples
    rows = _scaled(level.rows, tile.rows, level.tile_rows)
    columns = _scaled(level.columns, tile.columns, level.tile_columns)
    ground = _NOTHING if samples == 1 else _GLASS
    canvas = np.full((rows, columns, samples) if samples > 1 else (rows, columns), ground, np.uint8)
    tiles = list(await run(Purpose.COMPUTING, tiles_of, pixels.dataset, level, len(pixels.frames)))
    requests = display_pixels(handle, instance, [each.frame for each in tiles], tile)
    async with in_order(handle.services.frames, requests) as images:
        for index, place in enumerate(tiles):
            data = await images.take(index) or b""
            top = place.row * tile.rows // level.tile_rows
            left = place.column * tile.columns // level.tile_columns
            part = canvas[top : top + tile.rows, left : left + tile.columns]
            drawn = np.frombuffer(data, np.uint8).reshape(tile.rows, tile.columns, *canvas.shape[2:])
            part[:] = drawn[: part.shape[0], : part.shape[1]]
    return canvas


def _chunks(file: SourceFile, instance: Instance, level: Level, small: Shrunk) -> list[bytes]:
    """Return the chunks that state the size of the pixels and the ICC profile."""
    assert instance.pixels is not None  # noqa: S101 - the file was made of them
    chunks = [physical(instance.pixels.dataset, 0, (level.rows / small.rows, level.columns / small.columns))]
    if profile := profile_of(instance):
        chunks.append(profile_chunk(instance.stream_in(file).pread(profile.length, profile.offset)))
    return chunks


def _reduced(level: Level, longest: int) -> Shrunk:
    """Return the size of a reduced tile: some pixels for each of the thumbnail, and one at least."""
    wanted = _FINER * longest / max(level.rows, level.columns)
    rows, columns = (max(1, min(length, round(length * wanted))) for length in (level.tile_rows, level.tile_columns))
    return Shrunk(rows, columns)


def _scaled(length: int, drawn: int, tile: int) -> int:
    """Return the length of *length* pixels of the level once a *tile* is reduced to *drawn* pixels.

    A pixel that also stands for what is beyond the end of the level is none of them.
    """
    return max(1, length * drawn // tile)
