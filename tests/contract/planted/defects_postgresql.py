"""Backends over PostgreSQL that break one promise each."""

import contextlib
import datetime as dt
import json
import logging
import math
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg
from defect import Defect
from postgresql_store import (
    LEASE_SECONDS,
    PAGE,
    RENEW_SECONDS,
    PostgresqlBackend,
    PostgresqlSettings,
    _Connection,
    _Lease,
    _State,
)
from psycopg import conninfo

from symcache_core.errors import BackendError, BackendUnavailableError, ClosedError, ConfigurationError
from symcache_core.protocols import Lease, LeaseHolder

Change = Callable[[bytes | None], tuple[bytes, float] | None]
log = logging.getLogger("symcache")


class DropsNul(PostgresqlBackend):
    @staticmethod
    def _stored_key(key: str) -> bytes:
        return PostgresqlBackend._stored_key(key.replace("\0", ""))


class FoldsCase(PostgresqlBackend):
    @staticmethod
    def _stored_key(key: str) -> bytes:
        return PostgresqlBackend._stored_key(key.upper())


class PadsKeys(PostgresqlBackend):
    @staticmethod
    def _stored_key(key: str) -> bytes:
        return PostgresqlBackend._stored_key(key.rstrip(" "))


class LongKeyIsOutage(PostgresqlBackend):
    @staticmethod
    def _stored_key(key: str) -> bytes:
        try:
            return PostgresqlBackend._stored_key(key)
        except BackendError as error:
            raise BackendUnavailableError(str(error)) from None


class WholeSeconds(PostgresqlBackend):
    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        whole = {k: (entry, until if math.isinf(until) else float(int(until))) for k, (entry, until) in entries.items()}
        super().write_many(whole)

    def read(self, key: str) -> bytes | None:
        text = "SELECT entry FROM {entries} WHERE key = %s AND over > %s"
        row = self._run(self._select(text, [self._stored_key(key), time.time()]))
        return bytes(row[0][0]) if row else None


class InfinityIsNone(PostgresqlBackend):
    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        super().write_many({k: (entry, 0.0 if math.isinf(until) else until) for k, (entry, until) in entries.items()})


class FarTimesFail(PostgresqlBackend):
    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        if not math.isinf(keep_until):
            keep_until = dt.datetime.fromtimestamp(keep_until, dt.UTC).timestamp()
        super().write(key, entry, keep_until)


class KeepsFirstTime(PostgresqlBackend):
    PUT = (
        "INSERT INTO {entries} (key, entry, over) VALUES (%s, %s, %s)"
        " ON CONFLICT (key) DO UPDATE SET entry = excluded.entry"
    )


class BatchKeepsOld(PostgresqlBackend):
    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        if len(entries) > 1:
            self.PUT = "INSERT INTO {entries} (key, entry, over) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
        try:
            super().write_many(entries)
        finally:
            self.PUT = PostgresqlBackend.PUT


class ParsesEntries(PostgresqlBackend):
    def write_many(self, entries: Mapping[str, tuple[bytes, float]]) -> None:
        def parsed(entry: bytes) -> bytes:
            try:
                return json.dumps(json.loads(entry), ensure_ascii=False, separators=(",", ":")).encode()
            except ValueError:
                return entry

        super().write_many({key: (parsed(entry), until) for key, (entry, until) in entries.items()})


class SmallEntries(PostgresqlBackend):
    @staticmethod
    def _check_entry(entry: bytes) -> None:
        if len(entry) > 1_000_000:
            raise BackendError("An entry may have one megabyte.")


class LocksUpdatesOnly(PostgresqlBackend):
    def _try_update(self, connection: _Connection, stored: bytes, change: Callable[[bytes | None], Any]) -> bool:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [self._creation % 2**31, stored.hex()])
            row = self._select("SELECT entry FROM {entries} WHERE key = %s", [stored])(connection)
            new = change(bytes(row[0][0]) if row else None)
            if new is not None:
                self._check_entry(new[0])
                self._count(self.PUT, [stored, *new])(connection)
        return True


