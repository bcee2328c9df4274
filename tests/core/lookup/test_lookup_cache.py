"""PolicyCache where its provider is slow or its storage fails, and what it costs nobody."""

import asyncio
import logging
import os

import pytest
from faulty_backend import FaultyBackend, LendingBackend, TellingBackend

from symcache_core.errors import (
    BackendUnavailableError,
    ClosedError,
    ConfigurationError,
    InvalidSymbolError,
    ProviderError,
    ProviderTimeoutError,
)
from symcache_core.lookup import cache as cache_module
from symcache_core.lookup.cache import PolicyCache
from symcache_core.lookup.counters import LookupCounters, SharedCounters
from symcache_core.models import Outcome, ValidationResult
from symcache_core.policy import Policy
from symcache_core.testing.cache_harness import DAY, verdict


@pytest.fixture
def backend(tmp_path):
    return FaultyBackend(tmp_path)


@pytest.fixture
def open_cache(backend, clock):
    caches = []

    def open_cache(**changes):
        policy = {name: changes.pop(name) for name in list(changes) if name in Policy.__dataclass_fields__}
        settings = {"near_cache_size": 100, "near_cache_age": 5.0, **changes}
        cache = PolicyCache(backend, name="failing", provider="ib", policy=Policy(**policy), clock=clock, **settings)
        caches.append(cache)
        return cache

    yield open_cache
    for cache in caches:
        cache.close()


def ask(cache, provider, symbol, *timeframes):
    return asyncio.run(cache.get_or_validate(symbol, timeframes, provider.validate))


def test_a_near_hit_does_not_touch_the_storage(open_cache, backend, clock):
    cache = open_cache()
    cache.store("AAPL", verdict("AAPL", "1d"))
    cache.get("AAPL", ("1d",))
    reads = backend.reads
    for _ in range(100):
        assert cache.get("AAPL", ("1d",)) is not None
    assert backend.reads == reads
    clock.advance(5)
    cache.get("AAPL", ("1d",))
    assert backend.reads == reads + 1


def test_a_store_is_seen_at_once_under_every_spelling(open_cache):
    cache = open_cache()
    cache.store("BRK B", verdict("BRK B", "1d"))
    for spelling in ("BRK.B", "brk-b"):
        assert cache.get(spelling, ("1h",)) is None
    cache.store("BRK/B", verdict("BRK B", "1h"))
    for spelling in ("BRK.B", "brk-b", "BRK B"):
        assert cache.get(spelling, ("1d", "1h")) is not None
    cache.forget("BRK.B")
    for spelling in ("BRK.B", "brk-b", "BRK B"):
        assert cache.get(spelling) is None


def test_without_storage_a_lookup_still_works(open_cache, backend, provider, clock, caplog):
    cache = open_cache(near_cache_size=0)
    backend.error = BackendUnavailableError("unplugged")
    assert ask(cache, provider, "AAPL", "1d").outcome is Outcome.MISS
    assert ask(cache, provider, "AAPL", "1d").outcome is Outcome.HIT, "what was validated meanwhile is not at hand"
    assert (cache.get_stats().degraded, cache.get_stats().unwritten) == (True, 1)
    assert caplog.text.count("works without its storage") == 1
    backend.error = None
    clock.advance(5)
    assert ask(cache, provider, "AAPL", "1d").outcome is Outcome.HIT
    assert (cache.get_stats().degraded, cache.get_stats().unwritten) == (False, 0)
    assert len(provider.calls) == 1
    assert backend.read("ib||AAPL||") is not None, "what could not be written was not written later"


def test_a_storage_that_failed_is_left_alone_and_then_tried_by_one_lookup(open_cache, backend, provider, clock):
    cache = open_cache(near_cache_size=0)
    backend.error = BackendUnavailableError("unplugged")
    ask(cache, provider, "AAPL")
    reads = backend.reads
    for _ in range(10):
        ask(cache, provider, "AAPL")
    assert backend.reads == reads
    clock.advance(5)
    for _ in range(10):
        ask(cache, provider, "AAPL")
    assert backend.reads == reads + 1


