"""How a range of bars becomes requests in the words of Interactive Brokers, none of which falls short of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from symcache_core.timeframes import Timeframe

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_WEEK = timedelta(weeks=1)

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
"""Nobody has bars from before; and a calendar's first days leave no room to reach back from."""

LONGEST_IN_SECONDS = 86_400
LONGEST_IN_DAYS = 365
LONGEST_IN_WEEKS = 52

_UNITS: Mapping[str, str] = MappingProxyType({"m": "min", "h": "hour", "d": "day", "w": "week", "M": "month"})


class Span(NamedTuple):
    """One request for bars: its end, and how far it reaches back from there."""

    end: str
    duration: str


def bar_size(timeframe: Timeframe) -> str:
    """A timeframe as ``barSizeSetting``.

    >>> from symcache_core.timeframes import TIMEFRAMES
    >>> bar_size(TIMEFRAMES["1h"]), bar_size(TIMEFRAMES["15m"])
    ('1 hour', '15 mins')
    """
    count, unit = timeframe.name[:-1], _UNITS[timeframe.name[-1]]
    return f"{count} {unit}" if count == "1" else f"{count} {unit}s"


def spans(start: datetime, end: datetime, now: datetime, timeframe: Timeframe) -> Iterator[Span]:
    """The requests, oldest first, that together bring every bar that begins from ``start`` to ``end``.

    They bring more than that: a duration is rounded up to whole units, and counted in trading days. A range of up to
    ``timeframe.longest`` is one request, unless its bars begin off the multiples of their length. Nothing is asked past
    ``now``, nor before there was anything. All three are in UTC.
    """
    start, end = max(start, EARLIEST), min(end, now)
    if start > end:
        return
    begin, until = _reach(start.replace(microsecond=0), end, timeframe)
    until = _whole_second(min(until, now))
    if start >= until:
        return
    # A day's bar may lie across the seam: an exchange's day and that of UTC differ.
    most, seam = (timeframe.longest, timedelta()) if timeframe.is_intraday else (timeframe.limit, timeframe.length)
    while until - begin > most:
        yield _span(begin, begin + most, timeframe)
        begin += most - seam
    yield _span(begin, until, timeframe)


def duration(span: timedelta, timeframe: Timeframe) -> str:
    """A span as ``durationStr``, rounded up; months are not used, for none is as long as the next.

    Days of bars within a day are counted back in sessions, the one under way at the end being the first: two of them
    reach from Thursday morning to Wednesday's opening, see https://github.com/wrighter/ib-scripts/issues/5. A span
    touches one session more than it has days at most.

    >>> from symcache_core.timeframes import TIMEFRAMES
    >>> duration(timedelta(days=29), TIMEFRAMES["1h"]), duration(timedelta(days=366), TIMEFRAMES["1d"])
    ('30 D', '2 Y')
    >>> duration(timedelta(days=62), TIMEFRAMES["1M"])
    '1 Y'
    """
    days = _whole(span, _DAY)
    if timeframe.is_intraday:
        return f"{_whole(span, _SECOND)} S" if span <= LONGEST_IN_SECONDS * _SECOND else f"{days + 1} D"
    if timeframe.length == _WEEK and _whole(span, _WEEK) <= LONGEST_IN_WEEKS:
        return f"{_whole(span, _WEEK)} W"
    if timeframe.length < _WEEK and days <= LONGEST_IN_DAYS:
        return f"{days} D"
    return f"{math.ceil(days / LONGEST_IN_DAYS)} Y"


def _reach(start: datetime, end: datetime, timeframe: Timeframe) -> tuple[datetime, datetime]:
    """From where to where to ask, so that neither the first nor the last bar is cut off."""
    if not timeframe.is_intraday:
        return start - timeframe.length, end + timeframe.length
    # The bar that begins last may end a whole length after ``end``. Where a request is too short for that, it goes to
    # the end of the bar that holds ``end``; most bars begin at a multiple of their length.
    whole = end - (end - datetime.min.replace(tzinfo=UTC)) % timeframe.length + timeframe.length
    return start, min(end + timeframe.length, max(whole, start + timeframe.longest))


def _span(begin: datetime, until: datetime, timeframe: Timeframe) -> Span:
    return Span(f"{until.astimezone(UTC):%Y%m%d-%H:%M:%S}", duration(until - begin, timeframe))


def _whole_second(moment: datetime) -> datetime:
    whole = moment.replace(microsecond=0)
    return whole if whole == moment else whole + _SECOND


def _whole(span: timedelta, unit: timedelta) -> int:
    return max(1, -(-span // unit))
