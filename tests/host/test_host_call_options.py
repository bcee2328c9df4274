"""The caller, its priority and its deadline go with a request, up to the gateway."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, date, datetime

import httpx
import pytest
from patience import PATIENCE
from tws.looptime import run

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_host.gateway import Caller, Priority
from symcache_host.replay import ReplayGateway
from symcache_host.service import HostService
from symcache_host.wire import BatchCallOptions, CallOptions, HistoricalRequest

NEVER = {"SYMCACHE_HOST_LATENCY": "1h"}
SOON = {"X-Symcache-Deadline": "0.2"}
BARS = {"symbol": "AAPL", "timeframe": "1d", "start": "2012-01-01", "end": "2012-02-01"}
LATE = "no answer before the caller's deadline"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/data/validate", {"symbol": "AAPL"}),
        ("POST", "/data/historical", BARS),
        ("GET", "/data/symbol-info/AAPL", None),
        ("GET", "/data/head-timestamp?symbol=AAPL&timeframe=1d", None),
    ],
)
def test_nobody_is_answered_after_the_deadline(start, method, path, body):
    host = start(**NEVER)
    answer = host.http.request(method, path, json=body, headers=SOON).json()
    assert (answer["success"], answer["error"], answer["error_kind"]) == (False, LATE, "transient")
    assert host.calls["requests"] == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Symcache-Deadline": "0"},
        {"X-Symcache-Deadline": "-1"},
        {"X-Symcache-Deadline": "nan"},
        {"X-Symcache-Deadline": "inf"},
        {"X-Symcache-Deadline": "soon"},
        {"X-Symcache-Priority": "first"},
        {"X-Symcache-Client": "A" * 65},
        {"X-Symcache-Client": "two words"},
    ],
)
def test_options_that_make_no_sense_are_refused(host, headers):
    refused = host.http.post("/data/validate", json={"symbol": "AAPL"}, headers=headers)
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["header", *map(str.lower, headers)]


class Witness(ReplayGateway):
    """Knows for whom it was asked, and who left before it could answer."""

    def __init__(self, *, never=()):
        super().__init__(latency=0, as_of=date(2013, 3, 1))
        self.callers, self.left, self.never = [], [], never

    async def validate(self, symbol, timeframes, caller):
        self.callers.append(caller)
        if symbol in self.never:
            try:
                await asyncio.Event().wait()
            finally:
                self.left.append(symbol)
        return await super().validate(symbol, timeframes, caller)

    async def bars(self, symbol, timeframe, start, end, caller, session=None):
        self.callers.append(caller)
        return await super().bars(symbol, timeframe, start, end, caller, session)


def told(story, gateway, clock=time.time):
    """What a story about a service gives; a deadline passes when there is nothing else to do."""

    async def main():
        cache = open_symbol_cache(SymcacheSettings(backend="memory", provider="replay"), clock=clock)
        service = HostService(gateway, cache)
        try:
            return await story(service)
        finally:
            await service.aclose()

    return run(main())


def everything(**options):
    batch_options, options = BatchCallOptions(**options), CallOptions(**options)

    async def story(service):
        await service.validate("AAPL", [], options)
        await service.validate_many(["MSFT"], [], batch_options)
        await service.head_timestamp("IBM", "1d", options)
        await service.historical(HistoricalRequest(**BARS), options)

    return story


def test_the_gateway_is_told_who_asks_and_that_batches_can_wait():
    gateway = Witness()
    told(everything(x_symcache_client="c"), gateway)
    single, batch = Caller("c", Priority.FOREGROUND), Caller("c", Priority.WARMING)
    assert gateway.callers == [single, batch, single, single]


@pytest.mark.parametrize("priority", Priority)
def test_whoever_says_how_urgent_it_is_is_believed(priority):
    gateway = Witness()
    told(everything(x_symcache_priority=priority.name.lower()), gateway)
    assert gateway.callers == [Caller("", priority)] * 4


def test_what_is_asked_when_nobody_waits_is_a_refresh():
    now = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
    gateway = Witness()

    async def story(service):
        nonlocal now
        await service.validate("AAPL", ["1d"])
        now += 28 * 86400
        await service.validate("AAPL", ["1d"])
        while len(gateway.callers) < 2:
            await asyncio.sleep(0)

    told(story, gateway, clock=lambda: now)
    assert [caller.priority for caller in gateway.callers] == [Priority.FOREGROUND, Priority.REFRESH]


def test_nothing_is_asked_on_for_someone_who_has_left():
    gateway = Witness(never={"AAPL"})
    told(lambda service: service.validate("AAPL", [], CallOptions(x_symcache_deadline=0.3)), gateway)
    assert gateway.left == ["AAPL"]


def test_one_who_leaves_takes_no_answer_from_another_who_waits_longer():
    gateway = Witness(never={"AAPL"})

    async def story(service):
        patient = asyncio.create_task(service.validate("AAPL", []))
        left = await service.validate("AAPL", [], CallOptions(x_symcache_deadline=0.01))
        assert (left.error, gateway.left, patient.done()) == (LATE, [], False)
        patient.cancel()

    told(story, gateway)


def test_at_the_deadline_a_batch_gives_what_it_has():
    gateway = Witness(never={"MSFT", "IBM"})
    options = BatchCallOptions(x_symcache_deadline=30)
    answer = told(lambda service: service.validate_many(["AAPL", "MSFT", "NOSUCH", "IBM"], [], options), gateway)
    assert answer.success
    assert {symbol: each.error for symbol, each in answer.results.items()} == {
        "AAPL": None,
        "NOSUCH": None,
        "MSFT": LATE,
        "IBM": LATE,
    }
    assert answer.results["MSFT"].error_kind == "transient"
    assert sorted(gateway.left) == ["IBM", "MSFT"]


BATCH, SINGLE = Caller("batch", Priority.WARMING), Caller("single", Priority.FOREGROUND)


def asks(service, caller):
    """A question about AAPL, from a single caller or in a batch."""
    options = {"x_symcache_client": caller.client}
    if caller is BATCH:
        return service.validate_many(["MSFT", "aapl"], [], BatchCallOptions(**options))
    return service.validate("AAPL", [], CallOptions(**options))


@pytest.mark.parametrize(("first", "second"), [(SINGLE, BATCH), (BATCH, SINGLE)])
def test_a_question_is_as_urgent_as_the_most_urgent_of_those_who_still_wait_for_it(first, second):
    gateway = Witness(never={"AAPL"})

    async def story(service):
        leaving = asyncio.create_task(asks(service, first))
        await asyncio.sleep(0.01)
        caller = gateway.callers[-1]
        assert caller == first
        staying = asyncio.create_task(asks(service, second))
        await asyncio.sleep(0.01)
        assert caller == SINGLE
        leaving.cancel()
        await asyncio.sleep(0.01)
        assert (caller, gateway.left) == (second, [])
        staying.cancel()
        await asyncio.sleep(0.01)
        assert gateway.left == ["AAPL"]
        assert service._waiters == {}, "nobody is remembered"

    told(story, gateway)


def test_what_goes_on_without_anybody_is_a_refresh_and_ends_within_the_setting_timeout():
    now = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
    gateway = Witness()

    async def story(service):
        nonlocal now
        await service.validate("AAPL", [])
        now += 31 * 86400
        gateway.never = {"AAPL"}
        began = asyncio.get_running_loop().time()
        assert (await service.validate("AAPL", [])).is_valid, "what is old is better than nothing"
        assert gateway.callers[-1].priority is Priority.REFRESH
        while not gateway.left:
            await asyncio.sleep(0.1)
        return asyncio.get_running_loop().time() - began

    timeout = SymcacheSettings().timeout
    assert told(story, gateway, clock=lambda: now) == pytest.approx(timeout, abs=0.2)


def at_interactive_brokers(host):
    status = host.http.get("/health/").json()["ib_status"]
    return status["open_requests"], status["waiting"]


def test_after_the_deadline_nothing_is_left_at_interactive_brokers(broker, tws):
    tws.do("fault", kind="details", hang=True)
    answer = broker.http.post("/data/validate", json={"symbol": "MSFT"}, headers={"X-Symcache-Deadline": "0.3"}).json()
    assert (answer["error"], answer["error_kind"]) == (LATE, "transient")
    assert at_interactive_brokers(broker) == (0, 0)


def test_whoever_waits_for_one_symbol_is_not_held_up_by_a_batch(broker):
    symbols = [f"X{number}" for number in range(500)]

    async def both():
        async with httpx.AsyncClient(base_url=broker.ready["url"], trust_env=False, timeout=PATIENCE) as http:
            batch = asyncio.create_task(http.post("/data/validate-batch", json={"symbols": symbols}))
            while at_interactive_brokers(broker)[1] == 0:
                await asyncio.sleep(0)
            answer = await http.post("/data/validate", json={"symbol": "MSFT"})
            assert answer.json()["is_valid"]
            assert not batch.done()
            batch.cancel()

    asyncio.run(both())
