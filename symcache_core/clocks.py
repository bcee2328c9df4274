"""Tells the present by a program's own clock, which may give anything."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from .errors import ConfigurationError
from .messages import shown
from .protocols import Clock

_FIRST = datetime.min.replace(tzinfo=UTC).timestamp()
_LAST = datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp()


def checked(clock: Clock) -> Clock:
    """A clock that raises ConfigurationError when it gives no moment of the years 1 to 9999.

    Args:
        clock: Seconds since the epoch; the machine's needs no check.
    """
    if clock is time.time:
        return clock

    def now() -> float:
        seconds = clock()
        try:
            is_moment = _FIRST <= seconds <= _LAST
        except TypeError:
            is_moment = False
        if not is_moment:
            raise ConfigurationError(f"the clock gives {shown(seconds)}: it has to give seconds since the epoch")
        return seconds

    return now
