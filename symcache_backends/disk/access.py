"""Who may use a folder, and when: which one is open, who may write to it, and what others hear of it.

Who writes holds the folder's lock, and changes the word when the transaction is over. Who reads takes no lock but the
connection's, which all threads share.

An interrupt is an exception that may come after any call of a function of C, and at the beginning of one of Python. So
each lock is taken inside the ``try`` whose ``finally`` gives it back by a call of C. No generator holds one: there
an interrupt would leave it.
"""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from symcache_core.concurrency.forks import ForkGuard
from symcache_core.errors import (
    BackendError,
    BackendUnavailableError,
    ClosedError,
    ConfigurationError,
    CorruptStoreError,
    LockTimeoutError,
)
from symcache_core.file_lock import take

from .damage import passing_reason
from .database import database_of
from .folder import Folder, ReplacedError
from .settings import PATH_SETTING, DiskSettings

log = logging.getLogger("symcache")

T = TypeVar("T")

_OPENINGS = range(10)
"""How often what is open may be replaced while one call is at it."""

_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}


class Access:
    """The folder that is at the path, opened anew where it is another than before.

    ``cells`` is the word that every write changes, and ``generation`` a number that changes when others have written.

    Args:
        settings: Which folder, and how long to wait.

    Raises:
        ConfigurationError: The path is that of something else than a folder.
        BackendUnavailableError: The folder can be neither made nor read.
        CorruptStoreError: There is a database, and it is damaged.
    """

    def __init__(self, settings: DiskSettings) -> None:
        self.generation = 0
        self.cells: Sequence[int] | memoryview[int] = [-1]
        self.known: int | None = None
        """What stood in the word when others' writes were last noted."""
        self._settings = settings
        self._timeout = settings.patience
        self._is_closed = self._was_open = False
        self._folder: Folder | None = None
        self._writer: int | None = None
        self._unsaid: list[str] = []
        self._forks = ForkGuard(self._begin)

    @property
    def takes_writes(self) -> bool:
        """Whether the folder took writes when it was opened."""
        return self._folder is not None and self._folder.reason is None

    def read_only(self) -> str | None:
        """Why the folder takes no writes, if it does not."""
        return (
            None if self._folder is None or self._folder.reason is None else str(self.unavailable(self._folder.reason))
        )

    def check(self) -> None:
        """Begin anew in a forked child.

        Raises:
            ClosedError: It is closed.
            BackendError: This thread is at a write already.
        """
        self._forks.check()
        if self._is_closed:
            self._check_open()
        while self._unsaid:
            log.warning("%s", self._unsaid.pop())
        self._refuse_reentry()

    def look(self, ask: Callable[[Folder], T]) -> T:
        """Ask the folder; it is called again where that turns out to be another one by now."""
        self.check()
        try:
            return self._retried(ask)
        except (sqlite3.Error, OSError) as error:
            raise self._in_our_words(error) from error

    def alone(self, act: Callable[[Folder], T]) -> T:
        """Act on the folder while nobody else can write, and let the others know."""
        self.check()
        me = threading.get_ident()
        deadline = time.monotonic() + self._timeout
        try:
            self._wait_for_threads()
            self._writer = me
            return self._retried(lambda folder: self._locked(folder, act, deadline), deadline)
        except (sqlite3.Error, OSError) as error:
            raise self._in_our_words(error) from error
        finally:
            if self._writer == me:
                self._writer = None
            try:
                self._mutex.release()
            except RuntimeError:  # it was not to be had
                pass

    def note_others(self, folder: Folder) -> None:
        """Count it if others have written."""
        number = folder.number()
        if number != self.known:
            self.generation += 1
            self.known = number

    def close(self) -> None:
        """Close the folder, once nobody uses it any more; whoever uses it afterwards learns that it is closed."""
        self._forks.check()
        self._refuse_reentry()
        folder = self._folder
        if folder is None:
            self._is_closed = True
            return
        self._is_closed = True
        deadline = time.monotonic() + self._timeout
        try:
            # Whoever is at a write may end it, unless that takes too long.
            is_alone = self._mutex.acquire(timeout=self._timeout)
            self._retire(folder, deadline if is_alone else None)
        finally:
            try:
                self._mutex.release()
            except RuntimeError:
                pass
        self.cells, self.known, self._folder = [-1], None, None

    def unavailable(self, why: Exception | str) -> BackendUnavailableError:
        """That the folder is out of reach, and why."""
        kind = LockTimeoutError if isinstance(why, LockTimeoutError) else BackendUnavailableError
        return kind(f"{self._name} (setting {PATH_SETTING!r}): {why or type(why).__name__}")

    @property
    def _name(self) -> str:
        return f"diskcache folder {self._settings.path}"

    def _begin(self) -> None:
        """Begin, or in a forked child begin anew."""
        self._mutex = threading.RLock()
        self._writer = None
        inherited, self._folder = self._folder, None
        if inherited is not None:
            inherited.abandon()
        if not self._is_closed:
            try:
                self._current()
            except (sqlite3.Error, OSError) as error:
                raise self._in_our_words(error) from error

    def _refuse_reentry(self) -> None:
        if self._writer == threading.get_ident():
            raise BackendError(f"{self._name} was called from within its own write, as by the change of an update")

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClosedError(f"the diskcache backend at {self._settings.path} is closed")

    def _retried(self, act: Callable[[Folder], T], write_before: float | None = None) -> T:
        """Act on the folder that is at the path, again where it turns out to be another one by now."""
        for _ in _OPENINGS:
            folder = self._current(write_before)
            try:
                return act(folder)
            except ReplacedError:
                folder.is_stale = True
                self._check_open()
            except sqlite3.Error as error:
                folder.is_stale = _makes_stale(error)
                raise
        raise self.unavailable("it is replaced all the time")

    def _locked(self, folder: Folder, act: Callable[[Folder], T], deadline: float) -> T:
        has_begun = has_told = False
        try:
            take(folder.lock.number, folder.lock_path, self._timeout, left=deadline - time.monotonic())
            if not folder.is_locked_at_path():
                raise ReplacedError
            folder.write_before = deadline
            self.note_others(folder)
            has_begun = True
            return act(folder)
        finally:
            try:
                has_told = not has_begun or self._tell(folder)
            finally:
                try:
                    if not has_told:  # an interrupt came before it
                        self._tell(folder)
                finally:
                    if folder.lock.number >= 0:  # in a forked child the lock is the parent's
                        fcntl.flock(folder.lock.number, fcntl.LOCK_UN)

    def _tell(self, folder: Folder) -> bool:
        told = folder.tell()
        if told is not None:
            self.known = told
        return True

    def _current(self, write_before: float | None = None) -> Folder:
        """What is at the path.

        Args:
            write_before: When the wait for a folder that takes writes ends, by the monotonic clock; ``None`` makes do
                with one that can be read.
        """
        folder = self._folder
        if folder is not None:
            # Who writes looks at the path when it has the lock.
            if write_before is not None and folder.reason is None and not folder.is_flagged():
                return folder
            if write_before is None and folder.is_current():
                return folder
        return self._open_anew(folder, write_before)

    def _open_anew(self, old: Folder | None, write_before: float | None) -> Folder:
        deadline = time.monotonic() + self._timeout if write_before is None else write_before
        try:
            self._wait_for_threads()
            if self._folder is not old:
                return self._current(write_before)  # another thread was faster
            self._check_open()
            if old is not None:
                # What SQLite knows of a file it knows for all connections of this process: a log that was replaced, or
                # an index that cannot be written.
                old.disconnect()
            new = self._opened(deadline)
            self._unsaid += dict.fromkeys([*new.unsaid, *(old.unsaid if old is not None else ())])
            if write_before is None or new.reason is None or old is None or not old.is_current():
                self._replace(old, new)
            else:
                new.retire()  # it can be read as well as before
            if write_before is not None and new.reason is not None:
                raise self.unavailable(new.reason)
            return new
        finally:
            try:
                self._mutex.release()
            except RuntimeError:
                pass

    def _opened(self, deadline: float) -> Folder:
        """Open what is at the path, again where something else has taken its place meanwhile."""
        for _ in _OPENINGS:
            new = Folder(self._settings)
            try:
                new.open(deadline)
            except ReplacedError:
                new.retire()
            except ConfigurationError as error:
                new.retire()
                if not self._was_open:
                    raise
                raise self.unavailable(error) from error  # whoever set it was right then
            except BaseException:
                new.retire()
                raise
            else:
                return new
        raise self.unavailable("it is replaced all the time")

    def _replace(self, old: Folder | None, new: Folder) -> None:
        word = new.word
        self._was_open = True
        self._folder, self.cells = new, [-1] if word is None else word.cells
        self.known = None if word is None else self.cells[0]
        self.generation += 1
        if old is not None:
            with suppress(OSError):  # who has it open, too, finds out in another way
                old.tell()
            old.retire()

    def _retire(self, folder: Folder, deadline: float | None) -> None:
        """Close a folder, with its lock if that can be had: who is opening it meanwhile would find it in the making."""
        try:
            if deadline is not None and folder.lock.number >= 0:
                with suppress(LockTimeoutError, OSError):
                    take(folder.lock.number, folder.lock_path, self._timeout, left=deadline - time.monotonic())
            folder.retire(closes_files=deadline is not None)
        finally:
            if deadline is not None and folder.lock.number >= 0:
                with suppress(OSError):  # closing it unlocks it, too
                    fcntl.flock(folder.lock.number, fcntl.LOCK_UN)

    def _wait_for_threads(self) -> None:
        """Take the mutex; the caller stands in the ``try`` that gives it back."""
        if not self._mutex.acquire(timeout=self._timeout):
            raise LockTimeoutError(
                f"{self._name} is in use by another thread, and was for {self._timeout:g} s (setting 'lock_timeout')"
            )

    def _in_our_words(self, error: sqlite3.Error | OSError) -> BackendError:
        if not isinstance(error, sqlite3.DatabaseError) or isinstance(
            error, (sqlite3.OperationalError, sqlite3.ProgrammingError)
        ):
            return self.unavailable(error)
        passing = passing_reason(error, database_of(self._settings.path))
        if passing is not None:
            return self.unavailable(f"it could not be read: {passing}")
        return CorruptStoreError(
            f"{self._name} (setting {PATH_SETTING!r}) is damaged: {error}; move it away to start anew"
        )


def _makes_stale(error: sqlite3.Error) -> bool:
    """Whether what is open may be at fault, and not the moment: then it is opened anew."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF not in _PASSING
