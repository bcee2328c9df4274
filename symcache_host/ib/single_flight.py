"""Of all who want the same at the same time one call is made, as urgent as the most urgent of those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from ..gateway import Caller, Waiters

T = TypeVar("T")


class _Flight(Generic[T]):
    def __init__(self, call: Callable[[Caller], Coroutine[Any, Any, T]]) -> None:
        self.waiters = Waiters()
        self.task = asyncio.create_task(self._make(call))

    async def _make(self, call: Callable[[Caller], Coroutine[Any, Any, T]]) -> T:
        with self.waiters.stood_for() as caller:
            return await call(caller)


class SingleFlight:
    """The calls under way on one event loop.

    A call is a task of its own, so that whoever began it can leave like anyone else: cancelling one waiter never
    touches the others, and when the last one leaves, the call is cancelled.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[Any]] = {}

    async def do(self, key: Hashable, caller: Caller, call: Callable[[Caller], Coroutine[Any, Any, T]]) -> T:
        """The outcome of a call, the same for everyone.

        Args:
            key: What tells the call from all others.
            caller: Who waits for it.
            call: Makes it, if nobody does so yet, on behalf of the caller that it is given.
        """
        flight: _Flight[T] | None = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(call)
        try:
            with flight.waiters.joined_by(caller):
                return await asyncio.shield(flight.task)
        finally:
            if not flight.waiters.anyone:
                del self._flights[key]
                flight.task.cancel()