def test_what_was_near_serves_while_the_storage_is_away(open_cache, backend, provider, clock):
    cache = open_cache(near_cache_age=5.0)
    ask(cache, provider, "AAPL", "1d")
    assert ask(cache, provider, "AAPL", "1d").outcome is Outcome.HIT
    backend.error = BackendUnavailableError("unplugged")
    for _ in range(3):
        clock.advance(600)
        assert ask(cache, provider, "AAPL", "1d").outcome is Outcome.HIT
    assert len(provider.calls) == 1


def test_closing_writes_what_still_waits_and_says_what_it_loses(open_cache, backend, provider, caplog):
    cache = open_cache()
    backend.error = BackendUnavailableError("unplugged")
    ask(cache, provider, "AAPL")
    ask(cache, provider, "MSFT")
    cache.close()
    assert "loses 2 validated symbols" in caplog.text


def test_store_says_that_the_storage_did_not_take_it(open_cache, backend):
    cache = open_cache()
    backend.error = BackendUnavailableError("unplugged")
    with pytest.raises(BackendUnavailableError):
        cache.store("AAPL", verdict("AAPL"))


def test_an_entry_of_a_newer_schema_is_answered_by_the_provider_and_never_overwritten(
    open_cache, backend, provider, monkeypatch, caplog
):
    cache = open_cache()
    monkeypatch.setattr("symcache_core.entries.codec.SCHEMA_VERSION", 2)
    cache.store("AAPL", verdict("AAPL", "1d"))
    monkeypatch.undo()
    newer = backend.read("ib||AAPL||")
    assert cache.get("AAPL") is None
    assert ask(cache, provider, "AAPL", "1d").result.is_valid
    assert backend.read("ib||AAPL||") == newer
    assert "schema 2" in caplog.text


def test_a_provider_that_hangs_is_cut_off(open_cache, provider):
    cache = open_cache(timeout=0.02)

    async def main():
        provider.gate = asyncio.Event()
        with pytest.raises(ProviderTimeoutError, match=r"AAPL: no answer within 0.02 s \(setting 'timeout'\)"):
            await cache.get_or_validate("AAPL", (), provider.validate)

    asyncio.run(main())
    assert provider.cancelled == 1


def test_a_slow_provider_is_not_waited_for_when_a_stale_answer_is_there(open_cache, provider, clock):
    cache = open_cache(soft_timeout=0.01)

    async def main():
        await cache.get_or_validate("AAPL", ("1d",), provider.validate)
        clock.advance(31 * DAY)
        provider.gate = asyncio.Event()
        lookup = await cache.get_or_validate("AAPL", ("1d",), provider.validate)
        assert (lookup.outcome, type(lookup.error)) == (Outcome.STALE, ProviderTimeoutError)
        provider.gate.set()
        await cache.aclose(drain=5)

    asyncio.run(main())
    assert provider.cancelled == 0


def test_the_call_that_outlived_its_soft_timeout_is_stored(open_cache, provider, clock):
    cache = open_cache(soft_timeout=0.01)

    async def main():
        await cache.get_or_validate("AAPL", ("1d",), provider.validate)
        clock.advance(31 * DAY)
        provider.gate = asyncio.Event()
        await cache.get_or_validate("AAPL", ("1d",), provider.validate)
        provider.gate.set()
        await cache._asking.flights.drain(5)
        assert cache.get("AAPL", ("1d",)) is not None

    asyncio.run(main())
    assert len(provider.calls) == 2


def test_a_hit_near_the_end_of_its_life_refreshes_in_the_background(open_cache, provider, clock):
    cache = open_cache(jitter=0.0)

    async def main():
        await cache.get_or_validate("AAPL", ("1d",), provider.validate)
        clock.advance(28 * DAY)
        for _ in range(3):
            assert (await cache.get_or_validate("AAPL", ("1d",), provider.validate)).outcome is Outcome.HIT
        await cache._asking.flights.drain(5)
        assert len(provider.calls) == 2
        assert (await cache.get_or_validate("AAPL", ("1d",), provider.validate)).age == 0
        assert cache.get_stats().refreshes == 1

    asyncio.run(main())


