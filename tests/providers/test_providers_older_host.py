"""An older host service, with the same wire contract, serves the adapter as well, and proves less."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import httpx
import pytest

from symcache_core import Outcome, SymcacheSettings, open_symbol_cache
from symcache_core.errors import ProviderUnavailableError
from symcache_core.providers import IbDataAdapter

START, END = datetime(2012, 12, 31, tzinfo=UTC), datetime(2013, 1, 3, tzinfo=UTC)
MINUTE = 60


def test_an_older_host_reads_without_loss(older_url, validate):
    answer = validate(IbDataAdapter(older_url), "AAPL", "1d", "1h")
    assert answer.result.head_timestamps == {"1d": "1980-12-12T14:30:00+00:00"}, "a null was never asked for"
    assert answer.result.contract_info.contract == {"conId": 1, "symbol": "AAPL"}
    assert (answer.provenance.gateway, answer.provenance.host) == ("ib", None)


def test_a_negative_of_an_older_host_proves_nothing(older_url, validate):
    answer = validate(IbDataAdapter(older_url), "MSFT", "1d")
    assert (answer.result.is_valid, answer.confirmed) == (False, False)


def test_bars_of_an_older_host_are_sorted_and_cut_to_the_range(older_url, fetch):
    first, naive = datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3)  # noqa: DTZ001  # a naive one is UTC
    frame = fetch(IbDataAdapter(older_url), "AAPL", first, naive)
    assert frame["close"].tolist() == [1.5, 3.5]
    assert list(frame.columns) == ["open", "high", "low", "close", "volume"]


def test_a_failure_of_an_older_host_may_pass(older_url, fetch):
    with pytest.raises(ProviderUnavailableError, match="Historical data request failed"):
        fetch(IbDataAdapter(older_url), "MSFT", START, END)


def test_it_is_not_asked_again_since_it_has_tried_again_itself(serve_with, validate, pauses):
    asked = []

    def answer(path, _question):
        asked.append(path)
        return 200, b'{"success": false, "error": "IB Gateway timed out"}'

    with pytest.raises(ProviderUnavailableError, match="timed out"):
        validate(IbDataAdapter(serve_with(answer), sleep=pauses.sleep), "AAPL", "1d")
    assert (asked, pauses) == (["/data/validate"], [])


def test_many_symbols_are_asked_one_by_one(older, validate_many):
    answers = validate_many(IbDataAdapter(older.url), ["AAPL", "MSFT"], "1d")
    assert {symbol: (each.result.is_valid, each.confirmed) for symbol, each in answers.items()} == {
        "AAPL": (True, True),
        "MSFT": (False, False),
    }
    assert older.asked == ["/data/validate-batch", "/data/validate", "/data/validate"]


def looked_up(older, story):
    """Tell a story of lookups through a cache whose clock the story moves."""
    now = datetime(2026, 1, 1, tzinfo=UTC).timestamp()

    async def main():
        adapter = IbDataAdapter(older.url)
        settings = SymcacheSettings(backend="memory", host_service_url=older.url)
        cache = open_symbol_cache(settings, clock=lambda: now)

        async def look_up(symbol, *timeframes, later=0):
            nonlocal now
            now += later
            return await cache.get_or_validate(symbol, timeframes, adapter.validate_and_get_metadata)

        try:
            await story(look_up)
        finally:
            await cache.aclose()
            await adapter.aclose()

    asyncio.run(main())


def test_what_it_calls_unknown_while_it_has_lost_its_gateway_is_believed_for_minutes_only(older):
    async def story(look_up):
        older.connected = False
        first = await look_up("AAPL", "1d")
        assert (first.result.is_valid, first.info.confirmed) == (False, False)
        older.connected = True
        assert not (await look_up("AAPL", "1d", later=MINUTE)).result.is_valid
        assert (await look_up("AAPL", "1d", later=5 * MINUTE)).result.is_valid

    looked_up(older, story)
    assert len(older.asked) == 2


def test_a_valid_symbol_stays_valid_while_it_has_lost_its_gateway(older):
    async def story(look_up):
        assert (await look_up("AAPL", "1d")).result.is_valid
        older.connected = False
        assert (await look_up("AAPL", "1d", later=31 * 24 * 60 * MINUTE)).result.is_valid

    looked_up(older, story)


def test_a_null_head_timestamp_is_not_asked_and_soon_asked_again(older):
    async def story(look_up):
        first = await look_up("AAPL", "1d", "1h")
        assert dict(first.result.head_timestamps) == {"1d": "1980-12-12T14:30:00+00:00"}, "a null is no answer"
        assert (await look_up("AAPL", "1d")).outcome is Outcome.HIT
        await look_up("AAPL", "1h", later=6 * MINUTE)

    looked_up(older, story)
    assert older.asked == ["/data/validate"] * 2


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_our_host_answers_every_question_with_every_field_of_the_older_one(older, replay_url, method):
    """Types of values, not values: the two have different gateways."""
    bars = {"symbol": "AAPL", "timeframe": "1d", "start": "2024-01-01", "end": "2024-01-05", "instrument_type": None}
    questions = {
        "GET": [
            ("/data/symbol-info/AAPL", None),
            ("/data/symbol-info/NOSUCH", None),
            ("/data/head-timestamp?symbol=AAPL&timeframe=1d&instrument_type=STK", None),
            ("/data/head-timestamp?symbol=NOSUCH&timeframe=1d", None),
            ("/health", None),
            ("/health/", None),
            ("/data/symbol-info/EUR/USD", None),
        ],
        "POST": [
            ("/data/validate", {"symbol": "AAPL", "timeframes": ["1d", "1h"]}),
            ("/data/validate", {"symbol": "NOSUCH", "timeframes": None}),
            ("/data/validate", {}),
            ("/data/historical", bars),
            ("/data/historical", bars | {"symbol": "NOSUCH"}),
        ],
    }
    for path, question in questions[method]:
        theirs, ours = (
            httpx.request(method, url + path, json=question, trust_env=False) for url in (older.url, replay_url)
        )
        assert ours.status_code == theirs.status_code, path
        assert shape(theirs.json()) <= shape(ours.json()), path


def shape(answer):
    """Every field of an answer, with the type of its value; of what is an object by its keys, only that it is one."""
    return {(name, type(value).__name__) for name, value in answer.items()} | {
        (f"{outer}.{name}", type(value).__name__)
        for outer in ("contract_info", "ib_status")
        for name, value in (answer.get(outer) or {}).items()
        if name != "client_id"
    }
