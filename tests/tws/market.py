"""What there is to know at the simulated TWS: contracts, since when they have data, and bars."""

import csv
import gzip
import io
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from itertools import groupby

from .codes import HMDS, NO_HEAD, RefusedError
from .listings import known_on

NOW = datetime(2013, 3, 1, 22, tzinfo=UTC)
FIRST_DAY = date(2005, 3, 10)
"""Of everything that was not recorded."""

UNITS = {"S": 1, "D": 86400, "W": 7 * 86400, "M": 30 * 86400, "Y": 365 * 86400}
SMALL = 60
"""Seconds; for bars shorter than this a stricter pacing holds."""

# Seconds of a bar, and days that one request may span.
SIZES = {
    "5 secs": (5, 1),
    "30 secs": (30, 1),
    "1 min": (60, 1),
    "5 mins": (300, 7),
    "15 mins": (900, 14),
    "30 mins": (1800, 30),
    "1 hour": (3600, 30),
    "2 hours": (7200, 30),
    "3 hours": (10800, 30),
    "4 hours": (14400, 120),
    "1 day": (86400, 365),
    "1 week": (7 * 86400, 730),
    "1 month": (31 * 86400, 5 * 365),
}
DAY, WEEK, MONTH = 86400, 7 * 86400, 31 * 86400
KINDS = {
    "STK": ("TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK", "ADJUSTED_LAST"),
    "FUT": ("TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK"),
    "CASH": ("MIDPOINT", "BID", "ASK", "BID_ASK"),
    "CRYPTO": ("AGGTRADES", "MIDPOINT", "BID", "ASK"),
}
EVERY_KIND = {kind for kinds in KINDS.values() for kind in kinds}


@dataclass(frozen=True)
class Bar:
    """One bar; ``time`` is its date if it is of a day or more."""

    time: datetime | date
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def whole_day(self):
        return not isinstance(self.time, datetime)


