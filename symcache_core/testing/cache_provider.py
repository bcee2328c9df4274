"""What a symbol cache promises of its provider: asked once, and no lookup at the mercy of one that fails or is slow."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..errors import ProviderTimeoutError, ProviderUnavailableError
from ..lookup.cache import PolicyCache
from ..models import Lookup, Outcome, ProviderAnswer
from .cache_harness import DAY, CacheHarness, Clock, Provider, ask, verdict
from .harness import at_once


class ProviderPromises(CacheHarness):
    """Part of the contract of a symbol cache."""

    def test_an_error_goes_out_unchanged_and_is_not_stored(self, cache: PolicyCache, provider: Provider) -> None:
        provider.error = ProviderUnavailableError("down", code="1100")
        with pytest.raises(ProviderUnavailableError) as raised:
            ask(cache, provider, "AAPL")
        assert raised.value is provider.error
        assert list(cache.symbols()) == []
        assert cache.get("AAPL") is None
        assert cache.get_stats().misses == 2

    def test_a_stale_entry_bridges_an_outage_for_a_week(
        self, cache: PolicyCache, provider: Provider, clock: Clock
    ) -> None:
        ask(cache, provider, "AAPL", "1d")
        provider.error = ProviderUnavailableError("down")
        clock.advance(31 * DAY)
        lookup = ask(cache, provider, "AAPL", "1d")
        assert lookup.outcome is Outcome.STALE
        assert lookup.age == 31 * DAY
        assert lookup.error is provider.error
        assert ask(cache, provider, "AAPL", "1d").outcome is Outcome.STALE
        assert len(provider.calls) == 2, "a failed provider is left alone for a while"
        clock.advance(7 * DAY)
        with pytest.raises(ProviderUnavailableError):
            ask(cache, provider, "AAPL", "1d")

    def test_the_provider_is_asked_again_after_an_outage(
        self, cache: PolicyCache, provider: Provider, clock: Clock
    ) -> None:
        ask(cache, provider, "AAPL", "1d")
        provider.error = ProviderUnavailableError("down")
        clock.advance(31 * DAY)
        assert ask(cache, provider, "AAPL", "1d").outcome is Outcome.STALE
        provider.error = None
        assert ask(cache, provider, "AAPL", "1d").outcome is Outcome.STALE, "a failed provider is left alone for 30 s"
        clock.advance(31)
        assert ask(cache, provider, "AAPL", "1d").outcome is Outcome.MISS
        assert ask(cache, provider, "AAPL", "1d").outcome is Outcome.HIT

    def test_an_unconfirmed_negative_bridges_no_outage(
        self, cache: PolicyCache, provider: Provider, clock: Clock
    ) -> None:
        cache.store("NOSUCH", ProviderAnswer(verdict("NOSUCH"), confirmed=False))
        provider.error = ProviderUnavailableError("down")
        clock.advance(301)
        with pytest.raises(ProviderUnavailableError):
            ask(cache, provider, "NOSUCH")

    def test_a_slow_provider_is_not_waited_for_while_a_stale_entry_serves(
        self, tmp_path: Path, clock: Clock, opened: ExitStack, provider: Provider
    ) -> None:
        cache = self.open_cache(tmp_path / "store", clock, opened, soft_timeout=0.01)

        async def main() -> Lookup:
            provider.gate = asyncio.Event()
            lookup = await cache.get_or_validate("AAPL", ["1d"], provider.validate)
            provider.gate.set()
            while cache.get_stats().waiting:
                await asyncio.sleep(0)
            return lookup

        cache.store("AAPL", verdict("AAPL", "1d"))
        clock.advance(31 * DAY)
        lookup = asyncio.run(asyncio.wait_for(main(), 10))
        assert (lookup.outcome, lookup.age) == (Outcome.STALE, 31 * DAY)
        assert cache.get("AAPL", ("1d",)) is not None, "the call that went on in the background was not stored"

    def test_a_provider_that_never_answers_is_given_up(
        self, tmp_path: Path, clock: Clock, opened: ExitStack, provider: Provider
    ) -> None:
        cache = self.open_cache(tmp_path / "store", clock, opened, timeout=0.01)

        async def main() -> None:
            provider.gate = asyncio.Event()
            await cache.get_or_validate("AAPL", [], provider.validate)

        with pytest.raises(ProviderTimeoutError):
            asyncio.run(asyncio.wait_for(main(), 10))
        assert provider.cancelled == 1
        assert list(cache.symbols()) == []

    def test_a_fresh_entry_without_a_timeframe_is_served_as_partial(
        self, cache: PolicyCache, provider: Provider
    ) -> None:
        ask(cache, provider, "AAPL", "1d")
        provider.error = ProviderUnavailableError("down")
        lookup = ask(cache, provider, "AAPL", "1d", "1h")
        assert (lookup.outcome, lookup.missing, lookup.error) == (Outcome.PARTIAL, ("1h",), provider.error)

    def test_many_tasks_make_one_call(self, cache: PolicyCache, provider: Provider) -> None:
        async def main() -> list[Lookup]:
            return await asyncio.gather(*(cache.get_or_validate("AAPL", ["1d"], provider.validate) for _ in range(50)))

        outcomes = [lookup.outcome for lookup in asyncio.run(main())]
        assert len(provider.calls) == 1
        assert outcomes.count(Outcome.MISS) == 1
        assert outcomes.count(Outcome.COALESCED) == 49

    def test_many_threads_make_one_call(self, cache: PolicyCache, provider: Provider) -> None:
        lookups = at_once(*[lambda: ask(cache, provider, "AAPL", "1d")] * 20)
        assert len(provider.calls) == 1
        assert all(lookup.result.is_valid for lookup in lookups)

    def test_cancelling_one_waiter_leaves_the_others(self, cache: PolicyCache, provider: Provider) -> None:
        async def main() -> Lookup:
            provider.gate = asyncio.Event()
            first, second = (
                asyncio.ensure_future(cache.get_or_validate("AAPL", [], provider.validate)) for _ in range(2)
            )
            while cache.get_stats().waiting < 2:
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait({first})
            provider.gate.set()
            return await second

        assert asyncio.run(main()).result.is_valid
        assert len(provider.calls) == 1

    def test_the_call_is_cancelled_when_the_last_waiter_leaves(self, cache: PolicyCache, provider: Provider) -> None:
        async def main() -> None:
            provider.gate = asyncio.Event()
            waiters = [asyncio.ensure_future(cache.get_or_validate("AAPL", [], provider.validate)) for _ in range(3)]
            while not provider.calls or cache.get_stats().waiting < 3:
                await asyncio.sleep(0)
            for waiter in waiters:
                waiter.cancel()
            await asyncio.wait(waiters)
            while not provider.cancelled:
                await asyncio.sleep(0)
            provider.gate = None
            assert (await cache.get_or_validate("AAPL", [], provider.validate)).outcome is Outcome.MISS

        asyncio.run(asyncio.wait_for(main(), 10))