def test_a_failed_refresh_is_tried_again_after_the_throttle(open_cache, provider, clock):
    cache = open_cache(jitter=0.0, retry_throttle=30.0)

    async def hit():
        lookup = await cache.get_or_validate("AAPL", ("1d",), provider.validate)
        await cache._asking.flights.drain(5)
        assert lookup.outcome is Outcome.HIT

    async def main():
        await hit_first()
        clock.advance(28 * DAY)
        provider.error = ProviderError("hiccup")
        await hit()
        await hit()
        assert len(provider.calls) == 2
        clock.advance(30)
        await hit()
        assert len(provider.calls) == 3

    async def hit_first():
        await cache.get_or_validate("AAPL", ("1d",), provider.validate)

    asyncio.run(main())


def test_a_provider_that_cancels_its_own_call_has_failed(open_cache):
    cache = open_cache()

    async def validate(symbol, timeframes):
        raise asyncio.CancelledError

    with pytest.raises(ProviderError, match="cancelled its own call"):
        asyncio.run(cache.get_or_validate("AAPL", (), validate))


def test_any_failure_of_a_provider_leaves_what_is_stored(open_cache, provider, clock):
    cache = open_cache()
    ask(cache, provider, "AAPL", "1d")
    clock.advance(31 * DAY)
    provider.error = ZeroDivisionError("a bug in the provider")
    lookup = ask(cache, provider, "AAPL", "1d")
    assert (lookup.outcome, lookup.error) == (Outcome.STALE, provider.error)
    with pytest.raises(ZeroDivisionError):
        ask(cache, provider, "MSFT", "1d")


def test_askers_of_different_timeframes_get_theirs_with_one_call_each(open_cache, provider):
    cache = open_cache()

    async def main():
        lookups = await asyncio.gather(
            *(cache.get_or_validate("AAPL", (timeframe,), provider.validate) for timeframe in ["1d", "1h"] * 10)
        )
        assert all(not lookup.missing for lookup in lookups)

    asyncio.run(main())
    assert sorted(provider.calls) == [("AAPL", ("1d",)), ("AAPL", ("1h",))]
    assert cache.get("AAPL", ("1d", "1h")) is not None


def test_a_timeframe_may_be_given_as_plain_text(open_cache, provider):
    cache = open_cache()
    asyncio.run(cache.get_or_validate("AAPL", "1d", provider.validate))
    assert provider.calls == [("AAPL", ("1d",))]
    assert cache.get("AAPL", "1d") is not None


def test_a_contradicted_symbol_is_not_asked_about_again_at_each_lookup(open_cache, provider):
    cache = open_cache()
    cache.store("NOVA", ValidationResult(is_valid=True, symbol="NOVA", head_timestamps={"1d": None}))
    for outcome in (Outcome.MISS, Outcome.HIT, Outcome.HIT):
        lookup = ask(cache, provider, "NOVA", "1d", "1h")
        assert (lookup.outcome, lookup.result.is_valid) == (outcome, True)
    assert "1h" not in lookup.result.head_timestamps
    assert provider.calls == [("NOVA", ("1h",))]


def test_who_lacks_a_part_of_the_answer_waits_as_long_as_who_lacks_all(open_cache, provider):
    cache = open_cache(soft_timeout=0.0, timeout=10.0)
    ask(cache, provider, "AAPL", "1d")
    assert ask(cache, provider, "AAPL", "1h").outcome is Outcome.MISS


class TestStorageThatTellsOfWrites:
    @pytest.fixture
    def backend(self, tmp_path):
        return TellingBackend(tmp_path)

    def test_near_entries_serve_while_it_cannot_even_tell_whether_others_wrote(self, open_cache, backend, provider):
        cache = open_cache()
        ask(cache, provider, "AAPL", "1d")
        assert cache.get("AAPL", ("1d",)) is not None
        backend.error = BackendUnavailableError("unplugged")
        assert cache.get("AAPL", ("1d",)) is not None
        assert ask(cache, provider, "AAPL", "1d").outcome is Outcome.HIT


def test_a_storage_that_cannot_be_written_is_complained_of_once(open_cache, backend, provider, clock, caplog):
    cache = open_cache()
    backend.write = lambda *_: (_ for _ in ()).throw(BackendUnavailableError("full"))
    for _ in range(3):
        ask(cache, provider, "AAPL", "1d")
    assert caplog.text.count("works without its storage") == 1
    assert cache.get_stats().degraded
    del backend.write
    clock.advance(5)
    ask(cache, provider, "AAPL", "1d")
    assert not cache.get_stats().degraded


