"""Each of a provider's rows decides its own day, and none the day of others."""

from datetime import timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import exchange_calendars
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symcache_core import ContractInfo
from symcache_core.loading.calendars import Calendar, calendar_of
from symcache_core.timeframes import Timeframe, timeframe_of

pytestmark = pytest.mark.once

FIRST, LAST = pd.Timestamp("2007-01-01"), pd.Timestamp("2027-12-31")
MONTH = Timeframe("1M", timedelta(days=31), timedelta(days=5 * 365))
DAY, WEEK = timeframe_of("1d"), timeframe_of("1w")
EXCHANGES = {
    "NYSE": "XNYS", "TSE": "XTSE", "LSE": "XLON", "IBIS": "XETR", "SBF": "XPAR", "AEB": "XAMS", "BVME": "XMIL",
    "EBS": "XSWX", "SFB": "XSTO", "SEHK": "XHKG", "SEHKNTL": "XSHG", "TSEJ": "XTKS", "KSE": "XKRX", "ASX": "XASX",
    "BSE": "XBOM",
}  # fmt: skip
PAIRS = {"EURUSD": ("CASH", 17, 17), "USDJPY": ("CASH", 17, 17), "gold": ("CMDTY", 18, 17)}
MARKETS = [*EXCHANGES, *PAIRS, "BTC"]
CHANGES = [
    pd.Timestamp(year, month, 1) + pd.offsets.Week(n=week, weekday=6)
    for year in range(2007, 2028)
    for month, week in ((3, 2), (3, 4), (3, 5), (4, 1), (10, 1), (10, 4), (10, 5), (11, 1))
]


class Truth(NamedTuple):
    """What is so, however the loader finds it out: days, and the times of their sessions (UTC)."""

    calendar: Calendar
    zone: str
    days: pd.DatetimeIndex
    opens: pd.DatetimeIndex
    closes: pd.DatetimeIndex


@cache
def truth_of(market: str) -> Truth:
    if market in EXCHANGES:
        return _of_exchange(market)
    kind, begin, end = PAIRS.get(market, ("CRYPTO", 0, 24))
    zone = ZoneInfo("UTC" if market == "BTC" else "America/New_York")
    days = pd.date_range(FIRST, LAST, freq="D" if market == "BTC" else "B")
    opens = days + pd.Timedelta(hours=begin) - pd.Timedelta(days=1 if begin >= end else 0)
    closes = days + pd.Timedelta(hours=end)
    opens, closes = (times.tz_localize(zone).tz_convert("UTC").as_unit("ns") for times in (opens, closes))
    return Truth(calendar_of(None, kind), zone.key, days.as_unit("ns"), opens, closes)


def _of_exchange(market: str) -> Truth:
    name = EXCHANGES[market]
    known = exchange_calendars.get_calendar(name)
    bound = known.bound_max()
    calendar = exchange_calendars.get_calendar(name, start=FIRST, end=LAST if bound is None else min(bound, LAST))
    schedule, zone = calendar.schedule, str(calendar.tz)
    days, opens, closes = pd.DatetimeIndex(schedule.index), schedule["open"], schedule["close"]
    opens, closes = pd.DatetimeIndex(opens), pd.DatetimeIndex(closes)
    if bound is not None and bound < LAST:  # beyond it, every weekday with the hours of the last session
        more = pd.bdate_range(bound + pd.Timedelta(days=1), LAST)
        for_more = [times[-1].tz_convert(zone).tz_localize(None) - days[-1] for times in (opens, closes)]
        opens, closes = (
            times.append((more + after).tz_localize(zone).tz_convert("UTC"))
            for times, after in zip((opens, closes), for_more, strict=True)
        )
        days = days.append(more)
    contract = ContractInfo(asset_type="STK", exchange=market)
    return Truth(calendar_of(contract), zone, *(times.as_unit("ns") for times in (days, opens, closes)))


def local_midnight(truth: Truth, which, _random):
    return truth.days[which].tz_localize(truth.zone)


def utc_midnight(truth: Truth, which, _random):
    return truth.days[which].tz_localize("UTC")


def opening(truth: Truth, which, _random):
    return truth.opens[which]


