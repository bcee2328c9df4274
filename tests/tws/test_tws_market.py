"""The simulated TWS answers as the real one does, to the unmodified ib_async."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import pytest
from ib_async import IB, Contract, Crypto, Forex, Future, StartupFetchNONE, Stock
from tws.looptime import run
from tws.server import SimulatedTws

APPLE = Stock("AAPL", "SMART", "USD")


def ask(*requests):
    """The answer to each request of a client."""

    async def main():
        async with SimulatedTws() as tws:
            ib = IB()
            ib.RaiseRequestErrors = True
            await ib.connectAsync("127.0.0.1", tws.port, 1, readonly=True, fetchFields=StartupFetchNONE)
            try:
                return [await request(ib) for request in requests]
            finally:
                ib.disconnect()
                await tws.drop()

    return run(main())


def details(contract):
    return ask(lambda ib: ib.reqContractDetailsAsync(contract))[0]


def bars(contract, end, duration, size, what="TRADES", rth=True):
    return ask(lambda ib: ib.reqHistoricalDataAsync(contract, end, duration, size, what, rth, formatDate=2))[0]


@pytest.mark.parametrize(
    ("contract", "found"),
    [
        (APPLE, [("AAPL", "NASDAQ", "USD")]),
        (Stock("BRK B", "SMART", "USD"), [("BRK B", "NYSE", "USD")]),
        (Stock("RY", "SMART", "CAD"), [("RY", "TSE", "CAD")]),
        (Stock("RY", "SMART", "USD"), [("RY", "NYSE", "USD")]),
        (Stock("RY", "TSE"), [("RY", "TSE", "CAD")]),
        (Stock("INTC", "SMART", "USD"), [("INTC", "NASDAQ", "USD"), ("INTC", "EBS", "USD")]),
        (Stock("INTC", "SMART", "USD", primaryExchange="NASDAQ"), [("INTC", "NASDAQ", "USD")]),
        (Stock("VOD", "LSE", "GBP"), [("VOD", "LSE", "GBP")]),
        (Forex("EURUSD"), [("EUR.USD", "", "USD")]),
        (Crypto("BTC", "PAXOS", "USD"), [("BTC.USD", "", "USD")]),
        (Future("ES", "201306", "CME"), [("ESM3", "", "USD")]),
        (Contract(secType="FUT", localSymbol="ESZ6", exchange="CME"), [("ESZ6", "", "USD")]),
    ],
    ids=lambda value: str(value.localSymbol or value.symbol) if isinstance(value, Contract) else "",
)
def test_a_description_finds_every_contract_that_fits(contract, found):
    contracts = [each.contract for each in details(contract)]
    assert [(each.localSymbol, each.primaryExchange, each.currency) for each in contracts] == found


@pytest.mark.parametrize("contract", [Stock("BRK-B", "SMART", "USD"), Stock("NOSUCH", "SMART", "USD"), Forex("XAUSEK")])
def test_what_fits_nothing_is_error_200(contract):
    with pytest.raises(Exception, match="200: No security definition"):
        details(contract)


def test_a_future_has_its_expiry_and_its_multiplier():
    contract = details(Future("ES", "201303", "CME"))[0].contract
    assert (contract.lastTradeDateOrContractMonth, contract.multiplier) == ("20130315", "50")


@pytest.mark.parametrize(
    ("contract", "zone", "trading", "liquid"),
    [
        (APPLE, "US/Eastern", "20130301:0400-20130301:2000;20130302:CLOSED", "20130301:0930-20130301:1600;"),
        (
            Forex("EURUSD"),
            "US/Eastern",
            "20130228:1715-20130301:1700;20130301:CLOSED;20130302:CLOSED;",
            "20130228:1715",
        ),
        (Future("ES", "201303", "CME"), "US/Central", "20130228:1700-20130301:1600;", "20130301:0830-20130301:1515;"),
        (Crypto("BTC", "PAXOS", "USD"), "US/Eastern", "20130301:0000-20130301:2359;20130302:0000-", "20130301:0000-"),
    ],
    ids=["stock", "forex", "future", "crypto"],
)
def test_hours_are_told_in_the_zone_of_the_market(contract, zone, trading, liquid):
    (found,) = details(contract)
    assert found.timeZoneId == zone
    assert found.tradingHours.startswith(trading)
    assert found.liquidHours.startswith(liquid)


def test_a_head_timestamp_is_the_beginning_of_the_first_session():
    first, extended = ask(
        lambda ib: ib.reqHeadTimeStampAsync(APPLE, "TRADES", True, 2),
        lambda ib: ib.reqHeadTimeStampAsync(APPLE, "TRADES", False, 2),
    )
    assert first == datetime(2000, 3, 1, 14, 30, tzinfo=UTC)
    assert extended == datetime(2000, 3, 1, 9, 0, tzinfo=UTC)


def test_daily_bars_are_the_recorded_ones():
    found = bars(APPLE, "20130301-23:59:59", "1 W", "1 day")
    assert [bar.date for bar in found] == [date(2013, 2, day) for day in (25, 26, 27, 28)] + [date(2013, 3, 1)]
    assert (found[0].open, found[0].close) == (453.85, 442.8)


def test_shorter_and_longer_bars_add_up_to_the_days():
    (day,) = bars(APPLE, "20130228-23:59:59", "86400 S", "1 day")[-1:]
    hours = bars(APPLE, "20130228-23:59:59", "1 D", "1 hour")
    assert hours[0].date == datetime(2013, 2, 28, 14, 30, tzinfo=UTC)
    assert (hours[0].open, hours[-1].close) == (day.open, day.close)
    assert (max(bar.high for bar in hours), min(bar.low for bar in hours)) == (day.high, day.low)
    week = bars(APPLE, "20130301-23:59:59", "4 D", "1 week")[-1]
    assert (week.date, week.close) == (date(2013, 3, 1), 430.47)
    thirds = bars(APPLE, "20130228-23:59:59", "1 D", "3 hours")
    assert [bar.date.hour for bar in thirds] == [14, 17, 20]
    days = [bar for bar in bars(APPLE, "20130228-23:59:59", "1 Y", "1 day") if bar.date >= date(2013, 2, 1)]
    month = bars(APPLE, "20130228-23:59:59", "1 Y", "1 month")[-1]
    assert (month.date, month.open, month.close) == (date(2013, 2, 28), days[0].open, days[-1].close)
    assert month.high == max(bar.high for bar in days)


@pytest.mark.parametrize("end", ["20121028-01:00:00", "20121028-05:00:00", "20121104-01:00:00", "20120704-00:15:00"])
def test_a_duration_in_seconds_reaches_into_a_session_that_began_the_day_before(end):
    coin = Crypto("BTC", "PAXOS", "USD")
    found = bars(coin, end, "900 S", "1 min", "AGGTRADES", rth=False)
    ends = datetime.strptime(end, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
    assert [bar.date for bar in found] == [ends - timedelta(minutes=left) for left in range(15, 0, -1)]


@pytest.mark.parametrize(
    ("duration", "size", "what", "message"),
    [
        ("366 D", "1 day", "TRADES", "321: .* must be made in years"),
        ("90000 S", "1 day", "TRADES", "321: .* must be made in days"),
        ("1 d", "1 day", "TRADES", "321: .* duration format"),
        ("1 D", "1 minute", "TRADES", "321: .* bar size"),
        ("1 D", "1 day", "PRICES", "321: .* what to show"),
        ("2 D", "1 min", "TRADES", "162: .*Time length exceed max"),
    ],
)
def test_a_wrong_request_for_bars_has_an_error_of_its_own(duration, size, what, message):
    heard = []

    async def request(ib):
        ib.errorEvent += lambda _request, code, text, _contract: heard.append(f"{code}: {text}")
        return await ib.reqHistoricalDataAsync(APPLE, "", duration, size, what, True, timeout=1)

    try:
        ask(request)
    except Exception as error:
        heard.append(str(error))
    assert re.search(message, " ".join(heard))


def test_forex_has_no_trades():
    with pytest.raises(Exception, match="No historical market data for EUR/CASH@IDEALPRO"):
        bars(Forex("EURUSD"), "20130301-12:00:00", "1 D", "1 hour")
    assert bars(Forex("EURUSD"), "20130301-12:00:00", "1 D", "1 hour", "MIDPOINT", rth=False)


def test_before_the_first_day_there_is_no_data():
    with pytest.raises(Exception, match="HMDS query returned no data: AAPL@SMART"):
        bars(APPLE, "19990101-00:00:00", "1 W", "1 day")
