"""A circuit breaker: leaves alone, for a while, what has just failed."""

from __future__ import annotations

import threading

from ..protocols import Clock
from .failures import remembered


class Breaker:
    """Closed while all is well; open for a time after a failure; then half-open: one caller in so much time may probe.

    Args:
        clock: Seconds since the epoch.
        wait: Seconds between a failure, or the beginning of a probe, and the next probe.
    """

    def __init__(self, clock: Clock, wait: float) -> None:
        self._clock = clock
        self._least = self._wait = wait
        self._since = 0.0
        self._lock = threading.Lock()
        self.error: Exception | None = None

    def open_until(self) -> float | None:
        """Until when nobody may go on (seconds since the epoch); ``None`` if someone may now."""
        if self.error is None:
            return None
        with self._lock:
            since, wait = self._since, self._wait
        # A clock that was set back has told nothing of the time since.
        return since + wait if 0 <= self._clock() - since < wait else None

    def allows(self) -> bool:
        """Whether the caller may go on; of those who come while it is half-open, the first one may."""
        if self.error is None:
            return True
        while True:
            since = self._since
            now = self._clock()  # a program's own, which may do anything, and so not under the lock
            with self._lock:
                if self._since != since:
                    continue  # someone else came first
                if 0 <= now - since < self._wait:
                    return False
                self._since = now
                return True

    def failed(self, error: Exception, wait: float | None = None) -> None:
        """Open it, for longer than usual if ``wait`` (seconds) says so."""
        kept, now = remembered(error), self._clock()
        with self._lock:
            self.error, self._since = kept, now
            self._wait = max(self._least, wait or 0.0)

    def succeeded(self) -> None:
        """Close it."""
        if self.error is not None:
            with self._lock:
                self.error = None
