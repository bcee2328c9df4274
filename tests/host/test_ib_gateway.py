"""The ib gateway says what Interactive Brokers says, and takes nothing for a verdict that is none."""

from __future__ import annotations

import asyncio
import csv
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files

import pytest
from patience import PATIENCE
from tws.codes import PACING
from tws.listings import as_written_there
from tws.looptime import run
from tws.market import NOW
from tws.process import TwsProcess
from tws.server import SimulatedTws

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.errors import (
    InvalidSymbolError,
    ProviderError,
    ProviderPacingError,
    ProviderPermissionError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    SymbolNotFoundError,
)
from symcache_core.symbols import Instrument
from symcache_host.gateway import Caller, Priority
from symcache_host.ib.codes import ERRORS, TABLE, Meaning, classify
from symcache_host.ib.connection import IbConnection
from symcache_host.ib.connectivity import SETTLING
from symcache_host.ib.gateway import HINTS_TIMEOUT, SECOND_LOOK, UNKNOWN_FOR, IbGateway
from symcache_host.ib.limits import MARGIN, MESSAGES_PER_SECOND
from symcache_host.ib.paced_client import HEAD_TIMEOUT, SILENT
from symcache_host.ib.resets import reset_ends
from symcache_host.replay import ReplayGateway
from symcache_host.service import AT_ONCE, FAULT, HostService
from symcache_host.wire import LARGEST_BATCH, BatchCallOptions, HistoricalRequest

CALLER = Caller()
TIMEOUT = 20.0
HOUR = timedelta(hours=1)
NIGHT = datetime(2013, 2, 28, 4, 50, tzinfo=UTC)  # 23:50 in New York


def on(day):
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


@asynccontextmanager
async def connected(now=NOW, **options):
    """A simulated TWS, and a gateway whose clock goes with the loop's."""
    loop = asyncio.get_running_loop()

    def clock():
        return now.timestamp() + loop.time()

    async with SimulatedTws(now=now, **options) as tws:
        connection = IbConnection("127.0.0.1", tws.port, request_timeout=TIMEOUT, clock=clock)
        gateway = IbGateway(connection, clock=clock)
        await gateway.open()
        try:
            yield tws, gateway
        finally:
            await gateway.aclose()


def told(story, **options):
    """What a story about a simulated TWS and a gateway gives."""

    async def main():
        async with connected(**options) as (tws, gateway):
            return await story(tws, gateway)

    return run(main())


def answer(symbol, *timeframes, **options):
    return told(lambda _tws, gateway: gateway.validate(symbol, timeframes, CALLER), **options)


@pytest.mark.parametrize(
    ("symbol", "kind", "exchange", "currency", "head"),
    [
        ("AAPL", "STK", "NASDAQ", "USD", "2000-03-01T14:30:00+00:00"),
        ("brk.b", "STK", "NYSE", "USD", "2005-03-10T14:30:00+00:00"),
        ("RY", "STK", "NYSE", "USD", "2005-03-10T14:30:00+00:00"),
        ("RY@TSE:CAD", "STK", "TSE", "CAD", "2005-03-10T14:30:00+00:00"),
        ("VOD@LSE", "STK", "LSE", "GBP", "2005-03-10T08:00:00+00:00"),
        ("EUR/USD", "CASH", "IDEALPRO", "USD", "2005-03-09T22:15:00+00:00"),
        ("FUT:ESM3@CME", "FUT", "CME", "USD", "2005-03-09T23:00:00+00:00"),
        ("FUT:ES 201306@CME", "FUT", "CME", "USD", "2005-03-09T23:00:00+00:00"),
        ("CRYPTO:BTC", "CRYPTO", "PAXOS", "USD", "2005-03-10T05:00:00+00:00"),
        ("CRYPTO:LTC", "CRYPTO", "ZEROHASH", "USD", "2005-03-10T05:00:00+00:00"),
    ],
)
def test_every_kind_of_contract_is_found_with_its_head_timestamp(symbol, kind, exchange, currency, head):
    found = answer(symbol, "1d", "1h")
    contract = found.result.contract_info
    assert found.result.is_valid
    assert (contract.asset_type, contract.exchange, contract.currency) == (kind, exchange, currency)
    assert contract.contract["conId"] > 0
    assert contract.trading_hours["timezone"]
    assert found.result.head_timestamps == {"1d": head, "1h": head}
    assert found.one_head_timestamp
    assert (found.provenance.gateway, found.provenance.provider, found.provenance.code) == ("ib", "ib", None)


def test_one_ticker_in_new_york_and_in_toronto_is_two_instruments():
    async def story(_tws, gateway):
        return [
            (await gateway.validate(symbol, [], CALLER)).result.contract_info.contract["conId"]
            for symbol in ("RY", "RY@NYSE", "RY@TSE", "RY@TSE:CAD")
        ]

    new_york, same, toronto, same_there = told(story)
    assert (new_york, toronto) == (same, same_there)
    assert new_york != toronto


def test_an_ambiguous_symbol_is_the_primary_listing_and_says_so():
    details = answer("INTC").result.contract_info.details
    assert details["alternatives"] == ("INTC@EBS:USD",)
    assert "ambiguous" in details["note"]


def test_a_future_is_valid_until_its_last_day_is_over():
    found = answer("FUT:ESM3@CME")
    assert found.result.contract_info.last_trade_date == date(2013, 6, 21)
    assert found.valid_until == datetime(2013, 6, 22, 5, tzinfo=UTC).timestamp()


def test_one_head_timestamp_serves_all_timeframes_and_none_is_asked_for_without_one():
    async def story(tws, gateway):
        await gateway.validate("AAPL", ["1m", "1h", "1d", "1w"], CALLER)
        await gateway.validate("IBM", [], CALLER)
        return tws.counts()

    counts = told(story)
    assert counts["requests"] == {"details": 2, "head": 1}
    assert counts["open_slots"] == 0


