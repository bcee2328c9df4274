"""Keeps entries in a PostgreSQL server, as a third party would write it from the authors' page alone."""

import hashlib
import math
import os
import select
import threading
import time

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from symcache_core import Backend, hookimpl
from symcache_core.errors import BackendError, BackendUnavailableError, ClosedError

_REFUSALS = errors.DataError, errors.ProgramLimitExceeded, errors.StatementTooComplex

_TABLE = """
SELECT pg_advisory_xact_lock(7166351);
CREATE TABLE IF NOT EXISTS symcache_entries (
    store bytea, key bytea, entry bytea NOT NULL, keep_until float8 NOT NULL, PRIMARY KEY (store, key)
);
ALTER TABLE symcache_entries ALTER COLUMN entry SET STORAGE EXTERNAL
"""
_PUT = "INSERT INTO symcache_entries VALUES (%s, %s, %s, %s) ON CONFLICT (store, key) DO UPDATE SET "
_PUT += "entry = excluded.entry, keep_until = excluded.keep_until"


class PostgresqlSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    url: SecretStr = SecretStr("postgresql://localhost/symcache")
    password: SecretStr | None = None
    store: str = "symcache"
    timeout: float = Field(5.0, gt=0, allow_inf_nan=False, description="seconds to wait for the server")

    @field_validator("url")
    @classmethod
    def _is_usable(cls, url):
        try:
            conninfo_to_dict(url.get_secret_value())
        except psycopg.Error:  # what it says quotes the URL
            raise ValueError("write postgresql://user@host:port/database") from None
        return url


class Session(psycopg.Connection):
    """A connection on which no wait is longer than the timeout."""

    timeout = 5.0

    def wait(self, gen, interval=0.1, timeout=None):
        return super().wait(gen, interval, self.timeout if timeout is None else timeout)

    def has_ended(self):
        return self.closed or bool(select.select([self.fileno()], [], [], 0)[0])


