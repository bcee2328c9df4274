"""Two small backends that keep every promise: one in memory, one in a SQLite file. The broken ones stand on them."""

import fcntl
import hashlib
import os
import re
import sqlite3
import threading
import time
import uuid
import weakref
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, SecretStr

from symcache_core import Backend, StorePath, hookimpl
from symcache_core.errors import BackendUnavailableError, ClosedError, ConfigurationError
from symcache_core.protocols import LeaseHolder


class MemoryStore:
    persistent = False
    outage = None
    lacks = frozenset()

    class Settings(BaseModel):
        pass

    def __init__(self, settings):
        self._lock, self._lease_lock = threading.RLock(), threading.RLock()
        # The last one is taken first, as an update may ask for a lease while it has it.
        fork_waits_for(self._lease_lock)
        fork_waits_for(self._lock)
        self._entries = {}
        self._leases = {}
        self._is_closed = False

    def read(self, key):
        with self._open() as entries:
            return entries.get(key)

    def write(self, key, entry, keep_until):
        with self._open() as entries:
            entries[key] = bytes(entry)

    def delete(self, key):
        with self._open() as entries:
            return entries.pop(key, None) is not None

    def keys(self):
        with self._open() as entries:
            return iter(list(entries))

    def clear(self):
        with self._open() as entries:
            count = len(entries)
            entries.clear()
            return count

    def close(self):
        self._is_closed = True

    def update(self, key, change):
        with self._open() as entries:
            changed = change(entries.get(key))
            if changed is not None:
                self.write(key, *changed)

    def read_many(self, keys):
        with self._open() as entries:
            return {key: entries[key] for key in keys if key in entries}

    def write_many(self, entries):
        for key, (entry, keep_until) in entries.items():
            self.write(key, entry, keep_until)

    def try_lock(self, key):
        with self._lease_lock:  # which nobody has for long, whatever an update does
            if self._is_closed:
                raise ClosedError("this store is closed")
            if key in self._leases:
                return None
            lease = self._leases[key] = MemoryLease(self._leases, key)
            return lease

    def size(self):
        with self._open() as entries:
            return sum(map(len, entries.values()))

    @contextmanager
    def _open(self):
        with self._lock:
            if self._is_closed:
                raise ClosedError("this store is closed")
            yield self._entries


class MemoryLease:
    def __init__(self, leases, key):
        self._leases, self._key = leases, key

    def release(self):
        if self._leases.get(self._key) is self:
            del self._leases[self._key]


