"""What is known of a stamp changes with each look at it as the rules of absence say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symcache_core.loading.bars.rows import Rows, RowState

STAMPS = np.arange("2012-06-04", "2012-06-09", dtype="datetime64[D]").astype("datetime64[ns]")
NOON = np.datetime64("2024-06-01T12:00", "ns")
MINUTE = np.timedelta64(1, "m")
ABSENT, AGAIN, NONE, FAILED, BAD = RowState.ABSENT, RowState.ABSENT_AGAIN, RowState.NONE, RowState.FAILED, RowState.BAD


def looked(known, minutes, *, proven=False):
    """What a look so many minutes after noon makes of what was known at noon, and when that was asked."""
    rows = Rows.nothing() if known is None else Rows.of_none(STAMPS[:1], NOON, known)
    seen = rows.looked(STAMPS[:1], np.array([proven]), NOON + minutes * MINUTE)
    assert list(seen.stamps) == [STAMPS[0]]
    return RowState(int(seen.states[0])), int((seen.asked[0] - NOON) / MINUTE)


@pytest.mark.parametrize(
    ("known", "minutes", "expected", "asked"),
    [
        (None, 5, ABSENT, 5),
        (FAILED, 60, ABSENT, 60),
        (BAD, 60, ABSENT, 60),
        (ABSENT, 9, AGAIN, 9),
        (ABSENT, 10, NONE, 10),
        (AGAIN, 9, AGAIN, 0),
        (AGAIN, 10, NONE, 10),
        (NONE, 5, NONE, 5),
        (NONE, 60, NONE, 60),
    ],
)
def test_a_look_that_finds_nothing(known, minutes, expected, asked):
    assert looked(known, minutes) == (expected, asked)


@given(known=st.sampled_from([None, *RowState]), minutes=st.integers(-100, 10_000))
def test_an_answer_that_proves_it_settles_it(known, minutes):
    assert looked(known, minutes, proven=True) == (NONE, minutes)


@given(gaps=st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test_absence_is_proven_only_by_two_looks_ten_minutes_or_more_apart(gaps):
    rows, now, looks = Rows.nothing(), NOON, []
    for gap in gaps:
        now += gap * MINUTE
        looks.append(now)
        rows = rows.updated(rows.looked(STAMPS[:1], np.array([False]), now))
        if rows.states[0] == NONE:
            assert looks[-1] - looks[0] >= 10 * MINUTE
        elif len(looks) > 1:
            assert rows.states[0] == AGAIN
    apart = len(looks) > 2 and (looks[-1] - looks[1]) >= 10 * MINUTE
    assert rows.states[0] == NONE or not apart


def test_each_stamp_is_judged_by_itself():
    known = Rows.of_none(STAMPS[[1]], NOON, ABSENT).updated(Rows.of_none(STAMPS[[3]], NOON, NONE))
    seen = known.looked(STAMPS, np.array([False, False, True, False, False]), NOON + 30 * MINUTE)
    assert seen.states.tolist() == [ABSENT, NONE, NONE, NONE, ABSENT]
    assert seen.fault() is None


states = st.lists(st.sampled_from([None, *RowState]), min_size=5, max_size=5)


def rows_in(states, price):
    parts = [Rows.nothing()]
    for stamp, state in zip(STAMPS, states, strict=True):
        if state is None:
            continue
        columns = [np.array([price if state <= RowState.PROVISIONAL else np.nan])] * 5
        asked = np.array(["NaT" if state == RowState.BAR else NOON], "M8[ns]")
        parts.append(Rows(np.array([stamp]), columns, asked, np.array([state], "uint8")))
    return Rows.join(parts)


@given(older=states, newer=states)
def test_the_last_of_a_stamp_wins_and_no_stamp_loses_its_bar(older, newer):
    both = rows_in(older, 1.0).updated(rows_in(newer, 2.0))
    expected = []
    for old, new in zip(older, newer, strict=True):
        loses = new is not None and new > RowState.PROVISIONAL and old is not None and old <= RowState.PROVISIONAL
        expected.append(old if new is None or loses else new)
    assert both.states.tolist() == [state for state in expected if state is not None]
    assert both.fault() is None


@pytest.mark.parametrize("state", list(RowState))
def test_rows_that_are_not_as_they_ought_to_be_say_so(state):
    rows = rows_in([state] * 5, 1.0)
    assert rows.fault() is None
    wrong = Rows(rows.stamps, rows.columns, rows.asked[::-1].copy(), np.full(5, 7, "uint8"))
    assert wrong.fault() == "it is not told what a row is"
    other = rows.asked.copy()
    other[0] = NOON if state == RowState.BAR else np.datetime64("NaT", "ns")
    assert Rows(rows.stamps, rows.columns, other, rows.states).fault() == "it is not told what a row is"
    if state > RowState.PROVISIONAL:
        priced = [np.ones(5)] * 5
        assert Rows(rows.stamps, priced, rows.asked, rows.states).fault() == "there are prices where there is no bar"
