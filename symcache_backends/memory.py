"""Keeps entries in this process, at most so many: the least recently used goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

from pydantic import BaseModel, ConfigDict, Field

from symcache_core.concurrency.forks import told_in_children
from symcache_core.errors import ClosedError
from symcache_core.plugin import Backend, hookimpl


class MemorySettings(BaseModel):
    """The options of the memory backend."""

    model_config = ConfigDict(extra="forbid")

    max_entries: int = Field(100_000, ge=1, description="how many entries to keep")


class MemoryBackend:
    """A bounded, thread-safe dict."""

    def __init__(self, settings: MemorySettings) -> None:
        self._max_entries = settings.max_entries
        self._unlock()
        told_in_children(self._unlock)
        self._entries: OrderedDict[str, bytes] | None = OrderedDict()

    def _unlock(self) -> None:
        """Begin with a free lock: a forked child lacks the thread that may have held it."""
        self._lock = threading.Lock()

    def read(self, key: str) -> bytes | None:
        """The entry under a key."""
        with self._lock:
            entries = self._open()
            entry = entries.get(key)
            if entry is not None:
                entries.move_to_end(key)
            return entry

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        """Put an entry under a key; the least recently used one makes room."""
        with self._lock:
            self._put(key, entry)

    def update(self, key: str, change: Callable[[bytes | None], tuple[bytes, float] | None]) -> None:
        """Replace an entry by what ``change`` makes of it."""
        with self._lock:
            changed = change(self._open().get(key))
            if changed is not None:
                self._put(key, changed[0])

    def delete(self, key: str) -> bool:
        """Drop the entry under a key."""
        with self._lock:
            return self._open().pop(key, None) is not None

    def keys(self) -> Iterator[str]:
        """Every key there is at this moment."""
        with self._lock:
            return iter(list(self._open()))

    def clear(self) -> int:
        """Drop every entry."""
        with self._lock:
            entries = self._open()
            count = len(entries)
            entries.clear()
            return count

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries = None

    def _put(self, key: str, entry: bytes) -> None:
        entries = self._open()
        entries[key] = bytes(entry)
        entries.move_to_end(key)
        if len(entries) > self._max_entries:
            entries.popitem(last=False)

    def _open(self) -> OrderedDict[str, bytes]:
        if self._entries is None:
            raise ClosedError("this memory backend is closed")
        return self._entries


@hookimpl
def symcache_backends() -> Iterable[Backend]:
    """Register the backend ``memory``."""
    yield Backend(name="memory", settings=MemorySettings, open=MemoryBackend, persistent=False)
