"""A store as a place to take entries from, or to put them in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any

from ..entries.items import Found, Unreadable, understood
from ..entries.store import read_many_of
from ..errors import ConfigurationError
from ..factory import open_backend
from ..protocols import StorageBackend
from ..registry import Registry
from ..settings import SymcacheSettings
from ..symbols import key_prefix

BATCH = 500
"""How many entries are read at once."""

RECORD = "@"
"""What the keys of records that are no entries begin with: counters, and bytes that were set aside."""


def open_store(settings: SymcacheSettings, name: str, options: Mapping[str, Any] | None = None) -> StorageBackend:
    """Open a backend that keeps what is put into it.

    Args:
        settings: Have the plug-ins and the configured options.
        name: The backend's name.
        options: What goes before the configured ones.

    Raises:
        ConfigurationError: The name or an option is wrong, or the backend keeps nothing beyond this process.
        BackendError: The storage cannot be opened.
    """
    if not Registry(settings.plugins).backend(name).persistent:
        raise ConfigurationError(f"backend {name!r} keeps nothing beyond this process; name another one")
    return open_backend(settings, name, options)


class StoredEntries(Collection[Found]):
    """The entries that are in a store when this is made, in the order of their keys; read as they are needed.

    Counters and other records of symcache's own are no entries: each store has its own.

    ``keys`` are their storage keys.

    Args:
        store: Where.
        provider: Whose; every provider's when left out.
    """

    def __init__(self, store: StorageBackend, provider: str | None = None) -> None:
        prefix = "" if provider is None else key_prefix(provider)
        self._store = store
        self.keys = sorted(key for key in store.keys() if key.startswith(prefix) and not key.startswith(RECORD))

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, found: object) -> bool:
        return any(found == each for each in self)

    def __iter__(self) -> Iterator[Found]:
        for key, line in lines_of(self._store, self.keys):
            if line is None:
                yield Unreadable(key, "its storage does not give it back: it was dropped, or is damaged and set aside")
            else:
                yield understood(key, line)


def lines_of(store: StorageBackend, keys: Collection[str]) -> Iterator[tuple[str, bytes | None]]:
    """The bytes under each key, ``None`` where there are none."""
    read_many, rest = read_many_of(store), iter(keys)
    while batch := list(islice(rest, BATCH)):
        lines = read_many(batch)
        yield from ((key, lines.get(key)) for key in batch)
