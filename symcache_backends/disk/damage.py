"""Tells a database that is damaged from one that could not be read for a moment: SQLite has one word for both.

Where the disk fails to read, SQLite says that the database is malformed. Whoever believes that moves a good one away.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from symcache_core.files import open_regular

from .database import READING, beside, connect
from .index import descriptor_of
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
        for file in (database, beside(database, "-wal")):
            _read(file)
    except OSError as fault:
        return fault
    return error if _is_sound(database) else None


def _is_sound(database: Path) -> bool:
    try:
        with closing(connect(database, READING)) as con:
            return bool(con.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.Error:
        return False


def _read(file: Path) -> None:
    there = identity(file)
    if there is None:
        return
    # By the number under which SQLite has it open, if it has: with the first descriptor of a file that is closed, the
    # system drops all of SQLite's locks on it.
    number = descriptor_of(there)
    if number >= 0:
        _read_all(number)
        return
    with open_regular(file, "r") as opened:
        _read_all(opened.fileno())


def _read_all(number: int) -> None:
    place = 0
    while chunk := os.pread(number, _AT_ONCE, place):
        place += len(chunk)
