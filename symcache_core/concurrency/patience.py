"""Waiting for someone else for as long as that one goes on, and no longer than a given time once it does not."""

from __future__ import annotations

from collections.abc import Callable, Hashable


class Patience:
    """How long to wait for the holder of a lease or a claim.

    Nobody's clock is compared with anybody else's: a holder goes on if what is seen of it changes while one looks.

    Args:
        timeout: Seconds after which a holder that has shown no progress is no longer waited for.
        now: The present, in seconds of a clock that only rises.
    """

    def __init__(self, timeout: float, now: Callable[[], float]) -> None:
        self.timeout = timeout
        self._now = now
        self._mark: Hashable = None
        self._end = now() + timeout

    def is_over(self, mark: Hashable, quiet: float = 0.0) -> bool:
        """Whether the holder has shown no progress for too long.

        Args:
            mark: What is seen of it now; ``None`` if nothing can be seen.
            quiet: Seconds for which it has said that it will show none.
        """
        now = self._now()
        if mark is not None and mark != self._mark:
            self._mark, self._end = mark, now + self.timeout + quiet
        return now >= self._end
