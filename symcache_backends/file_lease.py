"""Leases as locked files: one holder for each key on this machine, and none once its process has died."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from contextlib import suppress
from pathlib import Path


class FileLease:
    """The right to be the only one at work on a key, until :meth:`release` or the end of the process."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor: int | None = descriptor
        self._path = path
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def release(self) -> None:
        """Give it back, from any thread; a second time does nothing."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            # Unlinked while still locked: whoever waits for no one finds either this file, locked, or none. A forked
            # child has but a share in its parent's lease, and only lets go of that.
            if self._pid == os.getpid():
                with suppress(OSError):
                    self._path.unlink()
        finally:
            os.close(descriptor)


def try_lease(folder: Path, key: str) -> FileLease | None:
    """Take the lease of a key, or ``None`` at once if anyone has it.

    The lock is a ``flock``, which belongs to the open file and not to the process: so it excludes other threads too,
    and the system lets go of it when its holder dies.

    Args:
        folder: Where the files of leases are; made if need be.
        key: Any text.

    Raises:
        OSError: The folder cannot be written.
    """
    path = folder / hashlib.sha256(key.encode()).hexdigest()[:32]
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                return FileLease(descriptor, path)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        # Its last holder unlinked the file between our opening and locking it.
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