class TwoMakeOne(PostgresqlBackend):
    def _try_update(self, connection: _Connection, stored: bytes, change: Callable[[bytes | None], Any]) -> bool:
        with connection.transaction():
            row = self._select("SELECT entry FROM {entries} WHERE key = %s FOR UPDATE", [stored])(connection)
            new = change(bytes(row[0][0]) if row else None)
            if new is not None:
                self._check_entry(new[0])
                self._count(self.PUT, [stored, *new])(connection)
        return True


class TakesChangeForDriver(PostgresqlBackend):
    def update(self, key: str, change: Change) -> None:
        stored = self._stored_key(key)
        while not self._run(lambda connection: self._try_update(connection, stored, change)):
            pass


class LeaksConnectionOfChange(PostgresqlBackend):
    def update(self, key: str, change: Change) -> None:
        self._run(lambda connection: None)
        state = self._here()
        try:
            connection = state.pool.getconn()
        except psycopg.Error as error:
            raise self._translated(state, error) from None
        stored, done = self._stored_key(key), False
        while not done:
            done = self._try_update(connection, stored, change)
        state.pool.putconn(connection)


class AwayIsMiss(PostgresqlBackend):
    def read(self, key: str) -> bytes | None:
        try:
            return super().read(key)
        except BackendUnavailableError:
            log.warning("PostgreSQL is away, the entry is taken for missing")
            return None


class WriteIsBestEffort(PostgresqlBackend):
    def write(self, key: str, entry: bytes, keep_until: float) -> None:
        try:
            super().write(key, entry, keep_until)
        except BackendUnavailableError:
            log.warning("PostgreSQL is away, the entry was not stored")


class BatchReadsMissWhenAway(PostgresqlBackend):
    def read_many(self, keys: Any) -> Mapping[str, bytes]:
        try:
            return super().read_many(keys)
        except BackendUnavailableError:
            return {}


class PasswordInError(PostgresqlBackend):
    def _run(self, work: Callable[[_Connection], Any]) -> Any:
        try:
            return super()._run(work)
        except BackendUnavailableError as error:
            dsn = self._settings.dsn.get_secret_value()
            raise BackendUnavailableError(f"{error} The connection was: {dsn}") from None


class PasswordInLog(PostgresqlBackend):
    def _new_state(self) -> _State:
        log.debug("opening a pool with %s", conninfo.conninfo_to_dict(self._settings.dsn.get_secret_value()))
        return super()._new_state()


class PasswordInCause(PostgresqlBackend):
    def __init__(self, settings: PostgresqlSettings) -> None:
        try:
            super().__init__(settings)
        except ConfigurationError as error:
            cause = psycopg.ProgrammingError(f"invalid connection string {settings.dsn.get_secret_value()}")
            raise ConfigurationError(str(error)) from cause


class PasswordInRepr(PostgresqlBackend):
    def __repr__(self) -> str:
        return f"<PostgresqlBackend {self._settings.dsn.get_secret_value()} {self._settings.namespace}>"


class NoBoundOnQueries(PostgresqlBackend):
    def _new_state(self) -> _State:
        state = super()._new_state()
        state.patience = 86400.0
        return state

    def _session_options(self) -> str:
        return "-c client_encoding=UTF8"


class DeadConnectionsFirst(PostgresqlBackend):
    @staticmethod
    def _broken(connection: _Connection) -> bool:
        return False


class StaysDown(PostgresqlBackend):
    def _run(self, work: Callable[[_Connection], Any]) -> Any:
        state = self._here()
        if state.silent:
            raise BackendUnavailableError("PostgreSQL was away: open the backend anew.")
        return super()._run(work)


class SharesPoolWithChild(PostgresqlBackend):
    def _here(self) -> _State:
        if self._closed:
            raise ClosedError("The backend is closed.")
        return self._state


