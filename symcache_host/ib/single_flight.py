"""Of all who want the same at the same time one call is made, as urgent as the most urgent of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import replace
from typing import Any, Generic, TypeVar

from ..gateway import Caller

T = TypeVar("T")


class _Flight(Generic[T]):
    def __init__(self, caller: Caller, call: Callable[[Caller], Coroutine[Any, Any, T]]) -> None:
        self.caller = replace(caller)
        self.waiters = 0
        self.task = asyncio.create_task(call(self.caller))


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
            flight = self._flights[key] = _Flight(caller, call)
        flight.waiters += 1
        flight.caller.inherit(caller)
        try:
            # A waiter's own priority may still rise, when others come to wait for it.
            with caller.observed_by(flight.caller.inherit):
                return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters:
                del self._flights[key]
                flight.task.cancel()
