"""The simulated TWS knows contracts that users of Interactive Brokers report trouble with."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ib_async import Contract, Stock
from tws.asking import answers

LAST_MARCH = Contract(secType="FUT", localSymbol="ESH2", exchange="CME", includeExpired=True)


def found(now=None, **description):
    """The local symbols that a description is told, or the code."""
    (answer,) = answers(lambda ib: ib.reqContractDetailsAsync(Contract(**description)), **({"now": now} if now else {}))
    return answer[0] if isinstance(answer, tuple) else [each.contract.localSymbol for each in answer]


def future(**description):
    return found(secType="FUT", **description)


def share(symbol, **description):
    return found(secType="STK", symbol=symbol, **({"exchange": "SMART", "currency": "USD"} | description))


def bars(contract, end="", what="TRADES"):
    return lambda ib: ib.reqHistoricalDataAsync(contract, end, "1 W", "1 day", what, False, formatDate=2)


@pytest.mark.parametrize(
    ("description", "locals_"),
    [
        ({"symbol": "SI", "exchange": "COMEX"}, ["SILH3", "SIH3"]),
        ({"symbol": "SI", "exchange": "COMEX", "tradingClass": "SI"}, ["SIH3"]),
        ({"symbol": "SI", "exchange": "COMEX", "multiplier": "1000"}, ["SILH3"]),
        ({"symbol": "DAX", "exchange": "EUREX"}, ["FDXM MAR 13", "FDAX MAR 13"]),
        ({"symbol": "DAX", "exchange": "DTB", "tradingClass": "FDAX"}, ["FDAX MAR 13"]),
        ({"symbol": "ESTX50", "exchange": "EUREX"}, ["FESX MAR 13"]),
        ({"symbol": "VIX", "exchange": "CFE"}, ["VX10H3", "VXH3"]),
        ({"symbol": "ZN", "exchange": "CBOT"}, ["ZN   MAR 13"]),
    ],
)
def test_several_futures_may_have_one_symbol_and_one_expiry(description, locals_):
    assert future(lastTradeDateOrContractMonth="201303", **description) == locals_


@pytest.mark.parametrize("local", ["SILH3", "FESX MAR 13", "ZN   MAR 13", "VX10H3"])
def test_a_local_symbol_names_one_future_as_it_is_written(local):
    assert future(localSymbol=local) == [local]
    assert future(localSymbol=local.lower()) == 200


def test_bars_of_an_ambiguous_future_are_refused_with_what_is_missing():
    silver = Contract(secType="FUT", symbol="SI", lastTradeDateOrContractMonth="201303", exchange="COMEX")
    ((code, text),) = answers(bars(silver))
    assert (code, "you must specify the multiplier or trading class" in text) == (200, True)


def test_an_expired_future_is_known_to_those_who_ask_for_expired_ones():
    assert future(localSymbol="ESH2", exchange="CME") == 200
    assert future(localSymbol="ESH2", exchange="CME", includeExpired=True) == ["ESH2"]
    assert future(localSymbol="ESZ0", exchange="CME", includeExpired=True) == 200  # more than two years ago
    (last,) = answers(bars(LAST_MARCH, "20120322-00:00:00"))
    assert str(last[-1].date) == "2012-03-16", "its last day"


def test_a_future_has_the_same_number_on_every_day():
    numbers = {
        answers(lambda ib: ib.reqContractDetailsAsync(LAST_MARCH), now=now)[0][0].contract.conId
        for now in (
            datetime(2012, 2, 1, tzinfo=UTC),
            datetime(2012, 9, 1, tzinfo=UTC),
            datetime(2013, 3, 1, tzinfo=UTC),
        )
    }
    assert len(numbers) == 1


def test_a_continuous_future_stands_for_the_next_to_expire_and_its_bars_have_no_end():
    future_for_ever = Contract(secType="CONTFUT", symbol="ES", exchange="CME")
    details, week, refused = answers(
        lambda ib: ib.reqContractDetailsAsync(future_for_ever),
        bars(future_for_ever),
        bars(future_for_ever, "20130227-00:00:00"),
    )
    assert details[0].contract.localSymbol == "ESH3"
    assert len(week) == 5
    assert refused[0] == 10339


@pytest.mark.parametrize(
    ("description", "what"),
    [
        ({"secType": "IND", "symbol": "SPX", "exchange": "CBOE", "currency": "USD"}, "TRADES"),
        ({"secType": "IND", "symbol": "NDX", "exchange": "NASDAQ", "currency": "USD"}, "TRADES"),
        ({"secType": "IND", "symbol": "DAX", "exchange": "EUREX", "currency": "EUR"}, "TRADES"),
        ({"secType": "CMDTY", "symbol": "XAUUSD", "exchange": "SMART", "currency": "USD"}, "MIDPOINT"),
        ({"secType": "CFD", "symbol": "IBDE40", "exchange": "SMART", "currency": "EUR"}, "MIDPOINT"),
    ],
    ids=lambda value: value.get("symbol") if isinstance(value, dict) else value,
)
def test_indices_metals_and_cfds_have_bars_of_their_kind_alone(description, what):
    contract, other = Contract(**description), {"TRADES": "MIDPOINT", "MIDPOINT": "TRADES"}[what]
    week, (code, text) = answers(bars(contract, what=what), bars(contract, what=other))
    assert len(week) >= 4
    assert (code, "No historical market data for" in text) == (162, True)


@pytest.mark.parametrize(
    ("symbol", "description"),
    [
        ("BAC PRK", {}),
        ("C PRK", {}),
        ("CPK", {}),
        ("BRK B", {}),
        ("SHEL/A", {"exchange": "AEB", "currency": "EUR"}),
        ("NOVO.B", {"exchange": "CPH", "currency": "DKK"}),
        ("BT.A", {"exchange": "LSE", "currency": "GBP"}),
        ("BP.", {"exchange": "LSE", "currency": "GBP"}),
        ("RCI.B", {"exchange": "TSE", "currency": "CAD"}),
        ("700", {"exchange": "SEHK", "currency": "HKD"}),
        ("BAJAJ-AUT", {"exchange": "NSE", "currency": "INR"}),
    ],
)
def test_a_share_is_found_as_it_is_written_there(symbol, description):
    assert share(symbol, **description) == [symbol]


@pytest.mark.parametrize("symbol", ["BAC PK", "BAC-PK", "BACPRK", "C PK", "BP"])
def test_a_share_is_not_found_otherwise(symbol):
    assert share(symbol, exchange="LSE" if symbol == "BP" else "SMART", currency="") == 200


@pytest.mark.parametrize("symbol", ["KWEB", "EXUS"])
def test_a_share_may_have_two_listings_in_one_currency_of_which_neither_is_the_first(symbol):
    assert share(symbol) == [symbol, symbol]
    assert share(symbol, primaryExchange="LSEETF") == [symbol]


def test_a_delisted_share_is_known_no_more():
    assert share("HNZ") == ["HNZ"]
    assert share("HNZ", now=datetime(2013, 6, 10, tzinfo=UTC)) == 200
    assert share("GENZ", now=datetime(2011, 3, 1, tzinfo=UTC)) == ["GENZ"]
    assert share("GENZ") == 200


def test_a_share_may_be_known_and_have_no_data():
    kodak = Stock("EKDKQ", "SMART", "USD")
    details, head, week = answers(
        lambda ib: ib.reqContractDetailsAsync(kodak),
        lambda ib: ib.reqHeadTimeStampAsync(kodak, "TRADES", True, 2),
        bars(kodak),
    )
    assert details[0].contract.symbol == "EKDKQ"
    assert (head[0], week[0]) == (162, 162)
    assert "No head time stamp" in head[1]
    assert "HMDS query returned no data" in week[1]