def test_counters_that_cannot_be_stored_are_stored_later(open_cache, backend, clock, caplog):
    cache = open_cache()
    cache.get("AAPL")
    clock.advance(61)
    writes = backend.write
    backend.write = lambda *_: (_ for _ in ()).throw(BackendUnavailableError("full"))
    cache.get("AAPL")
    assert "counters not stored" in caplog.text
    backend.write = writes
    clock.advance(61)
    cache.get("AAPL")
    assert b'"misses":' in backend.read("@counters|ib")
    assert cache.get_stats().totals.misses == 3


def test_no_lookup_is_logged_when_nobody_listens(open_cache, provider, caplog):
    caplog.set_level(logging.WARNING, "symcache")
    ask(open_cache(), provider, "AAPL")
    assert caplog.records == []


def test_no_symbol_forges_a_line_of_the_log(open_cache, provider, caplog):
    caplog.set_level("INFO", "symcache")
    cache = open_cache()
    for _ in range(2):
        cache.get("\nINFO AAPL\r\n")
        ask(cache, provider, "\nINFO AAPL\r\n", "1d")
    assert len(caplog.messages) == 4
    assert all(message.isprintable() for message in caplog.messages)


def test_a_peek_gives_whatever_is_stored_over_or_not_and_counts_as_no_lookup(open_cache, clock):
    cache = open_cache()
    stored = cache.store("BRK.B", verdict("BRK B", "1d"))
    clock.advance(100 * DAY)
    assert cache.peek(" brk-b ") == stored
    assert cache.peek("MSFT") is None
    assert cache.get_stats().hits == cache.get_stats().misses == 0


def test_an_answer_comes_with_its_entry_and_its_age(open_cache, provider, clock):
    cache = open_cache()
    assert ask(cache, provider, "AAPL", "1d").info == cache.peek("AAPL")
    clock.advance(60)
    lookup = ask(cache, provider, "AAPL", "1d")
    assert (lookup.info, lookup.age) == (cache.peek("AAPL"), 60)
    clock.advance(-90)
    assert ask(cache, provider, "AAPL", "1d").age == 0, "a clock that was set back makes nothing younger than new"


def test_an_explanation_tells_of_the_providers_failure_about_this_symbol_and_of_the_storages(
    open_cache, backend, provider
):
    cache = open_cache()
    provider.error = ProviderError("ambiguous")
    with pytest.raises(ProviderError):
        ask(cache, provider, "AAPL")
    assert cache.explain("AAPL").error == "ProviderError: ambiguous"
    assert (cache.explain("MSFT").error, cache.explain("MSFT").storage_error) == (None, None)
    backend.error = BackendUnavailableError("unplugged")
    cache.get("MSFT")
    assert cache.explain("MSFT").storage_error == "BackendUnavailableError: unplugged"


def test_an_explanation_is_of_the_symbol_however_it_is_written(open_cache):
    cache = open_cache()
    cache.store("BRK.B", verdict("BRK B", "1d"))
    about = cache.explain(" brk-b ", "1h")
    assert (about.symbol, about.key, about.provider) == ("BRK B", "ib||BRK B||", "ib")
    assert (about.is_valid, about.missing) == (True, ("1h",))


@pytest.fixture
def count_elsewhere(backend, clock):
    """Counts a miss, as another process does, and adds it to the stored sums."""

    def count_elsewhere():
        counters = LookupCounters(SharedCounters(backend, "ib", clock), "failing")
        counters.missed("AAPL")
        counters.flush()

    return count_elsewhere


def test_the_figures_have_the_sums_over_every_process_and_since_when(open_cache, count_elsewhere, clock):
    began = clock()
    count_elsewhere()
    clock.advance(60)
    cache = open_cache()
    cache.get("AAPL")
    stats = cache.get_stats()
    assert (stats.backend, stats.provider, stats.cached_symbols) == ("failing", "ib", 0)
    assert (stats.misses, stats.totals.misses, stats.since) == (1, 2, began)


def test_while_the_storage_is_away_the_figures_are_those_of_this_process(open_cache, count_elsewhere, backend):
    count_elsewhere()
    cache = open_cache()
    backend.error = BackendUnavailableError("unplugged")
    cache.get("AAPL")
    stats = cache.get_stats()
    assert (stats.degraded, stats.unwritten) == (True, 0)
    assert (stats.totals.misses, stats.since) == (1, None)


