"""Makes a thing once for all threads, without a lock that is held meanwhile: it may be others' code that makes it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from ..errors import BackendUnavailableError

T = TypeVar("T")


class Once(Generic[T]):
    """The first one who asks makes it, and the others wait; if that fails, the next one tries again.

    Args:
        make: Makes it.
        what: What to call it in an error.
    """

    def __init__(self, make: Callable[[], T], what: str) -> None:
        self._make = make
        self._what = what
        self._lock = threading.Lock()
        self._made: tuple[T] | None = None
        self._maker: int | None = None
        self._ended = threading.Event()

    def get(self) -> T:
        """It, made by now.

        Raises:
            BackendUnavailableError: This very thread is making it, and what it does has led back here, as a logging
                handler may.
            Exception: What making it raised.
        """
        while self._made is None:
            with self._lock:
                is_mine, ended = self._maker is None, self._ended
                if is_mine:
                    self._maker = threading.get_ident()
                elif self._maker == threading.get_ident():
                    raise BackendUnavailableError(f"{self._what} is just being opened, by this very call")
            if not is_mine:
                ended.wait()
                continue
            try:
                self._made = (self._make(),)
            finally:
                with self._lock:
                    self._maker, self._ended = None, threading.Event()
                ended.set()
        return self._made[0]
