"""Calls into other people's coroutines, which may not heed their cancellation, or cancel themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


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
