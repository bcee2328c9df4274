"""The threads of a storage: one that hangs is waited for once, and what nobody waits for keeps none of them busy."""

import asyncio
import threading

import pytest
from patience import PATIENCE

from symcache_core.concurrency.threads import StorageThreads
from symcache_core.errors import ClosedError


@pytest.fixture
def open_threads():
    """Opens threads; what hangs in them goes on at the end of the test."""
    pools = []

    def open_threads(patience=None):
        pools.append(StorageThreads(patience))
        return pools[-1]

    yield open_threads
    for pool in pools:
        pool.close()


class Hanging:
    """Work that hangs until it is let go; ``begun`` counts how often it was begun."""

    def __init__(self):
        self.begun = 0
        self._go = threading.Event()

    def __call__(self):
        self.begun += 1
        assert self._go.wait(PATIENCE)

    def end(self):
        self._go.set()


@pytest.fixture
def hanging():
    hanging = Hanging()
    yield hanging
    hanging.end()


def never():
    return False


async def all_hang(threads, hanging):
    """Let each of the threads hang, one after the other, as callers do who come in turns of their own."""
    jobs = []
    for _ in range(threads._pool._max_workers):
        jobs.append(threads.run(hanging))
        await until(lambda: hanging.begun == len(jobs))
    return jobs


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


def test_while_all_threads_hang_one_caller_waits_for_them_and_no_other(open_threads, hanging):
    async def main():
        threads = open_threads(0.05)
        jobs = await all_hang(threads, hanging)
        waited = []
        for _ in range(100):
            began = asyncio.get_running_loop().time()
            assert await threads.attempt(lambda: "done", never) is None
            waited.append(asyncio.get_running_loop().time() - began >= 0.05)
        assert waited == [True] + [False] * 99
        hanging.end()
        await asyncio.gather(*jobs)
        assert await threads.attempt(lambda: "done", never) == ("done",)

    asyncio.run(main())


def test_what_nobody_waits_for_keeps_nobody_waiting_however_much_of_it_hangs(open_threads, hanging):
    async def main():
        threads = open_threads(PATIENCE)
        for _ in range(100):
            threads.start(hanging)
        await until(lambda: hanging.begun)
        assert await threads.attempt(lambda: "done", never) == ("done",)
        threads.close()
        hanging.end()

    asyncio.run(main())
    for thread in threading.enumerate():
        if thread.name.startswith("symcache-storage-aside"):
            thread.join(PATIENCE)
    assert hanging.begun <= 2, "what had not begun was begun after the end"


def test_once_closed_nothing_is_done_and_everybody_is_told(open_threads):
    done = []

    async def main():
        threads = open_threads()
        begun = threads.run(done.append, "begun before, and handed over after")
        threads.close()
        with pytest.raises(ClosedError):
            await asyncio.wait_for(begun, PATIENCE)
        with pytest.raises(ClosedError):
            threads.run(done.append, "begun after")
        with pytest.raises(ClosedError):
            threads.start(done.append, "started after")

    asyncio.run(main())
    assert done == []


@pytest.mark.parametrize("comes", ["before", "after"])
def test_an_interrupt_while_work_is_begun_leaves_nobody_waiting(open_threads, monkeypatch, comes):
    """Whoever goes on with the loop after it, as a notebook does, gets what it begins then done."""
    threads = open_threads()
    loop = asyncio.new_event_loop()

    async def interrupted():
        def interrupt(*arguments):
            if comes == "after":
                call_soon(*arguments)
            raise KeyboardInterrupt

        call_soon = loop.call_soon
        monkeypatch.setattr(loop, "call_soon", interrupt)
        try:
            threads.run(never)
        finally:
            monkeypatch.undo()

    async def later():
        return await asyncio.wait_for(threads.run(lambda: "done"), PATIENCE)

    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(interrupted())
        assert loop.run_until_complete(later()) == "done"
    finally:
        loop.close()
