"""Tells the databases of other programs, which are left as they are, from those of this one.

Many programs call a database ``cache.db``, and many have a folder of diskcache's. Nothing in one of ours says that it
is ours but its lock file. Where that is missing, as beside a backup of the database alone, the rows tell: bytes of JSON
under plain text.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from diskcache.core import DEFAULT_SETTINGS, MODE_BINARY, MODE_RAW

from symcache_core.errors import ConfigurationError

from .database import WITHOUT_INDEX, WITHOUT_LOG, beside, connect, settings_of
from .paths import look, version_of_log

_TABLES = {"Cache", "Settings"}
_COLUMNS = {
    "key",
    "raw",
    "store_time",
    "expire_time",
    "access_time",
    "access_count",
    "size",
    "mode",
    "filename",
    "value",
}
_ROWS = "SELECT key, raw, mode, filename, value FROM Cache LIMIT 200"


def refuse_unclaimed(database: Path, setting: str, wanted: dict[str, Any]) -> None:
    """See to it that a database beside which there is no lock file of ours is ours all the same, or empty.

    Args:
        database: Where it may be.
        setting: What says so, for the error.
        wanted: How ours are set.

    Raises:
        ConfigurationError: It is another program's.
    """
    found = look(database)
    if found is None or not found.st_size:
        return
    parameters = WITHOUT_INDEX if version_of_log(beside(database, "-wal")) else WITHOUT_LOG
    with suppress(sqlite3.Error), closing(connect(database, parameters)) as con:  # whoever opens it will say what it is
        refuse_other_tables(con, database, setting)
        if "Cache" not in _tables(con):
            return
        rows, settings = con.execute(_ROWS).fetchall(), settings_of(con)
        is_set_otherwise = any(settings.get(key) not in (DEFAULT_SETTINGS[key], value) for key, value in wanted.items())
        if not all(map(_is_ours, rows)) or (not rows and settings and is_set_otherwise):
            raise _refusal(database, "a diskcache folder", setting)


def refuse_other_tables(con: sqlite3.Connection, database: Path, setting: str) -> None:
    """See to it that a database has no tables but diskcache's.

    Args:
        con: To the database.
        database: Where that is.
        setting: What says so, for the error.

    Raises:
        ConfigurationError: It has others.
    """
    tables = _tables(con)
    is_foreign = not tables <= _TABLES
    if "Cache" in tables:
        is_foreign |= not {name for _, name, *_ in con.execute("PRAGMA table_info(Cache)")} >= _COLUMNS
    if is_foreign:
        raise _refusal(database, "a database", setting)


def _tables(con: sqlite3.Connection) -> set[str]:
    found = con.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {name for (name,) in found if not name.startswith("sqlite_")}


def _is_ours(row: tuple[Any, ...]) -> bool:
    key, raw, mode, filename, value = row
    if not raw or not isinstance(key, str) or mode not in (MODE_RAW, MODE_BINARY):
        return False
    if filename is not None:
        return bool(mode == MODE_BINARY)
    try:
        return isinstance(value, bytes) and json.loads(value) is not None
    except ValueError:
        return False


def _refusal(database: Path, what: str, setting: str) -> ConfigurationError:
    return ConfigurationError(
        f"{database} is {what} of another program's, which is left as it is: set {setting!r} to a folder of its own"
    )
