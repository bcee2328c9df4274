"""Turns the bars that Interactive Brokers sends into the gateway's: each with the moment at which it begins."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from ib_async import BarData

from symcache_core.timeframes import TIMEFRAMES, Timeframe

from ..gateway import Bar


def bar_of(sent: BarData, timeframe: Timeframe) -> Bar:
    """A bar: a day's begins with its midnight (UTC), a week's with its Monday, a month's with its first day."""
    volume = max(0.0, float(sent.volume))  # prices between bid and ask have none, which is told as -1
    return Bar(_begin(sent.date, timeframe), sent.open, sent.high, sent.low, sent.close, volume)


def _begin(told: date | datetime, timeframe: Timeframe) -> datetime:
    if isinstance(told, datetime):
        return told.astimezone(UTC)
    day = datetime(told.year, told.month, told.day, tzinfo=UTC)
    # Whichever day of the week or the month stands for it there.
    if timeframe == TIMEFRAMES["1w"]:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if timeframe == TIMEFRAMES["1M"] else day
