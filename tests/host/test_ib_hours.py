"""Trading hours are read from every form in which Interactive Brokers writes them."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symcache_host.ib.hours import trading_hours, zone_of

STOCK = (
    "20261121:CLOSED;20261122:CLOSED;20261123:{0}-20261123:{1};20261124:{0}-20261124:{1};20261125:{0}-20261125:{1};"
    "20261126:CLOSED;20261127:{0}-20261127:1300"
)


def named(name, start, end):
    return {"start": start, "end": end, "name": name}


def test_a_stock_has_regular_and_extended_hours_and_a_holiday_is_no_weekend():
    assert trading_hours(STOCK.format("0400", "2000"), STOCK.format("0930", "1600"), "US/Eastern") == {
        "timezone": "America/New_York",
        "regular_hours": named("Regular", "09:30", "16:00"),
        "extended_hours": [named("Pre-Market", "04:00", "09:30"), named("After-Hours", "16:00", "20:00")],
        "trading_days": [0, 1, 2, 3, 4],
        "holidays": ["2026-11-26"],
    }


@pytest.mark.parametrize(
    "text",
    [
        ";".join(f"202611{day}:1715-202611{day + 1}:1700" for day in range(22, 27)) + ";20261128:CLOSED",
        "20261123:1715-1700;20261124:1715-1700;20261125:1715-1700;20261126:1715-1700;20261127:1715-1700;20261128:CLOSED",
    ],
    ids=["with both dates", "in the older form"],
)
def test_a_session_over_midnight_belongs_to_the_day_on_which_it_ends(text):
    hours = trading_hours(text, text, "US/Eastern")
    assert hours["regular_hours"] == named("Regular", "17:15", "17:00")
    assert (hours["trading_days"], hours["holidays"], hours["extended_hours"]) == ([0, 1, 2, 3, 4], [], [])


def test_a_future_trades_through_the_night_and_a_day_may_have_several_sessions():
    trading = "20130114:1700-1515,1530-1615;20130115:1700-1515,1530-1615"
    hours = trading_hours(trading, "20130114:0830-1515;20130115:0830-1515", "CST (Central Standard Time)")
    assert hours["timezone"] == "America/Chicago"
    assert hours["regular_hours"] == named("Regular", "08:30", "15:15")
    assert hours["extended_hours"] == [
        named("Pre-Market", "17:00", "08:30"),
        named("After-Hours", "15:15", "16:15"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "20261124:0900-20261124:1130;20261124:1230-20261124:1530",
        "20261124:0900-20261124:1130,20261124:1230-20261124:1530",
        "20261124:0900-1130,1230-1530",
    ],
)
def test_a_lunch_break_lies_within_the_day(text):
    assert trading_hours(text, text, "JST")["regular_hours"] == named("Regular", "09:00", "15:30")


def test_what_trades_around_the_clock_trades_every_day():
    text = ";".join(f"202611{day}:0000-202611{day + 1}:0000" for day in range(16, 23))
    hours = trading_hours(text, text, "EST5EDT")
    assert (hours["trading_days"], hours["regular_hours"]) == (
        [0, 1, 2, 3, 4, 5, 6],
        named("Regular", "00:00", "00:00"),
    )


def test_a_market_with_a_week_of_its_own_has_no_holiday_on_its_weekend():
    days = ["22", "23", "24", "25", "26"]
    text = ";".join([f"202611{day}:0959-202611{day}:1725" for day in days] + ["20261127:CLOSED", "20261128:CLOSED"])
    hours = trading_hours(text, text, "Israel")
    assert (hours["timezone"], hours["trading_days"], hours["holidays"]) == ("Asia/Jerusalem", [0, 1, 2, 3, 6], [])


def test_without_liquid_hours_the_trading_hours_are_the_regular_ones():
    assert trading_hours("20261124:0900-20261124:1730", "", "MET")["regular_hours"] == named(
        "Regular", "09:00", "17:30"
    )


@pytest.mark.parametrize(
    ("trading", "zone"),
    [
        ("", "US/Eastern"),
        ("20261128:CLOSED", "US/Eastern"),
        ("20261124:0900-20261124:1730", ""),
        ("20261124:0900-20261124:1730", "Middle/Earth"),
        ("20261345:0900-20261345:1730", "MET"),
        ("00010101:0930-00010101:0000", "MET"),
        ("20261124:2500-20261124:1799", "MET"),
        ("nonsense;:;20261124:;-", "MET"),
    ],
)
def test_what_is_not_told_or_not_understood_is_none(trading, zone):
    assert trading_hours(trading, trading, zone) is None


@given(st.text(alphabet="0123456789:-;,CLOSED "), st.text())
def test_no_text_makes_it_fail(text, zone):
    trading_hours(text, text, "US/Eastern")
    zone_of(zone)


@pytest.mark.parametrize(
    ("told", "zone"),
    [
        ("US/Eastern", "America/New_York"),
        ("EST (Eastern Standard Time)", "America/New_York"),
        ("EST5EDT", "America/New_York"),
        ("GB-Eire", "Europe/London"),
        ("MET", "Europe/Brussels"),
        ("Hongkong", "Asia/Hong_Kong"),
        ("Japan", "Asia/Tokyo"),
        ("Australia/NSW", "Australia/Sydney"),
        ("Asia/Calcutta", "Asia/Kolkata"),
        ("Europe/Zurich", "Europe/Zurich"),
    ],
)
def test_its_names_of_time_zones_are_known(told, zone):
    assert zone_of(told) == ZoneInfo(zone)


@pytest.mark.parametrize("told", ["", "Middle/Earth", "../../etc/passwd", "/etc/passwd", "A\x00B"])
def test_another_name_is_no_time_zone(told):
    assert zone_of(told) is None
