"""The near cache: decoded entries in this process, found by the very spelling that a caller uses.

A hit on a hot key costs two dict look-ups, a look at the clock and one at the storage's generation: no lock, no hook,
no decoding, no I/O.
"""

from __future__ import annotations

import threading

from . import policy
from .models import CachedSymbolInfo

Hit = tuple[float, float, int | None, CachedSymbolInfo]
"""From when and until when, and at which generation of the storage if it has any, an entry answers for timeframes.

A plain tuple, because unpacking any other costs a third of a hit.
"""


class Slot:
    """An entry, and until when it may be used without looking at the storage.

    ``hits`` has what was found out before, by timeframes; it is emptied when the entry is dropped, so that whoever
    holds the slot at that moment does not use it any more.
    """

    __slots__ = ("_generation", "_trusted_until", "hits", "info", "spellings")

    def __init__(self, info: CachedSymbolInfo, trusted_until: float, generation: int | None) -> None:
        self.info = info
        self.hits: dict[tuple[str, ...], Hit] = {}
        self.spellings: list[str] = []
        self._trusted_until = trusted_until
        self._generation = generation

    def hit(self, timeframes: tuple[str, ...]) -> Hit:
        """For how long the entry answers for these timeframes."""
        until = min(policy.fresh_until(self.info, timeframes), self._trusted_until)
        return self.info.cached_at - policy.CLOCK_TOLERANCE, until, self._generation, self.info


class NearCache:
    """At most ``size`` entries, each trusted for ``age`` seconds; the one that came first goes first."""

    def __init__(self, size: int, age: float) -> None:
        self.slots: dict[str, Slot] = {}
        self._size = size
        self._age = age
        self._lock = threading.Lock()
        self._writes = 0
        self._by_key: dict[str, Slot] = {}

    def ticket(self) -> int:
        """What a reader takes before it looks at the storage, and hands to :meth:`keep`."""
        return self._writes

    def keep(
        self, key: str, spelling: str, info: CachedSymbolInfo, *, now: float, generation: int | None, ticket: int
    ) -> None:
        """Remember an entry that was read, unless someone in this process has written since.

        Args:
            key: Its storage key.
            spelling: How the caller wrote its symbol.
            info: The entry.
            now: The moment when it was read.
            generation: The storage's generation before that, where it can tell.
            ticket: Taken before that.
        """
        if not self._size:
            return
        with self._lock:
            if ticket != self._writes:
                return
            old = self._by_key.get(key)
            slot = Slot(info, now + self._age, generation)
            slot.spellings = [spelling] if old is None else [*dict.fromkeys((*old.spellings, spelling))]
            self._by_key[key] = slot
            self.slots.update(dict.fromkeys(slot.spellings, slot))
            while len(self.slots) > self._size:
                self._drop(next(iter(self._by_key)))

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
        slot.hits.clear()
        for spelling in slot.spellings:
            self.slots.pop(spelling, None)