def test_a_confirmed_negative_took_two_looks_some_seconds_apart():
    async def story(tws, gateway):
        return await gateway.validate("NOSUCH", ["1d"], CALLER), asyncio.get_running_loop().time(), tws.counts()

    found, took, counts = told(story)
    assert (found.result.is_valid, found.confirmed, found.provenance.code) == (False, True, "200")
    assert counts["requests"] == {"details": 2}
    assert took >= SECOND_LOOK


def test_a_coin_is_looked_for_at_every_exchange_before_it_is_unknown():
    async def story(tws, gateway):
        return await gateway.validate("CRYPTO:NOSUCH", [], CALLER), tws.counts()

    found, counts = told(story)
    assert not found.result.is_valid
    assert counts["requests"] == {"details": 4}


@pytest.mark.parametrize("symbol", ["AAPL@NYSE", "RY@TSE:USD", "FUT:ESM3@CBOT"])
def test_a_listing_elsewhere_is_another_instrument(symbol):
    assert not answer(symbol).result.is_valid


def test_a_false_200_is_found_out_by_the_second_look():
    async def story(tws, gateway):
        tws.fault("details", code=200, times=1)
        return await gateway.validate("AAPL", [], CALLER)

    assert told(story).result.is_valid


@pytest.mark.parametrize("code", [2103, 2105, 2157])
@pytest.mark.parametrize("when", [0.0, SECOND_LOOK - 1])
def test_a_200_with_a_farm_down_proves_nothing(code, when):
    async def story(tws, gateway):
        await gateway.validate("AAPL", [], CALLER)
        asyncio.get_running_loop().call_later(when, tws.notice, code)
        await asyncio.sleep(0)
        if not when:
            while not gateway.status()["farms_down"]:
                await asyncio.sleep(0.01)
        with pytest.raises(ProviderUnavailableError, match="proves nothing") as refused:
            await gateway.validate("NOSUCH", [], CALLER)
        assert refused.value.code == "200"

    told(story)


FLAPS = {
    "within the first look": (0.1, 0.2),
    "between both": (1, 3),
    "over both": (0.1, 5.5),
    "in both": (0.1, 0.2, 5.4, 5.5),
}


@pytest.mark.parametrize("moments", FLAPS.values(), ids=FLAPS)
@pytest.mark.parametrize(("down", "up"), [(2103, 2104), (2105, 2106), (2157, 2158), (2105, 2107), (2103, 2108)])
def test_two_negatives_around_a_farm_that_was_down_prove_nothing(moments, down, up):
    async def story(tws, gateway):
        await gateway.validate("IBM", [], CALLER)
        tws.fault("details", code=200)
        for number, moment in enumerate(moments):
            asyncio.get_running_loop().call_later(moment, tws.notice, up if number % 2 else down)
        with pytest.raises(ProviderUnavailableError, match="proves nothing"):
            await gateway.validate("AAPL", [], CALLER)
        await asyncio.sleep(10 + SETTLING.total_seconds())
        assert not (await gateway.validate("AAPL", [], CALLER)).result.is_valid

    told(story, latency=0.3)


@pytest.mark.parametrize("down", [0.1, 5, 15.6, 16.0])
def test_no_bars_around_a_farm_for_history_that_was_down_prove_nothing(down):
    async def story(tws, gateway):
        await gateway.validate("AAPL", [], CALLER)
        tws.fault("bars", code=162)
        asyncio.get_running_loop().call_later(down, tws.notice, 2105)
        asyncio.get_running_loop().call_later(down + 0.05, tws.notice, 2106)
        with pytest.raises(ProviderUnavailableError):
            await ASK["bars"](gateway)

    told(story, latency=0.3)


def test_what_a_tws_says_that_has_only_just_started_proves_nothing():
    async def story(tws, gateway):
        await tws.stop()
        second = IbConnection("127.0.0.1", tws.port, clock=lambda: gateway.as_of().timestamp())
        early = IbGateway(second, clock=lambda: gateway.as_of().timestamp())
        await early.open()
        with pytest.raises(ProviderUnavailableError, match="refused"):
            await early.validate("AAPL", [], CALLER)
        await tws.start()
        tws.fault("details", code=200)
        await second.hurry()
        with pytest.raises(ProviderUnavailableError, match="proves nothing"):
            await early.validate("AAPL", [], CALLER)
        await asyncio.sleep(SETTLING.total_seconds())
        assert not (await early.validate("AAPL", [], CALLER)).result.is_valid
        await early.aclose()

    told(story)


def test_a_200_while_the_servers_restart_proves_nothing_and_says_when_it_would():
    async def story(_tws, gateway):
        with pytest.raises(ProviderUnavailableError, match="restart") as refused:
            await gateway.validate("NOSUCH", [], CALLER)
        return refused.value.retry_after

    assert told(story, now=NIGHT) == pytest.approx(55 * 60, abs=1)


def test_two_negatives_from_both_sides_of_a_lost_connection_prove_nothing():
    async def story(tws, gateway):
        await gateway.validate("AAPL", [], CALLER)
        loop = asyncio.get_running_loop()
        loop.call_later(1, tws.notice, 1100)
        loop.call_later(2, tws.notice, 1102)
        with pytest.raises(ProviderUnavailableError, match="proves nothing"):
            await gateway.validate("NOSUCH", [], CALLER)
        assert gateway.connected
        await asyncio.sleep(SETTLING.total_seconds())
        return await gateway.validate("NOSUCH", [], CALLER)

    assert told(story).confirmed


