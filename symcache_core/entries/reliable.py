"""Entries that a lookup can rely on: behind a circuit breaker, and written later if they cannot be written now.

Catching up, when a storage is back: what could not be written waits in memory, by key. Each successful read writes some
of it, one thread at a time, so that no lookup pays for all of it. An entry leaves the queue only after it was written,
and the lock is held meanwhile, so that a newer answer for the same key cannot slip in between and be lost. What the
storage has got from others in the meantime is not overwritten but reconciled: the later answer wins, for each timeframe
by itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from .. import policy as rules
from ..concurrency.breaker import Breaker
from ..errors import BackendError
from ..merging import reconcile
from ..models import CachedSymbolInfo
from ..policy import Policy
from ..protocols import Clock
from .store import EntryStore, Merge

T = TypeVar("T")

log = logging.getLogger("symcache")

MAX_UNWRITTEN = 100_000
"""How many entries wait at most for the storage to come back."""

_AT_ONCE = 100
"""How many of them one lookup writes."""


class ReliableStore:
    """The entries of one provider in a storage that may fail.

    Args:
        entries: Where they are.
        policy: How long answers live.
        clock: Seconds since the epoch.
        retry: Seconds for which a failed storage is left alone.
    """

    def __init__(self, entries: EntryStore, policy: Policy, clock: Clock, retry: float) -> None:
        self._entries = entries
        self._policy = policy
        self._clock = clock
        # A storage that is full, or a replica, can be read all the same.
        self._reading = Breaker(clock, retry)
        self._writing = Breaker(clock, retry)
        self._lock = threading.Lock()
        self._catching_up = threading.Lock()
        self._unwritten: dict[str, CachedSymbolInfo] = {}

    @property
    def error(self) -> Exception | None:
        """Why the storage is left alone, while it is."""
        return self._reading.error or self._writing.error

    @property
    def unwritten(self) -> int:
        """How many entries wait for the storage to come back."""
        return len(self._unwritten)

    def find(self, key: str, known: CachedSymbolInfo | None = None) -> CachedSymbolInfo | None:
        """The entry under a key; never fails.

        Args:
            key: Where.
            known: What this process remembers, for when the storage is out of reach.
        """
        unwritten = self._unwritten.get(key)
        if (answer := self._asked(lambda: self._entries.read(key))) is None:
            return unwritten or known
        (stored,) = answer
        self._catch_up()
        return stored if unwritten is None else self._reconciled(stored, unwritten)

    def find_many(self, keys: Sequence[str]) -> dict[str, CachedSymbolInfo]:
        """The entries under those of the keys that have one; none while the storage is out of reach."""
        if (answer := self._asked(lambda: self._entries.read_many(keys))) is None:
            return {}
        (found,) = answer
        for key in keys if self._unwritten else ():
            if (unwritten := self._unwritten.get(key)) is not None:
                found[key] = self._reconciled(found.get(key), unwritten)
        self._catch_up()
        return found

    def keep(self, key: str, merge: Merge, known: CachedSymbolInfo | None) -> CachedSymbolInfo:
        """Put a merged entry in place of the one that was there, now or as soon as it is possible; never fails.

        Args:
            key: Where.
            merge: What to make of the entry that was there.
            known: What this process remembers of it, for when the storage is out of reach.
        """
        if self._writing.allows():
            try:
                return self.change(key, merge)
            except BackendError:
                pass  # reported, and tried again later
        with self._lock:
            merged = merge(self._unwritten.pop(key, known))
            if len(self._unwritten) < MAX_UNWRITTEN:
                self._unwritten[key] = merged
                return merged
        log.warning("symbol cache loses %s: %d entries wait for the storage already", key, MAX_UNWRITTEN)
        return merged

    def change(self, key: str, merge: Merge) -> CachedSymbolInfo:
        """Put a merged entry in place of the one that was there.

        Raises:
            BackendError: The storage did not take it, and it is not kept for later.
        """
        try:
            if key in self._unwritten:
                self._write_late(key)  # first, so that the merge sees what this process learned before
            info = self._entries.change(key, merge, self._keep_until)
        except BackendError as error:
            self._failed(self._writing, error)
            raise
        self._writing.succeeded()
        return info

    def delete(self, key: str) -> bool:
        """Drop one entry; tells whether it was there.

        Raises:
            BackendError: The storage did not do it.
        """
        with self._lock:
            there = self._entries.delete(key)
            return self._unwritten.pop(key, None) is not None or there

    def keys(self) -> Iterator[str]:
        """The key of every entry.

        Raises:
            BackendError: The storage cannot be read.
        """
        unwritten = set(self._unwritten)
        for key in self._entries.keys():
            unwritten.discard(key)
            yield key
        yield from unwritten

    def clear(self) -> int:
        """Drop every entry; tells how many there were.

        Raises:
            BackendError: The storage did not do it.
        """
        with self._lock:
            waiting = self._unwritten.keys() - set(self._entries.keys())
            count = self._entries.clear() + len(waiting)
            self._unwritten.clear()
            return count

    def count(self) -> int:
        """How many entries there are; while the storage is out of reach, how many wait for it."""
        count = self._asked(lambda: sum(1 for _ in self.keys()))
        return self.unwritten if count is None else count[0]

    def size(self) -> int | None:
        """How many bytes the storage takes; ``None`` while it is out of reach, or if it does not know."""
        size = None if self._entries.size is None else self._asked(self._entries.size)
        return None if size is None else size[0]

    def settle(self) -> None:
        """Write all that waits, before the end; what the storage still refuses is lost, and said to be."""
        try:
            for key in list(self._unwritten):
                self._write_late(key)
        except BackendError as error:
            log.warning("symbol cache loses %d validated symbols, not written: %s", self.unwritten, error)

    def _asked(self, ask: Callable[[], T]) -> tuple[T] | None:
        """What the storage answers; ``None`` while it is out of reach."""
        if not self._reading.allows():
            return None
        try:
            answer = ask()
        except BackendError as error:
            self._failed(self._reading, error)
            return None
        self._reading.succeeded()
        return (answer,)

    def _catch_up(self) -> None:
        """Write some of what waits, unless another thread is at it."""
        if not self._unwritten or not self._catching_up.acquire(blocking=False):
            return
        try:
            if self._writing.allows():
                with self._lock:
                    keys = list(islice(self._unwritten, _AT_ONCE))
                for key in keys:
                    self._write_late(key)
                self._writing.succeeded()
        except BackendError as error:
            self._failed(self._writing, error)
        finally:
            self._catching_up.release()

    def _write_late(self, key: str) -> None:
        with self._lock:
            late = self._unwritten.get(key)
            if late is None:
                return

            self._entries.change(key, lambda stored: self._reconciled(stored, late), self._keep_until)
            del self._unwritten[key]

    def _reconciled(self, stored: CachedSymbolInfo | None, late: CachedSymbolInfo) -> CachedSymbolInfo:
        return reconcile(stored, late, self._clock(), self._policy)

    def _keep_until(self, info: CachedSymbolInfo) -> float:
        # The storage goes by the machine's clock, whatever clock decides freshness here.
        return time.time() + rules.keep_until(info, self._policy) - self._clock()

    def _failed(self, breaker: Breaker, error: BackendError) -> None:
        was_well = self.error is None
        breaker.failed(error)
        if was_well:
            log.warning("symbol cache works without its storage: %s", error)
