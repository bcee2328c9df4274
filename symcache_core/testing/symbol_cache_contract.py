"""SymbolCacheContract: what a symbol cache promises over any backend, as tests."""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ..entries import codec
from ..errors import (
    ClosedError,
    InvalidSymbolError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from ..factory import open_symbol_cache
from ..lookup.cache import PolicyCache
from ..models import (
    ContractInfo,
    Lookup,
    Outcome,
    Provenance,
    ProviderAnswer,
    SymbolLookup,
    ValidationResult,
    VerdictChange,
)
from ..policy import Rule
from ..settings import SymcacheSettings
from ..symbols import Instrument
from .bench import FAR, plain
from .contract import Contract

DAY = 86400.0
HEAD = "1980-12-12T14:30:00+00:00"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass; a negative amount sets the clock back."""
        self.now += seconds


class Provider:
    """A data provider that knows every symbol but those that begin with ``NO``, and counts what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.cancelled = 0

    async def validate(self, symbol: str, timeframes: Sequence[str]) -> ValidationResult:
        """Answer, or raise ``error``, once ``gate`` is open."""
        self.calls.append((symbol, tuple(timeframes)))
        try:
            await (asyncio.sleep(0.01) if self.gate is None else self.gate.wait())
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return verdict(symbol, *timeframes)


def verdict(symbol: str, *timeframes: str) -> ValidationResult:
    """The answer of the test provider."""
    if symbol.startswith("NO"):
        return ValidationResult(is_valid=False, symbol=symbol, error_message=f"{symbol}: no such symbol")
    contract = ContractInfo(symbol=symbol, asset_type="STK", exchange="SMART", currency="USD")
    heads = {timeframe: None if timeframe == "1w" else HEAD for timeframe in timeframes}
    return ValidationResult(is_valid=True, symbol=symbol, contract_info=contract, head_timestamps=heads)


class SymbolCacheContract(Contract):
    """Subclass it, set ``backend``, return the options from ``settings``; pytest does the rest."""

    @pytest.fixture
    def clock(self) -> Clock:
        """The cache's clock."""
        return Clock()

    @pytest.fixture
    def provider(self) -> Provider:
        """Who is asked."""
        return Provider()

    @pytest.fixture
    def cache(self, tmp_path: Path, clock: Clock, opened: ExitStack) -> PolicyCache:
        """An empty cache for provider ``ib``."""
        return self.open_cache(tmp_path / "store", clock, opened)

    def open_cache(self, folder: Path, clock: Clock, opened: ExitStack, **settings: Any) -> PolicyCache:
        """A cache over the store of a folder."""
        folder.mkdir(exist_ok=True)
        given = {"provider": "ib", **settings}
        options = {self.backend: plain(self.settings(folder))}
        cache = open_symbol_cache(
            SymcacheSettings(backend=self.backend, backends=options, plugins=self.plugins, data_dir=folder, **given),
            clock=clock,
        )
        opened.callback(cache.close)
        return cache

    # -- hits and misses ---------------------------------------------------------------------------------------------

    def test_a_miss_asks_and_stores_and_the_next_lookup_hits(self, cache: PolicyCache, provider: Provider) -> None:
        first = _ask(cache, provider, "AAPL", "1d")
        second = _ask(cache, provider, "AAPL", "1d")
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
            _ask(cache, provider, spelling)
        for spelling in ("eurusd", "EUR.USD", "EUR/USD"):
            _ask(cache, provider, spelling)
        assert [symbol for symbol, _ in provider.calls] == ["BRK B", "EURUSD"]
        assert cache.get("BRKB") is None
        assert sorted(cache.symbols()) == ["BRK B", "EURUSD"]

    def test_a_qualified_symbol_is_an_instrument_of_its_own(self, cache: PolicyCache, provider: Provider) -> None:
        cache.store("RY", verdict("RY"))
        assert cache.get("RY@TSE:CAD") is None, "a qualified symbol was taken for the bare one"
        _ask(cache, provider, " ry@tse:cad ")
        assert cache.get("RY@TSE:CAD") is not None
        assert sorted(cache.symbols()) == ["RY", "RY@TSE:CAD"]

    @pytest.mark.parametrize("symbol", ["", "   ", "A" * 129, "AA\x00PL", "A\u202ePL"], ids=ascii)
    def test_what_cannot_be_a_symbol_is_refused(self, cache: PolicyCache, provider: Provider, symbol: str) -> None:
        with pytest.raises(InvalidSymbolError):
            cache.get(symbol)
        with pytest.raises(InvalidSymbolError):
            cache.store(symbol, verdict("AAPL"))
        with pytest.raises(InvalidSymbolError):
            _ask(cache, provider, symbol)
        assert provider.calls == []

    # -- lives -------------------------------------------------------------------------------------------------------

    def test_a_valid_verdict_lives_thirty_days(self, cache: PolicyCache, provider: Provider, clock: Clock) -> None:
        _ask(cache, provider, "AAPL", "1d")
        clock.advance(28 * DAY)
        assert cache.get("AAPL", ("1d",)) is not None
        clock.advance(2 * DAY)
        assert cache.get("AAPL", ("1d",)) is None
        assert _ask(cache, provider, "AAPL", "1d").outcome is Outcome.MISS
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

        _ask(cache, provider, "AAPL", "1d")
        clock.advance(27.5 * DAY)
        lookup = asyncio.run(main())
        assert (lookup.outcome, lookup.age) == (Outcome.HIT, 27.5 * DAY), "a hit does not wait for its renewal"
        assert len(provider.calls) == 2
        info = cache.get("AAPL", ("1d",))
        assert info is not None
        assert info.cached_at == clock(), "the renewal was not stored"

    # -- parts -------------------------------------------------------------------------------------------------------

    def test_a_lookup_asks_for_just_the_timeframe_it_lacks(self, cache: PolicyCache, provider: Provider) -> None:
        _ask(cache, provider, "AAPL", "1d")
        lookup = _ask(cache, provider, "AAPL", "1d", "1h")
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
        _ask(cache, provider, "AAPL", "1w")
        assert _ask(cache, provider, "AAPL", "1w").outcome is Outcome.HIT
        assert cache.get("AAPL", ("1d",)) is None

    def test_one_head_timestamp_may_serve_every_timeframe(self, cache: PolicyCache, provider: Provider) -> None:
        cache.store("AAPL", ProviderAnswer(verdict("AAPL", "1d"), one_head_timestamp=True))
        assert cache.get("AAPL", ("1h", "5m")) is not None
        lookup = _ask(cache, provider, "AAPL", "1h")
        assert lookup.outcome is Outcome.HIT
        assert lookup.result.head_timestamps == {"1d": HEAD, "1h": HEAD}

    def test_an_invalid_symbol_lacks_no_timeframe(self, cache: PolicyCache, provider: Provider) -> None:
        assert not _ask(cache, provider, "NOSUCH", "1d").result.is_valid
        assert _ask(cache, provider, "NOSUCH", "1h").outcome is Outcome.HIT
        assert len(provider.calls) == 1

    # -- trouble with the provider -----------------------------------------------------------------------------------

    def test_an_error_goes_out_unchanged_and_is_not_stored(self, cache: PolicyCache, provider: Provider) -> None:
        provider.error = ProviderUnavailableError("down", code="1100")
        with pytest.raises(ProviderUnavailableError) as raised:
            _ask(cache, provider, "AAPL")
        assert raised.value is provider.error
        assert list(cache.symbols()) == []
        assert cache.get("AAPL") is None
        assert cache.get_stats().misses == 2

    def test_a_stale_entry_bridges_an_outage_for_a_week(
        self, cache: PolicyCache, provider: Provider, clock: Clock
    ) -> None:
        _ask(cache, provider, "AAPL", "1d")
        provider.error = ProviderUnavailableError("down")
        clock.advance(31 * DAY)
        lookup = _ask(cache, provider, "AAPL", "1d")
        assert lookup.outcome is Outcome.STALE
        assert lookup.age == 31 * DAY
        assert lookup.error is provider.error
        assert _ask(cache, provider, "AAPL", "1d").outcome is Outcome.STALE
        assert len(provider.calls) == 2, "a failed provider is left alone for a while"
        clock.advance(7 * DAY)
        with pytest.raises(ProviderUnavailableError):
            _ask(cache, provider, "AAPL", "1d")

    def test_the_provider_is_asked_again_after_an_outage(
        self, cache: PolicyCache, provider: Provider, clock: Clock
    ) -> None:
        _ask(cache, provider, "AAPL", "1d")
        provider.error = ProviderUnavailableError("down")
        clock.advance(31 * DAY)
        assert _ask(cache, provider, "AAPL", "1d").outcome is Outcome.STALE
        provider.error = None
        assert _ask(cache, provider, "AAPL", "1d").outcome is Outcome.STALE, "a failed provider is left alone for 30 s"
        clock.advance(31)
        assert _ask(cache, provider, "AAPL", "1d").outcome is Outcome.MISS
        assert _ask(cache, provider, "AAPL", "1d").outcome is Outcome.HIT

    def test_an_unconfirmed_negative_bridges_no_outage(
        self, cache: PolicyCache, provider: Provider, clock: Clock
    ) -> None:
        cache.store("NOSUCH", ProviderAnswer(verdict("NOSUCH"), confirmed=False))
        provider.error = ProviderUnavailableError("down")
        clock.advance(301)
        with pytest.raises(ProviderUnavailableError):
            _ask(cache, provider, "NOSUCH")

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
        _ask(cache, provider, "AAPL", "1d")
        provider.error = ProviderUnavailableError("down")
        lookup = _ask(cache, provider, "AAPL", "1d", "1h")
        assert (lookup.outcome, lookup.missing, lookup.error) == (Outcome.PARTIAL, ("1h",), provider.error)

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
        assert _ask(cache, provider, "AAPL@SMART").result.is_valid
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

    def test_a_thing_that_is_no_answer_is_refused(self, cache: PolicyCache) -> None:
        async def validate(_symbol: str, _timeframes: Sequence[str]) -> Any:
            return {"is_valid": True}

        with pytest.raises(ProviderError, match="dict"):
            asyncio.run(cache.get_or_validate("AAPL", (), validate))

    # -- why, and many ---------------------------------------------------------------------------------------------

    def test_an_explanation_names_the_rule_that_serves_the_next_lookup(
        self, cache: PolicyCache, provider: Provider, clock: Clock
    ) -> None:
        assert cache.explain("aapl").rule is Rule.MISS
        _ask(cache, provider, "AAPL", "1d")
        _ask(cache, provider, "NOSUCH")
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
        assert _ask(cache, provider, "AAPL").outcome is Outcome.STALE
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

    # -- one caller --------------------------------------------------------------------------------------------------

    def test_many_tasks_make_one_call(self, cache: PolicyCache, provider: Provider) -> None:
        async def main() -> list[Lookup]:
            return await asyncio.gather(*(cache.get_or_validate("AAPL", ["1d"], provider.validate) for _ in range(50)))

        outcomes = [lookup.outcome for lookup in asyncio.run(main())]
        assert len(provider.calls) == 1
        assert outcomes.count(Outcome.MISS) == 1
        assert outcomes.count(Outcome.COALESCED) == 49

    def test_many_threads_make_one_call(self, cache: PolicyCache, provider: Provider) -> None:
        with ThreadPoolExecutor(20) as pool:
            lookups = list(pool.map(lambda _: _ask(cache, provider, "AAPL", "1d"), range(20)))
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

    # -- storage -----------------------------------------------------------------------------------------------------

    def test_entries_outlive_a_restart(self, tmp_path: Path, clock: Clock, opened: ExitStack) -> None:
        self.only_if_persistent()
        cache = self.open_cache(tmp_path / "store", clock, opened)
        provider = Provider()
        for symbol in ("GOOG", "AAPL", "JEPI", "NOSUCH"):
            _ask(cache, provider, symbol, "1d")
        cache.close()
        again = self.open_cache(tmp_path / "store", clock, opened)
        for symbol in ("GOOG", "AAPL", "JEPI", "NOSUCH"):
            lookup = _ask(again, provider, symbol, "1d")
            assert lookup.outcome is Outcome.HIT
            assert lookup.result == verdict(symbol, "1d")
        assert len(provider.calls) == 4

    def test_providers_are_kept_apart(self, tmp_path: Path, clock: Clock, opened: ExitStack) -> None:
        self.only_if_persistent()
        broker = self.open_cache(tmp_path / "store", clock, opened, provider="ib")
        replay = self.open_cache(tmp_path / "store", clock, opened, provider="replay")
        replay.store("AAPL", verdict("AAPL", "1d"))
        assert broker.get("AAPL") is None
        assert list(broker.symbols()) == []
        broker.store("AAPL", verdict("AAPL", "1h"))
        assert broker.clear() == 1
        assert replay.get("AAPL", ("1d",)) is not None

    def test_an_answer_of_another_provider_is_refused(self, cache: PolicyCache) -> None:
        answer = ProviderAnswer(verdict("AAPL"), provenance=Provenance(provider="replay"))
        with pytest.raises(ProviderError, match="replay"):
            cache.store("AAPL", answer)
        assert cache.get("AAPL") is None

    @pytest.mark.parametrize("bad", [b"{}", b'{"v":1,"sum":"00000000","entry":{}}', b"null"])
    def test_a_damaged_entry_is_a_miss(
        self, tmp_path: Path, clock: Clock, opened: ExitStack, bad: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.only_if_persistent()
        store = self.open(tmp_path / "store", opened)
        cache = self.open_cache(tmp_path / "store", clock, opened, near_cache_size=0)
        cache.store("MSFT", verdict("MSFT"))
        key = Instrument.parse("AAPL").key("ib")
        store.write(key, bad, FAR)
        assert cache.get("AAPL") is None
        assert "AAPL" in caplog.text
        assert cache.get("MSFT") is not None
        assert cache.store("AAPL", verdict("AAPL")).validation_result.is_valid
        assert cache.get("AAPL") is not None
        assert store.read(f"@corrupt|{key}") is not None, "the damaged bytes are kept aside"
        assert sorted(cache.symbols()) == ["AAPL", "MSFT"]

    def test_an_entry_under_another_key_is_a_miss(self, tmp_path: Path, clock: Clock, opened: ExitStack) -> None:
        self.only_if_persistent()
        store = self.open(tmp_path / "store", opened)
        cache = self.open_cache(tmp_path / "store", clock, opened, near_cache_size=0)
        cache.store("MSFT", verdict("MSFT"))
        store.write(Instrument.parse("AAPL").key("ib"), store.read(Instrument.parse("MSFT").key("ib")) or b"", FAR)
        assert cache.get("AAPL") is None

    def test_no_changed_digit_passes_for_another_value(self, tmp_path: Path, clock: Clock, opened: ExitStack) -> None:
        self.only_if_persistent()
        store = self.open(tmp_path / "store", opened)
        cache = self.open_cache(tmp_path / "store", clock, opened, near_cache_size=0)
        cache.store("AAPL", verdict("AAPL", "1d"))
        key = Instrument.parse("AAPL").key("ib")
        line = store.read(key) or b""
        places = [place for place, byte in enumerate(line) if chr(byte) in "23456789"]
        for place in places[:: max(1, len(places) // 40)]:
            store.write(key, line[:place] + b"%c" % (line[place] ^ 1) + line[place + 1 :], FAR)
            assert cache.get("AAPL") is None, f"a changed digit at {place} passed for a value: {line!r}"
        store.write(key, line, FAR)
        assert cache.get("AAPL", ("1d",)) is not None

    def test_an_entry_of_a_newer_version_is_answered_by_the_provider_and_never_overwritten(
        self, tmp_path: Path, clock: Clock, opened: ExitStack, provider: Provider
    ) -> None:
        self.only_if_persistent()
        store = self.open(tmp_path / "store", opened)
        cache = self.open_cache(tmp_path / "store", clock, opened)
        key, version = Instrument.parse("AAPL").key("ib"), codec.SCHEMA_VERSION + 1
        checksum = zlib.crc32(b'{"new":1}', zlib.crc32(f"{version}|{key}|".encode()))
        line = b'{"v":%d,"sum":"%08x","entry":{"new":1}}' % (version, checksum)
        store.write(key, line, FAR)
        assert cache.get("AAPL") is None
        lookup = _ask(cache, provider, "AAPL", "1d")
        assert (lookup.outcome, lookup.result) == (Outcome.MISS, verdict("AAPL", "1d"))
        assert cache.store("AAPL", verdict("AAPL", "1h")).validation_result.is_valid
        assert store.read(key) == line, "what a newer version wrote was overwritten"

    def test_two_caches_on_one_store_see_each_other(
        self, tmp_path: Path, clock: Clock, opened: ExitStack, provider: Provider
    ) -> None:
        self.only_if_persistent()
        one, two = (self.open_cache(tmp_path / "store", clock, opened, near_cache_age=5) for _ in range(2))
        assert one.get("AAPL") is None
        two.store("AAPL", verdict("AAPL", "1d"))
        assert _ask(one, provider, "AAPL", "1d").outcome is Outcome.HIT, "another cache's store is not seen"
        one.store("AAPL", verdict("AAPL", "1h"))
        clock.advance(5)
        assert two.get("AAPL", ("1d", "1h")) is not None, "another cache's timeframe is not seen in time"
        assert two.forget("AAPL") is True
        clock.advance(5)
        assert one.get("AAPL") is None, "what another cache forgot is still served"
        two.store("MSFT", verdict("MSFT"))
        assert one.get("MSFT") is not None
        assert two.clear() == 1
        clock.advance(5)
        assert one.get("MSFT") is None, "what another cache cleared is still served"

    def test_caches_in_many_threads_lose_no_timeframe(self, tmp_path: Path, clock: Clock, opened: ExitStack) -> None:
        cache = self.open_cache(tmp_path / "store", clock, opened)
        timeframes = [f"{number}m" for number in range(1, 25)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda timeframe: cache.store("AAPL", verdict("AAPL", timeframe)), timeframes))
        assert cache.get("AAPL", timeframes) is not None, "one thread's timeframe dropped another's"

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
            _ask(cache, provider, "AAPL")

    # -- what a caller gets ------------------------------------------------------------------------------------------

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
        _ask(cache, provider, "AAPL", "1d")
        _ask(cache, provider, "AAPL", "1d")
        _ask(cache, provider, "NOSUCH", "1d")
        cache.get("NOSUCH")
        cache.get("MSFT")
        provider.error = ProviderUnavailableError("down")
        _ask(cache, provider, "AAPL", "1h")
        clock.advance(31 * DAY)
        _ask(cache, provider, "AAPL", "1d")
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
        _ask(cache, provider, "AAPL", "1d")
        clock.advance(3 * DAY)
        _ask(cache, provider, "AAPL", "1d")
        cache.get("AAPL", ("1d",))
        lines = [record.getMessage() for record in caplog.records]
        assert len(lines) == 3
        assert lines[0].startswith("symbol cache miss AAPL age=0s ttl=")
        assert lines[1].startswith("symbol cache hit AAPL age=3d ttl=2")
        assert lines[2].endswith(f"backend={self.backend}")


def _ask(cache: PolicyCache, provider: Provider, symbol: str, *timeframes: str) -> Lookup:
    return asyncio.run(cache.get_or_validate(symbol, timeframes, provider.validate))
