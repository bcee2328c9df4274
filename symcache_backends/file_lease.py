"""Leases as locks on a file: one holder for each key on this machine, and none once its process has died."""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

BYTES_CAN_BE_LOCKED = hasattr(fcntl, "F_OFD_SETLK") and sys.maxsize > 2**32
"""Whether a lock on a byte of a file can belong to an open file and not to a process: on Linux, fcntl(2).

Elsewhere each key has a file of its own, which takes longer, above all to make and to remove.
"""

_FLOCK = struct.Struct("hhqqi4x")  # l_type, l_whence, l_start, l_len, l_pid


class FileLease:
    """The right to be the only one at work on a key, until :meth:`release` or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def release(self) -> None:
        """Give it back, from any thread; a second time does nothing."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            # Children that were forked meanwhile share the lock: closing would leave it to them. They but let go of it.
            if self._pid == os.getpid():
                _unlock(descriptor)
        finally:
            os.close(descriptor)


def try_lease(path: Path, key: str) -> FileLease | None:
    """Take the lease of a key, or ``None`` at once if anyone has it.

    The lock belongs to the open file and not to the process: so it excludes other threads too, and the system lets go
    of it when its holder dies.

    Args:
        path: The file whose bytes are locked, which stays empty; or the folder of the files that are.
        key: Any text.

    Raises:
        OSError: It cannot be written.
    """
    digest = hashlib.sha256(key.encode()).hexdigest()
    return _lease_of_byte(path, int(digest[:15], 16)) if BYTES_CAN_BE_LOCKED else _lease_of_file(path / digest[:32])


def drop_unused(path: Path) -> None:
    """Remove the files of leases that nobody has, as far as possible."""
    if BYTES_CAN_BE_LOCKED:
        return
    with suppress(OSError):
        for name in os.listdir(path):
            file = path / name
            descriptor = _open(file)
            try:
                # Unlinked while locked: whoever opens it now finds that it is no longer there.
                if _lock_file(descriptor) and _is_at(file, descriptor):
                    file.unlink()
            finally:
                os.close(descriptor)


def _lease_of_byte(path: Path, number: int) -> FileLease | None:
    descriptor = _open(path)
    with ExitStack() as undo:
        undo.callback(os.close, descriptor)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0))
        except BlockingIOError:
            return None
        undo.pop_all()
    return FileLease(descriptor)


def _lease_of_file(path: Path) -> FileLease | None:
    while True:
        descriptor = _open(path)
        with ExitStack() as undo:
            undo.callback(os.close, descriptor)
            if not _lock_file(descriptor):
                return None
            if _is_at(path, descriptor):
                undo.pop_all()
                return FileLease(descriptor)
            # It was dropped between our opening and locking it.


def _open(path: Path) -> int:
    while True:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _lock_file(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(descriptor: int) -> None:
    if BYTES_CAN_BE_LOCKED:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
