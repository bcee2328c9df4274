"""What an unversioned cache's file becomes is what our host answers for it: the very contract, or nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from broker import Broker, everything, future, share
from hypothesis import given
from hypothesis import strategies as st

from symcache_core.entries.items import Item
from symcache_core.entries.unversioned import entries_of
from symcache_core.errors import AmbiguousSymbolError
from symcache_core.symbols import Instrument
from symcache_host.ib.ambiguity import market
from symcache_host.ib.contracts import candidates, choose, named

TODAY = date(2013, 3, 1)
NOW = 1362088800.0


def found(symbol, contract, *without, routed=False):
    """What is made of a symbol under which a file has a contract."""
    fields = {name: value for name, value in named(contract).items() if name not in without}
    told = {
        "symbol": fields.get("symbol", symbol),
        "asset_type": contract.secType,
        "exchange": "SMART" if routed else market(contract),
        "currency": contract.currency,
        "contract": fields,
    }
    verdict = {"is_valid": True, "symbol": symbol, "contract_info": told}
    (each,) = entries_of({symbol: {"validation_result": verdict, "cached_at": NOW, "ttl_seconds": 2592000}})
    return each


def answered(item, broker):
    """The contract that our host answers for a key."""
    instrument = Instrument.from_key(item.key)
    for contract in candidates(instrument, TODAY):
        if listing := choose(broker.find(contract), instrument):
            return listing.contract.conId
    return None


WORLD = everything()
NAMES = ("symbol", "localSymbol", "tradingClass", "alias")


def each_contract(broker):
    """A broker's contracts, each with the first exchange at which it is traded."""
    return [replace(known.contract, exchange=known.validExchanges.split(",")[0]) for known in broker.contracts]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("contract", each_contract(WORLD), ids=lambda each: f"{each.localSymbol}@{market(each)}")
def test_each_contract_comes_under_a_key_that_means_it(contract, name):
    typed = {"alias": "ALIAS"}.get(name) or getattr(contract, name)
    item = found(typed, contract)
    if isinstance(item, Item):
        assert answered(item, WORLD) == contract.conId, item.key
    else:
        pytest.fail(item.why)


@pytest.mark.parametrize(
    ("symbol", "local", "key"),
    [
        ("DAX", "FDXM MAR 13", "ib|FUT|DAX 20130315|EUREX|EUR|FDXM|"),
        ("DAX", "FDAX MAR 13", "ib|FUT|DAX 20130315|EUREX|EUR|FDAX|"),
        ("DAX 201303", "FDXM MAR 13", "ib|FUT|DAX 20130315|EUREX|EUR|FDXM|"),
        ("DAXM", "FDXM MAR 13", "ib|FUT|DAX 20130315|EUREX|EUR|FDXM|"),
        ("ESTX50", "FESX MAR 13", "ib|FUT|ESTX50 20130315|EUREX|EUR|FESX|"),
        ("FES", "FESX MAR 13", "ib|FUT|ESTX50 20130315|EUREX|EUR|FESX|"),
        ("fesx mar 13", "FESX MAR 13", "ib|FUT|FESX MAR 13|EUREX|EUR"),
        ("SI", "SILH3", "ib|FUT|SI 20130327|COMEX|USD|SIL|"),
        ("SI", "SIH3", "ib|FUT|SI 20130327|COMEX|USD"),
        ("SILH3", "SILH3", "ib|FUT|SILH3|COMEX|USD"),
        ("VIX", "VX10H3", "ib|FUT|VIX 20130306|CFE|USD|VX10|"),
        ("ESH3", "ESH3", "ib|FUT|ESH3|CME|USD"),
        ("ES", "ESH3", "ib|FUT|ES 20130315|CME|USD"),
        ("CpK", "CPK", "ib||CPK||"),
        ("CpK", "C PRK", "ib||CpK||"),
        ("BAC-PK", "BAC PRK", "ib||BAC PRK||"),
        ("BRK-B", "BRK B", "ib||BRK B||"),
        ("FUT:DAX 201303@EUREX", "FDXM MAR 13", "ib|FUT|DAX 201303|EUREX||FDXM|"),
        ("FUT:FDXM MAR 13", "FDXM MAR 13", "ib|FUT|FDXM MAR 13||"),
        ("FUT:DAX 201303,multiplier=5", "FDXM MAR 13", "ib|FUT|DAX 201303||||5"),
        ("FUT:SI 201303", "SIH3", "ib|FUT|SI 201303||"),
    ],
)
def test_a_contract_goes_by_its_own_fields(symbol, local, key):
    contract = next(each for each in each_contract(WORLD) if each.localSymbol == local)
    item = found(symbol, contract)
    assert item.key == key
    assert answered(item, WORLD) == contract.conId


