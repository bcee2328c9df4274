"""A symcache backend over PostgreSQL: two tables for each namespace."""

import hashlib
import itertools
import logging
import os
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import psycopg
import psycopg_pool
from psycopg import conninfo, sql
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from symcache_core.errors import (
    BackendError,
    BackendUnavailableError,
    ClosedError,
    ConfigurationError,
    CorruptStoreError,
    NewerSchemaError,
)
from symcache_core.plugin import Backend, hookimpl
from symcache_core.protocols import Lease, LeaseHolder

T = TypeVar("T")
log = logging.getLogger("symcache")
logging.getLogger("psycopg").addHandler(logging.NullHandler())  # else its warnings go to stderr

SCHEMA = 1
LONGEST_KEY = 2000
LARGEST_ENTRY = 64 << 20
PAGE = 500
LEASE_SECONDS = 8.0
RENEW_SECONDS = 2.0
CLOSED = "The backend is closed: open another one."


class PostgresqlSettings(BaseModel):
    """Options of the backend."""

    model_config = ConfigDict(extra="forbid")

    dsn: SecretStr
    namespace: str = "symcache"
    connect_timeout: float = Field(default=5.0, gt=0)
    query_timeout: float = Field(default=10.0, gt=0)
    lock_timeout: float = Field(default=5.0, gt=0)
    connections: int = Field(default=8, ge=2)


class _Connection(psycopg.Connection[Any]):
    """A connection that waits no longer than `patience` seconds for a reply, and is closed when it did."""

    patience = 10.0

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval=interval, timeout=timeout or self.patience)
        except psycopg.errors.QueryCanceled:
            raise
        except BaseException as error:
            if not isinstance(error, psycopg.Error) or isinstance(error, psycopg.OperationalError):
                if self.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                    self.pgconn.finish()  # its reply is still on the way
            raise


class _State:
    """What belongs to one process: the pool, the leases, the thread that renews them."""

    def __init__(self, settings: PostgresqlSettings, backend: "PostgresqlBackend") -> None:
        self.pid = os.getpid()
        self.leases: dict[str, str] = {}
        self.ready = False
        self.read_only: str | None = None
        self.stop = threading.Event()
        self.renewer: threading.Thread | None = None
        self.mutex = threading.Lock()
        self.silent = False
        kwargs = {"autocommit": True, "connect_timeout": max(2, round(settings.connect_timeout))}
        self.pool = psycopg_pool.ConnectionPool(
            settings.dsn.get_secret_value(),
            connection_class=_Connection,
            kwargs=kwargs | {"options": backend._session_options()},
            min_size=0,
            max_size=settings.connections,
            open=False,
            timeout=settings.connect_timeout,
            reconnect_timeout=1.0,
            max_idle=60.0,
            configure=self.configure,
            num_workers=1,
        )
        self.patience = settings.query_timeout
        self.pool.open()

    def configure(self, connection: _Connection) -> None:
        connection.patience = self.patience
        info = connection.info.parameter_status
        standby = info("in_hot_standby") == "on" or info("default_transaction_read_only") == "on"
        self.read_only = "the server takes no writes now" if standby else None


_INHERITED: list[Any] = []


class _Lease(Lease):
    def __init__(self, backend: "PostgresqlBackend", state: _State, key: str, token: str) -> None:
        self._backend, self._state, self._key, self._token = backend, state, key, token

    def release(self) -> None:
        if self._state.pid == os.getpid() and self._state.leases.pop(self._token, None) is not None:
            self._backend._give_back(self._state, [self._token])


