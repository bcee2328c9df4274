"""Loads on each day of weeks and months, at markets all over the world: no bar is lost, and none asked for often."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from bars.truth import PRICES, Clock, Listing, TruthProvider, at, same, sessions, walk

from symcache_core.loading import LoadReport

FIRST, LAST = "2024-12-09", "2025-07-18"
GOOD_FRIDAY = at("2025-04-18")


@dataclass(frozen=True)
class Market:
    """When something is traded.

    Args:
        symbol: How it is asked for.
        listing: What its provider says: kind, exchange, currency.
        zone: Its time zone.
        pieces: From when to when each day's trading goes; what begins after it ends, begins on the evening before.
        calendar: Whose days; of weekdays without Good Friday and the feasts when left out.
        evening: Whether that evening is that of the trading day before, which for a Monday is Friday.
    """

    symbol: str
    listing: tuple[str, str, str]
    zone: str
    pieces: tuple[tuple[str, str], ...]
    calendar: str | None = None
    evening: bool = False

    def __hash__(self):
        return hash(self.symbol)


MARKETS = {
    "a DAX future": Market("FUT:FDAXM5@EUREX", ("FUT", "EUREX", "EUR"), "Europe/Berlin", (("01:00", "22:00"),), "XEUR"),
    "Shanghai": Market(
        "600519@SEHKNTL:CNH",
        ("STK", "SEHKNTL", "CNH"),
        "Asia/Shanghai",
        (("09:30", "11:30"), ("13:00", "15:00")),
        "XSHG",
    ),
    "gold": Market("CMDTY:XAUUSD", ("CMDTY", "SMART", "USD"), "America/New_York", (("18:00", "17:00"),)),
    "a Nikkei future": Market(
        "FUT:N225M5@OSE.JPN",
        ("FUT", "OSE.JPN", "JPY"),
        "Asia/Tokyo",
        (("17:00", "06:00"), ("08:45", "15:45")),
        "XTKS",
        evening=True,
    ),
    "a currency": Market("EURUSD", ("CASH", "IDEALPRO", "USD"), "America/New_York", (("17:15", "17:00"),)),
    "an index": Market("IND:DAX@EUREX", ("IND", "EUREX", "EUR"), "Europe/Berlin", (("09:00", "17:30"),), "XETR"),
}
STEPS = {"1h": pd.Timedelta(hours=1), "4h": pd.Timedelta(hours=4)}


class Bars(NamedTuple):
    """All bars, and when each is over."""

    bars: pd.DataFrame
    ends: pd.DatetimeIndex


def days_of(market):
    if market.calendar is not None:
        return sessions(market.calendar, FIRST, LAST)
    days = pd.bdate_range(FIRST, LAST, tz="UTC", name="timestamp").as_unit("ns")
    return days.drop([GOOD_FRIDAY, at("2024-12-25"), at("2025-01-01")])


def spans(market):
    """The day, the begin and the end of each piece of trading (the exchange's time)."""
    before = None
    for day in days_of(market):
        date = day.tz_localize(None)
        for begin, end in market.pieces:
            evening = (before if market.evening else date - pd.Timedelta(days=1)) if begin >= end else date
            if evening is not None:
                opens = (evening + pd.Timedelta(f"{begin}:00")).tz_localize(market.zone)
                closes = (evening if begin < end else evening + pd.Timedelta(days=1)) + pd.Timedelta(f"{end}:00")
                yield day, opens, closes.tz_localize(market.zone)
        before = date


def pieces_of(market, timeframe):
    """The stamp and the end of each bar."""
    if timeframe == "1d":
        ends = {day: closes for day, _, closes in spans(market)}
        return list(ends), list(ends.values())
    stamps, ends = [], []
    for _, opens, closes in spans(market):
        # The exchange's clock is cut into pieces, and the first one begins with the trading.
        wall = opens.tz_localize(None)
        begin = opens - (wall - wall.floor(STEPS[timeframe]))
        while begin < closes:
            stamps.append(max(begin, opens))
            ends.append(min(begin + STEPS[timeframe], closes))
            begin += STEPS[timeframe]
    return stamps, ends


@cache
def all_bars(market, timeframe):
    stamps, ends = pieces_of(market, timeframe)
    index = pd.DatetimeIndex([stamp.tz_convert("UTC") for stamp in stamps], name="timestamp").as_unit("ns")
    assert index.is_monotonic_increasing
    assert index.is_unique
    level = 1.08 if market.listing[0] == "CASH" else 2000.0
    bars = walk(index, level=level, digits=5 if level < 2 else 2)
    return Bars(bars, pd.DatetimeIndex([end.tz_convert("UTC") for end in ends]).as_unit("ns"))


def truth_of(market):
    """What is told at a moment: the bars that are over, and the one under way as far as it is."""

    def truth(now, timeframe):
        bars, ends = all_bars(market, timeframe)
        begun = int(bars.index.searchsorted(now, side="right"))
        told = bars.iloc[:begun].copy()
        under_way = (ends > now)[:begun]
        for name in PRICES:
            told.loc[under_way, name] = told.loc[under_way, "open"]
        told.loc[under_way, "volume"] = (told.loc[under_way, "volume"] / 3).round()
        return told

    return truth


def truth_at(market, timeframe, now):
    """The bars that are over at a moment."""
    bars, ends = all_bars(market, timeframe)
    return bars[ends <= now]


def told_hours(market):
    """The hours that a contract tells: one span for the whole of a day, without its breaks."""
    begin, end = market.pieces[0][0], market.pieces[-1][1]
    return {
        "timezone": market.zone,
        "regular_hours": {"start": begin, "end": end, "name": "Regular"},
        "extended_hours": [],
        "trading_days": [0, 1, 2, 3, 4],
        "holidays": [],
    }


# A bar is asked for when it is over, again while it is provisional, and once for each request that begins within the
# five bars behind it. Before a long weekend that its calendar does not know, that is each day's: what is not there is
# looked for twice.
MOST = {"1h": 9, "4h": 12, "1d": 14}
USUALLY = {"1h": 2, "4h": 5, "1d": 8}


def load_daily(market, timeframe, *, told, first, last, folder, evening="21:30"):
    """Load once a day, and compare with the truth at the end, on a Sunday."""
    kind, exchange, currency = market.listing
    listing = Listing(
        truth_of(market),
        con_id=4711,
        kind=kind,
        exchange=exchange,
        currency=currency,
        head=all_bars(market, timeframe).bars.index[0].isoformat(),
        hours=told_hours(market) if told else None,
    )
    provider = TruthProvider(Clock(f"{first}T{evening}"), {market.symbol: listing})
    with provider.manager(folder) as manager:
        manager.load(market.symbol, timeframe, mode="full")
        before = len(provider.asked)
        days = pd.date_range(first, last)[1:]
        for day in days:
            asked = len(provider.asked)
            provider.clock.set(f"{day:%F}T{evening}")
            report = LoadReport.of(manager.load(market.symbol, timeframe, mode="tail"))
            assert len(provider.asked) - asked <= 10, day
            assert not {"renewed", "unstable", "reused"} & set(report.happened), day
        # What is proven absent is asked for again after thirty days, in several requests where it lies far apart.
        assert len(provider.asked) - before <= 4 * len(days) + 10
        provider.clock.set(at(last).normalize() + pd.offsets.Week(weekday=6) + pd.Timedelta(hours=12))
        same(manager.load(market.symbol, timeframe, mode="full"), truth_at(market, timeframe, provider.clock.now))
        # Bars that should be at the edge, and are not, are looked for twice.
        provider.clock.advance(minutes=11)
        frame = manager.load(market.symbol, timeframe, mode="full")
        truth = truth_at(market, timeframe, provider.clock.now)
        same(frame, truth)
        assert LoadReport.of(frame).provisional == 0
        missing = LoadReport.of(frame).missing
        assert missing is None or missing <= 2, "of the last hours nothing is proven yet"
        asked = len(provider.asked)
        manager.load(market.symbol, timeframe, mode="full")
        assert len(provider.asked) == asked, "all is final, and what is not there was looked for"
    since = truth.index[truth.index > at(first)]
    times = provider.times_asked(since, since=before)
    months = len(days) // 30  # after each of which proven absence is looked at again, with the bars in between
    assert times.max() <= MOST[timeframe] + months, times.idxmax()
    assert np.median(times) <= USUALLY[timeframe] + months + 1  # what is compared once a day


@pytest.mark.parametrize("timeframe", ["1h", "4h", "1d"])
@pytest.mark.parametrize("market", MARKETS.values(), ids=MARKETS.keys())
def test_six_weeks_of_daily_loads_are_the_truth_at_the_end(market, timeframe, folder):
    load_daily(market, timeframe, told=False, first="2025-02-24", last="2025-04-06", folder=folder)


@pytest.mark.parametrize("market", MARKETS.values(), ids=MARKETS.keys())
def test_two_weeks_of_daily_loads_are_the_truth_with_told_hours_too(market, folder):
    load_daily(market, "1h", told=True, first="2025-03-24", last="2025-04-06", folder=folder)


@pytest.mark.soak
@pytest.mark.parametrize("evening", ["06:10", "15:40", "21:30"])
@pytest.mark.parametrize("told", [False, True], ids=["by the exchange's name", "by the hours that are told"])
@pytest.mark.parametrize("timeframe", ["1h", "4h", "1d"])
@pytest.mark.parametrize("market", MARKETS.values(), ids=MARKETS.keys())
def test_half_a_year_of_daily_loads_is_the_truth_at_the_end(market, timeframe, told, evening, folder):
    load_daily(market, timeframe, told=told, first="2025-01-06", last="2025-07-06", folder=folder, evening=evening)


def test_the_first_hour_of_a_currencys_day_is_kept_whatever_the_load_ends_with(folder):
    market = MARKETS["a currency"]
    listing = Listing(truth_of(market), con_id=12087792, kind="CASH", exchange="IDEALPRO", head=f"{FIRST}T00:00:00")
    provider = TruthProvider(Clock("2025-02-26T00:05"), {"EURUSD": listing})
    with provider.manager(folder) as manager:
        for hour in pd.date_range("2025-02-26T00:05", "2025-03-01T00:05", freq="h", tz="UTC"):
            provider.clock.set(hour)
            manager.load("EURUSD", "1h", "2025-02-26", mode="full")
        provider.clock.set("2025-03-02T12:00")
        frame = manager.load("EURUSD", "1h", "2025-02-26", mode="full")
        same(frame, all_bars(market, "1h").bars.loc["2025-02-26":"2025-03-01"])
        assert sum(frame.index.minute == 15) == 2


def test_dates_that_end_between_a_days_begin_and_its_first_bar_lose_nothing(folder):
    market = MARKETS["a currency"]
    listing = Listing(truth_of(market), con_id=12087792, kind="CASH", exchange="IDEALPRO", head=f"{FIRST}T00:00:00")
    provider = TruthProvider(Clock("2025-03-08T12:00"), {"EURUSD": listing})
    with provider.manager(folder) as manager:
        manager.load("EURUSD", "1h", "2025-03-03T19:00", "2025-03-04T22:00:00")
        frame = manager.load("EURUSD", "1h", "2025-03-03T19:00", "2025-03-05T12:00")
        same(frame, all_bars(market, "1h").bars.loc["2025-03-03T19:00":"2025-03-05T12:00"])
