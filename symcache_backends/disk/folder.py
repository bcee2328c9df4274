"""A diskcache folder as this process has it open: its lock file, the word in it, and one connection to its database.

What is open is what is at the path, by device and inode: a folder that was moved, replaced or made anew is opened anew.
Of a folder that takes no writes, or whose lock another process does not give back, what can be read is read.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from symcache_core.errors import BackendUnavailableError, ConfigurationError, LockTimeoutError
from symcache_core.file_lock import take
from symcache_core.files import regular_file

from ..shared_word import SharedWord
from .clock import DroppingClock, newest
from .database import BusyError, beside, connect, database_of, is_busy, prepare, settings_of
from .forks import Identity, forks
from .settings import PATH_SETTING, DiskSettings

T = TypeVar("T")

LOCK = "symcache.lock"

_TAKES_NO_WRITES = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT}
_CANNOT_BE_WRITTEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}
_UNCHANGING = "mode=ro&immutable=1"
"""For a database that has no log and on storage where none can be made: without it SQLite reads nothing there."""

_FIRST_WAIT = 0.001
_LONGEST_WAIT = 0.02


class ReplacedError(Exception):
    """What is open is no longer what is at the path, or has been closed; it is to be opened anew."""


class Folder:
    """One folder, open; :meth:`open` comes first.

    Any thread may call :meth:`run`. Descriptors are closed when nobody has the object any more: a thread that waits for
    a lock must not find the number of another file in its hands.

    Args:
        settings: Which folder, and how long to wait.
    """

    def __init__(self, settings: DiskSettings) -> None:
        self.path = settings.path
        self.lock_path = settings.path / LOCK
        self.reason: Exception | None = None
        """Why it takes no writes, if it does not."""
        self.word: SharedWord | None = None
        self.is_stale = False
        self._settings = settings
        self._database = database_of(settings.path)
        self.lock = _Descriptor(-1)
        self._word_descriptor = _Descriptor(-1)
        self._lock_identity: Identity | None = None
        self._identity: Identity | None = None
        self.clock: DroppingClock | None = None
        self._unchanged: tuple[object, ...] = ()
        self._parameters = "mode=rw"
        self._con: sqlite3.Connection | None = None
        self._gate = threading.RLock()
        self._is_retired = False
        self._pid = os.getpid()
        forks.watch(self)

    def open(self, deadline: float) -> None:
        """Open it, and make it if need be.

        Args:
            deadline: When to wait no longer for who has it locked, by the monotonic clock.

        Raises:
            ConfigurationError: There is something that is no folder, or has something in it that is no file.
            LockTimeoutError: Another process has it locked, and there is nothing to read.
            OSError, sqlite3.Error: It can be neither written nor read.
        """
        _refuse_other_kinds(self.path)
        regular_file(self.lock_path, PATH_SETTING)
        regular_file(self._database, PATH_SETTING)
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open_for_writing(deadline)
        except (OSError, sqlite3.OperationalError, LockTimeoutError) as error:
            if not _may_be_read(error) or not self._database.exists():
                raise
            self._open_for_reading(error)

    def is_current(self) -> bool:
        """Whether the database that is open is the one at the path."""
        if self.is_stale or self._is_retired or (self.word is not None and self.word.is_lost):
            return False
        if self._parameters == _UNCHANGING:
            return self._version() == self._unchanged
        return _identity(self._database) == self._identity

    def is_locked_at_path(self) -> bool:
        """Whether the lock file that is open is the one at the path, and the database likewise."""
        return _identity(self.lock_path) == self._lock_identity and self.is_current()

    def run(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Act with the connection, while no other thread does; waits for other processes within the bound.

        Args:
            act: Neither calls foreign code nor leaves anything open; it is called again where the database was locked.

        Raises:
            ReplacedError: It is closed, or no longer at the path.
            LockTimeoutError: Someone has the database locked.
            sqlite3.Error: Whatever else went wrong.
        """
        deadline, wait = 0.0, _FIRST_WAIT
        while True:
            try:
                with self._gate:
                    return act(self._con or self._connect_again())
            except (BusyError, sqlite3.OperationalError) as error:
                if isinstance(error, sqlite3.OperationalError) and not is_busy(error):
                    raise
                deadline = deadline or time.monotonic() + self._settings.patience
                if time.monotonic() >= deadline:
                    raise LockTimeoutError(
                        f"{self._database} is locked by another process, and was for {self._settings.patience:g} s"
                        f" (setting 'lock_timeout'; {PATH_SETTING!r} says where it is)"
                    ) from error
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def number(self) -> int:
        """What changes when others write; who has no word of theirs asks SQLite."""
        return self.run(_data_version) if self.word is None else self.word.cells[0]

    def tell(self) -> int | None:
        """Change the word, and give it; the caller holds the lock.

        Raises:
            OSError: It cannot be written.
        """
        return None if self.word is None or self.lock.number < 0 else self.word.renew()

    def retire(self) -> None:
        """Close the connection, for good."""
        self._is_retired = True
        self._disconnect()

    def park(self) -> None:
        """Before a fork: wait for the connection's user, close it, and let nobody open another."""
        if self._gate.acquire(timeout=self._settings.patience):
            self._disconnect()

    def resume(self) -> None:
        """After it, in the parent: let it be opened again."""
        try:
            self._gate.release()
        except RuntimeError:  # it was not to be had
            pass

    def abandon(self) -> None:
        """In a forked child: let go of all that was inherited, and change nothing of what is the parent's."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._gate = threading.RLock()
        self._is_retired = True
        con, self._con = self._con, None
        if con is not None and self._identity is not None:
            forks.leave(con, self._identity)
        self.lock.close()

    def _open_for_writing(self, deadline: float) -> None:
        while True:
            self.lock = _Descriptor(_open(self.lock_path))
            try:
                take(self.lock.number, self.lock_path, max(0.0, round(deadline - time.monotonic(), 2)))
                self._lock_identity = _identity_of(os.fstat(self.lock.number))
                if _identity(self.lock_path) != self._lock_identity:
                    continue  # the folder was replaced between opening and locking
                self._open_locked()
                return
            finally:
                if self.lock.number >= 0:  # in a forked child it is the parent's
                    fcntl.flock(self.lock.number, fcntl.LOCK_UN)

    def _open_locked(self) -> None:
        seen = self._newest()
        is_new = not self._database.exists()
        self._parameters = "mode=rwc" if is_new else "mode=rw"
        wanted = {"eviction_policy": self._settings.eviction, "size_limit": self._settings.size_limit}
        self.run(lambda con: prepare(con, self.path, wanted))
        self._parameters = "mode=rw"
        if is_new:
            self._database.chmod(0o600)
        self.clock = DroppingClock(self._newest() or time.time() if seen is None else seen)
        # Another open file: its memory outlives this object where someone looks at it, and the file with it, whose lock
        # a forked child would then go on to hold.
        self._word_descriptor = _Descriptor(_open(self.lock_path))
        self.word = SharedWord(self._word_descriptor.number)

    def _open_for_reading(self, reason: Exception) -> None:
        self.reason = reason
        for parameters in ("mode=ro", _UNCHANGING):
            self._disconnect()
            self._parameters, self._unchanged = parameters, self._version()
            if parameters == _UNCHANGING and self._has_log():
                break  # without the log, part of what was written would be missing
            try:
                if self.run(settings_of):
                    return
            except sqlite3.OperationalError:
                continue
        raise reason

    def _connect_again(self) -> sqlite3.Connection:
        """Connect, and make sure that database and log belong together; the caller holds the gate."""
        if self._is_retired:
            raise ReplacedError
        there = _identity(self._database)
        if there is not None and forks.are_confused_about(there):
            raise BackendUnavailableError(
                f"{self._database}: this process was forked while its parent was inside SQLite with this database; "
                "it can be used in a process that is started anew"
            )
        con = connect(self._database, self._parameters)
        try:
            con.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # opens the log
            opened = _identity(self._database)
            if opened is None or opened not in {self._identity or opened, there or opened}:
                raise ReplacedError
        except BaseException:
            con.close()
            raise
        self._identity, self._con = opened, con
        return con

    def _disconnect(self) -> None:
        with self._gate:
            con, self._con = self._con, None
            if con is not None:
                con.close()

    def _newest(self) -> float | None:
        return newest(self._database, beside(self._database, "-wal"), self.lock_path)

    def _version(self) -> tuple[object, ...]:
        """What changes when someone writes to a database that has no log."""
        found = self._database.stat()
        return _identity_of(found), found.st_mtime_ns, found.st_size, self._has_log()

    def _has_log(self) -> bool:
        try:
            return beside(self._database, "-wal").stat().st_size > 0
        except FileNotFoundError:
            return False


def _data_version(con: sqlite3.Connection) -> int:
    return int(con.execute("PRAGMA data_version").fetchone()[0])


class _Descriptor:
    """The number of an open file, which is closed when nobody has this object any more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        """Close it now."""
        number, self.number = self.number, -1
        if number >= 0:
            os.close(number)

    __del__ = close


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _identity_of(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino


def _identity(path: Path) -> Identity | None:
    try:
        return _identity_of(os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _refuse_other_kinds(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        raise ConfigurationError(f"{path} is no folder: set {PATH_SETTING!r} to another")


def _may_be_read(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _TAKES_NO_WRITES
    if isinstance(error, sqlite3.Error):
        return error.sqlite_errorcode & 0xFF in _CANNOT_BE_WRITTEN
    return True
