"""The run-length coding of RLE segments in Python: the decoder and encoder where imagecodecs has none (PS3.5 G.3)."""

import numpy as np

# The byte that begins neither a literal run, as smaller ones do, nor a replicate run (PS3.5 G.3.2).
NO_RUN = 128
# Bytes of the longest run.
_MAX_RUN = 128


def packbits(segment: bytes, length: int) -> bytes:
    """Decode one RLE segment to at most *length* bytes. Raises ValueError where it has more, or ends inside a run."""
    decoded = bytearray()
    position, end = 0, len(segment)
    while position < end:
        head = segment[position]
        position += 1
        if head < NO_RUN:
            run = segment[position : position + head + 1]
            position += head + 1
        elif head > NO_RUN:
            run = segment[position : position + 1] * (2 * NO_RUN + 1 - head)
            position += 1
        else:
            continue
        decoded += run
        if position > end or len(decoded) > length:
            raise ValueError("the segment is longer than it should be, or ends inside a run")
    return bytes(decoded)


def encode(plane: np.ndarray) -> bytes:
    """Encode a plane of bytes, shape (rows, columns), each row on its own (PS3.5 G.3.1)."""
    return b"".join(_encoded_row(row) for row in plane.reshape(plane.shape[0], -1))


def _encoded_row(row: np.ndarray) -> bytes:
    """Encode one row: equal bytes as replicate runs, from three on, and what is between them as literal runs."""
    starts = np.flatnonzero(np.diff(row, prepend=row[:1] ^ 1))
    lengths = np.diff(starts, append=len(row))
    octets, coded, literal = row.tobytes(), bytearray(), bytearray()
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        if length < 3:
            literal += octets[start : start + length]
            continue
        _flush(coded, literal)
        for done in range(0, length, _MAX_RUN):
            count = min(_MAX_RUN, length - done)
            coded += bytes((2 * NO_RUN + 1 - count if count > 1 else 0, octets[start]))
    _flush(coded, literal)
    return bytes(coded)


def _flush(coded: bytearray, literal: bytearray) -> None:
    """Move *literal* to the end of *coded*, as runs."""
    for start in range(0, len(literal), _MAX_RUN):
        run = literal[start : start + _MAX_RUN]
        coded.append(len(run) - 1)
        coded += run
    literal.clear()
