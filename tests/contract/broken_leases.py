"""Backends whose leases are too few, end too early, or keep who asks for one waiting.

The docstring of each is its one defect; ``caught_by`` names the test of the contract that catches it.
"""

import fcntl
import hashlib
import shutil
import threading
import time
import uuid
from contextlib import suppress

from reference_backends import SqliteStore, mutants_of, record

from symcache_core import hookimpl
from symcache_core.protocols import LeaseHolder

# -- how many --------------------------------------------------------------------------------------------------------


class LeasesFromAPool(SqliteStore):
    """has a connection for each lease, of which a pool has 64"""

    caught_by = "test_hundreds_of_leases_are_to_be_had_at_once"

    def __init__(self, settings):
        self._pool = threading.BoundedSemaphore(64)
        super().__init__(settings)

    def try_lock(self, key):
        if not self._pool.acquire(blocking=False):
            return None
        lease = super().try_lock(key)
        if lease is None:
            self._pool.release()
        return lease and PooledLease(lease, self._pool)


class PooledLease:
    def __init__(self, lease, pool):
        self._lease, self._pool = lease, pool

    def release(self):
        pool, self._pool = self._pool, None
        self._lease.release()
        if pool is not None:
            pool.release()


class LeasesInSlots(SqliteStore):
    """takes a key's number, of which there are a few thousand, for the key"""

    caught_by = "test_hundreds_of_leases_are_to_be_had_at_once"

    def _lock_file(self, key):
        number = int(hashlib.sha256(key.encode()).hexdigest(), 16) % 4096
        return self._path.with_name(f"{self._path.name}.locks") / str(number)


# -- what ends them --------------------------------------------------------------------------------------------------


class ClearDropsLeases(SqliteStore):
    """removes the files of its leases with everything else when it is cleared"""

    caught_by = "test_no_use_of_the_store_ends_a_lease"

    def clear(self):
        shutil.rmtree(self._lock_file("").parent, ignore_errors=True)
        return super().clear()


class ClearBeginsAnew(SqliteStore):
    """begins another folder of leases with each clear, which those have who open the store afterwards"""

    caught_by = "test_no_use_of_the_store_ends_a_lease"

    def __init__(self, settings):
        self._cleared = settings.path.with_name("cleared")
        self._since = self._cleared.stat().st_size if self._cleared.exists() else 0
        super().__init__(settings)

    def clear(self):
        with self._cleared.open("ab") as file:
            file.write(b"x")
        return super().clear()

    def _lock_file(self, key):
        path = super()._lock_file(key)
        return path.with_name(f"{path.name}-{self._since}")


class CompactDropsLeases(SqliteStore):
    """takes the files of its leases for waste when it compacts"""

    caught_by = "test_no_use_of_the_store_ends_a_lease"

    def compact(self):
        super().compact()
        shutil.rmtree(self._lock_file("").parent, ignore_errors=True)


class CloseTidiesUp(SqliteStore):
    """removes the files of all leases when it closes, also those that others hold"""

    caught_by = "test_no_use_of_the_store_ends_a_lease"

    def close(self):
        super().close()
        shutil.rmtree(self._lock_file("").parent, ignore_errors=True)


class WritingReleases(SqliteStore):
    """takes the lease of a key for done with when its entry is written"""

    caught_by = "test_no_use_of_the_store_ends_a_lease"

    def write(self, key, entry, keep_until):
        super().write(key, entry, keep_until)
        self._lock_file(key).unlink(missing_ok=True)


class KeepsLeasesWhenClosed(SqliteStore):
    """leaves its leases as they are when it closes"""

    caught_by = "test_close_gives_back_the_leases_that_are_held"

    def close(self):
        self._held.clear()
        super().close()


# -- leases that expire ----------------------------------------------------------------------------------------------


class ExpiringLease:
    def __init__(self, store, key):
        self.store, self.key, self.mark = store, key, uuid.uuid4().hex

    def release(self):
        with self.store._transaction() as db:
            db.execute("DELETE FROM leases WHERE key = ? AND mark = ?", (self.store._to_row(self.key), self.mark))


class Expiring(SqliteStore):
    """Leases in rows, each with its time."""

    seconds = 0.6

    def _create(self):
        super()._create()
        with self._transaction() as db:
            db.execute("CREATE TABLE IF NOT EXISTS leases (key BLOB PRIMARY KEY, mark TEXT, until REAL)")

    def try_lock(self, key):
        lease, now = ExpiringLease(self, key), time.time()
        with self._transaction() as db:
            db.execute("DELETE FROM leases WHERE until <= ?", (now,))
            row = (self._to_row(key), lease.mark, now + self.seconds)
            return lease if db.execute("INSERT OR IGNORE INTO leases VALUES (?, ?, ?)", row).rowcount else None

    def _renew(self):
        with suppress(Exception), self._transaction() as db:
            db.execute("UPDATE leases SET until = ?", (time.time() + self.seconds,))


