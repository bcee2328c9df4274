"""What is at a path: which file, as of when; and descriptors of files that are never closed twice."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from symcache_core.errors import ConfigurationError
from symcache_core.files import regular_file

Identity = tuple[int, int]
"""Device and inode."""


class Descriptor:
    """The number of an open file, as long as that is open.

    Args:
        file: Is closed when nobody has this object any more; without one, nothing is open.
    """

    def __init__(self, file: io.FileIO | None = None) -> None:
        self._file = file
        self.number = -1 if file is None else file.fileno()
        """It is -1 once that is closed. No property, where an interrupt would keep a lock from being given back."""

    def close(self) -> None:
        """Close it now."""
        self.number = -1
        if self._file is not None:
            self._file.close()


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


def names_in(folder: Path | bytes) -> tuple[int, int, int] | None:
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


def refuse_other_kinds(setting: str, folder: Path, files: Iterable[Path], beside: Iterable[Path]) -> None:
    """See to it that what is there is of the kind that it is to be.

    Args:
        setting: What says where that is, for the error.
        folder: A folder, if anything.
        files: Regular files, if anything, or symlinks to such.
        beside: Regular files, if anything.

    Raises:
        ConfigurationError: There is something else.
    """
    try:
        found = look(folder)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        found = None
    if (found is None and folder.is_symlink()) or (found is not None and not stat.S_ISDIR(found.st_mode)):
        kind = "a symlink that leads nowhere" if found is None else "no folder"
        raise ConfigurationError(f"{folder} is {kind}: set {setting!r} to another")
    for file in files:
        regular_file(file, setting)
    refuse_no_files(setting, *beside)


def refuse_no_files(setting: str, *paths: Path) -> None:
    """See to it that there is nothing at paths but regular files; nothing else is ever opened, as it may never end.

    Raises:
        ConfigurationError: There is.
    """
    for path in paths:
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not stat.S_ISREG(mode):
            raise ConfigurationError(
                f"{path} is a {_kind(mode)}, and not a file of the database's: remove it, or set {setting!r} to another"
                " folder"
            )


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFLNK: "symlink"}
    return kinds.get(stat.S_IFMT(mode), "device")


def look(path: Path | bytes) -> os.stat_result | None:
    """What is at a path, if anything; one that is bytes, as the system takes it, is looked at fastest."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
