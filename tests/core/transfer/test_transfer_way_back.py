"""A program goes back to the symbol cache that it had: what that can read is right, and the rest is accounted for."""

import json
import os
import stat
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from symcache_core import ContractInfo, ProviderAnswer, SymcacheSettings, ValidationResult, open_symbol_cache
from symcache_core.errors import ConfigurationError
from symcache_core.models import Provenance
from symcache_core.timeframes import TIMEFRAMES
from symcache_core.transfer import LeftOut, entries_in, export_unversioned

DAY = 86400.0
HEAD = "1980-12-12T14:30:00+00:00"
CONTRACT = ContractInfo(
    symbol="AAPL",
    contract={"conId": 265598, "comboLegs": []},
    asset_type="STK",
    exchange="NASDAQ",
    currency="USD",
    description="APPLE INC",
    trading_hours={"timezone": "US/Eastern"},
    last_trade_date=date(2030, 1, 1),
    details={"stock_type": "COMMON"},
)


@dataclass
class OldContract:
    """The object that such a program makes of a contract."""

    symbol: str
    contract: Any
    asset_type: str
    exchange: str
    currency: str
    description: str
    validated_at: float
    trading_hours: dict | None
    head_timestamp: str | None
    head_timestamp_timeframes: dict | None
    head_timestamp_fetched_at: float | None


@dataclass
class OldEntry:
    """Its entry, made by keyword."""

    validation_result: dict
    cached_at: float
    ttl_seconds: float = 30 * DAY


class OldCache:
    """Such a program's own cache."""

    def __init__(self, path, clock):
        self.entries = {symbol: OldEntry(**told) for symbol, told in json.loads(path.read_text()).items()}
        self.clock = clock

    def get(self, symbol):
        entry = self.entries.get(symbol.upper())
        return entry if entry and self.clock() - entry.cached_at <= entry.ttl_seconds else None


@pytest.fixture
def settings(tmp_path):
    return SymcacheSettings(backend="json", data_dir=tmp_path / "data", provider="ib", jitter=0)


@pytest.fixture
def cache(settings, clock):
    with open_symbol_cache(settings, clock=clock) as cache:
        yield cache


def valid(symbol, **more):
    return ValidationResult(is_valid=True, symbol=symbol, **more)


@pytest.fixture
def go_back(cache, settings, tmp_path, clock):
    def go_back(**options):
        cache.close()
        path = tmp_path / "old.json"
        return export_unversioned(path, settings, now=clock(), **options), OldCache(path, clock)

    return go_back


def test_the_old_program_reads_what_was_known(cache, go_back, clock):
    cache.store("AAPL", valid("AAPL", contract_info=CONTRACT, head_timestamps={"1d": HEAD, "1h": None}))
    since = clock()
    clock.advance(DAY)
    done, old = go_back()
    assert (done.exported, done.left_out, done.unreadable) == (1, {}, [])
    entry = old.get("aapl")
    assert (entry.cached_at, entry.ttl_seconds) == (since, 30 * DAY)
    result = entry.validation_result
    assert list(result) == list(ValidationResult.model_fields)
    assert (result["is_valid"], result["symbol"], result["error_message"]) == (True, "AAPL", None)
    assert result["head_timestamps"] == {"1d": HEAD}, "a null would say there that nobody has asked"
    contract = OldContract(**result["contract_info"])
    assert (contract.contract, contract.validated_at) == ({"conId": 265598, "comboLegs": []}, since)
    clock.advance(30 * DAY)
    assert old.get("aapl") is None


def test_a_head_timestamp_that_serves_all_timeframes_is_there_for_each(cache, go_back):
    cache.store("AAPL", ProviderAnswer(valid("AAPL", head_timestamps={"1d": HEAD}), one_head_timestamp=True))
    _, old = go_back()
    assert old.get("AAPL").validation_result["head_timestamps"] == dict.fromkeys(TIMEFRAMES, HEAD)


def test_a_pair_is_found_however_the_old_program_writes_it(cache, go_back):
    cache.store("EURUSD", valid("EURUSD"))
    done, old = go_back()
    assert done.exported == 1
    assert all(old.get(spelling).validation_result["is_valid"] for spelling in ("eurusd", "EUR.USD", "EUR/USD"))