@pytest.mark.parametrize("code", [1100, 2110])
def test_without_a_way_to_the_broker_nothing_is_answered(code):
    async def story(tws, gateway):
        await gateway.validate("AAPL", [], CALLER)
        tws.notice(code)
        while gateway.connected:
            await asyncio.sleep(0.01)
        for request in (
            gateway.validate("NOSUCH", [], CALLER),
            gateway.validate("AAPL", [], CALLER),
            gateway.bars("AAPL", "1d", on("2012-01-01"), on("2012-02-01"), CALLER),
        ):
            with pytest.raises(ProviderUnavailableError) as refused:
                await request
            assert refused.value.code == str(code)

    told(story)


TRANSIENT = {
    100: ProviderPacingError,
    200: ProviderUnavailableError,
    321: ProviderError,
    326: ProviderUnavailableError,
    354: ProviderPermissionError,
    366: ProviderTimeoutError,
    420: ProviderPacingError,
    502: ProviderUnavailableError,
    504: ProviderUnavailableError,
    1100: ProviderUnavailableError,
    1101: ProviderUnavailableError,
    1102: ProviderUnavailableError,
    2103: ProviderUnavailableError,
    2105: ProviderUnavailableError,
    2110: ProviderUnavailableError,
    10090: ProviderPermissionError,
    10197: ProviderPermissionError,
    99999: ProviderUnavailableError,
}
NOTICES = (2104, 2106, 2158)


async def ask_for_bars(gateway):
    return (await gateway.bars("AAPL", "1d", on("2012-01-01"), on("2012-02-01"), CALLER)).bars


async def ask_for_head(gateway):
    return await gateway.validate("AAPL", ["1d"], CALLER)


async def ask_for_details(gateway):
    return await gateway.validate("AAPL", [], CALLER)


ASK = {"details": ask_for_details, "head": ask_for_head, "bars": ask_for_bars}


def ends(kind, **fault):
    async def story(tws, gateway):
        await gateway.validate("IBM", [], CALLER)
        tws.fault(kind, **fault)
        try:
            return await ASK[kind](gateway)
        except ProviderError as error:
            return error
        finally:
            assert asyncio.get_running_loop().time() < 2 * TIMEOUT, "every request is bounded in time"

    return told(story)


@pytest.mark.parametrize("kind", ["details", "head", "bars"])
@pytest.mark.parametrize("code", TRANSIENT)
def test_each_code_in_each_request_ends_as_the_table_says(kind, code):
    ended, error = ends(kind, code=code, symbol="AAPL"), TRANSIENT[code]
    if (kind, code) == ("details", 200):  # for ever, and with all well: that is what a negative is
        assert (ended.result.is_valid, ended.confirmed) == (False, True)
    elif kind == "head":  # that it is valid was said before
        assert ended.result.is_valid
        assert (ended.result.head_timestamps, ended.provenance.code) == (None, str(code))
    else:
        assert type(ended) is error
        assert ended.code == str(code)


@pytest.mark.parametrize("kind", ["details", "head", "bars"])
@pytest.mark.parametrize("code", NOTICES)
def test_a_notice_for_a_request_does_not_end_it(kind, code):
    assert_no_answer(kind, ends(kind, code=code), ProviderTimeoutError)