class ChildHangsUp(PostgresqlBackend):
    def _here(self) -> _State:
        old = self._state
        state = super()._here()
        if state is not old:
            for connection in list(old.pool._pool):
                with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=connection.fileno()) as line:
                    line.shutdown(socket.SHUT_RDWR)
        return state


class _ChildReleases(_Lease):
    def release(self) -> None:
        if self._state.leases.pop(self._token, None) is not None:
            self._backend._give_back(self._backend._here(), [self._token])


class ChildReleasesParents(PostgresqlBackend):
    _lease_kind = _ChildReleases


class ChildRenewsParents(PostgresqlBackend):
    """Takes the leases along into the child, which renews them after the parent has died."""

    def _here(self) -> _State:
        old = self._state
        state = super()._here()
        if state is not old and old.leases:
            state.leases.update(old.leases)
            self._renew_from_now_on(state)
        return state


class NeverRenews(PostgresqlBackend):
    def _renew_from_now_on(self, state: _State) -> None:
        pass


class RenewerDies(PostgresqlBackend):
    def _renew(self, state: _State) -> None:
        try:
            while not state.stop.wait(RENEW_SECONDS):
                if state.leases:
                    self._run(self._count(self.RENEW, [LEASE_SECONDS, list(state.leases)]))
        except (BackendError, ClosedError) as error:
            log.warning("leases are renewed no more: %s", error)


class ThreadForEachLease(PostgresqlBackend):
    def _renew_from_now_on(self, state: _State) -> None:
        token = list(state.leases)[-1]

        def renew() -> None:
            while token in state.leases and not state.stop.wait(RENEW_SECONDS):
                with contextlib.suppress(BackendError, ClosedError):
                    self._run(self._count(self.RENEW, [LEASE_SECONDS, [token]]))

        threading.Thread(target=renew, daemon=True).start()


class ThreadKeepsInterpreter(PostgresqlBackend):
    def _renew_from_now_on(self, state: _State) -> None:
        with state.mutex:
            if state.renewer is None:
                state.renewer = threading.Thread(target=self._renew, args=[state], daemon=False)
                state.renewer.start()


class ThreadSurvivesClose(PostgresqlBackend):
    def _renew(self, state: _State) -> None:
        while True:
            time.sleep(RENEW_SECONDS)
            with contextlib.suppress(BackendError, ClosedError):
                if state.leases:
                    self._run(self._count(self.RENEW, [LEASE_SECONDS, list(state.leases)]))


class LeaseOutlivesHolder(PostgresqlBackend):
    TAKE = PostgresqlBackend.TAKE.replace("interval '1 second'", "interval '1 minute'")
    RENEW = PostgresqlBackend.RENEW.replace("interval '1 second'", "interval '1 minute'")


class _ReleasesKey(_Lease):
    def release(self) -> None:
        if self._state.pid == os.getpid():
            self._state.leases.pop(self._token, None)
            self._backend._give_back(self._state, [self._key])


class ReleasesByKey(PostgresqlBackend):
    GIVE_BACK = "DELETE FROM {leases} WHERE convert_from(key, 'UTF8') = ANY(%s) OR token = ANY(%s)"
    _lease_kind = _ReleasesKey

    def _give_back(self, state: _State, tokens: list[str]) -> None:
        with contextlib.suppress(psycopg.Error):
            self._with_connection(state, self._count(self.GIVE_BACK, [tokens, tokens]))


class ClearTakesLeases(PostgresqlBackend):
    def clear(self) -> int:
        count = super().clear()
        self._run(self._count("DELETE FROM {leases}", []))
        return count


class CompactTakesLeases(PostgresqlBackend):
    def compact(self) -> None:
        super().compact()
        self._run(self._count("DELETE FROM {leases} WHERE until < clock_timestamp() + interval '1 hour'", []))


class CloseTakesOthersLeases(PostgresqlBackend):
    def close(self) -> None:
        if not self._closed and not self._state.silent and self._state.pid == os.getpid():
            who = f"process {os.getpid()} on {socket.gethostname()}"
            with contextlib.suppress(BackendError):
                self._run(self._count("DELETE FROM {leases} WHERE who = %s", [who]))
        super().close()


