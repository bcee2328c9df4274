"""Tells a database that is damaged from one that could not be read for a moment: SQLite has one word for both.

Where the disk fails to read, SQLite says that the database is malformed. Whoever believes that moves a good one away.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from symcache_core.files import open_regular

from .database import READING, beside, connect
from .descriptors import asked
from .paths import identity

_AT_ONCE = 1 << 20


def passing_reason(error: sqlite3.Error, database: Path) -> Exception | None:
    """What else than damage is behind an error that speaks of it; ``None`` if it is damage.

    Args:
        error: What SQLite has said.
        database: Of which.
    """
    if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:
        return None
    try:
        # By a connection's descriptor: whoever in this process connects meanwhile would lose their locks with ours.
        with closing(connect(database, READING)):
            if (there := identity(database)) is not None:
                asked(there, _read_all)
        with suppress(FileNotFoundError), open_regular(beside(database, "-wal"), "r") as log:
            _read_all(log.fileno())
    except (OSError, sqlite3.Error) as fault:
        return fault
    return error if _is_sound(database) else None


def _is_sound(database: Path) -> bool:
    try:
        with closing(connect(database, READING)) as con:
            return bool(con.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.Error:
        return False


def _read_all(number: int) -> int:
    size = 0
    while chunk := os.pread(number, _AT_ONCE, size):
        size += len(chunk)
    return size
