"""One does the work; everyone gets the outcome; nobody is lost when a waiter, a task or a loop goes away."""

import asyncio
import itertools
import threading

import pytest

from symcache_core.concurrency.single_flight import SingleFlight


class Work:
    """Counts how often it starts, waits for a gate, and tells of its cancellation."""

    def __init__(self):
        self.started = 0
        self.cancelled = 0
        self.gate = asyncio.Event()

    async def __call__(self):
        self.started += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "done"


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


def test_two_hundred_tasks_share_one_call():
    async def main():
        flights, work = SingleFlight(), Work()
        tasks = [asyncio.create_task(flights.run("key", work)) for _ in range(200)]
        await settle()
        work.gate.set()
        outcomes = await asyncio.gather(*tasks)
        assert work.started == 1
        assert {value for value, _ in outcomes} == {"done"}
        assert sum(led for _, led in outcomes) == 1

    asyncio.run(main())


def test_keys_do_not_wait_for_each_other():
    async def main():
        flights, slow, fast = SingleFlight(), Work(), Work()
        fast.gate.set()
        waiting = asyncio.create_task(flights.run("slow", slow))
        assert await flights.run("fast", fast) == ("done", True)
        slow.gate.set()
        await waiting

    asyncio.run(main())


def test_an_error_reaches_everyone_and_the_next_one_tries_again():
    async def main():
        flights, calls = SingleFlight(), itertools.count(1)

        async def fail():
            await asyncio.sleep(0)
            raise LookupError(f"call {next(calls)}")

        errors = await asyncio.gather(*(flights.run("key", fail) for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in errors] == ["call 1"] * 3
        with pytest.raises(LookupError, match="call 2"):
            await flights.run("key", fail)

    asyncio.run(main())


@pytest.mark.parametrize("leaving", [c for n in range(1, 5) for c in itertools.permutations(range(4), n)], ids=str)
def test_whoever_leaves_in_whatever_order_the_others_get_the_outcome(leaving):
    async def main():
        flights, work = SingleFlight(), Work()
        waiters = [asyncio.create_task(flights.run("key", work)) for _ in range(4)]
        await settle()
        for number in leaving:
            waiters[number].cancel()
            await settle()
        assert work.cancelled == (len(leaving) == 4), "the last one leaving cancels the call, and only the last"
        work.gate.set()
        for number, outcome in enumerate(await asyncio.gather(*waiters, return_exceptions=True)):
            if number in leaving:
                assert isinstance(outcome, asyncio.CancelledError)
            else:
                assert outcome[0] == "done"

    asyncio.run(main())


def test_after_the_last_one_left_a_new_caller_leads_anew():
    async def main():
        flights, work = SingleFlight(), Work()
        waiter = asyncio.create_task(flights.run("key", work))
        await settle()
        waiter.cancel()
        again = asyncio.create_task(flights.run("key", work))
        await settle()
        work.gate.set()
        assert await again == ("done", True)
        assert (work.started, work.cancelled) == (2, 1)

    asyncio.run(main())


def test_who_goes_away_at_the_soft_timeout_leaves_the_work_running():
    async def main():
        flights, work = SingleFlight(), Work()
        with pytest.raises(TimeoutError, match="no outcome within"):
            await flights.run("key", work, soft_timeout=0.0)
        await settle()
        assert work.cancelled == 0
        joined = asyncio.create_task(flights.run("key", work))
        await settle()
        work.gate.set()
        assert await joined == ("done", False)

    asyncio.run(main())


def test_a_timeout_of_the_work_itself_goes_out_unchanged():
    async def main():
        async def fail():
            raise TimeoutError("inside")

        with pytest.raises(TimeoutError, match="inside"):
            await SingleFlight().run("key", fail, soft_timeout=10)

    asyncio.run(main())


def test_threads_with_loops_of_their_own_share_one_call():
    flights, started, everyone = SingleFlight(), [], threading.Barrier(20)
    outcomes = []

    async def work():
        started.append(1)
        while flights.waiting() < 20:
            await asyncio.sleep(0.001)
        return "done"

    def thread():
        everyone.wait()
        outcomes.append(asyncio.run(flights.run("key", work)))

    threads = [threading.Thread(target=thread) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(started) == 1
    assert [value for value, _ in outcomes] == ["done"] * 20


@pytest.mark.parametrize("orderly", [True, False], ids=["cancelled by asyncio.run", "stopped and closed"])
def test_when_the_carrying_loop_ends_a_waiter_leads_anew(orderly):
    flights, started, boarded = SingleFlight(look_every=0.01), [], threading.Event()
    outcome = []

    async def work():
        started.append(threading.get_ident())
        if len(started) == 1:
            await asyncio.Event().wait()
        return "done"

    def waiter():
        outcome.append(asyncio.run(flights.run("key", work)))

    async def leader():
        flights.start("key", work)
        await settle()
        thread.start()
        while flights.waiting() < 2:
            await asyncio.sleep(0.001)
        boarded.set()

    thread = threading.Thread(target=waiter)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leader())
    if orderly:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
    abandoned = [] if orderly else [flight.task for flight in flights._flights.values()]
    loop.close()
    thread.join(10)
    assert outcome == [("done", True)]
    assert len(set(started)) == 2
    for task in abandoned:
        task._log_destroy_pending = False  # the loop was closed under it on purpose


def test_draining_waits_for_background_work_and_then_cancels_it():
    async def main():
        flights, quick, slow = SingleFlight(), Work(), Work()
        quick.gate.set()
        assert flights.start("quick", quick)
        assert flights.start("slow", slow)
        assert not flights.start("slow", slow)
        await flights.drain(0.01)
        assert (quick.started, quick.cancelled, slow.cancelled) == (1, 0, 1)
        await flights.drain(0.01)

    asyncio.run(main())
