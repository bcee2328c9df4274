"""Backends whose calls undo, hide or tear what other calls do at the same time.

The docstring of each is its one defect; ``caught_by`` names the test of the contract that catches it.
"""

import fcntl
import os
import threading
import time
from contextlib import contextmanager, suppress

from reference_backends import MemoryStore, SqliteStore, mutants_of, record

from symcache_core import hookimpl
from symcache_core.errors import ClosedError

# -- updates ---------------------------------------------------------------------------------------------------------


class UpdatesBesideWrites(SqliteStore):
    """lets only updates wait for an update, and not writes"""

    caught_by = "test_an_update_overwrites_nothing_of_other_threads_unseen"

    def __init__(self, settings):
        self._updating = threading.Lock()
        super().__init__(settings)

    def update(self, key, change):
        with self._updating:
            changed = change(self.read(key))
            if changed is not None:
                self.write(key, *changed)


class BatchesBesideUpdates(MemoryStore):
    """lets a write wait for an update, and not a batch"""

    caught_by = "test_an_update_overwrites_nothing_of_other_threads_unseen"

    def write_many(self, entries):
        for key, (entry, _) in entries.items():
            self._entries[key] = entry


class LocksItsFileByProcess(SqliteStore):
    """keeps others out of an update by the kind of file lock that a process never refuses itself"""

    caught_by = "test_an_update_overwrites_nothing_of_other_objects_unseen"

    @contextmanager
    def _alone(self):
        descriptor = os.open(self._path.with_name("update.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with self._lock:
                fcntl.lockf(descriptor, fcntl.LOCK_EX)
                yield
        finally:
            os.close(descriptor)

    def write(self, key, entry, keep_until):
        with self._alone():
            super().write(key, entry, keep_until)

    def delete(self, key):
        with self._alone():
            return super().delete(key)

    def update(self, key, change):
        with self._alone():
            changed = change(self.read(key))
            if changed is not None:
                super().write(key, *changed)


class ComparesOnlyWhenItWrites(SqliteStore):
    """takes an entry that was deleted during an update for one that has not changed"""

    caught_by = "test_an_update_overwrites_nothing_of_other_objects_unseen"

    def update(self, key, change):
        while True:
            entry = self.read(key)
            changed = change(entry)
            if changed is None:
                return
            with self._transaction() as db:
                if self._fetch(db, key) in (entry, None):
                    self._put(db, key, *changed)
                    return


class LocksTheRowThatIsThere(SqliteStore):
    """keeps others out of an update by a lock of the row, which is of no use where there is none"""

    caught_by = "test_an_update_overwrites_nothing_of_other_processes_unseen"

    def update(self, key, change):
        if self.read(key) is not None:
            super().update(key, change)
        else:
            changed = change(None)
            if changed is not None:
                self.write(key, *changed)


# -- batches ---------------------------------------------------------------------------------------------------------


class BatchMakesRoomFirst(SqliteStore):
    """deletes what a batch replaces, before it knows whether the batch can be written"""

    caught_by = "test_a_batch_that_fails_leaves_each_entry_whole"

    def write_many(self, entries):
        for key in entries:
            with suppress(UnicodeEncodeError):
                self.delete(key)
        super().write_many(entries)


class BatchStaysOpen(SqliteStore):
    """leaves its transaction open when an entry of a batch cannot be written"""

    caught_by = "test_a_batch_that_fails_leaves_each_entry_whole"
    patience = 0.5

    def write_many(self, entries):
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            for key, (entry, keep_until) in entries.items():
                self._put(db, key, entry, keep_until)
            db.execute("COMMIT")


class BatchWritesKeysFirst(SqliteStore):
    """writes all keys of a batch, and then what is under them"""

    caught_by = "test_a_batch_that_fails_leaves_each_entry_whole"

    def write_many(self, entries):
        for key, (_, keep_until) in entries.items():
            with suppress(UnicodeEncodeError):
                self.write(key, b"", keep_until)
        super().write_many(entries)


class BatchInTwoTransactions(SqliteStore):
    """deletes the entries that a batch replaces in one transaction, and writes the new ones in another"""

    caught_by = "test_a_batch_beside_readers_shows_whole_entries"

    def write_many(self, entries):
        with self._transaction() as db:
            db.executemany("DELETE FROM entries WHERE key = ?", [(self._to_row(key),) for key in entries])
        time.sleep(0.002)
        super().write_many(entries)


# -- dropping --------------------------------------------------------------------------------------------------------


class LooksAndThenDeletes(SqliteStore):
    """looks whether there is an entry, and then deletes it"""

    caught_by = "test_a_delete_beside_writes_says_what_it_took"

    def delete(self, key):
        is_there = self.read(key) is not None
        time.sleep(0.0005)
        super().delete(key)
        return is_there


class DeletesLater(SqliteStore):
    """notes what is deleted, and a thread deletes it"""

    caught_by = "test_a_delete_beside_writes_says_what_it_took"

    def delete(self, key):
        is_there = self.read(key) is not None
        threading.Thread(target=self._delete_later, args=(key,), daemon=True).start()
        return is_there

    def _delete_later(self, key):
        with suppress(ClosedError):
            super().delete(key)


class CountsAndThenClears(SqliteStore):
    """counts its entries, and then drops them all"""

    caught_by = "test_a_clear_beside_other_processes_counts_what_it_dropped"

    def clear(self):
        count = len(list(self.keys()))
        time.sleep(0.002)
        super().clear()
        return count


class CompactsByAList(SqliteStore):
    """lists what is over, and then deletes it by its key"""

    caught_by = "test_compacting_takes_nothing_that_was_just_written"

    def compact(self):
        with self._open() as db:
            rows = db.execute("SELECT key FROM entries WHERE keep_until <= ?", (time.time(),)).fetchall()
        time.sleep(0.002)
        with self._transaction() as db:
            db.executemany("DELETE FROM entries WHERE key = ?", rows)


class DropsWhatItFindsOver(SqliteStore):
    """deletes the entry under a key when a reader finds that it is over"""

    caught_by = "test_reading_what_is_over_takes_nothing_that_was_just_written"

    def read(self, key):
        with self._open() as db:
            row = db.execute("SELECT entry, keep_until FROM entries WHERE key = ?", (self._to_row(key),)).fetchone()
        if row is None or row[1] > time.time():
            return row and row[0]
        time.sleep(0.0005)
        with self._transaction() as db:
            db.execute("DELETE FROM entries WHERE key = ?", (self._to_row(key),))
        return None


# -- closing ---------------------------------------------------------------------------------------------------------


class ClosesWithoutALook(SqliteStore):
    """closes its connection under the hands of who uses it, and lets out what that leads to"""

    caught_by = "test_closing_beside_readers_ends_each_call"

    def close(self):
        self._is_closed = True
        self._db, db = None, self._db
        if db is not None:
            with self._lock:
                db.close()
        with self._watch_lock:
            self._watch.close()

    def read(self, key):
        self._check_open()
        time.sleep(0.0002)
        with self._lock, self._mapped():
            return self._fetch(self._db, key)


class ReadsNothingWhenClosing(SqliteStore):
    """takes an error while it is being closed for a miss"""

    caught_by = "test_closing_beside_readers_ends_each_call"

    def read(self, key):
        self._check_open()
        time.sleep(0.0002)
        try:
            return super().read(key)
        except ClosedError:
            return None


class ClosesBeforeItHasWritten(SqliteStore):
    """queues what is written for a thread, and closes with the queue full"""

    caught_by = "test_closing_beside_writers_loses_nothing_acknowledged"

    def __init__(self, settings):
        self._waiting = {}
        super().__init__(settings)

    def read(self, key):
        return self._waiting.get(key) or super().read(key)

    def write(self, key, entry, keep_until):
        with self._lock:
            self._check_open()
            self._waiting[key] = entry
        threading.Thread(target=self._write_later, args=(key, entry, keep_until), daemon=True).start()

    def _write_later(self, key, entry, keep_until):
        time.sleep(0.001)
        with suppress(ClosedError):
            super().write(key, entry, keep_until)


class SaysWrittenWhenClosed(SqliteStore):
    """takes an error while it is being closed for a write"""

    caught_by = "test_closing_beside_writers_loses_nothing_acknowledged"

    def write(self, key, entry, keep_until):
        self._check_open()
        time.sleep(0.0002)
        with suppress(ClosedError):
            super().write(key, entry, keep_until)


class ClosesWhenNobodyIsThere(SqliteStore):
    """closes when the number of calls under way is nought, and forgets to count one down"""

    caught_by = "test_closing_beside_an_update_ends_both"
    takes_long = True

    def __init__(self, settings):
        self._is_idle = threading.Event()
        super().__init__(settings)
        self._is_idle.set()

    def update(self, key, change):
        self._is_idle.clear()
        super().update(key, change)

    def close(self):
        self._is_idle.wait(11)
        super().close()


class UpdatesWhatIsClosed(SqliteStore):
    """takes an update that it was closed under for done"""

    caught_by = "test_closing_beside_an_update_ends_both"

    def update(self, key, change):
        changed = change(self.read(key))
        with suppress(ClosedError):
            self.write(key, *changed)


@hookimpl
def symcache_backends():
    return map(record, mutants_of(globals()))
