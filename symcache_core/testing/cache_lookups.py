"""What a symbol cache promises about lookups: whose entry, how it is counted, and that nobody can change it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ..errors import ClosedError, InvalidSymbolError, ProviderError, ProviderUnavailableError
from ..lookup.cache import PolicyCache
from ..models import ContractInfo, Outcome, ProviderAnswer, SymbolLookup, ValidationResult
from ..policy import Rule
from .cache_harness import DAY, CacheHarness, Clock, Provider, ask, verdict


class LookupPromises(CacheHarness):
    """Part of the contract of a symbol cache."""

    def test_a_miss_asks_and_stores_and_the_next_lookup_hits(self, cache: PolicyCache, provider: Provider) -> None:
        first = ask(cache, provider, "AAPL", "1d")
        second = ask(cache, provider, "AAPL", "1d")
        assert (first.outcome, second.outcome) == (Outcome.MISS, Outcome.HIT)
        assert first.result == second.result == verdict("AAPL", "1d")
        assert provider.calls == [("AAPL", ("1d",))]

    def test_get_gives_what_is_fresh_and_complete(self, cache: PolicyCache, clock: Clock) -> None:
        assert cache.get("AAPL") is None
        cache.store("AAPL", verdict("AAPL", "1d"))
        for _ in range(2):
            info = cache.get("AAPL", ("1d",))
            assert info is not None
            assert info.to_validation_result() == verdict("AAPL", "1d")
            assert info.cached_at == clock()
        assert cache.get("AAPL", ["1d"]) is not None
        assert cache.get("AAPL", ("1d", "1h")) is None

    def test_spellings_of_one_instrument_share_an_entry(self, cache: PolicyCache, provider: Provider) -> None:
        for spelling in ("BRK.B", "brk b", " BRK-B "):
            ask(cache, provider, spelling)
        for spelling in ("eurusd", "EUR.USD", "EUR/USD"):
            ask(cache, provider, spelling)
        assert [symbol for symbol, _ in provider.calls] == ["BRK B", "EURUSD"]
        assert cache.get("BRKB") is None
        assert sorted(cache.symbols()) == ["BRK B", "EURUSD"]

    def test_a_qualified_symbol_is_an_instrument_of_its_own(self, cache: PolicyCache, provider: Provider) -> None:
        cache.store("RY", verdict("RY"))
        assert cache.get("RY@TSE:CAD") is None, "a qualified symbol was taken for the bare one"
        ask(cache, provider, " ry@tse:cad ")
        assert cache.get("RY@TSE:CAD") is not None
        assert sorted(cache.symbols()) == ["RY", "RY@TSE:CAD"]

    @pytest.mark.parametrize(
        "symbol",
        ["", "   ", "A" * 129, "AA\x00PL", "A\u202ePL"],
        ids=["nothing", "blanks", "too much", "a control character", "a change of direction"],
    )
    def test_what_cannot_be_a_symbol_is_refused(self, cache: PolicyCache, provider: Provider, symbol: str) -> None:
        with pytest.raises(InvalidSymbolError):
            cache.get(symbol)
        with pytest.raises(InvalidSymbolError):
            cache.store(symbol, verdict("AAPL"))
        with pytest.raises(InvalidSymbolError):
            ask(cache, provider, symbol)
        assert provider.calls == []

    def test_a_thing_that_is_no_answer_is_refused(self, cache: PolicyCache) -> None:
        async def validate(_symbol: str, _timeframes: Sequence[str]) -> Any:
            return {"is_valid": True}

        with pytest.raises(ProviderError, match="dict"):
            asyncio.run(cache.get_or_validate("AAPL", (), validate))

    def test_an_explanation_names_the_rule_that_serves_the_next_lookup(
        self, cache: PolicyCache, provider: Provider, clock: Clock
    ) -> None:
        assert cache.explain("aapl").rule is Rule.MISS
        ask(cache, provider, "AAPL", "1d")
        ask(cache, provider, "NOSUCH")
        cache.store("NOVA", ProviderAnswer(verdict("NOVA"), confirmed=False))
        since = clock()
        assert (cache.explain("AAPL", ["1d"]).rule, cache.explain("AAPL", ["1h"]).rule) == (Rule.TTL, Rule.TIMEFRAMES)
        assert cache.explain("NOSUCH").rule is Rule.NEGATIVE_TTL
        assert cache.explain("NOVA").rule is Rule.UNCONFIRMED_TTL
        clock.advance(27.5 * DAY)
        assert cache.explain("AAPL").rule is Rule.REFRESH_AHEAD
        clock.advance(3 * DAY)
        assert cache.explain("AAPL").rule is Rule.STALE_IF_ERROR
        provider.error = ProviderUnavailableError("down")
        assert ask(cache, provider, "AAPL").outcome is Outcome.STALE
        about = cache.explain("AAPL")
        assert (about.rule, about.error) == (Rule.RETRY_THROTTLE, "ProviderUnavailableError: down")
        assert (about.symbol, about.cached_at, about.age) == ("AAPL", since, 30.5 * DAY)
        clock.advance(8 * DAY)
        assert cache.explain("AAPL").rule is Rule.MISS

    def test_of_many_lookups_each_answers_or_fails_alone(self, cache: PolicyCache, provider: Provider) -> None:
        cache.store("MSFT", verdict("MSFT", "1d"))

        async def main() -> dict[str, SymbolLookup]:
            asked = ["AAPL", "MSFT", "", "NOSUCH", "aapl"]
            found = cache.get_or_validate_many(asked, ["1d"], provider.validate, concurrency=2)
            return {one.symbol: one async for one in found}

        found = asyncio.run(main())
        assert isinstance(found[""].error, InvalidSymbolError)
        verdicts = {name: one.lookup.result.is_valid for name, one in found.items() if one.lookup is not None}
        assert verdicts == {"AAPL": True, "MSFT": True, "NOSUCH": False, "aapl": True}
        assert sorted(provider.calls) == [("AAPL", ("1d",)), ("NOSUCH", ("1d",))]

    def test_forget_and_clear(self, cache: PolicyCache) -> None:
        for symbol in ("AAPL", "MSFT", "GOOG"):
            cache.store(symbol, verdict(symbol))
            assert cache.get(symbol) is not None
        assert cache.forget("aapl") is True
        assert cache.forget("AAPL") is False
        assert cache.get("AAPL") is None
        assert cache.clear() == 2
        assert cache.get("MSFT") is None
        assert list(cache.symbols()) == []

    def test_it_is_closed_once_and_for_all(self, cache: PolicyCache, provider: Provider) -> None:
        cache.store("AAPL", verdict("AAPL"))
        cache.get("AAPL")
        cache.close()
        cache.close()
        for use in (lambda: cache.get("AAPL"), cache.symbols, cache.clear, cache.get_stats):
            with pytest.raises(ClosedError):
                use()
        with pytest.raises(ClosedError):
            ask(cache, provider, "AAPL")

    def test_nobody_can_change_what_is_cached(self, cache: PolicyCache) -> None:
        details = {"nested": {"list": [1, 2]}}
        contract = ContractInfo.model_validate({"symbol": "AAPL", "conId": 1, **details})
        cache.store("AAPL", ValidationResult(is_valid=True, symbol="AAPL", contract_info=contract))
        details["nested"]["list"].append(3)
        for _ in range(2):
            info = cache.get("AAPL")
            assert info is not None
            kept = info.validation_result.contract_info
            assert kept is not None
            assert kept.details == {"conId": 1, "nested": {"list": (1, 2)}}
            with pytest.raises(TypeError):
                kept.details["nested"]["more"] = 1
            with pytest.raises(ValueError, match="frozen"):
                info.validation_result.is_valid = False  # type: ignore[misc]  # that it is refused is the point

    def test_every_lookup_is_counted(self, cache: PolicyCache, provider: Provider, clock: Clock) -> None:
        ask(cache, provider, "AAPL", "1d")
        ask(cache, provider, "AAPL", "1d")
        ask(cache, provider, "NOSUCH", "1d")
        cache.get("NOSUCH")
        cache.get("MSFT")
        provider.error = ProviderUnavailableError("down")
        ask(cache, provider, "AAPL", "1h")
        clock.advance(31 * DAY)
        ask(cache, provider, "AAPL", "1d")
        stats = cache.get_stats()
        assert (stats.hits, stats.misses, stats.partials, stats.stale) == (2, 3, 1, 1)
        assert (stats.negatives, stats.provider_calls, stats.provider_errors) == (2, 4, 2)
        assert (stats.cached_symbols, stats.backend, stats.provider) == (2, self.backend, "ib")

    def test_counts_add_up_over_restarts(self, tmp_path: Path, clock: Clock, opened: ExitStack) -> None:
        self.only_if_persistent()
        for _ in range(2):
            cache = self.open_cache(tmp_path / "store", clock, opened)
            cache.get("AAPL")
            assert cache.get_stats().misses == 1
            cache.close()
        cache = self.open_cache(tmp_path / "store", clock, opened)
        stats = cache.get_stats()
        assert (stats.misses, stats.totals.misses, stats.since) == (0, 2, clock())
        assert list(cache.symbols()) == []
        assert cache.clear() == 0

    def test_every_lookup_is_logged_once(
        self, cache: PolicyCache, provider: Provider, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "symcache")
        ask(cache, provider, "AAPL", "1d")
        clock.advance(3 * DAY)
        ask(cache, provider, "AAPL", "1d")
        cache.get("AAPL", ("1d",))
        lines = [record.getMessage() for record in caplog.records]
        assert len(lines) == 3
        assert lines[0].startswith("symbol cache miss AAPL age=0s ttl=")
        assert lines[1].startswith("symbol cache hit AAPL age=3d ttl=2")
        assert lines[2].endswith(f"backend={self.backend}")
