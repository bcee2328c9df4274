"""The files of one store among threads and processes: who reads, who writes, and what others have done meanwhile.

Two locks of this process: who writes holds the one, and with it the files' lock that keeps other processes out; who
looks at the view, or changes it, holds the other. So nobody who reads waits with a writer for another process, or for
what an update calls. The first one is waited for as long as the files' lock, the second for no longer than a file.

Whatever takes a lock is written so that an interrupt (a signal handler that raises) leaves none held. An interrupt may
come after each call and at the beginning of each function; ``with`` of a lock and a ``try`` that begins before the
taking leave no gap, and what has to be done in the end stands there twice, where the second time does no harm. A lock
that knows whose it is can be given back by who may not have it.
"""

from __future__ import annotations

import fcntl
import logging
import math
from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path
from threading import Lock, RLock, get_ident
from time import monotonic
from typing import TypeVar

from symcache_core.concurrency.forks import told_in_children
from symcache_core.errors import (
    BackendError,
    BackendUnavailableError,
    ClosedError,
    ConfigurationError,
    LockTimeoutError,
)

from .files import ReplacedError, beside
from .late_log import LateLog
from .opening import Opened, Opener, Terms
from .rewriting import Rewriter
from .view import News, View

T = TypeVar("T")

_ATTEMPTS = range(10)
_LOCK_NOW = fcntl.LOCK_EX | fcntl.LOCK_NB

_LOCK_EVERY = 0.1
"""Seconds between two looks of a writer at whether others find the same lock at the path."""

_NO_WORD: Sequence[int] = (-1,)
"""Stands for a word that is never the one that is known: every look is one at the files."""