@pytest.mark.parametrize("kind", ["details", "head", "bars"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [({"hang": True}, ProviderTimeoutError), ({"drop": True}, ProviderUnavailableError)],
    ids=["hang", "drop"],
)
def test_no_answer_is_no_verdict(kind, fault, error):
    assert_no_answer(kind, ends(kind, **fault), error)


def assert_no_answer(kind, ended, error):
    """It ends in an error; where only the head timestamp is missing, that much is left unanswered."""
    if kind == "head":
        assert (ended.result.is_valid, ended.result.head_timestamps) == (True, None)
        assert ended.provenance.code in (None, SILENT)
    else:
        assert type(ended) is error


@pytest.mark.parametrize("kind", ["details", "head", "bars"])
@pytest.mark.parametrize(
    "says", [words for row in TABLE if row.code == 162 for words in row.says] + ["what nobody has seen before"]
)
def test_a_162_ends_as_its_text_says(kind, says):
    ended, meaning = ends(kind, code=162, text=says), classify(162, says).meaning
    if kind == "bars" and meaning is Meaning.NO_DATA:
        assert ended == []
    elif kind == "head" and meaning is Meaning.NO_DATA:
        assert ended.result.head_timestamps == {"1d": None}
    elif kind == "head":
        assert (ended.result.is_valid, ended.result.head_timestamps, ended.provenance.code) == (True, None, "162")
    else:
        assert type(ended) is ERRORS[meaning]


def test_a_pacing_violation_says_when_to_come_back():
    ended = ends("bars", code=162, text=PACING)
    assert (type(ended), ended.code, ended.retry_after) == (ProviderPacingError, "162", 15.0)


@pytest.mark.parametrize("kind", ["head", "bars"])
def test_no_data_with_a_farm_down_is_none(kind):
    async def story(tws, gateway):
        await gateway.validate("AAPL", [], CALLER)
        tws.notice(2105)
        tws.fault(kind, code=162)
        while not gateway.status()["farms_down"]:
            await asyncio.sleep(0.01)
        if kind == "head":
            assert (await ASK[kind](gateway)).result.head_timestamps is None
        else:
            with pytest.raises(ProviderUnavailableError):
                await ASK[kind](gateway)

    told(story)


def test_bars_are_those_of_the_broker_however_many_requests_they_take():
    async def story(tws, gateway):
        begin, end = on("2009-01-01"), on("2012-12-31")
        recorded = await ReplayGateway(latency=0, as_of=NOW.date()).bars("AAPL", "1d", begin, end, CALLER)
        assert (await gateway.bars("AAPL", "1d", begin, end, CALLER)).bars == recorded.bars
        counts = tws.counts()
        assert (counts["requests"]["bars"], counts["violations"]) == (5, {})

    told(story)


@pytest.mark.parametrize(
    ("symbol", "timeframe", "start", "end", "count", "first", "last"),
    [
        ("AAPL", "1m", "2012-01-03T15:00", "2012-01-03T15:29:59", 30, "2012-01-03T15:00", "2012-01-03T15:29"),
        ("AAPL", "1h", "2012-01-03", "2012-01-03T23:59:59", 7, "2012-01-03T14:30", "2012-01-03T20:00"),
        ("AAPL", "2h", "2012-01-03", "2012-01-03T23:59:59", 4, "2012-01-03T14:30", "2012-01-03T19:00"),
        ("AAPL", "3h", "2012-01-03", "2012-01-03T23:59:59", 3, "2012-01-03T14:30", "2012-01-03T20:00"),
        ("AAPL", "1d", "2012-01-03", "2012-01-03", 1, "2012-01-03", "2012-01-03"),
        ("AAPL", "1w", "2012-01-02", "2012-01-23", 4, "2012-01-02", "2012-01-23"),
        ("AAPL", "1M", "2012-01-01", "2012-12-31", 12, "2012-01-01", "2012-12-01"),
        ("AAPL", "1M", "2012-01-02", "2012-02-01", 1, "2012-02-01", "2012-02-01"),
        ("AAPL", "1M", "2003-01-01", "2012-12-31", 120, "2003-01-01", "2012-12-01"),
        ("EURUSD", "1d", "2012-01-03", "2012-01-05", 3, "2012-01-03", "2012-01-05"),
        ("CRYPTO:BTC", "1d", "2012-01-06", "2012-01-09", 4, "2012-01-06", "2012-01-09"),
        ("AAPL", "1d", "2013-03-01", "2030-01-01", 1, "2013-03-01", "2013-03-01"),
    ],
)
def test_bars_begin_where_they_are_asked_for_and_nowhere_else(symbol, timeframe, start, end, count, first, last):
    bars = told(lambda _tws, gateway: gateway.bars(symbol, timeframe, on(start), on(end), CALLER)).bars
    assert (len(bars), bars[0].time, bars[-1].time) == (count, on(first), on(last))
    assert all(bar.volume >= 0 for bar in bars)


def test_a_months_bar_is_whole_however_little_of_the_month_is_asked_for():
    async def story(_tws, gateway):
        (month,) = (await gateway.bars("AAPL", "1M", on("2012-03-01"), on("2012-03-01"), CALLER)).bars
        return month, (await gateway.bars("AAPL", "1d", on("2012-03-01"), on("2012-03-31"), CALLER)).bars

    month, days = told(story)
    assert month.open == days[0].open
    assert month.close == days[-1].close
    assert month.volume == sum(day.volume for day in days)


@pytest.mark.parametrize(
    ("symbol", "show", "adjustment", "usual"),
    [
        ("AAPL", "TRADES", "split", "regular"),
        ("RY@TSE:CAD", "TRADES", "split", "regular"),
        ("EURUSD", "MIDPOINT", "none", "extended"),
        ("FUT:ESM3@CME", "TRADES", "none", "extended"),
        ("CRYPTO:BTC", "AGGTRADES", "none", "extended"),
    ],
)
def test_bars_say_of_which_contract_they_are_and_what_they_are_made_of(symbol, show, adjustment, usual):
    async def story(_tws, gateway):
        verdict = await gateway.validate(symbol, [], CALLER)
        span = "1h", on("2012-06-04"), on("2012-06-06"), CALLER
        found = {session: await gateway.bars(symbol, *span, session) for session in (None, "regular", "extended")}
        return verdict.result.contract_info.contract, found

    contract, found = told(story)
    assert all(dict(each.contract) == dict(contract) for each in found.values())
    for session, each in found.items():
        assert each.basis.model_dump() == {"show": show, "adjustment": adjustment, "session": session or usual}
    assert found[None] == found[usual]


def test_the_hours_that_are_asked_for_are_those_that_are_given():
    async def story(_tws, gateway):
        day = "1h", on("2012-01-03"), on("2012-01-03T23:59:59"), CALLER
        asked = await asyncio.gather(*(gateway.bars("AAPL", *day, each) for each in ("regular", "extended", None)))
        return [each.bars for each in asked]

    regular, extended, usual = told(story)
    assert usual == regular
    assert (regular[0].time, regular[-1].time) == (on("2012-01-03T14:30"), on("2012-01-03T20:00"))
    assert (extended[0].time, extended[-1].time) == (on("2012-01-03T09:00"), on("2012-01-04T00:00") - HOUR)


def test_bars_of_what_was_looked_up_before_cost_no_other_look():
    async def story(tws, gateway):
        await gateway.validate("AAPL", [], CALLER)
        for month in ("01", "02", "03"):
            await gateway.bars("AAPL", "1d", on(f"2012-{month}-01"), on(f"2012-{month}-28"), CALLER)
        return tws.counts()["requests"]

    assert told(story) == {"details": 1, "bars": 3}


def test_bars_of_an_unknown_symbol_are_an_error():
    with pytest.raises(SymbolNotFoundError):
        told(lambda _tws, gateway: gateway.bars("NOSUCH", "1d", on("2012-01-01"), on("2012-02-01"), CALLER))


def test_nothing_is_asked_about_the_future():
    async def story(tws, gateway):
        await gateway.validate("AAPL", [], CALLER)
        assert (await gateway.bars("AAPL", "1d", on("2020-01-01"), on("2020-02-01"), CALLER)).bars == []
        return tws.counts()["requests"]

    assert told(story) == {"details": 1}


def test_a_range_that_would_keep_everyone_else_waiting_is_refused_before_it_costs_anything():
    async def story(tws, gateway):
        await gateway.validate("AAPL", [], CALLER)
        with pytest.raises(ProviderError, match="in pieces of 1 days"):
            await gateway.bars("AAPL", "1m", on("2000-01-01"), on("2012-02-01"), CALLER)
        return tws.counts()["requests"]

    assert told(story) == {"details": 1}


@pytest.mark.parametrize("symbol", ["FUT:ES@CME", "BAG:X"])
def test_what_cannot_be_asked_for_costs_nothing(symbol):
    async def story(tws, gateway):
        with pytest.raises(InvalidSymbolError):
            await gateway.validate(symbol, [], CALLER)
        return tws.counts()["requests"]

    assert told(story) == {}


def test_its_status_tells_how_things_stand():
    async def story(tws, gateway):
        await gateway.validate("AAPL", [], CALLER)
        await asyncio.sleep(2)
        tws.notice(2105)
        while not gateway.status()["farms_down"]:
            await asyncio.sleep(0.01)
        assert (gateway.connected, gateway.calls, gateway.as_of().date()) == (True, 1, NOW.date())
        return gateway.status()

    assert told(story) == {
        "client_id": 1,
        "since": NOW.isoformat(),
        "lost": None,
        "farms_down": {"ushmds": 2105},
        "last_reset": None,
        "open_requests": 0,
        "waiting": 0,
        "messages_left": 48,
        "historical_left": 50,
        "problem": "data farms are out of reach: ushmds",
        "problem_code": 2105,
        "advice": "wait: it comes back by itself; if it does not, restart TWS or IB Gateway, and check its network",
        "problem_since": (NOW + timedelta(seconds=2)).isoformat(),
        "last_attempt": NOW.isoformat(),
        "next_attempt": None,
        "taken_client_ids": [],
        "warning": None,
        "last_refusal": None,
        "quiet_until": None,
    }


@pytest.mark.parametrize(
    ("moment", "end"),
    [
        ("2026-11-23T23:44:59-05:00", None),
        ("2026-11-23T23:45:00-05:00", "2026-11-24T00:45:00-05:00"),
        ("2026-11-24T00:44:59-05:00", "2026-11-24T00:45:00-05:00"),
        ("2026-11-24T00:45:00-05:00", None),
        ("2026-11-27T22:59:59-05:00", None),
        ("2026-11-27T23:00:00-05:00", "2026-11-28T03:00:00-05:00"),
        ("2026-11-28T02:59:59-05:00", "2026-11-28T03:00:00-05:00"),
        ("2026-11-28T03:00:00-05:00", None),
        ("2026-07-06T23:50:00-04:00", "2026-07-07T00:45:00-04:00"),
        ("2026-07-07T03:50:00+00:00", "2026-07-07T04:45:00+00:00"),
        ("2026-11-23T12:00:00-05:00", None),
    ],
)
def test_the_servers_restart_at_night_and_for_longer_on_friday(moment, end):
    assert reset_ends(datetime.fromisoformat(moment)) == (end and datetime.fromisoformat(end))


def test_a_thousand_symbols_are_validated_as_fast_as_the_rules_allow_and_none_is_broken():
    rows = csv.reader(files("symcache_host").joinpath("data", "us_symbols.csv").read_text().splitlines()[1:1001])
    symbols = [as_written_there(row[0]) for row in rows]
    caller = Caller("load", Priority.WARMING)

    async def story(tws, gateway):
        loop, at_once, waits = asyncio.get_running_loop(), asyncio.Semaphore(32), []

        async def validate(symbol):
            async with at_once:
                return await gateway.validate(symbol, ["1d"], caller)

        async def hurry():
            for _ in range(20):
                await asyncio.sleep(1.7)
                begin = loop.time()
                await gateway.validate("EURUSD", [], CALLER)
                waits.append(loop.time() - begin)

        urgent = asyncio.create_task(hurry())
        begin = loop.time()
        answers = await asyncio.gather(*map(validate, symbols))
        took = loop.time() - begin
        await urgent
        assert all(each.result.is_valid for each in answers)
        await asyncio.sleep(2)  # for the last cancellation, which waits for its turn, to arrive
        counts = tws.counts()
        assert counts["violations"] == {}
        assert (counts["open_slots"], counts["connects"]) == (0, 1)
        assert took <= 1.1 * (1000 * 3 + 20) / 50  # for each a request for details, one for its head, one to cancel it
        assert max(waits) <= 0.25

    told(story)


@pytest.mark.once
@pytest.mark.soak
def test_twenty_restarts_under_load_bring_no_wrong_verdict_and_break_no_rule():
    known = ["AAPL", "IBM", "MSFT", "brk.b", "EURUSD", "RY@TSE:CAD", "CRYPTO:BTC", "FUT:ESM3@CME"]

    async def story(tws, gateway):
        verdicts, errors, over = [], [], asyncio.Event()

        async def load(symbol, caller):
            while not over.is_set():
                try:
                    found = await gateway.validate(symbol, ["1d"], caller)
                    verdicts.append((symbol, found.result.is_valid))
                except (ProviderUnavailableError, ProviderTimeoutError) as error:
                    errors.append(error)
                    await asyncio.sleep(0.5)

        tasks = [
            asyncio.create_task(load(symbol, Caller(str(number), Priority(number % 3))))
            for number, symbol in enumerate([*known, "NOSUCH"])
        ]
        for number in range(20):
            await asyncio.sleep(7.3)
            await (tws.reset(3) if number % 4 == 3 else tws.restart())
        await asyncio.sleep(20)
        over.set()
        await asyncio.gather(*tasks)
        await asyncio.sleep(0.01)
        counts = tws.counts()
        assert {symbol for symbol, valid in verdicts if valid} == set(known)
        assert {symbol for symbol, valid in verdicts if not valid} <= {"NOSUCH"}
        assert errors
        assert (counts["violations"], counts["open_slots"], counts["client_ids"]) == ({}, 0, [1])
        assert counts["connects"] == 21
        assert (gateway.status()["waiting"], gateway.status()["open_requests"]) == (0, 0)

    told(story)


@pytest.fixture
def minute(monkeypatch):
    """As long as a day is for what the gateway remembers; a day has too many signs of life."""
    monkeypatch.setattr("symcache_host.ib.gateway.CACHE_TTL", 60.0)
    return 60.0


def test_one_head_timestamp_serves_every_spelling_of_a_contract_for_its_time(minute):
    async def story(tws, gateway):
        begin = asyncio.get_running_loop().time()
        for symbol in ("RY", "RY@NYSE", "RY@NYSE:USD", "STK:RY"):
            assert (await gateway.validate(symbol, ["1d"], CALLER)).result.head_timestamps
        assert asyncio.get_running_loop().time() - begin < 1
        assert tws.counts()["requests"]["head"] == 1
        await asyncio.sleep(minute)
        await gateway.validate("RY", ["1d"], CALLER)
        assert tws.counts()["requests"]["head"] == 2

    told(story)


def test_what_a_symbol_was_known_as_is_asked_again_after_its_time(minute):
    async def story(tws, gateway):
        for wait in (0, minute / 2, minute):
            await asyncio.sleep(wait)
            await ask_for_bars(gateway)
        return tws.counts()["requests"]

    assert told(story).items() >= {"details": 2, "bars": 3}.items()


def test_who_asks_for_the_same_bars_at_the_same_time_gets_them_at_once():
    async def story(tws, gateway):
        await gateway.validate("AAPL", [], CALLER)
        begin = asyncio.get_running_loop().time()
        first, *others = [asyncio.create_task(ask_for_bars(gateway)) for _ in range(4)]
        await asyncio.sleep(0)
        first.cancel()
        bars = await asyncio.gather(*others)
        assert len(bars[0]) == 21
        assert bars == [bars[0]] * 3
        assert asyncio.get_running_loop().time() - begin < 1
        return tws.counts()["requests"]

    assert told(story) == {"details": 1, "bars": 1}


def test_when_the_last_one_who_asked_leaves_nothing_is_asked_any_more():
    async def story(tws, gateway):
        await gateway.validate("AAPL", [], CALLER)
        tws.fault("bars", hang=True)
        tasks = [asyncio.create_task(ask_for_bars(gateway)) for _ in range(3)]
        while not tws.counts()["requests"].get("bars"):
            await asyncio.sleep(0.01)
        for task in tasks:
            assert gateway.status()["open_requests"] == 1
            task.cancel()
            await asyncio.wait({task})
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert gateway.status()["open_requests"] == tws.counts()["open_slots"] == 0

    told(story)


def test_a_local_symbol_that_cannot_be_asked_for_as_written_is_never_surely_unknown():
    found = answer("FUT:YM   20 M@CBOT")
    assert (found.result.is_valid, found.confirmed) == (False, False)


@asynccontextmanager
async def service(gateway, **settings):
    """A host service over a gateway."""
    cache = open_symbol_cache(SymcacheSettings(provider="ib", **settings), clock=lambda: gateway.as_of().timestamp())
    try:
        yield HostService(gateway, cache), cache
    finally:
        await cache.aclose()


@pytest.mark.parametrize(
    ("start", "end"), [("0001-01-01", "2012-01-05"), ("0001-01-01", "0001-01-05"), ("2012-12-01", "9999-12-31")]
)
def test_no_range_of_bars_is_too_strange_to_be_answered(start, end):
    async def story(_tws, gateway):
        async with service(gateway, backend="memory") as (host, _):
            for timeframe in ("1d", "1w"):
                request = HistoricalRequest(symbol="AAPL", timeframe=timeframe, start=start, end=end)
                answer = await host.historical(request)
                assert answer.error != FAULT

    told(story)


def test_whoever_joins_what_a_batch_waits_for_is_served_at_once():
    rows = csv.reader(files("symcache_host").joinpath("data", "us_symbols.csv").read_text().splitlines()[1:501])
    symbols = [row[0] for row in rows]

    async def story(tws, gateway):
        async with service(gateway, backend="memory") as (host, _):
            loads = [
                asyncio.create_task(host.validate_many(symbols, ["1d"], BatchCallOptions(x_symcache_client=client)))
                for client in ("one", "two", "three")
            ]
            loop = asyncio.get_running_loop()
            while gateway.calls < AT_ONCE:
                await asyncio.sleep(0.01)
            begin, last = loop.time(), symbols[AT_ONCE - 1]
            assert (await host.validate(last, ["1d"])).head_timestamps
            assert loop.time() - begin <= 2 * 0.2 * MARGIN, "a slot for each of its two requests"
            for load in loads:
                load.cancel()
            await asyncio.wait(loads)
            await asyncio.sleep(0.01)
            assert tws.counts()["violations"] == {}

    told(story)


def test_what_is_still_queued_at_the_deadline_is_never_sent():
    async def story(tws, gateway):
        async with service(gateway, backend="memory") as (host, _):
            await host.validate("IBM", [])
            symbols = [f"ZZ{number}" for number in range(LARGEST_BATCH)]
            answer = await host.validate_many(symbols, ["1d"], BatchCallOptions(x_symcache_deadline=2))
            assert {each.error for each in answer.results.values()} == {"no answer before the caller's deadline"}
            await asyncio.sleep(0.01)
            asked = tws.counts()["requests"]["details"]
            assert 2 * MESSAGES_PER_SECOND <= asked <= 2 * MESSAGES_PER_SECOND + 10
            assert (gateway.status()["waiting"], gateway.status()["open_requests"]) == (0, 0)
            await asyncio.sleep(60)
            assert tws.counts()["requests"]["details"] == asked

    told(story)


def test_the_largest_batch_of_unknown_symbols_is_answered_within_a_minute():
    async def story(tws, gateway):
        async with service(gateway, backend="memory") as (host, _):
            await host.validate("IBM", [])
            symbols = [f"ZZ{number}" for number in range(LARGEST_BATCH)]
            begin = asyncio.get_running_loop().time()
            answer = await host.validate_many(symbols, ["1d"], BatchCallOptions(x_symcache_deadline=57))
            assert {each.error_kind for each in answer.results.values()} == {"permanent"}
            assert tws.counts()["violations"] == {}
            return asyncio.get_running_loop().time() - begin

    assert told(story) <= 1.2 * LARGEST_BATCH * 2 / MESSAGES_PER_SECOND + SECOND_LOOK


@pytest.mark.parametrize("kind", ["details", "head", "bars"])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.code} {row.says}".strip())
def test_no_code_leaves_a_negative_in_the_cache_but_a_confirmed_200(tmp_path, kind, row):
    async def story(tws, gateway):
        store = {"path": tmp_path / "symbols.json"}
        async with service(gateway, backend="json", backends={"json": store}, data_dir=tmp_path) as (host, cache):
            await host.validate("IBM", [])
            tws.fault(kind, code=row.code, text=row.says or "said for a test", symbol="AAPL")
            await host.validate("AAPL", ["1d"])
            await host.historical(
                HistoricalRequest(symbol="AAPL", timeframe="1d", start="2012-01-01", end="2012-02-01")
            )
            return cache.peek("AAPL")

    entry = told(story)
    if kind != "details":
        assert entry.validation_result.is_valid
    elif row.meaning is Meaning.NO_CONTRACT:
        assert (entry.validation_result.is_valid, entry.confirmed, entry.provenance.code) == (False, True, "200")
    else:
        assert entry is None


