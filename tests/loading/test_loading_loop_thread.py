"""The loop in a thread runs whatever any thread or loop gives it, and ends with everything on it."""

import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from symcache_core.errors import ClosedError
from symcache_core.loading.loop_thread import LoopThread

NAME = "loop-under-test"


@pytest.fixture
def loop():
    thread = LoopThread(NAME)
    yield thread
    thread.close()
    assert NAME not in [other.name for other in threading.enumerate()]


class Hanging:
    """Work that hangs, and says when it began and when it was cancelled."""

    def __init__(self):
        self.began, self.cancelled = threading.Event(), threading.Event()

    async def run(self):
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def where():
    return threading.current_thread().name, asyncio.get_running_loop()


async def fail():
    raise ValueError("its own")


def test_all_work_runs_on_one_loop_whoever_gives_it(loop):
    async def from_a_running_loop():
        return loop.run(where()), await loop.arun(where())

    with ThreadPoolExecutor(4) as pool:
        places = {*pool.map(lambda _: loop.run(where()), range(8)), *asyncio.run(from_a_running_loop())}
    assert len(places) == 1
    assert places.pop()[0] == NAME


def test_no_thread_exists_before_there_is_work():
    LoopThread(NAME).close()
    assert NAME not in [thread.name for thread in threading.enumerate()]


def test_errors_come_out_as_they_are(loop):
    with pytest.raises(ValueError, match="its own"):
        loop.run(fail())
    with pytest.raises(ValueError, match="its own"):
        asyncio.run(loop.arun(fail()))


def test_ctrl_c_while_waiting_cancels_the_work_and_the_loop_lives_on(loop):
    hanging = Hanging()

    def press_ctrl_c():
        hanging.began.wait()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    presser = threading.Thread(target=press_ctrl_c)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        loop.run(hanging.run())
    presser.join()
    assert hanging.cancelled.wait(5)
    assert loop.run(where())[0] == NAME


def test_cancelling_the_await_cancels_the_work(loop):
    hanging = Hanging()

    async def scenario():
        task = asyncio.create_task(loop.arun(hanging.run()))
        await asyncio.to_thread(hanging.began.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert hanging.cancelled.wait(5)


def test_closing_ends_what_is_running_and_says_so_to_those_who_wait(loop):
    blocking, awaited = Hanging(), Hanging()

    async def wait_for(work):
        with pytest.raises(ClosedError):
            await loop.arun(work.run())

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(loop.run, blocking.run())
        second = pool.submit(asyncio.run, wait_for(awaited))
        blocking.began.wait()
        awaited.began.wait()
        loop.close()
        with pytest.raises(ClosedError):
            first.result()
        second.result()
    assert blocking.cancelled.is_set()
    assert awaited.cancelled.is_set()


def test_cancelling_all_leaves_the_loop_usable(loop):
    hanging = Hanging()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(loop.run, hanging.run())
        hanging.began.wait()
        loop.cancel_all()
        assert hanging.cancelled.is_set()
        with pytest.raises(ClosedError):
            waiting.result()
    assert loop.run(where())[0] == NAME


def test_a_closed_loop_takes_no_work_and_closes_again_without_complaint(loop):
    loop.run(where())
    loop.close()
    loop.close()
    with pytest.raises(ClosedError):
        loop.run(where())
    with pytest.raises(ClosedError):
        asyncio.run(loop.arun(where()))


def test_a_call_that_would_wait_for_itself_is_refused(loop):
    async def nested():
        return loop.run(where())

    with pytest.raises(RuntimeError, match="would never end"):
        loop.run(nested())


def test_an_interrupt_while_the_loop_starts_leaves_none_behind_and_the_next_call_starts_another(loop, monkeypatch):
    class Interrupted(threading.Thread):
        def start(self):
            super().start()
            raise KeyboardInterrupt

    monkeypatch.setattr(threading, "Thread", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run(where())
    monkeypatch.undo()
    assert loop.run(where())[0] == NAME
    (lives,) = {loop._running.thread}
    for thread in threading.enumerate():
        if thread.name == NAME and thread is not lives:
            thread.join(10)
            assert not thread.is_alive(), "nobody can end it any more"
