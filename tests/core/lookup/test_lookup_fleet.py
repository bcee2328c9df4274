"""Whose permit it is: one at a time where the storage can lock, everyone for himself where it cannot."""

import asyncio
import random
import threading

import pytest
from faulty_backend import LendingBackend

from symcache_core.concurrency.threads import StorageThreads
from symcache_core.entries.reach import Reach
from symcache_core.errors import BackendUnavailableError
from symcache_core.lookup.fleet import FIRST_WAIT, LONGEST_WAIT, Fleet
from symcache_core.protocols import LeaseHolder
from symcache_core.registry import Registry

KEY = "ib||AAPL||"
TIMEOUT = 20.0
"""Seconds; no test is to wait for their end."""


@pytest.fixture
def open_store(tmp_path):
    """Opens the same store again and again: to its leases, each object is as good as a process of its own."""
    stores = []

    def open_store():
        stores.append(Registry().open("json", {"path": tmp_path / "store.json"}, base_dir=tmp_path, data_dir=tmp_path))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def open_fleet(clock):
    """Makes the callers of one more process."""
    pools = []

    def open_fleet(store, *, is_reachable=True):
        pools.append(StorageThreads())
        reach = Reach(clock, 5.0, TIMEOUT)
        if not is_reachable:
            reach.failed(BackendUnavailableError("unplugged"))
        return Fleet(store, pools[-1], reach)

    yield open_fleet
    for pool in pools:
        pool.close()


@pytest.fixture
def is_free(open_store):
    """Tells whether somebody else would get the lease."""
    store = open_store()

    def is_free():
        lease = store.try_lock(KEY)
        if lease is not None:
            lease.release()
        return lease is not None

    return is_free


class Slow(LendingBackend):
    """Lends its leases only when it is told to."""

    def __init__(self, tmp_path):
        super().__init__(tmp_path)
        self.asked, self.go, self.lent = threading.Event(), threading.Event(), threading.Event()

    def before(self, what, key):
        if what == "lock":
            self.asked.set()
            assert self.go.wait(TIMEOUT)

    def try_lock(self, key):
        lease = super().try_lock(key)
        self.lent.set()
        return lease


@pytest.fixture
def slow(tmp_path):
    return Slow(tmp_path)


@pytest.fixture
def broken(tmp_path):
    backend = LendingBackend(tmp_path)
    backend.error = BackendUnavailableError("unplugged")
    return backend


def nothing():
    return None


def never(_found):
    return False


async def ask(fleet, *, look=nothing, is_enough=never, timeout=TIMEOUT):
    return await asyncio.wait_for(fleet.acquire(KEY, look, is_enough, timeout), TIMEOUT)


async def until(condition):
    async with asyncio.timeout(TIMEOUT):
        while not condition():
            await asyncio.sleep(0)


def test_a_storage_that_cannot_lock_gives_everyone_a_permit_at_once(open_fleet):
    async def main():
        fleet = open_fleet(object())
        permits = [await ask(fleet, look=lambda: "found") for _ in range(3)]
        assert [found for _turn, found in permits] == ["found"] * 3
        for permit, _found in permits:
            assert permit.lease is None
            fleet.release(permit)

    asyncio.run(main())


def test_a_turn_excludes_the_others_until_it_is_given_back(open_store, is_free, open_fleet):
    async def main():
        fleet = open_fleet(open_store())
        permit, _found = await ask(fleet)
        assert not is_free()
        fleet.release(permit)
        await until(is_free)
        fleet.release(permit)

    asyncio.run(main())
    assert is_free()


def test_who_waits_gets_the_permit_when_it_is_released(open_store, is_free, open_fleet):
    async def main():
        fleets = [open_fleet(open_store()) for _ in range(3)]
        permit, _found = await ask(fleets[0])
        waiting = [asyncio.create_task(ask(fleet)) for fleet in fleets[1:]]
        fleets[0].release(permit)
        while waiting:
            done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert len(done) == 1, "two have the permit"
            assert not is_free()
            fleet = next(fleet for fleet in fleets if fleet._permits)
            fleet.release(done.pop().result()[0])
            waiting = list(others)
        await until(is_free)

    asyncio.run(main())


