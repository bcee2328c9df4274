"""Requests hold every missing bar once, none spans more than the provider allows, and each overlaps what is near."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symcache_core import ContractInfo
from symcache_core.loading.bars.comparing import OVERLAP
from symcache_core.loading.calendars import calendar_of
from symcache_core.loading.plan.outlook import Expected
from symcache_core.loading.plan.segments import segments
from symcache_core.timeframes import TIMEFRAMES, timeframe_of

LATER = datetime(2020, 1, 1, tzinfo=UTC)
DAILY = timeframe_of("1d")
NEW_YORK = calendar_of(ContractInfo(exchange="NYSE"))
CALENDARS = [NEW_YORK, calendar_of(None, "CASH"), calendar_of(ContractInfo(asset_type="STK", exchange="SEHK"))]
NOTHING = np.empty(0, "datetime64[ns]")


def expected_of(calendar, timeframe, start, end):
    return Expected.of(calendar.slots(timeframe, start, end), timeframe, LATER)


YEARS = expected_of(NEW_YORK, DAILY, datetime(2008, 1, 1, tzinfo=UTC), datetime(2013, 1, 1, tzinfo=UTC))


def split(expected, due, *, stored=NOTHING, doubtful=None, timeframe=DAILY, newest_first=False, **options):
    doubtful = np.zeros(len(expected), bool) if doubtful is None else doubtful
    return segments(expected, due, doubtful, stored, timeframe, LATER, newest_first=newest_first, **options)


def within(stamps, segment):
    index = pd.DatetimeIndex(stamps, tz="UTC")
    return stamps[(index >= segment.start) & (index <= segment.end)]


def check(expected, due, stored, timeframe, found):
    """Check that each due bar is in one request, that none is too long, and that a seam has what it has to have."""
    asked = np.concatenate([segment.stamps for segment in found]) if found else NOTHING
    assert sorted(asked) == list(expected.stamps[due])
    for segment in found:
        assert segment.end - segment.start <= timeframe.longest
        assert np.isin(segment.stamps, within(expected.stamps, segment)).all()
        if segment.is_seam:
            assert len(within(stored, segment))


@settings(max_examples=60)
@given(
    timeframe=st.sampled_from(list(TIMEFRAMES.values())),
    first=st.dates(date(1990, 1, 1), date(2010, 1, 1)),
    days=st.integers(1, 900),
    calendar=st.sampled_from(CALENDARS),
    newest_first=st.booleans(),
)
def test_segments_hold_each_bar_once_and_none_is_longer_than_allowed(timeframe, first, days, calendar, newest_first):
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    span = timedelta(days=days if timeframe.length >= timedelta(hours=1) else min(days, 40))
    expected = expected_of(calendar, timeframe, start, start + span)
    due = np.ones(len(expected), bool)
    found = split(expected, due, timeframe=timeframe, newest_first=newest_first)
    check(expected, due, NOTHING, timeframe, found)
    assert not any(segment.is_seam for segment in found)
    starts = [segment.start for segment in found]
    assert starts == sorted(starts, reverse=newest_first)


holes = st.lists(st.tuples(st.integers(0, len(YEARS) - 1), st.integers(1, 500)), min_size=1, max_size=5)


@settings(max_examples=150)
@given(holes=holes, doubtful=st.booleans(), newest_first=st.booleans())
def test_each_due_bar_is_asked_for_once_and_a_seam_has_five_stored_bars_where_there_are_five(
    holes, doubtful, newest_first
):
    due = np.zeros(len(YEARS), bool)
    for first, length in holes:
        due[first : first + length] = True
    stored = YEARS.stamps[~due]
    found = split(YEARS, due, stored=stored, doubtful=due & doubtful, newest_first=newest_first)
    check(YEARS, due, stored, DAILY, found)
    if len(stored):
        assert any(segment.is_seam for segment in found) or not found
    for segment in found:
        near = within(stored, segment)
        if segment.is_seam and len(stored) >= OVERLAP and len(segment.stamps):
            before = stored[stored < segment.stamps[0]]
            side = before if len(before) else stored
            assert len(near) >= min(OVERLAP, len(side))
        elif segment.is_seam:
            is_sparse = stored[-1] - stored[0] > np.timedelta64(DAILY.longest)
            assert len(near) == min(OVERLAP, len(stored)) or (is_sparse and len(near))


@pytest.mark.parametrize("newest_first", [False, True])
def test_one_request_after_another_takes_in_five_bars_of_it(newest_first):
    found = split(YEARS, np.ones(len(YEARS), bool), newest_first=newest_first)
    for one, other in pairwise(found):
        both = np.intersect1d(within(YEARS.stamps, one), within(YEARS.stamps, other))
        assert len(both) == OVERLAP


def test_thirteen_years_take_fourteen_requests():
    expected = expected_of(NEW_YORK, DAILY, datetime(2000, 3, 1, tzinfo=UTC), datetime(2013, 3, 1, tzinfo=UTC))
    assert len(split(expected, np.ones(len(expected), bool))) == 14


@pytest.mark.parametrize(("timeframe", "requests"), [("1m", 20), ("5m", 5), ("1h", 1), ("1d", 1)])
def test_a_month_takes_so_many_requests(timeframe, requests):
    length = timeframe_of(timeframe)
    expected = expected_of(NEW_YORK, length, datetime(2012, 10, 1, tzinfo=UTC), datetime(2012, 10, 27, tzinfo=UTC))
    assert len(split(expected, np.ones(len(expected), bool), timeframe=length)) == requests


def test_nothing_is_asked_of_the_future():
    now = datetime(2012, 12, 31, 21, tzinfo=UTC)
    due = np.zeros(len(YEARS), bool)
    due[-2:] = True
    found = segments(YEARS, due, ~due & False, NOTHING, DAILY, now, newest_first=False)
    assert [segment.end for segment in found] == [now]


def test_a_bar_that_its_session_cuts_short_is_asked_for_without_the_next_one():
    hourly = timeframe_of("1h")
    day = datetime(2012, 11, 20, tzinfo=UTC)
    expected = expected_of(NEW_YORK, hourly, day, day + timedelta(days=1))
    due = np.zeros(len(expected), bool)
    due[0] = True
    (segment,) = split(expected, due, timeframe=hourly)
    assert segment.start == datetime(2012, 11, 20, 14, 30, tzinfo=UTC)
    assert segment.end == datetime(2012, 11, 20, 14, 59, 59, tzinfo=UTC)


def test_a_hole_is_asked_for_with_five_bars_before_it():
    due = np.zeros(len(YEARS), bool)
    due[100:103] = True
    (segment,) = split(YEARS, due, stored=YEARS.stamps[~due])
    assert segment.is_seam
    assert list(within(YEARS.stamps, segment)) == list(YEARS.stamps[95:103])


def test_what_is_before_all_that_is_stored_is_asked_for_with_five_bars_after_it():
    due = np.zeros(len(YEARS), bool)
    due[:100] = True
    (segment,) = split(YEARS, due, stored=YEARS.stamps[~due])
    assert segment.is_seam
    assert list(within(YEARS.stamps, segment)) == list(YEARS.stamps[:105])


@pytest.mark.parametrize("newest_first", [False, True])
def test_what_is_stored_far_away_is_compared_first_by_a_request_of_its_own(newest_first):
    due = np.zeros(len(YEARS), bool)
    due[-20:] = True
    stored = YEARS.stamps[:10]
    seam, segment = split(YEARS, due, stored=stored, newest_first=newest_first)
    assert seam.is_seam
    assert len(seam.stamps) == 0
    assert list(within(stored, seam)) == list(stored[-OVERLAP:])
    assert not segment.is_seam


def test_with_nothing_due_and_no_wish_to_compare_nothing_is_asked():
    nothing = np.zeros(len(YEARS), bool)
    assert split(YEARS, nothing, stored=YEARS.stamps) == []
    (seam,) = split(YEARS, nothing, stored=YEARS.stamps, compare=True)
    assert list(within(YEARS.stamps, seam)) == list(YEARS.stamps[-5:])


def test_doubtful_bars_are_gathered_and_others_are_not():
    minute = timeframe_of("1m")
    day = datetime(2012, 10, 1, tzinfo=UTC)
    expected = expected_of(NEW_YORK, minute, day, day + timedelta(days=1))
    due = np.zeros(len(expected), bool)
    due[::20] = True
    assert len(split(expected, due, doubtful=due, timeframe=minute)) == 1
    assert len(split(expected, due, timeframe=minute)) == due.sum()