@pytest.fixture(scope="module")
def tws():
    """A simulated TWS in a process of its own."""
    with TwsProcess() as running:
        yield running


def post(host, path, **body):
    return host.http.post(path, json=body).json()


def test_a_host_answers_for_interactive_brokers(start, tws):
    host = start("--gateway", "ib", "--ib-port", str(tws.port))
    assert host.ready["gateway"] == "ib"
    for _ in range(2):
        found = post(host, "/data/validate", symbol="brk.b", timeframes=["1d", "1h"])
        assert found["is_valid"]
        assert found["provenance"]["gateway"] == "ib"
        assert found["head_timestamps"] == dict.fromkeys(["1d", "1h"], "2005-03-10T14:30:00+00:00")
        assert found["contract_info"]["contract"]["symbol"] == "BRK B"
    assert host.calls == {"requests": 2, "gateway": 1}
    bars = post(host, "/data/historical", symbol="AAPL", timeframe="1d", start="2012-01-03", end="2012-01-05")
    assert (bars["success"], bars["rows"]) == (True, 3)
    assert (bars["contract"]["symbol"], bars["basis"]["session"]) == ("AAPL", "regular")
    assert bars["contract"]["conId"] > 0
    health = host.http.get("/health/").json()
    assert (health["healthy"], health["connection_info"]["gateway"]) == (True, "ib")
    assert health["ib_status"].items() >= {"connected": True, "client_id": 1, "farms_down": {}, "waiting": 0}.items()


