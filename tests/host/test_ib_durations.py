"""What is asked for bars covers what was wanted, in the units and within the limits of Interactive Brokers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symcache_core.timeframes import TIMEFRAMES
from symcache_host.ib.durations import bar_size, duration, spans

DAY = timedelta(days=1)
LATER = datetime(2030, 1, 1, tzinfo=UTC)
UNITS = {"S": timedelta(seconds=1), "D": DAY, "W": 7 * DAY, "Y": 365 * DAY}
BAR_UNITS = {"min": timedelta(minutes=1), "hour": timedelta(hours=1), "day": DAY, "week": 7 * DAY, "month": 31 * DAY}

moments = st.integers(0, 20 * 365 * 86_400_000_000).map(
    lambda passed: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=passed)
)
lengths = st.timedeltas(timedelta(), timedelta(days=900))
EVERY_TIMEFRAME = pytest.mark.parametrize("timeframe", TIMEFRAMES.values(), ids=TIMEFRAMES)
timeframes = st.sampled_from([*TIMEFRAMES.values()])

PERMITTED = {
    *("1 secs", "5 secs", "10 secs", "15 secs", "30 secs", "1 min", "2 mins", "3 mins", "5 mins", "10 mins", "15 mins"),
    *("20 mins", "30 mins", "1 hour", "2 hours", "3 hours", "4 hours", "8 hours", "1 day", "1 week", "1 month"),
}
"""Every ``barSizeSetting`` that Interactive Brokers documents."""


def length_of(text):
    count, unit = text.split(" ")
    return int(count) * UNITS[unit]


def end_of(span):
    return datetime.strptime(span.end, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)


@EVERY_TIMEFRAME
def test_each_timeframe_has_a_name_at_interactive_brokers(timeframe):
    assert bar_size(timeframe) in PERMITTED
    count, unit = bar_size(timeframe).split(" ")
    assert int(count) * BAR_UNITS[unit.removesuffix("s")] == timeframe.length


@pytest.mark.parametrize(
    ("timeframe", "span", "text"),
    [
        ("1m", timedelta(hours=1), "3600 S"),
        ("1m", timedelta(seconds=1, microseconds=1), "2 S"),
        ("1m", DAY, "86400 S"),
        ("5m", DAY, "86400 S"),
        ("5m", DAY + timedelta(seconds=1), "3 D"),
        ("5m", 2 * DAY, "3 D"),
        ("1h", 29 * DAY, "30 D"),
        ("4h", 118 * DAY + timedelta(seconds=1), "120 D"),
        ("1d", timedelta(hours=1), "1 D"),
        ("1d", 365 * DAY, "365 D"),
        ("1d", 366 * DAY, "2 Y"),
        ("1w", DAY, "1 W"),
        ("1w", 15 * DAY, "3 W"),
        ("1w", 364 * DAY, "52 W"),
        ("1w", 365 * DAY, "1 Y"),
        ("1w", 730 * DAY, "2 Y"),
        ("3h", 29 * DAY, "30 D"),
        ("1M", DAY, "1 Y"),
        ("1M", 366 * DAY, "2 Y"),
        ("1M", 5 * 365 * DAY, "5 Y"),
    ],
)
def test_a_duration_is_rounded_up_to_whole_units(timeframe, span, text):
    assert duration(span, TIMEFRAMES[timeframe]) == text


@given(timeframes, st.timedeltas(timedelta(seconds=1), timedelta(days=2000)))
def test_a_duration_never_falls_short_and_keeps_to_its_units(timeframe, span):
    text = duration(span, timeframe)
    assert re.fullmatch(r"[1-9]\d* [SDWY]", text)
    assert length_of(text) >= span
    count, unit = text.split(" ")
    if not timeframe.is_intraday:
        assert int(count) <= {"D": 365, "W": 52, "Y": 6}[unit]
    elif unit == "D":
        assert int(count) * DAY >= span + DAY, "a day may be a session, and the first one is under way"


@given(timeframes, moments, lengths)
def test_the_requests_for_a_range_cover_it_without_a_hole_and_within_the_limits(timeframe, start, length):
    end = start + length
    asked = list(spans(start, end, LATER, timeframe))
    assert asked
    reached = start
    for span in asked:
        assert length_of(span.duration) <= timeframe.limit
        assert end_of(span) - length_of(span.duration) <= reached, "no hole before it"
        reached = end_of(span)
    assert reached > end
    if not timeframe.is_intraday:
        assert reached >= end + timeframe.length, "the last bar is whole, wherever its day begins"
        assert end_of(asked[0]) - length_of(asked[0].duration) <= start - timeframe.length, "and so is the first"


@given(timeframes.filter(lambda timeframe: timeframe.is_intraday), moments, st.floats(0, 1))
def test_a_run_of_bars_as_long_as_allowed_is_one_request_where_bars_begin_at_multiples_of_their_length(
    timeframe, start, part
):
    begin = start - (start - datetime(1, 1, 1, tzinfo=UTC)) % timeframe.length
    bars = 1 + int(part * (timeframe.longest // timeframe.length - 1))
    end = begin + bars * timeframe.length - timedelta(seconds=1)
    (span,) = spans(begin, end, LATER, timeframe)
    assert end_of(span) >= begin + bars * timeframe.length, "the last bar is whole"


@EVERY_TIMEFRAME
def test_a_range_as_long_as_is_allowed_is_one_request_even_where_bars_begin_off_their_multiples(timeframe):
    for lead in (timedelta(), timedelta(minutes=45)):
        begin = datetime(2020, 1, 6, 22, 15, tzinfo=UTC)
        room = timeframe.length if timeframe.is_intraday else timedelta()
        end = begin + timeframe.longest - room - lead - timedelta(seconds=1)
        assert len(list(spans(begin, end, LATER, timeframe))) == 1


def test_nothing_is_asked_past_the_present():
    now = datetime(2020, 1, 10, 12, tzinfo=UTC)
    (span,) = spans(datetime(2020, 1, 9, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC), now, TIMEFRAMES["1h"])
    assert span == ("20200110-12:00:00", "3 D")
    assert not list(spans(now + DAY, now + 2 * DAY, now, TIMEFRAMES["1h"]))


def test_an_end_is_told_in_utc():
    end = datetime.fromisoformat("2020-01-10T12:00:00-05:00")
    (span,) = spans(end - DAY, end, LATER, TIMEFRAMES["1h"])
    assert span.end == "20200110-18:00:00"


@EVERY_TIMEFRAME
def test_a_calendars_first_and_last_days_have_bars_as_any_other(timeframe):
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    now = datetime(2020, 1, 10, 12, tzinfo=UTC)
    assert not list(spans(first, first + 5 * DAY, now, timeframe))
    assert not list(spans(last - DAY, last, now, timeframe))
    assert list(spans(now - DAY, last, now, timeframe)) == list(spans(now - DAY, now, now, timeframe))
    assert next(spans(first, last, now, timeframe)).end.startswith("19")
