"""What many callers share: one call, one answer, one error, and nothing that grows with their number."""

from __future__ import annotations

import asyncio
import gc
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from symcache_core import SymcacheSettings, ValidationResult, open_symbol_cache
from symcache_core.errors import ProviderError, ProviderUnavailableError
from symcache_core.models import Outcome

MANY = 50
WORKERS = 2


@pytest.fixture
def open_cache(tmp_path):
    opened = []

    def open_(**options):
        opened.append(open_symbol_cache(SymcacheSettings(backend="memory", data_dir=tmp_path, **options)))
        return opened[-1]

    yield open_
    for cache in opened:
        cache.close()


@pytest.mark.parametrize("lives", [{"ttl": 0}, {"ttl": 0, "stale_if_error": 0}, {"negative_ttl": 0}])
@pytest.mark.parametrize("is_valid", [True, False])
def test_an_answer_that_is_not_to_be_kept_is_shared_by_those_who_wait_for_it(open_cache, lives, is_valid):
    cache, calls = open_cache(**lives), []

    async def validate(symbol, timeframes):
        calls.append(timeframes)
        await asyncio.sleep(0.01)
        return ValidationResult(is_valid=is_valid, symbol=symbol, head_timestamps=dict.fromkeys(timeframes))

    async def main():
        return await asyncio.gather(*(cache.get_or_validate("AAPL", ["1d"], validate) for _ in range(MANY)))

    outcomes = [lookup.outcome for lookup in asyncio.run(main())]
    assert len(calls) == 1
    assert (outcomes.count(Outcome.MISS), outcomes.count(Outcome.COALESCED)) == (1, MANY - 1)


def test_who_wants_more_than_was_asked_asks_for_it_even_if_nothing_is_kept(open_cache):
    cache, calls = open_cache(ttl=0), []

    async def validate(symbol, timeframes):
        calls.append(tuple(timeframes))
        await asyncio.sleep(0.01)
        return ValidationResult(is_valid=True, symbol=symbol, head_timestamps=dict.fromkeys(timeframes))

    async def main():
        return await asyncio.gather(*(cache.get_or_validate("AAPL", [name], validate) for name in ("1d", "1h")))

    daily, hourly = asyncio.run(main())
    assert [names for names in calls if "1h" in names], "the one that came second wanted hours"
    assert (daily.missing, hourly.missing) == ((), ())


def test_an_error_that_many_get_does_not_grow_with_their_number(open_cache):
    cache = open_cache()

    async def validate(symbol, timeframes):
        await asyncio.sleep(0.01)
        raise ProviderUnavailableError("down")

    async def main():
        lookups = (cache.get_or_validate("AAPL", [], validate) for _ in range(MANY))
        return await asyncio.gather(*lookups, return_exceptions=True)

    errors = asyncio.run(main())
    assert {type(error) for error in errors} == {ProviderUnavailableError}
    assert max(len(traceback.extract_tb(error.__traceback__)) for error in errors) < MANY


@pytest.mark.parametrize("error", [ProviderError("no"), ProviderUnavailableError("down"), ValueError("a fault")])
def test_a_failed_lookup_keeps_nothing_of_its_call_alive(open_cache, error):
    class Response:
        pass

    cache, gone = open_cache(), []

    async def validate(symbol, timeframes):
        response = Response()
        gone.append(weakref.ref(response))
        raise type(error)(*error.args)

    for symbol in ("AAPL", "MSFT"):
        with pytest.raises(type(error)):
            asyncio.run(cache.get_or_validate(symbol, [], validate))
    gc.collect()
    assert len(gone) == 2
    assert not any(response() for response in gone)


@pytest.mark.parametrize("what", ["one", "many", "end"])
def test_a_cache_needs_no_thread_of_the_loops_own(open_cache, what):
    async def validate(symbol, timeframes):
        return ValidationResult(is_valid=True, symbol=symbol)

    async def main():
        loop, cache = asyncio.get_running_loop(), open_cache()
        loop.set_default_executor(ThreadPoolExecutor(WORKERS))

        async def ask():
            if what == "end":
                return await cache.aclose()
            if what == "one":
                return await cache.get_or_validate("AAPL", [], validate)
            return [found async for found in cache.get_or_validate_many(["AAPL"], [], validate)]

        def wait_in_a_thread():
            return asyncio.run_coroutine_threadsafe(ask(), loop).result(timeout=20)

        await asyncio.gather(*(asyncio.to_thread(wait_in_a_thread) for _ in range(WORKERS)))

    asyncio.run(main())
