"""Requests go out as fast as is allowed and never faster, the urgent ones first and the clients round robin."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ib_async import Contract
from tws.looptime import run

from symcache_core.errors import ProviderPacingError
from symcache_core.timeframes import TIMEFRAMES
from symcache_host.gateway import Caller, Priority
from symcache_host.ib import contracts
from symcache_host.ib.acknowledgements import Unacknowledged
from symcache_host.ib.limits import MARGIN, Request
from symcache_host.ib.pacing import Scheduler

LATENCY = 0.02
CALLER = Caller()


def now():
    return asyncio.get_running_loop().time()


class Wire:
    """What goes out: each request with its begin and end, and each message, at its moment."""

    def __init__(self, max_wait=10_000.0):
        self.scheduler = Scheduler(max_wait, most_queued=10_000)
        self.sent = []
        self.messages = []
        self.under_way = Unacknowledged()
        self.scheduler.start(self.ping)

    async def ping(self, message):
        self.messages.append(now())
        place = self.under_way.add(message)
        await asyncio.sleep(LATENCY)
        self.under_way.acknowledge(place)

    async def ask(self, request, caller=CALLER, *, takes=LATENCY):
        async with self.scheduler.slot(request, caller) as slot:
            begin = now()
            self.messages.append(begin)
            place = self.under_way.add(slot.message)
            is_answered = False
            try:
                await asyncio.sleep(takes)
                is_answered = True
                self.under_way.acknowledge(place)
                slot.answered()
            finally:
                if request.kind == "head" or not (is_answered or request.kind == "details"):
                    slot.cancel(partial(self.cancel, request, begin))
                else:
                    self.sent.append((request, begin, now()))

    def cancel(self, request, begin, message):
        self.messages.append(now())
        self.under_way.acknowledge(self.under_way.add(message))
        self.sent.append((request, begin, now()))

    def check(self):
        """Every rule, in the words of Interactive Brokers, and looked at without the help of what is tested."""
        assert most_within(1.0, self.messages) <= 50
        historical = sorted((entry for entry in self.sent if entry[0].kind != "details"), key=lambda entry: entry[1])
        moves = sorted([(end, -1) for _, _, end in historical] + [(begin, 1) for _, begin, _ in historical])
        open_requests = 0
        for _, move in moves:
            open_requests += move
            assert open_requests <= 50
        for request in {request for request, _, _ in historical}:
            assert most_within(15.0, [begin for other, begin, _ in historical if other == request]) <= 1
        for data in {(request.contract, request.what) for request, _, _ in historical}:
            begins = [begin for other, begin, _ in historical if (other.contract, other.what) == data]
            assert most_within(2.0, begins) < 6


def most_within(seconds, times):
    times, most, first = sorted(times), 0, 0
    for last, time in enumerate(times):
        while times[first] <= time - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


contract_ids, kinds_of_data = st.integers(1, 4), st.sampled_from(["TRADES", "MIDPOINT"])
requests = st.one_of(
    st.just(Request("details")),
    st.tuples(contract_ids, kinds_of_data).map(lambda drawn: Request("head", *drawn)),
    st.tuples(contract_ids, kinds_of_data, st.sampled_from(["1 min", "1 hour"]), st.integers(1, 3)).map(
        lambda drawn: Request("bars", *drawn)
    ),
)
callers = st.builds(Caller, st.sampled_from(["one", "two"]), st.sampled_from(Priority))
calls = st.tuples(requests, callers, st.floats(0, 3), st.floats(0, 2), st.booleans())


@settings(max_examples=60)
@given(st.lists(calls, max_size=120))
def test_whatever_is_asked_whenever_and_given_up_whenever_no_rule_is_broken(asked):
    async def story():
        wire = Wire()

        async def ask(request, caller, after, takes, given_up):
            await asyncio.sleep(after)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5 if given_up else None):
                    await wire.ask(request, caller, takes=takes)

        await asyncio.gather(*(ask(*call) for call in asked))
        assert wire.scheduler.waiting == 0
        wire.check()
        await wire.ask(Request("details"))  # of which the answer tells that all has arrived
        await asyncio.sleep(20)
        assert (wire.scheduler.messages_left, wire.scheduler.historical_left) == (48, 50)
        assert not wire.scheduler._budgets.used, "nothing is counted for ever"
        assert not wire.scheduler._budgets._returns

    run(story())


def test_nothing_is_ever_asked_for_that_has_rules_of_its_own():
    shown = {contracts.what_to_show(Contract(secType=asset_type)) for asset_type in contracts._DEFAULTS}
    assert "BID_ASK" not in shown, "it counts twice"
    shortest = min(timeframe.length for timeframe in TIMEFRAMES.values())
    assert shortest >= timedelta(minutes=1), "bars of less have a budget of their own"


@pytest.mark.parametrize("clients", [1, 4])
def test_a_thousand_symbols_go_out_within_a_tenth_of_what_the_rules_allow(clients):
    async def story():
        wire = Wire()

        async def validate(number):
            caller = Caller(str(number % clients), Priority.WARMING)
            await wire.ask(Request("details"), caller)
            await wire.ask(Request("head", number, "TRADES"), caller)

        await asyncio.gather(*map(validate, range(1000)))
        messages = 1000 * 3  # one for the details, two for the head timestamp and its cancellation
        while len(wire.messages) < messages:
            await asyncio.sleep(0.01)
        wire.check()
        assert len(wire.messages) == messages
        return now() / (messages / 50)

    assert run(story()) <= 1.10


def test_who_is_in_a_hurry_waits_for_one_slot_at_most_however_many_others_wait():
    async def story():
        wire = Wire()
        warming = [
            asyncio.create_task(wire.ask(Request("head", number, "TRADES"), Caller(priority=Priority.WARMING)))
            for number in range(2000)
        ]
        waits = []
        for number in range(200):
            await asyncio.sleep(0.0937)
            begin = now()
            await wire.ask(Request("details") if number % 2 else Request("head", -1 - number, "TRADES"), takes=0)
            waits.append(now() - begin)
        assert max(waits) <= 0.2 * MARGIN
        wire.check()
        for task in warming:
            task.cancel()
        await asyncio.wait(warming)

    run(story())


def test_the_more_urgent_goes_first_and_clients_of_one_priority_are_served_round_robin():
    async def story():
        scheduler, order = Scheduler(60.0), []

        async def ask(client, priority):
            async with scheduler.slot(Request("details"), Caller(client, priority)):
                order.append((priority, client))

        await asyncio.gather(*(ask("first", Priority.FOREGROUND) for _ in range(10)))
        order.clear()
        loads = [("many", Priority.WARMING, 4), ("few", Priority.WARMING, 2), ("any", Priority.REFRESH, 1)]
        tasks = [asyncio.create_task(ask(client, priority)) for client, priority, count in loads for _ in range(count)]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(ask("late", Priority.FOREGROUND)))
        await asyncio.gather(*tasks)
        return [client for _, client in order]

    assert run(story()) == ["late", "any", "many", "few", "many", "few", "many", "many"]


def test_who_waits_for_a_rule_of_its_own_holds_up_nobody():
    async def story():
        wire = Wire()
        same = Request("head", 1, "TRADES")
        twice = [asyncio.create_task(wire.ask(same)) for _ in range(2)]
        await asyncio.sleep(1)
        begin = now()
        await asyncio.gather(*(wire.ask(Request("details")) for _ in range(5)))
        assert now() - begin == pytest.approx(LATENCY)
        await asyncio.gather(*twice)
        wire.check()
        return [begin for request, begin, _ in wire.sent if request == same]

    assert run(story()) == pytest.approx([0, LATENCY + 15 * MARGIN])


def test_a_request_for_two_messages_is_not_starved_by_those_for_one():
    async def story():
        wire = Wire()
        small = [
            asyncio.create_task(wire.ask(Request("details"), Caller("small", Priority.WARMING))) for _ in range(500)
        ]
        await asyncio.sleep(1.01)
        begin = now()
        await wire.ask(Request("head", 1, "TRADES"), Caller("large", Priority.FOREGROUND), takes=0)
        waited = now() - begin
        await asyncio.gather(*small)
        wire.check()
        return waited

    assert run(story()) <= 0.2 * MARGIN


def test_who_leaves_the_queue_leaves_nothing_behind():
    async def story():
        wire = Wire()
        leavers = [asyncio.create_task(wire.ask(Request("details"))) for _ in range(300)]
        await asyncio.sleep(0.5)
        for task in leavers:
            task.cancel()
        await asyncio.wait(leavers)
        assert wire.scheduler.waiting == 0
        begin = now()
        await wire.ask(Request("details"), takes=0)
        assert now() - begin <= 0.2 * MARGIN

    run(story())


def test_a_slot_is_given_back_whatever_its_request_ends_in():
    async def story():
        scheduler = Scheduler(60.0)
        for number in range(120):
            with suppress(ZeroDivisionError):
                async with scheduler.slot(Request("bars", number, "TRADES", "1 hour", number), CALLER):
                    raise ZeroDivisionError
        await asyncio.sleep(20)
        assert not scheduler._budgets.used

    run(story())


def test_who_would_have_to_wait_too_long_is_told_at_once_when_to_come_back():
    async def story():
        scheduler = Scheduler(5.0)

        async def ask(number):
            async with scheduler.slot(Request("head", number, "TRADES"), CALLER):
                pass

        waiting = [asyncio.create_task(ask(number)) for number in range(200)]
        await asyncio.sleep(0)
        begin = now()
        with pytest.raises(ProviderPacingError) as refused:
            await ask(-1)
        assert now() == begin
        assert 5.0 < refused.value.retry_after < 10.0
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.sleep(refused.value.retry_after)
        await ask(-1)

    run(story())


def test_who_waits_for_slots_that_nobody_gives_back_is_told_in_the_end():
    async def story():
        wire = Wire(max_wait=30.0)
        hanging = [
            asyncio.create_task(wire.ask(Request("bars", number, "TRADES", "1 day", 1), takes=3600))
            for number in range(50)
        ]
        await asyncio.sleep(20)
        begin = now()
        with pytest.raises(ProviderPacingError) as refused:
            await wire.ask(Request("bars", -1, "TRADES", "1 day", 1))
        assert now() - begin == pytest.approx(30)
        assert refused.value.retry_after >= 1.0
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)

    run(story())


def test_head_timestamps_that_never_come_leave_room_for_bars():
    async def main():
        wire = Wire()
        hung = [asyncio.create_task(wire.ask(Request("head", number), takes=3600)) for number in range(200)]
        await asyncio.sleep(10)
        began = now()
        await wire.ask(Request("bars", 1, "TRADES", "1 day", "a span"), Caller("another"))
        waited = now() - began
        for task in hung:
            task.cancel()
        await asyncio.wait(hung)
        return waited

    assert run(main()) < 1


def test_who_waits_too_long_is_told_when_the_place_that_is_full_is_free_again():
    async def story():
        scheduler, same = Scheduler(5.0), Request("bars", 1, "TRADES", "1 day", 1)
        async with scheduler.slot(same, CALLER):
            pass
        begin = now()
        with pytest.raises(ProviderPacingError) as refused:
            async with scheduler.slot(same, CALLER):
                pass
        assert now() == begin, "nobody waits for what cannot be"
        assert refused.value.retry_after == pytest.approx(15 * MARGIN)
        await asyncio.sleep(refused.value.retry_after - 2)
        async with scheduler.slot(same, CALLER):
            assert now() - begin == pytest.approx(15 * MARGIN)

    run(story())


def test_who_becomes_urgent_while_waiting_moves_up():
    async def story():
        wire, caller = Wire(), Caller("late", Priority.WARMING)
        others = [
            asyncio.create_task(wire.ask(Request("details"), Caller("load", Priority.REFRESH))) for _ in range(500)
        ]
        task = asyncio.create_task(wire.ask(Request("head", 1, "TRADES"), caller, takes=0))
        await asyncio.sleep(1)
        begin = now()
        caller.act_for(Caller("urgent", Priority.FOREGROUND))
        await task
        assert now() - begin <= 0.2 * MARGIN
        assert wire.scheduler.waiting > 300
        await asyncio.gather(*others)
        assert wire.scheduler.waiting == 0
        wire.check()

    run(story())
