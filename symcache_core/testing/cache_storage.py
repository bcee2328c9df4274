"""What a symbol cache promises of its storage: restarts, damage, other versions, other caches on the same store."""

from __future__ import annotations

import zlib
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from ..entries import codec
from ..errors import ProviderError
from ..lookup.cache import PolicyCache
from ..models import Outcome, Provenance, ProviderAnswer
from ..symbols import Instrument
from .cache_harness import CacheHarness, Clock, Provider, ask, verdict
from .harness import FAR, at_once


class StoragePromises(CacheHarness):
    """Part of the contract of a symbol cache."""

    def test_entries_outlive_a_restart(self, tmp_path: Path, clock: Clock, opened: ExitStack) -> None:
        self.only_if_persistent()
        cache = self.open_cache(tmp_path / "store", clock, opened)
        provider = Provider()
        for symbol in ("GOOG", "AAPL", "JEPI", "NOSUCH"):
            ask(cache, provider, symbol, "1d")
        cache.close()
        again = self.open_cache(tmp_path / "store", clock, opened)
        for symbol in ("GOOG", "AAPL", "JEPI", "NOSUCH"):
            lookup = ask(again, provider, symbol, "1d")
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
        lookup = ask(cache, provider, "AAPL", "1d")
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
        assert ask(one, provider, "AAPL", "1d").outcome is Outcome.HIT, "another cache's store is not seen"
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
        at_once(*(partial(cache.store, "AAPL", verdict("AAPL", timeframe)) for timeframe in timeframes))
        assert cache.get("AAPL", timeframes) is not None, "one thread's timeframe dropped another's"