def test_who_waits_goes_home_once_the_answer_is_there(open_store, open_fleet):
    async def main():
        mine, theirs = open_fleet(open_store()), open_fleet(open_store())
        permit, _found = await ask(theirs)
        answers = iter(["", "", "an answer"])
        assert await ask(mine, look=lambda: next(answers), is_enough=bool) == (None, "an answer")
        theirs.release(permit)

    asyncio.run(main())


def test_who_finds_the_answer_with_the_permit_in_hand_gives_it_back(open_store, is_free, open_fleet):
    assert asyncio.run(ask(open_fleet(open_store()), look=lambda: "an answer", is_enough=bool)) == (None, "an answer")
    assert is_free()


def test_who_has_no_time_left_goes_on_without_a_lease(open_store, is_free, open_fleet):
    async def main():
        mine, theirs = open_fleet(open_store()), open_fleet(open_store())
        held, _found = await ask(theirs)
        permit, _found = await ask(mine, timeout=0.0)
        assert permit.lease is None
        mine.release(permit)
        assert not is_free(), "somebody else's lease was given back"
        theirs.release(held)

    asyncio.run(main())


def test_who_does_not_want_to_wait_is_sent_away(open_store, is_free, open_fleet):
    async def main():
        mine, theirs = open_fleet(open_store()), open_fleet(open_store())
        held, _found = await ask(theirs)
        assert await ask(mine, look=lambda: "old", timeout=None) == (None, "old")
        theirs.release(held)
        await until(is_free)
        permit, _found = await ask(mine, timeout=None)
        assert permit.lease is not None
        mine.release(permit)

    asyncio.run(main())


def test_a_turn_whose_loop_has_closed_is_taken_over(open_store, is_free, open_fleet):
    fleet = open_fleet(open_store())
    left, _found = asyncio.run(ask(fleet))
    assert not is_free()
    taken_over, _found = asyncio.run(ask(fleet, timeout=0.0))
    assert taken_over.lease is left.lease
    fleet.release(left)
    assert not is_free(), "who lost its permit gave its successor's back"
    fleet.release(taken_over)
    asyncio.run(until(is_free))


def test_who_is_cancelled_while_trying_leaves_no_lease_behind(slow, open_fleet):
    async def main():
        trying = asyncio.create_task(ask(fleet))
        await until(slow.asked.is_set)
        trying.cancel()
        await asyncio.wait({trying})
        slow.go.set()
        await until(slow.lent.is_set)
        await until(lambda: not slow.held)

    fleet = open_fleet(slow)
    asyncio.run(main())


def test_a_loop_that_ends_while_trying_leaves_no_lease_behind(slow, open_fleet):
    async def main():
        trying = asyncio.create_task(ask(fleet))
        await until(slow.asked.is_set)
        assert not trying.done()

    fleet = open_fleet(slow)
    asyncio.run(main())
    slow.go.set()
    asyncio.run(until(slow.lent.is_set))
    asyncio.run(until(lambda: not slow.held))


def test_who_is_cancelled_while_waiting_leaves_the_permit_to_its_holder(open_store, is_free, open_fleet):
    async def main():
        mine, theirs = open_fleet(open_store()), open_fleet(open_store())
        held, _found = await ask(theirs)
        tried = threading.Event()
        waiting = asyncio.create_task(ask(mine, look=tried.set))
        await until(tried.is_set)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert not is_free()
        theirs.release(held)
        await until(is_free)

    asyncio.run(main())


def test_a_look_that_fails_costs_nobody_the_turn(open_store, is_free, open_fleet):
    def look():
        raise LookupError("unreadable")

    with pytest.raises(LookupError, match="unreadable"):
        asyncio.run(ask(open_fleet(open_store()), look=look))
    assert is_free()


def test_while_the_storage_fails_everyone_is_for_himself(broken, open_fleet):
    async def main():
        fleet = open_fleet(broken)
        permits = [await ask(fleet) for _ in range(3)]
        assert [permit.lease for permit, _found in permits] == [None] * 3

    asyncio.run(main())


def test_while_the_storage_is_out_of_reach_it_is_not_even_asked(open_store, is_free, open_fleet):
    async def main():
        permit, _found = await ask(open_fleet(open_store(), is_reachable=False))
        assert permit.lease is None
        assert is_free()

    asyncio.run(main())


def test_a_lease_that_cannot_be_released_is_nobodys_error(tmp_path, open_fleet):
    backend = LendingBackend(tmp_path)
    fleet = open_fleet(backend)
    permit, _found = asyncio.run(ask(fleet))
    backend.error = BackendUnavailableError("unplugged")
    fleet.release(permit)
    asyncio.run(until(lambda: not fleet._permits))


