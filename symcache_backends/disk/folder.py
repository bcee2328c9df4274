"""A diskcache folder as this process has it open: its lock file, the word in it, and one connection to its database.

What is open is what is at the path, by device and inode: a folder that was moved, replaced or made anew is opened anew.
Of a folder that takes no writes, or whose lock another process does not give back, what can be read is read.
"""

from __future__ import annotations

import fcntl
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from symcache_core.errors import BackendUnavailableError, LockTimeoutError
from symcache_core.file_lock import take
from symcache_core.files import open_regular

from ..shared_word import SharedWord
from ..store_time import see
from .database import (
    MAKING,
    NOTHING,
    READING,
    WITHOUT_INDEX,
    WITHOUT_LOG,
    WRITING,
    connect,
    data_version,
    database_of,
    in_transaction,
    is_made,
    may_be_read,
    open_log,
    patiently,
    prepare,
    settings_of,
)
from .foreign import refuse_other_tables, refuse_unclaimed
from .forks import forks
from .log_watch import LogWatch
from .pairing import Files, Paired, remembered
from .paths import (
    Descriptor,
    identity,
    identity_of,
    look,
    names_in,
    newest,
    refuse_no_files,
    refuse_other_kinds,
    version,
    version_of_log,
)
from .settings import PATH_SETTING, DiskSettings

T = TypeVar("T")

LOCK = "symcache.lock"

_TIME_AT = 64
"""Where the lock file has what is known of the store's time: behind the word, and what belongs together."""

_NOTICED_BY_NOBODY = (WITHOUT_LOG, WITHOUT_INDEX, NOTHING)
"""Ways to be connected in which SQLite does not notice what others write."""

_COARSE = 100_000_000
"""Nanoseconds within which two changes of a folder may have the same time."""


class ReplacedError(Exception):
    """What is open is no longer what is at the path, or has been closed; it is to be opened anew."""


