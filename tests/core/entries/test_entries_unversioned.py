"""An unversioned cache's file reads the same for whoever opens it and for whoever imports it."""

import json
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symcache_core.entries import codec, unversioned
from symcache_core.entries.items import Unreadable
from symcache_core.models import Part
from symcache_core.registry import Registry
from symcache_core.settings import SymcacheSettings
from symcache_core.transfer import copy, entries_in

NOW = time.time() - 1
DAY = 86400.0
HEAD = "1980-12-12T14:30:00+00:00"


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


def contract(symbol, kind, exchange, currency, /, **fields):
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


def test_an_entry_that_does_not_say_its_life_has_the_usual_one():
    told = entry()
    del told["ttl_seconds"]
    assert only({"AAPL": told}).info.ttl_seconds == 30 * DAY


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


def open_json(path):
    return Registry().open("json", {"path": str(path)}, base_dir=path.parent, data_dir=path.parent)


def opened(path):
    with closing(open_json(path)) as store:
        return {key: store.read(key) for key in store.keys()}


def imported(path):
    other = path.with_name(f"{path.name}.imported")
    settings = SymcacheSettings(backend="memory")
    with closing(open_json(other)) as store, entries_in(path, settings) as found:
        copy(found, store, policy=settings.policy, now=time.time())
    return opened(other)


def test_opening_and_importing_give_the_same_keys_and_entries(tmp_path):
    path = tmp_path / "symbols.json"
    path.write_text(json.dumps(TABLE))
    told = imported(path)
    assert set(told) == KEYS
    assert opened(path) == told


SPELLINGS = ["AAPL", "aapl", "BRK.B", "BRK B", "EURUSD", "EUR/USD"]
AGES = [0.0, 60.0, 299.0, 3600.0, 29 * DAY, 33 * DAY, 40 * DAY, -3600.0]
some_entries = st.dictionaries(
    st.sampled_from(SPELLINGS),
    st.tuples(st.sampled_from(AGES), st.booleans(), st.sampled_from(["1d", "1h"])),
    min_size=1,
)


@given(some_entries)
@settings(max_examples=40)
def test_whatever_is_in_it_opening_and_importing_agree(tmp_path_factory, described):
    path = tmp_path_factory.mktemp("any") / "symbols.json"
    table = {
        symbol: entry(symbol, NOW - age, is_valid=is_valid, head_timestamps={timeframe: "1980-12-12T14:30:00+00:00"})
        for symbol, (age, is_valid, timeframe) in described.items()
    }
    path.write_text(json.dumps(table))
    told = imported(path)
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
    (item,) = unversioned.by_key(unversioned.entries_of(table), NOW).values()
    assert (item.info.cached_at, set(item.info.parts)) == (NOW, {"1h", "1d"})


@pytest.mark.parametrize("age", [-60.0, 60.0])
def test_of_two_spellings_a_negative_never_hides_a_valid_one(age):
    table = {"BRK.B": entry("BRK.B"), "BRK B": entry("BRK B", NOW - age, is_valid=False, head_timestamps=None)}
    (item,) = unversioned.by_key(unversioned.entries_of(table), NOW).values()
    assert item.info.validation_result.is_valid


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, True),
        ({"AAPL": entry()}, True),
        ({"version": 3, "AAPL": entry()}, True),
        ({"AAPL": {}}, False),
        ({"AAPL": "validation_result"}, False),
        ({"AAPL": ["validation_result"]}, False),
        ([], False),
        (7, False),
        (None, False),
    ],
)
def test_a_file_is_known_by_its_entries(document, expected):
    assert unversioned.is_table(document) is expected


@pytest.mark.parametrize(
    ("symbol", "value", "why"),
    [
        ("AAPL", 7, "entry 'AAPL' is not readable: it is no object"),
        ("AAPL", {**entry(), "cached_at": "soon"}, "field 'cached_at': Input should be a valid number"),
        ("AAPL", entry(said="so"), "unknown field 'validation_result.said'; known: none"),
        ("", entry(), "empty symbol: give a ticker"),
        ("A", entry(contract=contract("A", "SHOE", "NYSE", "USD")), "asset type 'SHOE' is not known"),
        ("CL", entry(contract=contract("CL", "FUT", "NYMEX", "USD")), "a future without an expiry: nothing says which"),
        (
            "RY",
            entry(contract=contract("RY", "STK", "T S E", "CAD")),
            "no symbol can be typed for STK at 'T S E' in 'CAD'",
        ),
    ],
)
def test_why_a_symbol_is_no_entry_is_told(symbol, value, why):
    told = only({symbol: value})
    assert told.name == symbol
    assert told.why.startswith(why)


