"""What a message takes from a limit comes back when it has surely arrived, and not because it was sent."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from tws.looptime import run

from symcache_core.errors import ProviderPacingError
from symcache_host.gateway import Caller, Priority
from symcache_host.ib.acknowledgements import Unacknowledged
from symcache_host.ib.limits import LOST_MARGIN, MARGIN, MESSAGES_PER_SECOND, TIME_PAUSE, Request
from symcache_host.ib.pacing import Scheduler
from symcache_host.ib.probing import PROBE_AFTER
from symcache_host.ib.session import LOGIN

CALLER = Caller()
DETAILS = Request("details")


def now():
    return asyncio.get_running_loop().time()


def head(number):
    return Request("head", number, "TRADES")


def bars(number):
    return Request("bars", number, "TRADES", "1 day", number)


class Socket:
    """Requests whose answers take their time, or never come."""

    def __init__(self, *, pings=False, quiet=0.0, max_wait=1000.0):
        self.scheduler = Scheduler(max_wait, quiet=quiet, most_queued=10_000)
        self.under_way = Unacknowledged()
        self.sent, self.cancelled, self.pings = [], [], []
        self.scheduler.start(self.ping if pings else None)

    async def ping(self, message):
        self.pings.append(now())
        place = self.under_way.add(message)
        await asyncio.sleep(0.01)
        self.under_way.acknowledge(place)

    async def ask(self, request, caller=CALLER, *, takes=0.0):
        async with self.scheduler.slot(request, caller) as slot:
            self.sent.append(now())
            place = self.under_way.add(slot.message)
            is_answered = False
            try:
                await asyncio.sleep(takes)
                is_answered = True
                self.under_way.acknowledge(place)
                slot.answered()
            finally:
                if request.kind == "head" or (request.kind == "bars" and not is_answered):
                    slot.cancel(self.cancel)

    def cancel(self, message):
        self.cancelled.append(now())
        self.under_way.add(message)

    def start(self, *requests, takes=0.0):
        return [asyncio.create_task(self.ask(request, takes=takes)) for request in requests]


async def leave(tasks):
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def test_the_second_begins_when_the_answers_come():
    async def story():
        socket = Socket()
        await asyncio.gather(*socket.start(*[DETAILS] * 60, takes=3.0))
        return socket.sent

    sent = run(story())
    assert sent[47] < 3
    assert sent[48] == pytest.approx(3.0 + MARGIN)


def test_an_answer_tells_of_all_that_was_sent_before_it():
    async def story():
        socket = Socket()
        slow = socket.start(*[DETAILS] * 47, takes=100.0)
        await asyncio.sleep(1)
        await socket.ask(DETAILS)
        answered = now()
        await socket.ask(DETAILS)
        await leave(slow)
        return now() - answered

    assert run(story()) == pytest.approx(MARGIN)


def test_of_what_was_under_way_when_the_socket_ended_nobody_knows_for_some_seconds():
    async def story():
        socket = Socket()
        lost = socket.start(*[DETAILS] * 48, takes=100.0)
        await asyncio.sleep(2)
        socket.under_way.lose()
        await leave(lost)
        socket.under_way = Unacknowledged()
        ended = now()
        await socket.ask(DETAILS)
        return now() - ended

    assert run(story()) == pytest.approx(LOST_MARGIN + MARGIN)


def test_requests_that_are_cut_off_hold_their_slots_until_that_is_noticed():
    async def story():
        socket = Socket(pings=True)
        lost = socket.start(*map(bars, range(50)), takes=100.0)
        await asyncio.sleep(60)
        await socket.ask(DETAILS)  # of which the answer tells that all has arrived
        socket.under_way.lose()
        socket.cancel = no_socket
        await leave(lost)
        ended = now()
        await socket.ask(bars(50))
        return now() - ended

    assert run(story()) == pytest.approx(LOST_MARGIN)


def no_socket(_message):
    raise ConnectionError


def test_slow_bars_hold_up_nothing_but_bars():
    async def story():
        socket = Socket(pings=True)
        slow = socket.start(*map(bars, range(60)), takes=100.0)
        await asyncio.sleep(5)
        await socket.ask(DETAILS)
        assert socket.scheduler.historical_left == 0
        begin = now()
        await asyncio.gather(*socket.start(*[DETAILS] * 5))
        assert now() - begin < 0.5
        await leave(slow)

    run(story())


def test_cancellations_wait_for_their_turn_and_go_before_requests():
    async def story():
        socket = Socket(pings=True)
        slow = socket.start(*map(bars, range(50)), takes=100.0)
        await asyncio.sleep(5)
        others = socket.start(*[DETAILS] * 100)
        await asyncio.sleep(1)
        begin, before = now(), len(socket.sent)
        await leave(slow)
        while len(socket.cancelled) < 50:
            await asyncio.sleep(0.01)
        assert now() - begin < 3
        assert len(socket.sent) <= before + 5
        await asyncio.gather(*others)
        times = sorted([*socket.sent, *socket.cancelled])
        assert max(sum(time <= each < time + 1 for each in times) for time in times) <= 48

    run(story())


def test_what_no_answer_tells_of_is_asked_for_once_a_second_and_only_while_someone_waits():
    async def story():
        socket = Socket(pings=True)
        slow = socket.start(*[DETAILS] * 200, takes=1000.0)
        while len(socket.sent) < 200:
            await asyncio.sleep(0.1)
        took, pings = now(), len(socket.pings)
        await asyncio.sleep(20)
        assert len(socket.pings) <= pings + 1
        await leave(slow)
        gaps = [after - before for before, after in pairwise(socket.pings)]
        assert socket.pings[0] >= PROBE_AFTER
        assert min(gaps) > TIME_PAUSE
        return took

    assert run(story()) < 12


def test_slow_answers_cost_no_more_than_a_quarter_of_what_may_be_sent():
    async def story():
        socket = Socket(pings=True)
        await asyncio.gather(*socket.start(*[DETAILS] * 1000, takes=2.0))
        gaps = [after - before for before, after in pairwise(socket.pings)]
        assert min(gaps) > TIME_PAUSE
        return len(socket.sent) / max(socket.sent)

    assert run(story()) > 0.75 * MESSAGES_PER_SECOND


def test_where_answers_are_slow_an_urgent_question_waits_for_one_window_at_most():
    async def story():
        socket, waits = Socket(pings=True), []
        tasks = [
            asyncio.create_task(socket.ask(DETAILS, Caller(priority=Priority.WARMING), takes=2.0)) for _ in range(1000)
        ]
        for _ in range(15):
            await asyncio.sleep(1.37)
            begin = now()
            await socket.ask(DETAILS, takes=0.0)
            waits.append(now() - begin)
        await leave(tasks)
        return max(waits)

    assert run(story()) <= MARGIN + PROBE_AFTER


def test_nobody_is_asked_for_a_sign_of_life_where_answers_come():
    async def story():
        socket = Socket(pings=True)
        await asyncio.gather(*socket.start(*[DETAILS] * 300, takes=0.05))
        return socket.pings

    assert run(story()) == []


def test_the_connection_has_messages_of_its_own_that_no_request_takes():
    async def story():
        socket = Socket()
        slow = socket.start(*[DETAILS] * 100, takes=100.0)
        await asyncio.sleep(2)
        for _ in range(2):
            async with socket.scheduler.own_message() as message:
                assert now() == 2
                message.sent()
                message.acknowledged()
        async with socket.scheduler.own_message():
            assert now() == pytest.approx(2 + MARGIN), "which are no more than two a second"
        async with socket.scheduler.own_message():
            assert now() == pytest.approx(2 + MARGIN), "one that was not sent counts for nothing"
        await leave(slow)

    run(story())


def test_a_login_is_two_messages_that_are_sent_when_both_may_be():
    async def story():
        socket = Socket()
        async with socket.scheduler.own_message() as message:
            message.sent()
            message.acknowledged()
        async with socket.scheduler.own_message(LOGIN):
            assert now() == pytest.approx(MARGIN)

    run(story())


def test_after_the_start_everything_counts_as_if_it_had_just_been_asked():
    async def story():
        socket = Socket(quiet=15.0, max_wait=25.0)
        assert (socket.scheduler.messages_left, socket.scheduler.historical_left) == (0, 0)
        assert socket.scheduler.quiet_left == 15
        details, heads = socket.start(*[DETAILS] * 10), socket.start(*map(head, range(300)))
        await asyncio.gather(*details)
        assert socket.sent[0] == pytest.approx(MARGIN)
        assert now() < 2
        await asyncio.gather(*heads)
        assert socket.sent[10] == 15
        assert socket.scheduler.quiet_left == 0
        return now()

    assert 25 < run(story()) < 40


def test_a_queue_that_is_too_long_is_so_after_the_start_too():
    async def story():
        socket = Socket(quiet=15.0, max_wait=5.0)
        heads = socket.start(*map(head, range(300)))
        ended = await asyncio.gather(*heads, return_exceptions=True)
        refused = [each for each in ended if isinstance(each, ProviderPacingError)]
        assert 100 < len(refused) < 250
        assert now() < 15 + 5 + 2

    run(story())


def test_where_nobody_asked_before_everything_may_be_asked_at_once():
    async def story():
        socket = Socket()
        await socket.ask(head(1))
        return now()

    assert run(story()) == 0


def test_who_is_cancelled_in_the_moment_of_admission_takes_nothing():
    async def story():
        socket = Socket()
        await asyncio.gather(*socket.start(*[DETAILS] * 48))
        (task,) = socket.start(bars(1))
        begin = socket.scheduler._begin

        def begin_and_cancel(slot):
            begin(slot)
            task.cancel()

        socket.scheduler._begin = begin_and_cancel
        await asyncio.wait({task})
        assert task.cancelled()
        assert socket.scheduler.historical_left == 50
        await asyncio.sleep(2)
        assert socket.scheduler._budgets.used == {}
        assert len(socket.sent) == 48

    run(story())
