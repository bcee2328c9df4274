"""The simulated TWS counts and punishes whatever breaks the pacing rules of Interactive Brokers, and nothing else."""

from __future__ import annotations

import asyncio

import pytest
from ib_async import IB, StartupFetchNONE, Stock
from tws.looptime import run
from tws.server import SimulatedTws

APPLE, IBM = Stock("AAPL", "SMART", "USD"), Stock("IBM", "SMART", "USD")


class Client:
    """An ib_async client without its own throttle, and what it is told."""

    def __init__(self, ib):
        self.ib = ib
        self.heard = []
        ib.client.MaxRequests = 0
        ib.errorEvent += lambda request, code, text, _contract: request > 0 and self.heard.append((code, text))

    def head(self, contract=APPLE, what="TRADES"):
        """Send a request, and keep its slot."""
        self.ib.client.reqHeadTimeStamp(self.ib.client.getReqId(), contract, what, True, 2)

    def bars(self, size="1 day", end="", contract=APPLE, what="TRADES"):
        self.ib.client.reqHistoricalData(
            self.ib.client.getReqId(), contract, end, "1 D", size, what, True, 2, False, []
        )

    def details(self):
        self.ib.reqContractDetailsAsync(APPLE)


def violations(story):
    """What is counted, and what the client hears, in the course of a story."""

    async def main():
        async with SimulatedTws() as tws:
            client = Client(IB())
            await client.ib.connectAsync("127.0.0.1", tws.port, 1, readonly=True, fetchFields=StartupFetchNONE)
            await asyncio.sleep(700)
            await story(client)
            await asyncio.sleep(0.001)
            counts = tws.counts()
            client.ib.disconnect()
            await tws.drop()
            return counts["violations"], client.heard, counts["ended_for_pacing"]

    return run(main())


async def each(things, pause=0.0):
    for thing in things:
        thing()
        await asyncio.sleep(pause)


def test_fifty_messages_a_second_are_welcome_and_one_more_is_not():
    assert violations(lambda client: each([client.details] * 50))[0] == {}
    counted, heard, _ended = violations(lambda client: each([client.details] * 51))
    assert counted == {"messages": 1}
    assert heard == [(100, "Max rate of messages per second has been exceeded.")]


def test_the_window_of_messages_slides():
    assert violations(lambda client: each([client.details] * 200, 1 / 50))[0] == {}
    assert violations(lambda client: each([client.details] * 52, 1 / 60))[0] == {"messages": 2}


def test_the_same_request_may_come_again_after_15_seconds():
    assert violations(lambda client: each([client.bars] * 2, 15))[0] == {}
    counted, heard, _ended = violations(lambda client: each([client.bars] * 2, 14.9))
    assert counted == {"same request": 1}
    assert heard[0][0] == 162
    assert "pacing violation" in heard[0][1]


def of_one_contract(client, most, what="TRADES"):
    return [lambda day=day: client.bars(end=f"201302{day:02}-00:00:00", what=what) for day in range(5, 5 + most)]


def test_six_requests_for_one_contract_within_two_seconds_are_one_too_many():
    assert violations(lambda client: each(of_one_contract(client, 5)))[0] == {}
    assert violations(lambda client: each(of_one_contract(client, 6)))[0] == {"one contract": 1}
    assert violations(lambda client: each(of_one_contract(client, 20), 0.4))[0] == {}


def test_bid_and_ask_count_twice():
    assert violations(lambda client: each(of_one_contract(client, 2, "BID_ASK")))[0] == {}
    assert violations(lambda client: each(of_one_contract(client, 3, "BID_ASK")))[0] == {"one contract": 1}


def small_bars(client, most):
    ends = [f"201302{day:02}-{hour:02}:00:00" for day in range(1, 29) for hour in range(24)][:most]
    return [lambda end=end: client.bars("30 secs", end) for end in ends]


def test_bars_under_a_minute_are_sixty_in_ten_minutes():
    assert violations(lambda client: each(small_bars(client, 60), 1))[0] == {}
    assert violations(lambda client: each(small_bars(client, 61), 1))[0] == {"small bars": 1}
    assert violations(lambda client: each(small_bars(client, 62), 10))[0] == {}


def test_a_head_timestamp_holds_its_slot_until_it_is_called_off():
    stocks = [Stock(symbol, "SMART", "USD") for symbol in "A AA BA C CAT CVX DD DIS F GE GM GS HD".split()]
    asks = [(stock, what) for stock in stocks for what in ("TRADES", "MIDPOINT", "BID", "ASK")]

    async def hold(client):
        await each([lambda ask=ask: client.head(*ask) for ask in asks[:50]], 0.05)

    async def hold_one_too_many(client):
        await hold(client)
        client.head(*asks[50])

    async def give_back(client):
        await hold(client)
        client.ib.client.cancelHeadTimeStamp(1)
        client.head(*asks[50])

    assert violations(hold)[0] == {}
    counted, heard, _ended = violations(hold_one_too_many)
    assert counted == {"open requests": 1}
    assert heard[0][0] == 420
    assert violations(give_back)[0] == {}


def test_three_violations_end_the_connection():
    counted, _heard, ended = violations(lambda client: each([client.details] * 53))
    assert (counted, ended) == ({"messages": 3}, 1)


@pytest.mark.parametrize("seconds", [0.5, 60, 3600.0])
def test_simulated_time_passes_exactly_and_at_once(seconds):
    async def main():
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(seconds)
        return loop.time() - began

    assert run(main()) == seconds