def test_a_batch_is_answered_each_with_its_own(start, tws):
    host = start("--gateway", "ib", "--ib-port", str(tws.port), "--ib-client-id", "7")
    symbols = ["AAPL", "RY@TSE:CAD", "EURUSD", "FUT:ES@CME"]
    results = post(host, "/data/validate-batch", symbols=symbols, timeframes=["1d"])["results"]
    assert [results[symbol]["is_valid"] for symbol in symbols] == [True, True, True, False]
    assert "FUT:ESZ6@CME" in results["FUT:ES@CME"]["error"]
    assert host.http.get("/health/").json()["ib_status"]["client_id"] == 7


def test_what_the_account_may_not_see_is_valid_and_its_head_timestamp_is_not_answered(start, tws):
    host = start("--gateway", "ib", "--ib-port", str(tws.port))
    tws.do("fault", kind="head", code=354, symbol="IBM")
    found = post(host, "/data/validate", symbol="IBM", timeframes=["1d"])
    assert (found["is_valid"], found["head_timestamps"], found["error_code"]) == (True, None, "354")
    head = host.http.get("/data/head-timestamp", params={"symbol": "IBM", "timeframe": "1d"}).json()
    assert (head["success"], head["timestamp"], head["error_code"]) == (False, None, "354")


def test_without_a_tws_the_host_says_so_and_gives_no_verdict(start):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        host = start("--gateway", "ib", SYMCACHE_HOST_IB_PORT=str(nobody.getsockname()[1]))
        found = post(host, "/data/validate", symbol="AAPL", timeframes=["1d"])
        assert (found["success"], found["is_valid"], found["error_kind"]) == (False, False, "transient")
        health = host.http.get("/health/").json()
        assert (health["healthy"], health["status"], health["ib_status"]["connected"]) == (
            False,
            "disconnected",
            False,
        )


