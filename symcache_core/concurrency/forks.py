"""Notices that this process is a forked child, so that what has locks, threads or files can begin anew in it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from ..errors import BackendUnavailableError


class ForkGuard:
    """Begins something once in this process, and once in each process that is forked from it and uses it.

    A lock may be held, in the parent, by a thread that the child does not have, and a file's lock is shared by both.

    Args:
        begin: Makes, or makes anew, what belongs to one process.
        afterwards: What to do in a child once that is made, and nobody waits for it any more.
    """

    def __init__(self, begin: Callable[[], None], afterwards: Callable[[], None] = lambda: None) -> None:
        self._begin = begin
        self._afterwards = afterwards
        self._lock = threading.Lock()
        self._beginning = threading.local()
        begin()
        self._pid = os.getpid()

    def check(self) -> None:
        """Begin anew if this is another process than the one that began.

        Raises:
            BackendUnavailableError: This very thread is at it, and what it does has led back here, as a logging
                handler may.
        """
        if self._pid == os.getpid():
            return
        if hasattr(self._beginning, "anew"):
            raise BackendUnavailableError("it is just being opened anew after a fork")
        with self._lock:
            if self._pid == os.getpid():
                return
            self._beginning.anew = True
            try:
                self._begin()
            finally:
                del self._beginning.anew
            self._pid = os.getpid()
        self._afterwards()