class Market:
    """Everything as of one moment."""

    def __init__(self, now=NOW):
        self.now = now

    def contracts(self, query):
        """Every contract that fits a description, with the exchange that was asked for."""
        known = known_on(self.now.date())
        if query.symbol:
            candidates = known.get(query.symbol, ())
        else:
            candidates = (listing for listings in known.values() for listing in listings)
        found = [listing for listing in candidates if listing.fits(query)]
        if not found:
            raise RefusedError(200)
        return [(listing, query.exchange or listing.exchanges[0]) for listing in found]

    def hours(self, listing):
        """Its trading hours and liquid hours."""
        return listing.venue.hours(self.now.date())

    def head(self, request):
        """Since when there is data."""
        listing = self._only(request.query)
        if not self._has(listing, request.what):
            raise RefusedError(162, NO_HEAD)
        begin, _end = listing.venue.session(_first_day(listing), request.rth)
        return begin.astimezone(UTC)

    def bars(self, request):
        """The bars of a span, and the zone that they are told in."""
        listing = self._only(request.query)
        seconds, start, end = self._span(request)
        if not self._has(listing, request.what):
            raise _none(f"No historical market data for {listing.symbol}/{listing.sec_type}@{listing.exchanges[0]}")
        found = list(self._bars(listing, seconds, start, end, request.rth))
        if not found:
            raise _none(f"HMDS query returned no data: {listing.local_symbol}@{request.query.exchange}")
        return found, listing.venue.zone

    def _only(self, query):
        (listing, _exchange), *others = self.contracts(query)
        if others:
            raise RefusedError(200, f"The contract description specified for {listing.symbol} is ambiguous.")
        return listing

    def _has(self, listing, what):
        if what not in EVERY_KIND:
            raise _invalid(f"Invalid what to show: {what}")
        return what in KINDS[listing.sec_type]

    def _span(self, request):
        if request.size not in SIZES:
            raise _invalid(f"Historical data bar size setting is invalid. Legal ones are: {', '.join(SIZES)}")
        duration = re.fullmatch(r"([1-9]\d*) ([SDWMY])", request.duration)
        if duration is None:
            raise _invalid("Historical data query duration format is invalid")
        length, unit = int(duration[1]), duration[2]
        if unit == "S" and length > DAY:
            raise _invalid("Historical data requests for durations longer than 86400 seconds must be made in days")
        if unit == "D" and length > 365:
            raise _invalid("Historical data requests for durations longer than 365 days must be made in years")
        seconds, days = SIZES[request.size]
        if length * UNITS[unit] > days * DAY:
            raise RefusedError(162, HMDS + "Time length exceed max.")
        end = self._end(request.end)
        return seconds, end - timedelta(seconds=length * UNITS[unit]), min(end, self.now)

    def _end(self, text):
        if not text:
            return self.now
        try:
            return datetime.strptime(text, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
        except ValueError:
            raise RefusedError(10314) from None

    def _bars(self, listing, seconds, start, end, rth):
        days = [
            day
            for day in _days(listing, start.date(), end.date() + timedelta(days=1))
            if seconds < DAY or start <= listing.venue.session(day.time, rth)[0] < end
        ]
        if seconds == DAY:
            yield from days
        elif seconds == WEEK:
            for _week, bars in groupby(days, key=lambda bar: bar.time.isocalendar()[:2]):
                yield _merged(list(bars))
        elif seconds == MONTH:
            for _month, bars in groupby(days, key=lambda bar: (bar.time.year, bar.time.month)):
                yield _merged(list(bars))
        else:
            for day in days:
                begin, close = listing.venue.session(day.time, rth)
                for bar in _split(day, begin.astimezone(UTC), close.astimezone(UTC), timedelta(seconds=seconds)):
                    if start <= bar.time < end:
                        yield bar


def is_small(size):
    """Whether bars are so short that a stricter pacing holds."""
    return size in SIZES and SIZES[size][0] < SMALL


def _invalid(cause):
    return RefusedError(321, f"Error validating request.-'bN' : cause - {cause}")


def _none(text):
    return RefusedError(162, HMDS + text)


def _first_day(listing):
    return _recordings()[listing.symbol][0].time if _is_recorded(listing) else FIRST_DAY


def _is_recorded(listing):
    return (listing.sec_type, listing.currency) == ("STK", "USD") and listing.symbol in _recordings()


def _days(listing, first, last):
    if _is_recorded(listing):
        return [bar for bar in _recordings()[listing.symbol] if first <= bar.time <= last]
    begin = max(first, FIRST_DAY)
    days = (begin + timedelta(days=passed) for passed in range((last - begin).days + 1))
    return [_made_up(listing.con_id, day) for day in days if listing.venue.is_open_on(day)]


def _made_up(number, day):
    low = 10 + number % 90
    shift = day.toordinal() % 7 / 10
    return Bar(day, low + shift, low + 1, low, low + 1 - shift, 1000 + day.day)


def _merged(bars):
    return Bar(
        bars[-1].time,
        bars[0].open,
        max(bar.high for bar in bars),
        min(bar.low for bar in bars),
        bars[-1].close,
        sum(bar.volume for bar in bars),
    )


def _split(day, begin, end, length):
    """A day's bar as shorter ones: they go from its open to its close, and touch its high and low on the way."""
    times = []
    while begin < end:
        times.append(begin)
        begin += length
    steps = [day.open + (day.close - day.open) * step / len(times) for step in range(len(times) + 1)]
    for place, time in enumerate(times):
        before, after = round(steps[place], 4), round(steps[place + 1], 4)
        high = day.high if place == len(times) // 3 else max(before, after)
        low = day.low if place == len(times) // 2 else min(before, after)
        yield Bar(time, before, high, low, after, day.volume // len(times))


@cache
def _recordings():
    content = gzip.decompress(files("symcache_host").joinpath("data", "daily_bars.csv.gz").read_bytes()).decode()
    rows = list(csv.reader(io.StringIO(content)))[1:]
    return {
        symbol: [Bar(date.fromisoformat(day), *map(float, figures)) for _symbol, day, *figures in days]
        for symbol, days in groupby(rows, key=lambda row: row[0])
    }
