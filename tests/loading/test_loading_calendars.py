"""Which bars there are to be follows from the exchange's calendar: its holidays, early closes, pauses and clock."""

from datetime import UTC, datetime, timedelta

import exchange_calendars
import pandas as pd
import pytest

from symcache_core import ContractInfo
from symcache_core.errors import ConfigurationError
from symcache_core.loading.plan.calendars import FOREX, calendar_name, expected_bars
from symcache_core.timeframes import TIMEFRAMES, timeframe_of

LATER = datetime(2020, 1, 1, tzinfo=UTC)


def stamps(timeframe: str, start: str, end: str, *, calendar: str = "XNYS", now: datetime = LATER) -> pd.DatetimeIndex:
    first, last = (pd.Timestamp(moment, tz="UTC").to_pydatetime() for moment in (start, end))
    return expected_bars(calendar, timeframe_of(timeframe), first, last, now)


def days(start: str, end: str, **options) -> list[str]:
    return [f"{stamp:%m-%d}" for stamp in stamps("1d", start, end, **options)]


def times(timeframe: str, day: str, **options) -> list[str]:
    return [f"{stamp:%H:%M}" for stamp in stamps(timeframe, day, f"{day} 23:59", **options)]


def test_the_closure_after_9_11_has_no_bars():
    assert days("2001-09-10", "2001-09-17") == ["09-10", "09-17"]


def test_the_closure_for_hurricane_sandy_has_no_bars():
    assert days("2012-10-26", "2012-10-31") == ["10-26", "10-31"]


def test_sessions_of_long_ago_are_known():
    assert days("1980-12-11", "1980-12-15") == ["12-11", "12-12", "12-15"]


def test_daily_bars_are_the_sessions_of_the_recorded_stocks(source):
    for symbol, bars in source.items():
        expected = stamps("1d", str(bars.index[0].date()), "2013-03-01")
        assert expected.equals(bars.index.rename(None)), symbol


@pytest.mark.parametrize(
    ("now", "last"),
    [
        ("2013-03-01T20:59", "02-28"),
        ("2013-03-01T21:00", "03-01"),
        ("2013-03-03T12:00", "03-01"),
        ("2012-11-23T17:59", "11-21"),
        ("2012-11-23T18:00", "11-23"),
    ],
)
def test_a_session_is_expected_once_its_market_has_closed(now, last):
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert days("2012-11-19", "2013-12-31", now=moment)[-1] == last


def test_hours_are_those_of_the_exchanges_clock_and_the_first_begins_with_the_session():
    hours = ["14:30", "15:00", "16:00", "17:00", "18:00", "19:00", "20:00"]
    assert times("1h", "2012-11-20") == hours
    assert times("1h", "2012-07-03") == ["13:30", "14:00", "15:00", "16:00"]  # daylight saving, and an early close
    assert times("4h", "2012-11-20") == ["14:30", "17:00"]
    assert times("2h", "2012-11-20") == ["14:30", "15:00", "17:00", "19:00"]


@pytest.mark.parametrize(("timeframe", "count"), [("1m", 390), ("5m", 78), ("15m", 26), ("30m", 13)])
def test_a_session_has_so_many_bars(timeframe, count):
    assert len(times(timeframe, "2012-11-20")) == count


def test_after_an_early_close_there_are_no_bars():
    assert times("30m", "2012-11-23")[-1] == "17:30"
    assert len(times("1m", "2012-11-23")) == 210


def test_a_bar_is_expected_once_it_is_over():
    at = datetime(2012, 11, 20, 15, 59, 59, tzinfo=UTC)
    assert times("1h", "2012-11-20", now=at) == ["14:30"]
    assert times("1h", "2012-11-20", now=at + timedelta(seconds=1)) == ["14:30", "15:00"]


def test_a_pause_at_noon_has_no_bars():
    assert times("30m", "2012-11-20", calendar="XHKG") == [
        *("01:30", "02:00", "02:30", "03:00", "03:30"),
        *("05:00", "05:30", "06:00", "06:30", "07:00", "07:30"),
    ]
    assert times("4h", "2012-11-20", calendar="XHKG") == ["01:30", "05:00"]


def test_a_week_is_its_monday_and_expected_once_its_last_session_is_over():
    friday_noon = datetime(2012, 11, 23, 17, 59, tzinfo=UTC)
    found = stamps("1w", "2012-11-01", "2012-12-31", now=friday_noon)
    assert [f"{stamp:%a %m-%d}" for stamp in found] == ["Mon 11-05", "Mon 11-12"]
    found = stamps("1w", "2012-11-01", "2012-12-31", now=friday_noon + timedelta(minutes=1))
    assert f"{found[-1]:%m-%d}" == "11-19"


