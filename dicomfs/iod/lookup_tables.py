"""Look-up tables as they come in data sets: descriptors, entries in bytes or words, segments (PS3.3 C.11.1, C.7.9).

Only this module reads LUT Data and Palette Color Lookup Tables. A table shorter than its descriptor is used as
far as it goes; nothing here expands to more than 65,536 entries.
"""

from dataclasses import dataclass

import numpy as np

from dicomfs.dicom import tags
from dicomfs.dicom.data_set import DataSet, Element
from dicomfs.rendering.render import Lut, Palette

MAX_ENTRIES = 65536
"""Entries that a table can have (PS3.3 C.11.1.1.1)."""
# What is read of a segmented table, whose segments may be longer than the entries that they stand for.
_MAX_TABLE_BYTES = 4 * MAX_ENTRIES

_DESCRIPTORS = (
    tags.RedPaletteColorLookupTableDescriptor,
    tags.GreenPaletteColorLookupTableDescriptor,
    tags.BluePaletteColorLookupTableDescriptor,
)
_TABLES = (
    tags.RedPaletteColorLookupTableData,
    tags.GreenPaletteColorLookupTableData,
    tags.BluePaletteColorLookupTableData,
)
_SEGMENTED = (
    tags.SegmentedRedPaletteColorLookupTableData,
    tags.SegmentedGreenPaletteColorLookupTableData,
    tags.SegmentedBluePaletteColorLookupTableData,
)

DISCRETE, LINEAR, INDIRECT = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Descriptor:
    """How many entries a table has, which input the first one is for, and the bits of an entry."""

    count: int
    first: int
    bits: int


def read_descriptor(dataset: DataSet, tag: int, inputs: tuple[float, float]) -> Descriptor | None:
    """Read a LUT descriptor, whose second value has the sign of the *inputs* (PS3.3 C.11.1.1.1, G3).

    *inputs* are the least and the greatest value that is looked up. The VR that was written counts for nothing: a
    first value beyond all inputs is a negative one, too.
    """
    values = dataset.integers(tag)
    if len(values) != 3:
        return None
    first = values[1] & 0xFFFF
    if first > 0x7FFF and (inputs[0] < 0 or first > inputs[1]):
        first -= 0x10000
    return Descriptor((values[0] & 0xFFFF) or MAX_ENTRIES, first, values[2] & 0xFFFF)


def read_lut(dataset: DataSet, inputs: tuple[float, float]) -> Lut | None:
    """Read one Item of a Modality or VOI LUT Sequence; None when there is no table to be used."""
    descriptor = read_descriptor(dataset, tags.LUTDescriptor, inputs)
    if descriptor is None:
        return None
    entries = _entries(dataset, tags.LUTData, descriptor.count)
    if not len(entries):
        return None
    bits = descriptor.bits
    if not 1 <= bits <= 16 or int(entries.max()) >> bits:
        bits = max(int(entries.max()).bit_length(), 1)
    return Lut(descriptor.first, bits, entries.astype("<u2").tobytes())


def bits_in_use(lut: Lut) -> int:
    """Return the bits that the largest entry of a table takes: at least 8, and no more than are stated.

    Some writers state the bits of the words that hold the entries (G9).
    """
    return min(lut.bits, max(8, int(np.frombuffer(lut.entries, "<u2").max()).bit_length()))