def closing(truth: Truth, which, _random):
    """A bit before it, where another session begins with it."""
    follows = np.append(truth.opens[1:] == truth.closes[:-1], True)[which]
    return truth.closes[which] - pd.TimedeltaIndex(follows.astype("m8[s]"))


def live(truth: Truth, which, random):
    length = (truth.closes[which] - truth.opens[which]).to_numpy()
    return truth.opens[which] + pd.TimedeltaIndex(length * random.uniform(0, 1, len(which))).floor("s")


def live_after_the_close(truth: Truth, which, random):
    """Up to the next session: at night, on weekends and holidays; on the last day known, before midnight."""
    last = truth.closes[-1:] + pd.Timedelta(hours=0 if truth.zone == "UTC" else 2)
    rest = (truth.opens[1:].append(last)[which] - truth.closes[which]).to_numpy()
    if truth.calendar.name in ("XBOM", "XSHG", "XHKG", "XTKS", "XKRX"):
        rest = np.where(truth.days[which] >= "2026-12-30", np.timedelta64(2, "h"), rest)
    rest = np.maximum(rest, np.timedelta64(0, "ns"))
    moments = truth.closes[which] + pd.TimedeltaIndex(rest * random.uniform(0, 1, len(which))).floor("s")
    # A midnight, of whatever clock, is of its own date; and where there is no rest, the row is within the session.
    return moments - pd.TimedeltaIndex(np.where(rest > np.timedelta64(0, "ns"), 0, 7).astype("m8[s]"))


STYLES = [local_midnight, utc_midnight, opening, closing, live, live_after_the_close]
CLOCKS = ["local", "UTC", None]


def on_clock(moments: pd.DatetimeIndex, truth: Truth, clock: str | None) -> pd.DatetimeIndex:
    utc = moments.tz_convert("UTC")
    return utc.tz_localize(None) if clock is None else utc.tz_convert(truth.zone if clock == "local" else clock)


def stamps_of(days: pd.DatetimeIndex, timeframe: Timeframe) -> pd.DatetimeIndex:
    if timeframe.name == "1w":
        return days - pd.to_timedelta(days.day_of_week, unit="D")
    return days - pd.to_timedelta(days.day - 1, unit="D") if timeframe.name == "1M" else days


def mislabelled(truth: Truth, index: pd.DatetimeIndex, which, timeframe: Timeframe) -> list:
    found = truth.calendar.labels(index, timeframe)
    assert found.dtype == np.dtype("datetime64[ns]")
    days = truth.days[which]
    if timeframe.name == "1w":  # a weekday without a session is of its own week, and not of the session before it
        utc = index.tz_localize("UTC") if index.tz is None else index.tz_convert("UTC")
        wall = utc.tz_convert(truth.zone).tz_localize(None)
        is_after = (utc > truth.closes[which]) & (wall.day_of_week < 5)
        days = days.where(~is_after, wall.normalize())
    wrong = found != stamps_of(days, timeframe).to_numpy()
    return [(str(index[at]), str(truth.days[which][at].date()), str(found[at])[:10]) for at in np.flatnonzero(wrong)]


def is_usable(style, clock) -> bool:
    """A midnight in UTC is one on that clock alone: on another it is a moment of a session or of none."""
    return style is not utc_midnight or clock != "local"


@pytest.mark.parametrize("market", MARKETS)
def test_no_session_of_twenty_one_years_is_mislabelled_however_its_row_is_stamped(market):
    truth, random = truth_of(market), np.random.default_rng(1)
    which = np.arange(len(truth.days))
    wrong = {}
    for style in STYLES:
        moments = style(truth, which, random)
        for clock in CLOCKS:
            index = on_clock(moments, truth, clock)
            for timeframe in (DAY, WEEK, MONTH):
                if is_usable(style, clock) and (bad := mislabelled(truth, index, which, timeframe)):
                    wrong[style.__name__, clock, timeframe.name] = (len(bad), bad[:3])
    assert wrong == {}


