"""Asks for a sign of life when many wait to hear that messages have arrived, and no answer tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from .acknowledgements import Message
from .limits import MARGIN, TIME_PAUSE

PROBE_AFTER = 0.25
"""Seconds that a message is under way until its arrival is asked for, while others wait for what it takes."""

Ping = Callable[[Message], Awaitable[object]]
"""Asks the other end for a sign of life, which acknowledges everything that was sent before; never fails."""


class Withdrawable(Message, Protocol):
    """A message that need not be sent."""

    def withdraw(self) -> None:
        """It is not sent, if it has not been."""
        ...


class Prober:
    """Pings, one ping at a time and no more often than TWS answers one.

    Args:
        ping: How.
        take: Gives a message to ping with, if one may be sent.
        due: When it makes sense to ping, as far as can be told now; None if nothing is under way.
    """

    def __init__(self, ping: Ping, take: Callable[[], Withdrawable | None], due: Callable[[], float | None]) -> None:
        self._ping, self._take, self._due = ping, take, due
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._pinging: asyncio.Task[None] | None = None

    def wanted(self) -> None:
        """Ping when it is due, if nothing is heard until then."""
        due = self._due()
        if due is None or self._pinging is not None:
            return
        when = max(due, self._not_before)
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._probe)

    def _probe(self) -> None:
        self._timer = None
        due = self._due()
        if due is None or due > asyncio.get_running_loop().time():
            self.wanted()
        elif (message := self._take()) is not None:  # else it is wanted again as soon as something has come back
            self._pinging = asyncio.create_task(self._ping_with(message))

    async def _ping_with(self, message: Withdrawable) -> None:
        try:
            await self._ping(message)
        finally:
            message.withdraw()
            self._pinging = None
            self._not_before = asyncio.get_running_loop().time() + TIME_PAUSE * MARGIN
        self.wanted()
