"""A client as there were before finds our host service to be what it knows."""

from dataclasses import asdict, fields
from datetime import UTC, datetime

import pytest
from host_process import HostProcess
from wire.old_client import ContractInfo, FailedError, OldClient

from symcache_core.timeframes import TIMEFRAMES

FUTURE = "FUT:ESZ6@CME"


@pytest.fixture(scope="module")
def client(host):
    with OldClient(host.url) as client:
        yield client


@pytest.mark.parametrize(
    ("symbol", "kind", "currency"),
    [
        ("AAPL", "STK", "USD"),
        ("EUR.USD", "CASH", "USD"),
        ("USDJPY", "CASH", "JPY"),
        ("RY@TSE:CAD", "STK", "CAD"),
        (FUTURE, "FUT", "USD"),
        ("CRYPTO:BTC", "CRYPTO", "USD"),
    ],
)
def test_it_makes_its_object_of_every_kind_of_contract(client, symbol, kind, currency):
    verdict = client.validate(symbol, ["1d"])
    contract = verdict.contract_info
    assert verdict.is_valid
    assert (contract.asset_type, contract.currency) == (kind, currency)
    assert all(isinstance(getattr(contract, name), str) for name in ("symbol", "exchange", "description"))
    assert isinstance(contract.validated_at, float)
    assert isinstance(contract.contract["conId"], int)
    hours = contract.trading_hours
    assert {"timezone", "regular_hours", "extended_hours", "trading_days", "holidays"} <= set(hours)
    assert {"start", "end"} <= set(hours["regular_hours"])


def test_a_contract_has_exactly_the_eleven_fields_whatever_more_the_gateway_says(client, host):
    told = client._answer("POST", "/data/validate", json={"symbol": FUTURE, "timeframes": ["1d"]})
    assert set(told["contract_info"]) == {field.name for field in fields(ContractInfo)}
    assert told["last_trade_date"]
    assert told["contract_details"]["time_zone_id"]


@pytest.mark.parametrize("symbol", ["AAPL", "EUR/USD", "EUR%2FUSD", "EUR.USD", "brk b", "RY@TSE:CAD"])
def test_everything_about_one_symbol_is_what_it_gets_when_it_validates_that(client, symbol):
    one = client.symbol_info(symbol)
    same = client.validate(symbol.replace("%2F", "/"), ["1h"])
    assert one.is_valid
    assert datetime.fromisoformat(one.head_timestamps["1h"]).tzinfo is not None
    assert {**asdict(one), "symbol": ""} == {**asdict(same), "symbol": ""}


def test_every_timeframe_has_its_first_bar(client):
    heads = client.validate("AAPL", list(TIMEFRAMES)).head_timestamps
    assert heads.keys() == TIMEFRAMES.keys() >= {"3h", "1M"}
    assert heads == {timeframe: client.head_timestamp("AAPL", timeframe).isoformat() for timeframe in TIMEFRAMES}


def test_what_there_is_not_is_an_answer_and_no_failure(client):
    verdict = client.validate("NOSUCHSYM", ["1d"])
    assert (verdict.is_valid, verdict.error_message) == (False, "Symbol NOSUCHSYM not found")
    assert (verdict.contract_info, verdict.head_timestamps) == (None, {})


@pytest.mark.parametrize(
    ("symbol", "kind", "timeframe", "least"),
    [
        ("AAPL", "STK", "1d", 20),
        ("AAPL", None, "1h", 100),
        ("EUR.USD", "CASH", "1d", 20),
        ("AAPL", "STK", "3h", 40),
        ("AAPL", "STK", "1w", 3),
        ("AAPL", "STK", "1M", 1),
    ],
)
def test_it_makes_its_frame_of_bars(client, symbol, kind, timeframe, least):
    start, end = datetime(2012, 3, 1, tzinfo=UTC), datetime(2012, 3, 30, 23, tzinfo=UTC)
    frame = client.historical(symbol, timeframe, start, end, kind)
    assert len(frame) >= least
    assert frame.index.is_monotonic_increasing
    assert (frame.index[0] >= start, frame.index[-1] <= end) == (True, True)
    assert list(frame.columns[:5]) == ["open", "high", "low", "close", "volume"]
    assert frame.notna().all(axis=None)


def test_no_bars_are_none_and_those_of_an_unknown_symbol_a_failure(client):
    saturday, sunday = datetime(2012, 3, 3, tzinfo=UTC), datetime(2012, 3, 4, tzinfo=UTC)
    assert client.historical("AAPL", "1d", saturday, sunday).empty
    with pytest.raises(FailedError, match="NOSUCHSYM"):
        client.historical("NOSUCHSYM", "1d", saturday, sunday)


@pytest.mark.parametrize("timeframe", ["1m", "1h", "3h", "1d", "1M"])
def test_the_first_bar_is_a_time_with_its_zone(client, timeframe):
    stamp = client.head_timestamp("AAPL", timeframe, "STK")
    assert stamp.tzinfo is not None
    assert stamp.year < 2013
    with pytest.raises(FailedError):
        client.head_timestamp("NOSUCHSYM", timeframe)


def test_its_monitor_reads_the_health(client):
    healthy, connected, connection = client.health()
    assert (healthy, connected) == (True, True)
    assert isinstance(connection, dict)


def test_recorded_history_serves_it_as_well(tmp_path):
    host = HostProcess(tmp_path, "--gateway", "replay", "--latency", "0")
    try:
        with OldClient(host.url) as client:
            verdict = client.validate("AAPL", ["1d"])
            assert verdict.contract_info.description == "Apple Inc."
            assert client.symbol_info("BRK/B").contract_info.symbol == "BRK B"
            assert not client.symbol_info("EUR/USD").is_valid
            assert len(
                client.historical("AAPL", "1d", datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 3, 1, tzinfo=UTC))
            )
            assert client.health()[0]
    finally:
        host.close()
