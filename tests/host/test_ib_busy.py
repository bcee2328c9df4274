"""On slow and busy machines no limit of Interactive Brokers is broken, by its strictest reading, and nobody starves."""

from __future__ import annotations

import asyncio
import csv
import logging
import random
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest
from slow_line import SlowLine
from tws.looptime import run
from tws.market import NOW
from tws.server import SimulatedTws

from symcache_core.errors import ProviderError, ProviderPacingError
from symcache_host.gateway import Caller, Priority
from symcache_host.ib.connection import IbConnection
from symcache_host.ib.gateway import IbGateway
from symcache_host.ib.limits import MARGIN, MESSAGES_PER_SECOND
from symcache_host.ib.pacing import Scheduler
from symcache_host.ib.queues import PASSED_OVER
from symcache_host.ib.under_way import LONGEST_ROUND_TRIP

ROWS = csv.reader(files("symcache_host").joinpath("data", "us_symbols.csv").read_text().splitlines()[1:3001])
SYMBOLS = [row[0] for row in ROWS]
RECORDED = ["AAPL", "IBM", "MSFT"]

CLIENTS = {
    "terminal": Priority.FOREGROUND,
    "notebook": Priority.FOREGROUND,
    "service": Priority.REFRESH,
    "nightly": Priority.WARMING,
    "import": Priority.WARMING,
}
AT_ONCE = 6
"""How many requests each client has under way, where not more."""


class BusyConnection(IbConnection):
    """A connection in a busy process: admitted requests wait for the processor until they are sent."""

    def __init__(self, *where, delay, **options):
        super().__init__(*where, **options)
        self._delay = delay

    async def _request(self, send):
        async def later(session):
            await asyncio.sleep(self._delay())
            return await send(session)

        return await super()._request(later)


def heavy_tail(draws, scale, longest):
    """Draws delays (seconds) of which most are short and some are very long."""
    return lambda: min(longest, scale * draws.paretovariate(1.1))


@asynccontextmanager
async def busy(seed, longest=4.0):
    """A gateway on a busy machine, and a slow line to TWS."""
    loop, draws = asyncio.get_running_loop(), random.Random(seed)

    def clock():
        return NOW.timestamp() + loop.time()

    def tail(scale):
        return heavy_tail(draws, scale, longest)

    async with SimulatedTws() as tws, SlowLine(tws, tail(0.01), tail(0.01)) as line:
        connection = BusyConnection("127.0.0.1", line.port, delay=tail(0.005), request_timeout=30, clock=clock)
        gateway = IbGateway(connection, clock=clock)
        await gateway.open()
        try:
            yield tws, line, gateway
        finally:
            await gateway.aclose()


class Load:
    """Five clients that ask for all kinds of things, and now and then leave before they have them.

    Args:
        gateway: Whom they ask.
        calls: How often, together.
        seed: Of what they ask for.
        at_once: How many requests each of them has under way.
    """

    def __init__(self, gateway, calls, seed, at_once=AT_ONCE):
        self._gateway, self._left, self._draws, self._at_once = gateway, calls, random.Random(seed), at_once
        self.ends = Counter()

    async def run(self):
        await asyncio.gather(*(self._client(name) for name in CLIENTS for _ in range(self._at_once)))

    async def _client(self, name):
        caller = Caller(name, CLIENTS[name])
        while self._left > 0:
            self._left -= 1
            end = await self._call(caller)
            self.ends[name, end] += 1
            if end == "failed":
                await asyncio.sleep(1)

    async def _call(self, caller):
        patience = self._draws.expovariate(1.0) if self._draws.random() < 0.1 else None
        try:
            async with asyncio.timeout(patience):
                await self._question(caller)
        except TimeoutError:
            return "left"
        except ProviderPacingError:
            return "refused"
        except ProviderError:
            return "failed"
        return "answered"

    def _question(self, caller):
        kind = self._draws.random()
        if kind < 0.5:
            return self._gateway.validate(self._draws.choice(SYMBOLS), [], caller)
        if kind < 0.8:
            return self._gateway.validate(self._draws.choice(SYMBOLS), ["1d"], caller)
        begin = datetime(2001, 1, 1, tzinfo=UTC) + timedelta(days=self._draws.randrange(4000))
        return self._gateway.bars(self._draws.choice(RECORDED), "1d", begin, begin + timedelta(days=9), caller)


