"""Waiters come and go at any moment of a lookup: who stays gets the answer, and no leaving is taken for an outage."""

import asyncio
import itertools
import threading

import pytest
from faulty_backend import LendingBackend
from hypothesis import given, settings
from hypothesis import strategies as st

from symcache_core.lookup.cache import PolicyCache
from symcache_core.models import Outcome
from symcache_core.policy import Policy
from symcache_core.testing.cache_harness import DAY, Clock, Provider, verdict

MANY = 50
PATIENCE = 20.0
"""Seconds; no test is to wait for their end."""

MOMENTS = ["before it begins", "reading", "locking", "asking", "storing"]
"""The moments of a lookup, in their order, at each of which it can be made to pause."""


class Pausing(LendingBackend):
    """Pauses at each moment of a lookup until it is told to go on."""

    def __init__(self, tmp_path):
        super().__init__(tmp_path)
        self.reached = {moment: threading.Event() for moment in MOMENTS}
        self.gates = {moment: threading.Event() for moment in MOMENTS}

    def go_on(self):
        for gate in self.gates.values():
            gate.set()

    def before(self, what, key):
        moment = {"read": "reading", "write": "storing", "lock": "locking"}.get(what)
        if moment is not None and not (key.startswith("@") and moment == "storing"):
            self.reached[moment].set()
            assert self.gates[moment].wait(PATIENCE), moment


class Story:
    """One lookup of many waiters, of whom some leave.

    Args:
        tmp_path: Where nothing is written.
        stale: Whether a stale answer is at hand.
    """

    def __init__(self, tmp_path, *, stale=False):
        self.backend, self.clock, self.provider = Pausing(tmp_path), Clock(), Provider()
        self.cache = PolicyCache(
            self.backend,
            name="pausing",
            provider="ib",
            policy=Policy(soft_timeout=PATIENCE, timeout=PATIENCE),
            clock=self.clock,
            near_cache_size=0,
            near_cache_age=5.0,
        )
        if stale:
            self.backend.gates["reading"].set()
            self.backend.gates["storing"].set()
            self.cache.store("AAPL", verdict("AAPL", "1d"))
            self.clock.advance(31 * DAY)
            for events in (self.backend.reached, self.backend.gates):
                for event in events.values():
                    event.clear()
        self.waiters = []

    def tell(self, leaving):
        """Let the waiters leave at their moments, the others stay, and check what comes of it.

        Args:
            leaving: For each waiter, when it leaves, or ``None`` if it stays.
        """
        try:
            asyncio.run(asyncio.wait_for(self._tell(leaving), PATIENCE))
        finally:
            self.backend.go_on()
            self.cache.close()

    async def _tell(self, leaving):
        self.provider.gate = asyncio.Event()
        lookup = self.cache.get_or_validate
        self.waiters = [asyncio.create_task(lookup("AAPL", ("1d",), self.provider.validate)) for _ in leaving]
        staying = len(leaving)
        for moment in MOMENTS:
            await self._until_reached(moment, staying)
            gone = [waiter for waiter, when in zip(self.waiters, leaving, strict=True) if when == moment]
            for waiter in gone:
                waiter.cancel()
            if gone:
                await asyncio.wait(gone)
                staying -= len(gone)
            if not staying:
                break
            self._open(moment)
        self.backend.go_on()
        outcomes = await asyncio.gather(*self.waiters, return_exceptions=True)
        await self.until(lambda: not self.cache._asking.flights.waiting() and not self.backend.held)
        await self.check(leaving, outcomes)

    async def check(self, leaving, outcomes):
        for outcome, when in zip(outcomes, leaving, strict=True):
            if when is None:
                assert outcome.result == verdict("AAPL", "1d")
                assert outcome.outcome in (Outcome.MISS, Outcome.COALESCED)
                assert outcome.error is None
            else:
                assert isinstance(outcome, asyncio.CancelledError)
        last = None if None in leaving else max(leaving, key=MOMENTS.index)
        was_asked = last not in MOMENTS[: MOMENTS.index("asking")]
        assert len(self.provider.calls) == was_asked
        await self.until(lambda: self.provider.cancelled == (last == "asking"))
        told = self.cache.explain("AAPL", ("1d",))
        assert (told.error, told.storage_error) == (None, None), "who left was taken for an outage"
        stats = self.cache.get_stats()
        assert (stats.provider_errors, stats.stale, stats.degraded, stats.waiting) == (0, 0, False, 0)

    async def _until_reached(self, moment, staying):
        if moment == "before it begins":
            return
        if moment == "asking":
            await self.until(lambda: self.provider.calls)
        else:
            await self.until(self.backend.reached[moment].is_set)
        if moment != "reading":
            # Whoever is still reading is not yet a waiter.
            await self.until(lambda: self.cache._asking.flights.waiting() == staying)

    def _open(self, moment):
        if moment == "asking":
            self.provider.gate.set()
        else:
            self.backend.gates[moment].set()

    async def until(self, condition):
        while not condition():
            await asyncio.sleep(0.0001)  # threads are at work