class WaitsABit(SqliteStore):
    """waits half a second for a lease that somebody has"""

    caught_by = "test_a_lease_that_is_taken_is_refused_at_once"

    def try_lock(self, key):
        lease = super().try_lock(key)
        if lease is None:
            time.sleep(0.5)
            lease = super().try_lock(key)
        return lease


class MarksByTheTime(Expiring):
    """makes the mark of a holder of the time until which its lease has been renewed"""

    caught_by = "test_a_holder_keeps_its_mark_as_long_as_it_has_the_lease"

    def lease_holder(self, key):
        until = "SELECT until FROM leases WHERE key = ?"
        with self._open() as db:
            found = db.execute(until, (self._to_row(key),)).fetchone()
        return None if found is None else LeaseHolder(str(found[0]), "somebody")

    def try_lock(self, key):
        lease = super().try_lock(key)
        if lease is not None:
            threading.Thread(target=self._go_on, daemon=True).start()
        return lease

    def _go_on(self):
        while not self._is_closed:
            time.sleep(0.2)
            self._renew()


class ForgetsToRenew(Expiring):
    """has leases that expire, and never renews them"""

    caught_by = "test_a_lease_lasts_as_long_as_its_holder_lives"


class RenewsOnce(Expiring):
    """renews a lease once"""

    caught_by = "test_a_lease_lasts_as_long_as_its_holder_lives"

    def try_lock(self, key):
        lease = super().try_lock(key)
        if lease is not None:
            timer = threading.Timer(self.seconds / 2, self._renew)
            timer.daemon = True
            timer.start()
        return lease


class OneThreadRenews(Expiring):
    """renews the leases of all objects in one thread, which ends when one of them is closed"""

    caught_by = "test_a_lease_lasts_as_long_as_its_holder_lives"
    takes_long = True
    _ended = None

    def try_lock(self, key):
        lease = super().try_lock(key)
        if lease is not None and self._ended is None:
            ended = OneThreadRenews._ended = threading.Event()
            threading.Thread(target=self._keep, args=(ended,), daemon=True).start()
        return lease

    def _keep(self, ended):
        while not ended.wait(self.seconds / 3):
            self._renew()

    def close(self):
        if self._ended is not None:
            self._ended.set()
        super().close()


class ReleasesWhateverIsThere(Expiring):
    """releases the lease of a key by its name, also when it has expired and someone else has it"""

    caught_by = "test_a_late_release_frees_nobody_elses_lease"

    def try_lock(self, key):
        return super().try_lock(key) and NamedLease(self, key)


class NamedLease:
    def __init__(self, store, key):
        self._store, self._key = store, key

    def release(self):
        if self._key is not None:
            with self._store._transaction() as db:
                db.execute("DELETE FROM leases WHERE key = ?", (self._store._to_row(self._key),))
        self._key = None


# -- forks -----------------------------------------------------------------------------------------------------------


class UnlocksInTheChild(SqliteStore):
    """unlocks the file that a forked child shares with its parent"""

    caught_by = "test_a_lease_lasts_as_long_as_its_holder_lives"

    def try_lock(self, key):
        lease = super().try_lock(key)
        return lease and UnlockingLease(lease)


class UnlockingLease:
    def __init__(self, lease):
        self._lease = lease
        lease.in_child = lambda: None

    def release(self):
        if self._lease._descriptor is not None:
            fcntl.flock(self._lease._descriptor, fcntl.LOCK_UN)
        self._lease.release()


# -- waiting ---------------------------------------------------------------------------------------------------------


class LocksBehindTheStore(SqliteStore):
    """takes the lock of its store to see whether a lease is free"""

    caught_by = "test_a_lease_is_answered_for_beside_a_slow_call"
    takes_long = True

    def try_lock(self, key):
        with self._lock:
            return super().try_lock(key)


class LocksInATransaction(SqliteStore):
    """notes in its database that it has given a lease"""

    caught_by = "test_a_lease_is_answered_for_beside_a_slow_call"
    takes_long = True

    def try_lock(self, key):
        with self._transaction() as db:
            db.execute("CREATE TABLE IF NOT EXISTS leases (key BLOB)")
            db.execute("INSERT INTO leases VALUES (?)", (self._to_row(key),))
        return super().try_lock(key)


class ReleasesBehindTheStore(SqliteStore):
    """takes the lock of its store to release a lease"""

    caught_by = "test_a_lease_is_answered_for_beside_a_slow_call"
    takes_long = True

    def try_lock(self, key):
        lease = super().try_lock(key)
        return lease and LockedLease(lease, self._lock)


class LockedLease:
    def __init__(self, lease, lock):
        self._lease, self._lock = lease, lock

    def release(self):
        with self._lock:
            self._lease.release()


@hookimpl
def symcache_backends():
    return map(record, mutants_of(globals()))
