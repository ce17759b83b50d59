"""Attributes of parsed objects that are computed when somebody first asks for them."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Value = TypeVar("Value")


class on_demand(Generic[Value]):  # noqa: N801 - it is written like a decorator
    """A method whose result replaces it in the object's `__dict__`, also in that of a frozen dataclass.

    `functools.cached_property` of Python 3.11 holds one lock for all objects of the class while it computes. A read
    from a hung server would then stop every thread that asks the same of another file. Here, two threads that ask at
    the same time both compute, to equal results. What raises is not kept.
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        """Compute with the method *compute*."""
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, owner: None, kind: type) -> "on_demand[Value]": ...
    @overload
    def __get__(self, owner: object, kind: type) -> Value: ...
    def __get__(self, owner: object | None, kind: type) -> "on_demand[Value] | Value":
        """Compute the value of *owner*; the next time, Python finds it in the object and does not come here."""
        if owner is None:
            return self
        value = owner.__dict__[self._name] = self._compute(owner)
        return value

    def known(self, owner: object) -> bool:
        """Whether the value of *owner* has been computed."""
        return self._name in owner.__dict__
