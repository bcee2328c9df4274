"""What is set aside of the files because it is damaged: said in one message, however much was found together."""

from __future__ import annotations

import logging
from pathlib import Path

from symcache_core.errors import CorruptEntryError

from .late_log import LateLog


class Damage:
    """The damaged records that were found; ``lines`` are those that go to the quarantine.

    Args:
        path: The snapshot.
        log: Where to say so.
    """

    def __init__(self, path: Path, log: LateLog) -> None:
        self.lines: list[bytes] = []
        self._path = path
        self._log = log
        self._untold: list[CorruptEntryError] = []

    def add(self, line: bytes, error: CorruptEntryError) -> None:
        """Take note of one; :meth:`tell` says it."""
        self.lines.append(line)
        self._untold.append(error)

    def tell(self) -> None:
        """Say what was found since the last time."""
        untold, self._untold = self._untold, []
        if len(untold) == 1:
            self._log.add(logging.WARNING, "%s: %s; it is set aside", self._path, untold[0])
        elif untold:
            message = "%s: %s; it is set aside, and so are %d other damaged records"
            self._log.add(logging.WARNING, message, self._path, untold[0], len(untold) - 1)