def test_without_its_extra_the_gateway_is_refused_with_how_to_install_it(tmp_path):
    blocked = (
        "import sys; sys.modules['ib_async'] = None; from symcache_host.command import main; "
        "sys.exit(main(['--gateway', 'ib']))"
    )
    command = [sys.executable, "-c", blocked]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True, timeout=PATIENCE)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "pip install 'symcache[ib]'" in ended.stderr


def test_a_head_timestamp_that_never_comes_costs_its_time_once_an_hour():
    async def story(tws, gateway):
        tws.fault("head", hang=True)
        loop, waits = asyncio.get_running_loop(), []
        for _ in range(6):
            began = loop.time()
            answer = await gateway.validate("IBM", ["1d"], CALLER)
            assert (answer.result.is_valid, answer.result.head_timestamps, answer.provenance.code) == (
                True,
                None,
                SILENT,
            )
            waits.append(loop.time() - began)
            await asyncio.sleep(700)
        tws.clear_faults()
        return waits, (await gateway.validate("IBM", ["1d"], CALLER)).result.head_timestamps

    waits, heads = told(story)
    assert HEAD_TIMEOUT <= waits[0] < HEAD_TIMEOUT + 1
    assert max(waits[1:]) < 1
    assert heads is not None


def test_no_data_that_was_said_twice_is_asked_for_again_by_whoever_believes_it_no_longer():
    async def story(tws, gateway):
        tws.fault("head", code=162)
        first = await gateway.validate("IBM", ["1d"], CALLER)
        tws.clear_faults()
        await asyncio.sleep(660)
        return first.result.head_timestamps, (await gateway.validate("IBM", ["1d"], CALLER)).result.head_timestamps

    first, then = told(story)
    assert (first, then["1d"][:10]) == ({"1d": None}, "2000-03-01")


