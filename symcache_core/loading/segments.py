"""How a gap becomes requests that the provider accepts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from .gaps import Gap
from .timeframes import Timeframe

_TICK = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Segment:
    """One request for bars, both ends included (UTC), and the stamps of the bars that it has to bring."""

    start: datetime
    end: datetime
    stamps: pd.DatetimeIndex


def segments(gap: Gap, timeframe: Timeframe, now: datetime) -> Iterator[Segment]:
    """Split a gap into requests, each from the stamp of a bar to the end of a bar.

    Args:
        gap: The missing bars.
        timeframe: Their length, and what one request may span.
        now: The present (UTC), past which nothing is asked for.
    """
    stamps = gap.stamps
    while len(stamps):
        fits = int(stamps.searchsorted(stamps[0] + timeframe.longest - timeframe.length, side="right"))
        wanted, stamps = stamps[:fits], stamps[fits:]
        # A session's start may cut its first bar short.
        following = stamps[0] if len(stamps) else gap.before
        end = wanted[-1] + timeframe.length if following is None else min(wanted[-1] + timeframe.length, following)
        yield Segment(wanted[0].to_pydatetime(), min(end.to_pydatetime() - _TICK, now), wanted)
