"""The replay gateway answers from recordings, and for nothing else."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime

import pytest

from symcache_core.errors import ProviderError, SymbolNotFoundError
from symcache_host.gateway import Caller
from symcache_host.replay import ReplayGateway

START, END = datetime(1990, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def gateway():
    return ReplayGateway(latency=0, as_of=date(2013, 3, 1))


def verdict(gateway, symbol, *timeframes):
    return asyncio.run(gateway.validate(symbol, timeframes, Caller())).result


def bars(gateway, symbol, start=START, end=END):
    return asyncio.run(gateway.bars(symbol, "1d", start, end, Caller())).bars


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("BAC-PK", "BAC PK"),
        ("BAC PRK", "BAC PK"),
        ("BACpK", "BAC PK"),
        ("CpN", "C PN"),
        ("C-PR", "C PR"),
        ("CPK", "CPK"),
        ("cpk", "CPK"),
        ("CpK", "CPK"),
        ("AApL", "AAPL"),
    ],
)
def test_a_preferred_share_is_found_in_every_spelling_and_case_counts_only_where_there_is_one(gateway, symbol, name):
    assert verdict(gateway, symbol).contract_info.symbol == name


@pytest.mark.parametrize("symbol", ["AAPL,class=NMS", "AAPL,multiplier=5"])
def test_no_share_has_a_recorded_class_or_multiplier(gateway, symbol):
    assert not verdict(gateway, symbol).is_valid


@pytest.mark.parametrize(
    "symbol", ["AAPL", "aapl", "AAPL@SMART", "AAPL@NASDAQ", "AAPL@:USD", "AAPL@SMART:USD", "STK:AAPL", "BRK-B", "BRK B"]
)
def test_a_listed_symbol_is_valid_in_every_spelling_that_names_it(gateway, symbol):
    assert verdict(gateway, symbol).is_valid


@pytest.mark.parametrize("symbol", ["RY@TSE:CAD", "AAPL@NYSE", "AAPL@SMART:EUR", "FUT:AAPL", "EURUSD", "FB", "BRKB"])
def test_another_instrument_is_not_valid(gateway, symbol):
    assert not verdict(gateway, symbol).is_valid


@pytest.mark.parametrize(
    ("symbol", "near"),
    [
        ("GOOGGL", "GOOGL"),
        ("BRKB", "BRK B"),
        ("MSFFT", "MSFT"),
        ("JEPPI", "JEPI"),
        ("NVD", "NVDA"),
        ("FB", None),
        ("AAPLEPLA", None),
        ("A" * 128, None),
        ("FUT:AAPL", None),
        ("EURUSD", None),
    ],
)
def test_only_a_near_certain_spelling_is_proposed(gateway, symbol, near):
    assert verdict(gateway, symbol).suggested_symbol == near


def test_no_contract_passes_for_one_of_interactive_brokers(gateway):
    contract = verdict(gateway, "JEPI").contract_info
    assert (contract.asset_type, contract.exchange, contract.contract) == ("ETF", "NYSE Arca", {})
    assert contract.details == {"provider": "replay"}


@pytest.mark.parametrize(
    ("symbol", "count", "first"),
    [
        ("AAPL", 3270, (2000, 3, 1)),
        ("IBM", 3270, (2000, 3, 1)),
        ("MSFT", 3270, (2000, 3, 1)),
        ("GOOG", 2148, (2004, 8, 19)),
    ],
)
def test_the_whole_recording_is_served_from_its_head(gateway, symbol, count, first):
    recorded = bars(gateway, symbol)
    times = [bar.time for bar in recorded]
    assert len(recorded) == count
    assert times == sorted(set(times))
    assert times[0] == datetime(*first, tzinfo=UTC) == verdict(gateway, symbol, "1d").head_timestamp("1d")


def test_both_ends_of_a_range_belong_to_it(gateway):
    first, last = datetime(2001, 9, 10, tzinfo=UTC), datetime(2001, 9, 17, tzinfo=UTC)
    assert [bar.time for bar in bars(gateway, "AAPL", first, last)] == [first, last]


def test_nothing_exists_after_its_present():
    gateway = ReplayGateway(latency=0, as_of=date(2003, 12, 31))
    assert bars(gateway, "AAPL")[-1].time == datetime(2003, 12, 31, tzinfo=UTC)
    assert verdict(gateway, "GOOG", "1d").head_timestamps == {"1d": None}


def test_bars_of_an_unlisted_symbol_are_an_error_and_not_an_empty_range(gateway):
    with pytest.raises(SymbolNotFoundError):
        bars(gateway, "FB")


@pytest.mark.parametrize("session", [None, "regular"])
def test_bars_are_named_as_listed_and_made_of_trades_as_they_were(gateway, session):
    found = asyncio.run(gateway.bars("AAPL@SMART", "1d", START, END, Caller(), session))
    assert found.contract == {"symbol": "AAPL", "exchange": "Nasdaq", "currency": "USD"}, "no id is made up"
    assert found.basis.model_dump() == {"show": "TRADES", "adjustment": "none", "session": "regular"}


def test_a_session_that_was_not_recorded_is_refused_for_good(gateway):
    with pytest.raises(ProviderError, match="replay has no bars of the extended session") as refused:
        asyncio.run(gateway.bars("AAPL", "1d", START, END, Caller(), "extended"))
    assert not refused.value.passes


def test_every_call_is_counted():
    gateway = ReplayGateway(latency=0, as_of=date(2013, 3, 1))
    verdict(gateway, "AAPL")
    verdict(gateway, "NOPE")
    bars(gateway, "AAPL")
    assert gateway.calls == 3
