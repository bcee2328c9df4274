"""The calendar of an instrument: what is known of when it trades."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Self

import numpy as np
import pandas as pd

from ...messages import is_news
from ...timeframes import Timeframe
from .labels import Stamps, labels
from .rules import FIRST_YEAR, LAST_YEAR, Rule, sessions_of
from .sessions import ALWAYS, DAY, Sessions
from .slots import Pieces, Slots, period_of, slots_of, within_sessions, without_sessions

log = logging.getLogger("symcache")

_EARLIEST = pd.Timestamp(FIRST_YEAR, 1, 1, tz="UTC")
_LATEST = pd.Timestamp(LAST_YEAR - 1, 12, 31, tz="UTC")
_NS = 10**9
_AHEAD = 32 * 86_400
"""The last session of a bar is that far from its stamp at most (seconds)."""
_EASTERNMOST = timedelta(hours=14)
"""By so much earlier than in UTC a day begins somewhere."""
_WESTERNMOST = 12 * 3600 * _NS
"""By so much later than in UTC a day ends somewhere."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """When an instrument trades.

    Args:
        name: For people: the calendar's name, or what it is.
        rule: When there are sessions; ``None`` if nobody knows.
        last: The last day on which the instrument trades, if it has one.
    """

    name: str = "unknown"
    rule: Rule | None = None
    last: date | None = None

    @property
    def is_known(self) -> bool:
        """Whether it is known when the instrument trades."""
        return self.rule is not None

    def until(self, last: date | None) -> Self:
        """The same for an instrument that trades until a day."""
        return type(self)(self.name, self.rule, last)

    def slots(self, timeframe: Timeframe, start: datetime, end: datetime) -> Slots:
        """The bars that there should be from start to end.

        A bar within a session is stamped with its beginning: the exchange's clock is cut into pieces of the timeframe's
        length, and the first bar begins with the session. A daily bar is stamped with the midnight (UTC) of its
        session's day, a weekly one with that of its week's Monday, a monthly one with that of its month's first day.

        Args:
            timeframe: The length of the bars.
            start: The first stamp wanted (UTC).
            end: The last stamp wanted, included (UTC).
        """
        first, last = _nanoseconds(start), _nanoseconds(end)
        last_day = ALWAYS.max if self.last is None else _nanoseconds(pd.Timestamp(self.last))
        if self.rule is None:
            return slots_of([_grid(timeframe, first, last, last_day)], known=False)
        sessions = self._sessions(last)
        since, over = _known(sessions, timeframe)
        inside = within_sessions(sessions, timeframe, max(first, since), min(last, over - 1), last_day)
        if since <= first and last < over:
            return slots_of([inside], known=True)
        if last >= over:
            _say_where_it_ends(self.name, sessions.over)
        before = _grid(timeframe, first, min(last, since - 1), last_day)
        after = _grid(timeframe, max(first, over), last, last_day)
        return slots_of([before, inside, after], known=not (len(before.stamps) or len(after.stamps)))

    def labels(self, index: pd.DatetimeIndex, timeframe: Timeframe) -> Stamps:
        """The stamp (UTC) of the bar that each of a provider's rows is of, each for itself.

        Args:
            index: The rows' times, on any clock; those of no zone are UTC.
            timeframe: The length of the bars.
        """
        sessions = None
        if self.rule is not None and not timeframe.is_intraday:
            newest = index.max()
            sessions = None if pd.isna(newest) else self._sessions(_nanoseconds(newest))
        return labels(index, timeframe, sessions)

    def lead(self, timeframe: Timeframe, stamp: datetime) -> timedelta:
        """How long before its stamp a bar may begin, by the exchange's clock or by its session.

        Args:
            timeframe: The length of the bars; one of many in a day never begins before its stamp.
            stamp: Of which bar (UTC); those near it are alike.
        """
        if timeframe.is_intraday:
            return timedelta()
        more = timedelta(days=1) if timeframe.name == "1w" else timedelta()  # some have a week begin on Sunday
        if self.rule is None:
            return _EASTERNMOST + more
        day = _nanoseconds(stamp)
        sessions = self._sessions(day)
        if not len(sessions.days):
            return _EASTERNMOST + more
        at = min(int(sessions.days.searchsorted(day)), len(sessions.days) - 1)
        midnight, opens = sessions.offsets[at], sessions.days[at] - sessions.opens[at]
        return timedelta(seconds=max(0, int(midnight), int(opens)) // _NS) + more

    def _sessions(self, until: int) -> Sessions:
        assert self.rule is not None
        return sessions_of(self.rule, datetime.fromtimestamp(until // _NS + _AHEAD, UTC).year)


def _nanoseconds(moment: datetime) -> int:
    stamp = pd.Timestamp(moment)
    stamp = stamp.tz_localize("UTC") if stamp.tz is None else stamp
    return int(min(max(stamp, _EARLIEST), _LATEST).as_unit("ns").value)


def _known(sessions: Sessions, timeframe: Timeframe) -> tuple[int, int]:
    """From which stamp on, and up to which one, all days of a bar are known."""
    since, over = sessions.first, sessions.over
    if since != ALWAYS.min:
        begun = _period(since, timeframe)
        since = begun if begun == since else _period(begun + (7 if timeframe.name == "1w" else 32) * DAY, timeframe)
    return since, over if over == ALWAYS.max else _period(over, timeframe)


def _period(day: int, timeframe: Timeframe) -> int:
    return int(period_of(np.array([day], np.int64), timeframe)[0])


def _grid(timeframe: Timeframe, start: int, end: int, last_day: int) -> Pieces:
    over = last_day if last_day == ALWAYS.max or not timeframe.is_intraday else last_day + DAY + _WESTERNMOST - 1
    return without_sessions(timeframe, start, min(end, over))


def _say_where_it_ends(name: str, over: int) -> None:
    if not is_news(name, over):
        return
    day = pd.Timestamp(over - DAY).date()
    log.warning("calendar %s ends on %s; what bars to expect after it is unknown: update exchange_calendars", name, day)
