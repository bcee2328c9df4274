"""Entries that a lookup can rely on: behind a circuit breaker, and written later if they cannot be written now."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice

from . import policy as rules
from .breaker import Breaker
from .entry_store import EntryStore, Merge
from .errors import BackendError
from .models import CachedSymbolInfo
from .policy import Policy
from .protocols import Clock

log = logging.getLogger("symcache")

MAX_UNWRITTEN = 100_000
"""How many entries wait at most for the storage to come back."""

_AT_ONCE = 100
"""How many of them one lookup writes."""


class Storage:
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
        self._breaker = Breaker(clock, retry)
        self._lock = threading.Lock()
        self._unwritten: dict[str, CachedSymbolInfo] = {}

    @property
    def error(self) -> Exception | None:
        """Why the storage is left alone, while it is."""
        return self._breaker.error

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
        if not self._breaker.allows():
            return unwritten or known
        try:
            stored = self._entries.read(key)
        except BackendError as error:
            self._failed(error)
            return unwritten or known
        self._works()
        return stored if unwritten is None else rules.reconcile(stored, unwritten, self._policy)

    def find_many(self, keys: Sequence[str]) -> dict[str, CachedSymbolInfo]:
        """The entries under those of the keys that have one; none while the storage is out of reach."""
        if not self._breaker.allows():
            return {}
        try:
            found = self._entries.read_many(keys)
        except BackendError as error:
            self._failed(error)
            return {}
        self._works()
        for key in self._unwritten.keys() & set(keys):
            with suppress(KeyError):  # written in between
                found[key] = rules.reconcile(found.get(key), self._unwritten[key], self._policy)
        return found

    def keep(self, key: str, merge: Merge, known: CachedSymbolInfo | None) -> CachedSymbolInfo:
        """Put a merged entry in place of the one that was there, now or as soon as it is possible; never fails.

        Args:
            key: Where.
            merge: What to make of the entry that was there.
            known: What this process remembers of it, for when the storage is out of reach.
        """
        if self._breaker.allows():
            try:
                return self.change(key, merge)
            except BackendError:
                pass  # reported, and tried again later
        with self._lock:
            merged = merge(self._unwritten.pop(key, known))
            if len(self._unwritten) < MAX_UNWRITTEN:
                self._unwritten[key] = merged
            else:
                log.warning("symbol cache loses %s: %d entries wait for the storage already", key, MAX_UNWRITTEN)
            return merged

    def change(self, key: str, merge: Merge) -> CachedSymbolInfo:
        """Put a merged entry in place of the one that was there.

        Raises:
            BackendError: The storage did not take it, and it is not kept for later.
        """
        try:
            if key in self._unwritten:
                self._write_late(key)
            info = self._entries.change(key, merge, self._keep_until)
        except BackendError as error:
            self._failed(error)
            raise
        self._works()
        return info

    def delete(self, key: str) -> bool:
        """Drop one entry; tells whether it was there.

        Raises:
            BackendError: The storage did not do it.
        """
        unwritten = self._unwritten.pop(key, None) is not None
        return self._entries.delete(key) or unwritten

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
            unwritten = set(self._unwritten)
            self._unwritten.clear()
        stored = set(self._entries.keys())
        return self._entries.clear() + len(unwritten - stored)

    def count(self) -> int:
        """How many entries there are; while the storage is out of reach, how many wait for it."""
        try:
            return sum(1 for _ in self.keys())
        except BackendError as error:
            self._failed(error)
            return self.unwritten

    def settle(self) -> None:
        """Write all that waits, before the end; what the storage still refuses is lost, and said to be."""
        try:
            for key in list(self._unwritten):
                self._write_late(key)
        except BackendError as error:
            log.warning("symbol cache loses %d validated symbols, not written: %s", self.unwritten, error)

    def _works(self) -> None:
        self._breaker.succeeded()
        if self._unwritten:
            with self._lock:
                keys = list(islice(self._unwritten, _AT_ONCE))
            try:
                for key in keys:
                    self._write_late(key)
            except BackendError as error:
                self._failed(error)

    def _write_late(self, key: str) -> None:
        with self._lock:
            late = self._unwritten.get(key)
            if late is None:
                return

            self._entries.change(key, lambda stored: rules.reconcile(stored, late, self._policy), self._keep_until)
            del self._unwritten[key]

    def _keep_until(self, info: CachedSymbolInfo) -> float:
        # The storage goes by the machine's clock, whatever clock decides freshness here.
        return time.time() + rules.keep_until(info, self._policy) - self._clock()

    def _failed(self, error: BackendError) -> None:
        if self._breaker.failed(error):
            log.warning("symbol cache works without its storage: %s", error)