def read_palette(
    dataset: DataSet, inputs: tuple[float, float], supplemental: bool = False
) -> tuple[Palette | None, tuple[str, ...]]:
    """Read the Palette Color Lookup Tables, also segmented ones (PS3.3 C.7.9); None without all three colours."""
    tables = []
    problems: dict[str, None] = {}
    descriptor: Descriptor | None = None
    for index in range(3):
        before, descriptor = descriptor, read_descriptor(dataset, _DESCRIPTORS[index], inputs)
        if descriptor is None:
            return None, ("the palette has no usable descriptor (G15)",)
        if before is not None and before != descriptor:
            problems["the descriptors of the palette's colours differ; the last one's is used (G15)"] = None
        if _TABLES[index] in dataset:
            table = _entries(dataset, _TABLES[index], descriptor.count)
        else:
            table = _expand(_segments(dataset, _SEGMENTED[index], descriptor.bits))
        table = table[: descriptor.count]
        if not len(table):
            return None, ("the palette has no entries (G15)",)
        if len(table) < descriptor.count:
            problems["the palette has fewer entries than its descriptor says (L8)"] = None
        tables.append(table)
    assert descriptor is not None  # noqa: S101  the loop ran
    length = max(map(len, tables))
    red, green, blue = (np.pad(table, (0, length - len(table)), mode="edge") for table in tables)
    used = max(int(table.max()) for table in tables).bit_length()
    bits = _palette_bits(descriptor.bits, used)
    if bits != descriptor.bits:
        told = f"the palette says {descriptor.bits} bits, but its entries use {used}"
        problems[f"{told}; the highest 8 of {bits} are shown (G15)"] = None
    return Palette.of_tables(descriptor.first, bits, red, green, blue, supplemental), tuple(problems)


def _palette_bits(stated: int, used: int) -> int:
    """Return how many bits the entries of a palette have, of which the largest one uses *used*.

    Where all fit into the low byte, `Palette.of_tables` takes that; entries of 8 bits in high bytes use 16 (G15).
    """
    return stated if used <= 8 or used <= stated <= 16 else 16


def _words(dataset: DataSet, data: bytes) -> np.ndarray:
    """Take *data* as 16-bit words."""
    return np.frombuffer(data, ">u2" if dataset.big_endian else "<u2", len(data) // 2).astype("<u2")


def _packed(dataset: DataSet, element: Element, data: bytes) -> np.ndarray:
    """Take *data* as 8-bit entries, two in each word of an OW value (G15)."""
    if dataset.big_endian and element.vr != "OB":
        data = _words(dataset, data).tobytes()
    return np.frombuffer(data, np.uint8)


def _entries(dataset: DataSet, tag: int, count: int) -> np.ndarray:
    """Read at most *count* entries; a value of half the length holds them in bytes, whatever its VR (G9, G15)."""
    element, data = dataset.get(tag), dataset.value(tag, _MAX_TABLE_BYTES)
    if element is None or not data:
        return np.empty(0, "<u2")
    if count <= len(data) <= count + 1:
        return _packed(dataset, element, data)[:count].astype("<u2")
    return _words(dataset, data)[:count]


def _segments(dataset: DataSet, tag: int, bits: int) -> np.ndarray:
    """Read segmented data, whose units are as wide as the entries."""
    element, data = dataset.get(tag), dataset.value(tag, _MAX_TABLE_BYTES)
    if element is None or not data:
        return np.empty(0, "<u2")
    return _packed(dataset, element, data) if bits == 8 else _words(dataset, data)


def _expand(units: np.ndarray) -> np.ndarray:
    """Expand segments to a table (PS3.3 C.7.9.2), as far as they make sense."""
    entries: list[int] = []
    _expand_segments(units.tolist(), 0, MAX_ENTRIES, units.dtype.itemsize, entries)
    return np.array(entries[:MAX_ENTRIES], "<u2")


def _expand_segments(
    units: list[int], at: int, segments: int, size: int, entries: list[int], nested: bool = False
) -> None:
    """Append the entries of *segments* segments from unit *at*; an indirect segment may not hold another one (L8)."""
    while segments and at + 2 <= len(units) and len(entries) < MAX_ENTRIES:
        opcode, length = units[at], units[at + 1]
        at += 2
        segments -= 1
        if opcode == DISCRETE:
            entries += units[at : at + length]
            at += length
        elif opcode == LINEAR and entries and at < len(units):
            entries += _ramp(entries[-1], units[at], length)
            at += 1
        elif opcode == INDIRECT and not nested:
            # The offset counts bytes; it is 32 bits, least significant unit first (PS3.3 C.7.9.2.3).
            count = 4 // size
            start = sum(unit << (8 * size * place) for place, unit in enumerate(units[at : at + count]))
            at += count
            _expand_segments(units, start // size, length, size, entries, True)
        else:
            return


def _ramp(start: int, end: int, length: int) -> list[int]:
    """Go from *start* (left out) to *end* in *length* even steps."""
    return [int(value) for value in np.around(np.linspace(start, end, length + 1)[1:])]
