"""The days of each contract that the simulated TWS has bars of, and longer and shorter bars made of them."""

import csv
import gzip
import io
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from importlib.resources import files
from itertools import groupby

FIRST_DAY = date(2005, 3, 10)
"""Of everything that was not recorded."""


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


def first_day(listing):
    """Since when there are bars of a contract."""
    return _recordings()[listing.symbol][0].time if _is_recorded(listing) else FIRST_DAY


def days_of(listing, first, last):
    """A contract's bars of a day from one day to another, both included."""
    if listing.expiry:
        last = min(last, date.fromisoformat(listing.expiry))
    if not listing.has_data:
        return []
    if _is_recorded(listing):
        return [bar for bar in _recordings()[listing.symbol] if first <= bar.time <= last]
    begin = max(first, FIRST_DAY)
    days = (begin + timedelta(days=passed) for passed in range((last - begin).days + 1))
    return [_made_up(listing.con_id, day) for day in days if listing.venue.is_open_on(day)]


def merged(bars):
    """Several bars as one; it has the date of the last one."""
    return Bar(
        bars[-1].time,
        bars[0].open,
        max(bar.high for bar in bars),
        min(bar.low for bar in bars),
        bars[-1].close,
        sum(bar.volume for bar in bars),
    )


def split(day, times):
    """A day's bar as shorter ones: they go from its open to its close, and touch its high and low on the way."""
    steps = [day.open + (day.close - day.open) * step / len(times) for step in range(len(times) + 1)]
    for place, time in enumerate(times):
        before, after = round(steps[place], 4), round(steps[place + 1], 4)
        high = day.high if place == len(times) // 3 else max(before, after)
        low = day.low if place == len(times) // 2 else min(before, after)
        yield Bar(time, before, high, low, after, day.volume // len(times))


def _is_recorded(listing):
    return (listing.sec_type, listing.currency) == ("STK", "USD") and listing.symbol in _recordings()


def _made_up(number, day):
    low = 10 + number % 90
    shift = day.toordinal() % 7 / 10
    return Bar(day, low + shift, low + 1, low, low + 1 - shift, 1000 + day.day)


@cache
def _recordings():
    content = gzip.decompress(files("symcache_host").joinpath("data", "daily_bars.csv.gz").read_bytes()).decode()
    rows = list(csv.reader(io.StringIO(content)))[1:]
    return {
        symbol: [Bar(date.fromisoformat(day), *map(float, figures)) for _symbol, day, *figures in days]
        for symbol, days in groupby(rows, key=lambda row: row[0])
    }
