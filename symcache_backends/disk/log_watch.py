"""Looks after the log of an open database: whether it is still there, whole, and found by its index.

SQLite notices nothing when its log is removed or cut short. It would go on to write behind what is gone, where nobody
finds it again.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from ..shared_word import watch
from .database import WRITING, beside, connect, open_log
from .descriptors import asked
from .index import SharedIndex
from .pairing import Pairing
from .paths import Identity, identities, identity, identity_of, look

T = TypeVar("T")

_TRIES = range(5)
_SALT = 8, 16
"""How many bytes of a log's header change when it begins anew, and where they are."""


class _DisturbedError(Exception):
    """The index of the log was lost in the midst of something."""


class LogWatch:
    """The log and the index of one database, as this process has them open.

    Args:
        database: Where that is.
    """

    def __init__(self, database: Path) -> None:
        self.log, self.index = beside(database, "-wal"), beside(database, "-shm")
        self.files = (self.log, self.index, beside(database, "-journal"))
        """All that SQLite may have beside a database."""
        self.noted: list[Identity | None] = []
        """Which files are open: the log, and the index."""
        self._database = database
        self._log_name = os.fsencode(self.log)
        self._index = SharedIndex(self.index)
        self._faults = 0
        watch(self._index)

    @property
    def is_apart(self) -> bool:
        """Whether the disk has no room for the index, so that the connection is to be closed."""
        return self._index.is_apart

    def expect(self) -> None:
        """Look after what is at the path: it is about to be opened."""
        self._index.expect()

    def open(self, con: sqlite3.Connection, known: Pairing | None) -> bool:
        """Have the log opened that is at the path; tells whether it is whole enough for that.

        Args:
            con: Whose log.
            known: What belonged together before.

        Raises:
            sqlite3.Error: It cannot be opened, and it would be no better if its index were made anew.
        """
        try:
            open_log(con)
        except sqlite3.OperationalError:
            self.note()
            # Who had a log that was removed still has it, and writes it back.
            if known is None or self.noted[0] is None or known.log != self.noted[0][1] or self.is_whole():
                raise
            return False
        return True

    def note(self) -> None:
        """Note which files are open; a database that is being made has none yet."""
        self.noted = [identity(self.log), self._index.note()]

    def forget(self) -> None:
        """Note that they are closed."""
        self._index.forget()

    def is_at_path(self) -> bool:
        """Whether what is open is what is at the path."""
        return identities(self.log, self.index) == self.noted

    def is_whole(self) -> bool:
        """Whether the log is at its path, and as long as its index says."""
        state = self._index.log_state()
        if state is None:
            return True
        found = look(self._log_name)
        if found is None or found.st_size < state.size:
            return False
        return (found.st_dev, found.st_ino) == self.noted[0]

    def is_cut_short(self) -> bool:
        """Whether something that is in no database is gone from the log."""
        state, found = self._index.log_state(), look(self.log)
        if state is None or found is None or identity_of(found) != self.noted[0]:
            return False
        return state.is_needed and found.st_size < state.size

    def empty_index(self) -> None:
        """Let SQLite read the log anew; the caller keeps writers away."""
        self._index.empty()

    def fill_index(self) -> None:
        """See to it that the disk has room for the index.

        Raises:
            OSError: It does not.
        """
        if self._index.is_apart:
            raise self._no_room()
        self._index.fill()

    def undisturbed(self, act: Callable[[sqlite3.Connection], T], con: sqlite3.Connection) -> T:
        """Act; once more if the index was lost meanwhile, as what came of it may be wrong.

        Raises:
            OSError: The disk has no room for the index.
        """
        index = self._index
        for _ in _TRIES:
            self._faults = index.faults
            try:
                outcome = act(con)
                self.check_undisturbed()
            except (_DisturbedError, sqlite3.Error):
                if index.faults == self._faults:
                    raise
                if index.is_apart:
                    raise self._no_room() from None
                index.empty()
            else:
                return outcome
        raise sqlite3.OperationalError("the index of its log is cut short all the time")

    def check_undisturbed(self) -> None:
        """Leave what is being done if the index was lost meanwhile."""
        if self._index.faults != self._faults:
            raise _DisturbedError

    def close(self, con: sqlite3.Connection) -> None:
        """Close a connection; what is in a log that was removed under it goes to the database, as far as that is right.

        Args:
            con: To the database at the path, which nobody else has written to by other means.
        """
        log = self.noted[0] if self.noted else None
        if log is None or identity(self.log) == log:
            con.close()
        elif self._is_about(log):
            with suppress(sqlite3.Error):
                con.execute("PRAGMA wal_checkpoint(PASSIVE)")
            con.close()
        else:
            # The index is about a log that others have begun. The last one who closes writes the log back, and would
            # take one for the other.
            with closing(connect(self._database, WRITING)) as keeper:
                open_log(keeper)
                con.close()

    def _no_room(self) -> OSError:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.index))

    def _is_about(self, log: Identity) -> bool:
        state = self._index.log_state()
        return state is not None and asked(log, lambda number: os.pread(number, *_SALT)) == state.salt
