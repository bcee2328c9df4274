"""Opens the files of a store: to write them, or, where that cannot be, to read what is there."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from threading import RLock

from symcache_core.errors import ConfigurationError, CorruptStoreError, LockTimeoutError, NewerSchemaError
from symcache_core.file_lock import take
from symcache_core.files import is_at, make_folder

from ..file_lease import is_file_of_leases
from ..shared_word import SharedWord
from ..store_time import StoreTime, see
from .adoption import adopt, is_unversioned
from .files import ReplacedError, beside, look_at, open_file, place, target
from .foreign import BEHIND_THE_WORD, claim_lock, refusal, refuse_journal
from .late_log import LateLog
from .recovery import cut_damaged_end
from .view import View

_FULL_OR_READ_ONLY = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT})
_ATTEMPTS = 10
_LONGEST = 86400.0
"""Seconds, as Python's locks cannot wait for as long as a number can say."""

_MAY_BE_READ = _FULL_OR_READ_ONLY | {errno.EACCES, errno.EPERM, errno.EIO}


@dataclass(frozen=True, slots=True)
class Terms:
    """How a store is opened.

    Args:
        path: The snapshot, or a symlink to it.
        shares_memory: Whether all who have the store open share memory through the file ``.lock``.
        durably: Whether what is written shall survive a power loss.
        lock_timeout: Seconds to wait for the store's lock.
    """

    path: Path
    shares_memory: bool
    durably: bool
    lock_timeout: float


class Opened:
    """The files of a store, as they are open.

    Args:
        path: The snapshot.
        lock: The file ``.lock``, which is locked while the others are written.
        shared: The same file, opened once more: what is mapped into memory.
        word: The word in it that tells others of writes; none if no memory is shared.
        known: What stood in it before the files were read.
        view: What has been read.
        trouble: Why the store takes no writes; then it has no lock and no word.
    """

    def __init__(
        self,
        path: Path,
        view: View,
        *,
        lock: FileIO | None = None,
        shared: FileIO | None = None,
        word: SharedWord | None = None,
        known: int | None = None,
        trouble: OSError | LockTimeoutError | None = None,
    ) -> None:
        self.path = path
        self.view = view
        self.lock = lock
        self._shared = shared
        self.word = word
        self.known = known
        self.trouble = trouble
        self._lock_name = os.fsencode(beside(path, ".lock"))
        self._lock_place = None if lock is None else place(os.fstat(lock.fileno()))

    def is_locked_by_all(self) -> bool:
        """Whether the lock that is open, if there is one, is the one that others find at the path."""
        return self._lock_place is None or self._lock_place == place(look_at(self._lock_name))

    def check_lock(self) -> None:
        """See to it that it is.

        Raises:
            ReplacedError: It is not.
        """
        if not self.is_locked_by_all():
            raise ReplacedError(self.path)

    def is_elsewhere(self, path: Path) -> bool:
        """Whether what the store's path is a symlink to is not what is open.

        Args:
            path: The store's.
        """
        return self.path is not path and os.path.realpath(path) != str(self.path)

    def see(self) -> StoreTime:
        """What time it is by the store's writes, for who holds its lock."""
        assert self.lock is not None, "it is held"
        return see(self.lock.fileno(), BEHIND_THE_WORD, self.view.written())

    def let_go(self) -> None:
        """Close the files; what looks at the word sees from now on that it has changed."""
        if self.word is not None:
            self.word.leave()
        self.view.close()
        for file in filter(None, (self.lock, self._shared)):
            file.close()


