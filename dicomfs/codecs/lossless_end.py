"""Whether the data of a lossless JPEG end where its last sample does (T.81 Annex H), without decoding again.

The last samples are coded once more: their bits must be the last ones of the scan but for padding. A decoder that lost
its place in the data and found another one ends elsewhere.
"""

import numpy as np

from dicomfs.codecs.bitstream import Codestream
from dicomfs.codecs.jpeg import Scans, end_of_scan, huffman_tables

# Samples at the end that are coded again, of one row at most; bytes in which their bits are looked for.
_SAMPLES, _BYTES = 256, 1200
_PADDING = 8

Code = tuple[int, int]
"""A code word and its length."""


def ends_elsewhere(data: bytes, header: Codestream, scans: Scans, values: np.ndarray) -> bool | None:
    """Whether the bits of the last of *values*, as decoded, are not at the end of the data; None where unknown."""
    if scans.first is None or not scans.one or scans.restarts or header.smaller:
        return None
    end = scans.first + int.from_bytes(data[scans.first : scans.first + 2], "big")
    selection, _, shifts = data[end - 3 : end]
    tables = huffman_tables(data)
    used = [tables.get(data[scans.first + 4 + 2 * place] >> 4) for place in range(header.components)]
    differences = _differences(values.reshape(header.rows, header.columns, -1), header, selection, shifts & 15)
    coded = length = 0
    for place, difference in enumerate(differences):
        table = used[place % header.components]
        if table is None:
            return None
        word = _coded(difference, table)
        if word is None:
            return True
        coded, length = coded << word[1] | word[0], length + word[1]
    stop = end_of_scan(data, end)
    tail = data[max(end, stop - _BYTES) : stop].replace(b"\xff\0", b"\xff")
    bits, there = int.from_bytes(tail, "big"), 8 * len(tail)
    length = min(length, there - _PADDING)
    wanted = coded & ((1 << length) - 1)
    return not any(bits >> padding & ((1 << length) - 1) == wanted for padding in range(_PADDING))


def _differences(values: np.ndarray, header: Codestream, selection: int, shift: int) -> list[int]:
    """Compute what was coded for the last samples, in the order of the scan (T.81 H.1.2.1)."""
    count = min(header.columns, _SAMPLES // header.components)
    lines = values[-2:].astype(np.int64) >> shift
    last = lines[-1]
    left = np.concatenate([last[:1], last[:-1]])
    if len(lines) == 1:
        predicted = left
        predicted[0] = 1 << (header.precision - shift - 1)
    else:
        above = lines[0]
        corner = np.concatenate([above[:1], above[:-1]])
        predicted = {
            1: left,
            2: above,
            3: corner,
            4: left + above - corner,
            5: left + ((above - corner) >> 1),
            6: above + ((left - corner) >> 1),
            7: (left + above) >> 1,
        }.get(selection, left)
        predicted[0] = above[0]
    differences = (last - predicted)[-count:] & 0xFFFF
    return [int(each) for each in np.where(differences > 1 << 15, differences - (1 << 16), differences).reshape(-1)]


def _coded(difference: int, table: dict[int, Code]) -> Code | None:
    """Code a difference (T.81 H.1.2.2); None where the table has no word for it."""
    category = abs(difference).bit_length()
    word = table.get(category)
    if word is None:
        return None
    if category in (0, 16):
        return word
    low = difference if difference > 0 else difference + (1 << category) - 1
    return word[0] << category | low, word[1] + category
