"""The threads in which a cache touches its storage, so that no event loop waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from ..errors import ClosedError

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE = 64
"""How many pieces of work one thread takes along."""


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

    def do(self) -> None:
        """Do it."""
        try:
            outcome = self._work()
        except BaseException as error:  # noqa: BLE001  # it concerns whoever waits for the outcome
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(outcome)

    def wake(self) -> None:
        """Let whoever awaits it go on; called on the loop."""
        if not self._done.done():
            self._done.set_result(None)


class StorageThreads:
    """A few threads of a cache's own: those of an event loop could all be waiting for a lookup that needs one.

    What an event loop begins in one turn, one thread does: waking a thread, and then the loop that waits for it, takes
    longer than most of the work.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(thread_name_prefix="symcache-storage")
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
            self._begun[loop] = []
            loop.call_soon(self._hand_over, loop)
        self._begun[loop].append(job)
        return job

    def start(self, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Begin some work that nobody waits for; once closed, do it here."""
        try:
            self._pool.submit(work, *args, **kwargs)
        except RuntimeError:
            work(*args, **kwargs)

    def close(self) -> None:
        """Take no more work; what has begun ends by itself."""
        self._closed = True
        self._pool.shutdown(wait=False)

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        jobs = self._begun.pop(loop)
        for first in range(0, len(jobs), AT_ONCE):
            self.start(_do, jobs[first : first + AT_ONCE], loop)


def _do(jobs: Sequence[Job[Any]], loop: asyncio.AbstractEventLoop) -> None:
    for job in jobs:
        job.do()
    with suppress(RuntimeError):  # the loop has closed: nobody waits any more
        loop.call_soon_threadsafe(_wake, jobs)


def _wake(jobs: Sequence[Job[Any]]) -> None:
    for job in jobs:
        job.wake()