def test_the_figures_have_the_size_of_the_storage_if_it_knows_it(open_cache, backend):
    assert open_cache().get_stats().size is None
    backend.size = lambda: backend.use("size") and 1000
    cache = open_cache()
    assert cache.get_stats().size == 1000
    backend.error = BackendUnavailableError("unplugged")
    cache.get("AAPL")
    uses = backend.uses
    assert cache.get_stats().size is None
    assert backend.uses == uses, "it is left alone, and each use may be a wait for a server that is silent"


def test_a_size_that_cannot_be_had_costs_the_figures_nothing_else(open_cache, backend):
    def size():
        raise BackendUnavailableError("busy")

    backend.size = size
    cache = open_cache()
    cache.store("AAPL", verdict("AAPL"))
    stats = cache.get_stats()
    assert (stats.cached_symbols, stats.size) == (1, None)


def test_a_storage_that_is_back_is_degraded_until_all_that_waited_is_written(open_cache, backend, provider, clock):
    cache = open_cache(near_cache_size=0)
    backend.error = BackendUnavailableError("unplugged")

    async def main():
        await asyncio.gather(*(cache.get_or_validate(f"S{n}", (), provider.validate) for n in range(150)))

    asyncio.run(main())
    backend.error = None
    clock.advance(5)
    cache.get("AAPL")
    stats = cache.get_stats()
    assert cache._known.storage.error is None
    assert (stats.degraded, stats.unwritten, stats.cached_symbols) == (True, 50, 150)


def test_closing_waits_for_background_work_as_long_as_it_is_told_and_for_the_last_time(open_cache):
    cache, drained = open_cache(), []

    async def drain(timeout, *, last):
        drained.append((timeout, last))

    cache._asking.flights.drain = drain
    asyncio.run(cache.aclose())
    asyncio.run(cache.aclose(drain=5))
    assert drained == [(0.0, True), (5, True)]


def test_of_many_symbols_eight_are_looked_up_at_a_time_if_nothing_else_is_said(open_cache, provider, monkeypatch):
    monkeypatch.setattr(cache_module, "look_up_many", lambda *_args: _args[-1])
    cache = open_cache()
    assert cache.get_or_validate_many(["AAPL"], (), provider.validate) == 8
    assert cache.get_or_validate_many(["AAPL"], (), provider.validate, concurrency=3) == 3


def test_a_near_hit_asks_in_the_background_from_the_very_moment_at_which_it_is_nearly_over(open_cache, provider, clock):
    async def main():
        cache = open_cache(jitter=0.0)
        cache.store("AAPL", verdict("AAPL", "1d"))
        clock.advance(27 * DAY - 1)
        for passed, calls in ((0, 0), (1, 1)):
            clock.advance(passed)
            lookup = await cache.get_or_validate("AAPL", ("1d",), provider.validate)
            await cache._asking.flights.drain(20)
            assert (lookup.outcome, len(provider.calls)) == (Outcome.HIT, calls)

    asyncio.run(main())


def test_every_way_to_look_up_says_what_was_asked_for_in_the_words_of_the_caller(open_cache, provider, clock, caplog):
    caplog.set_level(logging.INFO, "symcache")
    cache = open_cache(jitter=0.0)
    assert cache.get("brk.b") is None
    ask(cache, provider, "brk.b")
    cache.get("brk.b")
    ask(cache, provider, "brk.b")
    clock.advance(31 * DAY)
    provider.error = ProviderError("down")
    ask(cache, provider, "brk.b")
    told = "age=0s ttl=30d backend=failing"
    assert caplog.messages == [
        "symbol cache miss brk.b backend=failing",
        f"symbol cache miss brk.b {told}",
        f"symbol cache hit brk.b {told}",
        f"symbol cache hit brk.b {told}",
        "symbol cache provider error BRK B: down",
        "symbol cache stale brk.b age=31d ttl=0s backend=failing",
    ]


def test_what_was_looked_up_is_near_under_the_spelling_of_the_caller(open_cache, provider):
    cache = open_cache()
    cache.store("BRK B", verdict("BRK B", "1d"))
    ask(cache, provider, "brk.b", "1d")
    assert list(cache._known.near.slots) == ["brk.b"]
    ask(cache, provider, "aapl", "1d")
    assert list(cache._known.near.slots) == ["brk.b", "aapl"]


