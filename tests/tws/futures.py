"""The futures that the simulated TWS knows: those to come, and those of the last two years.

Some share their symbol with others, so that an expiry alone does not tell which one is meant: silver of 5,000 ounces
and of 1,000, the DAX of 25 euros a point and of 5, a month's VIX and a week's
(https://github.com/QuantConnect/Lean/issues/2924, https://github.com/vnpy/vnpy/issues/2489,
https://github.com/ranaroussi/qtpylib/issues/11). Others have local symbols that do not begin with their symbol, or
with spaces in them (https://github.com/pst-group/pysystemtrade/issues/329).
"""

import calendar
from collections.abc import Callable
from datetime import date, timedelta
from typing import NamedTuple

from . import venues
from .listing import CONTINUOUS, Listing
from .venues import Venue

QUARTERLY = {3: "H", 6: "M", 9: "U", 12: "Z"}
YEARS_AHEAD = 5
YEARS_BACK = 2
"""Older ones have no data: https://interactivebrokers.github.io/tws-api/historical_limitations.html."""


def third_friday(year, month):
    """The day on which most quarterly futures expire."""
    return _weekday(year, month, calendar.FRIDAY, 3)


def third_wednesday(year, month):
    """The day on which a month's VIX expires, give or take a day."""
    return _weekday(year, month, calendar.WEDNESDAY, 3)


def first_wednesday(year, month):
    """The day on which the VIX of a month's first week expires."""
    return _weekday(year, month, calendar.WEDNESDAY, 1)


def late_in_the_month(year, month):
    """The day on which metals and interest rates expire, give or take some."""
    return _weekday(year, month, calendar.WEDNESDAY, 4)


def _weekday(year, month, weekday, which):
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (which - 1))


class Family(NamedTuple):
    """Futures that differ in their expiry alone."""

    symbol: str
    trading_class: str
    exchanges: tuple[str, ...]
    multiplier: str
    name: str
    currency: str = "USD"
    venue: Venue = venues.CHICAGO
    expires: Callable[[int, int], date] = third_friday
    in_words: bool = False

    def local_symbol(self, expiry):
        """Its class, and its month as a letter or in words; short classes are filled up with spaces there."""
        if self.in_words:
            return f"{self.trading_class:<4} {expiry:%b %y}".upper()
        return f"{self.trading_class}{QUARTERLY[expiry.month]}{expiry.year % 10}"


# DTB is what EUREX was called.
FAMILIES = (
    Family("ES", "ES", ("CME",), "50", "E-mini S&P 500"),
    Family("NQ", "NQ", ("CME",), "20", "E-mini NASDAQ 100"),
    Family("SI", "SIL", ("COMEX",), "1000", "Silver", venue=venues.METALS, expires=late_in_the_month),
    Family("SI", "SI", ("COMEX",), "5000", "Silver", venue=venues.METALS, expires=late_in_the_month),
    Family("DAX", "FDXM", ("EUREX", "DTB"), "5", "Mini-DAX", "EUR", venues.EUREX, in_words=True),
    Family("DAX", "FDAX", ("EUREX", "DTB"), "25", "DAX", "EUR", venues.EUREX, in_words=True),
    Family("ESTX50", "FESX", ("EUREX", "DTB"), "10", "EURO STOXX 50", "EUR", venues.EUREX, in_words=True),
    Family("VIX", "VX10", ("CFE",), "1000", "CBOE Volatility Index", expires=first_wednesday),
    Family("VIX", "VX", ("CFE",), "1000", "CBOE Volatility Index", expires=third_wednesday),
    Family("ZN", "ZN", ("CBOT",), "1000", "10-year US Treasury note", expires=late_in_the_month, in_words=True),
)


def futures(today):
    """Every future, and of each class the one that never ends: it stands for the next to expire."""
    for number, family in enumerate(FAMILIES, 1):
        listings = [_listing(number, family, expiry) for expiry in _expiries(family, today)]
        yield from listings
        yield next(each for each in listings if not each.is_expired(today)).of_kind(CONTINUOUS)


def _listing(number, family, expiry):
    return Listing(
        int(f"{number}{expiry:%y%m%d}"),  # the same whatever day it is
        family.symbol,
        "FUT",
        family.currency,
        "",
        family.exchanges,
        family.name,
        family.venue,
        local_symbol=family.local_symbol(expiry),
        trading_class=family.trading_class,
        expiry=f"{expiry:%Y%m%d}",
        multiplier=family.multiplier,
        min_tick="0.25",
    )


def _expiries(family, today):
    for year in range(today.year - YEARS_BACK, today.year + YEARS_AHEAD):
        for month in QUARTERLY:
            expiry = family.expires(year, month)
            if expiry >= today - timedelta(days=366 * YEARS_BACK):
                yield expiry
