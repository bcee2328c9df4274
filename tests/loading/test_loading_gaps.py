"""A gap is what is expected and missing, never what a length suggests; what is known to be empty is none."""

from datetime import timedelta
from itertools import pairwise

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from symcache_core.loading.plan.gaps import gaps

WEEKDAYS = pd.date_range("2012-01-02", periods=60, freq="B", tz="UTC")
NONE = WEEKDAYS[:0]
YEAR = timedelta(days=365)


def test_a_gap_from_friday_to_tuesday_is_one_gap_although_a_weekend_is_in_it():
    expected = pd.bdate_range("2012-06-07", "2012-06-13", tz="UTC")
    (gap,) = gaps(expected, expected[[0, -1]], NONE, YEAR)
    assert list(gap.stamps) == list(expected[1:-1])
    assert gap.before == expected[-1]


def test_nothing_is_missing_where_nothing_is_expected():
    assert list(gaps(WEEKDAYS[:0], WEEKDAYS, NONE, YEAR)) == list(gaps(WEEKDAYS, WEEKDAYS, NONE, YEAR)) == []


@given(st.sets(st.integers(0, 59)))
def test_gaps_hold_each_missing_bar_once_and_no_present_one(present_at):
    present = WEEKDAYS[sorted(present_at)]
    found = list(gaps(WEEKDAYS, present, NONE, YEAR))
    missing = [stamp for stamp in WEEKDAYS if stamp not in present]
    assert [stamp for gap in found for stamp in gap.stamps] == missing
    for earlier, later in pairwise(found):
        between = WEEKDAYS[(earlier.stamps[-1] < WEEKDAYS) & (later.stamps[0] > WEEKDAYS)]
        assert between.isin(present).all()
        assert between[0] == earlier.before
    assert not found or (found[-1].before is None) == (WEEKDAYS[-1] in missing)


@given(missing_at=st.sets(st.integers(0, 59)), doubtful_at=st.sets(st.integers(0, 59)), days=st.integers(1, 40))
def test_doubtful_bars_are_gathered_and_no_other_present_one_is_among_them(missing_at, doubtful_at, days):
    missing, doubtful = (WEEKDAYS[sorted(at)] for at in (missing_at, missing_at & doubtful_at))
    longest = timedelta(days=days)
    found = list(gaps(WEEKDAYS, WEEKDAYS.difference(missing), doubtful, longest))
    assert [stamp for gap in found for stamp in gap.stamps] == list(missing)
    for gap in found:
        between = WEEKDAYS[(gap.stamps[0] <= WEEKDAYS) & (gap.stamps[-1] >= WEEKDAYS)]
        if len(between) > len(gap.stamps):
            assert gap.stamps.isin(doubtful).all()
            assert gap.stamps[-1] - gap.stamps[0] < longest


def test_many_doubtful_bars_are_few_requests():
    expected = pd.date_range("2012-01-02", periods=1000, freq="min", tz="UTC")
    doubtful = expected[::3]
    assert len(list(gaps(expected, expected.difference(doubtful), doubtful, timedelta(minutes=200)))) == 5
    assert len(list(gaps(expected, expected.difference(doubtful), NONE, timedelta(minutes=200)))) == 334
