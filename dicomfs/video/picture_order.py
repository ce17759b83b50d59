"""The display order of H.264 and HEVC pictures, from the picture order counts in their headers.

Elementary streams have no times, and their pictures are stored in decoding order. Only this module reads the headers of
such pictures, up to the picture order count. They may be hostile: impossible numbers are Unreadable, and callers check
the order.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

_START_CODE = re.compile(b"\0\0\1")
# Parameter sets have some hundred bytes; of a slice, only the start of the header is read.
_MAX_SET_BYTES, _SLICE_HEAD_BYTES = 4096, 96
# A picture order count has 32 bits with its sign; the bits above it in a key number the sequences.
_SEQUENCE, _COUNTS = 1 << 34, 1 << 33
# Profiles whose sequence parameter sets state the chroma format (H.264 7.3.2.1.1).
_HIGH = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244))
# Offsets in a cycle of reference frames (H.264 7.4.2.1.1).
_MAX_OFFSETS = 255
_IDR, _CRA = (19, 20), 21


class Unreadable(Exception):
    """A header has impossible values."""


def units(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the start and end offsets of the NAL units of a byte stream (annex B)."""
    start = None
    for match in _START_CODE.finditer(data):
        if start is not None:
            yield start, match.start()
        start = match.end()
    if start is not None:
        yield start, len(data)


