"""Backends whose batches, updates, leases or figures are not what they claim.

The docstring of each is its one defect; ``caught_by`` names the test of the contract that catches it.
"""

import fcntl
import os
import sqlite3
import threading
import time
from contextlib import contextmanager, suppress

from reference_backends import FileLease, MemoryStore, SqliteStore, mutants_of, record

from symcache_core import hookimpl
from symcache_core.protocols import LeaseHolder

# -- batches ---------------------------------------------------------------------------------------------------------


class ReadsNoneInBatches(SqliteStore):
    """gives None for a key of a batch that has no entry"""

    caught_by = "test_reading_many_equals_reading_each"

    def read_many(self, keys):
        return {key: self.read(key) for key in keys}


class PairsByPosition(SqliteStore):
    """pairs the keys of a batch with the entries found, one after another"""

    caught_by = "test_reading_many_equals_reading_each"

    def read_many(self, keys):
        found = [entry for entry in map(self.read, keys) if entry is not None]
        return dict(zip(keys, found, strict=False))


class FailsOnAMissingKey(MemoryStore):
    """raises KeyError when one key of a batch has no entry"""

    caught_by = "test_reading_many_equals_reading_each"

    def read_many(self, keys):
        with self._open() as entries:
            return {key: entries[key] for key in keys}


