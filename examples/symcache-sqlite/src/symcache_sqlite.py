"""A symcache backend in one SQLite file."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from symcache_core import Backend, StorePath, hookimpl
from symcache_core.errors import BackendUnavailableError, ClosedError, ConfigurationError


class SqliteSettings(BaseModel):
    """The options, which configuration has under ``backends.sqlite``."""

    path: StorePath = Path("{data_dir}/symbols.sqlite")


class SqliteBackend:
    """The storage. The core calls its methods from several threads and processes at once."""

    def __init__(self, settings: SqliteSettings) -> None:
        self._path = settings.path
        self._is_closed = False
        if self._path.is_dir():
            raise ConfigurationError(f"{self._path} is a folder: name a file in it")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
        except OSError as error:
            raise BackendUnavailableError(f"{self._path}: {error}") from error
        self._connections: dict[int, sqlite3.Connection] = {}
        self._lock = threading.Lock()
        # SQLite must not be forked in the midst of a statement: so a fork waits for it.
        release = self._lock.release
        os.register_at_fork(before=self._lock.acquire, after_in_parent=release, after_in_child=release)
        self._run("CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, entry BLOB, keep_until REAL)")

    def read(self, key: str) -> bytes | None:
        return next((entry for (entry,) in self._run("SELECT entry FROM entries WHERE key = ?", key)[0]), None)

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        self._run("REPLACE INTO entries VALUES (?, ?, ?)", key, entry, keep_until)

    def delete(self, key: str) -> bool:
        return self._run("DELETE FROM entries WHERE key = ?", key)[1] > 0

    def keys(self) -> Iterator[str]:
        return iter([key for (key,) in self._run("SELECT key FROM entries")[0]])

    def clear(self) -> int:
        return self._run("DELETE FROM entries")[1]

    def close(self) -> None:
        self._is_closed = True
        with self._lock:  # SQLite crashes when a connection is closed that another thread is using
            if os.getpid() in self._connections:
                self._connection().close()

    def _run(self, statement: str, *values: object) -> tuple[list[tuple[Any, ...]], int]:
        """The rows that a statement gives, and how many it changed; no error comes out but symcache's own."""
        try:
            with self._lock:
                if self._is_closed:
                    raise ClosedError(f"{self._path} is closed")
                cursor = self._connection().execute(statement, values)
                return cursor.fetchall(), cursor.rowcount
        except sqlite3.Error as error:
            raise BackendUnavailableError(f"{self._path}: {error}") from error

    def _connection(self) -> sqlite3.Connection:
        """This process's own: a forked child neither uses nor closes what it has inherited."""
        if os.getpid() not in self._connections:
            db = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
            db.execute("PRAGMA synchronous = OFF")  # an entry survives kill -9 all the same, and need not survive more
            self._connections[os.getpid()] = db
        return self._connections[os.getpid()]


@hookimpl
def symcache_backends() -> Iterator[Backend]:
    yield Backend(name="sqlite", settings=SqliteSettings, open=SqliteBackend)
