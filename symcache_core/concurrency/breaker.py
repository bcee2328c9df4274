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
            # A clock that was set back has told nothing of the time since.
            return self._since + self._wait if 0 <= self._clock() - self._since < self._wait else None

    def allows(self) -> bool:
        """Whether the caller may go on; of those who come while it is half-open, the first one may."""
        if self.error is None:
            return True
        with self._lock:
            now = self._clock()
            if 0 <= now - self._since < self._wait:
                return False
            self._since = now
            return True

    def failed(self, error: Exception, wait: float | None = None) -> None:
        """Open it, for longer than usual if ``wait`` (seconds) says so."""
        kept = remembered(error)
        with self._lock:
            self.error, self._since = kept, self._clock()
            self._wait = max(self._least, wait or 0.0)

    def succeeded(self) -> None:
        """Close it."""
        if self.error is not None:
            with self._lock:
                self.error = None
