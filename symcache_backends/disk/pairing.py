"""Which log belongs to which database: SQLite itself takes any log beside a database for that database's own.

A log stays behind where a program was killed or is still at work. If a backup of the database is then put beside it, or
over the one that was there, SQLite would mix the two. So it is remembered, in memory and in the lock file behind the
word, which files belong together, and when the database was last written to.

What was put in place by its name is another file. What was written over in place is known by its times, if the backup
was copied with them (``cp -a``): it is older than what was there, and was changed after it was written. A copy that is
written over in place with the present time cannot be told from what SQLite itself writes, nor does it matter when a
database was written over by what it was: then the log still fits.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from .index import SharedIndex
from .paths import look

_BEHIND_THE_WORD = 8
_RECORD = struct.Struct("=4Q")
_APART = 2_000_000_000
"""Nanoseconds by which a file was changed after it was written, if its times were set."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """Files that belong together, by inode.

    Args:
        lock: The lock file, which is another where a whole folder was copied.
        database: Its database.
        log: The log of that.
        written: When the database was last written to, in nanoseconds since the epoch.
    """

    lock: int
    database: int
    log: int
    written: int


def remember(descriptor: int, pairing: Pairing) -> None:
    """Write it to the lock file.

    Raises:
        OSError: It cannot be written.
    """
    record = _RECORD.pack(pairing.lock, pairing.database, pairing.log, pairing.written)
    os.pwrite(descriptor, record, _BEHIND_THE_WORD)


def remembered(descriptor: int) -> Pairing | None:
    """What the lock file says, if it is that of these files."""
    record = os.pread(descriptor, _RECORD.size, _BEHIND_THE_WORD)
    if len(record) != _RECORD.size:
        return None
    pairing = Pairing(*_RECORD.unpack(record))
    return pairing if pairing.lock == os.fstat(descriptor).st_ino else None


def looks_restored(found: os.stat_result) -> bool:
    """Whether a file got its times from another."""
    return found.st_ctime_ns - found.st_mtime_ns > _APART


def drop_foreign_log(lock: Path, database: Path, log: Path, index: Path, known: Pairing | None) -> bool:
    """Drop a log that another database has left; tells whether there was one.

    Args:
        lock: The folder's lock file.
        database: The database that is there now.
        log: The log beside it.
        index: The log's index.
        known: What belonged together.
    """
    base, left, locked = look(database), look(log), look(lock)
    if base is None or left is None or not left.st_size:
        return False
    if known is not None and left.st_ino == known.log and base.st_ino != known.database:
        # Others may still be at the database that was here before: to them belongs what was beside it.
        for path in (log, index):
            path.unlink(missing_ok=True)
        return True
    is_older = known is not None and base.st_ino == known.database and base.st_mtime_ns < known.written
    is_older |= locked is not None and looks_restored(locked) and locked.st_mtime_ns < left.st_mtime_ns
    if not is_older or not looks_restored(base) or looks_restored(left) or left.st_mtime_ns > base.st_ctime_ns:
        return False
    os.truncate(log, 0)
    _empty(index)
    return True


def _empty(index: Path) -> None:
    found = look(index)
    if found is None or SharedIndex(index).empty():
        return
    # Nobody in this process has it open, so that closing it drops nobody's locks.
    descriptor = os.open(index, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, bytes(found.st_size), 0)
    finally:
        os.close(descriptor)
