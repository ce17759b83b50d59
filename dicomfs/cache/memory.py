"""A memory cache that is bounded in bytes and makes each value once, however many ask for it at the same time.

Keys are the caller's business: they hold the path and the fingerprint of the source, so that a value never goes stale.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import trio

Value = TypeVar("Value")


class _Flight(Generic[Value]):
    """One value in the making, and how it ended for those who wait for it."""

    __slots__ = ("ended", "error", "made")

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.made: tuple[Value] | None = None
        self.error: Exception | None = None


class Lru(Generic[Value]):
    """Keep the values used last, as many as fit into *limit* bytes; *weigh* tells the bytes of one, always the same."""

    def __init__(self, limit: int, weigh: Callable[[Value], int]) -> None:
        """Start empty; a *limit* of 0 keeps nothing and still makes each value once for all who wait."""
        self._limit = limit
        self._others: Callable[[], int] | None = None
        self._weigh = weigh
        self._bytes = 0
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()
        self._flights: dict[Hashable, _Flight[Value]] = {}
        self._hits = 0

    def share(self, others: Callable[[], int]) -> None:
        """Have as many bytes as *others* says count within the limit, of which a quarter is left in any case."""
        self._others = others

    @property
    def bytes(self) -> int:
        """Bytes of all values kept."""
        return self._bytes

    @property
    def hits(self) -> int:
        """How often a value was given without making one for that caller."""
        return self._hits

    def __len__(self) -> int:
        """Count the values kept."""
        return len(self._kept)

    def __contains__(self, key: Hashable) -> bool:
        """Tell whether the value of *key* is kept, without using it."""
        return key in self._kept

    def coming(self, key: Hashable) -> bool:
        """Tell whether the value of *key* is kept or being made."""
        return key in self._kept or key in self._flights

    async def get(self, key: Hashable, make: Callable[[], Awaitable[Value]]) -> Value:
        """Give the value of *key*, from the cache or by awaiting *make* once for all who ask meanwhile.

        What *make* raises reaches everybody who waits, and nothing is kept. When the task that makes is
        cancelled, one of those who wait makes the value with its own *make*. A kept value is given
        without a checkpoint.
        """
        while True:
            if key in self._kept:
                self._kept.move_to_end(key)
                self._hits += 1
                return self._kept[key]
            flight = self._flights.get(key)
            if flight is None:
                return await self._make(key, make)
            await flight.ended.wait()
            if flight.error is not None:
                raise flight.error
            if flight.made is not None:
                self._hits += 1
                return flight.made[0]

    def demote(self, key: Hashable) -> None:
        """Have the value of *key* make room before all others."""
        if key in self._kept:
            self._kept.move_to_end(key, last=False)

    def forget(self, key: Hashable) -> None:
        """Keep the value of *key* no longer."""
        value = self._kept.pop(key, None)
        if value is not None:
            self._bytes -= self._weigh(value)

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[Value]]) -> Value:
        flight = self._flights[key] = _Flight[Value]()
        try:
            value = await make()
        except Exception as error:
            flight.error = error
            raise
        else:
            flight.made = (value,)
            self._keep(key, value)
            return value
        finally:
            # Neither made nor error: cancelled, and whoever wakes first takes over.
            del self._flights[key]
            flight.ended.set()

    def _keep(self, key: Hashable, value: Value) -> None:
        """Keep *value* unless it is larger than the whole cache; with `_drop`, all that changes the byte count."""
        weight = self._weigh(value)
        if weight > self._limit:
            return
        self._kept[key] = value
        self._bytes += weight
        taken = min(self._others(), self._limit * 3 // 4) if self._others else 0
        while self._bytes > self._limit - taken and len(self._kept) > 1:
            self._drop()

    def _drop(self) -> None:
        """Forget the value that was not used for the longest time."""
        _, value = self._kept.popitem(last=False)
        self._bytes -= self._weigh(value)
