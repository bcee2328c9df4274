"""What is asked for, and when again: bars that are missing, provisional, doubted, or were said not to be."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_bars import rows_of, some_bars

from symcache_core import ContractInfo
from symcache_core.loading.bars.rows import Rows, RowState
from symcache_core.loading.calendars import calendar_of
from symcache_core.loading.plan.outlook import Expected, outlook
from symcache_core.timeframes import timeframe_of

DAILY = timeframe_of("1d")
START, END = datetime(2012, 6, 1, tzinfo=UTC), datetime(2012, 6, 29, tzinfo=UTC)
NOW = datetime(2013, 3, 1, 12, tzinfo=UTC)
EXPECTED = Expected.of(calendar_of(ContractInfo(exchange="NYSE")).slots(DAILY, START, END), DAILY, NOW)
DAYS = pd.DatetimeIndex(EXPECTED.stamps, tz="UTC")
HOUR, TEN_MINUTES, SECOND = timedelta(hours=1), timedelta(minutes=10), timedelta(seconds=1)


def row(at, state, asked):
    stamps = EXPECTED.stamps[[at]]
    if state > RowState.PROVISIONAL:
        return Rows.of_none(stamps, np.datetime64(asked.replace(tzinfo=None), "ns"), state)
    bar = rows_of(some_bars(DAYS[[at]]))
    return Rows(bar.stamps, bar.columns, np.array([asked.replace(tzinfo=None)], "M8[ns]"), np.array([state], "uint8"))


def is_due(state, age, *, explicit=False, refresh=False):
    asked = NOW - age
    return bool(outlook(EXPECTED, row(5, state, asked), NOW.timestamp(), explicit=explicit, refresh=refresh).due[5])


@pytest.mark.parametrize(
    ("state", "again_after"),
    [
        (RowState.PROVISIONAL, HOUR),
        (RowState.ABSENT, TEN_MINUTES),
        (RowState.ABSENT_AGAIN, HOUR),
        (RowState.NONE, timedelta(days=30)),
        (RowState.BAD, timedelta(days=30)),
    ],
)
def test_what_was_said_is_believed_for_a_while(state, again_after):
    assert not is_due(state, timedelta())
    assert not is_due(state, again_after - SECOND)
    assert is_due(state, again_after)
    assert is_due(state, timedelta(), refresh=True)


@pytest.mark.parametrize("state", [RowState.PROVISIONAL, RowState.ABSENT_AGAIN, RowState.NONE, RowState.BAD])
def test_named_dates_change_nothing_about_what_was_asked_twice_or_is_proven(state):
    assert not is_due(state, timedelta(), explicit=True)


def test_named_dates_ask_again_about_a_single_absence_at_once():
    assert is_due(RowState.ABSENT, timedelta(), explicit=True)
    assert not is_due(RowState.ABSENT, timedelta())


def test_a_failure_proves_nothing_and_is_asked_about_again_as_soon_as_may_be():
    soon = outlook(EXPECTED, row(5, RowState.FAILED, NOW - 14 * SECOND), NOW.timestamp(), explicit=True)
    assert not soon.due[5], "nobody takes the same request again within 15 seconds"
    standing = outlook(EXPECTED, row(5, RowState.FAILED, NOW - 15 * SECOND), NOW.timestamp(), explicit=False)
    assert standing.due.all()
    assert not standing.doubtful.any()


@pytest.mark.parametrize(
    ("asked_after_its_end", "believed_for"),
    [("-3h", "1h"), ("20min", "1h"), ("11h", "11h"), ("12h", "120h"), ("22h", "220h"), ("4000D", "30D")],
)
def test_proven_absence_is_believed_the_longer_the_longer_the_bar_had_been_over(asked_after_its_end, believed_for):
    asked = (pd.Timestamp(EXPECTED.ends[5], tz="UTC") + pd.Timedelta(asked_after_its_end)).to_pydatetime(warn=False)
    life = pd.Timedelta(believed_for).to_pytimedelta()
    due = [
        bool(outlook(EXPECTED, row(5, RowState.NONE, asked), (asked + age).timestamp(), explicit=True).due[5])
        for age in (life - SECOND, life)
    ]
    assert due == [False, True]


def test_an_answer_from_the_future_is_not_believed():
    asked = NOW + timedelta(days=400)
    for state in (RowState.PROVISIONAL, RowState.ABSENT, RowState.ABSENT_AGAIN, RowState.NONE, RowState.BAD):
        standing = outlook(EXPECTED, row(5, state, asked), NOW.timestamp(), explicit=False)
        assert standing.due[5], state


def test_final_bars_are_never_due_but_for_a_refresh():
    rows = rows_of(some_bars(DAYS))
    standing = outlook(EXPECTED, rows, NOW.timestamp(), explicit=True)
    assert not standing.due.any()
    assert (standing.at_hand, standing.missing, standing.provisional) == (len(DAYS), 0, 0)
    again = outlook(EXPECTED, rows, NOW.timestamp(), explicit=True, refresh=True)
    assert again.due.all()
    assert again.doubtful.all()


@given(states=st.lists(st.sampled_from([None, *RowState]), min_size=len(DAYS), max_size=len(DAYS)))
def test_each_expected_bar_is_counted_once(states):
    rows = Rows.nothing()
    for at, state in enumerate(states):
        if state is not None:
            rows = rows.updated(row(at, state, NOW))
    standing = outlook(EXPECTED, rows, NOW.timestamp(), explicit=False)
    counted = {state: states.count(state) for state in (None, *RowState)}
    assert standing.at_hand == counted[RowState.BAR] + counted[RowState.PROVISIONAL]
    assert standing.provisional == counted[RowState.PROVISIONAL]
    assert standing.without_data == counted[RowState.NONE]
    unknown = (None, RowState.ABSENT, RowState.ABSENT_AGAIN, RowState.FAILED)
    assert standing.missing == sum(counted[state] for state in unknown)
    assert len(standing.bad) == counted[RowState.BAD]
    assert standing.due.sum() == counted[None], "all else has just been asked for"


def test_what_is_looked_for_before_the_first_bar_is_not_missing():
    counted_from = EXPECTED.stamps[4]
    standing = outlook(EXPECTED, Rows.nothing(), NOW.timestamp(), explicit=True, counted_from=counted_from)
    assert standing.due.all()
    assert standing.missing == len(DAYS) - 4


def test_a_bar_off_the_grid_stands_for_the_one_that_is_expected_there():
    hourly = timeframe_of("1h")
    expected = Expected.of(
        calendar_of(ContractInfo(exchange="NYSE")).slots(hourly, START, START + timedelta(days=1)), hourly, NOW
    )
    rows = rows_of(some_bars(pd.DatetimeIndex(expected.stamps, tz="UTC") + pd.Timedelta("7min")))
    standing = outlook(expected, rows, NOW.timestamp(), explicit=True)
    assert not standing.due.any()
    assert standing.at_hand == len(expected)


def test_a_bar_is_expected_once_its_session_is_over():
    close = pd.Timestamp(EXPECTED.ends[-1], tz="UTC")
    for now, count in ((close - SECOND, len(DAYS) - 1), (close, len(DAYS))):
        slots = calendar_of(ContractInfo(exchange="NYSE")).slots(DAILY, START, END)
        assert len(Expected.of(slots, DAILY, now.to_pydatetime(warn=False))) == count
