"""A TWS that is killed again and again costs no verdict, no slot and no client id."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from itertools import cycle

import pytest
from patience import PATIENCE
from tws.listings import known_on
from tws.market import NOW
from tws.process import TwsProcess

from symcache_core.errors import ProviderUnavailableError
from symcache_host.gateway import Caller
from symcache_host.ib.connection import IbConnection
from symcache_host.ib.gateway import IbGateway

KNOWN = [symbol for symbol, listings in known_on(NOW.date()).items() if len(listings) == 1][:1200]
UNKNOWN = [f"NOSUCH{number}" for number in range(100)]
UNHURRIED = 0.2
"""Seconds from an answer to the next request, so that no limit is broken when a busy machine delays messages."""

LOADS = [(KNOWN[:300], []), (KNOWN[300:600], []), (KNOWN[600:900], ["1d"]), (KNOWN[900:], ["1h"]), (UNKNOWN, [])]


@asynccontextmanager
async def gateway_to(tws):
    """A gateway in real time, but without long pauses."""
    began = time.monotonic()

    def clock():
        return NOW.timestamp() + time.monotonic() - began

    def soon(_pause):
        return asyncio.sleep(0.02)

    connection = IbConnection("127.0.0.1", tws.port, clock=clock, sleep=soon)
    gateway = IbGateway(connection, clock=clock, sleep=soon)
    await gateway.open()
    try:
        yield gateway
    finally:
        await gateway.aclose()


async def ask_for_ever(gateway, symbols, timeframes, outcomes):
    for symbol in cycle(symbols):
        try:
            outcomes.append((symbol, await gateway.validate(symbol, timeframes, Caller())))
        except ProviderUnavailableError as error:
            outcomes.append((symbol, error))
        await asyncio.sleep(UNHURRIED)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


async def until_more(count, more):
    before = count()
    await until(lambda: count() >= before + more)


def verdicts(outcomes):
    return [(symbol, found.result) for symbol, found in outcomes if not isinstance(found, Exception)]


def doubted(outcomes):
    return [error for _symbol, error in outcomes if isinstance(error, Exception) and error.code == "200"]


def slots_taken(gateway):
    """What the scheduler counts of requests that are open at this moment."""
    return sum(count for (rule, _scope), count in gateway._scheduler._budgets.used.items() if not rule.seconds)


@pytest.mark.once
@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.soak)])
def test_a_tws_that_is_killed_under_load_costs_no_verdict_no_slot_and_no_client_id(kills):
    outcomes = []

    async def story(tws, gateway):
        asking = [asyncio.create_task(ask_for_ever(gateway, *load, outcomes)) for load in LOADS]
        for _kill in range(kills):
            await until_more(lambda: len(verdicts(outcomes)), 10)
            tws.do("fault", kind="head", hang=True)
            await until(lambda: tws.counts()["open_slots"] == 2)  # which the kill cuts off
            counts = tws.counts()
            assert (counts["client_ids_used"], counts["refused_ids"], counts["violations"]) == ([1], 0, {})
            await asyncio.to_thread(tws.kill)
            await until(lambda: not gateway.connected)
            await asyncio.to_thread(tws.start)
            # So it speaks of every symbol as long as it has not found its own servers.
            tws.do("fault", kind="details", code=200, times=10)
            await until_more(lambda: len(doubted(outcomes)), 5)
        assert not any(task.done() for task in asking), "no other error"
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
        await until(lambda: tws.counts()["open_slots"] == slots_taken(gateway) == 0)
        assert (gateway.status()["open_requests"], gateway.status()["waiting"]) == (0, 0)
        assert tws.counts()["client_ids_used"] == [1]

    async def main(tws):
        async with gateway_to(tws) as gateway:
            await asyncio.wait_for(story(tws, gateway), PATIENCE * kills)

    with TwsProcess() as tws:
        asyncio.run(main(tws))
    for symbol, result in verdicts(outcomes):
        assert result.is_valid == (symbol not in UNKNOWN), symbol
        assert not result.is_valid or result.contract_info.contract["symbol"] == symbol
