"""The threads in which a cache touches its storage, so that no event loop waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from .errors import ClosedError

P = ParamSpec("P")
T = TypeVar("T")


class StorageThreads:
    """A few threads of a cache's own: those of an event loop could all be waiting for a lookup that needs one."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(thread_name_prefix="symcache-storage")

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begin some work.

        Raises:
            ClosedError: The cache is closed.
        """
        try:
            return self._pool.submit(work, *args, **kwargs)
        except RuntimeError:
            raise ClosedError("this symbol cache is closed") from None

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Begin some work that can be awaited on the running loop.

        Raises:
            ClosedError: The cache is closed.
        """
        return asyncio.wrap_future(self.submit(work, *args, **kwargs))

    def start(self, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Begin some work that nobody waits for; once closed, do it here."""
        try:
            self._pool.submit(work, *args, **kwargs)
        except RuntimeError:
            work(*args, **kwargs)

    def close(self) -> None:
        """Take no more work; what has begun ends by itself."""
        self._pool.shutdown(wait=False)
