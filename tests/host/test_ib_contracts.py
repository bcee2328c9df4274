"""A symbol becomes the contract that it means, and what Interactive Brokers answers becomes ours."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from ib_async import Contract, ContractDetails

from symcache_core.errors import AmbiguousSymbolError, InvalidSymbolError
from symcache_core.symbols import Instrument
from symcache_host.ib.contracts import (
    basis,
    candidates,
    choose,
    describe,
    is_asked_in_every_form,
    last_trade_date,
    regular_hours_only,
    valid_until,
    what_to_show,
)

HOURS = ("regular", "extended")


TODAY = date(2026, 11, 24)


def shares(symbol, currency="USD", primary=""):
    return Contract(secType="STK", symbol=symbol, exchange="SMART", primaryExchange=primary, currency=currency)


def anywhere(symbol, currency=""):
    return Contract(secType="STK", symbol=symbol, currency=currency)


def classes(root, letter, currency="USD", primary=""):
    return [shares(f"{root}{separator}{letter}", currency, primary) for separator in " ./-"]


def future(exchange="", currency="", **names):
    return Contract(secType="FUT", exchange=exchange, currency=currency, includeExpired=True, **names)


def in_month(local, month, exchange="", currency=""):
    return future(exchange, currency, localSymbol=local, lastTradeDateOrContractMonth=month)


def dated(symbol, expiry, exchange="", currency=""):
    return future(exchange, currency, symbol=symbol, lastTradeDateOrContractMonth=expiry)


def locals_of_december(root, exchange="", currency="", expiry="202612"):
    return [in_month(local, expiry, exchange, currency) for local in (f"{root:<5}DEC 26", f"{root}Z6", f"{root}Z26")]


def listed(number, primary, currency="USD", symbol="RY", kind="STK", **more):
    details = {name: more.pop(name) for name in list(more) if hasattr(ContractDetails, name)}
    exchange = more.pop("exchange", "SMART")
    contract = Contract(
        secType=kind,
        conId=number,
        symbol=symbol,
        exchange=exchange,
        primaryExchange=primary,
        currency=currency,
        **more,
    )
    return ContractDetails(contract=contract, **details)


def chosen(found, symbol):
    instrument = Instrument.parse(symbol)
    listing = choose(found, instrument)
    return listing and (listing.contract.conId, listing.others)


def in_march_2033(root):
    return [in_month(local, "203303") for local in (f"{root:<5}MAR 33", f"{root}H3", f"{root}H33")]


@pytest.mark.parametrize(
    ("symbol", "contracts"),
    [
        ("aapl", [shares("AAPL")]),
        ("AAPL@SMART", [shares("AAPL")]),
        ("AAPL@NASDAQ:USD", [shares("AAPL", primary="NASDAQ"), anywhere("AAPL", "USD")]),
        ("AAPL@ISLAND", [shares("AAPL", "", "NASDAQ"), anywhere("AAPL")]),
        ("BRK.B", classes("BRK", "B")),
        ("RY@TSE:CAD", [shares("RY", "CAD", "TSE"), anywhere("RY", "CAD")]),
        ("RY@TSE", [shares("RY", "", "TSE"), anywhere("RY")]),
        ("RY@:CAD", [shares("RY", "CAD")]),
        (
            "BBD.B@TSE:CAD",
            [*classes("BBD", "B", "CAD", "TSE"), *(anywhere(f"BBD{separator}B", "CAD") for separator in " ./-")],
        ),
        ("BAC-PK", [shares("BAC PRK"), *classes("BAC", "PK")]),
        ("C PR", [shares("C PR"), shares("C PRR"), *classes("C", "PR")[1:]]),
        ("CpK", [shares("C PRK"), shares("CPK")]),
        ("CPK", [shares("CPK")]),
        ("XYZ-UN", [shares("XYZ UN"), shares("XYZ U"), *classes("XYZ", "UN")[1:]]),
        ("0700@SEHK", [shares("700", "", "SEHK"), shares("0700", "", "SEHK"), anywhere("700"), anywhere("0700")]),
        ("BP@LSE", [shares("BP", "", "LSE"), shares("BP.", "", "LSE"), anywhere("BP"), anywhere("BP.")]),
        (
            "BTC.USD",
            [
                *classes("BTC", "USD"),
                Contract(secType="CRYPTO", symbol="BTC", exchange="PAXOS", currency="USD"),
                Contract(secType="CRYPTO", symbol="BTC", exchange="ZEROHASH", currency="USD"),
            ],
        ),
        ("eur/usd", [Contract(secType="CASH", symbol="EUR", exchange="IDEALPRO", currency="USD")]),
        ("CASH:EUR", [Contract(secType="CASH", symbol="EUR", exchange="IDEALPRO", currency="USD")]),
        (
            "FUT:ESZ6@CFE",
            [future("CFE", localSymbol="ESZ6"), dated("ES", "202612", "CFE"), *locals_of_december("ES", "CFE")],
        ),
        ("FUT:M2KZ6", [future(localSymbol="M2KZ6"), dated("M2K", "202612"), *locals_of_december("M2K")]),
        ("FUT:ESH3", [future(localSymbol="ESH3"), dated("ES", "203303"), *in_march_2033("ES")]),
        ("FUT:ES 202612@CFE", [dated("ES", "202612", "CFE"), *locals_of_december("ES", "CFE")]),
        (
            "FUT:ES 20261218@CFE:USD",
            [dated("ES", "20261218", "CFE", "USD"), *locals_of_december("ES", "CFE", "USD", "20261218")],
        ),
        (
            "FUT:YM   DEC 26",
            [
                future(localSymbol="YM   DEC 26"),
                future(localSymbol="YM DEC 26"),
                dated("YM", "202612"),
                *locals_of_december("YM")[1:],
            ],
        ),
        (
            "FUT:FESX DEC 26",
            [future(localSymbol="FESX DEC 26"), dated("FESX", "202612"), *locals_of_december("FESX")[1:]],
        ),
        ("FUT:X 26 M", [future(localSymbol="X 26 M"), future(localSymbol="X    26 M")]),
        ("FUT:X 26 M@DTB", [future(at, localSymbol=name) for at in ("EUREX", "") for name in ("X 26 M", "X    26 M")]),
        (
            "CRYPTO:BTC",
            [
                Contract(secType="CRYPTO", symbol="BTC", exchange="PAXOS", currency="USD"),
                Contract(secType="CRYPTO", symbol="BTC", exchange="ZEROHASH", currency="USD"),
            ],
        ),
        ("CRYPTO:BTC@ZEROHASH", [Contract(secType="CRYPTO", symbol="BTC", exchange="ZEROHASH", currency="USD")]),
        ("IND:SPX@CBOE", [Contract(secType="IND", symbol="SPX", exchange="CBOE")]),
        ("CMDTY:XAUUSD", [Contract(secType="CMDTY", symbol="XAUUSD", exchange="SMART", currency="USD")]),
        ("XAUUSD", [Contract(secType="CMDTY", symbol="XAUUSD", exchange="SMART", currency="USD")]),
        ("xag/usd", [Contract(secType="CMDTY", symbol="XAGUSD", exchange="SMART", currency="USD")]),
        ("CASH:XPT", [Contract(secType="CMDTY", symbol="XPTUSD", exchange="SMART", currency="USD")]),
        ("CFD:IBUS30", [Contract(secType="CFD", symbol="IBUS30", exchange="SMART")]),
        ("FUT:DAX 202612,class=FDXM,multiplier=5", [dated("DAX", "202612"), *locals_of_december("DAX")]),
    ],
)
def test_a_symbol_is_asked_for_as_what_it_says(symbol, contracts):
    assert list(candidates(Instrument.parse(symbol), TODAY)) == contracts


@pytest.mark.parametrize("symbol", ["FUT:ES@CME", "FUT:M2K", "FUT:6E"])
def test_a_future_without_an_expiry_is_refused_with_an_example(symbol):
    with pytest.raises(InvalidSymbolError, match="FUT:ESZ6@CME"):
        candidates(Instrument.parse(symbol), TODAY)


@pytest.mark.parametrize("symbol", ["BAG:X", "NEWS:BRF", "OPT:AAPL"])
def test_a_type_that_cannot_be_asked_for_is_refused_with_those_that_can(symbol):
    with pytest.raises(InvalidSymbolError, match="STK, CASH, FUT"):
        candidates(Instrument.parse(symbol), TODAY)


@pytest.mark.parametrize(
    ("kind", "what", "regular"),
    [
        ("STK", "TRADES", True),
        ("CASH", "MIDPOINT", False),
        ("FUT", "TRADES", False),
        ("CRYPTO", "AGGTRADES", False),
        ("IND", "TRADES", True),
        ("CMDTY", "MIDPOINT", False),
    ],
)
def test_a_type_has_prices_and_hours_of_its_own(kind, what, regular):
    contract = Contract(secType=kind)
    assert (what_to_show(contract), regular_hours_only(contract)) == (what, regular)
    assert (basis(contract, None).show, basis(contract, None).session == "regular") == (what, regular)
    assert [basis(contract, session).session for session in HOURS] == [*HOURS]


@pytest.mark.parametrize("kind", ["STK", "CASH", "FUT", "CRYPTO", "IND", "CMDTY", "CFD"])
@pytest.mark.parametrize("session", [None, *HOURS])
def test_only_trades_of_stocks_are_adjusted_for_splits(kind, session):
    assert basis(Contract(secType=kind), session).adjustment == ("split" if kind == "STK" else "none")


def test_of_several_listings_the_primary_one_is_taken_and_the_others_are_named():
    found = [listed(1, "PINK"), listed(2, "TSE", "CAD"), listed(3, "NYSE"), listed(3, "NYSE", exchange="NYSE")]
    assert chosen(found, "RY") == (3, ("RY@TSE:CAD", "RY@PINK:USD"))
    listing = choose(found, Instrument.parse("RY"))
    details = describe(listing, Instrument.parse("RY")).details
    assert details["alternatives"] == ("RY@TSE:CAD", "RY@PINK:USD")
    assert details["note"] == (
        "RY is ambiguous: this is RY@NYSE:USD, the primary listing; there is also RY@TSE:CAD, RY@PINK:USD"
    )


def test_where_nothing_ranks_the_listings_none_is_taken():
    found, instrument = [listed(1, "IBIS"), listed(2, "SBF")], Instrument.parse("RY@:EUR")
    with pytest.raises(AmbiguousSymbolError) as raised:
        choose([replace(each, contract=replace(each.contract, currency="EUR")) for each in found], instrument)
    assert raised.value.alternatives == ("RY@IBIS:EUR", "RY@SBF:EUR")


def test_of_two_that_no_spelling_tells_apart_the_first_is_taken_and_none_is_called_the_primary_one():
    found, instrument = [listed(1, "NYSE"), listed(2, "NYSE")], Instrument.parse("RY")
    listing = choose(found, instrument)
    assert listing.contract.conId == 1
    assert describe(listing, instrument).details["note"] == (
        "RY is ambiguous: this is RY@NYSE:USD, the first that was told; there is also 1 that no symbol tells apart"
    )


def test_of_what_is_told_of_a_share_at_many_exchanges_that_is_taken_to_which_orders_are_routed():
    found = [listed(1, "NYSE", exchange=at) for at in ("BATS", "NYSE", "SMART")]
    assert choose(found, Instrument.parse("RY@NYSE")).contract.exchange == "SMART"
    assert choose(found[:2], Instrument.parse("RY@NYSE")).contract.exchange == "NYSE"


@pytest.mark.parametrize(
    ("symbol", "certain"),
    [
        ("FUT:ESZ6@CME", True),
        ("FUT:ES 202612@CME", True),
        ("FUT:YM   DEC 26@CBOT", True),
        ("FUT:X  26 M", False),
        ("BRK B", True),
    ],
)
def test_a_local_symbol_with_spaces_may_not_be_asked_for_as_it_is_written(symbol, certain):
    assert is_asked_in_every_form(Instrument.parse(symbol)) is certain


@pytest.mark.parametrize(
    ("symbol", "number"),
    [
        ("RY@TSE:CAD", 2),
        ("RY@TSE", 2),
        ("RY@:CAD", 2),
        ("RY@NYSE", 1),
        ("RY@LSE", None),
        ("RY@TSE:USD", None),
        ("RY@:EUR", None),
    ],
)
def test_a_qualified_symbol_is_that_listing_or_none(symbol, number):
    found = [listed(1, "NYSE"), listed(2, "TSE", "CAD")]
    assert chosen(found, symbol) == (number and (number, ()))


@pytest.mark.parametrize(("told", "asked"), [("ISLAND", "NASDAQ"), ("NASDAQ", "ISLAND"), ("ENEXT", "ENEXT.BE")])
def test_an_exchange_is_known_under_either_of_its_names(told, asked):
    assert chosen([listed(1, told)], f"RY@{asked}") == (1, ())


def test_a_future_is_that_of_its_exchange_and_is_asked_about_after_its_end_too():
    found = [
        listed(7, "", symbol="ES", kind="FUT", exchange="CME", localSymbol="ESZ6", multiplier="50"),
        listed(7, "", symbol="ES", kind="FUT", exchange="QBALGO", localSymbol="ESZ6", multiplier="50"),
    ]
    assert chosen(found, "FUT:ESZ6@CME") == chosen(found, "FUT:ESZ6") == (7, ())
    assert choose(found, Instrument.parse("FUT:ESZ6")).contract.includeExpired
    assert chosen(found, "FUT:ESZ6@EUREX") is None


def test_nothing_found_is_nothing():
    assert choose([], Instrument.parse("RY")) is None


def test_a_description_has_the_fields_of_interactive_brokers():
    found = listed(
        265598,
        "NASDAQ",
        symbol="AAPL",
        localSymbol="AAPL",
        tradingClass="NMS",
        longName="APPLE INC",
        stockType="COMMON",
        industry="Technology",
        minTick=0.01,
        validExchanges="SMART,NYSE",
        timeZoneId="US/Eastern",
        tradingHours="20261124:0400-20261124:2000",
        liquidHours="20261124:0930-20261124:1600",
    )
    instrument = Instrument.parse("AAPL@NASDAQ")
    info = describe(choose([found], instrument), instrument)
    assert (info.symbol, info.asset_type, info.exchange, info.currency) == ("AAPL", "STK", "NASDAQ", "USD")
    assert info.description == "APPLE INC"
    assert info.contract == {
        "conId": 265598,
        "symbol": "AAPL",
        "secType": "STK",
        "exchange": "SMART",
        "primaryExchange": "NASDAQ",
        "currency": "USD",
        "localSymbol": "AAPL",
        "tradingClass": "NMS",
    }
    assert info.trading_hours["regular_hours"]["start"] == "09:30"
    assert info.last_trade_date is None
    assert info.details == {
        "provider": "ib",
        "stock_type": "COMMON",
        "industry": "Technology",
        "min_tick": 0.01,
        "valid_exchanges": "SMART,NYSE",
        "time_zone_id": "US/Eastern",
    }


def test_a_pair_is_described_under_its_own_name():
    found = listed(12087792, "", symbol="EUR", kind="CASH", exchange="IDEALPRO", localSymbol="EUR.USD")
    instrument = Instrument.parse("EUR/USD")
    info = describe(choose([found], instrument), instrument)
    assert (info.symbol, info.exchange, info.contract["symbol"]) == ("EURUSD", "IDEALPRO", "EUR")


@pytest.mark.parametrize(
    ("told", "more", "last"),
    [
        ("20261218", {}, date(2026, 12, 18)),
        ("20261218 08:30 US/Central", {}, date(2026, 12, 18)),
        ("202612", {"realExpirationDate": "20261218"}, date(2026, 12, 18)),
        ("202612", {}, None),
        ("", {}, None),
    ],
)
def test_a_contract_that_ends_says_when(told, more, last):
    found = listed(
        7, "", symbol="ES", kind="FUT", exchange="CME", localSymbol="ESZ6", lastTradeDateOrContractMonth=told, **more
    )
    assert last_trade_date(choose([found], Instrument.parse("FUT:ESZ6"))) == last


def test_a_contract_is_valid_to_the_end_of_its_last_day_where_it_is_traded():
    found = listed(
        7,
        "",
        kind="FUT",
        exchange="SNFE",
        localSymbol="APZ6",
        lastTradeDateOrContractMonth="20261217",
        timeZoneId="Australia/NSW",
    )
    listing = choose([found], Instrument.parse("FUT:APZ6"))
    assert valid_until(listing) == datetime(2026, 12, 17, 13, tzinfo=UTC).timestamp()
    assert valid_until(choose([listed(1, "NYSE")], Instrument.parse("RY"))) is None


def test_a_last_day_at_the_end_of_the_calendar_is_none():
    found = listed(7, "", kind="FUT", exchange="CME", localSymbol="ESZ6", lastTradeDateOrContractMonth="99991231")
    assert valid_until(choose([found], Instrument.parse("FUT:ESZ6"))) is None
