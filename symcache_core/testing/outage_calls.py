"""What can be called on a store that has the entry ``known``, by whether it reads, writes or does neither."""

from __future__ import annotations

from ..protocols import (
    CanBatch,
    CanBeReadOnly,
    CanBeWatched,
    CanCompact,
    CanLock,
    CanSeeOthers,
    CanSize,
    CanTellHolder,
    CanUpdate,
    StorageBackend,
)
from .harness import FAR
from .watching import Calls


def readings(store: StorageBackend) -> Calls:
    """Calls that give what is stored."""
    calls: Calls = [
        ("read", lambda: store.read("known")),
        ("read of an unknown key", lambda: store.read("unknown")),
        ("keys", lambda: list(store.keys())),
    ]
    if isinstance(store, CanBatch):
        calls.append(("read_many", lambda: store.read_many(["known", "unknown"])))
    return calls


def writings(store: StorageBackend) -> Calls:
    """Calls that change what is stored; the first two of entries leave one of their own name."""
    calls: Calls = [
        ("write", lambda: store.write("write", b"{}", FAR)),
        ("delete", lambda: store.delete("unknown")),
        ("clear", store.clear),
    ]
    if isinstance(store, CanBatch):
        calls.append(("write_many", lambda: store.write_many({"write_many": (b"{}", FAR)})))
    if isinstance(store, CanUpdate):
        calls.append(("update", lambda: store.update("update", lambda _entry: (b"{}", FAR))))
    return calls


def calls(store: StorageBackend) -> Calls:
    """Every method but ``close``."""
    calls = [*readings(store), *writings(store), *locking(store)]
    if isinstance(store, CanSeeOthers):
        calls.append(("generation", store.generation))
    if isinstance(store, CanBeWatched):
        calls.append(("word", store.word))
    if isinstance(store, CanTellHolder):
        calls.append(("lease_holder", lambda: store.lease_holder("key")))
    if isinstance(store, CanSize):
        calls.append(("size", store.size))
    if isinstance(store, CanCompact):
        calls.append(("compact", store.compact))
    if isinstance(store, CanBeReadOnly):
        calls.append(("read_only", store.read_only))
    return calls


def locking(store: StorageBackend) -> Calls:
    """Taking a lease and giving it back, if the store has leases."""
    if not isinstance(store, CanLock):
        return []

    def lock() -> object:
        lease = store.try_lock("key")
        if lease is not None:
            lease.release()
        return lease

    return [("try_lock", lock)]
