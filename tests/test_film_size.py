"""The size of a film by arithmetic: no way of encoding it may spend more than fits, and nobody's lie makes it huge."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomfs.video.film_size import efforts, film_size, remuxed_size

SIDE = st.integers(1, 8192)
COUNT = st.integers(2, 216_000)


@given(SIDE, SIDE, COUNT)
def test_what_the_encoder_may_spend_fits_with_room_for_an_index(rows: int, columns: int, frames: int) -> None:
    size = film_size(rows, columns, frames)
    tried = efforts(rows, columns, frames)
    capped = [effort for effort in tried if effort.frame_bits]
    assert bool(capped) == (frames > 15)
    for effort in capped:
        spent = effort.frame_bits * frames + effort.buffer_bits
        assert effort.buffer_bits >= effort.frame_bits > 0
        assert spent // 8 + 40 * frames + 2048 <= size
    # Each is coarser than the one before it, and the last one as coarse as can be.
    assert sorted(tried, key=lambda effort: effort.factor) == [*tried]
    assert sorted(capped, key=lambda effort: -effort.frame_bits) == capped
    assert (tried[-1].factor, tried[-1].frame_bits) == (51, 0)


@given(st.integers(240, 8192), st.integers(240, 8192), st.integers(16, 216_000))
def test_a_film_takes_about_a_bit_a_pixel(rows: int, columns: int, frames: int) -> None:
    blocks = -(-rows // 16) * -(-columns // 16)
    assert 1.125 < 8 * film_size(rows, columns, frames) / (256 * blocks * frames) < 1.7


def test_every_frame_adds_as_much() -> None:
    """However long it is shown: a time is no part of the size."""
    steps = {film_size(480, 640, frames + 1) - film_size(480, 640, frames) for frames in range(16, 1000)}
    assert max(steps) - min(steps) <= 1


@given(st.integers(1, 1 << 42), st.integers(-(1 << 31), 1 << 31))
def test_a_remuxed_stream_has_an_eighth_more(size: int, frames: int) -> None:
    promised = remuxed_size(size, frames)
    assert promised >= size + size // 8 + 65_536
    assert promised <= 9.2 * size + 65_536


@pytest.mark.parametrize(
    ("size", "frames", "promised"),
    [
        (800_000, 0, 965_536),
        (800_000, -5, 965_536),
        (800_000, 100, 971_936),
        (800_000, 100_000, 7_365_536),
        (800_000, 1 << 31, 7_365_536),
        (1, 1, 65_537),
    ],
)
def test_declared_frames(size: int, frames: int, promised: int) -> None:
    assert remuxed_size(size, frames) == promised
