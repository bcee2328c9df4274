"""What is to be logged once no lock is held: whoever handles a log record may use the store that it is about."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from symcache_core.errors import CorruptEntryError

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


def set_aside_message(path: Path, damaged: Sequence[CorruptEntryError]) -> tuple[str, Path, str]:
    """Say of all the records that were found damaged together, in one message, that they are set aside.

    Args:
        path: The snapshot.
        damaged: What is wrong with each.
    """
    text = f"{damaged[0]}; it is set aside"
    if len(damaged) > 1:
        text += f", and so are {len(damaged) - 1} other damaged records"
    return "%s: %s", path, text
