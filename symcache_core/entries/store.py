"""Entries in a backend: decoded when read, merged when written, and never lost to one that cannot be understood."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

from ..concurrency.locks import KeyLocks
from ..errors import CorruptEntryError, NewerSchemaError
from ..models import CachedSymbolInfo
from ..protocols import FOREVER, CanBatch, CanBeReadOnly, CanSize, CanUpdate, StorageBackend
from ..symbols import MAX_KEY_BYTES
from . import codec

log = logging.getLogger("symcache")

Merge = Callable[[CachedSymbolInfo | None], CachedSymbolInfo]
"""Makes, of the entry that was there, the one to keep."""

KeepUntil = Callable[[CachedSymbolInfo], float]
"""Tells until when the storage has to keep an entry, in seconds since the epoch."""


Change = Callable[[bytes | None], tuple[bytes, float] | None]
"""Makes, of the bytes that were there, those to keep and until when; ``None`` leaves them as they are."""


def update_of(backend: StorageBackend) -> Callable[[str, Change], None]:
    """The backend's atomic read-modify-write, or one that keeps but the threads that share it apart."""
    if isinstance(backend, CanUpdate):
        return backend.update
    locks = KeyLocks()

    def read_and_write(key: str, change: Change) -> None:
        with locks.of(key):
            written = change(backend.read(key))
            if written is not None:
                backend.write(key, *written)

    return read_and_write


def read_many_of(backend: StorageBackend) -> Callable[[Sequence[str]], Mapping[str, bytes]]:
    """The backend's way to read many entries at once, or one after the other."""
    if isinstance(backend, CanBatch):
        return backend.read_many
    return lambda keys: {key: line for key in keys if (line := backend.read(key)) is not None}


def read_only_of(backend: StorageBackend) -> str | None:
    """Why a storage takes no writes, as far as it says so."""
    return backend.read_only() if isinstance(backend, CanBeReadOnly) else None


class EntryStore:
    """The entries of one provider.

    ``size`` tells how many bytes the whole storage takes, where it can; it raises a ``BackendError`` as the methods do.
    ``can_batch`` tells whether many entries cost little more than one.

    Args:
        backend: Where they are.
        prefix: What their keys begin with.
    """

    def __init__(self, backend: StorageBackend, prefix: str) -> None:
        self._backend = backend
        self._prefix = prefix
        self._update = update_of(backend)
        self._read_many = read_many_of(backend)
        self.can_batch = isinstance(backend, CanBatch)
        self.size = backend.size if isinstance(backend, CanSize) else None

    def read(self, key: str) -> CachedSymbolInfo | None:
        """The entry under a key; one that cannot be understood counts as none.

        Raises:
            BackendError: The storage cannot be reached.
        """
        line = self._backend.read(key)
        return None if line is None else _decoded(key, line)

    def read_many(self, keys: Sequence[str]) -> dict[str, CachedSymbolInfo]:
        """The entries under those of the keys that have one that can be understood.

        Raises:
            BackendError: The storage cannot be reached.
        """
        entries = {key: _decoded(key, line) for key, line in self._read_many(keys).items()}
        return {key: entry for key, entry in entries.items() if entry is not None}

    def change(self, key: str, merge: Merge, keep_until: KeepUntil) -> CachedSymbolInfo:
        """Put a merged entry in place of the one that was there, with nobody in between.

        Between processes that holds where the backend has an atomic update. An entry of a newer schema stays as it
        is; the bytes of one that cannot be understood are kept under a key of their own.

        Raises:
            BackendError: The storage cannot be reached.
        """
        info, spoiled = self.replace(key, merge, keep_until)
        self.set_aside(key, spoiled)
        return info

    def replace(self, key: str, merge: Merge, keep_until: KeepUntil) -> tuple[CachedSymbolInfo, bytes | None]:
        """The same, but for what cannot be understood: that is given to the caller, to be set aside.

        Nothing is logged by it, so that the caller may have a lock meanwhile.

        Raises:
            BackendError: The storage cannot be reached.
        """
        made: list[CachedSymbolInfo] = []
        spoiled: list[bytes] = []

        def apply(line: bytes | None) -> tuple[bytes, float] | None:
            made.clear()
            spoiled.clear()
            old = None
            try:
                old = None if line is None else codec.decode(key, line)
            except NewerSchemaError:
                made.append(merge(None))
                return None
            except CorruptEntryError:
                spoiled.append(line or b"")
            new = merge(old)
            made.append(new)
            return codec.encode(key, new), keep_until(new)

        self._update(key, apply)
        return made[0], spoiled[0] if spoiled else None

    def set_aside(self, key: str, line: bytes | None) -> None:
        """Keep the bytes, if there are any, of an entry that could not be understood.

        Raises:
            BackendError: The storage cannot be reached.
        """
        if line is None:
            return
        name = _aside(key)
        log.warning("symbol cache entry %s could not be understood; its bytes are kept under %s", key, name)
        aside = json.dumps({"corrupt": base64.b64encode(line).decode()}).encode()
        self._backend.write(name, aside, FOREVER)

    def delete(self, key: str) -> bool:
        """Drop one entry; tells whether it was there."""
        return self._backend.delete(key)

    def keys(self) -> Iterator[str]:
        """The key of every entry of this provider."""
        return (key for key in self._backend.keys() if key.startswith(self._prefix))

    def clear(self) -> int:
        """Drop every entry of this provider; tells how many there were."""
        return sum(self._backend.delete(key) for key in list(self.keys()))


def _aside(key: str) -> str:
    """Where to keep what an entry was; a key that has no room for the prefix has its hash there."""
    name = f"@corrupt|{key}"
    return name if len(name) <= MAX_KEY_BYTES else f"@corrupt|{hashlib.sha256(key.encode()).hexdigest()}"


def _decoded(key: str, line: bytes) -> CachedSymbolInfo | None:
    try:
        return codec.decode(key, line)
    except (CorruptEntryError, NewerSchemaError) as error:
        log.warning("symbol cache entry ignored: %s", error)
        return None
