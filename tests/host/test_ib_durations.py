"""What is asked for bars covers what was wanted, in the units and within the limits of Interactive Brokers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symcache_host.ib.durations import BAR_SIZES, duration, spans

DAY = timedelta(days=1)
LATER = datetime(2030, 1, 1, tzinfo=UTC)
UNITS = {"S": timedelta(seconds=1), "D": DAY, "W": 7 * DAY, "Y": 365 * DAY}

moments = st.integers(0, 20 * 365 * 86_400_000_000).map(
    lambda passed: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=passed)
)
lengths = st.timedeltas(timedelta(), timedelta(days=900))
sizes = st.sampled_from(sorted(BAR_SIZES))


def length_of(text):
    count, unit = text.split(" ")
    return int(count) * UNITS[unit]


def end_of(span):
    return datetime.strptime(span.end, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("timeframe", "span", "text"),
    [
        ("1m", timedelta(hours=1), "3600 S"),
        ("1m", timedelta(seconds=1, microseconds=1), "2 S"),
        ("1m", DAY, "86400 S"),
        ("5m", DAY + timedelta(seconds=1), "2 D"),
        ("1h", 30 * DAY, "30 D"),
        ("4h", 119 * DAY + timedelta(seconds=1), "120 D"),
        ("1d", timedelta(hours=1), "1 D"),
        ("1d", 365 * DAY, "365 D"),
        ("1d", 366 * DAY, "2 Y"),
        ("1w", DAY, "1 W"),
        ("1w", 15 * DAY, "3 W"),
        ("1w", 364 * DAY, "52 W"),
        ("1w", 365 * DAY, "1 Y"),
        ("1w", 730 * DAY, "2 Y"),
    ],
)
def test_a_duration_is_rounded_up_to_whole_units(timeframe, span, text):
    assert duration(span, BAR_SIZES[timeframe]) == text


@given(sizes, st.timedeltas(timedelta(seconds=1), timedelta(days=2000)))
def test_a_duration_never_falls_short_and_keeps_to_its_units(timeframe, span):
    text = duration(span, BAR_SIZES[timeframe])
    assert re.fullmatch(r"[1-9]\d* [SDWY]", text)
    assert length_of(text) >= span
    count, unit = text.split(" ")
    assert int(count) <= {"S": 86_400, "D": 365, "W": 52, "Y": 6}[unit]


@given(sizes, moments, lengths)
def test_the_requests_for_a_range_cover_it_without_a_hole_and_within_the_limits(timeframe, start, length):
    size, end = BAR_SIZES[timeframe], start + length
    asked = list(spans(start, end, LATER, size))
    assert asked
    reached = start
    for span in asked:
        assert length_of(span.duration) <= size.longest
        assert end_of(span) - length_of(span.duration) <= reached, "no hole before it"
        reached = end_of(span)
    assert reached > end
    if not size.is_intraday:
        assert reached >= end + size.length, "the last bar is whole, wherever its day begins"
        assert end_of(asked[0]) - length_of(asked[0].duration) <= start - size.length, "and so is the first"


@given(st.sampled_from(["1m", "5m", "15m", "30m", "1h", "2h", "4h"]), moments, st.floats(0, 1))
def test_a_run_of_bars_as_long_as_allowed_is_one_request_where_bars_begin_at_multiples_of_their_length(
    timeframe, start, part
):
    size = BAR_SIZES[timeframe]
    begin = start - (start - datetime(1, 1, 1, tzinfo=UTC)) % size.length
    bars = 1 + int(part * (size.longest // size.length - 1))
    end = begin + bars * size.length - timedelta(seconds=1)
    (span,) = spans(begin, end, LATER, size)
    assert end_of(span) >= begin + bars * size.length, "the last bar is whole"


def test_nothing_is_asked_past_the_present():
    now = datetime(2020, 1, 10, 12, tzinfo=UTC)
    (span,) = spans(datetime(2020, 1, 9, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC), now, BAR_SIZES["1h"])
    assert span == ("20200110-12:00:00", "2 D")
    assert not list(spans(now + DAY, now + 2 * DAY, now, BAR_SIZES["1h"]))


def test_an_end_is_told_in_utc():
    end = datetime.fromisoformat("2020-01-10T12:00:00-05:00")
    (span,) = spans(end - DAY, end, LATER, BAR_SIZES["1h"])
    assert span.end == "20200110-18:00:00"


@pytest.mark.parametrize("timeframe", BAR_SIZES)
def test_a_calendars_first_and_last_days_have_bars_as_any_other(timeframe):
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    size, now = BAR_SIZES[timeframe], datetime(2020, 1, 10, 12, tzinfo=UTC)
    assert not list(spans(first, first + 5 * DAY, now, size))
    assert not list(spans(last - DAY, last, now, size))
    assert list(spans(now - DAY, last, now, size)) == list(spans(now - DAY, now, now, size))
    assert next(spans(first, last, now, size)).end.startswith("19")
