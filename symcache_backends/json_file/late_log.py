"""What is to be logged once no lock is held: whoever handles a log record may use the store that it is about."""

from __future__ import annotations

import logging
from collections import deque

log = logging.getLogger("symcache")


class LateLog:
    """Log records that wait, in turn; any thread may add one, and any may tell them. ``waits`` has those that do."""

    def __init__(self) -> None:
        self.waits: deque[tuple[int, str, tuple[object, ...]]] = deque()

    def add(self, level: int, message: str, *args: object) -> None:
        """Keep a record, as ``logging.log`` takes it."""
        self.waits.append((level, message, args))

    def tell(self) -> None:
        """Log all that waits; the caller holds no lock."""
        while self.waits:
            try:
                level, message, args = self.waits.popleft()
            except IndexError:  # another thread was faster
                return
            log.log(level, message, *args)
