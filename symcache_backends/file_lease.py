"""Leases as locks on a file: one holder for each key on this machine, and none once its process has died."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

from symcache_core.concurrency.forks import closed_in_children
from symcache_core.file_lock import process
from symcache_core.files import is_at, open_regular
from symcache_core.protocols import LeaseHolder

BYTES_CAN_BE_LOCKED = hasattr(fcntl, "F_OFD_SETLK") and sys.maxsize > 2**32
"""Whether a lock on a byte of a file can belong to an open file and not to a process: on Linux, fcntl(2).

Elsewhere each key has a file of its own, which takes longer, above all to make and to remove.
"""

_FLOCK = struct.Struct("hhqqi4x")  # l_type, l_whence, l_start, l_len, l_pid

_RECORD = struct.Struct("<QQQ")
"""What a holder writes: its key's number, its process, and when it took the lease, in nanoseconds since some moment."""

_RECORDS = 2048
"""For how many there is room in a file whose bytes are locked; of two keys with one place, the later one is told."""


class FileLease:
    """The right to be the only one at work on a key, until :meth:`release` or the end of the process."""

    def __init__(self, path: Path, key: str) -> None:
        self._number, self._path, self._place = _place(path, key)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._file: io.FileIO | None = None

    def take(self) -> bool:
        """Take it, unless anyone has it; whoever calls this releases it in any case.

        Raises:
            OSError: It cannot be written.
        """
        while True:
            self._file = file = closed_in_children(_open(self._path))
            if not _lock(file, self._number):
                return False
            if BYTES_CAN_BE_LOCKED or is_at(self._path, file.fileno()):
                _refuse_foreign(file)
                self._write(_RECORD.pack(self._number, self._pid, time.monotonic_ns()))
                return True
            file.close()  # it was dropped between our opening and locking it

    def release(self) -> None:
        """Give it back, from any thread; a second time does nothing."""
        try:
            self._let_go()
        finally:
            self._let_go()  # an interrupt may have come before the first one did anything

    def __del__(self) -> None:
        self.release()

    def _let_go(self) -> None:
        if self._pid != os.getpid():
            # A child but lets go of its share; its parent may have been at work on this object when it was forked.
            if self._file is not None:
                with suppress(OSError):
                    self._file.close()
            return
        with self._lock:
            if self._file is None or self._file.closed:
                return
            # Children that were forked meanwhile share the lock: closing would leave it to them. Where neither can be
            # done, as over a mount whose server is gone, the lease ends with the process at the latest.
            try:
                with suppress(OSError):
                    _unlock(self._file)
            finally:
                with suppress(OSError):
                    self._file.close()

    def _write(self, record: bytes) -> None:
        assert self._file is not None, "it has been opened"
        with suppress(OSError):  # on a full disk nobody is told whose it is
            os.pwrite(self._file.fileno(), record, self._place)


class HeldLeases:
    """The leases that one store has given and nobody has released."""

    def __init__(self) -> None:
        self._held: WeakValueDictionary[int, FileLease] = WeakValueDictionary()

    def take(self, path: Path, key: str) -> FileLease | None:
        """Take one; as :func:`try_lease`."""
        lease = try_lease(path, key)
        if lease is not None:
            self._held[id(lease)] = lease
        return lease

    def release_all(self) -> None:
        """Release those that are still held."""
        for reference in self._held.valuerefs():
            if (lease := reference()) is not None:
                lease.release()


def try_lease(path: Path, key: str) -> FileLease | None:
    """Take the lease of a key, or ``None`` at once if anyone has it.

    The lock belongs to the open file and not to the process: so it excludes other threads too, and the system lets go
    of it when its holder dies.

    Args:
        path: The file whose bytes are locked; or the folder of the files that are.
        key: Any text.

    Raises:
        OSError: It cannot be written.
    """
    lease = FileLease(path, key)
    is_taken = False
    try:
        is_taken = lease.take()
    finally:
        if not is_taken:
            lease.release()
    return lease if is_taken else None


def holder_of(path: Path, key: str) -> LeaseHolder | None:
    """Who has the lease of a key, by what that one has written; asked for by who has just got none.

    Args:
        path: As for :func:`try_lease`.
        key: Any text.
    """
    number, path, place = _place(path, key)
    try:
        with open_regular(path, "r") as file:
            record = os.pread(file.fileno(), _RECORD.size, place)
    except OSError:
        return None
    if len(record) < _RECORD.size:
        return None
    theirs, pid, since = _RECORD.unpack(record)
    if theirs != number:
        return None
    who = process(pid) or f"process {pid}, which is not there any more or not on this machine"
    return LeaseHolder(f"{pid}-{since}", f"{who}, by a lock on {path}")


def is_file_of_leases(path: Path) -> bool:
    """Whether a file may be one whose bytes are locked: it is not there, or cannot be read, or says nothing else."""
    if not BYTES_CAN_BE_LOCKED:
        return True
    try:
        with open_regular(path, "r") as file:
            return _is_ours(file)
    except OSError:
        return True


def drop_unused(path: Path) -> None:
    """Remove the files of leases that nobody has, as far as possible."""
    if BYTES_CAN_BE_LOCKED:
        return
    with suppress(OSError):
        for name in os.listdir(path):
            with _open(path / name) as file:
                # Unlinked while locked: whoever opens it now finds that it is no longer there.
                if _lock(file, 0) and is_at(path / name, file.fileno()):
                    (path / name).unlink()


def _place(path: Path, key: str) -> tuple[int, Path, int]:
    """A key's number, the file of its lease, and where in that its holder writes."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    number = int(digest[:15], 16)
    if BYTES_CAN_BE_LOCKED:
        return number, path, number % _RECORDS * _RECORD.size
    return number, path / digest[:32], 0


def _is_ours(file: io.FileIO) -> bool:
    """Whether what stands at the first place is nothing, or of a key whose place that is; a crash may have cut it."""
    if os.fstat(file.fileno()).st_size > _RECORDS * _RECORD.size:
        return False
    number, pid, _ = _RECORD.unpack(os.pread(file.fileno(), _RECORD.size, 0).ljust(_RECORD.size, b"\0"))
    return bool(number < 1 << 60 and number % _RECORDS == 0 and pid < 1 << 32)


def _refuse_foreign(file: io.FileIO) -> None:
    if BYTES_CAN_BE_LOCKED and not _is_ours(file):
        raise OSError(errno.EINVAL, f"{file.name} is not a file of leases and is left alone: move it away")


def _open(path: Path) -> io.FileIO:
    while True:
        try:
            return open_regular(path)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _lock(file: io.FileIO, number: int) -> bool:
    try:
        if BYTES_CAN_BE_LOCKED:
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0))
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(file: io.FileIO) -> None:
    if BYTES_CAN_BE_LOCKED:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
    else:
        fcntl.flock(file, fcntl.LOCK_UN)
