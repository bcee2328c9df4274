"""The threads in which a cache touches its storage, so that no event loop waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from ..errors import BackendUnavailableError, ClosedError, SymcacheError

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE = 64
"""How many pieces of work one thread takes along."""

ASIDE = 2
"""How many threads do what nobody waits for."""


class Job(Generic[T]):
    """A piece of work, to be awaited on the event loop that began it; it goes on even if nobody does.

    ``outcome`` is what comes of it, for any thread.
    """

    def __init__(self, work: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self.outcome: Future[T] = Future()
        self._work = work
        self._done = loop.create_future()

    def __await__(self) -> Generator[Any, None, T]:
        yield from self._done
        return self.outcome.result()

    async def within(self, seconds: float) -> bool:
        """Wait for it, and no longer than that; tells whether it is done."""
        loop = asyncio.get_running_loop()
        if self._done.done() and not self.outcome.done():
            self._done = loop.create_future()
        timer = loop.call_later(seconds, self.wake)
        try:
            await self._done
        finally:
            timer.cancel()
        return self.outcome.done()

    def do(self) -> None:
        """Do it, unless it was cancelled or refused before."""
        if self.outcome.done() or not self.outcome.set_running_or_notify_cancel():
            return
        try:
            outcome = self._work()
        except BaseException as error:  # noqa: BLE001  # it concerns whoever waits for the outcome
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(outcome)

    def refuse(self, error: Exception) -> None:
        """Let whoever awaits it know that it is not done, and why; called on the loop."""
        if self.outcome.set_running_or_notify_cancel():
            self.outcome.set_exception(error)
        self.wake()

    def wake(self) -> None:
        """Let whoever awaits it go on; called on the loop."""
        if not self._done.done():
            self._done.set_result(None)


class StorageThreads:
    """A few threads of a cache's own: those of an event loop could all be waiting for a lookup that needs one.

    What an event loop begins in one turn, one thread does: waking a thread, and then the loop that waits for it, takes
    longer than most of the work. What nobody waits for has threads apart, so that it keeps none of the others busy.

    Args:
        patience: Seconds for which one waits for work that one can do without; without end if left out.
        gave_up: Is called when they have passed.
    """

    def __init__(self, patience: float | None = None, gave_up: Callable[[], object] = lambda: None) -> None:
        self._patience = patience
        self._gave_up = gave_up
        self._finished = 0
        self._stuck_after: int | None = None
        self._pool = ThreadPoolExecutor(thread_name_prefix="symcache-storage")
        self._aside = ThreadPoolExecutor(ASIDE, thread_name_prefix="symcache-storage-aside")
        self._begun: dict[asyncio.AbstractEventLoop, list[Job[Any]]] = {}
        self._closed = False

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Job[T]:
        """Begin some work that can be awaited on the running loop.

        Raises:
            ClosedError: The cache is closed.
        """
        if self._closed:
            raise ClosedError("this symbol cache is closed")
        loop = asyncio.get_running_loop()
        job = Job(partial(work, *args, **kwargs), loop)
        if loop not in self._begun:
            # In this order: an interrupt in between must not leave a list that nobody hands over.
            loop.call_soon(self._hand_over, loop)
            self._begun[loop] = []
        self._begun[loop].append(job)
        return job

    async def attempt(
        self,
        work: Callable[[], T],
        is_away: Callable[[], bool],
        unused: Callable[[Future[T]], object] | None = None,
    ) -> tuple[T] | None:
        """What comes of some work that the caller can do without, if it does not have to wait too long for it.

        Args:
            work: What to do in a thread.
            is_away: Whether there is no use in waiting at all.
            unused: Is called with the outcome that nobody takes, because the caller was cancelled or does not wait.

        Returns:
            ``None`` if it was not worth waiting for. It is not begun then, or goes on.

        Raises:
            ClosedError: The cache is closed.
        """
        while not (self._is_stuck() or is_away()):
            job, finished = self.run(work), self._finished
            try:
                comes = await self._comes(job, is_away)
            except BaseException:
                if unused is not None:
                    job.outcome.add_done_callback(unused)
                raise
            # What has not begun is behind something slow. Another thread may be free, unless all of them hang.
            if not comes and job.outcome.cancel():
                if finished == self._finished:
                    self._stuck_after = finished
                elif not is_away():
                    continue
            if job.outcome.done() and not job.outcome.cancelled():
                return (job.outcome.result(),)
            self._gave_up()
            if unused is not None:
                job.outcome.add_done_callback(unused)
            break
        return None

    def start(self, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Begin some work that nobody waits for.

        Raises:
            ClosedError: The cache is closed, and nothing is done.
            BackendUnavailableError: There is no thread to do it.
        """
        self._submit(self._aside, partial(work, *args, **kwargs))

    def close(self) -> None:
        """Take no more work; what has begun ends by itself, and what nobody waits for is not begun any more."""
        self._closed = True
        self._pool.shutdown(wait=False)
        self._aside.shutdown(wait=False, cancel_futures=True)

    def _submit(self, pool: ThreadPoolExecutor, work: Callable[[], object]) -> None:
        try:
            pool.submit(work)
        except RuntimeError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: RuntimeError) -> SymcacheError:
        if self._closed:
            return ClosedError("this symbol cache is closed")
        return BackendUnavailableError(f"there is no thread for the storage: {error}")

    def _is_stuck(self) -> bool:
        """Whether all threads hang: something has waited for one in vain, and none has finished anything since."""
        return self._stuck_after == self._finished

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        jobs = self._begun.pop(loop, [])
        for first in range(0, len(jobs), AT_ONCE):
            some = jobs[first : first + AT_ONCE]
            try:
                self._submit(self._pool, partial(self._do, some, loop))
            except SymcacheError as error:
                for job in some:
                    job.refuse(error)

    def _do(self, jobs: Sequence[Job[Any]], loop: asyncio.AbstractEventLoop) -> None:
        for job in jobs:
            job.do()
            self._finished += 1
        with suppress(RuntimeError):  # the loop has closed: nobody waits any more
            loop.call_soon_threadsafe(_wake, jobs)

    async def _comes(self, job: Job[Any], is_away: Callable[[], bool]) -> bool:
        """Wait for a job; False if there is no use in waiting any longer."""
        if self._patience is None:
            await job
            return True
        # Twice half as long: of a machine that stands still for a moment nobody is to think that the storage does.
        return await job.within(self._patience / 2) or (not is_away() and await job.within(self._patience / 2))


def _wake(jobs: Sequence[Job[Any]]) -> None:
    for job in jobs:
        job.wake()
