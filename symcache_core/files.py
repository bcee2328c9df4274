"""Puts files in their place so that a crash at any moment leaves the old content or the new one, whole."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

from .errors import ConfigurationError

_KINDS = {stat.S_ISDIR: "folder", stat.S_ISFIFO: "FIFO", stat.S_ISSOCK: "socket", stat.S_ISLNK: "symlink to itself"}
_TRIES = 5
_FOR_ITS_OWNER = partial(os.open, mode=0o600)


class OpenFile(io.FileIO):
    """An open file that is closed when nothing refers to it any more, and that needs no warning.

    So it goes after an interrupt, in a forked child, and when the interpreter ends.
    """

    __del__ = io.FileIO.close  # C's, as an interrupt at the beginning of one in Python would be lost, and the file left


class Writer(io.BufferedWriter):
    """A buffer in front of such a file, and like it."""

    __del__ = io.BufferedWriter.close


@contextmanager
def replacing(
    path: Path, *, temporary: Path | None = None, before: Callable[[], None] | None = None
) -> Iterator[BinaryIO]:
    """Write a file that takes a path's place in one step, once it is whole and safe on disk; of mode 0600.

    That it is there survives a power loss once its folder is synced, too: see :func:`sync_folder`.

    Args:
        path: Where it shall be.
        temporary: Where it is written, for who is the only writer and would not leave more than one such file when
            killed; made anew, under a name that nobody can foresee, when left out.
        before: What to do when the new content is safe and the old one still in place.

    Raises:
        OSError: It could not be written; what was there is untouched.
    """
    # Named before it is made, so that an interrupt leaves none behind.
    part = path.with_name(f".symcache-{os.urandom(8).hex()}.part") if temporary is None else temporary
    try:
        with Writer(_anew(part)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            before()
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or removed in a folder survive a power loss."""
    # Within the interpreter, so that an interrupt cannot come between the opening and the keeping of the number.
    [descriptor] = map(os.open, [folder], [os.O_RDONLY | os.O_CLOEXEC])
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path, mode: Literal["r", "r+", "a+"] = "r+") -> OpenFile:
    """Open a regular file, and never wait for it as a FIFO or a device may make one.

    No step of Python comes between the system's call and the object that closes the descriptor when it is lost: so an
    interrupt leaves none open.

    Args:
        path: Where.
        mode: As for ``open``; with ``r+`` and ``a+`` it is made if it is not there.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    for _ in range(_TRIES):
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise OSError(errno.EINVAL, "it is no regular file", str(path))
            return OpenFile(path, mode, opener=_FOR_ITS_OWNER)
        except FileNotFoundError:
            if mode == "r":
                raise
        with suppress(FileExistsError):  # somebody else has just made it
            return OpenFile(path, "x+" if mode == "r+" else mode, opener=_FOR_ITS_OWNER)
    raise FileExistsError(errno.EEXIST, "it is a symlink to a file that is not there", str(path))


def make_folder(folder: Path, *, durably: bool = True) -> None:
    """Make a folder, and those above it that are not there.

    Args:
        folder: Which.
        durably: Whether the names of what was made survive a power loss.

    Raises:
        OSError: It cannot be made.
    """
    made = not folder.is_dir()
    if made:
        make_folder(folder.parent, durably=durably)
        try:
            folder.mkdir(exist_ok=True)
        except FileExistsError:
            raise _no_folder(folder) from None
    if durably and made:
        sync_folder(folder.parent)
    elif durably:
        with suppress(PermissionError):  # one that may be written in need not lie in one that may be read
            if _is_empty(folder):  # whoever has made it may have been killed before its name was safe
                sync_folder(folder.parent)


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one that is at a path now, by device and inode.

    Its folder may have been moved, or replaced, or the file restored from a backup: what is at the path is then
    another's, and whoever replaces it by name destroys that.
    """
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        return False


def regular_file(path: Path, setting: str) -> Path:
    """The file behind every symlink of a path, whether it is there or not.

    Args:
        path: Where.
        setting: What says so, for the error.

    Raises:
        ConfigurationError: There is something that is no regular file; opening it might wait for ever.
        OSError: It cannot be looked at.
    """
    found = Path(os.path.realpath(path))
    with suppress(FileNotFoundError):
        try:
            mode = os.stat(found).st_mode
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise ConfigurationError(f"{path} is a symlink that leads to itself: set {setting!r} to another") from None
        if not stat.S_ISREG(mode):
            kind = next((name for is_it, name in _KINDS.items() if is_it(mode)), "device")
            raise ConfigurationError(f"{path} is a {kind}, not a regular file: set {setting!r} to another")
    return found


def _no_folder(path: Path) -> OSError:
    """What is wrong where something that is no folder has a folder's name."""
    if not path.is_symlink():
        return NotADirectoryError(errno.ENOTDIR, "it is no folder", str(path))
    try:
        os.stat(path)
    except OSError as error:
        what = "itself" if error.errno == errno.ELOOP else "a folder that is not there"
    else:
        what = "something that is no folder"
    return NotADirectoryError(errno.ENOTDIR, f"it is a symlink to {what}", str(path))


def _anew(path: Path) -> OpenFile:
    # What a killed writer left goes, and so does a link that would have us write into another's file.
    with suppress(FileNotFoundError):
        os.unlink(path)
    return OpenFile(path, "x", opener=_FOR_ITS_OWNER)