def test_where_only_a_router_is_named_the_primary_exchange_says_which_listing_it_was():
    contract = next(each for each in each_contract(WORLD) if market(each) == "LSEETF" and each.symbol == "KWEB")
    item = found("KWEB", contract, routed=True)
    assert item.key == "ib||KWEB|LSEETF|USD"
    assert answered(item, WORLD) == contract.conId


@pytest.mark.parametrize(
    ("without", "key"),
    [
        ((), "ib|FUT|DAX 20130315|EUREX|EUR|FDXM|"),
        (("localSymbol",), "ib|FUT|DAX 20130315|EUREX|EUR|FDXM|"),
        (("tradingClass",), "ib|FUT|FDXM MAR 13|EUREX|EUR"),
        (("lastTradeDateOrContractMonth",), "ib|FUT|FDXM MAR 13|EUREX|EUR"),
        (("tradingClass", "localSymbol"), "ib|FUT|DAX 20130315|EUREX|EUR||5"),
        (("localSymbol", "lastTradeDateOrContractMonth"), None),
    ],
)
def test_what_a_file_does_not_say_of_a_future_is_made_up_for_by_the_rest_or_it_is_unreadable(without, key):
    contract = next(each for each in each_contract(WORLD) if each.localSymbol == "FDXM MAR 13")
    item = found("DAX", contract, *without)
    if key is None:
        assert item.why.startswith("a future without an expiry")
    else:
        assert item.key == key
        assert answered(item, WORLD) == contract.conId


CLASSES = st.sampled_from(["X", "XM", "X 2", "X,Y", "X@Y"])
FUTURES = st.lists(
    st.tuples(
        CLASSES, st.sampled_from(["5", "25", "0.1"]), st.sampled_from(["20130315", "20130327"]), st.sampled_from("HM")
    ),
    min_size=1,
    max_size=5,
    unique_by=(lambda each: each[0], lambda each: each[1:3]),
)
TYPED = st.sampled_from(["X", "XM", "X 201303", "XH3", "XMH3", "X MAR 13", "ALIAS", "X50"])
LACKING = st.sets(st.sampled_from(["localSymbol"]))


@given(FUTURES, TYPED, LACKING)
def test_of_several_futures_each_comes_under_a_key_that_means_it_and_no_other(described, typed, without):
    futures = [
        future(f"{kind}{letter}3".replace(" ", ""), "X", kind, multiplier, day, "EUREX", "EUR", "201303")
        for kind, multiplier, day, letter in described
    ]
    broker = Broker(*futures)
    for contract in each_contract(broker):
        item = found(typed, contract, *without)
        if isinstance(item, Item):
            assert answered(item, broker) == contract.conId


LISTINGS = st.lists(
    st.builds(
        share,
        st.sampled_from(["X", "X B", "X PRB", "XP"]),
        st.sampled_from(["EBS", "LSE", "LSEETF", "NASDAQ", "NYSE", "TSE"]),
        st.sampled_from(["USD", "EUR"]),
    ),
    min_size=1,
    max_size=5,
)


@given(LISTINGS, st.sampled_from(["X", "X.B", "X-PB", "XpB", "Xp", "Y"]), st.booleans())
def test_of_several_listings_none_comes_under_a_key_that_our_host_answers_with_another(listings, typed, routed):
    broker = Broker(*listings)
    for contract in each_contract(broker):
        item = found(typed, contract, routed=routed)
        try:
            answer = answered(item, broker)
        except AmbiguousSymbolError:
            pytest.fail(f"{item.key} is ambiguous")
        alike = [each.conId for each in each_contract(broker) if told_of(each) == told_of(contract)]
        assert answer in alike or market(contract) in ("NASDAQ", "NYSE")


def told_of(contract):
    return contract.symbol, market(contract), contract.currency
