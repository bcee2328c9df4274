"""What an answer of Interactive Brokers costs is what its line of the table says: requests, seconds, what is stored."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from tws.looptime import run
from tws.market import NOW
from tws.server import SimulatedTws

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.errors import ProviderError, SymcacheError
from symcache_core.providers.deadline import Deadline
from symcache_core.providers.retrying import ATTEMPTS, ask_again
from symcache_host.gateway import Caller
from symcache_host.ib.codes import ERRORS, LOOKS, TABLE, Meaning, classify, ends_a_request
from symcache_host.ib.connection import IbConnection
from symcache_host.ib.gateway import SECOND_LOOK, SECOND_LOOK_AT_DATA, IbGateway

TIMEOUT = 60.0
SLACK = 2.0
"""Seconds that a request may wait for its turn."""

LINES = [(row.code, row.says[0] if row.says else "so it is") for row in TABLE]
ENDING = [line for line in LINES if ends_a_request(*line)]
EVERY_LINE = pytest.mark.parametrize(("code", "text"), [*ENDING, (99999, "what nobody has seen before")])
WANTED = "AAPL", "1d", datetime(2012, 1, 3, tzinfo=UTC), datetime(2012, 1, 31, tzinfo=UTC)


@asynccontextmanager
async def connected():
    loop = asyncio.get_running_loop()

    def clock():
        return NOW.timestamp() + loop.time()

    async with SimulatedTws() as tws:
        gateway = IbGateway(IbConnection("127.0.0.1", tws.port, clock=clock), clock=clock)
        await gateway.open()
        try:
            yield tws, gateway
        finally:
            await gateway.aclose()


async def cost(tws, kind, ask):
    """What comes of a question, how many requests of a kind it made, and how many seconds it took."""
    loop, before = asyncio.get_running_loop(), tws.counts()["requests"].get(kind, 0)
    began = loop.time()
    try:
        ended = await ask()
    except SymcacheError as error:
        ended = error
    return ended, tws.counts()["requests"].get(kind, 0) - before, loop.time() - began


def looks_of(code, text, kind):
    """How often a question may be asked, and what it may take."""
    meaning = classify(code, text).meaning
    is_about_data = meaning is Meaning.NO_DATA and kind != "details"
    is_about_contracts = meaning is Meaning.NO_CONTRACT and kind == "details"
    if is_about_data or is_about_contracts:
        return LOOKS[meaning], (SECOND_LOOK_AT_DATA if is_about_data else SECOND_LOOK) + SLACK
    return 1, SLACK


@EVERY_LINE
@pytest.mark.parametrize("kind", ["details", "head", "bars"])
def test_a_gateway_asks_no_more_often_than_the_table_says(kind, code, text):
    async def main():
        async with connected() as (tws, gateway):
            await gateway.validate("IBM", [], Caller())
            if kind != "details":
                await gateway.validate("AAPL", [], Caller())
            tws.fault(kind, code=code, text=text)

            async def ask():
                if kind == "bars":
                    return await gateway.bars(*WANTED, Caller())
                return await gateway.validate("AAPL", ["1d"], Caller())

            return await cost(tws, kind, ask)

    ended, requests, seconds = run(main())
    looks, most = looks_of(code, text, kind)
    assert requests == looks
    assert seconds <= most
    if isinstance(ended, ProviderError):
        assert type(ended) is ERRORS[classify(code, text).meaning]


@EVERY_LINE
@pytest.mark.parametrize("kind", ["details", "head"])
def test_a_lookup_asks_again_only_where_it_may_help_and_stores_no_failure(kind, code, text, tmp_path):
    async def main():
        async with connected() as (tws, gateway):
            await gateway.validate("IBM", [], Caller())
            tws.fault(kind, code=code, text=text)
            settings = SymcacheSettings(backend="memory", provider="ib", data_dir=tmp_path)
            with open_symbol_cache(settings) as cache:

                async def validate(symbol, timeframes):
                    async def ask():
                        return await gateway.validate(symbol, timeframes, Caller())

                    return await ask_again(ask, Deadline(TIMEOUT), asyncio.sleep)

                async def look():
                    return await cache.get_or_validate("AAPL", ["1d"], validate)

                first = await cost(tws, kind, look)
                again = await cost(tws, kind, look) if kind == "head" else None
                return first, again, cache.get("AAPL")

    (ended, requests, seconds), again, stored = run(main())
    looks, most = looks_of(code, text, kind)
    meaning = classify(code, text).meaning
    if kind == "head":
        assert (requests, again[1]) == (looks, 0), "what is not told is not asked for again at once"
        assert stored.validation_result.is_valid
        assert (stored.validation_result.head_timestamps == {"1d": None}) == (meaning is Meaning.NO_DATA)
        assert seconds <= most
    elif meaning is Meaning.NO_CONTRACT:
        assert (requests, stored.validation_result.is_valid, stored.confirmed) == (looks, False, True)
    else:
        assert isinstance(ended, ProviderError)
        assert stored is None
        assert requests <= (ATTEMPTS if ended.passes else 1)
        assert seconds <= TIMEOUT if ended.passes else seconds <= SLACK


def test_a_spurious_answer_that_there_is_no_data_is_looked_at_twice():
    async def main():
        async with connected() as (tws, gateway):
            for kind in ("head", "bars"):
                tws.fault(kind, code=162, times=1)
            verdict = await gateway.validate("AAPL", ["1d"], Caller())
            return verdict.result.head_timestamps, (await gateway.bars(*WANTED, Caller())).bars, tws.counts()

    heads, bars, counts = run(main())
    assert heads["1d"].startswith("2000-03-01")
    assert len(bars) == 20
    assert not counts["violations"]
