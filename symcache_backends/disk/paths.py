"""What is at a path: which file, as of when; and descriptors of files that are never closed twice."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from symcache_core.errors import ConfigurationError

Identity = tuple[int, int]
"""Device and inode."""


class Descriptor:
    """The number of an open file, which is closed when nobody has this object any more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        """Close it now."""
        number, self.number = self.number, -1
        if number >= 0:
            os.close(number)

    __del__ = close


def open_shared(path: Path) -> int:
    """Open a file to read and write, and make it if need be; the owner's only."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def identity_of(found: os.stat_result) -> Identity:
    """Which file that is."""
    return found.st_dev, found.st_ino


def identity(path: Path) -> Identity | None:
    """Which file is at a path."""
    found = look(path)
    return None if found is None else (found.st_dev, found.st_ino)


def identities(*paths: Path) -> list[Identity | None]:
    """Which files are at paths."""
    return [identity(path) for path in paths]


def names_in(folder: Path) -> tuple[int, int, int] | None:
    """What changes when a file of a folder takes another's place, or the folder itself does."""
    found = look(folder)
    return None if found is None else (found.st_dev, found.st_ino, found.st_mtime_ns)


def version(database: Path, log: Path) -> tuple[object, ...]:
    """What changes when someone writes to a database, where SQLite itself would not notice."""
    found = look(database)
    return () if found is None else (identity_of(found), found.st_mtime_ns, found.st_size, version_of_log(log))


def version_of_log(log: Path) -> tuple[int, int] | None:
    """The same of its log; ``None`` if that is empty, or not there."""
    found = look(log)
    return (found.st_mtime_ns, found.st_size) if found is not None and found.st_size else None


def newest(*files: Path) -> float | None:
    """When the last one of some files was written to, in seconds since the epoch; ``None`` if none is there."""
    return max((found.st_mtime for file in files if (found := look(file)) is not None), default=None)


def refuse_other_kinds(path: Path, setting: str) -> None:
    """See to it that there is nothing at a path but a folder.

    Raises:
        ConfigurationError: There is.
    """
    found = look(path)
    if found is not None and not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(f"{path} is no folder: set {setting!r} to another")


def look(path: Path) -> os.stat_result | None:
    """What is at a path, if anything."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
