"""Threads of one's own for what blocks: those of an event loop may all be waiting for what needs one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar

from ..errors import ClosedError
from .forks import ForkGuard
from .tasks import take_note

P = ParamSpec("P")
T = TypeVar("T")


class WorkerThreads:
    """A few threads that a loader, or a client, has for itself; a forked child gets others.

    Args:
        name: What the threads are called.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._forks = ForkGuard(self._begin)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do some work that blocks, in a thread; who is cancelled goes on once what has begun has ended.

        Raises:
            ClosedError: There are no threads any more.
        """
        job = self.begin(work, *args, **kwargs)
        ended = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            if not job.cancel():
                await _end_of(ended)
            raise

    def begin(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begin some work that blocks, and may do so for longer than anybody waits.

        Raises:
            ClosedError: There are no threads any more.
        """
        self._forks.check()
        try:
            return self._pool.submit(copy_context().run, partial(work, *args, **kwargs))
        except RuntimeError:
            raise ClosedError("closed while the call was running") from None

    def close(self) -> None:
        """Wait for what has begun, and take no more."""
        self._forks.check()
        self._pool.shutdown()

    def leave(self) -> None:
        """Take no more, and let what has begun end by itself."""
        self._forks.check()
        self._pool.shutdown(wait=False)

    def _begin(self) -> None:
        self._pool = ThreadPoolExecutor(thread_name_prefix=self._name)


async def in_a_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do some work that blocks, and is rare, in a thread that ends with it; cancelling leaves it to its end."""
    threads = WorkerThreads("symcache-once")
    try:
        return await asyncio.wrap_future(threads.begin(work, *args, **kwargs))
    finally:
        threads.leave()


async def _end_of(work: asyncio.Future[Any]) -> None:
    while not work.done():
        with suppress(asyncio.CancelledError):  # the loop's end cancels everybody again
            await asyncio.wait({work})
    take_note(work)