class Sized(FaultyBackend):
    def size(self):
        self.use("size")
        return 4711


class TestStorageThatKnowsItsSize:
    @pytest.fixture
    def backend(self, tmp_path):
        return Sized(tmp_path)

    def test_the_figures_have_it_while_it_can_be_asked(self, open_cache, backend):
        cache = open_cache()
        assert cache.get_stats().size == 4711
        backend.error = BackendUnavailableError("unplugged")
        assert cache.get_stats().size is None


@pytest.mark.parametrize(
    "use",
    [
        lambda cache: cache.get("AAPL"),
        lambda cache: cache.peek("AAPL"),
        lambda cache: cache.explain("AAPL"),
        lambda cache: cache.store("AAPL", verdict("AAPL")),
        lambda cache: cache.forget("AAPL"),
        PolicyCache.symbols,
        PolicyCache.clear,
        PolicyCache.get_stats,
        lambda cache: asyncio.run(cache.get_or_validate("AAPL", (), None)),
    ],
    ids=["get", "peek", "explain", "store", "forget", "symbols", "clear", "get_stats", "get_or_validate"],
)
def test_a_closed_cache_says_so_whatever_is_asked_of_it(open_cache, use):
    cache = open_cache()
    cache.close()
    with pytest.raises(ClosedError, match=r"^this symbol cache is closed$"):
        use(cache)


class TestStorageThatLends:
    @pytest.fixture
    def backend(self, tmp_path):
        return LendingBackend(tmp_path)

    def test_a_process_that_begins_with_an_inherited_cache_lets_go_of_its_leases(
        self, open_cache, backend, provider, monkeypatch
    ):
        async def main():
            cache = open_cache()
            provider.gate = asyncio.Event()
            asking = asyncio.ensure_future(cache.get_or_validate("AAPL", (), provider.validate))
            async with asyncio.timeout(20):
                while not provider.calls:
                    await asyncio.sleep(0)
            assert backend.held == {"ib||AAPL||"}
            monkeypatch.setattr(os, "getpid", lambda: -1)  # as in a forked child
            cache.peek("MSFT")
            assert backend.held == set()
            provider.gate.set()
            await asking

        asyncio.run(main())


class Unhashable(str):
    """A text of somebody's own, which fails in its own way where a dict wants to have it."""

    __slots__ = ()

    def __hash__(self):
        raise RuntimeError("no hash")


class UnhashableThing:
    def __hash__(self):
        raise RuntimeError("no hash")


@pytest.mark.parametrize("symbol", [Unhashable("AAPL"), UnhashableThing()])
def test_a_symbol_that_has_no_hash_is_refused_like_any_that_is_none(open_cache, provider, symbol):
    cache = open_cache()

    async def look_up():
        await cache.get_or_validate(symbol, (), provider.validate)

    async def look_up_many():
        found = cache.get_or_validate_many(["AAPL", symbol], (), provider.validate)
        return {type(each.error) async for each in found}

    uses = (cache.get, cache.peek, cache.explain, cache.forget, lambda _symbol: asyncio.run(look_up()))
    for use in (*uses, lambda symbol: cache.store(symbol, verdict("AAPL", "1d"))):
        with pytest.raises(InvalidSymbolError, match="a symbol is text"):
            use(symbol)
    assert asyncio.run(look_up_many()) == {type(None), InvalidSymbolError}


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -float("inf"), 1e300, None, "noon"])
def test_a_clock_that_tells_no_time_is_an_error_that_says_so(backend, provider, seconds):
    told = [1e9]
    settings = {"near_cache_size": 9, "near_cache_age": 9.0}
    cache = PolicyCache(backend, name="x", provider="ib", policy=Policy(), clock=lambda: told[0], **settings)
    with cache:
        asyncio.run(cache.get_or_validate("AAPL", (), provider.validate))
        assert cache.get("AAPL") is not None
        told[0] = seconds
        for use in (lambda: cache.get("AAPL"), lambda: asyncio.run(cache.get_or_validate("AAPL", (), None))):
            with pytest.raises(ConfigurationError, match=r"the clock gives .*: it has to give seconds since the epoch"):
                use()
        told[0] = 1e9