@pytest.mark.parametrize(
    ("symbol", "told", "key"),
    [
        # What is said of a plain share that is listed in the United States is said of the plain symbol.
        ("AAPL", contract("AAPL", "", "", ""), "ib||AAPL||"),
        ("AAPL", contract("AAPL", " stk ", " nasdaq ", " usd "), "ib||AAPL||"),
        ("AAPL", contract("AAPL", "STK", "SMART", "USD"), "ib||AAPL||"),
        ("AAPL", contract("AAPL", "STK", "NYSE", ""), "ib||AAPL||"),
        ("AAPL", None, "ib||AAPL||"),
        # Elsewhere, or in other money, it is another one.
        ("SHEL", contract("SHEL", "STK", "LSE", "USD"), "ib||SHEL|LSE|USD"),
        ("SHEL", contract("SHEL", "STK", "LSE", "GBP"), "ib||SHEL|LSE|GBP"),
        ("SHEL", contract("SHEL", "STK", "SMART", "GBP"), "ib||SHEL||GBP"),
        ("SHEL", contract("SHEL", "STK", "LSE", ""), "ib||SHEL|LSE|"),
        # Two currencies are their pair, wherever it is routed.
        ("EURUSD", contract("EUR", "", "", ""), "ib|CASH|EUR||USD"),
        ("EURUSD", contract("EUR", "CASH", "IDEALPRO", "USD"), "ib|CASH|EUR||USD"),
        ("EURUSD", contract("EUR", "CASH", "FXCONV", "USD"), "ib|CASH|EUR|FXCONV|USD"),
        ("EURUSD", contract("EUR", "CASH", "FXCONV", ""), "ib|CASH|EUR|FXCONV|USD"),
        ("EURUSD", contract("EUR", "CASH", "NYSE", "USD"), "ib|CASH|EUR|NYSE|USD"),
        # Of a future it has to be known which.
        ("ESZ6", contract("ES", "FUT", "CME", ""), "ib|FUT|ESZ6|CME|"),
        ("ES", contract("ES", "FUT", "CME", "USD", localSymbol="ESZ6"), "ib|FUT|ESZ6|CME|USD"),
        ("ES", contract("ES", "FUT", "CME", "USD", lastTradeDateOrContractMonth="202612"), "ib|FUT|ES 202612|CME|USD"),
        (
            "ES",
            contract("ES", "FUT", "CME", "USD", localSymbol="ES", lastTradeDateOrContractMonth="20261218"),
            "ib|FUT|ES 20261218|CME|USD",
        ),
        # A qualified symbol says itself what it is.
        ("RY@TSE:CAD", contract("RY", "STK", "NYSE", "USD"), "ib||RY|TSE|CAD"),
        ("SPX", contract("SPX", "IND", "CBOE", "USD"), "ib|IND|SPX|CBOE|USD"),
    ],
)
def test_a_symbol_is_the_instrument_that_was_found_under_it(symbol, told, key):
    assert only({symbol: entry(symbol, contract_info=told)}).key == key


@pytest.mark.parametrize("changes", [{}, {"localSymbol": None}, {"localSymbol": "XXXX"}, {"localSymbol": ""}], ids=str)
def test_a_future_whose_local_symbol_names_no_expiry_is_not_guessed(changes):
    told = only({"ES": entry("ES", contract=contract("ES", "FUT", "CME", "USD", **changes))})
    assert isinstance(told, Unreadable)


def test_an_entry_keeps_what_was_told_of_each_timeframe():
    item = only({"AAPL": entry(head_timestamps={"1h": HEAD, "1d": None})})
    assert item.info.validation_result.head_timestamps == {"1h": HEAD}
    assert item.info.parts == {"1h": Part(head_timestamp=HEAD, asked_at=NOW, ttl_seconds=2592000)}
    assert only({"AAPL": entry(head_timestamps={"1d": None})}).info.validation_result.head_timestamps is None


@pytest.mark.parametrize(("ttl", "expected"), [(2592000, 300), (60, 60)])
def test_a_negative_lives_five_minutes_at_most_and_keeps_what_was_told_with_it(ttl, expected):
    item = only({"AAPL": {**entry(is_valid=False, head_timestamps={"1h": HEAD, "1d": None}), "ttl_seconds": ttl}})
    assert (item.info.ttl_seconds, item.info.confirmed) == (expected, False)
    assert item.info.validation_result.head_timestamps == {"1h": HEAD}
    assert set(item.info.parts) == {"1h"}


