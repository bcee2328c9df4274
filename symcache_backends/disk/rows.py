"""The rows of a diskcache folder: bytes under text, read and written as diskcache would, and by fewer statements.

diskcache would drop at any write what is over by the clock of whoever writes. Here that has to be so for a while.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import EVICTION_POLICY, MODE_BINARY, MODE_RAW, UNKNOWN

from symcache_core.errors import CorruptEntryError
from symcache_core.files import open_regular

_FIND = (
    "SELECT mode, filename, value, rowid FROM Cache"
    " WHERE key = ? AND raw = 1 AND (expire_time IS NULL OR expire_time > ?)"
)
_FILE_OF = "SELECT filename FROM Cache WHERE key = ? AND raw = 1"
_PUT = (
    "INSERT INTO Cache (key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value)"
    " VALUES (?, 1, ?, ?, ?, 0, NULL, ?, ?, ?, ?)"
    " ON CONFLICT (key, raw) DO UPDATE SET store_time = excluded.store_time, expire_time = excluded.expire_time,"
    " access_time = excluded.access_time, access_count = 0,"
    " tag = NULL, size = excluded.size, mode = excluded.mode, filename = excluded.filename, value = excluded.value"
)
_OVER = "SELECT rowid, filename FROM Cache WHERE expire_time < ? ORDER BY expire_time LIMIT ?"
_AT_ONCE = 100
"""How many rows that are over a write drops at most, ..."""

_EVICTED_AT_ONCE = 10
"""... and how many others when the folder has outgrown its limit, as in diskcache."""


class BytesDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Stores bytes under text, and refuses a row of any other kind, whoever wrote it.

    diskcache unpickles rows that are marked as pickled, whatever its settings (CVE-2025-69872), so whoever could write
    to the folder could run code here.
    """

    def put(self, key: Any) -> tuple[Any, bool]:
        """Take a key as it is."""
        return key, True

    def get(self, key: Any, raw: bool) -> Any:
        """Give a key back, if it is text."""
        if not raw or not isinstance(key, str):
            raise CorruptEntryError("a row of the diskcache folder has a key that is not plain text; refused")
        return key

    def store(self, value: Any, read: bool, key: Any = UNKNOWN) -> Any:
        """Store bytes, in the database or, when long, in a file."""
        if not isinstance(value, bytes):
            raise TypeError(f"a {type(value).__name__} is not bytes")
        if len(value) < self.min_file_size:
            return 0, MODE_RAW, None, value
        return super().store(value, read, key=key)

    def _write(self, full_path: str, iterator: Any, mode: str, encoding: str | None = None) -> Any:
        try:
            return super()._write(full_path, iterator, mode, encoding)
        except BaseException:  # an unfinished file would keep the room that a full disk lacks
            with suppress(OSError):
                os.unlink(full_path)
            raise

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> bytes:
        """Fetch bytes, never anything else, and never from outside the folder."""
        if mode not in (MODE_RAW, MODE_BINARY):
            raise CorruptEntryError("a row of the diskcache folder is not plain bytes; refused")
        if filename is not None:
            if not self._is_inside(filename):
                raise CorruptEntryError("a row of the diskcache folder points outside it; refused")
            return self._content(filename)
        if not isinstance(value, bytes):
            raise CorruptEntryError("a row of the diskcache folder is not plain bytes; refused")
        return value

    def remove(self, file_path: str) -> None:
        """Remove the file of a row, unless it is outside the folder."""
        if self._is_inside(file_path):
            super().remove(file_path)

    def _content(self, filename: str) -> bytes:
        path = Path(self._directory, filename)
        try:
            with open_regular(path, "r") as file:
                return file.readall()
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ELOOP, errno.EISDIR):
                raise
            raise CorruptEntryError(f"{path} is no regular file; refused") from None

    def _is_inside(self, filename: str) -> bool:
        folder = Path(self._directory).resolve()
        try:
            return (folder / filename).resolve().is_relative_to(folder)
        except (OSError, RuntimeError):  # a link to itself
            return False


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What a write drops besides.

    Args:
        over_before: What was over at this time is dropped, in seconds since the epoch; ``None`` drops nothing.
        eviction: Which entries go first when the folder outgrows the limit.
        size_limit: In bytes.
    """

    over_before: float | None
    eviction: str
    size_limit: int


@dataclass(slots=True)
class Found:
    """What was found under keys.

    Args:
        entries: By key.
        refused: Why rows were taken for none; to be logged when no lock is held any more.
    """

    entries: dict[str, bytes] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def find(con: sqlite3.Connection, disk: BytesDisk, key: str, found: Found, note: str | None) -> None:
    """Look for the entry under a key.

    Args:
        con: To the database.
        disk: Has the files of long entries.
        key: Which.
        found: Where to put it.
        note: What to set of a row that was found, for an eviction that goes by use.
    """
    missing = None
    while True:
        now = time.time()
        row = con.execute(_FIND, (key, now)).fetchone()
        if row is None:
            return
        mode, filename, value, rowid = row
        if mode == MODE_RAW and filename is None and type(value) is bytes:
            found.entries[key] = value
            break
        try:
            found.entries[key] = disk.fetch(mode, filename, value, read=False)
            break
        except CorruptEntryError as error:
            found.refused.append(str(error))
            return
        except (FileNotFoundError, NotADirectoryError):
            # Who replaces an entry drops its old file next: then there is another row now. A file that is still named
            # is gone for good, and its entry with it.
            if filename == missing:
                return
            missing = filename
    if note is not None:
        _note_use(con, note, now, rowid)


def keys(con: sqlite3.Connection) -> list[str]:
    """The keys whose entries are not over; one that is not plain text is refused."""
    rows = con.execute("SELECT key, raw FROM Cache WHERE expire_time IS NULL OR expire_time > ?", (time.time(),))
    return [key for key, raw in rows.fetchall() if raw and isinstance(key, str)]


def put(con: sqlite3.Connection, key: str, stored: tuple[Any, ...], keep_until: float, upkeep: Upkeep) -> list[str]:
    """Put an entry under a key, in a transaction; gives the files that are needless once it is committed.

    Args:
        con: To the database.
        key: Where.
        stored: What :meth:`BytesDisk.store` has made of the entry.
        keep_until: Seconds since the epoch.
        upkeep: What to drop besides.
    """
    row = con.execute(_FILE_OF, (key,)).fetchone()
    now = time.time()
    con.execute(_PUT, (key, now, keep_until, now, *stored))
    needless = [] if row is None or row[0] is None else [row[0]]
    return needless + _tidy(con, upkeep)


def drop(con: sqlite3.Connection, key: str) -> list[str] | None:
    """Drop the entry under a key, in a transaction; gives the files that are needless then, or ``None``."""
    row = con.execute(_FIND, (key, time.time())).fetchone()
    if row is None:
        return None
    con.execute("DELETE FROM Cache WHERE rowid = ?", (row[3],))
    return [] if row[1] is None else [row[1]]


def drop_all(con: sqlite3.Connection) -> tuple[int, list[str]]:
    """Drop every row, in a transaction; gives how many entries were not over, and the files that are needless then."""
    count = len(keys(con))
    files = con.execute("SELECT filename FROM Cache WHERE filename IS NOT NULL").fetchall()
    con.execute("DELETE FROM Cache")
    return count, [filename for (filename,) in files]


def drop_over(con: sqlite3.Connection, before: float, limit: int = _AT_ONCE) -> tuple[int, list[str]]:
    """Drop some of what was over before a time; gives how many rows, and the files that are needless then."""
    return _drop_rows(con, con.execute(_OVER, (before, limit)).fetchall())


def unused(con: sqlite3.Connection, files: Mapping[str, str]) -> list[str]:
    """Those files, by key, that no row names."""
    return [filename for key, filename in files.items() if con.execute(_FILE_OF, (key,)).fetchone() != (filename,)]


def size(con: sqlite3.Connection) -> int:
    """Bytes of the database and of its files."""
    ((pages,),) = con.execute("PRAGMA page_count").fetchall()
    ((page,),) = con.execute("PRAGMA page_size").fetchall()
    files = con.execute("SELECT value FROM Settings WHERE key = 'size'").fetchone()
    return int(pages) * int(page) + int(files[0] if files else 0)


def use_note(eviction: str) -> str | None:
    """What an eviction policy notes of a row that is read, if it does."""
    note: str | None = EVICTION_POLICY[eviction]["get"]
    return note


def _tidy(con: sqlite3.Connection, upkeep: Upkeep) -> list[str]:
    needless: list[str] = []
    if upkeep.over_before is not None:
        needless += drop_over(con, upkeep.over_before)[1]
    order = EVICTION_POLICY[upkeep.eviction]["cull"]
    if order is not None and size(con) >= upkeep.size_limit:
        statement = order.format(fields="rowid, filename", now=time.time())
        needless += _drop_rows(con, con.execute(statement, (_EVICTED_AT_ONCE,)).fetchall())[1]
    return needless


def _drop_rows(con: sqlite3.Connection, rows: list[tuple[int, str | None]]) -> tuple[int, list[str]]:
    if rows:
        con.executemany("DELETE FROM Cache WHERE rowid = ?", [(rowid,) for rowid, _ in rows])
    return len(rows), [filename for _, filename in rows if filename is not None]


def _note_use(con: sqlite3.Connection, note: str, now: float, rowid: int) -> None:
    try:
        con.execute(f"UPDATE Cache SET {note.format(now=now)} WHERE rowid = ?", (rowid,))  # noqa: S608  # diskcache's own
    except sqlite3.OperationalError:
        return  # what was read is there all the same, though the storage takes no writes now
