"""Keeps entries in a diskcache folder (SQLite), shared by processes; bytes only, never pickle."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import DBNAME, DEFAULT_SETTINGS, MODE_BINARY, MODE_RAW, UNKNOWN
from pydantic import BaseModel, ConfigDict, Field

from symcache_core.errors import (
    BackendUnavailableError,
    ClosedError,
    CorruptEntryError,
    CorruptStoreError,
)
from symcache_core.plugin import Backend, StorePath, hookimpl


class DiskSettings(BaseModel):
    """The options of the diskcache backend."""

    model_config = ConfigDict(extra="forbid")

    path: StorePath = Field(Path("{data_dir}/symbols.diskcache"), description="the folder")
    timeout: float = Field(10.0, gt=0, description="seconds to wait for another process's transaction")


class BytesDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Stores bytes under text, and refuses a row of any other kind, whoever wrote it.

    diskcache unpickles rows that are marked as pickled, whatever its settings (CVE-2025-69872), so whoever could write
    to the folder could run code here.
    """

    def put(self, key: Any) -> tuple[Any, bool]:
        """Take a key as it is."""
        return key, True

    def get(self, key: Any, raw: bool) -> Any:
        """Give a key back if it is text, else ``None``."""
        return key if raw and isinstance(key, str) else None

    def store(self, value: Any, read: bool, key: Any = UNKNOWN) -> Any:
        """Store bytes, in the database or, when long, in a file."""
        if not isinstance(value, bytes):
            raise TypeError(f"a {type(value).__name__} is not bytes")
        return super().store(value, read, key=key)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> bytes:
        """Fetch bytes, never anything else, and never from outside the folder."""
        if mode not in (MODE_RAW, MODE_BINARY):
            raise CorruptEntryError("a row of the diskcache folder is not plain bytes; refused")
        if filename is not None:
            folder = Path(self._directory).resolve()
            if not (folder / filename).resolve().is_relative_to(folder):
                raise CorruptEntryError("a row of the diskcache folder points outside it; refused")
            mode = MODE_BINARY
        elif not isinstance(value, bytes):
            raise CorruptEntryError("a row of the diskcache folder is not plain bytes; refused")
        return bytes(super().fetch(mode, filename, value, read))


class _Cache(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """A cache that closes the connections of all its threads, where diskcache closes the calling thread's alone."""

    def __init__(self, directory: str, **settings: Any) -> None:
        self._pid = os.getpid()
        self._connections: list[sqlite3.Connection] = []
        self._inherited: list[sqlite3.Connection] = []
        try:
            super().__init__(directory, **settings)
        except BaseException:
            self.close()
            raise

    @property
    def _con(self) -> sqlite3.Connection:
        if self._pid != os.getpid():
            # The parent's connections must not be used in a forked child, nor closed there.
            self._inherited, self._connections = self._connections, []
            self._pid, self._local = os.getpid(), threading.local()
        con: sqlite3.Connection | None = getattr(self._local, "con", None)
        if con is None:
            con = self._local.con = self._connect()
        return con

    def _connect(self) -> sqlite3.Connection:
        con = sqlite3.connect(
            Path(self.directory) / DBNAME, timeout=self.timeout, isolation_level=None, check_same_thread=False
        )
        self._connections.append(con)
        for pragma in ("cache_size", "mmap_size", "synchronous"):  # what SQLite keeps for each connection
            con.execute(f"PRAGMA {pragma} = {DEFAULT_SETTINGS[f'sqlite_{pragma}']}")
        return con

    def close(self) -> None:
        self._local = threading.local()
        while self._connections:
            self._connections.pop().close()


class DiskBackend:
    """A ``diskcache.Cache`` that holds lines of JSON as bytes.

    Raises:
        BackendUnavailableError: The folder cannot be made or written.
        CorruptStoreError: There is a database, and it is damaged.
    """

    def __init__(self, settings: DiskSettings) -> None:
        self._path = settings.path
        self._closed = False
        with self._mapped():
            settings.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Eviction stays off: only keep_until, clear and delete may drop an entry.
            self._cache = _Cache(
                str(settings.path), timeout=settings.timeout, disk=BytesDisk, eviction_policy="none", cull_limit=0
            )
            os.chmod(settings.path / "cache.db", 0o600)

    def read(self, key: str) -> bytes | None:
        """The entry under a key; a refused row counts as none."""
        with self._mapped():
            try:
                entry: bytes | None = self._cache.get(key)
            except CorruptEntryError:
                return None
            return entry

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        """Put an entry under a key."""
        with self._mapped():
            self._set(key, entry, keep_until)

    def update(self, key: str, change: Callable[[bytes | None], tuple[bytes, float] | None]) -> None:
        """Replace an entry by what ``change`` makes of it, in one transaction."""
        with self._mapped(), self._cache.transact():
            changed = change(self.read(key))
            if changed is not None:
                self._set(key, *changed)

    def delete(self, key: str) -> bool:
        """Drop the entry under a key."""
        with self._mapped():
            return bool(self._cache.delete(key))

    def keys(self) -> Iterator[str]:
        """Every key there is at this moment."""
        with self._mapped():
            return iter([key for key in self._cache.iterkeys() if key is not None])

    def clear(self) -> int:
        """Drop every entry."""
        with self._mapped():
            return int(self._cache.clear())

    def close(self) -> None:
        """Close the database."""
        if not self._closed:
            self._closed = True
            self._cache.close()

    def _set(self, key: str, entry: bytes, keep_until: float) -> None:
        self._cache.set(key, entry, expire=keep_until - time.time())

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        if self._closed:
            raise ClosedError(f"the diskcache backend at {self._path} is closed")
        try:
            yield
        except (diskcache.Timeout, sqlite3.OperationalError, OSError) as error:
            raise BackendUnavailableError(
                f"diskcache folder {self._path} (setting 'backends.diskcache.path'): {error or type(error).__name__}"
            ) from error
        except sqlite3.DatabaseError as error:
            raise CorruptStoreError(
                f"diskcache folder {self._path} (setting 'backends.diskcache.path') is damaged: {error}; "
                "move it away to start anew"
            ) from error


@hookimpl
def symcache_backends() -> Iterable[Backend]:
    """Register the backend ``diskcache``."""
    yield Backend(name="diskcache", settings=DiskSettings, open=DiskBackend)