@st.composite
def frames(draw):
    """Rows of a market, each stamped in a way of its own, on one clock."""
    market, clock = draw(st.sampled_from(MARKETS)), draw(st.sampled_from(CLOCKS))
    truth = truth_of(market)
    near = draw(st.one_of(st.sampled_from(CHANGES), st.datetimes(FIRST, LAST)))
    at = int(truth.days.searchsorted(pd.Timestamp(near))) + draw(st.integers(-5, 5))
    count = draw(st.integers(1, 8))
    which = np.arange(max(at, 0), max(at, 0) + count)
    which = which[which < len(truth.days)]
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    usable = [style for style in STYLES if is_usable(style, clock)]
    styles = [draw(st.sampled_from(usable)) for _ in which]
    rows = [style(truth, which[n : n + 1], random).tz_convert("UTC") for n, style in enumerate(styles)]
    index = rows[0].append(rows[1:]) if rows else pd.DatetimeIndex([], tz="UTC")
    return truth, on_clock(index, truth, clock), which


@settings(max_examples=200, deadline=None)
@given(frames(), st.sampled_from([DAY, WEEK, MONTH]))
def test_no_row_among_others_is_mislabelled(frame, timeframe):
    truth, index, which = frame
    assert mislabelled(truth, index, which, timeframe) == []


@pytest.mark.soak
@settings(max_examples=20_000, deadline=None)
@given(frames(), st.sampled_from([DAY, WEEK, MONTH]))
def test_no_row_among_very_many_others_is_mislabelled(frame, timeframe):
    truth, index, which = frame
    assert mislabelled(truth, index, which, timeframe) == []


def labelled(market: str | None, times: list[str], timeframe: Timeframe = DAY, tz: str | None = None) -> list[str]:
    calendar = Calendar() if market is None else truth_of(market).calendar
    found = calendar.labels(pd.DatetimeIndex(times, tz=tz), timeframe)
    return ["NaT" if np.isnat(stamp) else str(stamp)[5:10] for stamp in found]


@pytest.mark.parametrize(
    ("market", "zone", "times", "days"),
    [
        ("TSEJ", "Asia/Tokyo", ["2025-01-08", "2025-01-09 13:45:07"], ["01-08", "01-09"]),
        ("LSE", "Europe/London", ["2025-07-09", "2025-07-10 16:35:11"], ["07-09", "07-10"]),
        ("NYSE", "America/New_York", ["2025-07-09", "2025-07-10 15:59:11"], ["07-09", "07-10"]),
        ("TSEJ", "Asia/Tokyo", ["2025-01-06 09:00", "2025-01-07 09:00"], ["01-06", "01-07"]),
        ("TSEJ", "UTC", ["2025-01-05 15:00", "2025-01-09 04:45:07"], ["01-06", "01-09"]),
        ("EURUSD", "America/New_York", ["2025-01-05 17:00", "2025-01-06 17:00"], ["01-06", "01-07"]),
        ("EURUSD", "UTC", ["2025-01-05 22:00", "2025-01-10 21:59:59", "2025-01-11 12:00"], ["01-06", "01-10", "01-10"]),
        ("ASX", "Australia/Sydney", ["2025-01-06 10:00", "2025-01-07 15:00:01"], ["01-06", "01-07"]),
        ("NYSE", "UTC", ["2025-01-04 15:00", "2025-01-20 18:00"], ["01-03", "01-17"]),
    ],
)
def test_a_live_row_leaves_the_days_of_the_others_alone(market, zone, times, days):
    assert labelled(market, times, tz=zone) == days


@pytest.mark.parametrize(
    ("market", "zone", "times", "weeks"),
    [
        ("NYSE", "UTC", ["2025-01-10", "2025-01-17"], ["01-06", "01-13"]),
        ("TSEJ", "Asia/Tokyo", ["2025-01-06", "2025-01-13 14:00:01"], ["01-06", "01-13"]),
        ("TSEJ", "UTC", ["2025-01-12 15:00", "2025-01-13 05:00:01"], ["01-13", "01-13"]),
        ("EURUSD", None, ["2025-01-05", "2025-01-12"], ["01-06", "01-13"]),
        ("EURUSD", "America/New_York", ["2025-01-05 17:00", "2025-01-12 17:00"], ["01-06", "01-13"]),
        ("NYSE", "America/New_York", ["2025-01-05", "2025-01-12"], ["01-06", "01-13"]),
        ("NYSE", "America/New_York", ["2025-01-04", "2025-01-12 09:15"], ["12-30", "01-06"]),
        ("BTC", "UTC", ["2025-01-05", "2025-01-12 09:15"], ["12-30", "01-06"]),
        (None, None, ["2025-01-05", "2025-01-08", "2025-01-11"], ["01-06", "01-06", "01-06"]),
    ],
)
def test_a_sunday_without_a_session_belongs_to_the_week_that_follows(market, zone, times, weeks):
    assert labelled(market, times, WEEK, zone) == weeks


