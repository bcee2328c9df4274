"""A symcache backend in one SQLite file."""

import sqlite3
import threading
from pathlib import Path

from pydantic import BaseModel

from symcache_core import Backend, StorePath, hookimpl
from symcache_core.errors import BackendUnavailableError, ClosedError


class SqliteSettings(BaseModel):
    path: StorePath = Path("{data_dir}/symbols.sqlite")


class SqliteBackend:
    def __init__(self, settings):
        self._lock = threading.Lock()
        try:
            settings.path.parent.mkdir(parents=True, exist_ok=True)
            settings.path.touch(mode=0o600)
        except OSError as error:
            raise BackendUnavailableError(f"{settings.path}: {error}") from error
        self._db = sqlite3.connect(settings.path, timeout=30, isolation_level=None, check_same_thread=False)
        self._run("PRAGMA synchronous = OFF")  # an entry survives kill -9 all the same, and need not survive more
        self._run("CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, entry BLOB, keep_until REAL)")

    def _run(self, statement, *values):
        try:
            with self._lock:
                cursor = self._db.execute(statement, values)
                return cursor.fetchall(), cursor.rowcount
        except sqlite3.Error as error:
            kind = ClosedError if isinstance(error, sqlite3.ProgrammingError) else BackendUnavailableError
            raise kind(f"sqlite: {error}") from error

    def read(self, key):
        return next((entry for (entry,) in self._run("SELECT entry FROM entries WHERE key = ?", key)[0]), None)

    def write(self, key, entry, keep_until):
        self._run("REPLACE INTO entries VALUES (?, ?, ?)", key, entry, keep_until)

    def delete(self, key):
        return self._run("DELETE FROM entries WHERE key = ?", key)[1] > 0

    def keys(self):
        return iter([key for (key,) in self._run("SELECT key FROM entries")[0]])

    def clear(self):
        return self._run("DELETE FROM entries")[1]

    def close(self):
        self._db.close()


@hookimpl
def symcache_backends():
    yield Backend(name="sqlite", settings=SqliteSettings, open=SqliteBackend)
