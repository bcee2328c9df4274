"""Of all who ask the same at the same time one asks, as urgently as the most urgent of them does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import replace
from typing import Any, Generic, TypeVar

from ..gateway import Asker

T = TypeVar("T")


class _Flight(Generic[T]):
    def __init__(self, asker: Asker, ask: Callable[[Asker], Coroutine[Any, Any, T]]) -> None:
        self.asker = replace(asker)
        self.aboard = 0
        self.task = asyncio.create_task(ask(self.asker))


class Flights:
    """What is being asked on one event loop.

    Cancelling one who waits never touches the others; when the last one leaves, nothing is asked any more.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[Any]] = {}

    async def ask(self, question: Hashable, asker: Asker, ask: Callable[[Asker], Coroutine[Any, Any, T]]) -> T:
        """What comes of a question, the same for everyone.

        Args:
            question: What tells it from all others.
            asker: For whom it is asked.
            ask: Asks it, for whoever is to be named, if nobody does so yet.
        """
        flight: _Flight[T] | None = self._flights.get(question)
        if flight is None:
            flight = self._flights[question] = _Flight(asker, ask)
        flight.aboard += 1
        flight.asker.join(asker)
        try:
            with asker.telling(flight.asker.join):
                return await asyncio.shield(flight.task)
        finally:
            flight.aboard -= 1
            if not flight.aboard:
                del self._flights[question]
                flight.task.cancel()
