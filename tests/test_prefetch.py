"""Guessing the next frames, and having them decoded while nobody waits."""

import contextlib
import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from support.decoding import Decoding, Wanted

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.workers import frame_cache, prefetcher
from dicomfs.workers.decoder_process import Task
from dicomfs.workers.pool import DecodeError
from dicomfs.workers.processes import Buffer
from dicomfs.workers.readahead import SequentialAccess

SIDE = 64
FORMAT = PixelFormat(SIDE, SIDE, 1, 8, 8, 7, False, "MONOCHROME2", False, "1.2.840.10008.1.2.1")
TASK = Task(FORMAT, 0, "stored", None, SIDE * SIDE)
FRAME = np.arange(SIDE * SIDE, dtype=np.uint8).tobytes()


def test_a_row_is_followed_with_growing_confidence() -> None:
    ahead = SequentialAccess(3)
    assert [list(ahead.after("x", frame)) for frame in range(6)] == [[], [2], [3, 4], [4, 5, 6], [5, 6, 7], [6, 7, 8]]


def test_the_same_frame_again_is_the_same_row() -> None:
    ahead = SequentialAccess(3)
    for frame in (0, 1, 2, 2, 2):
        guess = ahead.after("x", frame)
    assert list(guess) == [3, 4]


def test_random_and_spaced_access_makes_no_work() -> None:
    ahead = SequentialAccess(3)
    assert not any(ahead.after("x", frame) for frame in (5, 3, 9, 0, 10, 20, 30, 29, 28))


def test_readers_of_two_objects_do_not_disturb_each_other() -> None:
    ahead = SequentialAccess(2)
    for frame in range(3):
        first, second = ahead.after("x", frame), ahead.after("y", 7 + frame)
    assert (list(first), list(second)) == ([3, 4], [10, 11])


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 5))), st.integers(0, 4))
def test_guesses_are_bounded_and_so_is_memory(wanted: list[tuple[int, int]], most: int) -> None:
    ahead = SequentialAccess(most)
    for subject, frame in wanted:
        guess = ahead.after(subject, frame)
        assert len(guess) <= most
        assert not guess or guess[0] == frame + 1
    assert len(ahead) <= 64


def play(test: Callable[[Decoding], object], *, workers: int = 2, cache_bytes: int = 1 << 20) -> None:
    async def main() -> None:
        async with Decoding(workers, cache_bytes=cache_bytes) as decoder, trio.open_nursery() as nursery:
            nursery.start_soon(decoder.prefetcher.run)
            await trio.testing.wait_all_tasks_blocked()
            await test(decoder)
            nursery.cancel_scope.cancel()

    trio.run(main)


Prepare = Callable[[], Awaitable[tuple[Task, Buffer]]]


@dataclass(frozen=True)
class By(Wanted):
    """A request that a function prepares."""

    how: Prepare = field(compare=False, kw_only=True)

    async def prepare(self) -> tuple[Task, Buffer]:
        return await self.how()


async def make() -> tuple[Task, bytes]:
    return TASK, FRAME


def request(key: object, make: Prepare = make) -> By:
    return By(key, TASK, FRAME, how=make)


def wishes(*keys: object, make: Prepare = make) -> list[By]:
    return [request(key, make) for key in keys]


async def quiet(decoder: Decoding) -> int:
    """Wait until all is made that will be, and count it."""
    while decoder.frames.demand or decoder.prefetcher.making or decoder.prefetcher.queued:
        await trio.sleep(0.01)
    return decoder.stats.decoded


@contextlib.asynccontextmanager
async def occupied(decoder: Decoding, maker: Callable[[object], Prepare] = lambda _: make) -> AsyncIterator[None]:
    """Have eight others wait for the workers; at the end of the block, until each has its frame."""
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(decoder.frames.get, request(number, maker(number)))
        await trio.testing.wait_all_tasks_blocked()
        yield


def test_what_was_made_ahead_is_there_when_it_is_wanted() -> None:
    async def test(decoder: Decoding) -> None:
        decoder.prefetcher.expect("reader", wishes(1))
        assert await quiet(decoder) == 1
        assert await decoder.frames.get(request(1, make)) == FRAME
        assert (decoder.stats.decoded, decoder.frames.hits) == (1, 1)
        decoder.prefetcher.expect("reader", wishes(1))
        assert await quiet(decoder) == 1

    play(test)


