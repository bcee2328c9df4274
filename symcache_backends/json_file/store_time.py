"""What time it is by the store's own files, so that a clock that is weeks ahead drops nothing that others still need.

An entry goes at compaction when it has been over for a week. And this machine's clock is believed only if it goes on
from the times at which the files were written, as their own file system tells them: one that is more than a week ahead
of the last write drops nothing. A write that is itself stamped more than a week after the one before proves nothing
either.
"""

from __future__ import annotations

import time

MARGIN = 7 * 86400.0


class StoreTime:
    """When the store was last written, as far as one step leads to the next; seconds since the epoch."""

    def __init__(self) -> None:
        self._latest: float | None = None

    def saw(self, written: float) -> None:
        """Take note that the files were written at a time."""
        latest = self._latest
        if latest is None or written <= latest + MARGIN:
            self._latest = written

    def all_over_since(self) -> float:
        """A moment; what had to be kept until then, and no longer, may be dropped now."""
        now = time.time()
        return now - MARGIN if self._latest is not None and now <= self._latest + MARGIN else float("-inf")