class DropsTheRest(SqliteStore):
    """writes a batch in pages, and forgets the last one if it is not full"""

    caught_by = "test_writing_many_equals_writing_each"

    def write_many(self, entries):
        items = list(entries.items())
        super().write_many(dict(items[: len(items) // 10 * 10]))


class BatchReplacesAll(SqliteStore):
    """takes a batch for all that there shall be"""

    caught_by = "test_writing_many_equals_writing_each"

    def write_many(self, entries):
        self.clear()
        super().write_many(entries)


class BatchAddsOnly(SqliteStore):
    """leaves the entries that are there as they are when it writes a batch"""

    caught_by = "test_writing_many_equals_writing_each"

    def write_many(self, entries):
        there = self.read_many(list(entries))
        super().write_many({key: value for key, value in entries.items() if key not in there})


class BatchForgetsTheTime(SqliteStore):
    """keeps the entries of a batch for ever"""

    caught_by = "test_a_batch_keeps_the_time_of_each_entry"

    def write_many(self, entries):
        super().write_many({key: (entry, float("inf")) for key, (entry, _) in entries.items()})


class BatchHasOneTime(SqliteStore):
    """gives every entry of a batch the time of the first"""

    caught_by = "test_a_batch_keeps_the_time_of_each_entry"

    def write_many(self, entries):
        times = [keep_until for _, keep_until in entries.values()]
        super().write_many({key: (entry, times[0]) for key, (entry, _) in entries.items()})


# -- updates ---------------------------------------------------------------------------------------------------------


class UpdatesText(SqliteStore):
    """gives an update text instead of bytes"""

    caught_by = "test_an_update_gets_the_entry_and_replaces_it"

    def update(self, key, change):
        super().update(key, lambda entry: change(entry and entry.decode()))


class UpdatesWhatIsThere(SqliteStore):
    """does not ask for a change when there is no entry"""

    caught_by = "test_an_update_finds_none_where_there_is_no_entry"

    def update(self, key, change):
        super().update(key, lambda entry: None if entry is None else change(entry))


class UpdateMakesAnEntry(SqliteStore):
    """makes an empty entry before it asks for a change"""

    caught_by = "test_an_update_finds_none_where_there_is_no_entry"

    def update(self, key, change):
        with self._transaction() as db:
            put = "INSERT OR IGNORE INTO entries VALUES (?, ?, ?)"
            db.execute(put, (self._to_row(key), b"", float("inf")))
        super().update(key, lambda entry: change(entry or None))


class UpdateOfNoneDeletes(SqliteStore):
    """deletes the entry when the change is None"""

    caught_by = "test_an_update_of_none_leaves_the_entry"

    def update(self, key, change):
        changed = change(self.read(key))
        if changed is None:
            self.delete(key)
        else:
            self.write(key, *changed)


class UpdateKeepsTheTime(SqliteStore):
    """leaves the time as it was when it updates"""

    caught_by = "test_an_update_sets_the_time"

    def update(self, key, change):
        with self._transaction() as db:
            entry = self._fetch(db, key)
            changed = change(entry)
            if changed is not None:
                put = "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET entry = excluded.entry"
                db.execute(put, (self._to_row(key), *changed))


class UpdateStaysLocked(SqliteStore):
    """leaves its transaction open when a change raises"""

    caught_by = "test_an_update_that_raises_changes_nothing"

    @contextmanager
    def _transaction(self):
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")


class UpdateSwallowsErrors(SqliteStore):
    """keeps to itself that a change raised"""

    caught_by = "test_an_update_that_raises_changes_nothing"

    def update(self, key, change):
        with suppress(LookupError):
            super().update(key, change)


class UpdatesInTwoSteps(SqliteStore):
    """reads, asks for a change and writes, with room for others in between"""

    caught_by = "test_an_update_of_threads_has_nobody_in_between"

    def update(self, key, change):
        changed = change(self.read(key))
        if changed is not None:
            self.write(key, *changed)


class UpdatesUnderItsOwnLock(SqliteStore):
    """keeps other threads out of an update, and not other processes"""

    caught_by = "test_an_update_of_processes_has_nobody_in_between"

    def update(self, key, change):
        with self._lock:
            changed = change(self.read(key))
            if changed is not None:
                self.write(key, *changed)


# -- leases ----------------------------------------------------------------------------------------------------------


class LocksLikePosix(SqliteStore):
    """takes the kind of file lock that a process never refuses itself"""

    caught_by = "test_a_lease_has_one_holder"

    def try_lock(self, key):
        path = self._lock_file(key)
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return FileLease(descriptor)


class LocksAgainForItsHolder(MemoryStore):
    """gives the thread that has a lease another one"""

    caught_by = "test_a_lease_has_one_holder"

    def try_lock(self, key):
        lock = self._leases.setdefault(key, threading.RLock())
        return lock if lock.acquire(blocking=False) else None


class TellsAllHoldersAlike(MemoryStore):
    """says the same of each holder of a lease"""

    caught_by = "test_each_holder_of_a_lease_has_a_mark_of_its_own"

    def lease_holder(self, key):
        return LeaseHolder("held", "somebody")


class TellsTheTime(MemoryStore):
    """says something else of the holder of a lease each time"""

    caught_by = "test_each_holder_of_a_lease_has_a_mark_of_its_own"

    def lease_holder(self, key):
        return LeaseHolder(str(time.monotonic_ns()), "somebody")


class SaysNothingIsWritten(MemoryStore):
    """says that it takes no writes, and takes them"""

    caught_by = "test_a_store_that_takes_writes_does_not_say_that_it_takes_none"

    def read_only(self):
        return "it may be full one day"


class WaitsForALease(MemoryStore):
    """waits for a lease that is taken"""

    caught_by = "test_a_lease_has_one_holder"

    def try_lock(self, key):
        deadline = time.monotonic() + 8
        while (lease := super().try_lock(key)) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return lease


class LooksBeforeItLocks(MemoryStore):
    """looks whether a lease is free, and then takes it"""

    caught_by = "test_one_of_many_threads_gets_the_lease"

    def try_lock(self, key):
        if key in self._leases:
            return None
        time.sleep(0.002)
        self._leases.pop(key, None)
        return super().try_lock(key)


class OneLeaseForAll(SqliteStore):
    """has one lease, whatever the key"""

    caught_by = "test_each_key_has_a_lease_of_its_own"

    def _lock_file(self, key):
        return super()._lock_file("")


class LeasesFoldCase(SqliteStore):
    """takes upper and lower case for the same when it locks"""

    caught_by = "test_each_key_has_a_lease_of_its_own"

    def _lock_file(self, key):
        return super()._lock_file(key.lower())


class ThreadLease:
    def __init__(self, lease):
        self._lease, self._thread = lease, threading.get_ident()

    def release(self):
        if threading.get_ident() != self._thread:
            raise RuntimeError("this lease belongs to another thread")
        self._lease.release()


class ReleasesInItsThread(MemoryStore):
    """lets no other thread than the taker release a lease"""

    caught_by = "test_a_lease_is_released_from_any_thread"

    def try_lock(self, key):
        lease = super().try_lock(key)
        return lease and ThreadLease(lease)


class ReleasesOnce(MemoryStore):
    """raises when a lease is released a second time"""

    caught_by = "test_releasing_twice_frees_no_other_lease"

    def try_lock(self, key):
        lock = self._leases.setdefault(key, threading.Lock())
        return lock if lock.acquire(blocking=False) else None


class KeyLease:
    def __init__(self, leases, key):
        self._leases, self._key = leases, key

    def release(self):
        self._leases.pop(self._key, None)


class ReleasesByKey(MemoryStore):
    """releases the lease of a key, whoever holds it by then"""

    caught_by = "test_releasing_twice_frees_no_other_lease"

    def try_lock(self, key):
        return super().try_lock(key) and KeyLease(self._leases, key)


class EntryLease:
    def __init__(self, store, key):
        self._store, self._key = store, key

    def release(self):
        if self._key is not None:
            self._store.delete(self._key)
        self._key = None


class LocksInItsEntries(MemoryStore):
    """keeps its leases among the entries"""

    caught_by = "test_a_lease_is_no_entry"

    def try_lock(self, key):
        with self._open() as entries:
            if f"lock:{key}" in entries:
                return None
            entries[f"lock:{key}"] = b"{}"
        return EntryLease(self, f"lock:{key}")


class LocksForItself(SqliteStore):
    """keeps its leases in the object"""

    caught_by = "test_a_lease_excludes_other_objects"

    def __init__(self, settings):
        super().__init__(settings)
        self._memory = MemoryStore(settings)

    def try_lock(self, key):
        with self._open():
            return self._memory.try_lock(key)


class LocksBesideItsFolder(SqliteStore):
    """keeps the leases of every store in one place"""

    caught_by = "test_a_lease_of_one_store_is_none_of_another"

    def _lock_file(self, key):
        path = super()._lock_file(key)
        return self._path.parent.parent / "locks" / path.name


class LocksWithinItsProcess(SqliteStore):
    """keeps its leases in the process"""

    caught_by = "test_a_lease_excludes_other_processes"
    _processes_own = MemoryStore(None)

    def try_lock(self, key):
        with self._open():
            return self._processes_own.try_lock(f"{self._path}:{key}")


class RowLease:
    def __init__(self, store, row):
        self._store, self._row = store, row

    def release(self):
        if self._row is not None:
            with self._store._transaction() as db:
                db.execute("DELETE FROM leases WHERE key = ?", (self._row,))
        self._row = None


class LocksForEver(SqliteStore):
    """writes a lease down, and only its holder takes it off"""

    caught_by = "test_a_lease_dies_with_its_holder"
    takes_long = True

    def _create(self):
        super()._create()
        with self._transaction() as db:
            db.execute("CREATE TABLE IF NOT EXISTS leases (key BLOB PRIMARY KEY)")

    def try_lock(self, key):
        with self._transaction() as db:
            taken = db.execute("INSERT OR IGNORE INTO leases VALUES (?)", (self._to_row(key),)).rowcount
        return RowLease(self, self._to_row(key)) if taken else None


# -- generation, size, compact ---------------------------------------------------------------------------------------


class GenerationStandsStill(SqliteStore):
    """has a generation that never moves"""

    caught_by = "test_the_generation_tells_of_other_objects"

    def generation(self):
        return 0


class GenerationMissesDeletions(SqliteStore):
    """moves its generation when something is written, and not when it is deleted"""

    caught_by = "test_the_generation_tells_of_other_objects"

    def generation(self):
        with self._open() as db:
            return db.execute("PRAGMA user_version").fetchone()[0]

    def _put(self, db, key, entry, keep_until):
        super()._put(db, key, entry, keep_until)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        db.execute(f"PRAGMA user_version = {version + 1}")


class GenerationOfItsProcess(SqliteStore):
    """counts the changes of its own process"""

    caught_by = "test_the_generation_tells_of_other_processes"
    _changes = 0

    def generation(self):
        return self._changes

    @contextmanager
    def _transaction(self):
        with super()._transaction() as db:
            yield db
        GenerationOfItsProcess._changes += 1


class GenerationNeverRests(SqliteStore):
    """has a generation that moves at every look"""

    caught_by = "test_the_generation_stands_still_while_nobody_writes"

    def generation(self):
        return time.monotonic_ns()


class SizeInKilobytes(SqliteStore):
    """tells its size in kilobytes"""

    caught_by = "test_the_size_is_in_bytes_and_grows"

    def size(self):
        return super().size() // 1024


class SizeCountsEntries(MemoryStore):
    """tells how many entries it has where its size is asked for"""

    caught_by = "test_the_size_is_in_bytes_and_grows"

    def size(self):
        with self._open() as entries:
            return len(entries)


class CompactsIntoANewFile(SqliteStore):
    """puts a new file in place of the old one, in which others go on writing"""

    caught_by = "test_compacting_loses_nothing"

    def compact(self):
        with self._open() as db:
            new = self._path.with_suffix(".new")
            db.execute("VACUUM INTO ?", (str(new),))
            db.close()
            os.replace(new, self._path)
            self._db = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)


class CompactsWithItsOwnClock(SqliteStore):
    """compares seconds with milliseconds when it compacts"""

    caught_by = "test_compacting_loses_nothing"

    def compact(self):
        with self._open() as db:
            db.execute("DELETE FROM entries WHERE keep_until <= ?", (time.time() * 1_000,))


@hookimpl
def symcache_backends():
    return map(record, mutants_of(globals()))