class PostgresqlBackend:
    """Entries in one table of `bytea`, leases in another with a time by the clock of the server."""

    _lease_kind = _Lease

    def __init__(self, settings: PostgresqlSettings) -> None:
        self._settings = settings
        self._closed = False
        self._writes = itertools.count(1)
        try:
            conninfo.conninfo_to_dict(settings.dsn.get_secret_value())
        except psycopg.Error:
            raise ConfigurationError("The option dsn is no connection string of PostgreSQL: correct it.") from None
        name = hashlib.sha256(settings.namespace.encode("utf-8", "surrogatepass")).hexdigest()[:40]
        self._entries = sql.Identifier(f"symcache_{name}")
        self._lease_table = sql.Identifier(f"symcache_{name}_leases")
        self._meta = sql.Identifier(f"symcache_{name}_meta")
        self._creation = int(name[:15], 16)
        self._state = self._new_state()

    # what every method uses

    def _session_options(self) -> str:
        given = conninfo.conninfo_to_dict(self._settings.dsn.get_secret_value()).get("options") or ""
        lock, query = int(self._settings.lock_timeout * 1000), int(self._settings.query_timeout * 1000)
        bounds = f"-c lock_timeout={lock} -c statement_timeout={query} -c idle_in_transaction_session_timeout={query}"
        return f"{given} {bounds} -c timezone=UTC -c client_encoding=UTF8"

    def _new_state(self) -> _State:
        try:
            return _State(self._settings, self)
        except psycopg.Error as error:
            raise BackendUnavailableError(f"PostgreSQL cannot be used ({type(error).__name__}).") from None

    def _here(self) -> _State:
        if self._state.pid != os.getpid():
            _INHERITED.append(self._state)
            self._state = self._new_state()
        if self._closed:
            raise ClosedError(CLOSED)
        return self._state

    def _query(self, text: str) -> sql.Composed:
        names = {"entries": self._entries, "leases": self._lease_table, "meta": self._meta}
        return sql.SQL(text).format(**names)

    def _with_connection(self, state: _State, work: Callable[[_Connection], T]) -> T:
        """Lends a connection. One that broke while nobody looked is thrown away before it is used."""
        deadline = time.monotonic() + self._settings.connect_timeout
        while True:
            connection = state.pool.getconn(timeout=max(deadline - time.monotonic(), 0.05))
            try:
                if not connection.closed and not self._broken(connection):
                    return work(connection)
                connection.close()
            finally:
                state.pool.putconn(connection)

    @staticmethod
    def _broken(connection: _Connection) -> bool:
        """An idle connection has nothing to read: what it has is its end or a last word of the server."""
        waiter = select.poll()
        waiter.register(connection.pgconn.socket, select.POLLIN)
        return bool(waiter.poll(0))

    def _run(self, work: Callable[[_Connection], T]) -> T:
        state = self._here()
        try:
            if not state.ready:
                self._with_connection(state, self._prepare)
                state.ready = True
            answer = self._with_connection(state, work)
            state.silent = False
            return answer
        except psycopg_pool.PoolClosed:
            raise ClosedError(CLOSED) from None
        except (psycopg.Error, OSError, ValueError) as error:
            if self._closed:
                raise ClosedError(CLOSED) from None
            raise self._translated(state, error) from None

    @staticmethod
    def _translated(state: _State, error: Exception) -> BackendError:
        code = getattr(error, "sqlstate", None) or "no code"
        about = f"({type(error).__name__}, {code})"
        if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            state.read_only = "the server takes no writes now"
        if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
            return CorruptStoreError(
                f"A table of the store is missing or another one {about}: restore or drop them all."
            )
        if isinstance(error, psycopg.DataError | psycopg.errors.ProgramLimitExceeded):
            return BackendError(f"PostgreSQL refuses this key or entry {about}.")
        state.silent = True
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return BackendUnavailableError(f"The user may not do this {about}: grant it the rights.")
        return BackendUnavailableError(f"PostgreSQL does not do it now {about}: see whether it runs, and dsn.")

    def _prepare(self, connection: _Connection) -> None:
        found = connection.execute("SELECT to_regclass(%s)", [self._meta.as_string(connection)]).fetchone()
        if not found or found[0] is None:
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [self._creation])
                for line in (
                    "CREATE TABLE IF NOT EXISTS {entries} (key bytea PRIMARY KEY, entry bytea NOT NULL, over float8)",
                    "CREATE INDEX IF NOT EXISTS {over} ON {entries} (over)",
                    (
                        "CREATE TABLE IF NOT EXISTS {leases}"
                        " (key bytea PRIMARY KEY, token text, who text, until timestamptz)"
                    ),
                    "CREATE TABLE IF NOT EXISTS {meta} (version int NOT NULL)",
                    f"INSERT INTO {{meta}} SELECT {SCHEMA} WHERE NOT EXISTS (SELECT 1 FROM {{meta}})",
                ):
                    names = {"entries": self._entries, "leases": self._lease_table, "meta": self._meta}
                    over = sql.Identifier(self._entries.as_string(connection).strip('"') + "_over")
                    connection.execute(sql.SQL(line).format(over=over, **names))
        versions = connection.execute(self._query("SELECT version FROM {meta}")).fetchall()
        if len(versions) != 1:
            raise CorruptStoreError("The store has no version: restore its tables, or drop them all.")
        if versions[0][0] > SCHEMA:
            raise NewerSchemaError(
                f"The store has version {versions[0][0]}, this is for {SCHEMA}: upgrade the backend."
            )

    @staticmethod
    def _stored_key(key: str) -> bytes:
        try:
            raw = key.encode()
        except UnicodeEncodeError:
            raise BackendError("A key with a lone surrogate cannot be stored.") from None
        if len(raw) > LONGEST_KEY:
            raise BackendError(f"A key may have {LONGEST_KEY} bytes, this one has {len(raw)}.")
        return raw

    @staticmethod
    def _check_entry(entry: bytes) -> None:
        if len(entry) > LARGEST_ENTRY:
            raise BackendError(f"An entry may have {LARGEST_ENTRY} bytes, this one has {len(entry)}.")

    PUT = (
        "INSERT INTO {entries} (key, entry, over) VALUES (%s, %s, %s)"
        " ON CONFLICT (key) DO UPDATE SET entry = excluded.entry, over = excluded.over"
    )

    # the six methods

    def read(self, key: str) -> bytes | None:
        row = self._run(self._select("SELECT entry FROM {entries} WHERE key = %s", [self._stored_key(key)]))
        return bytes(row[0][0]) if row else None

    def _select(self, text: str, values: Sequence[Any]) -> Callable[[_Connection], list[Any]]:
        return lambda connection: connection.execute(self._query(text), values, binary=True).fetchall()

    def _count(self, text: str, values: Sequence[Any]) -> Callable[[_Connection], int]:
        return lambda connection: connection.execute(self._query(text), values).rowcount

    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        self.write_many({key: (entry, keep_until)})

    def delete(self, key: str) -> bool:
        return self._run(self._count("DELETE FROM {entries} WHERE key = %s", [self._stored_key(key)])) > 0

    def keys(self) -> Iterator[str]:
        self._here()
        return self._pages()

    def _pages(self) -> Iterator[str]:
        text, after = "SELECT key FROM {entries} WHERE key >= %s ORDER BY key LIMIT %s", b""
        while True:
            rows = self._run(self._select(text, [after, PAGE]))
            yield from (bytes(row[0]).decode() for row in rows)
            if len(rows) < PAGE:
                return
            after = bytes(rows[-1][0]) + b"\0"

    def clear(self) -> int:
        return self._run(self._count("DELETE FROM {entries}", []))

    def close(self) -> None:
        if self._closed or self._state.pid != os.getpid():
            self._closed = True
            return
        self._closed = True
        state = self._state
        state.stop.set()
        tokens = list(state.leases)
        state.leases.clear()
        if tokens and not state.silent:
            self._give_back(state, tokens)
        state.pool.close(timeout=0.0 if state.silent else 0.5)

    # what PostgreSQL can do besides

    def update(self, key: str, change: Callable[[bytes | None], tuple[bytes, float] | None]) -> None:
        stored = self._stored_key(key)
        raised: list[BaseException] = []

        def called(old: bytes | None) -> tuple[bytes, float] | None:
            try:
                return change(old)
            except BaseException as error:
                raised.append(error)
                raise

        deadline = time.monotonic() + self._settings.lock_timeout
        try:
            while not self._run(lambda connection: self._try_update(connection, stored, called)):
                if time.monotonic() > deadline:
                    raise BackendUnavailableError("Others write the entry all the time: raise lock_timeout.")
        except BaseException:
            if raised:
                raise raised.pop() from None
            raise

    def _try_update(self, connection: _Connection, stored: bytes, change: Callable[[bytes | None], Any]) -> bool:
        """The lock of the row keeps others out. Where there is none yet, the first one to make it wins."""
        with connection.transaction():
            row = self._select("SELECT entry FROM {entries} WHERE key = %s FOR UPDATE", [stored])(connection)
            new = change(bytes(row[0][0]) if row else None)
            if new is None:
                return True
            self._check_entry(new[0])
            values = [stored, *new]
            if row:
                return self._count(self.PUT, values)(connection) > 0
            made = "INSERT INTO {entries} (key, entry, over) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
            return self._count(made, values)(connection) > 0

    def read_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        wanted = {self._stored_key(key): key for key in keys}
        rows = self._run(self._select("SELECT key, entry FROM {entries} WHERE key = ANY(%s)", [list(wanted)]))
        return {wanted[bytes(key)]: bytes(entry) for key, entry in rows}

    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        """In the order of keys, so that two batches do not wait for each other."""
        for entry, _ in entries.values():
            self._check_entry(entry)
        rows = sorted((self._stored_key(key), entry, until) for key, (entry, until) in entries.items())

        def work(connection: _Connection) -> None:
            if len(rows) == 1:
                self._count(self.PUT, rows[0])(connection)
                return
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(self._query(self.PUT), rows)

        if rows:
            self._run(work)
        if next(self._writes) % 500 == 0:
            self._drop_over()

    def _drop_over(self) -> None:
        self._run(self._count("DELETE FROM {entries} WHERE over < %s", [time.time()]))

    def compact(self) -> None:
        self._drop_over()
        text = "DELETE FROM {leases} WHERE until < clock_timestamp() - interval '1 hour'"
        self._run(self._count(text, []))

    def size(self) -> int:
        names = [table.as_string(None) for table in (self._entries, self._lease_table, self._meta)]
        text = "SELECT sum(pg_total_relation_size(name::regclass))::bigint FROM unnest(%s::text[]) AS name"
        return int(self._run(self._select(text, [names]))[0][0])

    def read_only(self) -> str | None:
        return self._here().read_only

    # leases

    TAKE = (
        "INSERT INTO {leases} VALUES (%s, %s, %s, clock_timestamp() + %s * interval '1 second')"
        " ON CONFLICT (key) DO UPDATE SET token = excluded.token, who = excluded.who, until = excluded.until"
        " WHERE {leases}.until < clock_timestamp()"
    )
    RENEW = "UPDATE {leases} SET until = clock_timestamp() + %s * interval '1 second' WHERE token = ANY(%s)"
    GIVE_BACK = "DELETE FROM {leases} WHERE token = ANY(%s)"

    def try_lock(self, key: str) -> Lease | None:
        token, who = secrets.token_hex(16), f"process {os.getpid()} on {socket.gethostname()}"
        if not self._run(self._count(self.TAKE, [self._stored_key(key), token, who, LEASE_SECONDS])):
            return None
        state = self._here()
        state.leases[token] = key
        self._renew_from_now_on(state)
        return self._lease_kind(self, state, key, token)

    def lease_holder(self, key: str) -> LeaseHolder | None:
        text = "SELECT token, who FROM {leases} WHERE key = %s AND until >= clock_timestamp()"
        rows = self._run(self._select(text, [self._stored_key(key)]))
        return LeaseHolder(mark=rows[0][0], who=rows[0][1]) if rows else None

    def _renew_from_now_on(self, state: _State) -> None:
        with state.mutex:
            if state.renewer is None and not state.stop.is_set():
                state.renewer = threading.Thread(target=self._renew, args=[state], name="symcache-leases", daemon=True)
                state.renewer.start()

    def _renew(self, state: _State) -> None:
        while not state.stop.wait(RENEW_SECONDS):
            tokens = list(state.leases)
            if not tokens:
                continue
            try:
                self._run(self._count(self.RENEW, [LEASE_SECONDS, tokens]))
            except ClosedError:
                return
            except BackendError as error:
                log.warning("leases were not renewed, this is tried again: %s", error)

    def _give_back(self, state: _State, tokens: list[str]) -> None:
        """Without an answer the lease ends by itself."""
        if state.silent:
            return
        try:
            self._with_connection(state, self._count(self.GIVE_BACK, [tokens]))
        except (psycopg.Error, OSError, ValueError) as error:
            state.silent = True
            log.info("a lease was not given back (%s), it ends by itself", type(error).__name__)


@hookimpl
def symcache_backends() -> Iterator[Backend]:
    yield Backend(name="postgresqlstore", settings=PostgresqlSettings, open=PostgresqlBackend, persistent=True)
