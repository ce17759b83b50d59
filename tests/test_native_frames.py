"""Native frames come apart as PS3.5 8.1 and Annex D lay them out; the expected bytes are made by plain arithmetic."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.registry import CodecError, decode

LITTLE, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
GREY16 = PixelFormat(3, 4, 1, 16, 16, 15, False, "MONOCHROME2", False, LITTLE)
RGB8 = PixelFormat(3, 4, 3, 8, 8, 7, False, "RGB", False, LITTLE)


def pack(values: list[int], width: int, skipped: int = 0) -> bytes:
    """Pack values of *width* bits, least significant bit first, behind *skipped* bits of something else."""
    number = (1 << skipped) - 1
    for place, value in enumerate(values):
        number |= value << (skipped + place * width)
    return number.to_bytes(-(-(skipped + len(values) * width) // 8), "little")


def swapped(data: bytes) -> bytes:
    """Exchange the two bytes of every word."""
    return np.frombuffer(data + bytes(len(data) % 2), "<u2").byteswap().tobytes()


@given(st.lists(st.integers(0, 1), min_size=1, max_size=70), st.integers(0, 7))
@settings(deadline=None)
def test_n6_single_bits_start_anywhere_in_a_byte(bits: list[int], skipped: int) -> None:
    fmt = replace(GREY16, rows=1, columns=len(bits), bits_allocated=1, bits_stored=1, high_bit=0)
    values = decode(pack(bits, 1, skipped), fmt, skipped).values
    assert values.dtype == np.uint8
    assert values.tolist() == [bits]


@given(st.lists(st.integers(0, 4095), min_size=1, max_size=30), st.sampled_from((0, 4)), st.booleans())
@settings(deadline=None)
def test_n7_twelve_bits_are_packed_two_in_three_bytes(samples: list[int], skipped: int, big: bool) -> None:
    fmt = replace(GREY16, rows=1, columns=len(samples), bits_allocated=12, bits_stored=12, high_bit=11)
    data = pack(samples, 12, skipped)
    if big:
        data, fmt = swapped(data), replace(fmt, big_endian=True)
    assert decode(data, fmt, skipped).values.tolist() == [samples]


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("signed", [False, True])
def test_n5_n9_whole_samples_of_both_byte_orders(bits: int, signed: bool, big: bool) -> None:
    kind = f"{'i' if signed else 'u'}{bits // 8}"
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    values = np.array([[low, low + 1, 0, 1], [2, 3, high - 1, high], [5, 6, 7, 100]], kind)
    data = values.astype(values.dtype.newbyteorder(">" if big else "<")).tobytes()
    fmt = replace(GREY16, bits_allocated=bits, bits_stored=bits, high_bit=bits - 1, signed=signed)
    fmt = replace(fmt, big_endian=big, pixel_vr="OB" if bits == 8 else "OW")
    decoded = decode(data, fmt).values
    assert decoded.dtype == np.dtype(kind).newbyteorder("<")
    assert np.array_equal(decoded, values)


def test_n4_bytes_in_big_endian_words_are_exchanged_and_in_ob_are_not() -> None:
    fmt = replace(GREY16, bits_allocated=8, bits_stored=8, high_bit=7, transfer_syntax=BIG, big_endian=True)
    assert decode(swapped(bytes(range(12))), fmt).values.reshape(-1).tolist() == list(range(12))
    assert decode(bytes(range(12)), replace(fmt, pixel_vr="OB")).values.reshape(-1).tolist() == list(range(12))


def test_n4_a_frame_of_odd_size_ends_inside_a_word() -> None:
    fmt = replace(RGB8, rows=3, columns=3, transfer_syntax=BIG, big_endian=True)
    frames = swapped(bytes(range(54)))
    # The second frame starts in the middle of a word, so its data begin eight bits before it.
    assert decode(frames[:28], fmt).values.reshape(-1).tolist() == list(range(27))
    assert decode(frames[26:], fmt, 8).values.reshape(-1).tolist() == list(range(27, 54))
    with pytest.raises(CodecError, match="N4"):
        decode(frames[:27], fmt)


@pytest.mark.parametrize(("kind", "bits"), [("<f4", 32), ("<f8", 64), (">f4", 32), (">f8", 64)])
def test_n21_real_numbers_stay_as_they_are(kind: str, bits: int) -> None:
    values = np.array([[0.5, -1e30, np.nan, np.inf], [1, 2, 3, 4], [-np.inf, 0, 7, 8]], kind)
    fmt = replace(GREY16, bits_allocated=bits, bits_stored=bits, high_bit=bits - 1, real=True)
    decoded = decode(values.tobytes(), replace(fmt, big_endian=kind[0] == ">", pixel_vr="OF")).values
    assert decoded.dtype == f"<f{bits // 8}"
    assert np.array_equal(decoded, values, equal_nan=True)


def test_n10_high_bit_shifts_the_stored_value_down() -> None:
    stored = np.arange(12, dtype="<u2").reshape(3, 4) * 300
    fmt = replace(GREY16, bits_stored=12, high_bit=15)
    assert np.array_equal(decode((stored << 4 | 9).tobytes(), fmt).values, stored)


@given(st.lists(st.integers(0, 0xFFFF), min_size=12, max_size=12), st.integers(1, 16), st.data())
@settings(deadline=None)
def test_n11_n12_only_the_stored_bits_count_and_the_sign_is_theirs(
    raw: list[int], stored: int, data: st.DataObject
) -> None:
    high = data.draw(st.integers(stored - 1, 15))
    unsigned = [word >> (high + 1 - stored) & ((1 << stored) - 1) for word in raw]
    signed = [value - (1 << stored) if value >> (stored - 1) else value for value in unsigned]
    fmt = replace(GREY16, bits_stored=stored, high_bit=high)
    frame = np.array(raw, "<u2").tobytes()
    assert decode(frame, fmt).values.reshape(-1).tolist() == unsigned
    assert decode(frame, replace(fmt, signed=True)).values.reshape(-1).tolist() == signed


def test_n14_planes_are_interleaved() -> None:
    planes = np.arange(36, dtype=np.uint8).reshape(3, 3, 4)
    decoded = decode(planes.tobytes(), replace(RGB8, planar=True)).values
    assert np.array_equal(decoded, np.moveaxis(planes, 0, -1))
    assert np.array_equal(decode(decoded.tobytes(), RGB8).values, decoded)


def test_n13_chrominance_of_4_2_2_is_repeated_for_the_pixel_on_its_right() -> None:
    fmt = replace(RGB8, rows=1, photometric="YBR_FULL_422")
    decoded = decode(bytes([1, 2, 30, 40, 5, 6, 70, 80]), fmt)
    assert decoded.photometric == "YBR_FULL"
    assert decoded.values.tolist() == [[[1, 30, 40], [2, 30, 40], [5, 70, 80], [6, 70, 80]]]
    with pytest.raises(CodecError, match="N13"):
        decode(bytes(40), replace(fmt, columns=5, rows=2))


@pytest.mark.parametrize("bits", [1, 8, 12, 16, 64])
def test_n3_a_frame_that_is_too_short_is_an_error(bits: int) -> None:
    fmt = replace(GREY16, bits_allocated=bits, bits_stored=bits, high_bit=bits - 1)
    whole = bytes(-(-fmt.frame_bits // 8))
    assert decode(whole, fmt).values.shape == (3, 4)
    with pytest.raises(CodecError, match="N3"):
        decode(whole[:-1], fmt)


def test_n1_what_follows_the_frame_is_not_looked_at() -> None:
    assert decode(bytes(36) + b"\xff\xff\xff", RGB8).values.max() == 0


def test_an_unknown_transfer_syntax_is_an_error() -> None:
    with pytest.raises(CodecError, match="no decoder reads this transfer syntax"):
        decode(bytes(100), replace(RGB8, transfer_syntax="1.2.3.4"))
