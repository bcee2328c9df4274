"""Of which bar a provider's row is: each row decides its own day, and none the day of others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...timeframes import Timeframe
from .sessions import DAY, Nanoseconds, Sessions, nanoseconds
from .slots import period_of

Stamps = npt.NDArray[np.datetime64]
"""UTC, in nanoseconds."""

_WEEKDAY_OF_THE_EPOCH = 3
_SATURDAY, _SUNDAY = 5, 6


def labels(index: pd.DatetimeIndex, timeframe: Timeframe, sessions: Sessions | None) -> Stamps:
    """The stamp (UTC) of the bar that each row is of; one without a time has none.

    Args:
        index: The rows' times, on any clock; those of no zone are UTC.
        timeframe: The length of the bars.
        sessions: When there is trading, as far as the rows reach; ``None`` if nobody knows.
    """
    moments = nanoseconds(index)
    if timeframe.is_intraday:
        return moments.view("M8[ns]").copy()
    is_time = ~np.asarray(index.isna())
    stamps = np.full(len(index), np.iinfo(np.int64).min, np.int64)
    rows = index if is_time.all() else index[is_time]
    is_weekly = timeframe.name == "1w"
    days = _days(rows, sessions, is_weekly=is_weekly)
    stamps[is_time] = period_of(_with_the_week_that_follows(days, sessions) if is_weekly else days, timeframe)
    return stamps.view("M8[ns]")


def _days(index: pd.DatetimeIndex, sessions: Sessions | None, *, is_weekly: bool) -> Nanoseconds:
    """The day of each row, by the first of these that holds.

    It is a midnight of its own clock, a session contains it, it is a midnight of the exchange's clock or of UTC; else
    the day is that of the session before it: the row was made after the close or on a day of rest.
    A week is that of its weekdays, holidays included.
    """
    moments, own = nanoseconds(index), _wall(index)
    days = own - own % DAY
    if sessions is None or not len(sessions.days):
        return np.where(moments % DAY == 0, moments, days)
    rest = np.flatnonzero(own % DAY != 0)
    if not rest.size:
        return days
    moments = moments[rest]
    before = sessions.opens.searchsorted(moments, side="right") - 1
    days[rest] = sessions.days[before]
    # Where no session is known, the exchange's clock says the day.
    is_unknown = (before < 0) | (moments < sessions.first) | (moments >= sessions.over)
    outside = np.flatnonzero(is_unknown | (moments > sessions.closes[before]))
    if outside.size:
        utc = index if index.tz is not None else index.tz_localize("UTC")
        wall = _wall(utc[rest[outside]].tz_convert(sessions.zone))
        by_clock = is_unknown[outside] | (wall % DAY == 0) | (is_weekly & (_weekdays(wall) < _SATURDAY))
        days[rest[outside[by_clock]]] = (wall - wall % DAY)[by_clock]
        is_utc = (moments[outside] % DAY == 0) & ~by_clock
        days[rest[outside[is_utc]]] = moments[outside[is_utc]]
    return days


def _wall(index: pd.DatetimeIndex) -> Nanoseconds:
    return nanoseconds(index if index.tz is None else index.tz_localize(None))


def _weekdays(wall: Nanoseconds) -> Nanoseconds:
    return (wall // DAY + _WEEKDAY_OF_THE_EPOCH) % 7


def _with_the_week_that_follows(days: Nanoseconds, sessions: Sessions | None) -> Nanoseconds:
    """The days; the next Monday for a Sunday without a session, and for such a Saturday on which Monday's begins."""
    weekdays = _weekdays(days)
    on_weekend = np.flatnonzero(weekdays >= _SATURDAY)
    if not on_weekend.size:
        return days
    weekend = days[on_weekend]
    follows = weekdays[on_weekend] == _SUNDAY
    if sessions is not None and len(sessions.days):
        at = np.minimum(sessions.days.searchsorted(weekend), len(sessions.days) - 1)
        has_own = sessions.days[at] == weekend
        monday = weekend + 2 * DAY
        opens_on_saturday = (sessions.days[at] == monday) & (sessions.opens[at] + sessions.offsets[at] < weekend + DAY)
        follows = ~has_own & (follows | opens_on_saturday)
    days = days.copy()
    days[on_weekend[follows]] += 2 * DAY - (weekdays[on_weekend[follows]] == _SUNDAY) * DAY
    return days