class SqliteStore:
    persistent = True
    patience = 12.0
    outage = None
    lacks = frozenset(
        {f"the test class has no {name}" for name in ("outage()", "proxy")}
        | {"the backend has no option that is a URL", "the test's settings have no URL of HTTP"}
    )

    class Settings(BaseModel):
        path: StorePath = Path("{data_dir}/reference.sqlite")
        password: SecretStr | None = None
        lock_timeout: float = 12.0
        max_pages: int = 2**31

    def __init__(self, settings):
        if settings.path.is_dir():
            raise ConfigurationError(f"{settings.path} is a folder: name a file in it")
        self._settings = settings
        self._path = settings.path
        self._lock, self._watch_lock = threading.RLock(), threading.Lock()
        self._is_closed = False
        self._held = weakref.WeakSet()
        self._inherited = []
        fork_waits_for(self._lock)  # SQLite must not be forked in the midst of a statement
        fork_waits_for(self._watch_lock)
        with self._mapped():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            self._connect()
            try:
                self._create()
            except BaseException:
                self._db.close()
                self._watch.close()
                raise

    def read(self, key):
        with self._open() as db:
            return self._fetch(db, key)

    def write(self, key, entry, keep_until):
        with self._transaction() as db:
            self._put(db, key, entry, keep_until)

    def delete(self, key):
        with self._transaction() as db:
            where = "DELETE FROM entries WHERE key = ? AND keep_until > ?"
            return db.execute(where, (self._to_row(key), time.time())).rowcount > 0

    def keys(self):
        with self._open() as db:
            rows = db.execute("SELECT key FROM entries WHERE keep_until > ?", (time.time(),)).fetchall()
        return iter([self._from_row(name) for (name,) in rows])

    def clear(self):
        with self._transaction() as db:
            (count,) = db.execute("SELECT count(*) FROM entries WHERE keep_until > ?", (time.time(),)).fetchone()
            db.execute("DELETE FROM entries")
            return count

    def close(self):
        with self._lock:
            self._check_fork()
            if not self._is_closed:
                self._is_closed = True
                self._db.close()
        with self._watch_lock:
            self._watch.close()
        for lease in list(self._held):
            lease.release()

    def update(self, key, change):
        raised = []
        try:
            with self._transaction() as db:
                changed = _asked(change, self._fetch(db, key), raised)
                if changed is not None:
                    self._put(db, key, *changed)
        except Exception:
            if raised:  # what the caller's own function raises is none of the storage's errors
                raise raised[0] from None
            raise

    def read_many(self, keys):
        with self._open() as db:
            found = {key: self._fetch(db, key) for key in keys}
        return {key: entry for key, entry in found.items() if entry is not None}

    def write_many(self, entries):
        with self._transaction() as db:
            for key, (entry, keep_until) in entries.items():
                self._put(db, key, entry, keep_until)

    def try_lock(self, key):
        with self._mapped():  # and no lock, which an update may have for long
            self._check_open()
            path = self._lock_file(key)
            path.parent.mkdir(exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            os.pwrite(descriptor, uuid.uuid4().bytes, 0)
            lease = FileLease(descriptor)
            self._held.add(lease)
            return lease

    def lease_holder(self, key):
        return LeaseHolder(self._lock_file(key).read_bytes().hex(), "somebody")

    def read_only(self):
        return None

    def generation(self):
        with self._watch_lock, self._mapped():  # of a connection that nothing else waits with
            self._check_fork()
            self._check_open()
            return self._watch.execute("PRAGMA data_version").fetchone()[0]

    def size(self):
        with self._open() as db:
            return db.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()[0]

    def compact(self):
        with self._open() as db:
            db.execute("DELETE FROM entries WHERE keep_until <= ?", (time.time(),))
            db.execute("VACUUM")

    def _connect(self):
        self._db, self._watch = self._connected(), self._connected()
        self._pid = os.getpid()

    def _connected(self):
        patience = min(self.patience, getattr(self._settings, "lock_timeout", self.patience))
        con = sqlite3.connect(self._path, timeout=patience, isolation_level=None, check_same_thread=False)
        con.execute(f"PRAGMA max_page_count = {getattr(self._settings, 'max_pages', 2**31)}")
        con.execute("PRAGMA synchronous = OFF")  # to outlive kill -9 takes no more
        return con

    def _begin_anew(self):
        """Leave alone what a forked child has inherited."""
        self._inherited += [self._db, self._watch]
        self._connect()

    def _create(self):
        with self._transaction() as db:
            db.execute("CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, entry BLOB, keep_until REAL)")

    def _fetch(self, db, key):
        where = "SELECT entry FROM entries WHERE key = ? AND keep_until > ?"
        return next((entry for (entry,) in db.execute(where, (self._to_row(key), time.time()))), None)

    def _put(self, db, key, entry, keep_until):
        db.execute("REPLACE INTO entries VALUES (?, ?, ?)", (self._to_row(key), entry, keep_until))

    def _to_row(self, key):
        return key.encode()

    def _from_row(self, name):
        return name.decode()

    def _lock_file(self, key):
        return self._path.with_name(f"{self._path.name}.locks") / hashlib.sha256(key.encode()).hexdigest()

    @contextmanager
    def _open(self):
        with self._lock, self._mapped():
            self._check_fork()
            self._check_open()
            yield self._db

    def _check_open(self):
        if self._is_closed:
            raise ClosedError("this store is closed")

    def _check_fork(self):
        if not self._is_closed and self._pid != os.getpid():
            self._begin_anew()

    @contextmanager
    def _transaction(self):
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    @contextmanager
    def _mapped(self):
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise BackendUnavailableError(f"{self._path}: {error}") from error


_LEASES = weakref.WeakSet()


class FileLease:
    def __init__(self, descriptor):
        self._descriptor, self._lock, self._pid = descriptor, threading.Lock(), os.getpid()
        _LEASES.add(self)

    def in_child(self):
        """Leave it to the parent: as long as a child has the file open, the lease would outlive its holder."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def release(self):
        if self._pid == os.getpid():
            self._unlock()

    def _unlock(self):
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough: a forked child has it open, too
            os.close(descriptor)

    def __del__(self):
        self.release()


def _leave_leases_to_the_parent():
    for lease in list(_LEASES):
        lease.in_child()


os.register_at_fork(after_in_child=_leave_leases_to_the_parent)


def _asked(change, entry, raised):
    try:
        return change(entry)
    except Exception as error:
        raised.append(error)
        raise


def fork_waits_for(lock):
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def name_of(store):
    """The name of a class as that of a backend: FoldsCase is folds-case."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", store.__name__).lower()


def record(store):
    return Backend(name=name_of(store), settings=store.Settings, open=store, persistent=store.persistent)


def mutants_of(names):
    """The broken backends among the names of a module, in their order."""
    return [store for store in names.values() if "caught_by" in getattr(store, "__dict__", ())]


@hookimpl
def symcache_backends():
    yield record(MemoryStore)
    yield record(SqliteStore)
