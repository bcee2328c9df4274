"""Backends that are right as long as nobody else is at work on the same store.

The docstring of each is its one defect; ``caught_by`` names the test of the contract that catches it.
"""

import time
from contextlib import contextmanager

from reference_backends import SqliteStore, mutants_of, record

from symcache_core import hookimpl


class WantsTheStoreAlone(SqliteStore):
    """keeps the store locked as long as it is open"""

    caught_by = "test_two_objects_share_one_store"

    def __init__(self, settings):
        super().__init__(settings)
        self._db.execute("PRAGMA busy_timeout = 10")
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")


class RemembersMisses(SqliteStore):
    """remembers that a key had no entry, and does not look again"""

    caught_by = "test_a_store_of_another_process_is_seen_by_who_has_looked_before"

    def __init__(self, settings):
        self._missing = set()
        super().__init__(settings)

    def read(self, key):
        if key in self._missing:
            return None
        entry = super().read(key)
        if entry is None:
            self._missing.add(key)
        return entry

    def write(self, key, entry, keep_until):
        super().write(key, entry, keep_until)
        self._missing.discard(key)


class RemembersEntries(SqliteStore):
    """remembers what it has read, and does not look again"""

    caught_by = "test_a_delete_of_another_process_is_seen_by_who_has_looked_before"

    def __init__(self, settings):
        self._known = {}
        super().__init__(settings)

    def read(self, key):
        if key not in self._known and (entry := super().read(key)) is not None:
            self._known[key] = entry
        return self._known.get(key)

    def write(self, key, entry, keep_until):
        super().write(key, entry, keep_until)
        self._known.pop(key, None)

    def delete(self, key):
        self._known.pop(key, None)
        return super().delete(key)


class RemembersKeys(SqliteStore):
    """remembers its keys, and notices only its own changes"""

    caught_by = "test_a_clear_of_another_process_is_seen_by_who_has_looked_before"

    def __init__(self, settings):
        super().__init__(settings)
        self._names = set(super().keys())

    def keys(self):
        return iter(list(self._names))

    def write(self, key, entry, keep_until):
        super().write(key, entry, keep_until)
        self._names.add(key)

    def delete(self, key):
        self._names.discard(key)
        return super().delete(key)


class LastWriterWins(SqliteStore):
    """writes everything that it knows each time, and knows nothing of others"""

    caught_by = "test_processes_on_many_keys_lose_nothing"

    def __init__(self, settings):
        self._known = {}
        super().__init__(settings)

    def write(self, key, entry, keep_until):
        self._known[key] = (entry, keep_until)
        with self._transaction() as db:
            db.execute("DELETE FROM entries")
            for name, value in self._known.items():
                self._put(db, name, *value)


class GivesUpAtOnce(SqliteStore):
    """does not wait for another process's transaction"""

    caught_by = "test_processes_on_many_keys_lose_nothing"

    def __init__(self, settings):
        super().__init__(settings)
        self._db.execute("PRAGMA busy_timeout = 0")


class DeletesBeforeItWrites(SqliteStore):
    """deletes the entry before, and then writes the new one"""

    caught_by = "test_processes_on_one_key_never_show_half_an_entry"

    def write(self, key, entry, keep_until):
        self.delete(key)
        time.sleep(0.002)  # so that most of the time there is something to see, however the processes take turns
        super().write(key, entry, keep_until)


class WritesInPieces(SqliteStore):
    """writes an entry piece by piece, for all to see"""

    caught_by = "test_processes_on_one_key_never_show_half_an_entry"

    def write(self, key, entry, keep_until):
        super().write(key, entry[: len(entry) // 2], keep_until)
        time.sleep(0.002)
        super().write(key, entry, keep_until)


class RewritesToDelete(SqliteStore):
    """reads all entries and writes all but the deleted one back, while others write"""

    caught_by = "test_iterating_and_deleting_survive_other_processes"

    def delete(self, key):
        with self._open() as db:
            rows = db.execute("SELECT * FROM entries").fetchall()
        left = [row for row in rows if row[0] != self._to_row(key)]
        time.sleep(0.01)
        with self._transaction() as db:
            db.execute("DELETE FROM entries")
            db.executemany("INSERT INTO entries VALUES (?, ?, ?)", left)
        return len(left) < len(rows)


class TrustsThatAFileIsReady(SqliteStore):
    """takes a store that another process is just making for one that is made"""

    caught_by = "test_processes_open_a_new_store_at_once"

    def __init__(self, settings):
        self._is_made = settings.path.exists()
        super().__init__(settings)

    def _create(self):
        if not self._is_made:
            time.sleep(0.05)
            super()._create()


class WritesNowAndThen(SqliteStore):
    """writes ten entries at a time, and acknowledges each at once"""

    caught_by = "test_what_a_killed_writer_acknowledged_is_there"

    def __init__(self, settings):
        self._waiting = {}
        super().__init__(settings)

    def read(self, key):
        return self._waiting[key][0] if key in self._waiting else super().read(key)

    def write(self, key, entry, keep_until):
        self._waiting[key] = (entry, keep_until)
        if len(self._waiting) >= 10 or key == "before":
            self.write_many(self._waiting)
            self._waiting.clear()

    def close(self):
        if not self._is_closed:
            self.write_many(self._waiting)
        super().close()


class WritesWhenItCloses(SqliteStore):
    """keeps what it is given until it is closed"""

    caught_by = "test_the_last_word_of_a_process_is_kept_however_it_ends"

    def __init__(self, settings):
        super().__init__(settings)
        self._db.execute("BEGIN IMMEDIATE")

    @contextmanager
    def _transaction(self):
        with self._open() as db:
            yield db

    def close(self):
        if not self._is_closed and self._db.in_transaction:
            self._db.execute("COMMIT")
        super().close()


@hookimpl
def symcache_backends():
    return map(record, mutants_of(globals()))