class Folder:
    """One folder, open; :meth:`open` comes first.

    Any thread may call :meth:`run`.

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
        self.write_before: float | None = None
        """When the one who writes waits no longer, by the monotonic clock; who has the lock says so."""
        self.unsaid: list[str] = []
        """What is to be logged when no lock is held any more."""
        self._settings = settings
        self._patience = settings.patience
        self._database = database_of(settings.path)
        self._name, self._database_name = os.fsencode(settings.path), os.fsencode(self._database)
        self._said_of_locks = f"{self._database} ({PATH_SETTING!r} says where it is)"
        self._beside = LogWatch(self._database)
        self._gate = threading.RLock()
        self._paired = Paired(Files(self.lock_path, self._database, self._beside.log, self._beside.index), self._gate)
        self._is_opening = self._is_retired = False
        self._checked_names: tuple[int, int, int] | None = None
        self.lock = Descriptor()
        self._word_file = Descriptor()
        self._unchanged: tuple[object, ...] = ()
        self._parameters = WRITING
        self._con: sqlite3.Connection | None = None
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
        refuse_other_kinds(PATH_SETTING, self.path, (self.lock_path, self._database), self._beside.files)
        wanted = {"eviction_policy": self._settings.eviction, "size_limit": self._settings.size_limit}
        with self._gate:
            if not self.lock_path.exists():
                refuse_unclaimed(self._database, PATH_SETTING, wanted)
        self._is_opening = True
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open_for_writing(deadline, wanted)
        except (OSError, sqlite3.OperationalError, LockTimeoutError) as error:
            if not may_be_read(error, is_there=self._database.exists()):
                raise
            self._open_for_reading(error, deadline)
        self._is_opening = False

    def is_flagged(self) -> bool:
        """Whether it is to be opened anew, as far as that is known without a look."""
        return self.is_stale or self._is_retired or (self.word is not None and self.word.is_lost)

    def is_current(self) -> bool:
        """Whether the database that is open is the one at the path."""
        if self.is_flagged():
            return False
        if self._parameters in _NOTICED_BY_NOBODY:
            return version(self._database, self._beside.log) == self._unchanged
        found = look(self._database_name)
        return found is not None and self._paired.is_open(found, self._word_file.number)

    def is_locked_at_path(self) -> bool:
        """Whether every file that is open is the one at the path; what is locked elsewhere is not locked."""
        if not self.is_current():
            return False
        # Nothing takes a file's place without changing its folder; only the times of folders are coarse.
        names = names_in(self._name)
        if names is not None and names == self._checked_names:
            return True
        if identity(self.lock_path) != self._paired.lock:
            return False
        if self._con is not None and not self._beside.is_at_path():
            return False
        self._checked_names = names if names is not None and time.time_ns() - names[2] > _COARSE else None
        return True

    def run(self, act: Callable[[sqlite3.Connection], T], deadline: float | None = None) -> T:
        """Act with the connection, while no other thread does; waits for other processes within the bound.

        Args:
            act: Neither calls foreign code nor leaves anything open; it is called again where the database was locked.
            deadline: When to wait no longer, by the monotonic clock, for who has been waiting.

        Raises:
            ReplacedError: It is closed, or no longer at the path.
            LockTimeoutError: Someone has the database locked.
            sqlite3.Error: Whatever else went wrong.
        """
        return patiently(self._acted, act, self._patience, self._said_of_locks, deadline)

    def transact(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Act with the connection in a transaction, until ``write_before``; like :meth:`run`."""

        def act_in_transaction(con: sqlite3.Connection) -> T:
            self._beside.fill_index()
            return in_transaction(con, act, self._beside.check_undisturbed)

        return self.run(act_in_transaction, self.write_before)

    def number(self) -> int:
        """What changes when others write; who has no word of theirs asks SQLite."""
        return self.run(data_version) if self.word is None else self.word.cells[0]

    def tell(self) -> int | None:
        """Change the word, and give it; the caller holds the lock.

        Raises:
            OSError: It cannot be written.
        """
        if self.word is None or self.lock.number < 0:
            return None
        told = self.word.renew()
        self._paired.remember(self.lock.number, told)
        return told

    def over_before(self) -> float:
        """A moment; what was over before it may be dropped. In seconds since the epoch; the caller holds the lock."""
        written = newest(self._database, self._beside.log)
        if written is None or self.lock.number < 0:
            return -math.inf
        return see(self.lock.number, _TIME_AT, written).over_before(time.time())

    def disconnect(self) -> None:
        """Close the connection, until it is needed again."""
        with self._gate:
            con, self._con = self._con, None
            if con is not None:
                self._close(con)

    def retire(self, *, closes_files: bool = True) -> None:
        """Close it, for good.

        Args:
            closes_files: Whether no other thread can be waiting for the lock: it must not find the number of another
                file in its hands. Else they are closed when nobody has this object any more.
        """
        self._is_retired = True
        self.disconnect()
        if closes_files:
            # A child that was just being forked may have a share in it, and closing it here would leave it locked.
            with suppress(OSError, ValueError):  # ValueError: it is closed already
                fcntl.flock(self.lock.number, fcntl.LOCK_UN)
            self.lock.close()
            self._word_file.close()

    def park(self) -> None:
        """Before a fork: wait for the connection's user, close it, and let nobody open another."""
        if self._gate.acquire(timeout=self._patience):
            self.disconnect()

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
        if con is not None and self._paired.database is not None:
            forks.leave(con, self._paired.database)
        self.lock.close()

    def _open_for_writing(self, deadline: float, wanted: dict[str, Any]) -> None:
        while True:
            self.lock = Descriptor(open_regular(self.lock_path))
            try:
                take(self.lock.number, self.lock_path, self._patience, left=deadline - time.monotonic())
                self._paired.lock = identity_of(os.fstat(self.lock.number))
                if identity(self.lock_path) != self._paired.lock:
                    continue  # the folder was replaced between opening and locking
                self._open_locked(wanted, deadline)
                return
            finally:
                if self.lock.number >= 0:  # in a forked child it is the parent's
                    fcntl.flock(self.lock.number, fcntl.LOCK_UN)

    def _open_locked(self, wanted: dict[str, Any], deadline: float) -> None:
        is_new = not self._database.exists()
        self.unsaid += self._paired.drop_foreign_log(self.lock.number, remembered(self.lock.number))
        self._parameters = MAKING if is_new else WRITING
        self.run(lambda con: self._prepare(con, wanted), deadline)
        self._parameters = WRITING
        self._note_beside()
        if is_new:
            self._database.chmod(0o600)
            see(self.lock.number, _TIME_AT, time.time(), is_new=True)
        # Another open file: its memory outlives this object where someone looks at it, and the file with it, whose lock
        # a forked child would then go on to hold.
        self._word_file = Descriptor(open_regular(self.lock_path))
        self.word = SharedWord(self._word_file.number)
        self._paired.remember(self.lock.number, self.word.cells[0])

    def _open_for_reading(self, reason: Exception, deadline: float) -> None:
        self.reason = reason.with_traceback(None)  # it is kept, and this object is in its frames
        is_empty = not self._database.exists()
        for parameters in (READING, WITHOUT_INDEX if version_of_log(self._beside.log) else WITHOUT_LOG, NOTHING):
            if parameters == NOTHING and not is_empty:
                break
            self.disconnect()
            self._parameters, self._unchanged = parameters, version(self._database, self._beside.log)
            try:
                if self.run(is_made, deadline):
                    return
            except LockTimeoutError:  # the ways that are left heed no lock
                break
            except (OSError, sqlite3.OperationalError):
                continue
            is_empty = True
        raise reason

    def _acted(self, act: Callable[[sqlite3.Connection], T]) -> T:
        with self._gate:
            try:
                con = self._con or self._connect_again()
                if not self._beside.is_whole():
                    self._mend_log()
                return self._beside.undisturbed(act, con)
            except OSError:
                if self._is_opening or not self._beside.is_apart:
                    raise
                raise ReplacedError from None
            finally:
                if self._beside.is_apart:
                    self.disconnect()

    def _mend_log(self) -> None:
        """Go on with what is left of the log, while nobody writes; whoever has no lock opens it anew for that."""
        if self.reason is not None:
            return
        if self._beside.is_cut_short():
            self.unsaid.append(f"{self._beside.log} was cut short while it was in use; what was stored last is lost")
        if not self._is_opening:
            raise ReplacedError
        self._beside.empty_index()

    def _prepare(self, con: sqlite3.Connection, wanted: dict[str, Any]) -> None:
        if not settings_of(con):
            # An index that is wrong would hide what is in the log; nobody writes now.
            self._beside.empty_index()
        refuse_other_tables(con, self._database, PATH_SETTING)
        prepare(con, self.path, wanted)

    def _connect_again(self) -> sqlite3.Connection:
        """Connect, and make sure that database and log belong together; the caller holds the gate."""
        if self._is_retired:
            raise ReplacedError
        if self._parameters == NOTHING:
            self._con = connect(self._database, NOTHING)
            return self._con
        there = identity(self._database)
        if there is not None and forks.are_confused_about(there):
            raise BackendUnavailableError(
                f"{self._database}: this process was forked while its parent was inside SQLite with this database; "
                "it can be used in a process that is started anew"
            )
        refuse_no_files(PATH_SETTING, *self._beside.files)
        self._beside.expect()
        con = connect(self._database, self._parameters)
        try:
            if not self._beside.open(
                con, remembered(self.lock.number) if self._is_opening and self.lock.number >= 0 else None
            ):
                self._mend_log()
                open_log(con)
            self._beside.fill_index()
            opened = identity(self._database)
            if opened is None or opened not in {self._paired.database or opened, there or opened}:
                raise ReplacedError
        except BaseException:
            con.close()
            raise
        self._paired.database, self._con = opened, con
        self._note_beside()
        return con

    def _note_beside(self) -> None:
        """Note which log and which index are open; a database that is being made has none yet."""
        self._checked_names = None
        self._beside.note()
        self._paired.note(self._beside.noted[0])

    def _close(self, con: sqlite3.Connection) -> None:
        """Close a connection, and have nothing of another's written to the database by that."""
        is_used_again = False
        try:
            if self.reason is None and (found := look(self._database)) is not None:
                # Else the last one to close writes it to the database.
                self.unsaid += self._paired.drop_foreign_log(self._word_file.number)
                if self._paired.is_open(found, self._word_file.number):
                    self._beside.close(con)
                    is_used_again = not self._is_retired
        except (OSError, sqlite3.Error):
            pass  # nothing can be said of what is at the path
        finally:
            self._beside.forget()
            con.close()
        with suppress(OSError, sqlite3.Error):
            if is_used_again:
                self._paired.note_closed()
