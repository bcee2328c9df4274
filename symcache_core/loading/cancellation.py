"""How a caller stops a load, from any thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol, TypeVar

from ..concurrency.tasks import take_note
from ..errors import LoadCancelledError

_POLL = 0.05
_GRACE = 0.03

T = TypeVar("T")


class Cancellable(Protocol):
    """Anything that knows whether its owner wants the work stopped."""

    def cancelled(self) -> bool:
        """Whether to stop."""
        ...


class CancellationToken:
    """A switch to hand to a load; it can be thrown from any thread, and once only.

    It has no lock, as an ``Event`` has: a signal handler may throw it, also in the middle of that.
    """

    def __init__(self) -> None:
        self._is_thrown = False

    def cancel(self) -> None:
        """Stop whatever the token was given to."""
        self._is_thrown = True

    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._is_thrown


def raise_if_cancelled(token: Cancellable | None) -> None:
    """Stop here if the token says so.

    Raises:
        LoadCancelledError: It does.
    """
    if token is not None and token.cancelled():
        raise LoadCancelledError("the load was cancelled; what it had saved stays saved")


async def run_cancellable(work: Awaitable[T], token: Cancellable | None) -> T:
    """Await something, and give it up within 100 ms of the token's cancellation, or of the awaiting task's own.

    The work runs as a task. The token is looked at in turns, because all that is known of it is that it can be asked. A
    task that is cancelled and does not end is not waited for.

    Raises:
        LoadCancelledError: The token was cancelled first.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(take_note)
    try:
        while not task.done():
            raise_if_cancelled(token)
            await asyncio.wait((task,), timeout=None if token is None else _POLL)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=_GRACE)