def test_all_wishes_are_granted_one_after_the_other() -> None:
    async def test(decoder: Decoding) -> None:
        decoder.prefetcher.expect("one", wishes(*range(7)))
        decoder.prefetcher.expect("other", wishes(*range(5, 9)))
        assert await quiet(decoder) == 9
        for key in range(9):
            assert await decoder.frames.get(request(key, make)) == FRAME
        assert decoder.stats.decoded == 9

    play(test)


def test_later_wishes_of_a_reader_take_the_place_of_earlier_ones() -> None:
    async def test(decoder: Decoding) -> None:
        async with occupied(decoder):
            decoder.prefetcher.expect("reader", wishes("old", "older"))
            decoder.prefetcher.expect("reader", wishes("new"))
        assert await quiet(decoder) == 9
        await decoder.frames.get(request("new", make))
        assert decoder.stats.decoded == 9

    play(test)


def test_wishes_wait_until_nobody_else_does() -> None:
    order: list[object] = []

    def noting(key: object) -> Prepare:
        async def noted() -> tuple[Task, bytes]:
            order.append(key)
            return TASK, FRAME

        return noted

    async def test(decoder: Decoding) -> None:
        async with occupied(decoder, noting):
            decoder.prefetcher.expect("reader", wishes("wished", make=noting("wished")))
            await trio.testing.wait_all_tasks_blocked()
            assert "wished" not in order
        await quiet(decoder)
        assert order[8:] == ["wished"]

    play(test)


def test_of_many_readers_the_last_ones_are_heeded() -> None:
    async def test(decoder: Decoding) -> None:
        async with occupied(decoder):
            for reader in range(100):
                decoder.prefetcher.expect(reader, wishes(("wished", reader)))
        assert await quiet(decoder) == 16
        for reader in range(92, 100):
            await decoder.frames.get(request(("wished", reader), make))
        assert decoder.stats.decoded == 16

    play(test)


@pytest.mark.parametrize(("room", "made"), [(1, 0), (2, 1), (3, 2), (5, 4), (100, 6)])
def test_only_what_there_is_room_for_beside_the_one_that_is_read(room: int, made: int) -> None:
    async def test(decoder: Decoding) -> None:
        decoder.prefetcher.expect("reader", wishes(*range(6)))
        assert await quiet(decoder) == made
        for key in range(made):
            assert await decoder.frames.get(request(key, make)) == FRAME
        assert decoder.stats.decoded == made  # nothing had to make room before it was fetched
        decoder.prefetcher.expect("reader", wishes(*range(6, 12)))
        assert await quiet(decoder) == 2 * made

    play(test, cache_bytes=room * len(FRAME))


def test_room_comes_back_when_nobody_fetches_what_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(decoder: Decoding) -> None:
        decoder.prefetcher.expect("left", wishes("a", "b", "c"))
        assert await quiet(decoder) == 3
        decoder.prefetcher.expect("reader", wishes("d"))
        assert await quiet(decoder) == 3
        monkeypatch.setattr(frame_cache, "UNFETCHED_SECONDS", 0.0)
        await trio.sleep(0.01)
        decoder.prefetcher.expect("reader", wishes("d"))
        assert await quiet(decoder) == 4
        await decoder.frames.get(request("d", make))
        assert decoder.stats.decoded == 4

    play(test, cache_bytes=4 * len(FRAME))


