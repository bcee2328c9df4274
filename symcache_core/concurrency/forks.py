"""Notices that this process is a forked child, so that what has locks, threads or files can begin anew in it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


class ForkGuard:
    """Begins something once in this process, and once in each process that is forked from it and uses it.

    A lock may be held, in the parent, by a thread that the child does not have, and a file's lock is shared by both.

    Args:
        begin: Makes, or makes anew, what belongs to one process.
    """

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin
        self._lock = threading.Lock()
        begin()
        self._pid = os.getpid()

    def check(self) -> None:
        """Begin anew if this is another process than the one that began."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._begin()
                    self._pid = os.getpid()