class _Bits:
    """The bits of a NAL unit (H.264 7.2, 9.1), without its emulation prevention bytes."""

    __slots__ = ("_left", "_value")

    def __init__(self, unit: bytes) -> None:
        data = unit.replace(b"\0\0\3", b"\0\0")
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise Unreadable
        return self._value >> self._left & ((1 << count) - 1)

    def skip(self, *counts: int) -> None:
        self.take(sum(counts))

    def number(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
        if zeros > 32:
            raise Unreadable
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        number = self.number()
        return (number + 1) // 2 if number % 2 else -(number // 2)

    def length(self) -> int:
        """Read the length of a counter, in bits, which is stored less four."""
        length = self.number() + 4
        if length > 16:
            raise Unreadable
        return length


class _Sequence(NamedTuple):
    """The parts of an H.264 sequence parameter set that the picture order count depends on."""

    planes: bool
    frame_bits: int
    kind: int
    count_bits: int
    no_deltas: bool
    not_referred: int
    bottom: int
    offsets: tuple[int, ...]
    frames_only: bool


@dataclass(slots=True)
class H264Order:
    """The display order of H.264 pictures (8.2.1). Memory management control operation 5 is not supported."""

    _sequences: dict[int, _Sequence] = field(default_factory=dict)
    _pictures: dict[int, tuple[int, bool]] = field(default_factory=dict)
    _begun: int = 0
    _high: int = 0
    _low: int = 0
    _frame: int = 0
    _frame_offset: int = 0

    def key(self, packet: bytes) -> int | None:
        """Return the sort key of the picture or field in *packet*; None without one. Raises Unreadable.

        To be called for all packets, in order.
        """
        for start, stop in units(packet):
            kind = packet[start] & 31 if start < stop else 0
            if kind == 7:
                self._sequence(_Bits(packet[start + 1 : min(stop, start + _MAX_SET_BYTES)]))
            elif kind == 8:
                self._picture(_Bits(packet[start + 1 : min(stop, start + _MAX_SET_BYTES)]))
            elif kind in (1, 5):
                bits = _Bits(packet[start + 1 : min(stop, start + _SLICE_HEAD_BYTES)])
                count = self._slice(bits, kind == 5, packet[start] >> 5 & 3)
                return self._begun * _SEQUENCE + _COUNTS + count
        return None

    def _sequence(self, bits: _Bits) -> None:
        profile = bits.take(8)
        bits.skip(16)
        number, planes = bits.number(), False
        if profile in _HIGH:
            colours = bits.number()
            planes = colours == 3 and bool(bits.take(1))
            bits.number(), bits.number()
            bits.skip(1)
            if bits.take(1):
                for index in range(12 if colours == 3 else 8):
                    if bits.take(1):
                        _skip_scaling(bits, 16 if index < 6 else 64)
        frame_bits, kind = bits.length(), bits.number()
        count_bits, no_deltas, not_referred, bottom = 0, False, 0, 0
        offsets: tuple[int, ...] = ()
        if kind == 0:
            count_bits = bits.length()
        elif kind == 1:
            no_deltas, not_referred, bottom = bool(bits.take(1)), bits.signed(), bits.signed()
            count = bits.number()
            if count > _MAX_OFFSETS:
                raise Unreadable
            offsets = tuple(bits.signed() for _ in range(count))
        bits.number()
        bits.skip(1)
        bits.number(), bits.number()
        frames_only = bool(bits.take(1))
        self._sequences[number] = _Sequence(
            planes, frame_bits, kind, count_bits, no_deltas, not_referred, bottom, offsets, frames_only
        )

    def _picture(self, bits: _Bits) -> None:
        number, sequence = bits.number(), bits.number()
        bits.skip(1)
        self._pictures[number] = sequence, bool(bits.take(1))

    def _slice(self, bits: _Bits, fresh: bool, reference: int) -> int:
        bits.number(), bits.number()
        sequence, bottom_delta = self._pictures.get(bits.number(), (-1, False))
        of = self._sequences.get(sequence)
        if of is None:
            raise Unreadable
        bits.skip(2 * of.planes)
        frame = bits.take(of.frame_bits)
        in_field = not of.frames_only and bool(bits.take(1))
        at_bottom = in_field and bool(bits.take(1))
        if fresh:
            bits.number()
            # The second field of such a picture begins no sequence.
            if not (at_bottom and self._frame == frame == 0 and self._frame_offset == 0 and self._high == 0):
                self._begun += 1
            self._high = self._low = self._frame = self._frame_offset = 0
        if self._frame > frame:
            self._frame_offset += 1 << of.frame_bits
        self._frame = frame
        whole = bottom_delta and not in_field
        if of.kind == 0:
            return self._counted(bits, of, whole, reference)
        if of.kind == 1:
            return self._expected(bits, of, whole, at_bottom, reference)
        return 2 * (self._frame_offset + frame) - (not reference)

    def _counted(self, bits: _Bits, of: _Sequence, whole: bool, reference: int) -> int:
        """Compute a count of kind 0, whose low bits are stored (8.2.1.1)."""
        low = bits.take(of.count_bits)
        high = _high(low, self._high, self._low, 1 << of.count_bits)
        if reference:
            self._high, self._low = high, low
        return high + low + (min(0, bits.signed()) if whole else 0)

    def _expected(self, bits: _Bits, of: _Sequence, whole: bool, at_bottom: bool, reference: int) -> int:
        """Compute a count of kind 1, from those of the frames before it (8.2.1.2)."""
        deltas = (0, 0) if of.no_deltas else (bits.signed(), bits.signed() if whole else 0)
        frames = self._frame_offset + self._frame if of.offsets else 0
        frames -= not reference and frames > 0
        count = 0
        if frames:
            cycles, rest = divmod(frames - 1, len(of.offsets))
            count = cycles * sum(of.offsets) + sum(of.offsets[: rest + 1])
        count += deltas[0] + (0 if reference else of.not_referred)
        return count + of.bottom if at_bottom else min(count, count + of.bottom + deltas[1])


@dataclass(slots=True)
class HevcOrder:
    """The display order of HEVC pictures (8.3.1); layers above the base are skipped."""

    # Sequence parameter sets: whether there are three planes, and the bits of a count. Picture parameter sets: their
    # sequence, whether pictures may state that they are not shown, and the number of reserved bits in slices.
    _sequences: dict[int, tuple[bool, int]] = field(default_factory=dict)
    _pictures: dict[int, tuple[int, bool, int]] = field(default_factory=dict)
    _begun: int = 0
    _fresh: bool = True
    _high: int = 0
    _low: int = 0

    def key(self, packet: bytes) -> int | None:
        """Return the sort key of the picture in *packet*; None without one. Raises Unreadable.

        To be called for all packets, in order.
        """
        for start, stop in units(packet):
            if stop - start < 3 or packet[start] & 1 or packet[start + 1] >> 3:
                continue
            kind = packet[start] >> 1
            if kind == 33:
                self._sequence(_Bits(packet[start + 2 : min(stop, start + _MAX_SET_BYTES)]))
            elif kind == 34:
                self._picture(_Bits(packet[start + 2 : min(stop, start + _MAX_SET_BYTES)]))
            elif kind in (36, 37):
                self._fresh = True
            elif kind < 32:
                bits = _Bits(packet[start + 2 : min(stop, start + _SLICE_HEAD_BYTES)])
                count = self._slice(bits, kind, packet[start + 1] & 7)
                # The end of a sequence follows its last picture.
                self._fresh = b"\0\0\1\x48" in packet[-16:] or b"\0\0\1\x4a" in packet[-16:]
                return self._begun * _SEQUENCE + _COUNTS + count
        return None

    def _sequence(self, bits: _Bits) -> None:
        bits.skip(4)
        layers = bits.take(3)
        bits.skip(1, 88, 8)
        present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
        if layers:
            bits.skip(2 * (8 - layers))
        for profile, level in present:
            bits.skip(88 * profile, 8 * level)
        number, colours = bits.number(), bits.number()
        planes = colours == 3 and bool(bits.take(1))
        bits.number(), bits.number()
        if bits.take(1):
            for _ in range(4):
                bits.number()
        bits.number(), bits.number()
        self._sequences[number] = planes, bits.length()

    def _picture(self, bits: _Bits) -> None:
        number, sequence = bits.number(), bits.number()
        bits.skip(1)
        self._pictures[number] = sequence, bool(bits.take(1)), bits.take(3)

    def _slice(self, bits: _Bits, kind: int, layer: int) -> int:
        stands_alone = 16 <= kind < 24
        if not bits.take(1):
            raise Unreadable  # the first slice of the picture is missing
        bits.skip(stands_alone)
        sequence, may_hide, reserved = self._pictures.get(bits.number(), (-1, False, 0))
        of = self._sequences.get(sequence)
        if of is None:
            raise Unreadable
        planes, count_bits = of
        bits.skip(reserved)
        bits.number()
        bits.skip(may_hide, 2 * planes)
        low = 0 if kind in _IDR else bits.take(count_bits)
        if stands_alone and (kind != _CRA or self._fresh):
            self._begun += 1
            high = 0
        else:
            high = _high(low, self._high, self._low, 1 << count_bits)
        # Counts continue from pictures of the lowest layer that others may refer to.
        if layer == 1 and not (kind < 16 and kind % 2 == 0) and not 6 <= kind <= 9:
            self._high, self._low = high, low
        return high + low


def _high(low: int, last_high: int, last_low: int, span: int) -> int:
    """Return the bits above the *low* bits of a count near the last one (H.264 8.2.1.1, HEVC 8.3.1)."""
    if last_low - low >= span // 2:
        return last_high + span
    if low - last_low > span // 2:
        return last_high - span
    return last_high


def _skip_scaling(bits: _Bits, size: int) -> None:
    """Skip a scaling list (H.264 7.3.2.1.1.1)."""
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) & 255
        last = following or last
