"""Which of the expected bars are missing, and the requests that would fill the gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from ...timeframes import Timeframe


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing bars.

    Args:
        stamps: Theirs, rising.
        before: The stamp of the next bar that is expected, if there is one.
    """

    stamps: pd.DatetimeIndex
    before: pd.Timestamp | None = None


def gaps(
    expected: pd.DatetimeIndex, present: pd.DatetimeIndex, doubtful: pd.DatetimeIndex, longest: timedelta
) -> Iterator[Gap]:
    """What is missing: bars with none present in between.

    Doubtful bars are mostly not there, many, and alone: they are gathered with what is present in between.

    Args:
        expected: The stamp of every bar that there should be, rising.
        present: Those of the bars that there are, and of those that there are not to be.
        doubtful: Those of the bars that the provider did not have when it was asked.
        longest: What doubtful bars that are gathered may span.
    """
    missing = np.flatnonzero(~expected.isin(present))
    if not missing.size:
        return
    runs = np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1)
    doubted = expected.isin(doubtful)
    gathered: list[np.ndarray] = []
    for run in runs:
        if gathered and not (
            doubted[run].all()
            and doubted[gathered[-1]].all()
            and expected[run[-1]] - expected[gathered[0][0]] < longest
        ):
            yield _gap(expected, gathered)
            gathered = []
        gathered.append(run)
    yield _gap(expected, gathered)


def _gap(expected: pd.DatetimeIndex, runs: list[np.ndarray]) -> Gap:
    following = runs[-1][-1] + 1
    stamps = expected[runs[0][0] : following] if len(runs) == 1 else expected[np.concatenate(runs)]
    return Gap(stamps, expected[following] if following < len(expected) else None)


_SOONEST = np.timedelta64(1, "h")
_LATEST = np.timedelta64(30, "D")


def still_empty(empty: pd.Series[pd.Timestamp], timeframe: Timeframe, now: pd.Timestamp) -> pd.DatetimeIndex:
    """The stamps of the bars that a provider has said not to have, and need not be asked for again yet.

    An answer is believed for as long as the bar had been over when it was given, for an hour at least and thirty days
    at most: what is missing on the evening of a session may be there in the morning.

    Args:
        empty: When the provider was asked, by stamp.
        timeframe: The length of the bars.
        now: The present (UTC).
    """
    stamps, asked = pd.DatetimeIndex(empty.index), pd.DatetimeIndex(empty)
    believed = np.clip((asked - stamps - timeframe.length).to_numpy(), _SOONEST, _LATEST)
    return stamps[asked + believed > now]


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