@pytest.fixture(autouse=True)
def _quiet_log():
    logging.disable(logging.ERROR)  # of what is answered in place of a result
    yield
    logging.disable(logging.NOTSET)


class TimedScheduler(Scheduler):
    """Knows how long each client's requests were queued at most, of those that no rule of their own held up."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.longest = defaultdict(float)

    async def _wait(self, slot, caller):
        client, began = caller.client, asyncio.get_running_loop().time()
        await super()._wait(slot, caller)
        if not slot.is_historical:
            self.longest[client] = max(self.longest[client], asyncio.get_running_loop().time() - began)


@pytest.fixture
def timed(monkeypatch):
    """Let gateways know how long each client had to wait."""
    monkeypatch.setattr("symcache_host.ib.gateway.Scheduler", TimedScheduler)


def longest_wait(priority):
    """Seconds after which the last one of a client's requests has its turn, whatever the others ask for."""
    clients = sum(each == priority for each in CLIENTS.values())
    turns = clients * AT_ONCE * (1 if priority is Priority.FOREGROUND else PASSED_OVER + 2)
    return turns * 2 * (1 + LONGEST_ROUND_TRIP) * MARGIN / MESSAGES_PER_SECOND


@pytest.mark.parametrize("calls", [1500, pytest.param(10_000, marks=pytest.mark.soak)])
def test_many_requests_of_five_clients_break_no_rule_and_none_of_them_starves(timed, calls):
    async def story():
        async with busy(seed=calls) as (tws, line, gateway):
            load = Load(gateway, calls, seed=calls)
            await load.run()
            await asyncio.sleep(30)
            return load, line.monitor, tws.counts(), gateway

    load, monitor, counts, gateway = run(story())
    assert +monitor.violations == {}
    assert (counts["violations"], counts["connects"], counts["open_slots"]) == ({}, 1, 0)
    assert gateway._scheduler.waiting == 0
    assert {end for _client, end in load.ends} == {"answered", "left"}, "none is refused, and none fails"
    for client, priority in CLIENTS.items():
        assert load.ends[client, "answered"] > calls / 30
        assert gateway._scheduler.longest[client] <= longest_wait(priority)


@pytest.mark.parametrize("calls", [1500, pytest.param(10_000, marks=pytest.mark.soak)])
def test_no_rule_is_broken_when_more_is_asked_than_can_be_sent(calls):
    async def story():
        async with busy(seed=calls + 1) as (tws, line, gateway):
            load = Load(gateway, calls, seed=calls, at_once=30)
            await load.run()
            await asyncio.sleep(30)
            return load, line.monitor, tws.counts()

    load, monitor, counts = run(story())
    assert +monitor.violations == {}
    assert (counts["violations"], counts["connects"], counts["open_slots"]) == ({}, 1, 0)
    assert {end for _client, end in load.ends} <= {"answered", "left", "refused"}


@pytest.mark.parametrize("calls", [1500, pytest.param(10_000, marks=pytest.mark.soak)])
def test_no_rule_is_broken_when_the_connection_is_lost_again_and_again(calls):
    async def story():
        async with busy(seed=calls + 2) as (tws, line, gateway):
            load = Load(gateway, calls, seed=calls)
            loading = asyncio.create_task(load.run())
            while not loading.done():
                await asyncio.wait({loading}, timeout=7.3)
                line.cut()
            await loading
            await asyncio.sleep(60)
            return load, line.monitor, tws.counts(), gateway.status()

    load, monitor, counts, status = run(story())
    assert +monitor.violations == {}
    assert (counts["violations"], counts["open_slots"]) == ({}, 0)
    assert counts["connects"] > 5
    assert (status["waiting"], status["messages_left"], status["historical_left"]) == (0, 48, 50)
    assert sum(count for (_client, end), count in load.ends.items() if end == "answered") > calls / 4
