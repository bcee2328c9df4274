"""An unversioned cache's file reads the same for whoever opens it and for whoever imports it."""

import json

import pytest

from symcache_core.entries import unversioned
from symcache_core.entries.items import Item, Unreadable
from symcache_core.registry import Registry
from symcache_core.settings import SymcacheSettings
from symcache_core.transfer import entries_in

NOW = 1793000000.0


def entry(symbol="AAPL", cached_at=NOW, contract=None, **changes):
    result = {
        "is_valid": True,
        "symbol": symbol,
        "error_message": None,
        "contract_info": contract or {"symbol": symbol, "asset_type": "STK", "exchange": "NASDAQ", "conId": 265598},
        "head_timestamps": {"1h": "1980-12-12T14:30:00+00:00", "1d": None},
        "suggested_symbol": None,
    }
    return {"validation_result": {**result, **changes}, "cached_at": cached_at, "ttl_seconds": 2592000}


def contract(symbol, kind, exchange, currency, **fields):
    return {"symbol": symbol, "asset_type": kind, "exchange": exchange, "currency": currency, "contract": fields}


def only(table):
    (found,) = unversioned.entries_of(table)
    return found


def test_an_entry_belongs_to_ib_and_keeps_its_age():
    found = only({"aapl": entry()})
    assert (found.key, found.info.cached_at, found.info.ttl_seconds) == ("ib||AAPL||", NOW, 2592000)
    assert found.info.provenance.provider == "ib"
    assert found.info.validation_result.contract_info.details == {"conId": 265598}
    assert set(found.info.parts) == {"1h"}, "a null head timestamp was not asked for"


def test_a_negative_proves_nothing():
    found = only({"AAPL": entry(is_valid=False, head_timestamps=None)})
    assert not found.info.confirmed
    assert found.info.ttl_seconds == 300


@pytest.mark.parametrize("value", [{}, 7, {"validation_result": 1}, {**entry(), "cached_at": "soon"}])
def test_what_is_no_entry_is_named(value):
    found = only({"AAPL": value})
    assert isinstance(found, Unreadable)
    assert found.name == "AAPL"


def test_what_cannot_be_a_symbol_is_named():
    assert isinstance(only({"": entry()}), Unreadable)


TABLE = {
    "AAPL": entry(),
    "RY": entry("RY", contract=contract("RY", "STK", "TSE", "CAD")),
    "BRK.B": entry("BRK.B", contract=contract("BRK B", "STK", "NYSE", "USD")),
    "SHOP": entry("SHOP", contract=contract("SHOP", "STK", "SMART", "CAD")),
    "EURUSD": entry("EURUSD", contract=contract("EUR", "CASH", "IDEALPRO", "USD")),
    "ESZ6": entry("ESZ6", contract=contract("ES", "FUT", "CME", "USD", localSymbol="ESZ6")),
    "ES": entry("ES", contract=contract("ES", "FUT", "CME", "USD", lastTradeDateOrContractMonth="20261218")),
    "NOPE": entry("NOPE", is_valid=False, contract_info=None, head_timestamps=None),
}
KEYS = {
    "ib||AAPL||",
    "ib||RY|TSE|CAD",
    "ib||BRK B||",
    "ib||SHOP||CAD",
    "ib|CASH|EUR||USD",
    "ib|FUT|ESZ6|CME|USD",
    "ib|FUT|ES 20261218|CME|USD",
    "ib||NOPE||",
}


def opened(path):
    store = Registry().open("json", {"path": str(path)}, base_dir=path.parent, data_dir=path.parent)
    lines = {key: store.read(key) for key in store.keys()}
    store.close()
    return lines


def imported(path):
    with entries_in(path, SymcacheSettings(backend="memory")) as found:
        return {each.key: each.line for each in unversioned.by_key(e for e in found if isinstance(e, Item)).values()}


def test_opening_and_importing_give_the_same_keys_and_entries(tmp_path):
    path = tmp_path / "symbols.json"
    path.write_text(json.dumps(TABLE))
    told = imported(path)
    assert set(told) == KEYS
    assert opened(path) == told


def test_a_future_of_unknown_expiry_is_set_aside_whether_opened_or_imported(tmp_path):
    path = tmp_path / "symbols.json"
    path.write_text(json.dumps({"AAPL": entry(), "CL": entry("CL", contract=contract("CL", "FUT", "NYMEX", "USD"))}))
    assert set(imported(path)) == {"ib||AAPL||"}
    assert set(opened(path)) == {"ib||AAPL||"}
    assert "CL" in (tmp_path / "symbols.json.quarantine").read_text()


def test_of_two_spellings_the_later_verdict_gets_the_timeframes_of_the_other():
    table = {
        "BRK.B": entry("BRK.B", cached_at=NOW, head_timestamps={"1h": "1996-05-09T14:30:00+00:00"}),
        "BRK B": entry("BRK B", cached_at=NOW - 60, head_timestamps={"1d": "1996-05-09T00:00:00+00:00"}),
    }
    (item,) = unversioned.by_key(unversioned.entries_of(table)).values()
    assert (item.info.cached_at, set(item.info.parts)) == (NOW, {"1h", "1d"})


@pytest.mark.parametrize("age", [-60.0, 60.0])
def test_of_two_spellings_a_negative_never_hides_a_valid_one(age):
    table = {"BRK.B": entry("BRK.B"), "BRK B": entry("BRK B", NOW - age, is_valid=False, head_timestamps=None)}
    (item,) = unversioned.by_key(unversioned.entries_of(table)).values()
    assert item.info.validation_result.is_valid
