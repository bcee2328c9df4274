"""Tasks: one that may not heed its cancellation, and many, several at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def call(work: Awaitable[T], timeout: float | None = None) -> asyncio.Future[T]:
    """Let work run as a task of its own until it has ended, its time is over, or the caller is cancelled.

    In the latter two cases it is cancelled, and not waited for.

    Args:
        work: Somebody's coroutine.
        timeout: Seconds.

    Returns:
        The task: done, cancelled by itself, or with its time over still running.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(take_note)
    try:
        await asyncio.wait({task}, timeout=timeout)
    finally:
        if not task.done():
            task.cancel()
    return task


def take_note(task: asyncio.Future[Any]) -> None:
    """Look at how a task ended, so that asyncio does not complain of one that nobody waited for."""
    if not task.cancelled():
        task.exception()


def concurrently(
    work: Callable[[T], Coroutine[Any, Any, R]], items: AsyncGenerator[T, None], limit: int
) -> AsyncGenerator[R, None]:
    """Give what comes of each item, in the order in which they get done.

    Closing the generator early cancels what is under way, and so does an error of the work's, which goes out.

    Args:
        work: What to do with an item.
        items: Taken as they are needed, and closed in the end.
        limit: How many are under way at the same time.

    Raises:
        ValueError: Not even one may be under way.
    """
    if limit < 1:
        raise ValueError(f"concurrency is {limit}: at least 1 has to be under way")
    return _results(work, items, limit)


async def _results(
    work: Callable[[T], Coroutine[Any, Any, R]], items: AsyncGenerator[T, None], limit: int
) -> AsyncGenerator[R, None]:
    under_way: set[asyncio.Task[R]] = set()
    done: asyncio.Queue[asyncio.Task[R]] = asyncio.Queue()

    async def next_result() -> R:
        task = await done.get()
        under_way.remove(task)
        return task.result()

    try:
        async with aclosing(items):
            async for item in items:
                if len(under_way) == limit:
                    yield await next_result()
                task = asyncio.create_task(work(item))
                task.add_done_callback(done.put_nowait)
                under_way.add(task)
        while under_way:
            yield await next_result()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
