"""Remembers a number of things for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Known(NamedTuple, Generic[V]):
    """What is remembered, and since when (seconds since the epoch)."""

    value: V
    since: float


class Memo(Generic[K, V]):
    """A bounded memory; what was learned first is forgotten first.

    Args:
        most: How many things.
        life: Seconds for which they hold.
        clock: The present, in seconds since the epoch.
    """

    def __init__(self, most: int, life: float, clock: Callable[[], float]) -> None:
        self._most, self._life, self._clock = most, life, clock
        self._known: OrderedDict[K, Known[V]] = OrderedDict()

    def get(self, key: K) -> Known[V] | None:
        """What is known of a key and still holds, if anything; a clock that is set back makes nothing last longer."""
        known = self._known.get(key)
        return known if known is not None and 0 <= self._clock() - known.since < self._life else None

    def keep(self, key: K, value: V) -> None:
        """Remember a thing from now on."""
        self._known[key] = Known(value, self._clock())
        self._known.move_to_end(key)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def forget(self, key: K) -> None:
        """Remember a thing no more, if it is."""
        self._known.pop(key, None)
