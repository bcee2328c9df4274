"""How a run of missing sessions becomes requests that the provider accepts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

import pandas as pd

from ..errors import ConfigurationError

# Interactive Brokers' limit on the duration of one request, by timeframe.
_LONGEST: Mapping[str, timedelta] = MappingProxyType({"1d": timedelta(days=365)})

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Segment:
    """One request for bars, both ends included (UTC)."""

    start: datetime
    end: datetime


def longest_request(timeframe: str) -> timedelta:
    """What one request for bars of a timeframe may span.

    Raises:
        ConfigurationError: Bars of that timeframe cannot be loaded.
    """
    try:
        return _LONGEST[timeframe]
    except KeyError:
        raise ConfigurationError(f"timeframe {timeframe!r}: this version loads {', '.join(_LONGEST)}") from None


def segments(run: pd.DatetimeIndex, longest: timedelta, now: datetime) -> Iterator[Segment]:
    """Split a run of sessions into requests, each from the start of a session's day to the end of a session's day.

    Args:
        run: The sessions, rising, each as the midnight (UTC) of its day.
        longest: What one request may span, in whole days.
        now: The present (UTC), past which nothing is asked for.
    """
    while len(run):
        fits = int(run.searchsorted(run[0] + longest - _DAY, side="right"))
        end_of_day = run[fits - 1].to_pydatetime() + _DAY - timedelta(seconds=1)
        yield Segment(run[0].to_pydatetime(), min(end_of_day, now))
        run = run[fits:]
