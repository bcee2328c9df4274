"""The near cache: decoded entries in this process, found by the very spelling that a caller uses.

A hit on a hot key costs two dict look-ups, a look at the clock and one at a word of shared memory: no lock, no hook, no
decoding, no I/O.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from .. import policy
from ..entries.reach import Reach
from ..errors import BackendError
from ..models import CachedSymbolInfo
from ..protocols import CanBeWatched, CanSeeOthers, Clock, StorageBackend


class Word(Protocol):
    """Something whose first item changes when anyone writes."""

    def __getitem__(self, index: int, /) -> int | None:
        """The item; only the first one means anything."""
        ...


class Version(NamedTuple):
    """Which state of the storage was read: the number in its shared word, if it has one, and its generation."""

    word: Word | None
    number: int | None
    generation: int | None

    def is_current(self) -> bool:
        """Whether nobody has written since, as far as a look at memory can tell."""
        return self.word is None or self.word[0] == self.number


class Watch:
    """What can be seen of others' writes.

    Args:
        backend: Which; for one that cannot tell at all, nothing ever seems to change.
        reach: Whether it can be reached, if anyone knows.
    """

    def __init__(self, backend: StorageBackend, reach: Reach | None = None) -> None:
        self._reach = reach
        self._seeing = backend if isinstance(backend, CanSeeOthers) else None
        self._watched = backend if isinstance(backend, CanBeWatched) else None
        self._last: int | None = None

    def __getitem__(self, _index: int) -> int | None:
        """Stands in for a word in memory that the backend does not have."""
        # A near-cache hit may come this way: it takes no more than this.
        if self._seeing is not None and (self._reach is None or self._reach.error is None):
            try:
                self._last = self._seeing.generation()
            except BackendError as error:
                if self._reach is not None:
                    self._reach.failed(error)
        return self._last

    def generation(self) -> int | None:
        """A number that differs from the last one if others have written in between.

        While the storage cannot be reached it stays as it is: what is near is the best there is.
        """
        if self._seeing is None or self._reach is None:
            return self[0]
        if (answer := self._reach.read(self._seeing.generation)) is not None:
            (self._last,) = answer
        return self._last

    def version(self) -> Version:
        """The present version of the storage; what is read afterwards is at least as new."""
        if self._seeing is None:
            return _UNKNOWN
        word = None if self._watched is None else self._watched.word()
        # In this order: a write in between shows in the one or the other.
        number = None if word is None else word[0]
        generation = self.generation()
        return Version(self, generation, generation) if word is None else Version(word, number, generation)

    def last_version(self) -> Version:
        """The version that was seen last, for what is not read from the storage; does not look at it."""
        return _UNKNOWN if self._last is None else Version(None, None, self._last)


_UNKNOWN = Version(None, None, None)


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


Fallback = Callable[[str, Iterable[str]], CachedSymbolInfo | None]


def fast_get(near: NearCache, clock: Clock, fallback: Fallback) -> tuple[Get, Callable[[], int]]:
    """Make the function that answers hot lookups.

    A closure, because a method finds what it needs slower by a fifth.

    Args:
        near: Where the hits are.
        clock: Seconds since the epoch.
        fallback: What to ask when no hit is remembered, or it is over.

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
            since, until, word, number, info = hits[symbol][timeframes]
        except Exception:  # noqa: BLE001  # not there, no tuple, or a hash of somebody's that fails in its own way
            return fallback(symbol, timeframes)
        if since <= clock() < until and (word is None or word[0] == number):
            answered += 1
            return info
        return fallback(symbol, timeframes)

    return get, lambda: answered


class Slot:
    """An entry, and until when it may be used without looking at the storage.

    ``hits`` has what was found out before, by timeframes.
    """

    __slots__ = ("_read_at", "_trusted_until", "hits", "info", "spellings", "version")

    def __init__(self, info: CachedSymbolInfo, read_at: float, age: float, version: Version) -> None:
        self.info = info
        self.hits: dict[tuple[str, ...], Hit] = {}
        self.spellings: list[str] = []
        self.version = version
        self._read_at = read_at
        self._trusted_until = read_at + age

    def is_trusted(self, now: float) -> bool:
        """Whether so little time has passed that only another's write could make it untrue."""
        return self._read_at - policy.CLOCK_TOLERANCE <= now < self._trusted_until

    def hit(self, timeframes: tuple[str, ...]) -> Hit:
        """For how long the entry answers for these timeframes, as long as the storage's word stays as it is."""
        since = max(policy.fresh_since(self.info, timeframes), self._read_at - policy.CLOCK_TOLERANCE)
        until = min(policy.fresh_until(self.info, timeframes), self._trusted_until)
        return since, until, self.version.word, self.version.number, self.info


class NearCache:
    """At most ``size`` entries, each trusted for ``age`` seconds; the one that came first goes first.

    Both ``slots`` and ``hits``, which are those of the slots, go by spelling; ``writes`` counts those of this process.
    """

    def __init__(self, size: int, age: float) -> None:
        self.slots: dict[str, Slot] = {}
        self.hits: dict[str, dict[tuple[str, ...], Hit]] = {}
        self.size = size
        self._age = age
        self._lock = threading.Lock()
        self.writes = 0
        self._by_key: dict[str, Slot] = {}

    def keep(
        self, key: str, spelling: str, info: CachedSymbolInfo, *, now: float, version: Version, writes: int
    ) -> None:
        """Remember an entry that was read, unless someone in this process has written since.

        Args:
            key: Its storage key.
            spelling: How the caller wrote its symbol.
            info: The entry.
            now: The moment when it was read.
            version: The storage's, before that.
            writes: How many writes of this process there had been before that.
        """
        if not self.size:
            return
        with self._lock:
            if writes != self.writes:
                return
            # Another caller may write the same symbol in another way: both spellings lead to one slot, and go with it.
            old = self._by_key.get(key)
            slot = Slot(info, now, self._age, version)
            slot.spellings = [spelling] if old is None else [*dict.fromkeys((*old.spellings, spelling))]
            self._by_key[key] = slot
            for name in slot.spellings:
                self.slots[name], self.hits[name] = slot, slot.hits
            while len(self.slots) > self.size:
                self._drop(next(iter(self._by_key)))

    def last(self, key: str) -> CachedSymbolInfo | None:
        """The entry under a key, however long ago it was read; for when nothing newer can be had."""
        slot = self._by_key.get(key)
        return None if slot is None else slot.info

    def forget(self, key: str) -> None:
        """Drop an entry under each of its spellings, because someone wrote or deleted it."""
        with self._lock:
            self.writes += 1
            if key in self._by_key:
                self._drop(key)

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self.writes += 1
            for key in list(self._by_key):
                self._drop(key)

    def _drop(self, key: str) -> None:
        for spelling in self._by_key[key].spellings:
            self.slots.pop(spelling, None)
            self.hits.pop(spelling, None)
        # In the end, so that what an interrupt has left is found by its key, and dropped the next time.
        del self._by_key[key]
