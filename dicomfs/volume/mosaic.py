"""Mosaics: images that Siemens tiled from the slices of a volume, and where these slices are (M6).

Only this module reads the private elements of Siemens that say how many tiles there are and which way they go. The
position of the object is that of a slice as large as the whole mosaic, with the same centre as the first tile.
"""

import math
import struct
from dataclasses import dataclass, replace

import numpy as np

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.values import parse_number
from dicomfs.iod.image_plane import Planes
from dicomfs.volume.stack import Irregular, Stack, stack_of

_CREATORS = range(0x10, 0x100)
_MR_HEADER, _CSA_HEADER = "SIEMENS MR HEADER", "SIEMENS CSA HEADER"
# Element numbers within the blocks that the creators reserve.
_NUMBER_OF_IMAGES, _IMAGE_HEADER = (0x0019, 0x0A), (0x0029, 0x10)
# More slices have no scanner, and more entries no header.
_MAX_SLICES, _MAX_ENTRIES = 4096, 1024
_ENTRY, _ITEM = struct.Struct("<64si4siii"), struct.Struct("<4i")


@dataclass(frozen=True, slots=True)
class Mosaic:
    """How tiles make up a frame: *slices* of them, *rows* x *columns* pixels each, *across* of them side by side.

    The tiles of a frame ascend along the normal of the planes unless they are *descending*.
    """

    slices: int
    across: int
    rows: int
    columns: int
    descending: bool

    def tile(self, place: int) -> tuple[int, int]:
        """Return the row and the column of the first pixel of the slice at *place*, counted upwards from 0."""
        number = self.slices - 1 - place if self.descending else place
        return number // self.across * self.rows, number % self.across * self.columns


def mosaic_of(dataset: DataSet, fmt: PixelFormat, planes: Planes) -> tuple[Mosaic, Stack]:
    """Find the tiles and their places, as of one frame. Raises Irregular where the object does not say enough."""
    header = _csa_header(dataset)
    stated = _private(dataset, _MR_HEADER, _NUMBER_OF_IMAGES)
    numbers = {*(dataset.integers(stated)[:1] if stated else ()), *header.get("NumberOfImagesInMosaic", ())[:1]}
    if len(numbers) > 1:
        raise Irregular("each frame is a mosaic of slices, and two numbers of them are stated (M6)")
    slices = int(max(numbers, default=0))
    if not 1 <= slices <= _MAX_SLICES:
        raise Irregular("each frame is a mosaic of slices, and nothing says of how many (M6)")
    across = math.ceil(math.sqrt(slices))
    if fmt.rows % across or fmt.columns % across:
        raise Irregular("each frame is a mosaic of slices, and is not as large as its tiles (M6)")
    # Frames of an object that states one position are images of one place.
    others = planes.positions[1:]
    if not (np.isnan(others) | (others == planes.positions[0])).all():
        raise Irregular("the frames are mosaics of slices in different places (M6)")
    if not planes.between:
        raise Irregular("each frame is a mosaic of slices, and nothing says how far these are apart (M6)")
    rows, columns = fmt.rows // across, fmt.columns // across
    whole = stack_of(replace(planes, positions=planes.positions[:1]), 1)
    normal = np.cross(whole.right, whole.down)
    direction = np.array(header.get("SliceNormalVector", ()))
    along = float(direction @ normal / np.linalg.norm(normal)) if direction.shape == (3,) else 0.0
    if not 0.9 < abs(along) < 1.1:
        raise Irregular("each frame is a mosaic of slices, and nothing says in which direction they follow (M6)")
    step = normal / np.linalg.norm(normal) * planes.between
    first = np.array(whole.origin)
    first += np.array(whole.right) * ((fmt.columns - columns) / 2) + np.array(whole.down) * ((fmt.rows - rows) / 2)
    first -= step * (slices - 1) if along < 0 else 0.0
    origin, (x, y, z) = first.tolist(), step.tolist()
    stack = Stack((origin[0], origin[1], origin[2]), whole.right, whole.down, (x, y, z), slices, np.zeros(1, np.int64))
    return Mosaic(slices, across, rows, columns, along < 0), stack


def _private(dataset: DataSet, creator: str, element: tuple[int, int]) -> int | None:
    """Find the tag of a private element by its creator, whose block may be anywhere in the group (PS3.5 7.8.1)."""
    group, number = element
    for block in _CREATORS:
        if dataset.text(group << 16 | block) == creator and (group << 16 | block << 8 | number) in dataset:
            return group << 16 | block << 8 | number
    return None


def _csa_header(dataset: DataSet) -> dict[str, tuple[float, ...]]:
    """Read the numbers of the image header of Siemens; nothing where it is not there or is not one.

    It is little endian in any file. In the older form, each item states its length plus the number of items of the
    first entry; the newer begins with "SV10".
    """
    tag = _private(dataset, _CSA_HEADER, _IMAGE_HEADER)
    element = dataset.get(tag) if tag else None
    data = (element.value or b"") if element else b""
    newer = data.startswith(b"SV10")
    position = 8 if newer else 0
    found: dict[str, tuple[float, ...]] = {}
    try:
        (entries,) = struct.unpack_from("<I", data, position)
        position, extra = position + 8, 0
        for entry in range(min(entries, _MAX_ENTRIES)):
            name, _, _, _, items, _ = _ENTRY.unpack_from(data, position)
            position += _ENTRY.size
            extra = items if not newer and entry == 0 else extra
            texts = []
            for _ in range(min(items, _MAX_ENTRIES)):
                first, second, _, _ = _ITEM.unpack_from(data, position)
                length = second if newer else first - extra
                position += _ITEM.size
                if not 0 <= length <= len(data) - position:
                    return found
                texts.append(data[position : position + length].split(b"\0")[0].decode("ascii", "replace").strip())
                position += -(-length // 4) * 4
            numbers = [parse_number(text) for text in texts if text]
            if None not in numbers:
                found[name.split(b"\0")[0].decode("ascii", "replace")] = tuple(
                    [number for number in numbers if number is not None and math.isfinite(number)]
                )
    except struct.error:
        pass  # it is cut short; what came before counts
    return found
