"""The locks on files of bars: that of the one who writes, for a moment, and that of the one who fetches, for a load."""

from __future__ import annotations

import fcntl
import io
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from ...concurrency.forks import closed_in_children
from ...errors import BackendUnavailableError
from ...file_lock import holder, take
from ...files import is_at, open_regular

T = TypeVar("T")

_TRIES = 5
_LONGEST_QUIET = 3600.0
_LINE = 64


def alone(path: Path, timeout: float, act: Callable[[Callable[[], None]], T]) -> T:
    """Do something while no other thread or process has a lock.

    This is a function of a function, and no context manager: an interrupt that comes between the taking of a lock and
    the first step of what is done with it would leave it held.

    Args:
        path: The file that is locked; its folder is there.
        timeout: Seconds to wait for it.
        act: What to do. It is given a check that the file is still at its path, for just before something is replaced.

    Raises:
        LockTimeoutError: Another had it all the time.
        BackendUnavailableError: Another file is at the path each time.
        OSError: It cannot be opened or locked.
    """
    for _ in range(_TRIES):
        with closed_in_children(open_regular(path)) as file:
            try:
                take(file.fileno(), path, timeout)
                # Else it was replaced, or moved away with its folder, between our opening and locking it.
                if is_at(path, file.fileno()):
                    return act(partial(_check, path, file))
            finally:
                # Children that were forked meanwhile share the lock: closing would leave it to them.
                fcntl.flock(file, fcntl.LOCK_UN)
    raise _moved(path)


@dataclass(frozen=True, slots=True)
class Claimant:
    """What is seen of the one who has a claim.

    Args:
        mark: Changes whenever that one shows that it goes on.
        quiet: For how many seconds it has said that it will not.
        who: The process, as far as this system tells.
    """

    mark: tuple[object, ...]
    quiet: float
    who: str


class Claim:
    """The right to be the one that fetches some bars, until :meth:`release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file: io.FileIO | None = None

    @classmethod
    def attempt(cls, path: Path) -> Claim | None:
        """Take it, or ``None`` at once if anyone has it.

        Raises:
            OSError: The file cannot be opened.
        """
        claim = cls(path)
        try:
            if claim._take():
                return claim
        except BaseException:
            claim.release()
            raise
        claim.release()
        return None

    def tell(self, quiet: float = 0.0) -> None:
        """Show those who wait that its holder goes on.

        Args:
            quiet: Seconds for which nothing more is to be expected, as the provider has asked for a pause.
        """
        line = f"{os.getpid()} {time.monotonic_ns()} {quiet:g}\n".ljust(_LINE)
        with self._lock:
            if self._file is None or self._file.closed:
                return
            try:
                os.pwrite(self._file.fileno(), line.encode(), 0)
            except OSError:  # a full disk; nothing that is fetched can be saved either, and that is said
                return

    def check(self) -> None:
        """Make sure that what it is about is still where it was.

        Raises:
            BackendUnavailableError: It was moved or replaced.
        """
        with self._lock:
            if self._file is None or self._file.closed or not is_at(self._path, self._file.fileno()):
                raise _moved(self._path)

    def release(self) -> None:
        """Give it back, from any thread; a second time does nothing."""
        try:
            self._let_go()
        finally:
            self._let_go()  # an interrupt may have come before the first one did anything

    def __del__(self) -> None:
        self.release()

    def _take(self) -> bool:
        for _ in range(_TRIES):
            self._file = file = closed_in_children(open_regular(self._path))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if is_at(self._path, file.fileno()):
                self.tell()
                return True
            file.close()  # someone has taken it over, or removed it, between our opening and locking it
        return False

    def _let_go(self) -> None:
        with self._lock:
            if self._file is None or self._file.closed:
                return
            try:
                with suppress(OSError):  # a claim that cannot be given back ends with the process at the latest
                    fcntl.flock(self._file, fcntl.LOCK_UN)
            finally:
                with suppress(OSError):
                    self._file.close()


def claimant(path: Path, *traces: Path) -> Claimant | None:
    """Look at the one who has a claim.

    Args:
        path: The claim's file.
        traces: What changes, too, when that one goes on: a process of an earlier version tells nothing by itself.

    Returns:
        ``None`` if the file is gone, and with it the claim.

    Raises:
        OSError: It cannot be read.
    """
    try:
        file = open_regular(path, "r")
    except FileNotFoundError:
        return None
    with file:
        line = os.pread(file.fileno(), _LINE, 0)
        mark = (os.fstat(file.fileno()).st_ino, line, *map(_changed, traces))
        return Claimant(mark, _quiet(line), holder(file.fileno()))


def _quiet(line: bytes) -> float:
    try:
        quiet = float(line.split()[2])
    except (IndexError, ValueError):
        return 0.0
    return min(max(quiet, 0.0), _LONGEST_QUIET) if math.isfinite(quiet) else 0.0


def _changed(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _check(path: Path, file: io.FileIO) -> None:
    if not is_at(path, file.fileno()):
        raise _moved(path)


def _moved(path: Path) -> BackendUnavailableError:
    return BackendUnavailableError(f"{path} was moved or replaced, with its folder or alone, while it was locked")
