"""What a worker process of the contract suites does: it opens a store and works on it, order by order."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import SymcacheError
from ..protocols import CanBatch, CanCompact, CanLock, CanSeeOthers, CanUpdate, StorageBackend
from ..registry import Registry
from . import closing, forking
from .forking import FAR
from .metering import Written, metered


class EntryOrders:
    """What can be done with the entries of one store; each public method is an order.

    An order that gives an iterator acknowledges, as it goes, each thing done.
    """

    def __init__(self) -> None:
        self._store: Any = None

    def read(self, key: str) -> str | None:
        """The entry under a key, as text."""
        entry = self._opened().read(key)
        return None if entry is None else entry.decode()

    def write(self, key: str, entry: str, keep_until: float = FAR) -> None:
        """Put an entry under a key."""
        self._opened().write(key, entry.encode(), keep_until)

    def delete(self, key: str) -> bool:
        """Drop an entry."""
        return self._opened().delete(key)

    def clear(self) -> int:
        """Drop every entry."""
        return self._opened().clear()

    def compact(self) -> None:
        """Drop what is over, if the store can."""
        store = self._opened()
        if isinstance(store, CanCompact):
            store.compact()

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

    def stop_in_update(self, key: str) -> None:
        """Say so, and stop, as ``kill -STOP`` does, in the midst of an update."""
        store, has_stopped = self._opened(), list[bool]()
        assert isinstance(store, CanUpdate)

        def change(_entry: bytes | None) -> tuple[bytes, float]:
            if not has_stopped:
                has_stopped.append(True)
                _say("done", "stops")
                os.kill(os.getpid(), signal.SIGSTOP)
            return b'{"stopped":1}', FAR

        store.update(key, change)

    def write_by(self, kind: str) -> None:
        """Write in one of the ways of :func:`kinds_of_write`."""
        dict(kinds_of_write(self._opened()))[kind]()

    def write_batches(self, keys: Sequence[str], entries: Sequence[str], count: int) -> None:
        """Put one entry after another under all keys, a batch each."""
        store = self._opened()
        assert isinstance(store, CanBatch)
        for number in range(count):
            entry = entries[number % len(entries)].encode()
            store.write_many(dict.fromkeys(keys, (entry, FAR)))

    def generation(self) -> int:
        """The store's generation."""
        store = self._opened()
        assert isinstance(store, CanSeeOthers)
        return store.generation()

    def _opened(self) -> StorageBackend:
        store: StorageBackend = self._store
        return store


class Worker(EntryOrders):
    """One store, and all that can be done with it."""

    def __init__(self) -> None:
        super().__init__()
        self._leases: list[Any] = []
        self._written = Written()

    def open(
        self, backend: str, plugins: Sequence[str], options: Mapping[str, Any], folder: str, is_metered: bool = False
    ) -> None:
        """Open a store, in place of the one before."""
        self.close()
        store = Registry(plugins).open(backend, options, base_dir=Path(folder), data_dir=Path(folder))
        self._store = metered(store, self._written) if is_metered else store

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()
        self._store = None

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

    def close_beside(self, how: str, **arguments: Any) -> Any:
        """Close the store while threads use it; see :mod:`.closing`."""
        return getattr(closing, how)(self._opened(), **arguments)

    def release_in_child(self) -> None:
        """Fork a child that gives back every lease that it has inherited, closes the store, and ends."""
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # one that hangs is no longer waited for
            try:
                for lease in self._leases:
                    lease.release()
                self.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)

    def written(self) -> tuple[int, int]:
        """How many entries it has written since it was last asked, and their bytes."""
        return self._written.take()

    def examine(self, written: Mapping[str, str], address: Mapping[str, Any]) -> str | None:
        """Open a store whose files were damaged; gives what is wrong with it, in words, if anything is.

        Args:
            written: What was in it.
            address: As for :meth:`open`.
        """
        record, folder = Registry(address["plugins"]).backend(address["backend"]), Path(address["folder"])
        settings = record.settings.model_validate(address["options"], context={"base_dir": folder, "data_dir": folder})
        try:
            self._store = record.open(settings)  # as it is: nobody turns an error of its driver into one of ours
            return _wrongs(self._opened(), written)
        except SymcacheError:
            return None
        except Exception as error:  # noqa: BLE001  # that it is none of ours is what is wrong
            return f"{type(error).__name__} came out, which is none of symcache_core.errors: {error}"

    def can_lock(self) -> bool:
        """Whether the store has leases."""
        return isinstance(self._opened(), CanLock)

    def fork(self, deed: str) -> str | None:
        """Fork, with the lease of ``held``, and have the child do something; gives what went wrong, in words."""
        store = self._opened()
        if isinstance(store, CanLock) and not self._leases:
            self.try_lock("held")
        return forking.fork(store, deed, *self._leases[:1] or [None])

    def fork_and_close(self) -> str | None:
        """Fork, and close the store, while the child goes on with it; gives what went wrong, in words."""
        return forking.fork_and_close(self._opened())

    def fork_idle(self) -> int:
        """Fork a child that does nothing until it is killed; gives its number."""
        return forking.fork_idle()

    def fork_beside_threads(self) -> str | None:
        """Fork while threads use the store; gives what went wrong, in words."""
        return forking.fork_beside_threads(self._opened())


def kinds_of_write(store: StorageBackend) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each kind of write, all within one tick of a clock that is coarse, and of one size."""
    yield "write", lambda: store.write("key", b"[1]", FAR)
    yield "write right after another one, of the same size", lambda: store.write("key", b"[2]", FAR)
    yield "write of what is there already", lambda: store.write("key", b"[2]", FAR)
    if isinstance(store, CanUpdate):
        yield "update", lambda: store.update("key", lambda _entry: (b"[3]", FAR))
    if isinstance(store, CanBatch):
        yield "write_many", lambda: store.write_many({"key": (b"[4]", FAR)})
    yield "write of another key", lambda: store.write("key2", b"[5]", FAR)
    yield "delete", lambda: store.delete("key")
    yield "clear", store.clear


def _wrongs(store: StorageBackend, written: Mapping[str, str]) -> str | None:
    """What a store that opens in spite of damage does wrong."""
    for key, entry in written.items():
        with suppress(SymcacheError):
            if (found := store.read(key)) not in (None, entry.encode()):
                return f"damage passed for an entry: {found!r:.80}"
    if not set(store.keys()) <= set(written):
        return "damage passed for a key"
    store.write("after", b"{}", FAR)
    return None if store.read("after") == b"{}" else "a store that opens in spite of it takes no new entries"


def main() -> None:
    """Carry out each order from standard input until it closes, and say what came of it on standard output."""
    logging.getLogger("symcache").addHandler(logging.NullHandler())  # else what is logged would be printed
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
