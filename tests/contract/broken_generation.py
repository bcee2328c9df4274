"""Backends whose generation misses what others write, comes back to what it was, or waits.

The docstring of each is its one defect; ``caught_by`` names the test of the contract that catches it.
"""

import os
import time
from contextlib import contextmanager

from reference_backends import FileLease, SqliteStore, mutants_of, record

from symcache_core import hookimpl


class Counting(SqliteStore):
    """A number in the store that its writes raise."""

    def generation(self):
        with self._watch_lock:
            self._check_open()
            return self._watch.execute("PRAGMA user_version").fetchone()[0]

    def _raise(self, db):
        (version,) = db.execute("PRAGMA user_version").fetchone()
        db.execute(f"PRAGMA user_version = {version + 1}")

    @contextmanager
    def _transaction(self):
        with super()._transaction() as db:
            yield db
            self._raise(db)


class GenerationIsAnOldTime(SqliteStore):
    """takes the time of its file, in seconds, for the generation"""

    caught_by = "test_the_generation_moves_at_every_kind_of_write"

    def generation(self):
        self._check_open()
        return int(os.stat(self._path).st_mtime)


class GenerationIsASize(SqliteStore):
    """takes the sum of what it holds for the generation"""

    caught_by = "test_the_generation_moves_at_every_kind_of_write"

    def generation(self):
        with self._watch_lock:
            self._check_open()
            return self._watch.execute("SELECT count(*) + total(length(entry)) FROM entries").fetchone()[0]


class GenerationMissesUpdates(Counting):
    """raises its generation in write, and not in update"""

    caught_by = "test_the_generation_moves_at_every_kind_of_write"

    def update(self, key, change):
        with SqliteStore._transaction(self) as db:
            changed = change(self._fetch(db, key))
            if changed is not None:
                self._put(db, key, *changed)


class GenerationMissesBatches(Counting):
    """raises its generation in write, and not in write_many"""

    caught_by = "test_the_generation_moves_at_every_kind_of_write_of_a_process"

    def write_many(self, entries):
        with SqliteStore._transaction(self) as db:
            for key, (entry, keep_until) in entries.items():
                self._put(db, key, entry, keep_until)


class GenerationMissesWhatIsTheSame(Counting):
    """does not raise its generation when it writes what is there already"""

    caught_by = "test_the_generation_moves_at_every_kind_of_write_of_a_process"

    def write(self, key, entry, keep_until):
        with SqliteStore._transaction(self) as db:
            is_new = self._fetch(db, key) != entry
            self._put(db, key, entry, keep_until)
            if is_new:
                self._raise(db)


class GenerationIsABytes(Counting):
    """keeps its generation in one byte"""

    caught_by = "test_the_generation_never_comes_back"

    def generation(self):
        return super().generation() % 128


class GenerationBeginsAnew(Counting):
    """begins to count anew when it is cleared"""

    caught_by = "test_the_generation_never_comes_back"

    def clear(self):
        count = super().clear()
        self._db.execute("PRAGMA user_version = 1")
        return count


class GenerationIsAChecksum(SqliteStore):
    """takes a checksum of all that it holds for the generation"""

    caught_by = "test_the_generation_never_comes_back"

    def generation(self):
        with self._watch_lock:
            self._check_open()
            return hash(tuple(self._watch.execute("SELECT * FROM entries ORDER BY key").fetchall()))


class CountsLeases(Counting):
    """raises its generation when a lease is taken"""

    caught_by = "test_the_generation_stands_still_while_others_look_and_lock"

    def try_lock(self, key) -> FileLease | None:
        lease = super().try_lock(key)
        if lease is not None:
            with self._transaction():
                pass
        return lease


class CountsReads(Counting):
    """notes who has read what, as if that were a write"""

    caught_by = "test_the_generation_stands_still_while_others_look_and_lock"

    def read(self, key):
        with self._transaction() as db:
            return self._fetch(db, key)


class GenerationTakesTheLock(SqliteStore):
    """waits, when its generation is asked for, for whoever is writing"""

    caught_by = "test_the_generation_waits_for_nobody"
    takes_long = True

    def generation(self):
        with self._open():
            return super().generation()


class HasTheTimeInItsGeneration(SqliteStore):
    """has the second in its generation"""

    caught_by = "test_the_generation_stands_still_while_nobody_writes"

    def generation(self):
        return super().generation() * 1_000_000 + int(time.monotonic())


@hookimpl
def symcache_backends():
    return map(record, mutants_of(globals()))
