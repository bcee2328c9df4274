"""What a symbol cache promises about answers: how long each lives, by timeframe, and what overturns a verdict."""

from __future__ import annotations

import asyncio

import pytest

from ..lookup.cache import PolicyCache
from ..models import Lookup, Outcome, Provenance, ProviderAnswer, ValidationResult, VerdictChange
from .cache_harness import DAY, HEAD, CacheHarness, Clock, Provider, ask, verdict


class AnswerPromises(CacheHarness):
    """Part of the contract of a symbol cache."""

    def test_a_valid_verdict_lives_thirty_days(self, cache: PolicyCache, provider: Provider, clock: Clock) -> None:
        ask(cache, provider, "AAPL", "1d")
        clock.advance(28 * DAY)
        assert cache.get("AAPL", ("1d",)) is not None
        clock.advance(2 * DAY)
        assert cache.get("AAPL", ("1d",)) is None
        assert ask(cache, provider, "AAPL", "1d").outcome is Outcome.MISS
        assert len(provider.calls) == 2

    def test_a_negative_lives_an_hour_and_then_twice_as_long(self, cache: PolicyCache, clock: Clock) -> None:
        lives = []
        for _ in range(7):
            lives.append(cache.store("NOSUCH", verdict("NOSUCH")).ttl_seconds)
            clock.advance(2 * DAY)
        hours = [3600.0 * 2**n for n in range(5)] + [86400.0] * 2
        assert lives == [pytest.approx(hour, rel=0.05) for hour in hours]
        assert all(life <= hour for life, hour in zip(lives, hours, strict=True)), "jitter only shortens"

    def test_an_unconfirmed_negative_lives_five_minutes(self, cache: PolicyCache, clock: Clock) -> None:
        cache.store("NOSUCH", ProviderAnswer(verdict("NOSUCH"), confirmed=False))
        clock.advance(280)
        assert cache.get("NOSUCH") is not None
        clock.advance(21)
        assert cache.get("NOSUCH") is None

    def test_a_life_ends_with_the_contract(self, cache: PolicyCache, clock: Clock) -> None:
        cache.store("ESZ6", ProviderAnswer(verdict("ESZ6"), valid_until=clock() + DAY))
        clock.advance(DAY - 1)
        assert cache.get("ESZ6") is not None
        clock.advance(1)
        assert cache.get("ESZ6") is None

    def test_an_entry_from_the_future_is_not_immortal(self, cache: PolicyCache, clock: Clock) -> None:
        cache.store("AAPL", verdict("AAPL"))
        assert cache.get("AAPL") is not None
        clock.advance(-400 * DAY)
        assert cache.get("AAPL") is None

    def test_a_hit_near_its_end_asks_in_the_background(
        self, cache: PolicyCache, provider: Provider, clock: Clock
    ) -> None:
        async def main() -> Lookup:
            lookup = await cache.get_or_validate("AAPL", ["1d"], provider.validate)
            while cache.get_stats().waiting:
                await asyncio.sleep(0)
            return lookup

        ask(cache, provider, "AAPL", "1d")
        clock.advance(27.5 * DAY)
        lookup = asyncio.run(main())
        assert (lookup.outcome, lookup.age) == (Outcome.HIT, 27.5 * DAY), "a hit does not wait for its renewal"
        assert len(provider.calls) == 2
        info = cache.get("AAPL", ("1d",))
        assert info is not None
        assert info.cached_at == clock(), "the renewal was not stored"

    def test_a_lookup_asks_for_just_the_timeframe_it_lacks(self, cache: PolicyCache, provider: Provider) -> None:
        ask(cache, provider, "AAPL", "1d")
        lookup = ask(cache, provider, "AAPL", "1d", "1h")
        assert provider.calls == [("AAPL", ("1d",)), ("AAPL", ("1h",))]
        assert lookup.result.head_timestamps == {"1d": HEAD, "1h": HEAD}
        assert cache.get("AAPL", ("1h", "1d")) is not None

    def test_a_timeframe_keeps_its_age_when_another_is_stored(self, cache: PolicyCache, clock: Clock) -> None:
        cache.store("AAPL", verdict("AAPL", "1h"))
        clock.advance(20 * DAY)
        cache.store("AAPL", verdict("AAPL", "1d"))
        assert cache.get("AAPL", ("1h", "1d")) is not None
        clock.advance(15 * DAY)
        assert cache.get("AAPL", ("1d",)) is not None
        assert cache.get("AAPL", ("1h",)) is None

    def test_no_data_is_an_answer_and_not_asked_is_none(self, cache: PolicyCache, provider: Provider) -> None:
        ask(cache, provider, "AAPL", "1w")
        assert ask(cache, provider, "AAPL", "1w").outcome is Outcome.HIT
        assert cache.get("AAPL", ("1d",)) is None

    def test_one_head_timestamp_may_serve_every_timeframe(self, cache: PolicyCache, provider: Provider) -> None:
        cache.store("AAPL", ProviderAnswer(verdict("AAPL", "1d"), one_head_timestamp=True))
        assert cache.get("AAPL", ("1h", "5m")) is not None
        lookup = ask(cache, provider, "AAPL", "1h")
        assert lookup.outcome is Outcome.HIT
        assert lookup.result.head_timestamps == {"1d": HEAD, "1h": HEAD}

    def test_an_invalid_symbol_lacks_no_timeframe(self, cache: PolicyCache, provider: Provider) -> None:
        assert not ask(cache, provider, "NOSUCH", "1d").result.is_valid
        assert ask(cache, provider, "NOSUCH", "1h").outcome is Outcome.HIT
        assert len(provider.calls) == 1

    def test_a_valid_symbol_is_declared_invalid_by_two_answers_only(self, cache: PolicyCache, clock: Clock) -> None:
        cache.store("NOVA", ValidationResult(is_valid=True, symbol="NOVA"))
        assert cache.store("NOVA", verdict("NOVA")).validation_result.is_valid
        clock.advance(300)
        assert cache.store("NOVA", verdict("NOVA")).validation_result.is_valid
        clock.advance(301)
        assert not cache.store("NOVA", verdict("NOVA")).validation_result.is_valid

    def test_a_qualified_negative_falls_when_the_plain_symbol_turns_out_to_be_that_contract(
        self, cache: PolicyCache, provider: Provider, clock: Clock
    ) -> None:
        for alias in ("STK:AAPL", "AAPL@SMART", "AAPL@TSE:CAD"):
            cache.store(alias, verdict("NOSUCH"))
            assert cache.get(alias) is not None
        clock.advance(1)
        cache.store("AAPL", verdict("AAPL"))
        assert cache.get("STK:AAPL") is None
        assert ask(cache, provider, "AAPL@SMART").result.is_valid
        assert cache.get("AAPL@TSE:CAD") is not None, "another contract's negative has nothing to do with it"

    def test_an_overturned_verdict_is_remembered(self, cache: PolicyCache, clock: Clock) -> None:
        cache.store("AAPL", ProviderAnswer(verdict("NOSUCH"), provenance=Provenance(provider="ib", code="200")))
        clock.advance(60)
        assert cache.store("AAPL", verdict("AAPL")).changes == (VerdictChange(at=clock(), is_valid=True),)
        for _ in range(2):
            clock.advance(700)
            info = cache.store(
                "AAPL", ProviderAnswer(verdict("NOSUCH"), provenance=Provenance(provider="ib", code="200"))
            )
        assert info.changes[-1] == VerdictChange(at=clock(), is_valid=False, code="200")
        assert len(info.changes) == 2