def test_a_saturday_on_which_mondays_session_begins_belongs_to_its_week():
    hours = {
        "timezone": "Europe/London",
        "regular_hours": {"start": "20:00", "end": "06:00"},
        "trading_days": [6, 0, 1, 2, 3],
    }
    told = ContractInfo(asset_type="FUT", exchange="X", trading_hours=hours)
    assert str(calendar_of(told).labels(pd.DatetimeIndex(["2025-01-04 21:00"]), DAY)[0])[:10] == "2025-01-05"
    nights = calendar_of(ContractInfo(asset_type="FUT", exchange="OSE.JPN"))
    index = pd.DatetimeIndex(["2025-01-10 20:00", "2025-01-11 03:00", "2025-01-13 10:00"], tz="Asia/Tokyo")
    assert [str(stamp)[:10] for stamp in nights.labels(index, DAY)] == ["2025-01-13"] * 3
    assert [str(stamp)[:10] for stamp in nights.labels(index, WEEK)] == ["2025-01-13"] * 3


def test_months_are_those_of_the_days():
    times = ["2025-01-31", "2025-02-03 14:30", "2025-03-02 12:00"]
    assert labelled("NYSE", times, MONTH, "UTC") == ["01-01", "02-01", "02-01"]


def test_of_an_unknown_market_a_row_is_of_the_date_of_its_own_clock():
    times = ["2025-01-06 23:30", "2025-01-07"]
    assert labelled(None, times, tz="Asia/Tokyo") == ["01-06", "01-07"]
    assert labelled(None, times) == ["01-06", "01-07"]
    assert labelled(None, times, MONTH) == ["01-01", "01-01"]


def test_beyond_its_calendar_the_exchanges_clock_says_the_day():
    assert labelled("BSE", ["2145-01-05 18:30", "2145-01-06 04:00", "1990-01-02 20:00"], tz="UTC") == [
        *("01-06", "01-06", "01-03"),
    ]


def test_a_bar_within_a_day_keeps_its_time():
    index = pd.DatetimeIndex(["2025-01-06 09:00:01", "NaT", "2025-01-07"], tz="Asia/Tokyo")
    found = truth_of("TSEJ").calendar.labels(index, timeframe_of("1h"))
    assert [str(stamp)[:19] for stamp in found] == ["2025-01-06T00:00:01", "NaT", "2025-01-06T15:00:00"]


@pytest.mark.parametrize("timeframe", [DAY, WEEK, MONTH, timeframe_of("1h")])
@pytest.mark.parametrize("market", [None, "NYSE", "EURUSD"])
def test_a_row_without_a_time_has_no_label_and_no_rows_have_none(market, timeframe):
    calendar = Calendar() if market is None else truth_of(market).calendar
    assert labelled(market, ["2025-01-06", "NaT"], timeframe)[1] == "NaT"
    assert labelled(market, ["NaT"], timeframe, "UTC") == ["NaT"]
    assert len(calendar.labels(pd.DatetimeIndex([], tz="UTC"), timeframe)) == 0


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_resolution_of_an_index_does_not_matter(unit):
    index = pd.DatetimeIndex(["2025-01-06 15:00"], tz="UTC").as_unit(unit)
    found = truth_of("TSEJ").calendar.labels(index, DAY)
    assert found.dtype == np.dtype("datetime64[ns]")
    assert str(found[0])[:10] == "2025-01-07"


def test_labelling_leaves_the_index_as_it_was():
    index = pd.DatetimeIndex(["2025-01-04 15:00", "2025-01-05"], tz="UTC")
    before = index.copy()
    for timeframe in (DAY, WEEK, MONTH, timeframe_of("1h")):
        truth_of("NYSE").calendar.labels(index, timeframe)[:] = np.datetime64("NaT", "ns")
    assert index.equals(before)
