"""The memory cache: never over its limit, one making per value, nothing kept of a failure."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from dicomfs.cache.memory import Lru


def maker(value: bytes) -> Callable[[], Awaitable[bytes]]:
    """Make a make that gives *value* after a pause."""

    async def make() -> bytes:
        await trio.lowlevel.checkpoint()
        return value

    return make


async def never() -> bytes:
    """Fail the test that asks for a value again."""
    raise AssertionError("made twice")


def filled(*values: bytes, limit: int) -> Lru[bytes]:
    """Give a cache that was asked for *values*, keyed by their index."""
    cache: Lru[bytes] = Lru(limit, len)

    async def fill() -> None:
        for key, value in enumerate(values):
            assert await cache.get(key, maker(value)) == value

    trio.run(fill)
    return cache


@given(st.integers(0, 40), st.lists(st.tuples(st.integers(0, 6), st.integers(0, 50), st.booleans()), max_size=60))
def test_agrees_with_a_plain_model(limit: int, steps: list[tuple[int, int, bool]]) -> None:
    """The same values are kept as in a model that is too plain to be wrong, and their bytes are counted right."""
    cache: Lru[bytes] = Lru(limit, len)
    model: OrderedDict[int, bytes] = OrderedDict()

    async def play() -> None:
        for key, size, fails in steps:
            made: list[int] = []

            async def make(size: int = size, fails: bool = fails, made: list[int] = made) -> bytes:
                made.append(size)
                await trio.lowlevel.checkpoint()
                if fails:
                    raise OSError("no")
                return bytes(size)

            known = model.get(key)
            if known is not None:
                assert await cache.get(key, make) == known
                assert not made
                model.move_to_end(key)
            elif fails:
                with pytest.raises(OSError, match="no"):
                    await cache.get(key, make)
            else:
                assert await cache.get(key, make) == bytes(size)
                if size <= limit:
                    model[key] = bytes(size)
                while sum(map(len, model.values())) > limit:
                    model.popitem(last=False)
            assert {key for key in range(7) if key in cache} == set(model)
            assert len(cache) == len(model)
            assert cache.bytes == sum(map(len, model.values())) <= limit

    trio.run(play)


@given(
    st.integers(0, 30),
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["value", "error", "cancel"]), st.integers(0, 3)),
        max_size=25,
    ),
)
def test_holds_its_promises_among_concurrent_callers(limit: int, calls: list[tuple[int, str, int]]) -> None:
    """Whoever is not cancelled gets the value of its key or the error, at most one make runs per key."""
    cache: Lru[bytes] = Lru(limit, len)
    making = dict.fromkeys(range(4), 0)
    outcomes: list[object] = []

    async def call(key: int, fate: str, delay: int) -> None:
        async def make() -> bytes:
            assert making[key] == 0
            making[key] += 1
            try:
                await trio.sleep(2)
                if fate == "error":
                    raise OSError("no")
                return bytes(10 + key)
            finally:
                making[key] -= 1

        await trio.sleep(delay)
        with trio.CancelScope() as scope:
            if fate == "cancel":
                scope.deadline = trio.current_time() + 1
            try:
                outcomes.append(await cache.get(key, make) == bytes(10 + key))
            except OSError as error:
                outcomes.append(str(error) == "no")
        if scope.cancelled_caught:
            outcomes.append(fate == "cancel")
        assert 0 <= cache.bytes <= limit

    async def play() -> None:
        async with trio.open_nursery() as nursery:
            for arguments in calls:
                nursery.start_soon(call, *arguments)

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
    assert outcomes == [True] * len(calls)
    assert cache.bytes == sum(10 + key for key in range(4) if key in cache) <= limit
    assert not any(making.values())


def test_the_least_recently_used_goes_first() -> None:
    """Using a value keeps it; the one that was not used goes."""
    cache = filled(b"a" * 4, b"b" * 4, limit=10)

    async def play() -> None:
        await cache.get(0, never)
        await cache.get(2, maker(b"c" * 4))

    trio.run(play)
    assert [key in cache for key in range(3)] == [True, False, True]
    assert cache.hits == 1


def test_a_value_larger_than_the_cache_is_given_and_evicts_nothing() -> None:
    """An oversized value reaches its caller and leaves the others in peace."""
    cache = filled(b"small", b"x" * 11, limit=10)
    assert 0 in cache
    assert 1 not in cache
    assert cache.bytes == 5


def test_eight_callers_one_making() -> None:
    """Callers that come while a value is made wait for that one, even when it is not kept."""
    for limit in (0, 100):
        cache: Lru[bytes] = Lru(limit, len)
        made: list[int] = []
        got: list[bytes] = []

        async def make(made: list[int] = made) -> bytes:
            made.append(1)
            await trio.sleep(1)
            return b"value"

        async def call(cache: Lru[bytes] = cache, got: list[bytes] = got, make: object = make) -> None:
            got.append(await cache.get("key", make))

        async def play(call: Callable[[], Awaitable[None]] = call) -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(call)

        trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
        assert got == [b"value"] * 8
        assert len(made) == 1
        assert cache.hits == 7


def test_an_error_reaches_everybody_who_waits_and_is_not_kept() -> None:
    """All waiters see the error; the next caller makes the value anew."""
    cache: Lru[bytes] = Lru(100, len)
    seen: list[str] = []

    async def fail() -> bytes:
        await trio.sleep(1)
        raise OSError("no")

    async def call() -> None:
        with pytest.raises(OSError, match="no") as caught:
            await cache.get("key", fail)
        seen.append(str(caught.value))

    async def play() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(call)
        assert len(cache) == cache.bytes == 0
        assert await cache.get("key", maker(b"value")) == b"value"

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
    assert seen == ["no"] * 5


def test_a_waiter_takes_over_from_a_cancelled_maker() -> None:
    """The maker's cancellation costs the others nothing; again only one of them makes the value."""
    cache: Lru[bytes] = Lru(100, len)
    made: list[str] = []
    got: list[bytes] = []

    async def call(name: str) -> None:
        async def make() -> bytes:
            made.append(name)
            await trio.sleep(2)
            return b"value"

        got.append(await cache.get("key", make))

    async def play() -> None:
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(1):
                async with trio.open_nursery() as doomed:
                    doomed.start_soon(call, "first")
                    await trio.testing.wait_all_tasks_blocked()
                    for name in ("second", "third", "fourth"):
                        nursery.start_soon(call, name)

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
    assert got == [b"value"] * 3
    assert made[0] == "first"
    assert len(made) == 2


