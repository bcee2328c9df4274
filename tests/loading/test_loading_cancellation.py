"""A token ends the work it was given to, quickly, completely, and nothing else."""

import asyncio
import threading

import pytest

from symcache_core.errors import LoadCancelledError
from symcache_core.loading.cancellation import CancellationToken, raise_if_cancelled, run_cancellable


class Work:
    """Hangs for ever and remembers that it was cleaned up."""

    def __init__(self):
        self.started = asyncio.Event()
        self.cleaned_up = False

    async def run(self):
        try:
            self.started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.cleaned_up = True


def test_a_token_is_thrown_once_and_stays_thrown():
    token = CancellationToken()
    raise_if_cancelled(None)
    raise_if_cancelled(token)
    token.cancel()
    token.cancel()
    assert token.cancelled()
    with pytest.raises(LoadCancelledError):
        raise_if_cancelled(token)


@pytest.mark.parametrize("token", [None, CancellationToken()])
def test_work_that_is_left_alone_gives_its_result_or_its_error(token):
    async def fail():
        raise ValueError("its own")

    assert asyncio.run(run_cancellable(asyncio.sleep(0, "done"), token)) == "done"
    with pytest.raises(ValueError, match="its own"):
        asyncio.run(run_cancellable(fail(), token))


def test_a_token_thrown_in_another_thread_ends_the_work_within_100_ms_cleaned_up():
    async def scenario():
        work, token = Work(), CancellationToken()
        task = asyncio.create_task(run_cancellable(work.run(), token))
        await work.started.wait()
        loop = asyncio.get_running_loop()
        began = loop.time()
        threading.Thread(target=token.cancel).start()
        with pytest.raises(LoadCancelledError):
            await task
        assert loop.time() - began < 0.1
        assert work.cleaned_up
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def test_any_object_that_can_say_cancelled_is_a_token():
    class Elsewhere:
        def __init__(self):
            self.asked = 0

        def cancelled(self):
            self.asked += 1
            return self.asked > 1

    async def scenario():
        work = Work()
        with pytest.raises(LoadCancelledError):
            await run_cancellable(work.run(), Elsewhere())
        assert work.cleaned_up

    asyncio.run(scenario())


def test_a_token_thrown_before_the_start_lets_nothing_begin():
    async def scenario():
        work, token = Work(), CancellationToken()
        token.cancel()
        with pytest.raises(LoadCancelledError):
            await run_cancellable(work.run(), token)
        assert not work.started.is_set()

    asyncio.run(scenario())


@pytest.mark.parametrize("token", [None, CancellationToken()])
def test_cancelling_the_waiting_task_cancels_the_work_and_stays_a_cancellation(token):
    async def scenario():
        work = Work()
        task = asyncio.create_task(run_cancellable(work.run(), token))
        await work.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.cleaned_up

    asyncio.run(scenario())