def test_the_week_that_a_year_ends_with_is_not_over_before_its_last_session_in_the_next():
    new_years_eve = datetime(2012, 12, 31, 23, 30, tzinfo=UTC)
    assert stamps("1w", "2012-12-20", "2013-01-31", now=new_years_eve)[-1] == pd.Timestamp("2012-12-24", tz="UTC")
    friday = datetime(2013, 1, 4, 21, 0, tzinfo=UTC)
    assert stamps("1w", "2012-12-20", "2013-01-31", now=friday)[-1] == pd.Timestamp("2012-12-31", tz="UTC")
    hours = stamps("1h", "2012-12-31 20:00", "2013-01-02", calendar=FOREX, now=new_years_eve)
    assert [f"{stamp:%H:%M}" for stamp in hours] == ["20:00", "21:00", "22:00"]


@pytest.mark.parametrize("name", ["XSES", "XBOM"])
def test_a_calendar_that_is_not_known_to_its_end_still_serves(name, caplog):
    assert len(days("2024-06-03", "2024-06-14", calendar=name, now=datetime(2032, 6, 1, tzinfo=UTC))) >= 9
    assert f"calendar {name} ends on" in caplog.text


def test_a_day_of_the_currency_market_ends_at_five_in_new_york():
    assert days("2012-12-24", "2012-12-30", calendar=FOREX) == ["12-24", "12-25", "12-26", "12-27", "12-28"]
    hours = stamps("1h", "2012-11-16 20:00", "2012-11-18 23:00", calendar=FOREX)
    assert [f"{stamp:%a %H:%M}" for stamp in hours] == ["Fri 20:00", "Fri 21:00", "Sun 22:00", "Sun 23:00"]
    evening = datetime(2012, 11, 20, 21, 59, tzinfo=UTC)
    assert days("2012-11-19", "2012-11-23", calendar=FOREX, now=evening) == ["11-19"]


def test_crypto_never_rests():
    assert len(days("2012-12-24", "2012-12-30", calendar="24/7")) == 7
    assert len(times("1h", "2012-12-25", calendar="24/7")) == 24


@pytest.mark.parametrize("timeframe", list(TIMEFRAMES))
def test_no_bar_is_outside_of_what_was_asked_and_they_rise(timeframe):
    first, last = pd.Timestamp("2012-03-05", tz="UTC"), pd.Timestamp("2012-04-16 16:00", tz="UTC")
    found = stamps(timeframe, "2012-03-05", "2012-04-16 16:00")
    assert found.is_monotonic_increasing
    assert found.is_unique
    assert first <= found[0]
    assert found[-1] <= last


@pytest.mark.parametrize(
    ("contract", "asset_type", "name"),
    [
        (ContractInfo(asset_type="CASH"), "", FOREX),
        (ContractInfo(asset_type="CRYPTO"), "", "24/7"),
        (ContractInfo(asset_type="STK", exchange="NASDAQ"), "", "XNYS"),
        (ContractInfo(asset_type="STK", exchange="TSE"), "", "XTSE"),
        (ContractInfo(asset_type="STK", exchange="SMART", contract={"primaryExchange": "LSE"}), "", "XLON"),
        (ContractInfo(asset_type="FUT", exchange="CME"), "", "CMES"),
        (ContractInfo(asset_type="ETF"), "", "XNYS"),
        (ContractInfo(), "CASH", FOREX),
        (None, "CASH", FOREX),
        (None, "", "XNYS"),
    ],
)
def test_the_contract_says_which_calendar(contract, asset_type, name):
    assert calendar_name(contract, asset_type) == name


def test_every_exchange_has_a_calendar_that_there_is():
    known = set(exchange_calendars.get_calendar_names(include_aliases=False))
    exchanges = "TSE LSE IBIS FWB SBF AEB ENEXT.BE BVME BM EBS SFB HEX OSE CPH VSE WSE BVL SEHK TSEJ KSE SGX ASX NSE"
    names = {calendar_name(ContractInfo(exchange=exchange)) for exchange in exchanges.split()}
    assert names <= known
    assert "XNYS" not in names
    assert len(days("2019-06-03", "2019-06-14", calendar="XTSE")) == 10


def test_a_timeframe_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(ConfigurationError, match="'3h': use one of 1m, 5m, 15m, 30m, 1h, 2h, 4h, 1d, 1w"):
        timeframe_of("3h")