def test_readers_who_leave_take_nothing_from_those_who_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reads three frames to their end and goes: what was made ahead of it does not fill the cache for ever."""
    monkeypatch.setattr(frame_cache, "UNFETCHED_SECONDS", 0.0)

    async def test(decoder: Decoding) -> None:
        for reader in range(20):
            before = decoder.stats.decoded
            for frame in range(3):
                decoder.prefetcher.expect(reader, wishes(*((reader, frame + further) for further in range(1, 4))))
                await decoder.frames.get(request((reader, frame), make))
                decoder.frames.spent(request((reader, frame)))
                await quiet(decoder)
            assert decoder.stats.decoded - before == 6, reader
        assert len(decoder.frames) <= 8

    play(test, cache_bytes=8 * len(FRAME))


@pytest.mark.parametrize("room", [5, 6, 8, 12])
def test_each_frame_is_made_once_for_a_reader_who_takes_his_time(room: int) -> None:
    """What is still to be fetched outlives what was fetched, also where nobody says that this is spent."""

    async def test(decoder: Decoding) -> None:
        for frame in range(40):
            decoder.prefetcher.expect("reader", wishes(*range(frame + 1, min(40, frame + 5))))
            assert await decoder.frames.get(request(frame, make)) == FRAME
            await quiet(decoder)
        assert decoder.stats.decoded == 40

    play(test, cache_bytes=room * len(FRAME))


def test_films_and_copies_are_work_too() -> None:
    begun: list[object] = []

    async def noting() -> tuple[Task, bytes]:
        begun.append(0)
        return TASK, FRAME

    async def test(decoder: Decoding) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(decoder.frames.make, request("film"))
            await trio.testing.wait_all_tasks_blocked()
            decoder.prefetcher.expect("reader", wishes("wished", make=noting))
            await trio.testing.wait_all_tasks_blocked()
            assert decoder.stats.decoded or not begun
        assert await quiet(decoder) == 7

    play(test)


def test_a_source_that_does_not_answer_keeps_nobody_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetcher, "PREFETCH_LIMIT_SECONDS", 0.1)
    attempts = []

    async def hangs_once() -> tuple[Task, bytes]:
        attempts.append(0)
        if len(attempts) == 1:
            await trio.sleep_forever()
        return TASK, FRAME

    async def test(decoder: Decoding) -> None:
        decoder.prefetcher.expect("reader", wishes(1, make=hangs_once))
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(30):
            assert await decoder.frames.get(request(1, hangs_once)) == FRAME
        await quiet(decoder)
        assert decoder.prefetcher.reserved_bytes == 0

    play(test)


def test_a_broken_frame_is_tried_ahead_once() -> None:
    async def test(decoder: Decoding) -> None:
        async def broken() -> tuple[Task, bytes]:
            return TASK, FRAME[:10]

        for _ in range(3):
            decoder.prefetcher.expect("reader", wishes("a", "b", make=broken))
            await quiet(decoder)
        assert decoder.stats.failed == 2
        with pytest.raises(DecodeError):
            await decoder.frames.get(request("a", broken))
        assert decoder.stats.failed == 3
        for key in range(200):
            decoder.prefetcher.expect("reader", wishes(key, make=broken))
            await quiet(decoder)
        assert decoder.prefetcher.failed == 64

    play(test)


@given(st.lists(st.tuples(st.sampled_from("awgsc"), st.integers(0, 5), st.booleans()), max_size=30), st.integers(0, 8))
@settings(max_examples=30, deadline=None)
def test_counts_are_right_whatever_happens(steps: list[tuple[str, int, bool]], room: int) -> None:
    """Wishes, reads, cancelled reads, failures: in the end nothing is being made and what is reserved is there."""

    async def test(decoder: Decoding) -> None:
        def maker(fails: bool) -> Prepare:
            async def made() -> tuple[Task, bytes]:
                return TASK, FRAME[:10] if fails else FRAME

            return made

        async def read(key: int, fails: bool, patience: float) -> None:
            with contextlib.suppress(DecodeError), trio.move_on_after(patience):
                await decoder.frames.get(request(key, maker(fails)))

        async with trio.open_nursery() as nursery:
            for act, key, fails in steps:
                if act in "aw":
                    decoder.prefetcher.expect(act, wishes(key, key + 1, key + 2, make=maker(fails)))
                elif act == "g":
                    nursery.start_soon(read, key, fails, 60)
                elif act == "c":
                    nursery.start_soon(read, key, fails, 0.001)
                else:
                    decoder.frames.spent(request(key))
                if key % 2:
                    await trio.sleep(0.001)
        await quiet(decoder)
        assert decoder.frames.demand == decoder.prefetcher.making == 0
        assert decoder.prefetcher.reserved_bytes == decoder.frames.unfetched_bytes <= room * len(FRAME)
        assert decoder.frames.memory.taken == 0

    play(test, cache_bytes=room * len(FRAME))


def test_what_is_spent_is_made_again() -> None:
    async def test(decoder: Decoding) -> None:
        for key in ("spent", "kept", "spent"):
            await decoder.frames.get(request(key, make))
        assert decoder.stats.decoded == 2
        decoder.frames.spent(request("spent"))
        decoder.frames.spent(request("never made"))
        for key in ("kept", "spent"):
            assert await decoder.frames.get(request(key, make)) == FRAME
        assert decoder.stats.decoded == 3

    play(test)


def test_what_is_spent_before_anybody_fetches_it_reserves_nothing() -> None:
    """Who opened the file before has read all of it; made ahead once more, it counts once."""

    async def test(decoder: Decoding) -> None:
        for _ in range(5):
            decoder.prefetcher.expect("reader", wishes("a"))
            await quiet(decoder)
            decoder.frames.spent(request("a"))
            assert decoder.prefetcher.reserved_bytes == 0
        decoder.prefetcher.expect("reader", wishes("a"))
        await quiet(decoder)
        for key in "bcd":  # these push it out
            await decoder.frames.get(request(key, make))
        assert request("a") not in decoder.frames
        decoder.prefetcher.expect("reader", wishes("a"))
        await quiet(decoder)
        assert decoder.prefetcher.reserved_bytes == len(FRAME)
        assert decoder.stats.decoded == 10

    play(test, cache_bytes=3 * len(FRAME))


def test_an_error_reaches_the_one_who_wants_the_frame_and_nobody_else() -> None:
    async def broken() -> tuple[Task, bytes]:
        return TASK, FRAME[:10]

    async def test(decoder: Decoding) -> None:
        decoder.prefetcher.expect("reader", wishes(1, make=broken))
        await quiet(decoder)
        assert decoder.stats.failed == 1
        with pytest.raises(DecodeError) as caught:
            await decoder.frames.get(request(1, broken))
        assert caught.value.errno == errno.EIO

    play(test)


@pytest.mark.parametrize("error", [ValueError, IndexError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_whatever_goes_wrong_ahead_ends_nothing(error: type[BaseException]) -> None:
    async def wrong() -> tuple[Task, bytes]:
        raise error

    async def test(decoder: Decoding) -> None:
        decoder.prefetcher.expect("reader", [*wishes(*range(5), make=wrong), *wishes(6)])
        assert await quiet(decoder) == 1
        assert await decoder.frames.get(request(2, make)) == FRAME

    play(test)


def test_nothing_is_made_ahead_where_nobody_looks_after_it() -> None:
    async def main() -> None:
        async with Decoding(1) as decoder:
            decoder.prefetcher.expect("reader", wishes(1))
            assert await quiet(decoder) == 0

    trio.run(main)


def held(decoder: Decoding) -> list[By]:
    """List the requests whose results are held for open files."""
    found = [each for each in decoder.frames.held if isinstance(each, By)]
    assert len(found) == len(decoder.frames.held)
    return found


def test_what_open_files_are_served_is_made_once_and_no_more_is_kept_than_workers_make() -> None:
    """Also without any cache; whoever comes late among too many readers has his frame made again."""

    async def test(decoder: Decoding) -> None:
        for _ in range(3):
            for key in range(decoder.frames.depth):
                assert await decoder.frames.get(request(key, make), hold=True) == FRAME
        assert decoder.stats.decoded == decoder.frames.depth
        await decoder.frames.get(request("one more", make), hold=True)
        assert [each.key for each in held(decoder)] == [*range(1, decoder.frames.depth), "one more"]
        await decoder.frames.get(request(0, make), hold=True)
        assert decoder.stats.decoded == decoder.frames.depth + 2
        for key in ("one more", 0, "never served"):
            decoder.frames.left(request(key))
        assert [each.key for each in held(decoder)] == [*range(2, decoder.frames.depth)]

    play(test, cache_bytes=0)


def test_what_could_not_be_served_is_tried_again() -> None:
    async def test(decoder: Decoding) -> None:
        async def fails() -> tuple[Task, bytes]:
            raise OSError(errno.EIO, "no")

        with pytest.raises(OSError, match="no"):
            await decoder.frames.get(request(1, fails), hold=True)
        assert await decoder.frames.get(request(1, make), hold=True) == FRAME

    play(test)
