"""What a worker process of the contract suites does: it opens a store and works on it, order by order."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..protocols import CanCompact, CanLock, CanSeeOthers, CanUpdate, StorageBackend
from ..registry import Registry

FAR = 4102444800.0
"""A moment to keep an entry until that no test lives to see: the year 2100."""


class Worker:
    """One store, and what can be done with it; each public method is an order.

    An order that gives an iterator acknowledges, as it goes, each thing done.
    """

    def __init__(self) -> None:
        self._store: Any = None
        self._leases: list[Any] = []

    def open(self, backend: str, plugins: Sequence[str], options: Mapping[str, Any], folder: str) -> None:
        """Open a store, in place of the one before."""
        self.close()
        self._store = Registry(plugins).open(backend, options, base_dir=Path(folder), data_dir=Path(folder))

    def close(self) -> None:
        """Close the store; a lease is not released by that."""
        if self._store is not None:
            self._store.close()
        self._store = None

    def read(self, key: str) -> str | None:
        """The entry under a key, as text."""
        entry = self._opened().read(key)
        return None if entry is None else entry.decode()

    def write(self, key: str, entry: str) -> None:
        """Put an entry under a key."""
        self._opened().write(key, entry.encode(), FAR)

    def delete(self, key: str) -> bool:
        """Drop an entry."""
        return self._opened().delete(key)

    def clear(self) -> int:
        """Drop every entry."""
        return self._opened().clear()

    def keys(self) -> list[str]:
        """Every key."""
        return list(self._opened().keys())

    def write_series(self, prefix: str, count: int, compact_every: int = 0) -> Iterator[str]:
        """Write entries under keys of their own, one after another, and compact in between if that is asked for."""
        store = self._opened()
        for number in range(count):
            self.write(f"{prefix}{number}", json.dumps({"from": prefix}))
            if compact_every and number % compact_every == 0 and isinstance(store, CanCompact):
                store.compact()
            yield f"{prefix}{number}"

    def write_again(self, key: str, entry: str, count: int) -> None:
        """Put the same entry under the same key, again and again."""
        for _ in range(count):
            self.write(key, entry)

    def add(self, key: str, count: int) -> None:
        """Raise the number under a key by one, again and again."""
        store = self._opened()
        assert isinstance(store, CanUpdate)
        for _ in range(count):
            store.update(key, lambda entry: (b"%d" % (int(entry or b"0") + 1), FAR))

    def try_lock(self, key: str) -> bool:
        """Take the lease of a key; tells whether it was free."""
        store = self._opened()
        assert isinstance(store, CanLock)
        lease = store.try_lock(key)
        if lease is not None:
            self._leases.append(lease)
        return lease is not None

    def release(self) -> None:
        """Give back every lease."""
        while self._leases:
            self._leases.pop().release()

    def generation(self) -> int:
        """The store's generation."""
        store = self._opened()
        assert isinstance(store, CanSeeOthers)
        return store.generation()

    def _opened(self) -> StorageBackend:
        store: StorageBackend = self._store
        return store


def main() -> None:
    """Carry out each order from standard input until it closes, and say what came of it on standard output."""
    worker = Worker()
    for line in sys.stdin:
        order = json.loads(line)
        try:
            outcome = getattr(worker, order.pop("do"))(**order)
            if isinstance(outcome, Iterator):
                for done in outcome:
                    _say("done", done)
                outcome = None
        except Exception as error:  # noqa: BLE001  # the parent's test fails with whatever happened here
            _say("raised", f"{type(error).__name__}: {error}")
        else:
            _say("gave", outcome)


def _say(what: str, value: object) -> None:
    print(json.dumps([what, value]), flush=True)  # noqa: T201  # this is how a child speaks to its parent
