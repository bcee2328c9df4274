"""Opens the SQLite database of a diskcache folder: for writing, or as far as it can only be read."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import diskcache
from diskcache.core import DBNAME, DEFAULT_SETTINGS, METADATA

from symcache_core.errors import LockTimeoutError

from .rows import BytesDisk

G = TypeVar("G")
T = TypeVar("T")

MAKING, WRITING, READING = "mode=rwc", "mode=rw", "mode=ro"
"""How to connect: as parameters of SQLite's URI."""

WITHOUT_LOG = "mode=ro&immutable=1"
"""For a database that has no log, on storage where none can be made; who connects looks out for changes."""

WITHOUT_INDEX = "mode=ro&vfs=unix-none"
"""For one that has a log, where the index beside it cannot be made: SQLite has it in memory of its own, if it takes
itself for the only one. So who connects looks out for changes, too."""

NOTHING = "nothing"
"""For one that is not there, on storage where none can be made: an empty one in memory; the same goes for it."""

_FULL_OR_READ_ONLY = {errno.EROFS, errno.ENOSPC, errno.EDQUOT}
_TAKES_NO_WRITES = _FULL_OR_READ_ONLY | {errno.EACCES, errno.EPERM}
_CANNOT_BE_WRITTEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}

_BUSY_WAIT = 0.05
"""Seconds that SQLite waits by itself for who has the database locked; whoever waits longer asks again."""

_FIRST_WAIT = 0.001
_LONGEST_WAIT = 0.02

_PRAGMAS = {
    "cache_size": DEFAULT_SETTINGS["sqlite_cache_size"],
    # A database that is cut short, or grows on a full disk, raises a signal in who has it mapped.
    "mmap_size": 0,
    "synchronous": DEFAULT_SETTINGS["sqlite_synchronous"],
}


class BusyError(Exception):
    """Somebody else has the database locked."""


def database_of(folder: Path) -> Path:
    """Where the database of a folder is."""
    return folder / str(DBNAME)


def beside(database: Path, suffix: str) -> Path:
    """One of the files that SQLite has beside a database: ``-wal``, the log, or ``-shm``, its index."""
    return database.with_name(f"{database.name}{suffix}")


def connect(database: Path, parameters: str) -> sqlite3.Connection:
    """Connect to a database; its file is opened at once, and the log beside it by :func:`open_log`.

    Args:
        database: Where.
        parameters: One of those above.
    """
    if parameters == NOTHING:
        return _nothing()
    con = sqlite3.connect(
        f"{database.as_uri()}?{parameters}",
        uri=True,
        timeout=_BUSY_WAIT,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if parameters == WITHOUT_INDEX:
            con.execute("PRAGMA locking_mode = EXCLUSIVE")
    except BaseException:
        con.close()
        raise
    return con


def open_log(con: sqlite3.Connection) -> None:
    """Have the log of a database opened, and its index."""
    _tune(con)
    con.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()


def is_busy(error: sqlite3.Error) -> bool:
    """Whether an error says that somebody else has the database locked."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def may_be_read(error: Exception, *, is_there: bool) -> bool:
    """Whether a database that cannot be opened for writing, because of an error, may still be read.

    Args:
        error: Why it cannot.
        is_there: Whether there is one; where none can be made, as on a full disk, there is nothing in it.
    """
    if isinstance(error, OSError):
        return error.errno in (_TAKES_NO_WRITES if is_there else _FULL_OR_READ_ONLY)
    if isinstance(error, sqlite3.Error):
        return error.sqlite_errorcode & 0xFF in _CANNOT_BE_WRITTEN
    return is_there


def patiently(act: Callable[[G], T], given: G, patience: float, what: str, deadline: float | None = None) -> T:
    """Act again where someone has the database locked, within the bound.

    Args:
        act: Raises :class:`BusyError` or an error of SQLite that says so.
        given: What it is called with.
        patience: Seconds to wait at most.
        what: Is locked, for the error.
        deadline: When they end, by the monotonic clock, for who has been waiting.

    Raises:
        LockTimeoutError: Someone had it locked all the time.
        sqlite3.Error: Whatever else went wrong.
    """
    wait = _FIRST_WAIT
    while True:
        try:
            return act(given)
        except (BusyError, sqlite3.OperationalError) as error:
            if isinstance(error, sqlite3.OperationalError) and not is_busy(error):
                raise
            deadline = time.monotonic() + patience if deadline is None else deadline
            if time.monotonic() >= deadline:
                raise LockTimeoutError(
                    f"{what} is locked by another process, and was for {patience:g} s (setting 'lock_timeout')"
                ) from error
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)


def settings_of(con: sqlite3.Connection) -> dict[str, Any]:
    """What diskcache has written of its settings; nothing, if there is no table of them."""
    if not con.execute("SELECT 1 FROM sqlite_master WHERE name = 'Settings'").fetchone():
        return {}
    return dict(con.execute("SELECT key, value FROM Settings").fetchall())


def is_made(con: sqlite3.Connection) -> bool:
    """Whether the tables are there; a disk may have been full when they were being made."""
    made = con.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('Settings', 'Cache')").fetchone()
    return bool(made[0] == 2)


def prepare(con: sqlite3.Connection, folder: Path, wanted: dict[str, Any]) -> None:
    """Make the tables of diskcache, and write its settings, unless all of that is there.

    Args:
        con: To the database.
        folder: Where it is.
        wanted: Which settings of diskcache are not its own.

    Raises:
        BusyError: Somebody else has it locked.
    """
    there = settings_of(con)
    names = {*DEFAULT_SETTINGS, *METADATA}
    if names <= there.keys() and wanted.items() <= there.items():
        return
    _Tables(con, str(folder), wanted)
    _tune(con)


def data_version(con: sqlite3.Connection) -> int:
    """A number that changes when another connection has written."""
    return int(con.execute("PRAGMA data_version").fetchone()[0])


def in_transaction(con: sqlite3.Connection, act: Callable[[sqlite3.Connection], T], check: Callable[[], None]) -> T:
    """Act in a transaction, of which nothing is left open, whatever happens.

    Args:
        con: To the database.
        act: What to do in it.
        check: Raises if it is not to be kept.
    """
    try:
        con.execute("BEGIN IMMEDIATE")
        outcome = act(con)
        check()
        con.execute("COMMIT")
        return outcome
    finally:
        if con.in_transaction:
            con.execute("ROLLBACK")


def _nothing() -> sqlite3.Connection:
    con = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    con.execute("CREATE TABLE Settings (key, value)")
    con.execute("CREATE TABLE Cache (key, raw, expire_time, mode, filename, value)")
    return con


def _tune(con: sqlite3.Connection) -> None:
    for pragma, value in _PRAGMAS.items():
        con.execute(f"PRAGMA {pragma} = {value}")


class _Tables(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """Lets diskcache make its tables, without the minutes for which it would wait for others."""

    def __init__(self, con: sqlite3.Connection, folder: str, settings: dict[str, Any]) -> None:
        self._given = con
        super().__init__(folder, disk=BytesDisk, **settings)

    @property
    def _con(self) -> sqlite3.Connection:
        return self._given

    @property
    def _sql(self) -> Callable[..., sqlite3.Cursor]:
        return self._execute

    _sql_retry = _sql

    def _execute(self, *statement: Any) -> sqlite3.Cursor:
        try:
            return self._given.execute(*statement)
        except sqlite3.OperationalError as error:
            if is_busy(error):
                raise BusyError from error
            raise

    def close(self) -> None:
        """Leave the connection open: it is another's."""
