"""A memory cache that is bounded in bytes and makes each value once, however many ask for it at the same time.

Callers put the path and the fingerprint of the source into keys, so that no value goes stale.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Self, TypeVar

import trio

Value = TypeVar("Value")


class Making(Generic[Value]):
    """One value being made, as a context manager: the block sets `value`, or raises for all that wait.

    When the block is cancelled, one of the tasks that wait makes the value.
    """

    __slots__ = ("_cache", "_key", "ended", "error", "value")

    def __init__(self, cache: "Lru[Value]", key: Hashable) -> None:
        """Make the value of *key* for *cache*."""
        self._cache = cache
        self._key = key
        self.ended = trio.Event()
        self.value: Value | None = None
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        """Let all others that ask wait."""
        self._cache.begin(self._key, self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Keep the value, and wake the tasks that wait."""
        if isinstance(error, Exception):
            self.error = error
        self._cache.end(self._key, self)
        self.ended.set()


class Lru(Generic[Value]):
    """The values used last, up to *limit* bytes; *weigh* returns the bytes of a value, always the same."""

    def __init__(self, limit: int, weigh: Callable[[Value], int]) -> None:
        """Start empty. A *limit* of 0 keeps nothing, but each value is still made once for all that wait."""
        self._limit = limit
        self._others: Callable[[], int] | None = None
        self._weigh = weigh
        self._bytes = 0
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()
        self._makings: dict[Hashable, Making[Value]] = {}
        self._hits = 0

    def share(self, others: Callable[[], int]) -> None:
        """Count the bytes that *others* returns within the limit; a quarter of it remains in any case."""
        self._others = others

    @property
    def bytes(self) -> int:
        """Bytes of all values kept."""
        return self._bytes

    @property
    def hits(self) -> int:
        """How often a value was returned without making one for that caller."""
        return self._hits

    def __len__(self) -> int:
        """Count the values kept."""
        return len(self._kept)

    def __contains__(self, key: Hashable) -> bool:
        """Return whether the value of *key* is kept, without using it."""
        return key in self._kept

    def coming(self, key: Hashable) -> bool:
        """Return whether the value of *key* is kept or being made."""
        return key in self._kept or key in self._makings

    async def get(self, key: Hashable, make: Callable[[], Awaitable[Value]]) -> Value:
        """Return the value of *key*, from the cache or by awaiting *make* once for all that ask meanwhile.

        An error of *make* reaches all tasks that wait, and nothing is kept. When the task that makes the value is
        cancelled, one of those that wait makes it with its own *make*. A kept value is returned without a
        checkpoint.
        """
        value = await self.found(key)
        if value is None:
            with Making(self, key) as making:
                making.value = value = await make()
        return value

    async def found(self, key: Hashable) -> Value | None:
        """Return the value of *key*, kept or being made; None where the caller has to make it, with `Making`.

        Raises what making it raises. There is no checkpoint before None, nor before a value that is kept.
        """
        while True:
            if key in self._kept:
                self._kept.move_to_end(key)
                self._hits += 1
                return self._kept[key]
            making = self._makings.get(key)
            if making is None:
                return None
            await making.ended.wait()
            if making.error is not None:
                raise making.error
            if making.value is not None:
                self._hits += 1
                return making.value

    def demote(self, key: Hashable) -> None:
        """Let the value of *key* be dropped before all others."""
        if key in self._kept:
            self._kept.move_to_end(key, last=False)

    def forget(self, key: Hashable) -> None:
        """Drop the value of *key*."""
        value = self._kept.pop(key, None)
        if value is not None:
            self._bytes -= self._weigh(value)

    def begin(self, key: Hashable, making: Making[Value]) -> None:
        """Note that the value of *key* is being made."""
        self._makings[key] = making

    def end(self, key: Hashable, making: Making[Value]) -> None:
        """Keep the value. Without value and error the making was cancelled, and the next task that wakes takes over."""
        del self._makings[key]
        if making.value is not None and making.error is None:
            self._keep(key, making.value)

    def _keep(self, key: Hashable, value: Value) -> None:
        """Keep *value* unless it is larger than the whole cache."""
        weight = self._weigh(value)
        if weight > self._limit:
            return
        self._kept[key] = value
        self._bytes += weight
        taken = min(self._others(), self._limit * 3 // 4) if self._others else 0
        while self._bytes > self._limit - taken and len(self._kept) > 1:
            self._drop()

    def _drop(self) -> None:
        """Drop the least recently used value."""
        _, value = self._kept.popitem(last=False)
        self._bytes -= self._weigh(value)
