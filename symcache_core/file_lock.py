"""The lock of an open file (flock) that another process may hold: every wait for it ends, and says whose it is."""

from __future__ import annotations

import fcntl
import os
import random
import time
from pathlib import Path

from .errors import LockTimeoutError

_FIRST_WAIT = 0.0005
_LONGEST_WAIT = 0.005


def take(descriptor: int, path: Path, timeout: float, *, left: float | None = None, shared: bool = False) -> None:
    """Take the ``flock`` of an open file; it excludes every other descriptor, this process's own included.

    An interrupt may come between the taking and the return. So who calls this stands already in the ``try`` whose
    ``finally`` gives the lock back, which does no harm where none was taken::

        try:
            take(descriptor, path, timeout)
            ...
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    Args:
        descriptor: Of the file.
        path: Its name, for the error.
        timeout: Seconds to wait at most: the setting, for the error.
        left: Seconds that are left of them, for who has been waiting; at once if there are none.
        shared: Whether others may hold it, too, who want no more than that.

    Raises:
        LockTimeoutError: Another held it all the time.
        OSError: The file system has no locks.
    """
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    try:
        return fcntl.flock(descriptor, operation)
    except BlockingIOError:
        pass
    start = time.monotonic()
    at_most = timeout if left is None else min(left, timeout)
    wait = _FIRST_WAIT
    while True:
        time.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  # nothing is kept secret by it
        try:
            return fcntl.flock(descriptor, operation)
        except BlockingIOError:
            waited = time.monotonic() - start
            if waited >= at_most:
                long = f"was for {timeout:g} s" if at_most > 0.9 * timeout else f"no time is left of {timeout:g} s"
                raise LockTimeoutError(
                    f"{path} is locked by {holder(descriptor)}, and {long} (setting 'lock_timeout')"
                ) from None
        # Nobody queues, so who has waited long looks more often: among many writers it would else never meet the moment
        # between two of them.
        wait = min(wait * 1.5, _LONGEST_WAIT) if waited < at_most / 2 else 2 * _FIRST_WAIT
        wait = min(wait, at_most - waited)


def holder(descriptor: int) -> str:
    """Who holds the ``flock`` of an open file, as far as this system tells: ``process 4711 (python, stopped)``.

    Source: proc_locks(5), proc_pid_stat(5).
    """
    found = _holding_process(os.fstat(descriptor))
    if found is None:
        return "another process"
    return process(found) or f"a child of process {found}, which has ended"


def process(number: int) -> str | None:
    """A process of this machine in a few words: ``process 4711 (python, stopped)``; ``None`` if it is not there.

    Args:
        number: Its id.
    """
    if number == os.getpid():
        return "this process"
    try:
        text = Path(f"/proc/{number}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    name, state = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2]
    return f"process {number} ({name!a}{', stopped' if state in 'Tt' else ''})"


def _holding_process(file: os.stat_result) -> int | None:
    wanted = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    try:
        lines = Path("/proc/locks").read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == wanted and int(fields[4]) > 0:
            return int(fields[4])
    return None
