"""Every call that a store takes, by name, for promises that are about all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..protocols import CanBatch, CanCompact, CanLock, CanSeeOthers, CanSize, CanTellHolder, CanUpdate, StorageBackend
from .forking import FAR


def every_call(store: StorageBackend) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each method of a store, called in a way that is right."""
    yield "write", lambda: store.write("key", b"{}", FAR)
    yield "read", lambda: (store.read("key"), store.read("unknown"))
    yield "keys", lambda: list(store.keys())
    yield "keys, left after the first one", lambda: next(store.keys(), None)
    if isinstance(store, CanUpdate):
        yield "update", lambda: store.update("key", lambda _entry: (b"[]", FAR))
        yield "update of None", lambda: store.update("key", lambda _entry: None)
    if isinstance(store, CanBatch):
        yield "write_many", lambda: store.write_many({"key": (b"{}", FAR), "other": (b"{}", FAR)})
        yield "read_many", lambda: store.read_many(["key", "other", "unknown"])
    if isinstance(store, CanLock):
        yield "try_lock and release", lambda: _lock(store)
    if isinstance(store, CanTellHolder):
        yield "lease_holder", lambda: store.lease_holder("key")
    if isinstance(store, CanSeeOthers):
        yield "generation", store.generation
    if isinstance(store, CanSize):
        yield "size", store.size
    if isinstance(store, CanCompact):
        yield "compact", store.compact
    yield "delete", lambda: store.delete("key")
    yield "clear", store.clear


def _lock(store: CanLock) -> None:
    """Take a lease, be refused it, and give it back."""
    lease, refused = store.try_lock("key"), store.try_lock("key")
    for one in (lease, refused):
        if one is not None:
            one.release()
