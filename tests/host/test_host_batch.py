"""Many symbols in one request: each is answered as if it had been asked alone, and together they take no longer."""

from __future__ import annotations

import asyncio
from datetime import date

import pytest
from tws.looptime import run

from symcache_core import SymcacheSettings, open_symbol_cache
from symcache_core.errors import ProviderPacingError
from symcache_host.gateway import Priority
from symcache_host.replay import ReplayGateway
from symcache_host.service import AT_ONCE, FAULT, HostService

SYMBOLS = ["AAPL", "brk.b", "BRK-B", "MSFFT", "EUR/USD", " jepi", "RY@TSE:CAD", "A" * 128, "股票"]


def batch(host, symbols, timeframes=None):
    response = host.http.post("/data/validate-batch", json={"symbols": symbols, "timeframes": timeframes})
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("timeframes", [None, [], ["1d"], ["1d", "1h"]])
def test_each_symbol_gets_exactly_the_answer_that_it_gets_alone(host, timeframes):
    answer = batch(host, SYMBOLS, timeframes)
    assert list(map(answer.get, ("success", "error", "error_kind"))) == [True, None, None]
    assert answer["results"] == {
        symbol: host.http.post("/data/validate", json={"symbol": symbol, "timeframes": timeframes}).json()
        for symbol in SYMBOLS
    }


def test_only_what_is_not_cached_costs_a_gateway_call_and_all_is_one_request(start):
    host = start()
    batch(host, ["AAPL", "NOSUCH", "IBM"], ["1d"])
    assert host.calls == {"requests": 1, "gateway": 3}
    batch(host, ["IBM", "NOSUCH", "MSFT", "AAPL"], ["1d"])
    assert host.calls == {"requests": 2, "gateway": 4}


def test_one_instrument_in_many_spellings_costs_one_gateway_call(start):
    host = start()
    spellings = ["BRK.B", "brk b", "BRK-B", "BRK.B"]
    assert batch(host, spellings)["results"].keys() == set(spellings)
    assert host.calls == {"requests": 1, "gateway": 1}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"symbols": None},
        {"symbols": []},
        {"symbols": "AAPL"},
        {"symbols": ["AAPL"] * 501},
        {"symbols": ["AAPL", ""]},
        {"symbols": ["AAPL", "   "]},
        {"symbols": ["AAPL", "A" * 129]},
        {"symbols": ["AAPL", 7]},
        {"symbols": ["AAPL", "A\x00B"]},
        {"symbols": ["AAPL"], "timeframes": ["3d"]},
        {"symbols": ["AAPL"], "timeframes": ["1d"] * 1000},
    ],
)
def test_a_batch_that_does_not_fit_is_refused_with_its_place(host, body):
    before = host.calls["gateway"]
    response = host.http.post("/data/validate-batch", json=body)
    assert response.status_code == 422
    assert all({"type", "loc", "msg"} == set(problem) for problem in response.json()["detail"])
    assert host.calls["gateway"] == before


def test_the_largest_batch_fits(host):
    symbols = [f"{number:03}{'股' * 125}" for number in range(500)]
    assert batch(host, symbols)["results"].keys() == set(symbols)


class TroubledGateway(ReplayGateway):
    """Fails for some symbols, and knows for whom it was asked, and how many calls it had at the same time."""

    def __init__(self, latency=0):
        super().__init__(latency=latency, as_of=date(2013, 3, 1))
        self.at_once = self.most_at_once = 0
        self.callers = []

    async def validate(self, symbol, timeframes, caller):
        self.callers.append(caller)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if symbol == "IBM":
                raise ProviderPacingError("slowly", code="100", retry_after=7)
            if symbol == "MSFT":
                raise ZeroDivisionError("a fault of the gateway's")
            return await super().validate(symbol, timeframes, caller)
        finally:
            self.at_once -= 1


def with_service(gateway, story):
    """What a story about a service gives, in simulated time."""

    async def main():
        service = HostService(gateway, open_symbol_cache(SymcacheSettings(backend="memory", provider="replay")))
        try:
            return await story(service)
        finally:
            await service.aclose()

    return run(main())


def ask(gateway, symbols):
    return with_service(gateway, lambda service: service.validate_many(symbols, ["1d"]))


def test_the_failure_of_one_symbol_is_its_own(caplog):
    answer = ask(TroubledGateway(), ["AAPL", "IBM", "MSFT", "NOSUCH"])
    assert answer.success
    told = {symbol: (each.success, each.is_valid, each.error_kind) for symbol, each in answer.results.items()}
    assert told == {
        "AAPL": (True, True, None),
        "IBM": (False, False, "pacing"),
        "MSFT": (False, False, "transient"),
        "NOSUCH": (True, False, "permanent"),
    }
    paced = answer.results["IBM"]
    assert (paced.error, paced.error_code, paced.retry_after) == ("slowly", "100", 7)
    assert answer.results["MSFT"].error == FAULT
    assert "ZeroDivisionError" in caplog.text, "a fault is for the log"


def test_a_fault_is_told_of_one_symbol_as_it_is_of_many(caplog):
    async def story(service):
        return await service.validate("MSFT", []), await service.head_timestamp("MSFT", "1d")

    for answer in with_service(TroubledGateway(), story):
        assert (answer.success, answer.error, answer.error_kind) == (False, FAULT, "transient")
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("count", [1, AT_ONCE, 3 * AT_ONCE])
def test_a_batch_waits_for_so_many_gateway_calls_at_the_same_time_and_for_no_more(count):
    gateway = TroubledGateway(latency=0.5)

    async def timed(service):
        began = asyncio.get_running_loop().time()
        await service.validate_many([f"A{number}" for number in range(count)], ["1d"])
        return asyncio.get_running_loop().time() - began

    took = with_service(gateway, timed)
    assert gateway.calls == count
    assert gateway.most_at_once == min(count, AT_ONCE)
    assert took == pytest.approx(0.5 * max(1, count / AT_ONCE))


def test_a_batch_lets_those_pass_who_wait_for_one_symbol():
    gateway = TroubledGateway()
    ask(gateway, ["AAPL", "GOOG"])
    assert {caller.priority for caller in gateway.callers} == {Priority.WARMING}


def test_after_closing_a_batch_is_a_handled_failure():
    async def story(service):
        await service.aclose()
        return await service.validate_many(["AAPL"], [])

    answer = with_service(TroubledGateway(), story)
    assert (answer.success, answer.results) == (False, {})
    assert "closed" in answer.error
