"""How things stand with a connection: what is known now, logged whenever it changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from ..gateway import Problem
from .advice import warning_of_others
from .announcer import Announcer
from .connectivity import Connectivity, Notice

log = logging.getLogger("symcache")


class Standing:
    """The connectivity as it is, and what there is to say about it.

    Args:
        clock: The present, in seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._announcer = Announcer(clock)
        self.connectivity = Connectivity()

    def now(self) -> datetime:
        """The present (UTC)."""
        return datetime.fromtimestamp(self._clock(), UTC)

    @property
    def warning(self) -> Problem | None:
        """What other programs at the same TWS mean, as long as there are some."""
        return warning_of_others(self.connectivity.others(self.now()))

    def notice(self, notice: Notice) -> None:
        """Take note of a message that answers no request."""
        log.info("Interactive Brokers says %d: %a", *notice)
        self.change(self.connectivity.after(notice, self.now()))

    def change(self, connectivity: Connectivity) -> None:
        """Go over to another state, and log what is wrong now."""
        self.connectivity = connectivity
        self._announcer.announce(connectivity.problem, self.warning)
