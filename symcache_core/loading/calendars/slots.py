"""Which bars there should be: their stamps, and when each is over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from ...timeframes import Timeframe
from .sessions import DAY, Nanoseconds, Sessions, times

_MONDAY = 4 * DAY
"""The first one since the epoch."""
_LONGEST = 32 * DAY
"""No bar is longer."""


class Pieces(NamedTuple):
    """Stamps, and when each is over."""

    stamps: Nanoseconds
    ends: Nanoseconds


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """Bars that there should be.

    Args:
        pieces: The stamp of each, rising, and when each is over (nanoseconds since the epoch).
        known: Whether all of them follow from a calendar that is known to be the instrument's; else they are only
            moments to look at.
    """

    pieces: Pieces
    known: bool

    @property
    def stamps(self) -> pd.DatetimeIndex:
        """The stamp of each (UTC)."""
        return times(self.pieces.stamps)

    @property
    def ends(self) -> pd.DatetimeIndex:
        """When each is over (UTC).

        That is a bar within a session with its end, a day with the close of its session, a week or a month with that of
        its last one.
        """
        return times(self.pieces.ends)


def within_sessions(sessions: Sessions, timeframe: Timeframe, start: int, end: int, last: int) -> Pieces:
    """The bars of sessions.

    Args:
        sessions: All of them, those of a month after the end included.
        timeframe: The length of the bars.
        start: The first stamp wanted.
        end: The last one, included.
        last: The last day on which there is trading.
    """
    over = int(sessions.days.searchsorted(last, side="right"))
    if timeframe.is_intraday:
        begin = int(sessions.closes.searchsorted(start))
        until = min(over, int(sessions.opens.searchsorted(end, side="right")))
        found = _intraday(sessions.part(begin, until), timeframe)
    else:
        begin = int(sessions.days.searchsorted(start))
        until = min(over, int(sessions.days.searchsorted(end + _LONGEST, side="right")))
        stamps, closes = period_of(sessions.days[begin:until], timeframe), sessions.closes[begin:until]
        is_last = np.append(stamps[1:] != stamps[:-1], True)[: len(stamps)]
        found = Pieces(stamps[is_last], closes[is_last])
    inside = slice(int(found.stamps.searchsorted(start)), int(found.stamps.searchsorted(end, side="right")))
    return Pieces(found.stamps[inside], found.ends[inside])


def without_sessions(timeframe: Timeframe, start: int, end: int) -> Pieces:
    """The bars of a market of which nothing is known: of each day, and of each moment within it."""
    if timeframe.name == "1M":
        month = np.timedelta64(1, "M")
        first = np.datetime64(start - 1, "ns").astype("M8[M]") + month
        months = np.arange(first, np.datetime64(end, "ns").astype("M8[M]") + 2 * month)
        edges = months.astype("M8[ns]").view(np.int64)
        return Pieces(edges[:-1], edges[1:])
    length = int(timeframe.length.total_seconds()) * 10**9
    origin = _MONDAY if timeframe.name == "1w" else 0
    stamps = np.arange(-(-(start - origin) // length) * length + origin, end + 1, length, dtype=np.int64)
    return Pieces(stamps, stamps + length)


def period_of(days: Nanoseconds, timeframe: Timeframe) -> Nanoseconds:
    """The stamp of the week or the month, or the day itself, that days are of."""
    if timeframe.name == "1w":
        return (days - _MONDAY) // (7 * DAY) * (7 * DAY) + _MONDAY
    if timeframe.name == "1M":
        return days.view("M8[ns]").astype("M8[M]").astype("M8[ns]").view(np.int64)
    return days


def slots_of(pieces: list[Pieces], *, known: bool) -> Slots:
    """Put pieces together that follow one another."""
    one = pieces[0] if len(pieces) == 1 else Pieces(*map(np.concatenate, zip(*pieces, strict=True)))
    return Slots(one, known)


def _intraday(sessions: Sessions, timeframe: Timeframe) -> Pieces:
    length = int(timeframe.length.total_seconds()) * 10**9
    opens, closes = sessions.opens, sessions.closes
    # The exchange's wall clock, which stands still for nobody: within a session it is taken as it is at the opening.
    first = (opens + sessions.offsets) // length * length - sessions.offsets
    counts = np.maximum(-((first - closes) // length), 0)
    session = np.repeat(np.arange(len(opens)), counts)
    number = np.arange(len(session)) - np.repeat(np.cumsum(counts) - counts, counts)
    begins = first[session] + number * length
    ends = np.minimum(begins + length, closes[session])
    begins = np.maximum(begins, opens[session])
    if np.array_equal(sessions.pauses, closes):
        return Pieces(begins, ends)
    pauses, resumes = sessions.pauses[session], sessions.resumes[session]
    traded = (begins < pauses) | (ends > resumes)
    begins = np.where((begins >= pauses) & (begins < resumes), resumes, begins)
    return Pieces(begins[traded], ends[traded])
