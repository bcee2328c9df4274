"""Whatever is asked, left and lost in whatever order: no limit is broken, and everybody has a turn in time."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tws.looptime import SimulatedTimeLoop

from symcache_core.errors import ProviderPacingError
from symcache_host.gateway import Caller, Priority
from symcache_host.ib.acknowledgements import Unacknowledged
from symcache_host.ib.limits import LOST_MARGIN, Request
from symcache_host.ib.pacing import Scheduler
from symcache_host.ib.queues import PASSED_OVER

MAX_WAIT = 25.0
MOST_QUEUED = 60
QUIET = 15.0

contracts, clients = st.integers(1, 3), st.sampled_from(["one", "two", "three"])
kinds = st.one_of(
    st.just(Request("details")),
    st.tuples(contracts, st.sampled_from(["TRADES", "MIDPOINT"])).map(lambda drawn: Request("head", *drawn)),
    st.tuples(contracts, st.integers(1, 20)).map(lambda drawn: Request("bars", drawn[0], "TRADES", "1 day", drawn[1])),
)
delays = st.one_of(st.floats(0, 0.1), st.floats(0, LOST_MARGIN))


class Question:
    """One request: who asks, and what becomes of it."""

    def __init__(self, request, caller, began):
        self.request, self.caller, self.began = request, caller, began
        self.task = None
        self.is_admitted = False


class PacingMachine(RuleBasedStateMachine):
    """Clients, a scheduler, and a line on which messages take their time but keep their order."""

    def __init__(self):
        super().__init__()
        self.loop = SimulatedTimeLoop()
        self.questions = []
        self.arrivals = []
        self.delay, self.last_arrival = 0.0, 0.0
        self.passed_over = Counter()

    @initialize(quiet=st.sampled_from([0.0, QUIET]))
    def start(self, quiet):
        self.scheduler = Scheduler(MAX_WAIT, most_queued=MOST_QUEUED, quiet=quiet)
        self.under_way = Unacknowledged()
        self.quiet = quiet
        self.do(self.begin)

    async def begin(self):
        self.scheduler.start(self.ping)

    def do(self, action, *arguments):
        async def act():
            await action(*arguments)
            for _ in range(5):
                await asyncio.sleep(0)

        self.loop.run_until_complete(act())

    @rule(request=kinds, client=clients, priority=st.sampled_from(Priority), count=st.integers(1, 80))
    def ask(self, request, client, priority, count):
        self.do(self.begin_to_ask, request, client, priority, count)

    async def begin_to_ask(self, request, client, priority, count):
        for _ in range(count):
            question = Question(request, Caller(client, priority), self.loop.time())
            question.task = asyncio.create_task(self.send(question))
            self.questions.append(question)

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def leave(self, data):
        question = data.draw(st.sampled_from(self.waiting()))
        self.do(self.cancel, question)

    async def cancel(self, question):
        question.task.cancel()

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), client=clients, priority=st.sampled_from(Priority))
    def be_joined_or_left(self, data, client, priority):
        question = data.draw(st.sampled_from(self.waiting()))
        self.do(self.change, question, Caller(client, priority))

    async def change(self, question, other):
        question.caller.act_for(other)

    @rule(seconds=st.one_of(st.floats(0, 0.3), st.floats(0, 20)))
    def pass_time(self, seconds):
        self.do(asyncio.sleep, seconds)

    @rule(delay=delays)
    def become_slow_or_fast(self, delay):
        self.delay = delay

    @rule()
    def lose_the_connection(self):
        self.do(self.lose)

    async def lose(self):
        self.under_way.lose()
        self.under_way = Unacknowledged()
        for question in self.questions:
            if question.is_admitted:
                question.task.cancel()

    @invariant()
    def no_queue_is_too_long(self):
        queued = Counter((each.caller.client, each.caller.priority) for each in self.waiting())
        moved = sum(queued.values()) and max(queued.values())
        assert moved <= MOST_QUEUED * 3, "only who moves there comes to a full one"

    @invariant()
    def whoever_waits_for_long_is_told(self):
        for question in self.waiting():
            assert self.loop.time() - question.began <= MAX_WAIT + self.quiet + 0.001

    def waiting(self):
        return [each for each in self.questions if not each.is_admitted and not each.task.done()]

    async def send(self, question):
        try:
            async with self.scheduler.slot(question.request, question.caller) as slot:
                self.admitted(question)
                under_way = self.under_way
                place, arrival = self.sent(under_way, slot.message, question.request)
                is_answered = False
                try:
                    await asyncio.sleep(arrival - self.loop.time())
                    await asyncio.sleep(self.delay)
                    is_answered = True
                    under_way.acknowledge(place)
                    slot.answered()
                finally:
                    if question.request.kind == "head" or (question.request.kind == "bars" and not is_answered):
                        slot.cancel(lambda message: self.sent_cancellation(under_way, message, question.request))
                    elif question.request.kind == "bars":
                        self.arrivals.append((self.loop.time(), "end", question.request))
        except ProviderPacingError as refusal:
            assert refusal.retry_after >= 1  # noqa: PT017  # it is no failure of this test

    def admitted(self, question):
        """Those who were passed over count how often; who was it too often has to be next."""
        question.is_admitted = True
        priority = question.caller.priority
        more_urgent = [
            each
            for each in self.waiting()
            if each.caller.priority < priority and each.request.kind == "details" and each.began < question.began
        ]
        if more_urgent:
            assert self.passed_over[priority] >= PASSED_OVER, "it is not its turn"
        self.passed_over[priority] = 0
        for other in Priority:
            if other > priority and any(each.caller.priority == other for each in self.waiting()):
                self.passed_over[other] += 1

    def sent(self, under_way, message, request):
        self.last_arrival = max(self.last_arrival, self.loop.time() + self.delay)
        self.arrivals.append((self.last_arrival, "message", request))
        return under_way.add(message), self.last_arrival

    def sent_cancellation(self, under_way, message, request):
        if under_way is not self.under_way:
            raise ConnectionError
        _place, arrival = self.sent(under_way, message, None)
        self.arrivals.append((arrival, "end", request))

    async def ping(self, message):
        place, arrival = self.sent(self.under_way, message, None)
        under_way = self.under_way
        await asyncio.sleep(arrival - self.loop.time() + self.delay)
        under_way.acknowledge(place)

    def teardown(self):
        try:
            if self.questions:
                self.loop.run_until_complete(self.end())
        finally:
            self.loop.close()

    async def end(self):
        await asyncio.wait([each.task for each in self.questions])
        for question in self.questions:
            if not question.task.cancelled():
                question.task.result()
        assert self.scheduler.waiting == 0
        await asyncio.sleep(60)
        last = asyncio.create_task(self.send(Question(Request("details"), Caller(), self.loop.time())))
        await last
        await asyncio.sleep(60)
        assert self.scheduler._budgets.used == {}
        self.check()

    def check(self):
        """Every limit, by its strictest reading, at the moments of arrival."""
        messages = [(time, request) for time, what, request in sorted(self.arrivals, key=first) if what == "message"]
        assert most_within(1.0, [time for time, _ in messages]) <= 50
        asked = [(time, request) for time, request in messages if request is not None and request.kind != "details"]
        if self.quiet:
            assert all(time >= QUIET for time, _ in asked)
        for request in {request for _, request in asked}:
            assert most_within(15.0, [time for time, each in asked if each == request]) <= 1
        for data in {(request.contract, request.what) for _, request in asked}:
            times = [time for time, each in asked if (each.contract, each.what) == data]
            assert most_within(2.0, times) < 6


def first(arrival):
    return arrival[0]


def most_within(seconds, times):
    """How many there are at most in a window, its ends included."""
    most, begin = 0, 0
    for end, time in enumerate(times):
        while times[begin] < time - seconds:
            begin += 1
        most = max(most, end - begin + 1)
    return most


PacingMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPacing = PacingMachine.TestCase