class Opener:
    """Opens one store, again and again.

    Its methods raise ``OSError``, and the errors of :mod:`symcache_core.errors` that :class:`.View` raises.

    Args:
        terms: How.
        log: Where to say what is strange about it.
    """

    def __init__(self, terms: Terms, log: LateLog) -> None:
        self._terms = terms
        self._log = log

    def open(self, began: float, *, to_write: bool) -> Opened:
        """Open the files at the path, as they are now.

        Args:
            began: Since when the caller has been waiting for the lock, by ``time.monotonic``.
            to_write: Whether nothing less will do; else a store that takes no writes is opened to be read.

        Raises:
            ConfigurationError: The path is no regular file.
            LockTimeoutError: Another process held the lock all the time.
        """
        for _attempt in range(_ATTEMPTS):
            path = target(self._terms.path)
            try:
                return self._open_to_write(path, began)
            except ReplacedError:
                continue
            except (OSError, LockTimeoutError) as error:
                if to_write or not _can_be_read(path, error):
                    raise
                return self._open_to_read(path, error)
        raise ReplacedError(self._terms.path)

    def view_anew(self, opened: Opened) -> bool:
        """Read the files at the path anew; false if that takes more than that."""
        if opened.is_elsewhere(self._terms.path) or not opened.is_locked_by_all():
            return False
        try:
            view = self._view(opened.path, writes=opened.lock is not None)
        except (OSError, ConfigurationError, CorruptStoreError, NewerSchemaError):
            return False
        old, opened.view = opened.view, view
        old.close()
        return True

    def take(self, lock: FileIO, path: Path, began: float) -> None:
        """Wait for the store's lock, as :func:`symcache_core.file_lock.take` does; who waited before has waited."""
        timeout = self._terms.lock_timeout
        take(lock.fileno(), beside(path, ".lock"), timeout, left=began + timeout - time.monotonic())

    def take_among_threads(self, lock: RLock, began: float) -> None:
        """Wait for a lock of this process; the caller stands in the ``try`` that gives it back.

        Raises:
            LockTimeoutError: Another thread held it all the time.
        """
        left = began + self._terms.lock_timeout - time.monotonic()
        if not lock.acquire(timeout=min(max(left, 0.0), _LONGEST)):
            raise LockTimeoutError(
                f"{self._terms.path} is in use by another thread, and was for {self._terms.lock_timeout:g} s "
                "(setting 'lock_timeout')"
            )

    def _open_to_write(self, path: Path, began: float) -> Opened:
        make_folder(path.parent, durably=self._terms.durably)
        word = shared = None
        lock = open_file(beside(path, ".lock"), os.O_RDWR | os.O_CREAT)
        try:
            if self._terms.shares_memory:
                # Opened for itself, as a forked child keeps the memory, and with it what it is mapped from.
                shared = open_file(beside(path, ".lock"), os.O_RDWR)
            try:
                self.take(lock, path, began)
                _refuse_foreign(path)
                claim_lock(lock.fileno(), beside(path, ".lock"))
                adopt(path, self._log)
                cut_damaged_end(path, self._log)
                word = None if shared is None else SharedWord(shared.fileno())
                if not any(map(os.path.lexists, (path, beside(path, ".journal")))):
                    see(lock.fileno(), BEHIND_THE_WORD, os.fstat(lock.fileno()).st_mtime, is_new=True)
            finally:
                try:
                    fcntl.flock(lock, fcntl.LOCK_UN)
                finally:
                    fcntl.flock(lock, fcntl.LOCK_UN)
            # The word is read before the files, so that a write in between shows as a change the next time.
            known = None if word is None else word.cells[0]
            opened = Opened(path, self._view(path, writes=True), lock=lock, shared=shared, word=word, known=known)
        except BaseException:
            for file in filter(None, (lock, shared)):
                file.close()
            raise
        if not opened.is_locked_by_all() or (shared is not None and not is_at(beside(path, ".lock"), shared.fileno())):
            opened.let_go()
            raise ReplacedError(path)
        return opened

    def _open_to_read(self, path: Path, trouble: OSError | LockTimeoutError) -> Opened:
        try:
            view = self._view(path, writes=False)
        except CorruptStoreError:
            if is_unversioned(path):  # it can be read once it has been taken over
                raise trouble from None
            raise
        except OSError:
            raise trouble from None
        return Opened(path, view, trouble=trouble)

    def _view(self, path: Path, *, writes: bool) -> View:
        return View(path, log=self._log, writes=writes, durably=self._terms.durably)


def _refuse_foreign(path: Path) -> None:
    with suppress(FileNotFoundError), open_file(beside(path, ".journal"), os.O_RDONLY) as journal:
        refuse_journal(journal.fileno(), beside(path, ".journal"))
    if not is_file_of_leases(beside(path, ".leases")):
        raise refusal(beside(path, ".leases"))


def _can_be_read(path: Path, error: OSError | LockTimeoutError) -> bool:
    """Whether a store that takes no writes may be opened all the same."""
    if isinstance(error, LockTimeoutError) or error.errno in _FULL_OR_READ_ONLY:
        return True
    return error.errno in _MAY_BE_READ and any(map(os.path.exists, (path, beside(path, ".journal"))))
