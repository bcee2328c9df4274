"""Work that blocks has threads of its own, whatever those of the event loop are busy with."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from symcache_core.concurrency.workers import WorkerThreads, in_a_thread
from symcache_core.errors import ClosedError


@pytest.fixture
def threads():
    threads = WorkerThreads("test")
    yield threads
    threads.close()


def test_work_is_done_although_every_thread_of_the_loop_waits_for_it(threads):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))

        async def both():
            return await threads.run(threading.get_ident), await in_a_thread(threading.get_ident)

        return await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(both(), loop).result(10))

    assert threading.get_ident() not in asyncio.run(main())


def test_work_sees_the_context_of_who_awaits_it_and_its_error_goes_there(threads):
    caller = ContextVar("caller")

    async def main():
        caller.set("AAPL")
        assert await threads.run(caller.get) == "AAPL"
        with pytest.raises(KeyError):
            await threads.run({}.__getitem__, "AAPL")

    asyncio.run(main())


class Slow:
    """Work that ends when it is let."""

    def __init__(self):
        self.begun, self.go, self.is_done = threading.Event(), threading.Event(), False

    def __call__(self):
        self.begun.set()
        assert self.go.wait(10)
        self.is_done = True


async def cancelled_once_begun(work, awaited):
    """A task that is cancelled when its work has begun."""
    task = asyncio.ensure_future(awaited)
    while not work.begun.is_set():
        await asyncio.sleep(0)
    task.cancel()
    return task


def test_who_is_cancelled_goes_on_once_what_has_begun_has_ended(threads):
    async def main():
        work = Slow()
        task = await cancelled_once_begun(work, threads.run(work))
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        work.go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.is_done

    asyncio.run(main())


def test_an_event_loop_ends_after_the_work_of_a_task_that_it_cancels(threads):
    work = Slow()

    async def main():
        await cancelled_once_begun(work, threads.run(work))
        asyncio.get_running_loop().call_later(0.01, work.go.set)

    asyncio.run(main())
    assert work.is_done


def test_what_may_take_long_is_not_waited_for(threads):
    work = Slow()

    async def main():
        task = await cancelled_once_begun(work, in_a_thread(work))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not work.is_done

    asyncio.run(main())
    work.go.set()


def test_closing_waits_for_what_has_begun_and_then_nothing_begins(threads):
    work = Slow()
    threads.begin(work)
    threading.Timer(0.01, work.go.set).start()
    threads.close()
    assert work.is_done
    with pytest.raises(ClosedError):
        asyncio.run(threads.run(int))


def test_a_thread_for_rare_work_ends_with_it():
    before = threading.active_count()
    for _ in range(20):
        asyncio.run(in_a_thread(int))
    for thread in threading.enumerate():
        if thread.name.startswith("symcache-once"):
            thread.join(10)
    assert threading.active_count() == before


def test_a_forked_child_has_threads_of_its_own(threads):
    asyncio.run(threads.run(int))
    child = os.fork()
    if not child:
        os._exit(asyncio.run(asyncio.wait_for(threads.run(lambda: 7), 10)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