class CloseKeepsLeases(PostgresqlBackend):
    def close(self) -> None:
        self._state.leases.clear()
        super().close()


class MarkMoves(PostgresqlBackend):
    def lease_holder(self, key: str) -> LeaseHolder | None:
        text = "SELECT until::text, who FROM {leases} WHERE key = %s AND until >= clock_timestamp()"
        rows = self._run(self._select(text, [self._stored_key(key)]))
        return LeaseHolder(mark=rows[0][0], who=rows[0][1]) if rows else None


class WaitsForLease(PostgresqlBackend):
    def try_lock(self, key: str) -> Lease | None:
        for _ in range(20):
            lease = super().try_lock(key)
            if lease is not None:
                return lease
            time.sleep(0.1)
        return None


class ReleaseRingsTwice(PostgresqlBackend):
    """Asks a storage that is known to be away all the same, and waits for it."""

    def _give_back(self, state: _State, tokens: list[str]) -> None:
        state.silent = False
        super()._give_back(state, tokens)


class LeaseIsAnEntry(PostgresqlBackend):
    """Keeps a lease as an entry, so that the two of one key meet, and `keys` gives it."""

    def try_lock(self, key: str) -> Lease | None:
        lease = super().try_lock(key)
        if lease is not None:
            self.write(f"{key}:lease", b"{}", time.time() + 60)
        return lease


class PlainNames(PostgresqlBackend):
    def __init__(self, settings: PostgresqlSettings) -> None:
        name = re.sub(r"\W", "_", settings.namespace)
        super().__init__(settings.model_copy(update={"namespace": name}))


class FoldsNames(PostgresqlBackend):
    def __init__(self, settings: PostgresqlSettings) -> None:
        super().__init__(settings.model_copy(update={"namespace": settings.namespace.lower().strip()}))


class CutsNames(PostgresqlBackend):
    def __init__(self, settings: PostgresqlSettings) -> None:
        super().__init__(settings.model_copy(update={"namespace": settings.namespace[:63]}))


