"""Explicit dates mean what they say, in every form; the mode fills in the rest."""

from datetime import UTC, date, datetime, timedelta, timezone

import pandas as pd
import pytest

from symcache_core.errors import ConfigurationError
from symcache_core.loading.plan.ranges import DateRange, check_mode, resolve

DAY = datetime(2013, 3, 1, tzinfo=UTC)
NOW = datetime(2013, 3, 1, 22, tzinfo=UTC)
HEAD = datetime(2004, 8, 19, tzinfo=UTC)
YEAR = timedelta(days=365)
LOCAL = pd.DatetimeIndex(["2010-01-04", "2010-01-05", "2010-01-06"], tz="UTC")
NONE = LOCAL[:0]


@pytest.mark.parametrize(
    "start",
    [
        "2013-03-01",
        " 2013-03-01 ",
        "2013-03-01T00:00:00",
        "2013-03-01T00:00:00Z",
        "2013-02-28T19:00:00-05:00",
        date(2013, 3, 1),
        datetime(2013, 3, 1),  # noqa: DTZ001  # a time without a zone is the point
        DAY,
        datetime(2013, 2, 28, 19, tzinfo=timezone(timedelta(hours=-5))),
        pd.Timestamp("2013-03-01"),
        pd.Timestamp("2013-02-28T19:00", tz="America/New_York"),
        pd.Timestamp("2013-03-01", tz="UTC").as_unit("ns") + pd.Timedelta(1, "ns"),
    ],
)
def test_one_moment_can_be_written_in_many_ways_and_without_a_zone_is_utc(start):
    parsed = DateRange.parse(start, None)
    assert parsed == DateRange(DAY, None)
    assert type(parsed.start) is datetime


@pytest.mark.parametrize("end", ["2013-03-01", date(2013, 3, 1)])
def test_an_end_without_a_time_means_the_whole_day(end):
    assert DateRange.parse(None, end).end == DAY + timedelta(days=1) - timedelta(microseconds=1)


def test_an_end_with_a_time_means_that_moment():
    assert DateRange.parse(None, "2013-03-01T14:30").end == datetime(2013, 3, 1, 14, 30, tzinfo=UTC)


def test_start_and_end_may_be_the_same_day():
    assert DateRange.parse("2013-03-01", "2013-03-01").start == DAY


@pytest.mark.parametrize(
    ("start", "end", "names"),
    [
        ("2013-03-02", "2013-03-01", "start_date 2013-03-02 is after end_date 2013-03-01"),
        ("1 March", None, "start_date '1 March'"),
        (None, "", "end_date ''"),
        (pd.NaT, None, "start_date"),
        (20130301, None, "start_date 20130301"),
    ],
)
def test_a_date_that_makes_no_sense_is_an_error_that_names_it(start, end, names):
    with pytest.raises(ConfigurationError, match=names):
        DateRange.parse(start, end)


@pytest.mark.parametrize(
    ("mode", "local", "expected"),
    [
        ("tail", LOCAL, DateRange(LOCAL[0], NOW)),
        ("tail", NONE, DateRange(NOW - YEAR, NOW)),
        ("backfill", LOCAL, DateRange(HEAD, LOCAL[-1])),
        ("backfill", NONE, DateRange(HEAD, NOW)),
        ("full", LOCAL, DateRange(HEAD, NOW)),
        ("full", NONE, DateRange(HEAD, NOW)),
        ("local", LOCAL, DateRange(LOCAL[0], NOW)),
        ("local", NONE, DateRange(HEAD, NOW)),
    ],
)
def test_a_mode_says_where_to_look(mode, local, expected):
    assert resolve(DateRange(), mode, local, HEAD, NOW, YEAR) == expected


@pytest.mark.parametrize("mode", ["tail", "backfill", "full", "local"])
def test_explicit_dates_win_over_every_mode(mode):
    asked = DateRange.parse("2007-01-01", "2008-01-01")
    assert resolve(asked, mode, LOCAL, HEAD, NOW, YEAR) == asked


def test_a_tail_with_an_end_of_its_own_goes_back_from_there():
    asked = DateRange.parse(None, "2008-01-01T00:00")
    assert resolve(asked, "tail", NONE, HEAD, NOW, YEAR).start == datetime(2007, 1, 1, tzinfo=UTC)


def test_a_start_before_the_first_bar_moves_there_and_a_later_one_stays():
    late = DateRange(DAY, None)
    assert late.clamp(HEAD) == late
    assert late.clamp(None) == late
    assert DateRange(HEAD - YEAR, DAY).clamp(HEAD) == DateRange(HEAD, DAY)


def test_an_unknown_mode_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError, match="'head': use one of tail, backfill, full, local"):
        check_mode("head")