def test_another_provider_may_have_said_it():
    (item,) = unversioned.entries_of({"AAPL": entry()}, "replay")
    assert (item.key, item.info.provenance.provider) == ("replay||AAPL||", "replay")


def test_what_is_made_of_two_spellings_is_stored_under_their_key():
    table = {"BRK.B": entry("BRK.B"), "BRK B": entry("BRK B", NOW - 60, head_timestamps={"1d": HEAD})}
    ((key, item),) = unversioned.by_key(unversioned.entries_of(table), NOW).items()
    assert key == item.key == "ib||BRK B||"
    assert codec.decode(key, item.line) == item.info


def test_of_two_negatives_the_later_one_counts():
    for age in (-60.0, 60.0):
        table = {
            "BRK.B": entry("BRK.B", is_valid=False, head_timestamps=None, error_message="one"),
            "BRK B": entry("BRK B", NOW - age, is_valid=False, head_timestamps=None, error_message="other"),
        }
        (item,) = unversioned.by_key(unversioned.entries_of(table), NOW).values()
        assert item.info.validation_result.error_message == ("one" if age > 0 else "other")


AFTER_ITS_END = NOW - 40 * DAY


def day_of(moment):
    return datetime.fromtimestamp(moment, UTC).date()


def ending(day, **fields):
    told = contract("ES", "FUT", "CME", "USD", symbol="ES", tradingClass="ES", **fields)
    told["contract"]["lastTradeDateOrContractMonth"] = day
    return only({"ES": entry("ES", contract=told, head_timestamps={"1d": HEAD})})


def test_an_entry_ends_with_its_contracts_last_day():
    last = day_of(NOW + 5 * DAY)
    info = ending(f"{last:%Y%m%d} 08:30 MET").info
    end = datetime.combine(last + timedelta(days=1), datetime.min.time(), UTC).timestamp()
    assert info.cached_at + info.ttl_seconds == pytest.approx(end)
    assert info.parts["1d"].ttl_seconds == info.ttl_seconds
    assert info.validation_result.contract_info.last_trade_date == last


@pytest.mark.parametrize("form", ["%Y%m%d", "%Y%m"])
def test_what_was_over_when_it_was_written_is_not_served_as_fresh(form):
    info = ending(f"{day_of(AFTER_ITS_END):{form}}").info
    assert info.ttl_seconds == 0
    assert info.is_expired(NOW)
    assert (info.validation_result.contract_info.last_trade_date is None) == (form == "%Y%m")


@pytest.mark.parametrize("day", ["99991231", "20991231"])
def test_what_ends_later_lives_as_long_as_it_says(day):
    assert ending(day).info.ttl_seconds == 2592000


def test_a_last_day_that_is_none_says_nothing():
    info = ending("20261399").info
    assert (info.ttl_seconds, info.validation_result.contract_info.last_trade_date) == (2592000, None)


@pytest.mark.parametrize("kind", ["OPT", "FOP", "WAR", "BOND", "BAG"])
def test_what_is_one_of_many_under_its_symbol_is_unreadable(kind):
    told = only({"AAPL": entry(contract=contract("AAPL", kind, "SMART", "USD"))})
    assert told.why == f"one of many of type {kind}: no symbol says which of them it was"


@pytest.mark.parametrize("name", ["ESTX50", "STX50", "ES"])
def test_digits_that_end_a_symbol_are_no_year(name):
    told = only({name: entry(name, contract=contract(name, "FUT", "EUREX", "EUR", symbol=name))})
    assert told.why.startswith("a future without an expiry")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ttl_seconds", float("inf")),
        ("ttl_seconds", float("nan")),
        ("ttl_seconds", 1e18),
        ("ttl_seconds", 101 * 366 * DAY),
        ("cached_at", float("nan")),
        ("cached_at", float("inf")),
        ("cached_at", float("-inf")),
        ("cached_at", 1_800_000_000_000.0),
    ],
)
def test_a_moment_or_a_life_that_cannot_be_one_is_set_aside_whether_opened_or_imported(tmp_path, field, value):
    path = tmp_path / "symbols.json"
    path.write_text(json.dumps({"AAPL": entry(), "ODD": {**entry("ODD"), field: value}}))
    assert field in only({"ODD": {**entry("ODD"), field: value}}).why
    assert set(imported(path)) == set(opened(path)) == {"ib||AAPL||"}
    assert "ODD" in (tmp_path / "symbols.json.quarantine").read_text()