@pytest.mark.parametrize("stale", [False, True], ids=["nothing known", "stale"])
@pytest.mark.parametrize("moment", [*MOMENTS, None])
def test_if_all_leave_at_once_the_call_is_cancelled_and_if_none_does_all_are_answered(tmp_path, moment, stale):
    Story(tmp_path, stale=stale).tell([moment] * MANY)


@settings(max_examples=60)
@given(
    leaving=st.lists(st.sampled_from([*MOMENTS, None]), min_size=MANY, max_size=MANY),
    stale=st.booleans(),
)
def test_whoever_leaves_at_whatever_moment_the_others_get_the_answer(tmp_path_factory, leaving, stale):
    Story(tmp_path_factory.getbasetemp(), stale=stale).tell(leaving)


@settings(max_examples=30)
@given(leaving=st.lists(st.sampled_from(MOMENTS), min_size=MANY, max_size=MANY))
def test_if_none_stays_the_call_ends_with_the_last_one(tmp_path_factory, leaving):
    Story(tmp_path_factory.getbasetemp()).tell(leaving)


@pytest.mark.soak
@settings(max_examples=3_000)
@given(
    leaving=st.lists(st.sampled_from([*MOMENTS, None]), min_size=MANY, max_size=MANY),
    stale=st.booleans(),
)
def test_whoever_leaves_at_whatever_moment_again_and_again(tmp_path_factory, leaving, stale):
    Story(tmp_path_factory.getbasetemp(), stale=stale).tell(leaving)


@pytest.mark.soak
@pytest.mark.parametrize("stale", [False, True], ids=["nothing known", "stale"])
def test_four_waiters_leave_or_stay_at_all_moments(tmp_path, stale):
    for leaving in itertools.product([*MOMENTS, None], repeat=4):
        Story(tmp_path, stale=stale).tell(leaving)


ORDERS = [order for count in range(5) for order in itertools.permutations(range(4), count)]


@pytest.mark.parametrize("stale", [False, True], ids=["nothing known", "stale"])
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_in_whatever_order_four_waiters_leave_the_others_get_the_answer(tmp_path, order, stale):
    async def main():
        story.provider.gate = asyncio.Event()
        lookup = story.cache.get_or_validate
        waiters = [asyncio.create_task(lookup("AAPL", ("1d",), story.provider.validate)) for _ in range(4)]
        await story.until(lambda: story.provider.calls and story.cache._asking.flights.waiting() == 4)
        for left, number in enumerate(order, start=1):
            waiters[number].cancel()
            await asyncio.wait({waiters[number]})
            assert story.cache._asking.flights.waiting() == 4 - left
            assert story.provider.cancelled == 0
        await story.until(lambda: story.provider.cancelled == (len(order) == 4))
        story.provider.gate.set()
        await story.check(
            ["asking" if number in order else None for number in range(4)],
            await asyncio.gather(*waiters, return_exceptions=True),
        )

    story = Story(tmp_path, stale=stale)
    story.backend.go_on()
    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    story.cache.close()


def test_who_comes_after_the_last_one_left_is_answered_by_a_call_of_its_own(tmp_path):
    async def main():
        story.provider.gate = asyncio.Event()
        lookup = story.cache.get_or_validate
        first = asyncio.create_task(lookup("AAPL", (), story.provider.validate))
        await story.until(lambda: story.provider.calls)
        first.cancel()
        await asyncio.wait({first})
        second = asyncio.create_task(lookup("AAPL", (), story.provider.validate))
        await story.until(lambda: len(story.provider.calls) == 2)
        story.provider.gate.set()
        assert (await second).outcome is Outcome.MISS
        assert story.provider.cancelled == 1

    story = Story(tmp_path)
    story.backend.go_on()
    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    story.cache.close()


def test_who_gives_up_by_a_timeout_of_its_own_leaves_like_anyone(tmp_path):
    async def main():
        story.provider.gate = asyncio.Event()
        lookup = story.cache.get_or_validate
        staying = asyncio.create_task(lookup("AAPL", (), story.provider.validate))
        await story.until(lambda: story.provider.calls)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lookup("AAPL", (), story.provider.validate), 0.01)
        story.provider.gate.set()
        assert (await staying).outcome is Outcome.MISS
        assert story.cache.explain("AAPL").error is None

    story = Story(tmp_path)
    story.backend.go_on()
    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    story.cache.close()
