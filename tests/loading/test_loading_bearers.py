"""A symbol stands for the series of its contract, by whatever names that has gone before."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symcache_core import ContractInfo
from symcache_core.loading.bars.names import Names
from symcache_core.loading.bearers import bearer_of, bind, former, next_identity, set_aside
from symcache_core.loading.identity import symbolic_identity
from symcache_core.symbols import Instrument

NOW = datetime(2024, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def names(tmp_path):
    return Names(tmp_path / "names.jsonl")


def contract(permanent_id=None, **known):
    return ContractInfo(contract={} if permanent_id is None else {"conId": permanent_id}, **known)


def bearer(names, symbol, of=None):
    return bearer_of(Instrument.parse(symbol), of, names, "1d")


def test_a_new_symbol_stands_for_its_contract(names):
    found = bearer(names, "AAPL", contract(265598))
    assert (found.identity, found.permanent_id, found.since) == ("265598", "265598", None)
    assert (found.happened, found.others, found.unbound) == ((), (), None)


def test_a_symbol_that_was_seen_is_known_since_then(names):
    names.saw("265598", "AAPL", NOW, "265598")
    assert bearer(names, "AAPL", contract(265598)).since == NOW


def test_the_same_contract_under_another_symbol_goes_on_with_its_series(names):
    names.saw("107113386", "FB", NOW, "107113386")
    found = bearer(names, "META", contract(107113386))
    assert (found.identity, found.happened, found.others) == ("107113386", ("renamed",), ())


def test_another_spelling_of_a_symbol_is_no_other_name(names):
    names.saw("1", "RY", NOW, "1")
    found = bearer(names, "RY@NYSE:USD", contract(1))
    assert (found.identity, found.happened) == ("1", ())


def test_another_case_of_a_symbol_is_no_other_name(names):
    names.saw("1", "CPK", NOW, "1")
    assert bearer(names, "CpK", contract(1)).happened == ()


def test_a_symbol_with_a_class_or_a_multiplier_is_known_by_them():
    identities = {
        symbolic_identity(Instrument.parse(f"FUT:DAX 201303@EUREX{narrower}"), contract(currency="EUR"))
        for narrower in ("", ",class=FDXM", ",class=FDAX", ",multiplier=5", ",class=FDXM,multiplier=5")
    }
    assert len(identities) == 5
    assert "FUT:DAX 201303@EUREX:EUR,class=FDXM,multiplier=5" in identities


def test_another_contract_under_a_symbol_is_another_series_and_names_the_old_one(names):
    names.saw("107113386", "FB", NOW, "107113386")
    found = bearer(names, "FB", contract(999))
    assert (found.identity, found.happened, found.others) == ("999", ("reused",), ("107113386",))
    names.saw("999", "FB", NOW + DAY, "999")
    again = bearer(names, "FB", contract(999))
    assert (again.happened, again.others, again.since) == ((), ("107113386",), NOW + DAY)


def test_without_a_contract_it_is_the_series_that_was_last_seen_under_the_symbol(names):
    names.saw("107113386", "FB", NOW, "107113386")
    names.saw("999", "FB", NOW + 2 * DAY, "999")
    assert bearer(names, "FB").identity == "999"
    assert bearer(names, "META").identity == "META"


def test_a_host_that_tells_no_ids_any_more_is_no_reason_for_another_series(names):
    names.saw("265598", "AAPL", NOW, "265598")
    found = bearer(names, "AAPL", contract(currency="USD"))
    assert (found.identity, found.happened) == ("265598", ())


def test_a_series_without_an_id_may_turn_out_to_be_the_contracts(names):
    names.saw("AAPL@:USD", "AAPL", NOW)
    found = bearer(names, "AAPL", contract(265598))
    assert (found.identity, found.unbound, found.happened, found.others) == ("265598", "AAPL@:USD", (), ())


def test_a_series_that_was_bound_is_no_others_and_one_that_was_set_aside_is_not_in_question(names):
    names.saw("AAPL@:USD", "AAPL", NOW)
    bind(names, "AAPL@:USD", "AAPL", "265598", NOW)
    found = bearer(names, "AAPL", contract(265598))
    assert (found.unbound, found.others) == ("AAPL@:USD", ()), "its bars of other timeframes may not have been taken in"
    names.saw("IBM@:USD", "IBM", NOW)
    set_aside(names, "IBM@:USD", "IBM", NOW)
    found = bearer(names, "IBM", contract(8314))
    assert (found.unbound, found.others) == (None, ("IBM@:USD",))


def test_what_0_1_0_kept_is_set_aside_by_itself_and_named(names):
    set_aside(names, former("FB"), "FB", NOW)
    found = bearer(names, "FB", contract(999))
    assert (found.former_is_aside, found.others, found.happened) == (True, ("FB#0",), ())
    assert not bearer(names, "META", contract(1)).former_is_aside


def test_without_ids_a_symbol_that_was_taken_over_stands_for_the_newer_series(names):
    names.saw("FB@:USD", "FB", NOW)
    set_aside(names, "FB@:USD", "FB", NOW)
    names.saw(next_identity("FB@:USD"), "FB", NOW + DAY)
    found = bearer(names, "FB", contract(currency="USD"))
    assert (found.identity, found.others) == ("FB@:USD~2", ("FB@:USD",))


@pytest.mark.parametrize(
    ("told", "permanent_id"),
    [
        ({"conId": 265598}, "265598"),
        ({"conId": "265598"}, "265598"),
        ({"conId": " 265598 "}, "265598"),
        ({"id": "BBG000B9XRY4"}, "BBG000B9XRY4"),
        ({"conId": 0, "id": "x"}, "x"),
        ({"conId": 1, "id": "x"}, "1"),
        ({"conId": True}, None),
        ({"conId": 1.5}, None),
        ({"conId": ""}, None),
        ({"conId": None}, None),
        ({}, None),
    ],
)
def test_a_permanent_id_is_what_the_provider_calls_one(told, permanent_id):
    assert ContractInfo(contract=told).permanent_id == permanent_id


@pytest.mark.parametrize("digits", ["7203", "0700", "265598"])
def test_a_symbol_that_looks_like_an_id_never_shares_one_with_a_contract(digits):
    assert symbolic_identity(Instrument.parse(digits), None) == f"STK:{digits}"


@given(
    symbol=st.text("ABC0123", min_size=1, max_size=5),
    currency=st.sampled_from(["", "USD", "usd", "JPY"]),
    permanent_id=st.integers(1, 10**9),
)
def test_no_symbolic_identity_is_a_number(symbol, currency, permanent_id):
    identity = symbolic_identity(Instrument.parse(symbol), contract(currency=currency))
    assert not identity.isdigit()
    assert identity != str(permanent_id)
    assert symbolic_identity(Instrument.parse(symbol), contract(currency=currency.upper())) == identity
