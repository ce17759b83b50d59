"""Guessing the next frames, and having them decoded while nobody waits."""

import errno
from collections.abc import Callable

import numpy as np
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from dicomfs.image.pixelformat import PixelFormat
from dicomfs.workers.ahead import Ahead
from dicomfs.workers.decode import DecodeError, Decoder
from dicomfs.workers.worker import Task

SIDE = 64
FORMAT = PixelFormat(SIDE, SIDE, 1, 8, 8, 7, False, "MONOCHROME2", False, "1.2.840.10008.1.2.1")
TASK = Task(FORMAT, 0, "stored", None, SIDE * SIDE)
FRAME = np.arange(SIDE * SIDE, dtype=np.uint8).tobytes()


def test_a_row_is_followed_with_growing_confidence() -> None:
    ahead = Ahead(3)
    assert [list(ahead.after("x", frame)) for frame in range(6)] == [[], [2], [3, 4], [4, 5, 6], [5, 6, 7], [6, 7, 8]]


def test_the_same_frame_again_is_the_same_row() -> None:
    ahead = Ahead(3)
    for frame in (0, 1, 2, 2, 2):
        guess = ahead.after("x", frame)
    assert list(guess) == [3, 4]


def test_random_and_spaced_access_makes_no_work() -> None:
    ahead = Ahead(3)
    assert not any(ahead.after("x", frame) for frame in (5, 3, 9, 0, 10, 20, 30, 29, 28))


def test_readers_of_two_objects_do_not_disturb_each_other() -> None:
    ahead = Ahead(2)
    for frame in range(3):
        first, second = ahead.after("x", frame), ahead.after("y", 7 + frame)
    assert (list(first), list(second)) == ([3, 4], [10, 11])


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 5))), st.integers(0, 4))
def test_guesses_are_bounded_and_so_is_memory(wanted: list[tuple[int, int]], most: int) -> None:
    ahead = Ahead(most)
    for subject, frame in wanted:
        guess = ahead.after(subject, frame)
        assert len(guess) <= most
        assert not guess or guess[0] == frame + 1
    assert len(ahead._rows) <= 64


def play(test: Callable[[Decoder], object], *, workers: int = 2, cache_bytes: int = 1 << 20) -> None:
    async def main() -> None:
        async with Decoder(workers, cache_bytes=cache_bytes) as decoder, trio.open_nursery() as nursery:
            nursery.start_soon(decoder.look_ahead)
            await trio.testing.wait_all_tasks_blocked()
            await test(decoder)  # type: ignore[misc]
            nursery.cancel_scope.cancel()

    trio.run(main)


async def make() -> tuple[Task, bytes]:
    return TASK, FRAME


def test_what_was_made_ahead_is_there_when_it_is_wanted() -> None:
    async def test(decoder: Decoder) -> None:
        assert decoder.ahead(1, make, len(FRAME))
        while not decoder.stats.decoded:
            await trio.sleep(0.005)
        assert await decoder.get(1, make) == FRAME
        assert (decoder.stats.decoded, decoder.stats.cache_hits) == (1, 1)
        assert not decoder.ahead(1, make, len(FRAME))

    play(test)


def test_only_idle_workers_and_room_to_keep_it_count() -> None:
    async def test(decoder: Decoder) -> None:
        assert not decoder.ahead("large", make, 1 << 20)
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(decoder.get, number, make)
            await trio.testing.wait_all_tasks_blocked()
            assert not decoder.ahead("busy", make, len(FRAME))
        assert decoder.ahead("idle", make, len(FRAME))

    play(test)


def test_an_error_reaches_the_one_who_wants_the_frame_and_nobody_else() -> None:
    async def broken() -> tuple[Task, bytes]:
        return TASK, FRAME[:10]

    async def test(decoder: Decoder) -> None:
        assert decoder.ahead(1, broken, len(FRAME))
        while not decoder.stats.failed:
            await trio.sleep(0.005)
        with pytest.raises(DecodeError) as caught:
            await decoder.get(1, broken)
        assert caught.value.errno == errno.EIO

    play(test)


@pytest.mark.parametrize("error", [ValueError, IndexError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_whatever_goes_wrong_ahead_ends_nothing(error: type[BaseException]) -> None:
    async def wrong() -> tuple[Task, bytes]:
        raise error

    async def test(decoder: Decoder) -> None:
        assert decoder.ahead(1, wrong, len(FRAME))
        await trio.testing.wait_all_tasks_blocked()
        assert await decoder.get(2, make) == FRAME

    play(test)


def test_nothing_is_made_ahead_where_nobody_looks_after_it() -> None:
    async def main() -> None:
        async with Decoder(1) as decoder:
            assert not decoder.ahead(1, make, len(FRAME))

    trio.run(main)
