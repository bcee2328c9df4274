"""What there is to know at the simulated TWS: contracts, since when they have data, and bars."""

from datetime import UTC, datetime, timedelta
from itertools import groupby

from .codes import HMDS, NO_HEAD, RefusedError, invalid
from .days import days_of, first_day, merged, split
from .listing import CONTINUOUS
from .listings import known_on, numbered_on
from .spans import DAY, MONTH, WEEK, span_of

A_DAY = timedelta(days=1)
NOW = datetime(2013, 3, 1, 22, tzinfo=UTC)

KINDS = {
    "STK": ("TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK", "ADJUSTED_LAST"),
    "FUT": ("TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK"),
    CONTINUOUS: ("TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK"),
    "CASH": ("MIDPOINT", "BID", "ASK", "BID_ASK"),
    "CRYPTO": ("AGGTRADES", "MIDPOINT", "BID", "ASK"),
    "IND": ("TRADES",),
    "CMDTY": ("MIDPOINT", "BID", "ASK", "BID_ASK"),
    "CFD": ("MIDPOINT", "BID", "ASK", "BID_ASK"),
}
"""What each type has; https://interactivebrokers.github.io/tws-api/historical_bars.html."""

EVERY_KIND = {kind for kinds in KINDS.values() for kind in kinds}
AMBIGUOUS = "The contract description specified for {} is ambiguous"
WHICH_FUTURE = AMBIGUOUS + "; you must specify the multiplier or trading class."


class Market:
    """Everything as of one moment."""

    def __init__(self, now=NOW):
        self.now = now

    def contracts(self, query):
        """Every contract that fits a description, with the exchange that was asked for."""
        today = self.now.date()
        known = known_on(today)
        if query.con_id not in ("", "0"):
            candidates = numbered_on(today).get(query.con_id, ())
        elif query.symbol:
            candidates = known.get(query.symbol, ())
        else:
            candidates = (listing for listings in known.values() for listing in listings)
        found = [listing for listing in candidates if listing.fits(query, today)]
        if not found:
            raise RefusedError(200)
        return [(listing, query.exchange or listing.exchanges[0]) for listing in found]

    def contract_of(self, query):
        """The number of the contract that a description means; the description if it means none or several."""
        try:
            return self._only(query).con_id
        except RefusedError:
            return query

    def hours(self, listing):
        """Its trading hours and liquid hours."""
        return listing.venue.hours(self.now.date())

    def head(self, request):
        """Since when there is data."""
        listing = self._only(request.query)
        if not self._has(listing, request.what) or not listing.has_data:
            raise RefusedError(162, NO_HEAD)
        begin, _end = listing.venue.session(first_day(listing), request.rth)
        return begin.astimezone(UTC)

    def bars(self, request):
        """The bars of a span, and the zone that they are told in."""
        listing = self._only(request.query)
        if listing.sec_type == CONTINUOUS and request.end:
            raise RefusedError(10339)
        span = span_of(request, self.now)
        if not self._has(listing, request.what):
            raise _none(f"No historical market data for {listing.symbol}/{listing.sec_type}@{listing.exchanges[0]}")
        found = list(self._bars(listing, span, request.rth))
        if not found:
            raise _none(f"HMDS query returned no data: {listing.local_symbol}@{request.query.exchange}")
        return found, listing.venue.zone

    def _only(self, query):
        (listing, _exchange), *others = self.contracts(query)
        if others:
            raise RefusedError(200, (WHICH_FUTURE if listing.sec_type == "FUT" else AMBIGUOUS).format(listing.symbol))
        return listing

    def _has(self, listing, what):
        if what not in EVERY_KIND:
            raise invalid(f"Invalid what to show: {what}")
        return what in KINDS[listing.sec_type]

    def _bars(self, listing, span, rth):
        end = min(span.end, self.now)
        if span.unit == "D" and span.seconds <= DAY:
            days = _last_sessions(listing, end, span.length, rth)
            start = datetime.min.replace(tzinfo=UTC)
        else:
            # A session may begin in UTC on the day before it ends, or on the day after the one whose name it has.
            days, start = days_of(listing, span.start.date() - A_DAY, end.date() + A_DAY), span.start
        if span.seconds >= DAY:
            yield from _long(span.seconds, [day for day in days if start <= _begin(listing, day, rth) < end])
        else:
            for day in days:
                for bar in split(day, list(listing.venue.stamps(day.time, rth, span.seconds))):
                    if start <= bar.time < end:
                        yield bar


def _last_sessions(listing, end, most, rth):
    """The days of the last sessions, among them the one that is under way.

    A duration in days is one in sessions: of a future that trades from 17:00 on for the day to come, "1 D" back from
    midnight is seven hours, and "2 D" a day and seven hours (https://github.com/wrighter/ib-scripts/issues/5). Other
    durations are counted by the clock, seconds above all (https://github.com/wrighter/ib-scripts/pull/6).
    """
    last = end.date() + A_DAY
    days = days_of(listing, last - timedelta(days=3 * most + 15), last)
    return [day for day in days if _begin(listing, day, rth) < end][-most:]


def _begin(listing, day, rth):
    return listing.venue.session(day.time, rth)[0]


def _long(seconds, days):
    if seconds == WEEK:
        for _week, bars in groupby(days, key=lambda bar: bar.time.isocalendar()[:2]):
            yield merged(list(bars))
    elif seconds == MONTH:
        for _month, bars in groupby(days, key=lambda bar: (bar.time.year, bar.time.month)):
            yield merged(list(bars))
    else:
        yield from days


def _none(text):
    return RefusedError(162, HMDS + text)
