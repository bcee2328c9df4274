"""The near cache: decoded entries in this process, found by the very spelling that a caller uses.

A hit costs a dict look-up and three comparisons; no lock, no decoding, no I/O.
"""

from __future__ import annotations

import threading
from math import inf

from . import policy
from .models import CachedSymbolInfo


class Slot:
    """An entry, and until when it may be used without looking at the storage."""

    __slots__ = ("_ends", "_since", "generation", "info", "trusted_until")

    def __init__(self, info: CachedSymbolInfo, trusted_until: float, generation: int) -> None:
        self.info = info
        self.trusted_until = trusted_until
        self.generation = generation
        self._since = info.cached_at - policy.CLOCK_TOLERANCE
        self._ends: dict[tuple[str, ...], float] = {}

    def serves(self, timeframes: tuple[str, ...], now: float) -> bool:
        """Whether the entry is trusted, fresh, and knows these timeframes."""
        end = self._ends.get(timeframes)
        if end is None:
            end = self._ends[timeframes] = policy.fresh_until(self.info, timeframes)
        return now < end and now < self.trusted_until and now >= self._since


class NearCache:
    """At most ``size`` entries, each trusted for ``age`` seconds; the one that came first goes first."""

    def __init__(self, size: int, age: float) -> None:
        self._size = size
        self._age = age
        self._lock = threading.Lock()
        self._writes = 0
        self._by_key: dict[str, tuple[Slot, list[str]]] = {}
        self._by_spelling: dict[str, Slot] = {}
        self.find = self._by_spelling.get

    def ticket(self) -> int:
        """What a reader takes before it looks at the storage, and hands to :meth:`keep`."""
        return self._writes

    def keep(
        self, key: str, spelling: str, info: CachedSymbolInfo, now: float, generation: int, ticket: int | None
    ) -> None:
        """Remember an entry.

        Args:
            key: Its storage key.
            spelling: How the caller wrote its symbol.
            info: The entry.
            now: The moment when it was read or written.
            generation: The storage's generation before that.
            ticket: The reader's; an entry that was read before someone wrote is not kept. ``None`` for a writer.
        """
        if not self._size:
            return
        with self._lock:
            if ticket is None:
                self._forget(key)
            elif ticket != self._writes:
                return
            held = self._by_key.get(key)
            if held is not None and held[0].info is info:
                slot, spellings = held
                slot.trusted_until, slot.generation = now + self._age, generation
            else:
                spellings = held[1] if held is not None else []
                slot = Slot(info, now + self._age, generation)
            if spelling not in spellings:
                spellings.append(spelling)
            self._by_key[key] = slot, spellings
            self._by_spelling.update(dict.fromkeys(spellings, slot))
            while len(self._by_spelling) > self._size:
                self._drop(next(iter(self._by_key)))

    def forget(self, key: str) -> None:
        """Drop an entry under each of its spellings, because someone wrote or deleted it."""
        with self._lock:
            self._forget(key)

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._writes += 1
            for slot, _ in self._by_key.values():
                slot.trusted_until = -inf
            self._by_key.clear()
            self._by_spelling.clear()

    def _forget(self, key: str) -> None:
        self._writes += 1
        if key in self._by_key:
            self._drop(key)

    def _drop(self, key: str) -> None:
        slot, spellings = self._by_key.pop(key)
        slot.trusted_until = -inf
        for spelling in spellings:
            self._by_spelling.pop(spelling, None)
