"""Requests hold every missing bar once, and none spans more than the provider allows."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symcache_core.loading.plan.calendars import expected_bars
from symcache_core.loading.plan.gaps import Gap, segments
from symcache_core.timeframes import TIMEFRAMES, timeframe_of

LATER = datetime(2020, 1, 1, tzinfo=UTC)


@settings(max_examples=30)
@given(
    timeframe=st.sampled_from(list(TIMEFRAMES.values())),
    first=st.dates(date(1990, 1, 1), date(2010, 1, 1)),
    days=st.integers(1, 900),
    calendar=st.sampled_from(["XNYS", "forex", "XHKG"]),
)
def test_segments_hold_each_bar_once_and_none_is_longer_than_allowed(timeframe, first, days, calendar):
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    span = timedelta(days=days if timeframe.length >= timedelta(hours=1) else min(days, 40))
    run = expected_bars(calendar, timeframe, start, start + span, LATER)
    split = list(segments(Gap(run), timeframe, LATER))
    covered = [stamp for segment in split for stamp in run[(run >= segment.start) & (run <= segment.end)]]
    assert covered == [stamp for segment in split for stamp in segment.stamps] == list(run)
    assert all(segment.end - segment.start <= timeframe.longest for segment in split)
    assert all(earlier.end < later.start for earlier, later in pairwise(split))


def test_thirteen_years_take_thirteen_requests():
    daily = timeframe_of("1d")
    run = expected_bars("XNYS", daily, datetime(2000, 3, 1, tzinfo=UTC), datetime(2013, 3, 1, tzinfo=UTC), LATER)
    assert len(list(segments(Gap(run), daily, LATER))) == 13


@pytest.mark.parametrize(("timeframe", "requests"), [("1m", 20), ("5m", 4), ("1h", 1), ("1d", 1)])
def test_a_month_takes_so_many_requests(timeframe, requests):
    length = timeframe_of(timeframe)
    run = expected_bars("XNYS", length, datetime(2012, 10, 1, tzinfo=UTC), datetime(2012, 10, 27, tzinfo=UTC), LATER)
    assert len(list(segments(Gap(run), length, LATER))) == requests


def test_nothing_is_asked_of_the_future():
    run = pd.DatetimeIndex(["2013-02-28", "2013-03-01"], tz="UTC")
    now = datetime(2013, 3, 1, 21, tzinfo=UTC)
    assert [segment.end for segment in segments(Gap(run), timeframe_of("1d"), now)] == [now]


def test_a_bar_that_its_session_cuts_short_is_asked_for_without_the_next_one():
    first, second = pd.DatetimeIndex(["2012-11-20 14:30", "2012-11-20 15:00"], tz="UTC")
    (segment,) = segments(Gap(pd.DatetimeIndex([first]), second), timeframe_of("1h"), LATER)
    assert segment.end == datetime(2012, 11, 20, 14, 59, 59, tzinfo=UTC)
