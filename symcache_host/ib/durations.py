"""How a range of bars becomes requests in the words of Interactive Brokers, none of which falls short of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_WEEK = timedelta(weeks=1)

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
"""Nobody has bars from before; and a calendar's first days leave no room to reach back from."""

LONGEST_IN_SECONDS = 86_400
LONGEST_IN_DAYS = 365
LONGEST_IN_WEEKS = 52


class BarSize(NamedTuple):
    """A timeframe: its name there, how long a bar is, and what one request may span."""

    setting: str
    length: timedelta
    longest: timedelta

    @property
    def is_intraday(self) -> bool:
        """Whether a day has several bars, each with a time and not only a date."""
        return self.length < _DAY


BAR_SIZES: Mapping[str, BarSize] = MappingProxyType(
    {
        "1m": BarSize("1 min", timedelta(minutes=1), _DAY),
        "5m": BarSize("5 mins", timedelta(minutes=5), 7 * _DAY),
        "15m": BarSize("15 mins", timedelta(minutes=15), 14 * _DAY),
        "30m": BarSize("30 mins", timedelta(minutes=30), 30 * _DAY),
        "1h": BarSize("1 hour", timedelta(hours=1), 30 * _DAY),
        "2h": BarSize("2 hours", timedelta(hours=2), 30 * _DAY),
        "4h": BarSize("4 hours", timedelta(hours=4), 120 * _DAY),
        "1d": BarSize("1 day", _DAY, 365 * _DAY),
        "1w": BarSize("1 week", _WEEK, 730 * _DAY),
    }
)


class Span(NamedTuple):
    """One request for bars: its end, and how far it reaches back from there."""

    end: str
    duration: str


def spans(start: datetime, end: datetime, now: datetime, size: BarSize) -> Iterator[Span]:
    """The requests, oldest first, that together bring every bar that begins from ``start`` to ``end``.

    They bring more than that: a duration is rounded up to whole units, and counted in trading days. Nothing is asked
    past ``now``, nor before there was anything. All three are in UTC.
    """
    start, end = max(start, EARLIEST), min(end, now)
    if start > end:
        return
    begin, until = _reach(start.replace(microsecond=0), end, size)
    until = _whole_second(min(until, now))
    if start >= until:
        return
    while until - begin > size.longest:
        yield _span(begin, begin + size.longest, size)
        # A day's bar may lie across the seam: an exchange's day and that of UTC differ.
        begin += size.longest - (timedelta() if size.is_intraday else size.length)
    yield _span(begin, until, size)


def duration(span: timedelta, size: BarSize) -> str:
    """A span as ``durationStr``, rounded up; months are not used, for none is as long as the next.

    >>> duration(timedelta(days=30), BAR_SIZES["1h"]), duration(timedelta(days=366), BAR_SIZES["1d"])
    ('30 D', '2 Y')
    """
    days = _whole(span, _DAY)
    if size.is_intraday and span <= LONGEST_IN_SECONDS * _SECOND:
        return f"{_whole(span, _SECOND)} S"
    if size.length == _WEEK and _whole(span, _WEEK) <= LONGEST_IN_WEEKS:
        return f"{_whole(span, _WEEK)} W"
    if size.length != _WEEK and days <= LONGEST_IN_DAYS:
        return f"{days} D"
    return f"{math.ceil(days / LONGEST_IN_DAYS)} Y"


def _reach(start: datetime, end: datetime, size: BarSize) -> tuple[datetime, datetime]:
    """From where to where to ask, so that neither the first nor the last bar is cut off."""
    if not size.is_intraday:
        return start - size.length, end + size.length
    # The bar that begins last may end a whole length after ``end``. Where a request is too short for that, it goes to
    # the end of the bar that holds ``end``; most bars begin at a multiple of their length.
    whole = end - (end - datetime.min.replace(tzinfo=UTC)) % size.length + size.length
    return start, min(end + size.length, max(whole, start + size.longest))


def _span(begin: datetime, until: datetime, size: BarSize) -> Span:
    return Span(f"{until.astimezone(UTC):%Y%m%d-%H:%M:%S}", duration(until - begin, size))


def _whole_second(moment: datetime) -> datetime:
    whole = moment.replace(microsecond=0)
    return whole if whole == moment else whole + _SECOND


def _whole(span: timedelta, unit: timedelta) -> int:
    return max(1, -(-span // unit))
