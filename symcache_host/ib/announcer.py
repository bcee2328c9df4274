"""Logs what is wrong with a connection: at once when it changes, and the same not each time that it is seen again."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..gateway import Problem

REPEATED_AFTER = 300.0
"""Seconds after which the same problem is logged again."""

MOST = 32
"""How many texts are remembered, since some have what the other end said in them."""

log = logging.getLogger("symcache")


class Announcer:
    """Knows what was logged, and when.

    Args:
        clock: The present, in seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._logged: dict[str, float] = {}
        self._warning: Problem | None = None

    def announce(self, problem: Problem | None, warning: Problem | None) -> None:
        """Log what is wrong and what to do about it.

        Args:
            problem: What is wrong now, if anything; after that there was nothing, it is logged anew.
            warning: What else is worth a word; logged once, until there is another one.
        """
        if problem is None:
            self._logged.clear()
        elif self._is_due(problem.text):
            log.warning("%s: %s", problem.text, problem.advice)
        if warning is not None and warning != self._warning:
            log.warning("%s: %s", warning.text, warning.advice)
            self._warning = warning

    def _is_due(self, text: str) -> bool:
        now = self._clock()
        # A clock that is set back does not make it silent.
        if text in self._logged and abs(now - self._logged[text]) < REPEATED_AFTER:
            return False
        if len(self._logged) >= MOST:
            self._logged.clear()
        self._logged[text] = now
        return True
