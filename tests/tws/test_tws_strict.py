"""The simulated TWS can read the pacing rules as strictly as they can be read, and hear of messages late."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count

import pytest
from ib_async import Stock
from tws.asking import connected, new_client
from tws.delays import HeavyTail
from tws.looptime import run

APPLE = Stock("AAPL", "SMART", "USD")
LENIENT, STRICT = (), ("strict",)


def broken(story, clients=1, **options):
    """What is counted in the course of a story about some clients."""

    async def main():
        async with connected(**options) as (tws, first):
            others = [await new_client(tws, number) for number in range(2, clients + 1)]
            await asyncio.sleep(700)
            await story(first, *others)
            await asyncio.sleep(60)
            for other in others:
                other.disconnect()
            return tws.counts()["violations"]

    return run(main())


def ask(ib, contract=APPLE, end=""):
    ib.client.reqHistoricalData(ib.client.getReqId(), contract, end, "1 D", "1 day", "TRADES", True, 2, False, [])


def hour(number):
    return f"201302{number // 24 + 1:02}-{number % 24:02}:00:00"


async def at(*moments):
    """Do things, each so many seconds after the one before."""
    for pause, thing in moments:
        await asyncio.sleep(pause)
        thing()


@pytest.mark.parametrize(("behaviours", "found"), [(LENIENT, {}), (STRICT, {"same request": 1})])
def test_after_exactly_fifteen_seconds_the_same_request_is_still_within_them(behaviours, found):
    assert broken(lambda ib: at((0, lambda: ask(ib)), (15, lambda: ask(ib))), behaviours=behaviours) == found
    assert broken(lambda ib: at((0, lambda: ask(ib)), (15.01, lambda: ask(ib))), behaviours=behaviours) == {}


def test_fifteen_seconds_begin_anew_with_a_request_that_was_refused():
    found = broken(lambda ib: at(*((pause, lambda: ask(ib)) for pause in (0, 8, 8))), behaviours=STRICT)
    assert found == {"same request": 2}


@pytest.mark.parametrize(("behaviours", "found"), [(LENIENT, {}), (STRICT, {"same request": 1})])
def test_one_contract_is_the_same_however_it_is_described(behaviours, found):
    async def story(ib):
        (details,) = await ib.reqContractDetailsAsync(APPLE)
        await at((1, lambda: ask(ib)), (1, lambda: ask(ib, details.contract)))

    assert broken(story, behaviours=behaviours) == found


@pytest.mark.parametrize(("behaviours", "found"), [(LENIENT, {}), (STRICT, {"one contract": 1})])
def test_five_requests_for_a_contract_are_welcome_and_the_sixth_is_too_much_even_at_the_end_of_two_seconds(
    behaviours, found
):
    def story(number):
        pauses = [0] * 5 + [2] * (number - 5)
        return lambda ib: at(*((pause, lambda n=n: ask(ib, end=hour(n))) for n, pause in enumerate(pauses)))

    assert broken(story(5), behaviours=behaviours) == {}
    assert broken(story(6), behaviours=behaviours) == found


@pytest.mark.parametrize(("behaviours", "found"), [(LENIENT, {}), (STRICT, {"messages": 1})])
def test_fifty_messages_a_second_are_those_of_all_clients(behaviours, found):
    def story(number):
        return lambda *clients: at(*((0, clients[n % 5].client.reqPositions) for n in range(number)))

    assert broken(story(50), clients=5, behaviours=behaviours) == {}
    assert broken(story(51), clients=5, behaviours=behaviours) == found


def test_a_cancellation_is_a_message():
    async def story(ib):
        ask(ib)
        for number in range(50):
            ib.client.cancelHistoricalData(number)

    assert broken(story, behaviours=STRICT) == {"messages": 1}


def test_a_message_that_is_late_brings_those_behind_it_in_a_bunch_and_in_their_order():
    late, arrived = [0.0], []

    async def story(ib):
        loop = asyncio.get_running_loop()
        began = loop.time()
        ib.errorEvent += lambda _number, _code, text, _contract: arrived.append((loop.time() - began, text[-1]))
        for number in range(4):
            late[0] = 0.0 if number else 3.0
            ib.client.cancelHistoricalData(number)
            await asyncio.sleep(0.9)
        await asyncio.sleep(2)
        ib.client.cancelHistoricalData(4)

    broken(story, delays=lambda: late[0])
    assert arrived == [(pytest.approx(moment), text) for moment, text in zip((3, 3, 3, 3, 5.6), "01234", strict=True)]


def test_the_delays_of_a_seed_are_always_the_same_most_of_them_short_and_some_very_long():
    first, again, other = ([tail() for _ in range(10_000)] for tail in map(HeavyTail, (7, 7, 8)))
    assert first == again != other
    assert sorted(first)[5000] == pytest.approx(0.002, rel=0.1)
    assert max(first) > 1000 * 0.002
    assert max(first) <= 5.0


@pytest.mark.parametrize(("delays", "is_broken"), [(None, False), (HeavyTail(1), True)], ids=["in time", "late"])
def test_ten_thousand_requests_of_five_clients_keep_the_rules_unless_they_are_late(delays, is_broken):
    hours = count()

    async def load(ib):
        with suppress(ConnectionError):  # three violations end it
            for _ in range(2000):
                ask(ib, end=hour(next(hours) % 600))
                await asyncio.sleep(2.01)

    found = broken(lambda *clients: asyncio.gather(*map(load, clients)), clients=5, behaviours=STRICT, delays=delays)
    assert bool(found) is is_broken