class PostgresqlBackend:
    def __init__(self, settings: PostgresqlSettings) -> None:
        self._settings = settings
        self._store = settings.store.encode()
        self._closed = False
        self._inherited = []
        self._begin()
        self._run(lambda db: db.execute(_TABLE))

    def _begin(self):
        self._pid = os.getpid()
        self._idle = []
        self._leasing, self._held, self._leasing_lock = None, set(), threading.RLock()

    def read(self, key):
        return self.read_many([key]).get(key)

    def write(self, key, entry, keep_until):
        self._run(lambda db: db.execute(_PUT, (self._store, key.encode(), entry, keep_until)))

    def delete(self, key):
        where = "DELETE FROM symcache_entries WHERE store = %s AND key = %s RETURNING keep_until"
        gone = self._run(lambda db: db.execute(where, (self._store, key.encode())).fetchone())
        return gone is not None and gone[0] > time.time()

    def keys(self):
        where = "SELECT key FROM symcache_entries WHERE store = %s AND keep_until > %s"
        rows = self._run(lambda db: db.execute(where, (self._store, time.time())).fetchall())
        return iter([name.decode() for (name,) in rows])

    def clear(self):
        where = "DELETE FROM symcache_entries WHERE store = %s RETURNING keep_until > %s"
        gone = self._run(lambda db: db.execute(where, (self._store, time.time())).fetchall())
        return sum(was_there for (was_there,) in gone)

    def update(self, key, change):
        name = key.encode()
        swap = "UPDATE symcache_entries SET entry = %s, keep_until = %s WHERE store = %s AND key = %s AND entry = %s"
        make = f"{_PUT} WHERE symcache_entries.keep_until <= %s"
        while True:
            now, old = time.time(), self.read(key)
            if (changed := change(old)) is None:
                return
            if old is None:
                order = make, (self._store, name, *changed, now)
            else:
                order = swap, (*changed, self._store, name, old)
            if self._run(lambda db, order=order: db.execute(*order).rowcount):
                return

    def read_many(self, keys):
        where = "SELECT key, entry FROM symcache_entries WHERE store = %s AND key = ANY(%s) AND keep_until > %s"
        names = [key.encode() for key in keys]
        rows = self._run(lambda db: db.execute(where, (self._store, names, time.time())).fetchall())
        return {name.decode(): entry for name, entry in rows}

    def write_many(self, entries):
        # In one order for all, so that two of them never wait for each other.
        rows = sorted((self._store, key.encode(), *value) for key, value in entries.items())

        def put(db):
            with db.transaction():
                db.cursor().executemany(_PUT, rows)

        self._run(put)

    def size(self):
        return self._run(lambda db: db.execute("SELECT pg_total_relation_size('symcache_entries')").fetchone()[0])

    def compact(self):
        over = "DELETE FROM symcache_entries WHERE store = %s AND keep_until <= %s"
        self._run(lambda db: db.execute(over, (self._store, time.time())))

    def try_lock(self, key):
        self._check()
        number = int.from_bytes(
            hashlib.blake2b(self._store + b"\0" + key.encode(), digest_size=8).digest(), signed=True
        )
        with self._leasing_lock:
            if self._leasing is None or self._leasing.has_ended():
                self._let_go_of_leases()
                self._leasing = self._try(self._connected)
            if number in self._held:  # for one session, a lock of its own is free
                return None
            if not self._lock("SELECT pg_try_advisory_lock(%s)", number):
                return None
            self._held.add(number)
            return PostgresqlLease(self, self._leasing, number)

    def release(self, session, number):
        if os.getpid() != self._pid:
            return
        with self._leasing_lock:
            if session is not self._leasing:
                return  # it ended with its session
            self._held.discard(number)
            try:
                self._lock("SELECT pg_advisory_unlock(%s)", number)
            except (BackendError, ClosedError):
                pass  # it has ended with the session

    def close(self):
        self._closed = True
        if os.getpid() != self._pid:
            return
        self._close_idle()
        with self._leasing_lock:
            self._let_go_of_leases()

    def _lock(self, order, number):
        try:
            return self._try(lambda: self._leasing.execute(order, (number,)).fetchone()[0])
        except BaseException:
            self._let_go_of_leases()
            raise

    def _let_go_of_leases(self):
        session, self._leasing = self._leasing, None
        self._held.clear()
        if session is not None:
            session.close()

    def _run(self, work):
        self._check()
        session = self._free() or self._try(self._connected)
        try:
            answer = self._try(lambda: work(session))
        except BaseException:
            session.close()  # its reply may still be on the way
            raise
        self._idle.append(session)
        if self._closed:
            self._close_idle()
        return answer

    def _free(self):
        while self._idle:
            try:
                session = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if not session.has_ended():
                return session
            session.close()
        return None

    def _close_idle(self):
        while self._idle:
            self._idle.pop().close()

    def _connected(self):
        password = self._settings.password
        session = Session.connect(
            self._settings.url.get_secret_value(),
            **({} if password is None else {"password": password.get_secret_value()}),
            connect_timeout=math.ceil(self._settings.timeout),
            autocommit=True,
        )
        session.timeout = self._settings.timeout
        return session

    def _check(self):
        if self._closed:
            raise ClosedError("the postgresql backend is closed: open it anew")
        if os.getpid() != self._pid:
            self._inherited.append((self._idle, self._leasing))  # the parent's: to close them would end its sessions
            self._begin()

    def _try(self, call):
        try:
            return call()
        except _REFUSALS as error:
            raise BackendError(f"postgresql refuses the key or the entry: {error}") from None
        except (psycopg.Error, OSError) as error:
            self._check()
            raise BackendUnavailableError(f"postgresql (option 'url'): {error}") from None


class PostgresqlLease:
    def __init__(self, backend, session, number):
        self._backend, self._session, self._number = backend, session, number
        self._lock = threading.Lock()

    def release(self):
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            self._backend.release(session, self._number)


@hookimpl
def symcache_backends():
    yield Backend(name="postgresql", settings=PostgresqlSettings, open=PostgresqlBackend, persistent=True)
