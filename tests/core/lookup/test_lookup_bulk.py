"""Many symbols at once: read in batches, asked a few at a time, given as they come, each failing for itself."""

import asyncio
import itertools
from collections import Counter
from contextlib import aclosing

import pytest
from faulty_backend import BatchingBackend

from symcache_core.errors import BackendUnavailableError, InvalidSymbolError, ProviderError
from symcache_core.lookup import bulk
from symcache_core.lookup.bulk import look_up_many
from symcache_core.lookup.cache import PolicyCache
from symcache_core.models import Outcome
from symcache_core.policy import Policy
from symcache_core.testing.cache_harness import Clock, Provider, verdict


@pytest.fixture
def backend(tmp_path):
    return BatchingBackend(tmp_path)


@pytest.fixture
def cache(backend):
    policy = Policy(jitter=0.0)
    settings = {"near_cache_size": 10_000, "near_cache_age": 5.0, "policy": policy, "clock": Clock()}
    with PolicyCache(backend, name="counting", provider="ib", **settings) as cache:
        yield cache


def collect(cache, provider, symbols, **settings):
    async def main():
        return [found async for found in cache.get_or_validate_many(symbols, ("1d",), provider.validate, **settings)]

    return asyncio.run(asyncio.wait_for(main(), 30))


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


class Gated:
    """Looks symbols up as a test lets it, one by one, and knows who is under way."""

    def __init__(self):
        self.gates = {}
        self.cancelled = []
        self.most = 0

    async def look_up(self, symbol):
        gate = self.gates[symbol] = asyncio.Event()
        self.most = max(self.most, len(self.gates))
        try:
            await gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(symbol)
            raise
        finally:
            del self.gates[symbol]
        return symbol.lower()


async def ignore(_batch):
    """Read nothing ahead."""


def test_every_symbol_is_answered_once(cache, provider):
    symbols = [f"S{number}" for number in range(50)]
    found = collect(cache, provider, symbols)
    assert sorted(each.symbol for each in found) == sorted(symbols)
    assert all(each.lookup.result == verdict(each.symbol, "1d") and each.error is None for each in found)
    assert {each.lookup.outcome for each in collect(cache, provider, symbols)} == {Outcome.HIT}
    assert len(provider.calls) == 50


def test_of_none_there_is_nothing_to_say(cache, provider, backend):
    assert collect(cache, provider, []) == []
    assert backend.batches == []


def test_results_come_as_they_are_there_and_not_in_the_order_of_the_symbols():
    async def main():
        gated, order = Gated(), ["C", "A", "D", "B"]
        async with aclosing(look_up_many("ABCD", gated.look_up, ignore, 4)) as results:
            for symbol in order:
                coming = asyncio.ensure_future(anext(results))
                await until(lambda symbol=symbol: symbol in gated.gates)
                gated.gates[symbol].set()
                assert (await coming).symbol == symbol
            with pytest.raises(StopAsyncIteration):
                await anext(results)

    asyncio.run(main())


@pytest.mark.parametrize("concurrency", [1, 3, 100])
def test_no_more_are_under_way_than_allowed(concurrency):
    async def main():
        gated, symbols = Gated(), [f"S{number}" for number in range(20)]
        results = look_up_many(symbols, gated.look_up, ignore, concurrency)
        found = []
        while len(found) < len(symbols):
            coming = asyncio.ensure_future(anext(results))
            expected = min(concurrency, len(symbols) - len(found))
            await until(lambda expected=expected: len(gated.gates) == expected)
            gated.gates[next(iter(gated.gates))].set()
            found.append((await coming).lookup)
        assert found == [symbol.lower() for symbol in symbols]
        assert gated.most == min(concurrency, len(symbols))

    asyncio.run(main())


@pytest.mark.parametrize("concurrency", [0, -1])
def test_nothing_can_be_looked_up_by_nobody(cache, provider, concurrency):
    with pytest.raises(ValueError, match=f"concurrency is {concurrency}"):
        cache.get_or_validate_many(["AAPL"], (), provider.validate, concurrency=concurrency)


def test_one_symbols_failure_is_its_own(cache):
    async def validate(symbol, timeframes):
        if symbol == "BAD":
            raise ProviderError("no verdict")
        return verdict(symbol, *timeframes)

    provider = Provider()
    provider.validate = validate
    found = {each.symbol: each for each in collect(cache, provider, ["A", "BAD", "", "B"])}
    assert isinstance(found["BAD"].error, ProviderError)
    assert isinstance(found[""].error, InvalidSymbolError)
    assert (found["BAD"].lookup, found[""].lookup) == (None, None)
    assert found["A"].lookup.result.is_valid
    assert found["B"].lookup.result.is_valid