class Unreturnable(LendingBackend):
    """Lends leases that cannot be released."""

    def before(self, what, key):
        if what == "release":
            raise BackendUnavailableError("unplugged")


def test_a_lease_that_is_not_needed_and_cannot_be_released_is_nobodys_error_either(open_fleet, tmp_path):
    found = asyncio.run(ask(open_fleet(Unreturnable(tmp_path)), look=lambda: "an answer", is_enough=bool))
    assert found == (None, "an answer")


def test_a_look_that_fails_while_somebody_else_has_the_turn_fails_as_it_is(open_fleet, tmp_path):
    def look():
        raise LookupError("unreadable")

    async def main():
        backend = LendingBackend(tmp_path)
        theirs, mine = open_fleet(backend), open_fleet(backend)
        await ask(theirs)
        with pytest.raises(LookupError, match="unreadable"):
            await ask(mine, look=look)
        assert backend.held == {KEY}

    asyncio.run(main())


@pytest.mark.parametrize("outcome", ["an answer", "an error"])
def test_nothing_is_said_of_what_comes_of_a_try_whose_caller_was_cancelled(slow, open_fleet, caplog, outcome):
    def look():
        looked.set()
        if outcome == "an error":
            raise LookupError("unreadable")

    async def main():
        trying = asyncio.create_task(ask(fleet, look=look))
        await until(slow.asked.is_set)
        trying.cancel()
        await asyncio.wait({trying})
        slow.go.set()
        await until(looked.is_set)
        await until(lambda: not slow.held)

    looked = threading.Event()
    fleet = open_fleet(slow)
    asyncio.run(main())
    fleet._threads._pool.shutdown()
    assert caplog.records == []


def test_a_child_lets_go_of_every_lease_that_it_has_inherited(open_fleet, tmp_path):
    async def main():
        backend = LendingBackend(tmp_path)
        fleet = open_fleet(backend)
        for key in ("one", "two"):
            await fleet.acquire(key, nothing, never, TIMEOUT)
        assert backend.held == {"one", "two"}
        fleet.abandon()
        assert backend.held == set()

    asyncio.run(main())


def test_an_inherited_lease_that_cannot_be_released_keeps_nobody_from_the_others(open_fleet, tmp_path):
    async def main():
        backend = Unreturnable(tmp_path)
        fleet = open_fleet(backend)
        for key in ("one", "two"):
            await fleet.acquire(key, nothing, never, TIMEOUT)
        fleet.abandon()
        assert backend.held == set()

    asyncio.run(main())


@pytest.mark.parametrize("draw", [min, max])
def test_who_waits_tries_again_after_ever_longer_times_up_to_a_limit_none_of_them_quite_the_same(
    open_fleet, tmp_path, monkeypatch, draw
):
    waits, sleep = [], asyncio.sleep

    async def sleep_at_once(seconds):
        waits.append(seconds)
        await sleep(0)

    async def main():
        backend = LendingBackend(tmp_path)
        theirs, mine = open_fleet(backend), open_fleet(backend)
        permit, _found = await ask(theirs)
        tries = iter([""] * 8)
        monkeypatch.setattr(asyncio, "sleep", sleep_at_once)
        found = await ask(mine, look=lambda: next(tries, "an answer"), is_enough=bool)
        monkeypatch.undo()
        theirs.release(permit)
        return found

    monkeypatch.setattr(random, "uniform", lambda *bounds: draw(bounds))
    assert asyncio.run(main()) == (None, "an answer")
    share = draw(0.5, 1.0)
    assert waits == pytest.approx([share * min(FIRST_WAIT * 1.5**tried, LONGEST_WAIT) for tried in range(8)])


class Telling(LendingBackend):
    """Lends leases, and tells whose they are; a test says who that is."""

    def __init__(self, tmp_path):
        super().__init__(tmp_path)
        self.holder = LeaseHolder("first", "process 4711 (python, stopped), by a lock on leases")

    def lease_holder(self, _key):
        return self.holder


class WaitingLoop(asyncio.SelectorEventLoop):
    """A loop on which each pause of a waiter takes the time it names, and none of the test's."""

    def time(self):
        return self.now

    now = 0.0