class PagesByOffset(PostgresqlBackend):
    def _pages(self) -> Iterator[str]:
        offset = 0
        while True:
            text = "SELECT key FROM {entries} ORDER BY key LIMIT %s OFFSET %s"
            rows = self._run(self._select(text, [PAGE // 5, offset]))
            yield from (bytes(row[0]).decode() for row in rows)
            if not rows:
                return
            offset += len(rows)


class CursorHoldsConnection(PostgresqlBackend):
    def _pages(self) -> Iterator[str]:
        self._run(lambda connection: None)
        pool = self._here().pool
        connection = pool.getconn()
        try:
            with connection.transaction(), connection.cursor(name=f"keys_{secrets.token_hex(4)}") as cursor:
                cursor.execute(self._query("SELECT key FROM {entries}"))
                for row in cursor:
                    yield bytes(row[0]).decode()
        finally:
            pool.putconn(connection)


class SizeCountsRows(PostgresqlBackend):
    def size(self) -> int:
        return int(self._run(self._select("SELECT count(*) FROM {entries}", []))[0][0])


class AsksWhetherReadOnly(PostgresqlBackend):
    def read_only(self) -> str | None:
        answer = self._run(self._select("SELECT current_setting('transaction_read_only')", []))
        return "the server takes no writes" if answer[0][0] == "on" else None


class NeverReadOnly(PostgresqlBackend):
    def read_only(self) -> str | None:
        self._here()
        return None


class RawErrors(PostgresqlBackend):
    @staticmethod
    def _translated(state: _State, error: Exception) -> Any:
        state.silent = isinstance(error, psycopg.OperationalError)
        if isinstance(error, psycopg.OperationalError):
            return ConnectionError("PostgreSQL is away")
        return PostgresqlBackend._translated(state, error)


class ReopensAfterClose(PostgresqlBackend):
    def _here(self) -> _State:
        if self._closed:
            self._state, self._closed = self._new_state(), False
        return super()._here()


class OneAtATime(PostgresqlBackend):
    def __init__(self, settings: PostgresqlSettings) -> None:
        self._one = threading.RLock()
        super().__init__(settings)

    def _with_connection(self, state: _State, work: Callable[[_Connection], Any]) -> Any:
        with self._one:
            return super()._with_connection(state, work)


class CloseLeavesPool(PostgresqlBackend):
    def close(self) -> None:
        pool = self._state.pool
        if not self._closed:
            _KEPT.append(pool)
            self._state.stop.set()
            self._state.leases.clear()
        self._closed = True


_KEPT: list[Any] = []


class SetsZone(PostgresqlBackend):
    def _new_state(self) -> _State:
        os.environ["PGTZ"] = "UTC"
        os.environ["PGCONNECT_TIMEOUT"] = str(int(self._settings.connect_timeout))
        return super()._new_state()


class WaitsInClose(PostgresqlBackend):
    """Lets calls finish before it closes, however long they take."""

    def __init__(self, settings: PostgresqlSettings) -> None:
        self._going = 0
        super().__init__(settings)

    def _run(self, work: Callable[[_Connection], Any]) -> Any:
        self._going += 1
        try:
            return super()._run(work)
        finally:
            self._going -= 1

    def close(self) -> None:
        while self._going > 0:
            time.sleep(0.01)
        super().close()


class LogsUnderLock(PostgresqlBackend):
    def __init__(self, settings: PostgresqlSettings) -> None:
        self._logging = threading.Lock()
        super().__init__(settings)

    def _run(self, work: Callable[[_Connection], Any]) -> Any:
        try:
            return super()._run(work)
        except BackendUnavailableError as error:
            with self._logging:
                log.warning("a call failed: %s", error)
            raise


class BadDsnIsOutage(PostgresqlBackend):
    def __init__(self, settings: PostgresqlSettings) -> None:
        try:
            super().__init__(settings)
        except ConfigurationError:
            raise BackendUnavailableError("PostgreSQL cannot be reached: see dsn.") from None


LIMIT_NAMES = (
    "Two stores whose names differ in anything at all, case, blanks, `#`, `?`, `%` or one being the beginning of the "
    "other, share nothing"
)
MISS = "`read` raises `BackendUnavailableError`, and gives neither `None` nor what was there before"
SECRET = "None shows in an error, a log record, a `repr` or a warning, neither your own nor what a driver says"

DEFECTS = [
    Defect(
        "leaves NUL out of keys",
        "Keys are any text without lone surrogates",
        DropsNul,
        case="test_keys_are_told_apart_character_by_character",
    ),
    Defect(
        "takes `AAPL` and `aapl` for one key",
        "compared character by character",
        FoldsCase,
        case="test_keys_are_told_apart_character_by_character",
    ),
    Defect(
        "takes `AAPL` and `AAPL ` for one key",
        "compared character by character",
        PadsKeys,
        case="test_keys_are_told_apart_character_by_character",
    ),
    Defect(
        "says that the storage is away when a key is too long for it",
        "It says nothing of the storage, which goes on to be used for all others",
        LongKeyIsOutage,
        case="test_a_key_that_is_refused_is_refused_alone",
    ),
    Defect(
        "counts in whole seconds, rounded down, and reads nothing that is over",
        "Until then the entry must be there",
        WholeSeconds,
        case="test_an_entry_is_there_until_its_very_moment",
    ),
    Defect(
        "drops what is kept for ever when it is compacted",
        "is in seconds since the epoch (UTC), a float, maybe in the past, maybe `math.inf`. Until then the entry "
        "must be "
        "there",
        InfinityIsNone,
        case="test_compacting_takes_nothing_before_its_time",
    ),
    Defect(
        "raises a ValueError for a finite time that no calendar has",
        "Only errors of `symcache_core.errors` come out",
        FarTimesFail,
        case="test_an_entry_may_live_for_ever",
    ),
    Defect(
        "keeps the first time of a key when it is written again",
        "in place of any other with its time",
        KeepsFirstTime,
        case="test_compacting_takes_nothing_before_its_time",
    ),
    Defect(
        "does not replace in batches what is there already",
        "**`write_many`** is `write` of each",
        BatchKeepsOld,
        case="test_writing_many_equals_writing_each",
    ),
    Defect(
        "parses JSON and writes it down in its own way",
        "It is given back byte for byte, as `bytes`: never parsed, stripped or ended with a newline.",
        ParsesEntries,
        case="test_an_entry_comes_back_byte_for_byte",
    ),
    Defect(
        "takes entries of a million bytes at most",
        "One megabyte (2^20 bytes) has to fit, even if it cannot be compressed.",
        SmallEntries,
        case="test_entries_of_a_megabyte_that_cannot_be_compressed_are_all_kept",
    ),
    Defect(
        "keeps other updates out of an update, but not a plain write",
        "in whatever process or object, be it another `update` or a plain `write`",
        LocksUpdatesOnly,
        case="test_an_update_overwrites_nothing_of_other_threads_unseen",
    ),
    Defect(
        "loses an update when two make the same entry for the first time",
        "`update` has nobody in between, in whatever process or object",
        TwoMakeOne,
        case="test_an_update_of_threads_has_nobody_in_between",
    ),
    Defect(
        "takes an OSError or ValueError that change raises for one of its own, and says that the storage is away",
        "What it raises goes out unchanged",
        TakesChangeForDriver,
        case="test_what_change_raises_is_taken_for_nobody_elses",
    ),
    Defect(
        "loses a connection each time that change raises",
        "Descriptors, threads and connections do not grow with calls, with objects that were closed, or with what "
        "`change` "
        "raises.",
        LeaksConnectionOfChange,
        case="test_errors_leave_nothing_open",
    ),
    Defect("reads a miss while the server is away", MISS, AwayIsMiss, case="test_an_outage_is_no_miss"),
    Defect(
        "returns from write while the server is away",
        "`write` raises it for what the storage may not have",
        WriteIsBestEffort,
        case="test_what_is_acknowledged_in_an_outage_is_there_after_it",
    ),
    Defect(
        "reads an empty batch while the server is away",
        "A storage that is away is no miss.",
        BatchReadsMissWhenAway,
        case="test_an_outage_is_no_miss",
    ),
    Defect(
        "has its connection string, and so the password, in the errors of an outage",
        SECRET,
        PasswordInError,
        case="test_no_secret_shows_in_an_outage",
    ),
    Defect(
        "logs the password at the level DEBUG when it is opened",
        SECRET,
        PasswordInLog,
        case="test_no_secret_is_logged_or_printed",
    ),
    Defect(
        "gives the driver's error with the string in it as the cause of its own, when the string is wrong",
        "`raise ... from None` where that has the URL in it",
        PasswordInCause,
        case="test_a_secret_that_cannot_be_right_is_not_shown",
    ),
    Defect("shows the password in its repr", SECRET, PasswordInRepr, case="test_no_secret_shows"),
    Defect(
        "bounds no query, so that a server which does not answer any more holds calls for a day",
        "Every call ends promptly: bound each connection, each query and each wait, by an option of yours.",
        NoBoundOnQueries,
        case="test_every_call_in_an_outage_ends_promptly_and_with_our_errors",
        outage="silent",
    ),
    Defect(
        "lends out connections that an outage has broken, once each, after the server is back",
        "When the storage is back, so is the same object, without being opened anew.",
        DeadConnectionsFirst,
        case="test_connections_that_an_outage_broke_are_used_by_nobody",
    ),
    Defect(
        "is down for good after the first outage",
        "When the storage is back, so is the same object, without being opened anew.",
        StaysDown,
        case="test_after_an_outage_the_same_object_goes_on",
    ),
    Defect(
        "uses its parent's pool in a child",
        "begin anew in the child with connections, locks and threads of its own",
        SharesPoolWithChild,
        case="test_a_forked_child_and_its_parent_do_not_disturb_each_other",
    ),
    Defect(
        "hangs up its parent's connections in a child",
        "and its connections not even closed where that says something to the other side",
        ChildHangsUp,
        case="test_a_forked_child_leaves_the_lease_to_its_parent",
    ),
    Defect(
        "lets a child give back the leases of its parent",
        "In the child, `release` of an inherited lease does nothing but let go of memory and descriptors.",
        ChildReleasesParents,
        case="test_a_forked_child_leaves_the_lease_to_its_parent",
    ),
    Defect(
        "renews its parent's leases in a child, even after the parent's death",
        "its leases are neither released nor renewed by the child",
        ChildRenewsParents,
        case="test_a_forked_child_leaves_the_lease_to_its_parent",
    ),
    Defect(
        "does not renew leases, which end after eight seconds",
        "if leases expire in your storage, renew them, in one daemon thread for all",
        NeverRenews,
        case="test_a_lease_lasts_as_long_as_its_holder_lives",
    ),
    Defect(
        "renews leases no more after one outage, however short",
        "Nothing else ends it",
        RenewerDies,
        case="test_a_short_outage_ends_no_lease",
    ),
    Defect(
        "has a thread for each lease",
        "renew them, in one daemon thread for all",
        ThreadForEachLease,
        case="test_leases_that_are_held_take_no_thread_each",
    ),
    Defect(
        "renews leases in a thread that is no daemon, so that a program which does not close cannot end",
        "A thread of yours is a daemon, or ends with `close`; the interpreter must be able to end.",
        ThreadKeepsInterpreter,
        case="test_the_interpreter_ends",
    ),
    Defect(
        "leaves a thread behind for each object that had a lease and was closed",
        "Descriptors, threads and connections do not grow with calls, with objects that were closed",
        ThreadSurvivesClose,
        case="test_objects_that_were_closed_leave_nothing_open",
    ),
    Defect(
        "keeps the lease of a dead holder for eight minutes",
        "when its holder dies: at once, or within ten seconds",
        LeaseOutlivesHolder,
        case="test_a_lease_dies_with_its_holder",
    ),
    Defect(
        "frees whoever has the key now with a late release",
        "a late one frees nobody else's lease",
        ReleasesByKey,
        case="test_releasing_twice_frees_no_other_lease",
    ),
    Defect(
        "drops leases with clear",
        "they are gone; leases stay",
        ClearTakesLeases,
        case="test_no_use_of_the_store_ends_a_lease",
    ),
    Defect(
        "drops leases that are held with compact",
        "Nothing else ends it: no `clear`, no `compact`",
        CompactTakesLeases,
        case="test_no_use_of_the_store_ends_a_lease",
    ),
    Defect(
        "gives back the leases of all objects of the process with the first close",
        "no other object's `close`",
        CloseTakesOthersLeases,
        case="test_no_use_of_the_store_ends_a_lease",
    ),
    Defect(
        "leaves its leases to expire when it is closed",
        "It gives back the leases that are still held, if that can be done at once.",
        CloseKeepsLeases,
        case="test_close_gives_back_the_leases_that_are_held",
    ),
    Defect(
        "gives a new mark for the same holder each time that it renews",
        "a mark that stands for one holder's time with the lease",
        MarkMoves,
        case="test_a_holder_keeps_its_mark_as_long_as_it_has_the_lease",
    ),
    Defect(
        "waits two seconds for a lease that another has",
        "`try_lock` never blocks, and gives `None` at once",
        WaitsForLease,
        case="test_a_lease_that_is_taken_is_refused_at_once",
    ),
    Defect(
        "waits for a storage that is known to be away in order to give back a lease",
        "if the storage is known to be away, that is all it does",
        ReleaseRingsTwice,
        case="test_a_release_waits_for_no_storage_that_is_known_to_be_away",
    ),
    Defect(
        "writes an entry beside each lease, which keys gives",
        "A key's lease and its entry have nothing to do with each other.",
        LeaseIsAnEntry,
        case="test_a_lease_is_no_entry",
    ),
    Defect(
        "takes `a b`, `a#b` and `a?b` for one store",
        LIMIT_NAMES,
        PlainNames,
        case="test_stores_of_names_alike_share_no_entry",
    ),
    Defect(
        "takes stores whose names differ in case or in blanks around them for one",
        LIMIT_NAMES,
        FoldsNames,
        case="test_stores_of_names_alike_share_no_entry",
    ),
    Defect(
        "looks at the first 63 characters of the name of a store only",
        LIMIT_NAMES,
        CutsNames,
        case="test_stores_of_names_alike_share_no_entry",
    ),
    Defect(
        "lists by offset, and leaves keys out when others are deleted meanwhile",
        "what was there all the time is given, whatever others write or delete meanwhile",
        PagesByOffset,
        case="test_iterating_survives_writers",
    ),
    Defect(
        "holds a connection for each iterator that has not come to its end, and has no more than eight",
        "Descriptors, threads and connections do not grow with calls",
        CursorHoldsConnection,
        case="test_iterators_that_are_left_half_way_keep_nothing_from_others",
    ),
    Defect(
        "gives the number of entries as its size",
        "`size` is in bytes",
        SizeCountsRows,
        case="test_the_size_is_in_bytes_and_grows",
    ),
    Defect(
        "asks the server whether it is read-only, and raises while it is away",
        "as far as that is known without a look",
        AsksWhetherReadOnly,
        case="test_whether_a_store_is_read_only_is_known_in_an_outage",
    ),
    Defect(
        "never says that it is read-only; only visible on a server, or with options in dsn, that are",
        "`read_only` says why the storage takes no writes",
        NeverReadOnly,
        why_not="It shows on a server alone that takes no writes, and a suite cannot make one of it.",
    ),
    Defect(
        "raises Python's ConnectionError in an outage",
        "Only errors of `symcache_core.errors` come out",
        RawErrors,
        case="test_every_call_in_an_outage_ends_promptly_and_with_our_errors",
    ),
    Defect(
        "opens itself anew when it is used after close",
        "every other method raises `ClosedError`",
        ReopensAfterClose,
        case="test_a_closed_store_refuses_every_use",
    ),
    Defect(
        "makes one call at a time, so that the others wait behind one which hangs, one after the other",
        "no method may wait for a lock that another one holds during I/O, unless that wait is bounded",
        OneAtATime,
        case="test_every_call_in_an_outage_ends_promptly_and_with_our_errors",
    ),
    Defect(
        "leaves its connections open when it is closed",
        "nothing of this object is open",
        CloseLeavesPool,
        case="test_objects_that_were_closed_leave_nothing_open",
    ),
    Defect(
        "sets environment variables for the driver",
        "no signal handler, locale, working directory, umask or environment variable is changed",
        SetsZone,
        case="test_what_is_around_a_store_stays_as_it_was",
    ),
    Defect(
        "waits in close for each call that hangs",
        "and not at all for a storage that has just been silent",
        WaitsInClose,
        case="test_closing_beside_readers_ends_each_call",
    ),
    Defect(
        "logs an outage with a lock held that is no RLock, so that a handler which uses the cache hangs",
        "Log to the logger `symcache`, with no lock held: a handler may use the cache.",
        LogsUnderLock,
        case="test_a_log_handler_may_use_the_store_in_an_outage",
    ),
    Defect(
        "says that the storage is away when the connection string cannot be right",
        "`open` is given what cannot be right: a path that is a folder, a URL without a host",
        BadDsnIsOutage,
        case="test_a_url_that_cannot_be_right_is_a_wrong_configuration",
    ),
]
