"""A breaker lets everyone pass, then nobody, then one at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symcache_core.concurrency.breaker import Breaker
from symcache_core.testing.cache_harness import Clock

WAIT = 30.0
DOWN = ConnectionError("down")


@pytest.fixture
def breaker(clock):
    return Breaker(clock, WAIT)


def test_closed_it_lets_everyone_pass(breaker):
    assert breaker.error is None
    assert all(breaker.allows() for _ in range(10))


def test_after_a_failure_nobody_passes_until_the_wait_is_over(breaker, clock):
    breaker.failed(DOWN)
    assert repr(breaker.error) == repr(DOWN)
    assert not breaker.allows()
    clock.advance(WAIT - 0.001)
    assert not breaker.allows()
    clock.advance(0.001)
    assert breaker.allows()


def test_a_probe_that_nobody_hears_of_again_costs_one_wait_and_no_more(breaker, clock):
    breaker.failed(DOWN)
    for _ in range(3):
        clock.advance(WAIT)
        assert [breaker.allows() for _ in range(5)] == [True] + [False] * 4


def test_a_success_closes_it_and_a_failure_begins_a_new_wait(breaker, clock):
    breaker.failed(DOWN)
    clock.advance(WAIT)
    assert breaker.allows()
    clock.advance(WAIT - 1)
    breaker.failed(DOWN)
    clock.advance(2)
    assert not breaker.allows(), "the wait counts from the probe's failure"
    breaker.succeeded()
    assert breaker.error is None
    assert all(breaker.allows() for _ in range(10))


def test_it_tells_until_when_nobody_passes_without_letting_anyone_pass(breaker, clock):
    assert breaker.open_until() is None
    breaker.failed(DOWN)
    assert breaker.open_until() == clock() + WAIT
    clock.advance(WAIT)
    assert breaker.open_until() is None
    assert breaker.allows(), "the question was taken for a probe"
    assert breaker.open_until() == clock() + WAIT
    clock.advance(-1)
    assert breaker.open_until() is None, "a clock set back has told nothing of the time since"


def test_of_many_threads_one_probes_in_a_wait(breaker, clock):
    together = threading.Barrier(32)

    def arrive(_thread):
        together.wait()
        return [breaker.allows() for _ in range(50)].count(True)

    breaker.failed(DOWN)
    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(arrive, range(32))) == 0
        for _ in range(5):
            clock.advance(WAIT)
            assert sum(pool.map(arrive, range(32))) == 1


def test_a_longer_wait_is_granted_until_the_next_failure_and_a_shorter_one_never(breaker, clock):
    breaker.failed(DOWN, wait=120.0)
    clock.advance(119)
    assert not breaker.allows()
    clock.advance(1)
    assert breaker.allows()
    clock.advance(119)
    assert not breaker.allows(), "the next probe waits as long"
    breaker.failed(DOWN, wait=1.0)
    clock.advance(WAIT - 1)
    assert not breaker.allows()
    clock.advance(1)
    assert breaker.allows()


@pytest.mark.parametrize("back", [1.0, 3600.0, 400 * 86400.0])
def test_a_clock_set_back_does_not_prolong_the_wait(breaker, clock, back):
    breaker.failed(DOWN)
    clock.advance(-back)
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    clock.advance(WAIT)
    assert breaker.allows()


@given(st.lists(st.floats(0, 2 * WAIT), max_size=50), st.floats(0, 4 * WAIT))
def test_probes_are_never_closer_than_the_wait_and_are_never_kept_from_one_longer(steps, asked_for):
    clock = Clock()
    breaker, last, wait = Breaker(clock, WAIT), clock.now, max(WAIT, asked_for)
    breaker.failed(DOWN, asked_for)
    for step in steps:
        clock.advance(step)
        assert breaker.allows() == (clock.now - last >= wait)
        if clock.now - last >= wait:
            last = clock.now
