"""Bars reach back, and begin, as those of Interactive Brokers do; the unmodified ib_async asks for them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ib_async import Contract, Crypto, Forex, Stock
from tws.asking import answers

FUTURE = Contract(secType="FUT", localSymbol="ESH3", exchange="CME")
APPLE = Stock("AAPL", "SMART", "USD")
EURO = Forex("EURUSD")
COIN = Crypto("BTC", "PAXOS", "USD")

MIDNIGHT = "20130227 00:00:00 US/Central"


def bars(contract, end, duration, size, rth=False):
    what = {"CASH": "MIDPOINT", "CRYPTO": "AGGTRADES"}.get(contract.secType, "TRADES")
    return answers(
        lambda ib: ib.reqHistoricalDataAsync(contract, end, duration, size, what, rth, formatDate=2),
    )[0]


def ends(contract, end, duration, size, rth=False):
    found = bars(contract, end, duration, size, rth)
    return str(found[0].date)[:16], str(found[-1].date)[:16]


@pytest.mark.parametrize(
    ("duration", "first"),
    [
        ("1 D", "2013-02-26 23:00"),  # the session of the 27th has begun at 17:00 in Chicago
        ("2 D", "2013-02-25 23:00"),
        ("3 D", "2013-02-24 23:00"),
        ("86400 S", "2013-02-26 06:00"),
    ],
)
def test_days_are_sessions_with_the_one_that_is_under_way_and_seconds_are_those_of_the_clock(duration, first):
    assert ends(FUTURE, MIDNIGHT, duration, "1 hour") == (first, "2013-02-27 05:00")


@pytest.mark.parametrize(
    ("end", "duration", "size", "first", "last"),
    [
        ("20130225-15:00:00", "2 D", "1 hour", "2013-02-22 14:30", "2013-02-25 14:30"),  # Friday and half an hour
        ("20130225-13:00:00", "1 D", "1 hour", "2013-02-22 14:30", "2013-02-22 20:00"),  # before it opens: the last one
        ("20130219-22:00:00", "2 D", "1 hour", "2013-02-15 14:30", "2013-02-19 20:00"),  # the 18th was a holiday
        ("20130219-22:00:00", "2 D", "1 day", "2013-02-15", "2013-02-19"),
        ("20130228-23:00:00", "250 D", "1 day", "2012-03-01", "2013-02-28"),
    ],
)
def test_sessions_are_those_in_which_the_contract_was_traded(end, duration, size, first, last):
    assert ends(APPLE, end, duration, size, rth=True) == (first, last)


@pytest.mark.parametrize(
    ("contract", "size", "rth", "begins"),
    [
        (APPLE, "1 hour", True, "09:30 10:00 11:00 12:00 13:00 14:00 15:00"),
        (APPLE, "2 hours", True, "09:30 10:00 12:00 14:00"),
        (APPLE, "3 hours", True, "09:30 12:00 15:00"),
        (APPLE, "4 hours", True, "09:30 12:00"),
        (APPLE, "4 hours", False, "04:00 08:00 12:00 16:00"),
        (FUTURE, "1 hour", True, "08:30 09:00 10:00 11:00 12:00 13:00 14:00 15:00"),
        (FUTURE, "4 hours", False, "17:00 20:00 00:00 04:00 08:00 12:00"),
        (EURO, "4 hours", False, "17:15 20:00 00:00 04:00 08:00 12:00 16:00"),
        (COIN, "4 hours", False, "00:00 04:00 08:00 12:00 16:00 20:00"),
    ],
)
def test_the_first_bar_begins_with_the_session_and_the_others_at_full_hours(contract, size, rth, begins):
    zone = {"FUT": "US/Central"}.get(contract.secType, "US/Eastern")
    found = bars(contract, f"20130227 17:00:00 {zone}" if contract != COIN else "20130228-04:59:00", "1 D", size, rth)
    hours = -6 if contract == FUTURE else -5
    assert [f"{(bar.date.hour + hours) % 24:02}:{bar.date.minute:02}" for bar in found] == begins.split()


def test_a_currencys_day_begins_at_a_quarter_past_five_in_new_york():
    found = bars(EURO, "20130301-21:59:59", "1 D", "1 hour")
    assert [bar.date for bar in found[:2]] == [datetime(2013, 2, 28, 22, minute, tzinfo=UTC) for minute in (15,)] + [
        datetime(2013, 2, 28, 23, tzinfo=UTC)
    ]
    assert len(found) == 24
    assert [str(bar.date)[14:16] for bar in bars(EURO, "20130228-22:59:00", "1 D", "15 mins")] == ["15", "30", "45"]


@pytest.mark.parametrize(
    "end",
    [
        "20130226-21:00:00",
        "20130226 21:00:00 UTC",
        "20130226 16:00:00 US/Eastern",
        "20130226 15:00:00 America/Chicago",
        "20130226 22:00:00 MET",
        "20130226 16:00:00",
        datetime(2013, 2, 26, 21, tzinfo=UTC),
    ],
    ids=str,
)
def test_an_end_is_understood_in_either_form(end):
    assert ends(APPLE, end, "1 D", "1 hour", rth=True) == ("2013-02-26 14:30", "2013-02-26 20:00")


@pytest.mark.parametrize(
    "end",
    ["20130226 16:00:00 EDT", "20130226 16:00:00 No/Where", "20130226", "2013-02-26 16:00:00", "20130226-16:00:00 UTC"],
)
def test_an_end_that_is_none_is_refused(end):
    assert bars(APPLE, end, "1 D", "1 hour", rth=True)[0] == 10314


def test_without_an_end_it_is_now():
    assert ends(APPLE, "", "1 D", "1 hour", rth=True) == ("2013-03-01 14:30", "2013-03-01 20:00")
