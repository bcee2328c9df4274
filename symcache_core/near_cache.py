"""The near cache: decoded entries in this process, found by the very spelling that a caller uses.

A hit on a hot key costs two dict look-ups, a look at the clock and one at a word of shared memory: no lock, no hook, no
decoding, no I/O.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress

from . import policy
from .errors import BackendError
from .models import CachedSymbolInfo
from .protocols import CanBeWatched, CanSeeOthers, StorageBackend

Hit = tuple[float, float, int | None, CachedSymbolInfo]
"""From when and until when, and while which word stands in the storage's memory, an entry answers for timeframes.

A plain tuple, because unpacking any other costs a third of a hit.
"""


class Watch:
    """Tells whether others have written to a backend, as well as the backend can.

    Args:
        backend: Which; for one that cannot tell at all, nothing ever seems to change.
    """

    def __init__(self, backend: StorageBackend) -> None:
        self._seeing = backend if isinstance(backend, CanSeeOthers) else None
        self._last: int | None = None
        self._watched = backend if isinstance(backend, CanBeWatched) else None

    def __getitem__(self, _index: int) -> int | None:
        """Stands in for a word in memory that the backend does not have."""
        return self.generation()

    def generation(self) -> int | None:
        """A number that differs from the last one if others have written in between.

        While the storage cannot be reached it stays as it is: what is near is the best there is.
        """
        if self._seeing is not None:
            with suppress(BackendError):
                self._last = self._seeing.generation()
        return self._last

    def word(self) -> Sequence[int | None] | Watch:
        """Something whose first item changes when anyone writes."""
        if self._seeing is None:
            return _NOTHING_TO_SEE
        word = None if self._watched is None else self._watched.word()
        return self if word is None else word


_NOTHING_TO_SEE = (None,)


class Slot:
    """An entry, and until when it may be used without looking at the storage.

    ``hits`` has what was found out before, by timeframes.
    """

    __slots__ = ("_trusted_until", "generation", "hits", "info", "spellings")

    def __init__(self, info: CachedSymbolInfo, trusted_until: float, generation: int | None) -> None:
        self.info = info
        self.hits: dict[tuple[str, ...], Hit] = {}
        self.spellings: list[str] = []
        self.generation = generation
        self._trusted_until = trusted_until

    def hit(self, timeframes: tuple[str, ...], word: int | None) -> Hit:
        """For how long the entry answers for these timeframes, as long as the storage's word stays as it is."""
        until = min(policy.fresh_until(self.info, timeframes), self._trusted_until)
        return self.info.cached_at - policy.CLOCK_TOLERANCE, until, word, self.info


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
        for spelling in slot.spellings:
            self.slots.pop(spelling, None)
