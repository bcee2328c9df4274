"""Files that are shared with other processes: opened with care, replaced whole, readable by their owner only."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import FileIO
from pathlib import Path

from symcache_core.files import OpenFile, regular_file, replacing, sync_folder

_UNFINISHED = re.compile(r"\.[0-9a-f]{16}\.tmp")
_SAFELY = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class ReplacedError(OSError):
    """A file that is open is not the one at its path any more."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.ESTALE, f"{path.name} is being replaced by another program")


def open_file(path: Path, flags: int) -> FileIO:
    """Open a regular file; one that is made gets mode 0600.

    An object has the descriptor, and not a number: it is closed with the last reference to it, and has no number
    afterwards that another file may have got. No step of Python comes between the system's call and that object, so
    that an interrupt leaves none open.

    Raises:
        OSError: It cannot be opened, or is something else, such as a symlink or a FIFO.
    """
    with suppress(FileNotFoundError):
        _check_kind(path, os.lstat(path).st_mode)
    mode = "r+b" if flags & (os.O_RDWR | os.O_WRONLY) else "rb"
    [file] = map(OpenFile, map(os.open, [path], [flags | _SAFELY], [0o600]), [mode])
    _check_kind(path, os.fstat(file.fileno()).st_mode)
    return file


def beside(path: Path, suffix: str) -> Path:
    """The file that belongs to another: ``symbols.json`` and ``.lock`` make ``symbols.json.lock``."""
    return path.with_name(path.name + suffix)


def look_at(name: Path | bytes) -> os.stat_result | None:
    """What is at a path; none if nothing is."""
    try:
        return os.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        return None


def place(file: os.stat_result | None) -> tuple[int, int] | None:
    """By what an open file and the one at a path are told apart: the device and the inode."""
    return None if file is None else (file.st_dev, file.st_ino)


def target(path: Path) -> Path:
    """Where a store's files are: if its file is a symlink, where that leads, so that it stays one.

    Symlinks among its folders stay in the path, as they may come to lead elsewhere.

    Raises:
        ConfigurationError: There is something that is no regular file.
        OSError: It cannot be looked at.
    """
    found = regular_file(path, "backends.json.path")
    return found if path.is_symlink() else path


def replace(path: Path, pieces: Iterable[bytes], *, before: Callable[[], None] | None = None) -> None:
    """Put new content in place of a file so that a crash at any moment leaves the old or the new one, whole.

    What is at the path and no regular file is left alone. The caller is the only one who does this to the file.

    Args:
        path: The file.
        pieces: Its new content.
        before: What to do when the new content is safe and the old one still in place.

    Raises:
        OSError: It could not be done; what was there is untouched.
    """

    def before_it_goes() -> None:
        with suppress(FileNotFoundError):
            _check_kind(path, os.lstat(path).st_mode)
        if before is not None:
            before()

    _drop_unfinished(path)
    with replacing(path, temporary=beside(path, f".{os.urandom(8).hex()}.tmp"), before=before_it_goes) as file:
        file.writelines(pieces)
    sync_folder(path.parent)


def mark_in_use(file: FileIO) -> None:
    """Hold a shared ``flock`` until the file is closed."""
    with suppress(BlockingIOError):  # by one who is about to replace it
        fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)


def in_use_elsewhere(file: FileIO) -> bool:
    """Whether another descriptor holds a ``flock`` of the same file."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        mark_in_use(file)
    return False


def sync(descriptor: int) -> None:
    """Make what was written to a file survive a power loss."""
    getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has no fdatasync


def _drop_unfinished(path: Path) -> None:
    """Remove what a killed process has left of a new content; its name is like nobody else's."""
    with suppress(OSError):
        for name in os.listdir(path.parent):
            if name.startswith(path.name) and _UNFINISHED.fullmatch(name, len(path.name)):
                os.unlink(path.with_name(name))


def _check_kind(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = "a symlink" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "a device, FIFO or socket"
        raise OSError(errno.EINVAL, f"{path.name} is {kind}, not a regular file")
