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
from dicomfs.workers.decode import Decoder, Make, Wish
from dicomfs.workers.pool import DecodeError
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


def wishes(*keys: object, make: Make = make, size: int = len(FRAME)) -> list[Wish]:
    return [Wish(key, make, size) for key in keys]


async def quiet(decoder: Decoder) -> int:
    """Wait until all is made that will be, and count it."""
    while decoder._making or decoder._wishes:
        await trio.sleep(0.01)
    return decoder.stats.decoded


def test_what_was_made_ahead_is_there_when_it_is_wanted() -> None:
    async def test(decoder: Decoder) -> None:
        decoder.ahead("reader", wishes(1))
        assert await quiet(decoder) == 1
        assert await decoder.get(1, make) == FRAME
        assert (decoder.stats.decoded, decoder.stats.cache_hits) == (1, 1)
        decoder.ahead("reader", wishes(1))
        assert await quiet(decoder) == 1

    play(test)


def test_all_wishes_are_granted_one_after_the_other() -> None:
    async def test(decoder: Decoder) -> None:
        decoder.ahead("one", wishes(*range(7)))
        decoder.ahead("other", wishes(*range(5, 9)))
        assert await quiet(decoder) == 9
        for key in range(9):
            assert await decoder.get(key, make) == FRAME
        assert decoder.stats.decoded == 9

    play(test)


def test_later_wishes_of_a_reader_take_the_place_of_earlier_ones() -> None:
    async def test(decoder: Decoder) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(decoder.get, number, make)
            await trio.testing.wait_all_tasks_blocked()
            decoder.ahead("reader", wishes("old", "older"))
            decoder.ahead("reader", wishes("new"))
        assert await quiet(decoder) == 9
        await decoder.get("new", make)
        assert decoder.stats.decoded == 9

    play(test)


def test_wishes_wait_until_nobody_else_does() -> None:
    order: list[object] = []

    def noting(key: object) -> Make:
        async def noted() -> tuple[Task, bytes]:
            order.append(key)
            return TASK, FRAME

        return noted

    async def test(decoder: Decoder) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(decoder.get, number, noting(number))
            await trio.testing.wait_all_tasks_blocked()
            decoder.ahead("reader", [Wish("wished", noting("wished"), len(FRAME))])
            await trio.testing.wait_all_tasks_blocked()
            assert "wished" not in order
        await quiet(decoder)
        assert order[8:] == ["wished"]

    play(test)


def test_of_many_readers_the_last_ones_are_heeded() -> None:
    async def test(decoder: Decoder) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(decoder.get, number, make)
            await trio.testing.wait_all_tasks_blocked()
            for reader in range(100):
                decoder.ahead(reader, wishes(("wished", reader)))
        assert await quiet(decoder) == 16
        for reader in range(92, 100):
            await decoder.get(("wished", reader), make)
        assert decoder.stats.decoded == 16

    play(test)


@pytest.mark.parametrize(("room", "made"), [(1, 0), (2, 1), (3, 2), (5, 4), (100, 6)])
def test_only_what_there_is_room_for_beside_the_one_that_is_read(room: int, made: int) -> None:
    async def test(decoder: Decoder) -> None:
        decoder.ahead("reader", wishes(*range(6)))
        assert await quiet(decoder) == made
        for key in range(made):
            assert await decoder.get(key, make) == FRAME
        assert decoder.stats.decoded == made  # nothing had to make room before it was fetched
        decoder.ahead("reader", wishes(*range(6, 12)))
        assert await quiet(decoder) == 2 * made

    play(test, cache_bytes=room * len(FRAME))


def test_room_comes_back_when_what_nobody_fetches_has_gone() -> None:
    async def test(decoder: Decoder) -> None:
        decoder.ahead("left", wishes("a", "b", "c"))
        assert await quiet(decoder) == 3
        decoder.ahead("reader", wishes("d"))
        assert await quiet(decoder) == 3
        for number in range(4):
            await decoder.get(number, make)
        decoder.ahead("reader", wishes("d"))
        assert await quiet(decoder) == 8

    play(test, cache_bytes=4 * len(FRAME))


def test_what_is_spent_is_made_again() -> None:
    async def test(decoder: Decoder) -> None:
        for key in ("spent", "kept", "spent"):
            await decoder.get(key, make)
        assert decoder.stats.decoded == 2
        decoder.spent("spent")
        decoder.spent("never made")
        for key in ("kept", "spent"):
            assert await decoder.get(key, make) == FRAME
        assert decoder.stats.decoded == 3

    play(test)


def test_an_error_reaches_the_one_who_wants_the_frame_and_nobody_else() -> None:
    async def broken() -> tuple[Task, bytes]:
        return TASK, FRAME[:10]

    async def test(decoder: Decoder) -> None:
        decoder.ahead("reader", wishes(1, make=broken))
        await quiet(decoder)
        assert decoder.stats.failed == 1
        with pytest.raises(DecodeError) as caught:
            await decoder.get(1, broken)
        assert caught.value.errno == errno.EIO

    play(test)


@pytest.mark.parametrize("error", [ValueError, IndexError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_whatever_goes_wrong_ahead_ends_nothing(error: type[BaseException]) -> None:
    async def wrong() -> tuple[Task, bytes]:
        raise error

    async def test(decoder: Decoder) -> None:
        decoder.ahead("reader", [*wishes(*range(5), make=wrong), *wishes(6)])
        assert await quiet(decoder) == 1
        assert await decoder.get(2, make) == FRAME

    play(test)


def test_nothing_is_made_ahead_where_nobody_looks_after_it() -> None:
    async def main() -> None:
        async with Decoder(1) as decoder:
            decoder.ahead("reader", wishes(1))
            assert await quiet(decoder) == 0

    trio.run(main)