@pytest.mark.parametrize("own", ["BRK.B", "BRK-B", "BRK/B", "BRK B"])
def test_a_class_share_is_found_however_the_old_program_writes_it_its_own_spelling_first(cache, go_back, own):
    cache.store("BRK B", valid(own))
    done, old = go_back()
    assert done.exported == 1
    assert sorted(old.entries) == ["BRK B", "BRK-B", "BRK.B", "BRK/B"]
    assert next(iter(old.entries)) == own


def test_a_spelling_of_the_provider_is_one_only_if_it_means_this_symbol(cache, go_back):
    told = {"EURUSD": "EUR.USD", "META": "FB", "BRK.B": "brk/b", "BAC-PK": "BAC PRK", "Z": "", "CpK": "C PRK"}
    for symbol, spelling in told.items():
        cache.store(symbol, ProviderAnswer(valid(symbol), provenance=Provenance(provider="ib", spelling=spelling)))
    _, old = go_back()
    assert [*old.entries] == [
        *("BAC-PK", "BAC PK", "BAC.PK", "BAC/PK"),
        *("BRK.B", "brk/b", "BRK B", "BRK-B", "BRK/B"),
        "CpK",
        *("EURUSD", "EUR.USD", "EUR/USD"),
        "META",
        "Z",
    ]


def test_a_confirmed_negative_keeps_its_life(cache, go_back, clock):
    cache.store("NOPE", ValidationResult(is_valid=False, symbol="NOPE", error_message="Symbol NOPE not found"))
    _, old = go_back()
    assert old.get("NOPE").validation_result["error_message"] == "Symbol NOPE not found"
    clock.advance(3601)
    assert old.get("NOPE") is None


def test_what_it_would_read_wrongly_is_left_out_and_counted(cache, go_back, settings, clock):
    cache.store("OLD", valid("OLD"))
    clock.advance(31 * DAY)
    cache.store("AAPL", valid("AAPL"))
    cache.store("RY@TSE:CAD", valid("RY@TSE:CAD"))
    cache.store("FUT:ESZ6@CME", valid("FUT:ESZ6@CME"))
    cache.store("EURUSD@IDEALPRO", valid("EURUSD@IDEALPRO"))
    cache.store("MAYBE", ProviderAnswer(ValidationResult(is_valid=False, symbol="MAYBE"), confirmed=False))
    with open_symbol_cache(settings.model_copy(update={"provider": "replay"}), clock=clock) as replayed:
        replayed.store("MSFT", valid("MSFT"))
    done, old = go_back()
    assert list(old.entries) == ["AAPL"]
    assert done.exported == 1
    assert done.left_out == {LeftOut.QUALIFIED: 3, LeftOut.UNCONFIRMED: 1, LeftOut.EXPIRED: 1, LeftOut.OTHERS: 1}


def test_what_is_replayed_never_passes_for_a_markets(cache, go_back, tmp_path):
    with pytest.raises(ConfigurationError, match="replayed"):
        go_back(provider="replay")
    assert not (tmp_path / "old.json").exists()


def test_what_went_back_can_be_brought_in_again(cache, go_back, settings, tmp_path, clock):
    stored = cache.store("AAPL", valid("AAPL", contract_info=CONTRACT, head_timestamps={"1d": HEAD}))
    cache.store("EURUSD", valid("EURUSD"))
    go_back()
    with entries_in(tmp_path / "old.json", settings) as found:
        again = {each.key: each.info for each in found}
    assert set(again) == {"ib||AAPL||", "ib|CASH|EUR||USD"}
    read, known = again["ib||AAPL||"].validation_result, stored.validation_result
    lost = {"details": {}, "last_trade_date": None, "validated_at": None}
    assert read.contract_info.model_copy(update=lost) == known.contract_info.model_copy(update=lost)
    assert (read.head_timestamps, again["ib||AAPL||"].cached_at) == (known.head_timestamps, stored.cached_at)


def test_the_file_is_whole_and_its_owners_or_not_there(cache, settings, tmp_path, clock):
    cache.store("AAPL", valid("AAPL"))
    cache.close()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        export_unversioned(tmp_path / "nowhere" / "old.json", settings, now=clock())
    path = tmp_path / "old.json"
    path.write_text("before")
    export_unversioned(path, settings, now=clock())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(json.loads(path.read_text())) == {"AAPL"}
    assert [name for name in os.listdir(tmp_path) if name.endswith(".part")] == []
