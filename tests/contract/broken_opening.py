"""Backends that do not open, close, or open again as they should.

The docstring of each is its one defect; ``caught_by`` names the test of the contract that catches it.
"""

import os
import sqlite3
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from reference_backends import FileLease, MemoryStore, SqliteStore, mutants_of, record

from symcache_core import StorePath, hookimpl
from symcache_core.errors import BackendUnavailableError, ClosedError


class ForgetsOnReopening(SqliteStore):
    """makes its table anew each time it opens"""

    caught_by = "test_entries_outlive_a_reopening"

    def _create(self):
        with self._transaction() as db:
            db.execute("DROP TABLE IF EXISTS entries")
        super()._create()


class OnlyClaimsToPersist(MemoryStore):
    """says that it is persistent and lives in memory"""

    caught_by = "test_entries_outlive_a_reopening"
    persistent = True
    Settings = SqliteStore.Settings


class UndoesDeletions(SqliteStore):
    """remembers deletions only as long as it is open"""

    caught_by = "test_what_was_changed_last_outlives_a_reopening"

    def __init__(self, settings):
        self._deleted = set()
        super().__init__(settings)

    def read(self, key):
        return None if key in self._deleted else super().read(key)

    def write(self, key, entry, keep_until):
        self._deleted.discard(key)
        super().write(key, entry, keep_until)

    def delete(self, key):
        found = self.read(key) is not None
        self._deleted.add(key)
        return found


class IgnoresItsPath(SqliteStore):
    """keeps every store in the same file, whatever its path"""

    caught_by = "test_two_stores_are_apart"

    def __init__(self, settings):
        super().__init__(settings.model_copy(update={"path": settings.path.parent.parent / "all"}))


class ClearsTheNeighbours(SqliteStore):
    """keeps several stores in one file, and clears them all"""

    caught_by = "test_two_stores_are_apart"

    def __init__(self, settings):
        self._namespace = f"{settings.path.parent.name}:"
        super().__init__(settings.model_copy(update={"path": settings.path.parent.parent / "all"}))

    def keys(self):
        prefix = self._namespace
        return (key.removeprefix(prefix) for key in super().keys() if key.startswith(prefix))

    def _to_row(self, key):
        return (self._namespace + key).encode()


class FallsBackToMemory(SqliteStore):
    """goes on in memory when its path cannot be written"""

    caught_by = "test_a_path_that_cannot_be_written_is_refused_when_opened"

    def __init__(self, settings):
        try:
            super().__init__(settings)
        except BackendUnavailableError:
            self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._create()


class RefusesInItsOwnWords(SqliteStore):
    """lets the error of its driver out when it cannot open"""

    caught_by = "test_a_path_that_cannot_be_written_is_refused_when_opened"

    def __init__(self, settings):
        try:
            super().__init__(settings)
        except BackendUnavailableError as error:
            raise error.__cause__ from None


class OpensWhenItMust(SqliteStore):
    """does not look at its path before the first use"""

    caught_by = "test_a_path_that_cannot_be_written_is_refused_when_opened"

    def __init__(self, settings):
        with suppress(BackendUnavailableError):
            super().__init__(settings)


class KeepsEntriesInFiles(SqliteStore):
    """keeps each entry in a file, and believes whatever is in it"""

    caught_by = "test_a_damaged_store_gives_no_wrong_entry_and_only_our_errors"

    def __init__(self, settings):
        self._folder = settings.path.parent
        super().__init__(settings.model_copy(update={"path": settings.path.parent.parent / "index"}))

    def _file(self, key):
        return self._folder / key.encode().hex()[:200]

    def _fetch(self, db, key):
        return None if super()._fetch(db, key) is None else self._file(key).read_bytes()

    def _put(self, db, key, entry, keep_until):
        self._file(key).write_bytes(entry)
        super()._put(db, key, b"", keep_until)


class MapsHalfOfTheErrors(SqliteStore):
    """turns only some of its driver's errors into ours"""

    caught_by = "test_a_damaged_store_gives_no_wrong_entry_and_only_our_errors"

    @contextmanager
    def _mapped(self):
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise BackendUnavailableError(f"{self._path}: {error}") from error


class TakesNoHostForThisOne(SqliteStore):
    """takes a URL without a host for one of this machine"""

    caught_by = "test_a_url_without_a_host_is_refused"

    class Settings(BaseModel):
        path: StorePath
        url: str


class ClosesOnce(SqliteStore):
    """raises when it is closed a second time"""

    caught_by = "test_closing_twice_is_harmless"

    def close(self):
        if self._is_closed:
            raise ClosedError("already closed")
        super().close()


class StaysOpen(MemoryStore):
    """works on after close"""

    caught_by = "test_a_closed_store_refuses_every_use"

    def close(self):
        pass


class ClosesInItsOwnWords(SqliteStore):
    """lets the error of its driver out when it is used after close"""

    caught_by = "test_a_closed_store_refuses_every_use"

    @contextmanager
    def _open(self):
        with self._lock:
            yield self._db


class TakesClosedForUnavailable(SqliteStore):
    """says of a closed store that it is out of reach for now"""

    caught_by = "test_a_closed_store_refuses_every_use"

    @contextmanager
    def _open(self):
        with self._lock, self._mapped():
            yield self._db


class ClosesHalf(SqliteStore):
    """goes on giving leases after close"""

    caught_by = "test_a_closed_store_refuses_every_use"

    def try_lock(self, key):
        path = self._lock_file(key)
        path.parent.mkdir(exist_ok=True)
        return FileLease(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


class TakesAnyPath(SqliteStore):
    """accepts whatever is given as its path, and fails when it uses it"""

    caught_by = "test_an_option_of_the_wrong_type_is_refused_by_name"

    class Settings(BaseModel):
        path: Any

    def __init__(self, settings):
        super().__init__(settings.model_copy(update={"path": Path(settings.path)}))


class DeclaresNoSecret(SqliteStore):
    """has a password that is plain text"""

    caught_by = "test_an_option_that_is_a_secret_is_declared_as_one"

    class Settings(BaseModel):
        path: StorePath
        password: str = ""


class ShowsItsSecret(SqliteStore):
    """shows its password when it is printed"""

    caught_by = "test_no_secret_shows"

    def __repr__(self):
        return f"<store at {self._path}, password {self._settings.password.get_secret_value()}>"


@hookimpl
def symcache_backends():
    return map(record, mutants_of(globals()))
