"""A long queue is long for its own client: nobody else is refused for it, or waits for more than one turn."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest
from tws.looptime import run

from symcache_core.errors import ProviderPacingError
from symcache_host.gateway import Caller, Priority
from symcache_host.ib.gateway import MAX_WAIT
from symcache_host.ib.limits import MARGIN, MESSAGES_PER_SECOND, Request
from symcache_host.ib.pacing import Scheduler
from symcache_host.ib.queues import MOST_QUEUED, PASSED_OVER

MESSAGE = MARGIN / MESSAGES_PER_SECOND
"""Seconds that one takes, where all are answered at once."""

DETAILS = Request("details")
ONE_SLICE = 0.1 * MARGIN + 0.001


class Office:
    """Asks on behalf of many, and keeps the order in which they were served."""

    def __init__(self, max_wait=MAX_WAIT, **options):
        self.scheduler = Scheduler(max_wait, **options)
        self.scheduler.start()
        self.served = []
        self.refused = Counter()
        self.come_back = []

    async def ask(self, caller, request=DETAILS):
        """Gives the seconds that it took, or None if it was refused."""
        began = asyncio.get_running_loop().time()
        try:
            async with self.scheduler.slot(request, caller) as slot:
                slot.message.sent()
                slot.message.acknowledged()
                self.served.append(caller)
        except ProviderPacingError as refusal:
            self.refused[caller.client] += 1
            self.come_back.append(refusal.retry_after)
            return None
        return asyncio.get_running_loop().time() - began

    def flood(self, caller, count, request=DETAILS):
        return [asyncio.create_task(self.ask(caller, request)) for _ in range(count)]


async def end(tasks):
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@pytest.mark.parametrize("theirs", Priority)
@pytest.mark.parametrize("ours", Priority)
def test_the_first_question_of_a_client_is_one_turn_away_however_much_another_one_has_queued(theirs, ours):
    async def story():
        office = Office()
        flood = office.flood(Caller("another", theirs), MOST_QUEUED)
        await asyncio.sleep(0.5)
        waits = [await office.ask(Caller("we", ours)) for _ in range(5)]
        assert office.scheduler.waiting > MOST_QUEUED / 2, "they still wait"
        await end(flood)
        return waits

    turns = PASSED_OVER + 1 if ours > theirs else 1
    assert max(run(story())) <= (turns + 1) * MESSAGE + ONE_SLICE


def test_the_first_question_of_a_client_is_not_refused_however_many_others_have_long_queues():
    async def story():
        office = Office()
        floods = [office.flood(Caller(f"client {number}", Priority.FOREGROUND), 500) for number in range(20)]
        await asyncio.sleep(0)
        for priority in Priority:
            assert await office.ask(Caller("we", priority)) < 5
        assert "we" not in office.refused
        for flood in floods:
            await end(flood)

    run(story())


def test_a_client_is_refused_what_goes_beyond_its_own_queue_and_nobody_else_is():
    async def story():
        office = Office(most_queued=100)
        flood = office.flood(Caller("many"), 150)
        others = [office.flood(Caller(f"client {number}"), 10) for number in range(5)]
        others.append(office.flood(Caller("many", Priority.WARMING), 10))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sum(task.done() and task.result() is None for task in flood) == office.refused["many"]
        assert 150 - 100 - 5 <= office.refused["many"] <= 150 - 100
        await asyncio.gather(*flood, *(task for other in others for task in other))
        assert office.refused.keys() == {"many"}
        assert min(office.come_back) >= 1

    run(story())


def test_two_clients_that_ask_for_as_much_get_as_much():
    async def story():
        office = Office()
        floods = [office.flood(Caller(name), 400) for name in ("one", "two")]
        await asyncio.sleep(5)
        shares = Counter(caller.client for caller in office.served)
        for flood in floods:
            await end(flood)
        return shares

    shares = run(story())
    assert abs(shares["one"] - shares["two"]) <= 5
    assert shares.total() > 5 * 45


def test_what_is_less_urgent_has_one_turn_in_eleven_and_what_is_least_too():
    async def story():
        office = Office()
        floods = [office.flood(Caller("we", priority), MOST_QUEUED) for priority in Priority]
        await asyncio.sleep(10)
        for flood in floods:
            await end(flood)
        return [caller.priority for caller in office.served]

    served = run(story())[10:]
    for priority in (Priority.REFRESH, Priority.WARMING):
        turns = [number for number, each in enumerate(served) if each is priority]
        gaps = [after - before for before, after in pairwise(turns)]
        assert min(gaps) >= PASSED_OVER, "no more than that is taken from those in a hurry"
        assert max(gaps) <= PASSED_OVER + 2
    assert served.count(Priority.FOREGROUND) > 0.8 * len(served)


def test_who_becomes_less_urgent_takes_its_place_by_when_it_asked():
    async def story():
        office = Office()
        flood = office.flood(Caller("x", Priority.FOREGROUND), 20)
        await asyncio.sleep(0)
        first, second, third = (Caller("we", Priority.WARMING) for _ in range(3))
        tasks = [asyncio.create_task(office.ask(each)) for each in (first, second, third)]
        await asyncio.sleep(0)
        second.act_for(Caller("they", Priority.FOREGROUND))
        second.act_for(Caller("we", Priority.WARMING))
        await asyncio.gather(*flood, *tasks)
        return [id(caller) for caller in office.served if caller.client == "we"] == [*map(id, (first, second, third))]

    assert run(story())
