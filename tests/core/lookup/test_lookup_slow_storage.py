"""A storage whose calls take long to fail is left alone: one of them in a while pays for it, and nobody else waits."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from faulty_backend import BatchingBackend, HangingBackend
from patience import PATIENCE

from symcache_core.errors import BackendUnavailableError
from symcache_core.lookup.cache import PolicyCache
from symcache_core.models import Outcome
from symcache_core.policy import Policy
from symcache_core.testing.cache_harness import verdict

RETRY = 5.0
SOFT_TIMEOUT = 0.1
SYMBOLS = [f"S{number}" for number in range(200)]
MOST_THREADS = 64


@pytest.fixture
def backend(tmp_path):
    return HangingBackend(tmp_path)


@pytest.fixture
def cache(backend, clock):
    policy = Policy(soft_timeout=SOFT_TIMEOUT, jitter=0.0)
    settings = {"near_cache_size": 1000, "near_cache_age": 1.0, "storage_retry": RETRY}
    with PolicyCache(backend, name="hanging", provider="ib", policy=policy, clock=clock, **settings) as cache:
        yield cache
        backend.hangs = frozenset()
        backend.fail()


@pytest.fixture
def known(cache, clock):
    """Symbols that are stored, and were looked up too long ago to be trusted without a look at the storage."""
    for symbol in SYMBOLS:
        cache.store(symbol, verdict(symbol, "1d"))
        assert cache.get(symbol, ("1d",)) is not None
    clock.advance(2)
    return SYMBOLS


async def look_up(cache, provider, symbols, *timeframes):
    """Look symbols up at the same time; none waits for a call that hangs, as nobody lets one end meanwhile."""
    lookups = (cache.get_or_validate(symbol, timeframes or ("1d",), provider.validate) for symbol in symbols)
    return await asyncio.wait_for(asyncio.gather(*lookups), PATIENCE)


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


async def fail_all(cache, backend):
    """Let the calls that hang fail, and those that begin because of that, until all of that is known."""
    reach = cache._known.reach
    while backend.hanging or reach._reads or reach._writes:
        backend.fail()
        await asyncio.sleep(0.001)


def outcomes(lookups):
    return {lookup.outcome for lookup in lookups}


def test_a_thousand_lookups_of_known_symbols_cost_one_wait_in_each_retry(cache, backend, provider, clock, known):
    async def main():
        backend.hangs = backend.ALL
        for symbol in known[:3]:  # the first one learns that it is silent
            assert outcomes(await look_up(cache, provider, [symbol])) == {Outcome.HIT}
        assert backend.hung == ["read"]
        assert outcomes(await look_up(cache, provider, known * 5)) == {Outcome.HIT}
        assert backend.hung == ["read"], "a storage that is silent was asked again"
        for calls in range(2, 6):
            await fail_all(cache, backend)
            clock.advance(RETRY - 0.1)
            assert outcomes(await look_up(cache, provider, known * 5)) == {Outcome.HIT}
            assert len(backend.hung) == calls - 1, "it was asked before the wait was over"
            clock.advance(0.2)
            assert outcomes(await look_up(cache, provider, known * 5)) == {Outcome.HIT}
            assert len(backend.hung) == calls, "more than one call in a wait"
            clock.advance(10 * RETRY)
            assert outcomes(await look_up(cache, provider, known * 5)) == {Outcome.HIT}
            assert len(backend.hung) == calls, "the wait counts from the end of a call, and this one hangs"
        assert provider.calls == []
        await fail_all(cache, backend)

    asyncio.run(main())


def test_those_who_come_before_anyone_knows_wait_in_the_threads_there_are_and_no_longer_than_the_soft_timeout(
    cache, backend, provider, known
):
    async def main():
        backend.hangs = backend.ALL
        assert outcomes(await look_up(cache, provider, known * 5)) == {Outcome.HIT}
        hung = len(backend.hung)
        assert 1 <= hung <= MOST_THREADS
        assert outcomes(await look_up(cache, provider, known * 5)) == {Outcome.HIT}
        assert len(backend.hung) == hung
        await fail_all(cache, backend)

    asyncio.run(main())


def test_what_is_unknown_is_validated_while_it_is_silent_and_stored_when_it_is_back(cache, backend, provider, clock):
    async def main():
        backend.hangs = backend.ALL
        found = await look_up(cache, provider, SYMBOLS)
        assert outcomes(found) == {Outcome.MISS}
        assert outcomes(await look_up(cache, provider, SYMBOLS)) == {Outcome.HIT}
        assert len(provider.calls) == len(SYMBOLS)
        assert cache.get_stats().unwritten == len(SYMBOLS)
        backend.hangs = frozenset()
        await fail_all(cache, backend)
        clock.advance(RETRY)
        for _ in range(3):
            await look_up(cache, provider, ["S0"])
            clock.advance(RETRY)
        assert cache.get_stats().unwritten == 0
        assert set(cache.symbols()) == set(SYMBOLS)

    asyncio.run(main())


def test_a_storage_that_is_back_is_used_at_once(cache, backend, provider, clock, known):
    async def main():
        backend.hangs = backend.ALL
        await look_up(cache, provider, known * 5)
        backend.hangs = frozenset()
        await fail_all(cache, backend)
        clock.advance(RETRY)
        uses = backend.uses
        await look_up(cache, provider, ["S7"])
        assert backend.uses > uses
        assert not cache.get_stats().degraded

    asyncio.run(main())


def test_an_answer_whose_write_hangs_is_given_after_the_soft_timeout_and_written_once(
    cache, backend, provider, clock, known
):
    async def main():
        backend.hangs = frozenset({"write"})
        assert outcomes(await look_up(cache, provider, ["NEW"])) == {Outcome.MISS}
        assert backend.hanging == 1
        assert outcomes(await look_up(cache, provider, ["NEW", *known])) == {Outcome.HIT}, "it can be read all the same"
        assert outcomes(await look_up(cache, provider, ["NEWER"])) == {Outcome.MISS}
        assert backend.hung == ["write"], "another write was tried"
        await fail_all(cache, backend)
        await until(lambda: cache.get_stats().unwritten == 2)
        backend.hangs = frozenset()
        clock.advance(RETRY)
        await look_up(cache, provider, known[:1])
        assert cache.get_stats().unwritten == 0
        assert {"NEW", "NEWER"} <= set(cache.symbols())
        assert [symbol for symbol, _ in provider.calls] == ["NEW", "NEWER"]

    asyncio.run(main())


def test_a_negative_whose_write_hangs_counts_once(cache, backend, provider, clock):
    async def main():
        backend.hangs = frozenset({"write"})
        await look_up(cache, provider, ["NOSUCH"])
        await fail_all(cache, backend)
        await until(lambda: not cache._known.reach._writes)
        assert cache.peek("NOSUCH").repeats == 0

    asyncio.run(main())


@pytest.mark.parametrize("call", ["lock", "release"])
def test_a_lease_that_hangs_holds_up_nobody_for_longer_than_the_soft_timeout(cache, backend, provider, call):
    async def main():
        backend.hangs = frozenset({call})
        assert outcomes(await look_up(cache, provider, ["NEW"])) == {Outcome.MISS}
        await until(lambda: backend.hanging)
        await until(lambda: not cache._known.reach.is_well())
        assert outcomes(await look_up(cache, provider, SYMBOLS)) == {Outcome.MISS}
        assert backend.hung == [call], "a lease is asked for of a storage that is silent"
        await fail_all(cache, backend)

    asyncio.run(main())


def test_of_what_fails_slowly_in_one_direction_one_call_tries_the_other(cache, backend, provider, known):
    async def main():
        backend.hangs = backend.ALL
        storing = threading.Thread(target=store_in_vain, args=[cache])
        storing.start()
        await until(lambda: backend.hanging and not cache._known.reach.is_well())
        await look_up(cache, provider, known * 5)
        assert backend.hung.count("read") <= 2, "the read of the entry to be written, and one more"
        await fail_all(cache, backend)
        storing.join()

    asyncio.run(main())


def store_in_vain(cache):
    with pytest.raises(BackendUnavailableError):
        cache.store("NEW", verdict("NEW", "1d"))


def test_many_threads_pay_for_one_wait_together(cache, backend, clock, known):
    backend.hangs = backend.ALL
    first = threading.Thread(target=cache.get, args=("S0", ("1d",)))
    first.start()
    while cache._known.reach.can_read():
        first.join(0.001)
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda symbol: cache.get(symbol, ("1d",)), known))
    assert backend.hung == ["read"]
    backend.fail()
    first.join()


def test_the_figures_cost_one_wait(cache, backend, known):
    backend.hangs = backend.ALL
    failing = threading.Thread(target=fail_repeatedly, args=(backend, stop := threading.Event()))
    failing.start()
    stats = cache.get_stats()
    assert (stats.degraded, len(backend.hung)) == (True, 1)
    stop.set()
    failing.join()


def fail_repeatedly(backend, stop):
    """Let each call fail, and not before it has taken longer than anyone is willing to wait."""
    while not stop.wait(0.001):
        if backend.hanging:
            time.sleep(2 * SOFT_TIMEOUT)
            backend.fail()


def test_closing_gives_a_silent_storage_up_after_one_wait(cache, backend, provider, clock, caplog):
    async def main():
        backend.hangs = backend.ALL
        await look_up(cache, provider, SYMBOLS)
        await fail_all(cache, backend)

    asyncio.run(main())
    backend.hung.clear()
    failing = threading.Thread(target=fail_repeatedly, args=(backend, stop := threading.Event()))
    failing.start()
    cache.close()
    stop.set()
    failing.join()
    assert len(backend.hung) == 1
    assert "loses 200 validated symbols, not written: silent" in caplog.text


@pytest.mark.parametrize("call", ["lock", "read", "write", "release"])
def test_whatever_hangs_in_every_thread_no_lookup_after_the_first_waits_for_it(cache, backend, provider, known, call):
    async def main():
        backend.hangs = frozenset({call})
        loop, waited = asyncio.get_running_loop(), []
        # In turns of their own, so that each has a thread of its own.
        early = []
        for symbol in range(MOST_THREADS):
            early.append(asyncio.create_task(look_up(cache, provider, [f"EARLY{symbol}"])))
            await asyncio.sleep(0)
        await asyncio.gather(*early)
        for symbol in known:
            began = loop.time()
            await look_up(cache, provider, [symbol])
            waited.append(loop.time() - began >= SOFT_TIMEOUT / 2)
        assert waited.count(True) <= 1
        await fail_all(cache, backend)

    asyncio.run(main())


def test_closing_leaves_the_leases_to_a_silent_storage_that_it_cannot_be_told_of(cache, backend):
    async def validate(symbol, _timeframes):
        await answered.wait()
        return verdict(symbol, "1d")

    async def main():
        lookups = [asyncio.create_task(cache.get_or_validate(name, ("1d",), validate)) for name in SYMBOLS[:60]]
        await until(lambda: len(backend.held) == 60)
        backend.hangs = backend.ALL
        answered.set()
        await asyncio.gather(*lookups)
        await until(lambda: backend.hanging and not cache._known.reach.is_well())
        backend.hung.clear()
        await cache.aclose()

    answered = asyncio.Event()
    failing = threading.Thread(target=fail_repeatedly, args=(backend, stop := threading.Event()))
    failing.start()
    asyncio.run(main())
    stop.set()
    failing.join()
    assert backend.hung.count("read") <= 1, "more than one entry was tried"
    assert backend.hung.count("release") <= 6, "each lease was waited for"
    backend.fail()


def test_closing_gives_back_every_lease_to_a_storage_that_is_well(cache, backend, provider):
    async def main():
        await look_up(cache, provider, SYMBOLS)
        await cache.aclose()
        assert backend.held == set()

    asyncio.run(main())


class TestManyAtOnce:
    @pytest.fixture
    def backend(self, tmp_path):
        class HangingBatches(HangingBackend, BatchingBackend):
            ALL = HangingBackend.ALL | {"read_many"}

        return HangingBatches(tmp_path)

    def test_symbols_in_bulk_cost_one_wait(self, cache, backend, provider, known):
        async def main():
            backend.hangs = backend.ALL
            found = cache.get_or_validate_many(known * 5, ("1d",), provider.validate)
            assert {each.lookup.outcome async for each in found} == {Outcome.HIT}
            assert 1 <= len(backend.hung) <= 8, "no more than are under way when nobody knows yet"
            await fail_all(cache, backend)

        asyncio.run(main())

    def test_unknown_symbols_in_bulk_cost_one_wait(self, cache, backend, provider):
        async def main():
            backend.hangs = backend.ALL
            found = cache.get_or_validate_many(SYMBOLS, ("1d",), provider.validate)
            assert {each.lookup.outcome async for each in found} == {Outcome.MISS}
            assert backend.hung == ["read_many"]
            await fail_all(cache, backend)

        asyncio.run(main())
