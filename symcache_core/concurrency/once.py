"""Makes a thing once for all threads, and tells a thread that its making has led back to itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from ..errors import BackendUnavailableError

T = TypeVar("T")


class OneAtATime:
    """Lets one thread of this process at a time do something that may lead back here, as a logging handler may.

    Whether somebody is at it is told by a lock alone, which ``with`` gives back whatever happens: an interrupt leaves
    no note behind that would keep the next one out.

    Args:
        what: What to say of it in an error.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        # One for each process: a child may be forked while another thread of its parent holds the parent's.
        self._locks: dict[int, threading.Lock] = {}
        self._holder = 0
        """Who has the lock, if anyone has."""

    def do(self, act: Callable[[], T]) -> T:
        """Do it once nobody else does.

        Raises:
            BackendUnavailableError: This very thread is at it.
        """
        lock, me = self._locks.setdefault(os.getpid(), threading.Lock()), threading.get_ident()
        if self._holder == me and lock.locked():
            raise BackendUnavailableError(self._what)
        with lock:
            try:
                self._holder = me
                return act()
            finally:
                self._holder = 0


class Once(Generic[T]):
    """The first one who asks makes it, and the others wait; if that fails, the next one tries again.

    Args:
        make: Makes it.
        what: What to call it in an error.
    """

    def __init__(self, make: Callable[[], T], what: str) -> None:
        self._make = make
        self._making = OneAtATime(f"{what} is just being opened, by this very call")
        self._made: tuple[T] | None = None

    def get(self) -> T:
        """It, made by now.

        Raises:
            BackendUnavailableError: This very thread is making it, and what it does has led back here, as a logging
                handler may.
            Exception: What making it raised.
        """
        (it,) = self._made or self._making.do(self._made_once)
        return it

    def _made_once(self) -> tuple[T]:
        if self._made is None:
            self._made = (self._make(),)
        return self._made