def test_a_cancelled_waiter_does_not_disturb_the_maker() -> None:
    """Who waits may leave at any time."""
    cache: Lru[bytes] = Lru(100, len)

    async def slow() -> bytes:
        await trio.sleep(2)
        return b"value"

    async def play() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cache.get, "key", slow)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(1) as scope:
                await cache.get("key", never)
            assert scope.cancelled_caught
        assert await cache.get("key", never) == b"value"

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))


def test_what_is_demoted_makes_room_first_and_what_is_forgotten_is_gone() -> None:
    cache: Lru[bytes] = Lru(30, len)

    async def make() -> bytes:
        return bytes(10)

    async def play() -> None:
        for key in range(3):
            await cache.get(key, make)
        cache.demote(2)
        cache.demote("never there")
        await cache.get(3, make)
        assert [key in cache for key in range(4)] == [True, True, False, True]
        cache.forget(0)
        cache.forget(0)
        assert (0 in cache, cache.bytes, len(cache)) == (False, 20, 2)
        await cache.get(4, make)
        assert [key for key in range(5) if cache.coming(key)] == [1, 3, 4]

    trio.run(play)


def test_what_others_take_counts_but_a_quarter_is_left() -> None:
    others = 0

    async def main() -> None:
        nonlocal others
        cache: Lru[bytes] = Lru(100, len)
        cache.share(lambda: others)

        async def put(*keys: int) -> list[int]:
            for key in keys:

                async def make() -> bytes:
                    return bytes(10)

                await cache.get(key, make)
            return [key for key in range(100) if key in cache]

        assert await put(*range(12)) == list(range(2, 12))
        others = 45
        assert await put(20) == [7, 8, 9, 10, 11, 20][1:]
        others = 10**9
        assert await put(21) == [20, 21]
        others = 0
        assert await put(*range(30, 40)) == list(range(30, 40))

    trio.run(main)
