"""The table of exchanges: names of Interactive Brokers, each with the hours of its stocks, futures and indices."""

import os
import signal
import threading

import exchange_calendars
import pytest
from patience import PATIENCE

from symcache_core.loading.calendars import rules
from symcache_core.loading.calendars.exchanges import exchange_of, exchanges, market_kind
from symcache_core.loading.calendars.hours import Hours
from symcache_core.loading.calendars.rules import usual_hours

NAMES = """
    TSE VENTURE LSE LSEETF LSEIOB1 IBIS IBIS2 FWB FWB2 SWB SWB2 GETTEX TGATE SBF AEB ENEXT.BE BVME BVME.ETF BM BVL EBS
    VIRTX SFB OMXNO OSE HEX CPH N.RIGA N.TALLINN N.VILNIUS ISED VSE WSE PRA BUX SEHK SEHKNTL SEHKSZSE SEHKSTAR TSEJ
    CHIXJ KSE SGX ASX NSE BSE MEXI BURSAMY TADAWUL TASE PINK NYSE NASDAQ ISLAND ARCA AMEX BATS IEX AEQLIT NEOE PURE CSE
    CME CBOT GLOBEX ECBOT NYMEX COMEX CFE EUREX DTB HKFE OSE.JPN ICEEU IPE LIFFE ICEUS NYBOT MEFFRV IDEM ENDEX MONEP FTA
    MATIF BELFOX SNFE CDE SOFFEX OMS CBOE
""".split()
BOTH = [("SGX", "XSES"), ("KSE", "XKRX"), ("NSE", "XBOM"), ("ASX", "XASX")]
ROWS = list(exchanges().values())


def test_the_table_has_at_least_ninety_exchanges_and_every_well_known_one():
    known = {row.exchange for row in ROWS}
    assert len(known) >= 90
    assert {*NAMES} <= known


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.exchange}-{row.kind}")
def test_every_row_says_when_its_exchange_trades_and_who_says_so(row):
    assert row.kind in ("STK", "FUT", "IND", "*")
    assert row.exchange == row.exchange.strip().upper()
    assert row.calendar or row.hours is not None
    assert row.source.startswith("https://")


@pytest.mark.once
def test_every_calendar_is_there_and_can_be_made():
    names = {row.calendar for row in ROWS if row.calendar}
    assert names <= {*exchange_calendars.get_calendar_names(include_aliases=False)}
    assert [name for name in sorted(names) if usual_hours(name) is None] == []


@pytest.mark.parametrize(("exchange", "calendar"), BOTH)
def test_a_name_of_two_markets_has_the_hours_of_each(exchange, calendar):
    stocks, futures = exchange_of(exchange, "STK"), exchange_of(exchange, "FUT")
    assert stocks.calendar == calendar
    assert futures.calendar == ""
    assert futures.hours is not None


def test_no_future_has_a_stock_exchanges_hours():
    stocks = {row.calendar for row in ROWS if row.kind == "STK"}
    assert {row.calendar for row in ROWS if row.kind == "FUT"} & stocks - {""} == set()
    assert exchange_of("LSE", "FUT") is None
    assert exchange_of("EUREX", "STK") is None


def test_a_name_is_found_in_any_case_and_for_the_kinds_that_trade_alike():
    assert exchange_of("Nasdaq", "STK").calendar == "XNYS"
    assert exchange_of("NYSE Arca", market_kind("ETF")).calendar == "XNYS"
    assert exchange_of("eurex", market_kind("CONTFUT")).hours.zone == "Europe/Berlin"
    assert exchange_of("NO SUCH EXCHANGE", "STK") is None
    assert exchange_of("", "STK") is None


def test_hours_are_read_from_text():
    night_and_day = Hours.parse("Asia/Tokyo 16:30-06:00+08:45-15:45")
    assert night_and_day.pieces == ((990, 360), (525, 945))
    assert (night_and_day.begin, night_and_day.end, night_and_day.days) == (990, 945, (0, 1, 2, 3, 4))
    assert Hours.parse("UTC 00:00-24:00 0123456") == Hours("UTC", ((0, 1440),), tuple(range(7)))


@pytest.mark.parametrize(
    "text",
    ["", "UTC", "Nowhere/At_All 09:00-10:00", "UTC 25:00-26:00", "UTC 9:00-10:00", "UTC 09:00", "UTC 24:30-08:00"],
)
def test_what_does_not_say_hours_is_refused(text):
    with pytest.raises((ValueError, TypeError)):
        Hours.parse(text)


def test_a_child_builds_sessions_while_a_thread_of_its_parent_does():
    has_it, over = threading.Event(), threading.Event()

    def hold():
        with rules._building.lock:
            has_it.set()
            over.wait()

    threading.Thread(target=hold, daemon=True).start()
    assert has_it.wait(PATIENCE)
    try:
        if (child := os.fork()) == 0:
            signal.alarm(int(PATIENCE / 2))
            with rules._building.lock:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        over.set()