def on_simulated_time(main, monkeypatch, on_wait=lambda _now: None):
    """Run a coroutine on a loop whose clock goes on with each wait."""
    loops = []

    async def sleep_at_once(seconds):
        loops[0].now += seconds
        on_wait(loops[0].now)
        await sleep(0)

    def new_loop():
        loops.append(WaitingLoop())
        return loops[0]

    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", sleep_at_once)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        outcome = runner.run(main())
        return outcome, loops[0].now


def test_who_has_a_lease_and_does_not_get_done_is_passed_by_and_that_is_said_once(
    tmp_path, open_fleet, monkeypatch, caplog
):
    async def main():
        backend = Telling(tmp_path)
        theirs, mine = open_fleet(backend), open_fleet(backend)
        await theirs.acquire(KEY, nothing, never, TIMEOUT)
        for _ in range(3):
            permit, _found = await mine.acquire(KEY, nothing, never, TIMEOUT)
            assert permit.lease is not None
            mine.release(permit)
            await mine._threads.run(nothing)

    _, waited = on_simulated_time(main, monkeypatch)
    assert TIMEOUT <= waited < TIMEOUT + 1, "it was waited for again"
    [record] = caplog.records
    said = record.getMessage()
    assert "process 4711 (python, stopped), by a lock on leases" in said
    assert KEY in said
    assert f"{TIMEOUT:g} s (setting 'timeout')" in said


def test_a_lease_that_goes_from_hand_to_hand_is_waited_for(tmp_path, open_fleet, monkeypatch, caplog):
    async def main():
        theirs, mine = open_fleet(backend), open_fleet(backend)
        await theirs.acquire(KEY, nothing, never, TIMEOUT)
        answers = iter(lambda: "an answer" if hands[-1] >= 10 else "", None)
        return await mine.acquire(KEY, lambda: next(answers), bool, TIMEOUT)

    def go_from_hand_to_hand(now):
        hands.append(int(now / (0.9 * TIMEOUT)))
        backend.holder = LeaseHolder(f"holder {hands[-1]}", "another")

    hands, backend = [0], Telling(tmp_path)
    outcome, waited = on_simulated_time(main, monkeypatch, go_from_hand_to_hand)
    assert outcome == (None, "an answer")
    assert waited >= 8 * TIMEOUT
    assert caplog.records == []


def test_of_those_who_pass_a_holder_by_one_at_a_time_asks(tmp_path, open_fleet, monkeypatch):
    async def main():
        backend = Telling(tmp_path)
        theirs, first, second = (open_fleet(backend) for _ in range(3))
        await theirs.acquire(KEY, nothing, never, TIMEOUT)
        permit, _found = await first.acquire(KEY, nothing, never, TIMEOUT)
        backend.holder = LeaseHolder("first", "the one that is passed by")
        answers = iter(["", "", "", "an answer"])
        looked = await second.acquire(KEY, lambda: "" if len(backend.held) < 2 else next(answers, "x"), bool, TIMEOUT)
        first.release(permit)
        return looked

    (permit, _found), _ = on_simulated_time(main, monkeypatch)
    assert permit is None, "both have one"


def test_a_lease_whose_holder_cannot_be_told_is_waited_for_once(tmp_path, open_fleet, monkeypatch, caplog):
    async def main():
        backend = LendingBackend(tmp_path)
        theirs, mine = open_fleet(backend), open_fleet(backend)
        await theirs.acquire(KEY, nothing, never, TIMEOUT)
        return await mine.acquire(KEY, nothing, never, TIMEOUT)

    (permit, _found), waited = on_simulated_time(main, monkeypatch)
    assert permit.lease is None
    assert TIMEOUT <= waited < TIMEOUT + 1
    assert "another process or machine has the lease" in caplog.text


def test_a_lease_that_is_had_again_after_its_holder_was_passed_by_is_waited_for_as_ever(
    tmp_path, open_fleet, monkeypatch
):
    async def main():
        backend = Telling(tmp_path)
        theirs, mine = open_fleet(backend), open_fleet(backend)
        held, _found = await theirs.acquire(KEY, nothing, never, TIMEOUT)
        mine.release((await mine.acquire(KEY, nothing, never, TIMEOUT))[0])
        theirs.release(held)
        await theirs._threads.run(nothing)
        mine.release((await mine.acquire(KEY, nothing, never, TIMEOUT))[0])
        assert not mine._passed_by, "it is remembered for ever"

    on_simulated_time(main, monkeypatch)
