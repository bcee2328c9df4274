"""What a provider gave is read row by row: what is over, what is final, what is proven not to be."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from stored_bars import some_bars, times

from symcache_core import ContractInfo
from symcache_core.errors import ProviderError, ProviderNoDataError
from symcache_core.loading.answers import AnswerReader, OtherContractError
from symcache_core.loading.bars.frames import stamps_of
from symcache_core.loading.bars.rows import RowState
from symcache_core.loading.calendars import calendar_of
from symcache_core.loading.plan.outlook import Expected
from symcache_core.loading.plan.segments import Segment
from symcache_core.timeframes import timeframe_of

NEW_YORK = calendar_of(ContractInfo(exchange="NYSE"))
START, END = datetime(2012, 6, 4, tzinfo=UTC), datetime(2012, 6, 15, 23, 59, 59, tzinfo=UTC)
LATER = datetime(2013, 3, 1, tzinfo=UTC)


def segment_of(timeframe, start=START, end=END):
    slots = NEW_YORK.slots(timeframe_of(timeframe), start, end)
    return Segment(start, end, Expected.of(slots, timeframe_of(timeframe), LATER).stamps)


def days_of(segment):
    return pd.DatetimeIndex(segment.stamps, tz="UTC", name="timestamp")


def read(frame, segment=None, timeframe="1d", *, now=LATER, clock=None, permanent_id=None, session=None):
    clock = now if clock is None else clock
    reader = AnswerReader(timeframe_of(timeframe), NEW_YORK, permanent_id, session, now, clock.timestamp())
    return reader.read(segment_of(timeframe) if segment is None else segment, frame)


def absence(answer):
    return dict(zip(pd.DatetimeIndex(answer.absent, tz="UTC"), answer.proven.tolist(), strict=True))


def test_what_is_not_between_bars_of_one_answer_is_absent_and_not_proven():
    days = days_of(segment_of("1d"))
    answer = read(some_bars(days[[2, 3, 6]]))
    assert absence(answer) == {days[at]: at in (4, 5) for at in (0, 1, 4, 5, 7, 8, 9)}
    assert not answer.failed


@pytest.mark.parametrize("frame", [pd.DataFrame(), some_bars(times()), some_bars(times("2012-07-02"))])
def test_an_answer_without_a_bar_in_its_range_proves_nothing(frame):
    answer = read(frame)
    assert len(answer.rows) == 0
    assert absence(answer) == dict.fromkeys(days_of(segment_of("1d")), False)
    assert not answer.failed


def test_a_failure_that_may_have_meant_nothing_is_told_apart():
    answer = read(ProviderNoDataError("No data returned for KO 1d"))
    assert answer.failed
    assert absence(answer) == dict.fromkeys(days_of(segment_of("1d")), False)


def test_an_older_host_may_have_rounded_the_range_down_so_nothing_is_said_before_its_first_bar():
    days = days_of(segment_of("1d"))
    frame = some_bars(days[[3, 6]])
    frame.attrs["older_host"] = True
    assert absence(read(frame)) == {days[4]: True, days[5]: True, days[7]: False, days[8]: False, days[9]: False}


@pytest.mark.parametrize(
    ("timeframe", "stamp", "end", "final"),
    [
        ("1d", "2012-06-13", "2012-06-13 20:00", timedelta(hours=12)),
        ("1w", "2012-06-04", "2012-06-08 20:00", timedelta(hours=12)),
        ("1h", "2012-06-13 15:00", "2012-06-13 16:00", timedelta(hours=1)),
        ("1h", "2012-06-13 13:30", "2012-06-13 14:00", timedelta(hours=1)),
        ("30m", "2012-06-13 19:30", "2012-06-13 20:00", timedelta(hours=1)),
    ],
)
def test_a_bar_is_forming_until_its_end_then_provisional_and_then_final(timeframe, stamp, end, final):
    end = pd.Timestamp(end, tz="UTC").to_pydatetime()
    found = []
    for now in (end - timedelta(seconds=1), end, end + final - timedelta(seconds=1), end + final):
        rows = read(some_bars(times(stamp)), timeframe=timeframe, now=now).rows
        found.append([RowState(state) for state in rows.states])
        assert all(np.isnat(rows.asked) == (rows.states == RowState.BAR))
    assert found == [[], [RowState.PROVISIONAL], [RowState.PROVISIONAL], [RowState.BAR]]


def test_a_replayed_present_makes_bars_no_less_final_than_the_clock_says():
    end = datetime(2012, 6, 13, 20, tzinfo=UTC)
    rows = read(some_bars(times("2012-06-13")), now=end, clock=datetime(2024, 1, 1, tzinfo=UTC)).rows
    assert rows.states.tolist() == [RowState.BAR]


def test_a_month_is_over_with_its_last_session():
    segment = segment_of("1M", datetime(2012, 6, 1, tzinfo=UTC), datetime(2012, 6, 30, tzinfo=UTC))
    end = datetime(2012, 6, 29, 20, tzinfo=UTC)
    for now, count in ((end - timedelta(seconds=1), 0), (end, 1)):
        assert len(read(some_bars(times("2012-06-01")), segment, "1M", now=now).rows) == count


def test_bars_off_the_grid_are_bars_and_stand_for_what_was_expected_there():
    segment = segment_of("1h", datetime(2012, 6, 13, tzinfo=UTC), datetime(2012, 6, 13, 23, tzinfo=UTC))
    odd = days_of(segment) + pd.Timedelta("1min")
    answer = read(some_bars(odd), segment, "1h")
    assert list(answer.rows.stamps) == list(stamps_of(odd))
    assert len(answer.absent) == 0


def test_bars_of_days_without_a_session_are_bars():
    saturday = times("2012-06-08", "2012-06-09", "2012-06-11")
    assert list(read(some_bars(saturday)).rows.stamps) == list(stamps_of(saturday))


def test_rows_that_cannot_be_bars_are_in_their_place_as_such():
    days = days_of(segment_of("1d"))
    frame = some_bars(days[:4])
    frame.iloc[1, 1] = np.nan
    answer = read(frame)
    assert answer.rows.states.tolist() == [RowState.BAR, RowState.BAD, RowState.BAR, RowState.BAR]
    assert days[1] not in absence(answer)


def test_bars_of_another_contract_are_told_and_none_of_them_is_read():
    frame = some_bars(times("2012-06-13"))
    frame.attrs["contract"] = {"conId": 2}
    with pytest.raises(OtherContractError) as caught:
        read(frame, permanent_id="1")
    assert caught.value.found == "2"
    assert len(read(frame, permanent_id="2").rows) == len(read(frame).rows) == 1


@pytest.mark.parametrize("told", [None, {}, {"conId": 0}, {"conId": ""}, {"conId": True}, "265598", 7])
def test_a_provider_that_does_not_tell_a_contract_is_believed(told):
    frame = some_bars(times("2012-06-13"))
    frame.attrs["contract"] = told
    assert len(read(frame, permanent_id="1").rows) == 1


@pytest.mark.parametrize("basis", [None, {}, {"show": "TRADES"}, {"session": "regular"}])
def test_a_session_that_was_asked_for_has_to_be_confirmed(basis):
    frame = some_bars(times("2012-06-13"))
    frame.attrs["basis"] = basis
    with pytest.raises(ProviderError, match="the extended session were asked for"):
        read(frame, session="extended")
    frame.attrs["basis"] = {"session": "extended"}
    assert read(frame, session="extended").basis == {"session": "extended"}


def test_an_adjustment_alone_is_a_basis_too():
    frame = some_bars(times("2012-06-13"))
    assert read(frame).basis is None
    frame.attrs["adjustment"] = "split"
    assert read(frame).basis == {"adjustment": "split"}
    frame.attrs["basis"] = {"adjustment": "none", "show": "TRADES"}
    assert read(frame).basis == {"adjustment": "none", "show": "TRADES"}
