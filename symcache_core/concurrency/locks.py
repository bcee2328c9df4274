"""A lock for each key, so that what is slow for one key holds up no other."""

from __future__ import annotations

import threading
from weakref import WeakValueDictionary


class KeyLocks:
    """Locks by key, each there for as long as somebody has it.

    A thread may take a lock that it has already: a logging handler may use the cache that has just logged.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: WeakValueDictionary[str, threading.RLock] = WeakValueDictionary()

    def of(self, key: str) -> threading.RLock:
        """The lock of a key, for a ``with`` statement."""
        with self._lock:
            lock = self._locks.get(key)
            if lock is None:
                lock = self._locks[key] = threading.RLock()
            return lock
