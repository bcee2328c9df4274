"""Decides what is over for long enough to be dropped, though a process's clock may be wrong."""

from __future__ import annotations

import time

MARGIN = 7 * 86400.0
"""For how many seconds an entry must have been over, and how far a clock may be ahead of what its store has seen."""


class DroppingClock:
    """This process's clock, as far as it can be believed.

    An entry that is over by one clock may be fresh by another, and what was dropped is lost to all. So only what has
    been over for a while is dropped. And whoever finds a store whose newest file is from long ago drops nothing: either
    the store was left alone for long, or this clock is far ahead.

    Args:
        seen: The newest time that the store's files told when it was opened, in seconds since the epoch.
    """

    def __init__(self, seen: float) -> None:
        self._seen = seen - time.monotonic()

    def over_before(self) -> float | None:
        """What was over before this time may be dropped, in seconds since the epoch; nothing, if ``None``."""
        now = time.time()
        is_far_ahead = now > self._seen + time.monotonic() + MARGIN
        return None if is_far_ahead else now - MARGIN