def test_duplicates_and_aliases_are_asked_about_once(cache, provider):
    symbols = ["eurusd", "EUR.USD", "EUR/USD", "BRK.B", "brk-b", "AAPL", "AAPL", " aapl "]
    found = collect(cache, provider, symbols, concurrency=8)
    assert Counter(each.symbol for each in found) == Counter(symbols)
    assert sorted(symbol for symbol, _ in provider.calls) == ["AAPL", "BRK B", "EURUSD"]


def test_symbols_are_read_as_they_are_needed():
    async def main():
        gated, read = Gated(), []
        symbols = (read.append(number) or f"S{number}" for number in itertools.count())
        async with aclosing(look_up_many(symbols, gated.look_up, ignore, 2)) as results:
            assert read == []
            coming = asyncio.ensure_future(anext(results))
            await until(lambda: len(gated.gates) == 2)
            gated.gates["S0"].set()
            await coming
            assert len(read) == bulk.BATCH

    asyncio.run(main())


def test_who_stops_early_cancels_what_is_under_way():
    async def main():
        gated = Gated()
        async with aclosing(look_up_many("ABCDE", gated.look_up, ignore, 3)) as results:
            coming = asyncio.ensure_future(anext(results))
            await until(lambda: len(gated.gates) == 3)
            gated.gates["B"].set()
            assert (await coming).symbol == "B"
        assert sorted(gated.cancelled) == ["A", "C"]
        assert gated.gates == {}

    asyncio.run(main())


def test_who_is_cancelled_cancels_the_provider_calls_under_way(cache, provider):
    async def main():
        provider.gate = asyncio.Event()
        results = cache.get_or_validate_many("ABCDE", (), provider.validate, concurrency=3)
        asking = asyncio.ensure_future(anext(results))
        await until(lambda: len(provider.calls) == 3)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: provider.cancelled == 3)
        assert cache.get_stats().waiting == 0

    asyncio.run(main())
    assert sorted(symbol for symbol, _ in provider.calls) == ["A", "B", "C"]
    assert cache.get_stats().provider_errors == 0


def test_what_is_stored_is_read_once_for_each_batch(cache, provider, backend, monkeypatch):
    monkeypatch.setattr(bulk, "BATCH", 20)
    symbols = [f"S{number}" for number in range(50)]
    for symbol in symbols:
        cache.store(symbol, verdict(symbol, "1d"))
    backend.reads = 0
    assert {each.lookup.outcome for each in collect(cache, provider, symbols)} == {Outcome.HIT}
    assert [len(batch) for batch in backend.batches] == [20, 20, 10]
    assert sorted(itertools.chain(*backend.batches)) == sorted(f"ib||{symbol}||" for symbol in symbols)
    assert backend.reads == 0, "an entry that was read ahead was read again"


def test_what_is_near_is_not_read_ahead(cache, provider, backend):
    for symbol in ("A", "B", "C"):
        cache.store(symbol, verdict(symbol, "1d"))
    cache.get("B", ("1d",))
    collect(cache, provider, ["A", "B", "C"])
    assert backend.batches == [["ib||A||", "ib||C||"]]


def test_a_storage_that_fails_keeps_nobody_from_an_answer(cache, provider, backend):
    backend.error = BackendUnavailableError("unplugged")
    found = collect(cache, provider, ["A", "B", "C"])
    assert {each.lookup.outcome for each in found} == {Outcome.MISS}
    assert len(backend.batches) == 1
    assert backend.reads <= 1, "a storage that has just failed was asked again, other than to take the first answer"


NO_TEXT = [None, float("nan"), True, 7203, b"MSFT", ["MSFT"], {}, "", "\ud800", "A" * 1000]


@pytest.mark.parametrize("symbol", NO_TEXT, ids=lambda symbol: type(symbol).__name__)
def test_what_is_no_symbol_has_an_error_of_its_own_and_the_others_their_answers(cache, provider, symbol):
    found = collect(cache, provider, ["AAPL", symbol, "MSFT"])
    assert {each.symbol for each in found if each.error is None} == {"AAPL", "MSFT"}
    (failed,) = [each for each in found if each.error is not None]
    assert failed.symbol is symbol
    assert isinstance(failed.error, InvalidSymbolError)


@pytest.mark.parametrize("symbol", NO_TEXT, ids=lambda symbol: type(symbol).__name__)
def test_every_way_to_look_up_what_is_no_symbol_says_so(cache, provider, symbol):
    for look in (cache.get, cache.peek, cache.explain, cache.forget, lambda it: cache.store(it, verdict("AAPL"))):
        with pytest.raises(InvalidSymbolError):
            look(symbol)
    with pytest.raises(InvalidSymbolError):
        asyncio.run(cache.get_or_validate(symbol, ["1d"], provider.validate))
    assert provider.calls == []