def test_however_many_requests_bring_nothing_the_second_look_at_all_of_them_is_waited_for_once():
    async def story(tws, gateway):
        await gateway.validate("IBM", [], CALLER)
        tws.fault("bars", code=162)
        began = asyncio.get_running_loop().time()
        found = await gateway.bars("IBM", "1h", on("2012-04-01"), on("2013-02-15"), CALLER)
        return found.bars, asyncio.get_running_loop().time() - began, tws.counts()

    bars, took, counts = told(story)
    assert (bars, counts["requests"]["bars"]) == ([], 24)
    assert took < 25
    assert not counts["violations"]


def test_a_symbol_that_means_another_contract_by_now_is_found_anew_for_its_bars():
    async def story(tws, gateway):
        await gateway.validate("IBM", [], CALLER)
        (known,) = gateway._listings._values.values()
        stale = replace(known.value.contract, conId=999_999)
        gateway._listings.put(Instrument.parse("IBM"), known.value._replace(contract=stale))
        found = await gateway.bars("IBM", "1d", on("2012-01-03"), on("2012-01-31"), CALLER)
        return len(found.bars), found.contract["conId"], known.value.contract.conId

    bars, con_id, right = told(story)
    assert (bars, con_id) == (20, right)


def test_bars_of_an_unknown_symbol_cost_their_requests_once_in_some_minutes():
    async def story(tws, gateway):
        for _ in range(3):
            with pytest.raises(SymbolNotFoundError):
                await gateway.bars("NOSUCHSYM", "1d", on("2012-01-03"), on("2012-01-31"), CALLER)
        once = tws.counts()["requests"]["details"]
        await asyncio.sleep(UNKNOWN_FOR)
        with pytest.raises(SymbolNotFoundError):
            await gateway.bars("NOSUCHSYM", "1d", on("2012-01-03"), on("2012-01-31"), CALLER)
        return once, tws.counts()["requests"]["details"]

    once, twice = told(story)
    assert twice == 2 * once


def test_bars_of_a_symbol_that_was_found_unknown_a_moment_ago_cost_no_request():
    async def story(tws, gateway):
        await gateway.validate("USD.EUR", [], CALLER)
        once = tws.counts()["requests"]["details"]
        with pytest.raises(SymbolNotFoundError) as raised:
            await gateway.bars("USD.EUR", "1d", on("2012-01-03"), on("2012-01-31"), CALLER)
        bars = tws.counts()["requests"]["details"]
        await gateway.validate("USD.EUR", [], CALLER)
        return once, bars, tws.counts()["requests"]["details"], raised.value.suggested_symbol

    once, bars, again, suggested = told(story)
    assert (bars, again, suggested) == (once, 2 * once, "EURUSD")


def test_bars_of_a_symbol_that_is_known_by_now_are_asked_for():
    async def story(tws, gateway):
        day = "1d", on("2012-01-03"), on("2012-01-31"), CALLER
        tws.fault("details", code=200, symbol="IBM")
        with pytest.raises(SymbolNotFoundError):
            await gateway.bars("IBM", *day)
        tws.clear_faults()
        await gateway.validate("IBM", [], CALLER)
        return await gateway.bars("IBM", *day)

    assert len(told(story).bars) == 20


@pytest.mark.parametrize("kind", ["head", "bars"])
def test_a_contract_that_is_unknown_when_its_history_is_asked_for_is_found_anew_once_in_a_call(kind):
    async def story(tws, gateway):
        day = "1d", on("2012-01-03"), on("2012-01-31"), CALLER
        await gateway.bars("IBM", *day)
        tws.fault(kind, code=200)
        before = tws.counts()["requests"]["details"]
        if kind == "head":
            code = (await gateway.validate("IBM", ["1d"], CALLER)).provenance.code
            await gateway.bars("IBM", *day)
        else:
            with pytest.raises(ProviderUnavailableError) as raised:
                await gateway.bars("IBM", *day)
            code = raised.value.code
        return code, tws.counts()["requests"]["details"] - before

    assert told(story) == ("200", 2 if kind == "head" else 1)


def test_a_suggestion_that_does_not_come_holds_up_no_verdict():
    async def story(tws, gateway):
        tws.fault("details", hang=True, symbol="EUR")
        began = asyncio.get_running_loop().time()
        answer = await gateway.validate("USD.EUR", [], CALLER)
        took = asyncio.get_running_loop().time() - began
        await asyncio.sleep(0.1)
        return answer.result, answer.confirmed, took, gateway.status()

    result, confirmed, took, status = told(story)
    assert (result.is_valid, result.suggested_symbol, confirmed) == (False, None, True)
    assert took < SECOND_LOOK + HINTS_TIMEOUT + 1
    assert (status["open_requests"], status["waiting"]) == (0, 0)