class SharedFiles:
    """A snapshot, its journal and the lock file, as this process has them open; :meth:`open` comes first.

    Its methods raise ``OSError``, and the errors of :mod:`symcache_core.errors` that :class:`.Opener` raises.

    ``generation`` is a number that changes when others have written, ``cells`` the shared word, and ``known`` what
    stood in it when the view was brought up to date.

    Args:
        terms: How they are opened.
        log: Where to say what is strange about them; the caller tells it when it has come back.
    """

    def __init__(self, terms: Terms, log: LateLog) -> None:
        self.generation = 0
        self.cells: Sequence[int] | memoryview[int] = _NO_WORD
        self.known: int | None = None
        self.trouble: OSError | LockTimeoutError | None = None
        """Why what is open takes no writes, if it does not."""
        self._terms = terms
        self._log = log
        self._opener = Opener(terms, log)
        self._rewriter = Rewriter(self._opener)
        self._opened: Opened | None = None
        self._closed = False
        self._writing = RLock()
        self._looking = Lock()
        self._writer = self._reader = 0
        self._holds = self._owes_news = self._is_unsure = False
        self._look_at_lock = 0.0
        self._was_kept_out = False

    def open(self) -> None:
        """Open the files."""
        self._exchange(monotonic(), to_write=False)
        told_in_children(self.let_go)

    @property
    def has_word(self) -> bool:
        """Whether every write shows in ``cells``."""
        return self.cells is not _NO_WORD

    def path(self) -> Path:
        """Where the store is, its symlink followed."""
        return self._terms.path if self._opened is None else self._opened.path

    def check_thread(self) -> None:
        """Refuse to be used by a thread that is using this already, and would wait for itself.

        Raises:
            BackendError: It is.
        """
        if get_ident() in (self._writer, self._reader):
            raise BackendError(
                f"{self._terms.path} was used in the midst of being used by the same thread: "
                "what 'update' calls, a signal handler or a destructor must not"
            )

    def close(self, began: float) -> None:
        """Let go of the files; another thread that is writing for too long does it when it has done.

        Args:
            began: Since when the caller has been waiting, by ``time.monotonic``.
        """
        self._closed = True
        try:
            self._wait_for_threads(began)
            with self._looking:
                self.let_go()
        except LockTimeoutError:
            pass
        finally:
            try:
                self._writing.release()
            except RuntimeError:
                pass

    def _let_go_late(self) -> None:
        """Let go of the files, for a thread that was writing when another one has closed them, and did not wait."""
        try:
            if self._writing.acquire(blocking=False):
                with self._looking:
                    self.let_go()
        finally:
            try:
                self._writing.release()
            except RuntimeError:
                pass

    def let_go(self) -> None:
        """Close what is open, and unlock nothing: in a forked child that is its parent's."""
        opened, self._opened = self._opened, None
        self.cells, self.known = _NO_WORD, None
        if opened is not None:
            opened.let_go()

    def look(self, act: Callable[[View], T]) -> T:
        """Act on the view, up to date, without changing anything."""
        thread = get_ident()
        if thread in (self._writer, self._reader):
            self.check_thread()
        began: float | None = None
        for _attempt in _ATTEMPTS:
            with self._looking:
                self._reader = thread
                try:
                    opened = self._still_open()
                    if self._catch_up(opened):
                        return act(opened.view)
                except ReplacedError:  # what was read was not a record of this store any more
                    self.generation += 1
                    continue
                finally:
                    self._reader = 0
            began = monotonic() if began is None else began
            try:
                self._wait_for_threads(began)
                self._writer = thread
                if opened is self._still_open():
                    self._exchange(began, to_write=False)
            finally:
                if self._writer == thread:
                    self._writer = 0
                try:
                    self._writing.release()
                except RuntimeError:  # it was not to be had
                    pass
                if self._closed:
                    self._let_go_late()
        raise ReplacedError(self._terms.path)

    def alone(
        self,
        act: Callable[[View], T],
        began: float | None = None,
        *,
        first: Callable[[View], Callable[[], None]] | None = None,
    ) -> T:
        """Act on the view, up to date, with nobody else writing; then let the others know.

        Args:
            act: What to do.
            began: Since when the caller has been waiting for the lock, by ``time.monotonic``; since now if left out.
            first: Asks the view for what has to be done before; that is called while others may look.
        """
        thread = get_ident()
        began = monotonic() if began is None else began
        if thread in (self._writer, self._reader):
            self.check_thread()
        try:
            self._wait_for_threads(began)
            self._writer = thread
            for _attempt in _ATTEMPTS:
                opened = self._still_open()
                if opened.lock is not None:
                    try:
                        return self._locked(opened, opened.lock, act, began, first)
                    except ReplacedError:
                        if self._opened is not opened:  # in a child that was forked by what 'update' calls
                            raise
                self._exchange(began, to_write=True)
        finally:
            if self._writer == thread:
                self._writer = 0
            try:
                self._writing.release()
            except RuntimeError:  # it was not to be had
                pass
            if self._closed:
                self._let_go_late()
        raise ReplacedError(self._terms.path)

    def finish(self, began: float) -> None:
        """Compact when there is something to drop and nobody else has the store open, for who closes it.

        Who has just waited for the lock in vain does not do so again.

        Args:
            began: Since when the caller has been waiting, by ``time.monotonic``.
        """

        def compact(view: View) -> None:
            if view.has_waste() and not view.in_use_elsewhere():
                self._try_to_compact(self._still_open())

        self.alone(compact, -math.inf if self._was_kept_out else began)

    def compact(self) -> None:
        """Fold the journal into the snapshot, and drop what is over; for who acts alone."""
        self._rewriter.compact(self._still_open())

    def clear(self) -> None:
        """Drop every entry; for who acts alone."""
        opened = self._still_open()
        self._rewriter.clear(opened)
        self._try_to_compact(opened)

    def size(self) -> int:
        """Bytes of the snapshot and the journal."""
        path = self.path()
        return sum(file.stat().st_size for file in (path, beside(path, ".journal")) if file.exists())

    def _locked(
        self,
        opened: Opened,
        lock: FileIO,
        act: Callable[[View], T],
        began: float,
        first: Callable[[View], Callable[[], None]] | None,
    ) -> T:
        try:
            self._holds = True
            try:
                fcntl.flock(lock, _LOCK_NOW)
            except BlockingIOError:
                self._was_kept_out = True
                self._opener.take(lock, opened.path, began)
                self._was_kept_out = False
            if first is not None:
                self._do_first(opened, first, began)
                began = monotonic()
            with self._looking:
                self._catch_up_alone(opened, began)
                self._owes_news = self._is_unsure = True
                outcome = act(opened.view)
                if opened.view.has_outgrown():
                    self._try_to_compact(opened)
                self._is_unsure = False
                return outcome
        finally:
            try:
                self._release(opened, lock)
            finally:
                if self._holds:
                    self._release(opened, lock)

    def _wait_for_threads(self, began: float) -> None:
        """Take the lock of those who write; the caller stands in the ``try`` that gives it back."""
        if not self._writing.acquire(blocking=False):
            self._opener.take_among_threads(self._writing, began)

    def _do_first(self, opened: Opened, first: Callable[[View], Callable[[], None]], began: float) -> None:
        with self._looking:
            self._catch_up_alone(opened, began)
            act = first(opened.view)
        act()
        if self._opened is not opened:  # in a forked child, where nobody gives back what another thread held
            raise ReplacedError(opened.path)

    def _still_open(self) -> Opened:
        if self._closed or self._opened is None:
            raise ClosedError(f"the json backend at {self._terms.path} is closed")
        return self._opened

    def _exchange(self, began: float, *, to_write: bool) -> None:
        """Open the files at the path in place of those that are open, for who writes; others read on meanwhile."""
        old = self._opened
        try:
            new = self._opener.open(began, to_write=to_write)
        except ConfigurationError as error:
            if old is None:
                raise
            raise BackendUnavailableError(str(error)) from None
        except LockTimeoutError:
            self._was_kept_out = True
            raise
        self._was_kept_out = isinstance(new.trouble, LockTimeoutError)
        cells = _NO_WORD if new.word is None else new.word.cells
        with self._looking:
            # Nothing comes between these, so that what is closed is never what is open.
            self._opened, self.cells, self.known, self.generation = new, cells, new.known, self.generation + 1
            self.trouble = new.trouble
            if old is not None:
                old.let_go()

    def _catch_up(self, opened: Opened) -> bool:
        """Bring the view up to date; false if what is open is not what is at the path.

        The word is read before the files, so that a write in between shows as a change the next time. An appended
        journal is read from where it was left; a replaced one is read anew, mostly because someone has compacted.
        """
        word, shared = self.cells[0], opened.word
        told = shared is not None and word != self.known
        if shared is not None and shared.is_lost:
            return False
        path = self._terms.path
        is_elsewhere = opened.path is not path and opened.is_elsewhere(path)
        news = News.REPLACED if is_elsewhere else opened.view.news()
        if news is None and not told:
            return True
        if news is News.REPLACED:
            if not self._opener.view_anew(opened):
                return False
        # What is not told: its writer died before it did, or others tell each other by another file.
        elif news is News.APPENDED and not (told or shared is None or opened.is_locked_by_all()):
            return False
        if news is not None or told:
            self.generation += 1
        self.known = None if shared is None else word
        return True

    def _catch_up_alone(self, opened: Opened, now: float) -> None:
        """The same for who holds the lock, and so knows that nobody is still writing a torn tail: it is cut off.

        Whether others go by the same lock takes a system call to know. Where they do not, appending does no harm: each
        finds the other's lines in the wrong place, and reads the files anew. What does harm asks first.
        """
        if self._opened is not opened or not self._catch_up(opened):
            raise ReplacedError(opened.path)
        view = opened.view
        if now >= self._look_at_lock or view.has_torn_tail or view.must_be_replaced:
            opened.check_lock()
            self._look_at_lock = now + _LOCK_EVERY
            opened.see()
            if view.has_torn_tail:
                view.cut_torn_tail()
            if view.must_be_replaced:
                self._owes_news = True
                self._rewriter.compact(opened)

    def _release(self, opened: Opened, lock: FileIO) -> None:
        """Let others know that someone has written, and let them write; a second time does no harm."""
        if lock.closed:  # in a child that was forked by what 'update' calls: the lock is its parent's
            self._holds = self._owes_news = self._is_unsure = False
            return
        if self._owes_news:
            if opened.word is not None:
                try:
                    self.known = opened.word.renew()
                except OSError as error:
                    message = "%s: others see what was written only after a while: %s"
                    self._log.add(logging.WARNING, message, opened.path, error)
            # What was interrupted may have been done: to who remembers what was there before, that is news.
            if self._is_unsure:
                self.generation += 1
            self._owes_news = self._is_unsure = False
        fcntl.flock(lock, fcntl.LOCK_UN)
        self._holds = False

    def _try_to_compact(self, opened: Opened) -> None:
        try:
            self._rewriter.compact(opened)
        except OSError as error:
            # What was written is safe in the journal.
            self._log.add(logging.WARNING, "%s cannot be compacted: %s", opened.path, error)
            opened.view.put_off_compaction()
