"""A bounded cache whose values live for a fixed time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cached(NamedTuple, Generic[V]):
    """A value, and since when it is cached (seconds since the epoch)."""

    value: V
    since: float


class TtlCache(Generic[K, V]):
    """The values that were put last; beyond its size, the oldest goes first.

    Args:
        size: How many values.
        ttl: Seconds for which they live.
        clock: The present, in seconds since the epoch.
    """

    def __init__(self, size: int, ttl: float, clock: Callable[[], float]) -> None:
        self._size, self._ttl, self._clock = size, ttl, clock
        self._values: OrderedDict[K, Cached[V]] = OrderedDict()

    def get(self, key: K) -> Cached[V] | None:
        """The value of a key, if it has one that lives; a clock that is set back lets nothing live longer."""
        cached = self._values.get(key)
        return cached if cached is not None and 0 <= self._clock() - cached.since < self._ttl else None

    def put(self, key: K, value: V) -> None:
        """Cache a value from now on."""
        self._values[key] = Cached(value, self._clock())
        self._values.move_to_end(key)
        if len(self._values) > self._size:
            self._values.popitem(last=False)

    def discard(self, key: K) -> None:
        """Drop the value of a key, if it has one."""
        self._values.pop(key, None)
