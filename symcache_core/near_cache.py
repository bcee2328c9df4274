"""The near cache: decoded entries in this process, found by the very spelling that a caller uses.

A hit on a hot key costs two dict look-ups, a look at the clock and one at a word of shared memory: no lock, no hook, no
decoding, no I/O.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from . import policy
from .models import CachedSymbolInfo
from .protocols import Clock
from .watch import Sight, Word

Hit = tuple[float, float, Word | None, int | None, CachedSymbolInfo]
"""From when and until when, and while which number stands in which word, an entry answers for timeframes.

A plain tuple, because unpacking any other costs a third of a hit.
"""


class Get(Protocol):
    """How entries are looked up, by symbol and timeframes."""

    def __call__(self, symbol: str, timeframes: Iterable[str] = ()) -> CachedSymbolInfo | None:
        """The entry of a symbol if it is fresh and knows every given timeframe, else ``None``.

        Raises:
            InvalidSymbolError: The text cannot be a symbol.
        """
        ...


Otherwise = Callable[[str, Iterable[str]], CachedSymbolInfo | None]


def fast_get(near: NearCache, clock: Clock, otherwise: Otherwise) -> tuple[Get, Callable[[], int]]:
    """Make the function that answers hot lookups.

    A closure, because a method finds what it needs slower by a fifth.

    Args:
        near: Where the hits are.
        clock: Seconds since the epoch.
        otherwise: What to ask when no hit is remembered, or it is over.

    Returns:
        The function, and another that tells how many lookups it has answered by itself.
    """
    hits: dict[str, dict[Any, Hit]] = near.hits
    answered = 0

    def get(symbol: str, timeframes: Iterable[str] = ()) -> CachedSymbolInfo | None:
        """The entry of a symbol if it is fresh and knows every given timeframe, else ``None``.

        Raises:
            InvalidSymbolError: The text cannot be a symbol.
        """
        nonlocal answered
        try:
            since, until, word, seen, info = hits[symbol][timeframes]
        except (KeyError, TypeError):  # not there, or no tuple
            return otherwise(symbol, timeframes)
        if since <= clock() < until and (word is None or word[0] == seen):
            answered += 1
            return info
        return otherwise(symbol, timeframes)

    return get, lambda: answered


class Slot:
    """An entry, and until when it may be used without looking at the storage.

    ``hits`` has what was found out before, by timeframes.
    """

    __slots__ = ("_read_at", "_trusted_until", "hits", "info", "sight", "spellings")

    def __init__(self, info: CachedSymbolInfo, read_at: float, age: float, sight: Sight) -> None:
        self.info = info
        self.hits: dict[tuple[str, ...], Hit] = {}
        self.spellings: list[str] = []
        self.sight = sight
        self._read_at = read_at
        self._trusted_until = read_at + age

    def is_trusted(self, now: float) -> bool:
        """Whether so little time has passed that only another's write could make it untrue."""
        return self._read_at - policy.CLOCK_TOLERANCE <= now < self._trusted_until

    def hit(self, timeframes: tuple[str, ...]) -> Hit:
        """For how long the entry answers for these timeframes, as long as the storage's word stays as it is."""
        since = max(policy.fresh_since(self.info, timeframes), self._read_at - policy.CLOCK_TOLERANCE)
        until = min(policy.fresh_until(self.info, timeframes), self._trusted_until)
        return since, until, self.sight.word, self.sight.seen, self.info


class NearCache:
    """At most ``size`` entries, each trusted for ``age`` seconds; the one that came first goes first.

    Both ``slots`` and ``hits``, which are those of the slots, go by spelling.
    """

    def __init__(self, size: int, age: float) -> None:
        self.slots: dict[str, Slot] = {}
        self.hits: dict[str, dict[tuple[str, ...], Hit]] = {}
        self._size = size
        self._age = age
        self._lock = threading.Lock()
        self._writes = 0
        self._by_key: dict[str, Slot] = {}

    def ticket(self) -> int:
        """What a reader takes before it looks at the storage, and hands to :meth:`keep`."""
        return self._writes

    def keep(self, key: str, spelling: str, info: CachedSymbolInfo, *, now: float, sight: Sight, ticket: int) -> None:
        """Remember an entry that was read, unless someone in this process has written since.

        Args:
            key: Its storage key.
            spelling: How the caller wrote its symbol.
            info: The entry.
            now: The moment when it was read.
            sight: What was seen of the storage before that.
            ticket: Taken before that.
        """
        if not self._size:
            return
        with self._lock:
            if ticket != self._writes:
                return
            old = self._by_key.get(key)
            slot = Slot(info, now, self._age, sight)
            slot.spellings = [spelling] if old is None else [*dict.fromkeys((*old.spellings, spelling))]
            self._by_key[key] = slot
            for name in slot.spellings:
                self.slots[name], self.hits[name] = slot, slot.hits
            while len(self.slots) > self._size:
                self._drop(next(iter(self._by_key)))

    def last(self, key: str) -> CachedSymbolInfo | None:
        """The entry under a key, however long ago it was read; for when nothing newer can be had."""
        slot = self._by_key.get(key)
        return None if slot is None else slot.info

    def forget(self, key: str) -> None:
        """Drop an entry under each of its spellings, because someone wrote or deleted it."""
        with self._lock:
            self._writes += 1
            if key in self._by_key:
                self._drop(key)

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._writes += 1
            for key in list(self._by_key):
                self._drop(key)

    def _drop(self, key: str) -> None:
        slot = self._by_key.pop(key)
        for spelling in slot.spellings:
            self.slots.pop(spelling, None)
            self.hits.pop(spelling, None)
