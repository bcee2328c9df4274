"""A gap is what the exchange's calendar says is missing, never what a length suggests."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symcache_core import ContractInfo
from symcache_core.errors import ConfigurationError
from symcache_core.loading.calendars import calendar_name, completed_sessions
from symcache_core.loading.gaps import missing_runs
from symcache_core.loading.segments import longest_request, segments

LATER = datetime(2020, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)


def sessions(start: str, end: str, *, name: str = "XNYS", now: datetime = LATER) -> list[str]:
    found = completed_sessions(name, pd.Timestamp(start, tz="UTC"), pd.Timestamp(end, tz="UTC"), now)
    return [f"{stamp:%m-%d}" for stamp in found]


def runs(expected: pd.DatetimeIndex, present: pd.DatetimeIndex) -> list[tuple[str, str]]:
    return [(f"{run[0]:%m-%d}", f"{run[-1]:%m-%d}") for run in missing_runs(expected, present)]


def test_the_closure_after_9_11_is_not_a_gap():
    assert sessions("2001-09-10", "2001-09-17") == ["09-10", "09-17"]


def test_the_closure_for_hurricane_sandy_is_not_a_gap():
    assert sessions("2012-10-26", "2012-10-31") == ["10-26", "10-31"]


def test_sessions_of_long_ago_are_known():
    assert sessions("1980-12-11", "1980-12-15") == ["12-11", "12-12", "12-15"]


def test_a_gap_from_friday_to_tuesday_is_a_gap_although_a_weekend_is_in_it():
    expected = completed_sessions("XNYS", datetime(2012, 6, 7, tzinfo=UTC), datetime(2012, 6, 13, tzinfo=UTC), LATER)
    present = pd.DatetimeIndex(["2012-06-07", "2012-06-13"], tz="UTC")
    assert runs(expected, present) == [("06-08", "06-12")]


def test_a_weekend_or_a_holiday_alone_is_no_gap():
    expected = completed_sessions("XNYS", datetime(2012, 5, 25, tzinfo=UTC), datetime(2012, 5, 29, tzinfo=UTC), LATER)
    assert runs(expected, pd.DatetimeIndex(["2012-05-25", "2012-05-29"], tz="UTC")) == []


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
    assert sessions("2012-11-19", "2013-12-31", now=moment)[-1] == last


def test_forex_trades_on_weekdays_and_crypto_every_day():
    assert sessions("2012-12-24", "2012-12-30", name="24/5") == ["12-24", "12-25", "12-26", "12-27", "12-28"]
    assert len(sessions("2012-12-24", "2012-12-30", name="24/7")) == 7


@pytest.mark.parametrize(
    ("contract", "asset_type", "name"),
    [
        (ContractInfo(asset_type="CASH"), "", "24/5"),
        (ContractInfo(asset_type="CRYPTO"), "", "24/7"),
        (ContractInfo(asset_type="STK"), "", "XNYS"),
        (ContractInfo(asset_type="ETF"), "", "XNYS"),
        (ContractInfo(), "CASH", "24/5"),
        (None, "CASH", "24/5"),
        (None, "", "XNYS"),
    ],
)
def test_the_contract_says_which_calendar(contract, asset_type, name):
    assert calendar_name(contract, asset_type) == name


@settings(deadline=None, derandomize=True, database=None)
@given(st.sets(st.integers(0, 59)))
def test_runs_hold_each_missing_session_once_and_no_present_one(present_at):
    expected = pd.date_range("2012-01-02", periods=60, freq="B", tz="UTC")
    present = expected[sorted(present_at)]
    found = missing_runs(expected, present)
    assert [stamp for run in found for stamp in run] == [stamp for stamp in expected if stamp not in present]
    for earlier, later in pairwise(found):
        assert expected[(expected > earlier[-1]) & (expected < later[0])].isin(present).all()
        assert later[0] > earlier[-1]


@settings(deadline=None, derandomize=True, database=None)
@given(
    first=st.dates(date(1990, 1, 1), date(2010, 1, 1)),
    length=st.integers(1, 2000),
    longest=st.integers(1, 400),
)
def test_segments_hold_each_session_once_and_none_is_longer_than_allowed(first, length, longest):
    run = pd.bdate_range(first, periods=length, tz="UTC")
    split = list(segments(run, timedelta(days=longest), LATER))
    covered = [stamp for segment in split for stamp in run[(run >= segment.start) & (run <= segment.end)]]
    assert covered == list(run)
    assert all(segment.end - segment.start < timedelta(days=longest) for segment in split)
    assert all(earlier.end < later.start for earlier, later in pairwise(split))


def test_thirteen_years_take_thirteen_requests():
    run = completed_sessions("XNYS", datetime(2000, 3, 1, tzinfo=UTC), datetime(2013, 3, 1, tzinfo=UTC), LATER)
    assert len(list(segments(run, YEAR, LATER))) == 13


def test_nothing_is_asked_of_the_future():
    run = pd.DatetimeIndex(["2013-02-28", "2013-03-01"], tz="UTC")
    now = datetime(2013, 3, 1, 21, tzinfo=UTC)
    assert [segment.end for segment in segments(run, YEAR, now)] == [now]


def test_a_timeframe_that_cannot_be_loaded_is_refused_with_those_that_can():
    assert longest_request("1d") == YEAR
    with pytest.raises(ConfigurationError, match="'1h': this version loads 1d"):
        longest_request("1h")
