"""The usual ports of TWS and IB Gateway on a machine: which of them answer where the configured one refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from .advice import PORTS

APART = 300.0
"""Seconds after which they are tried again. Behind one of them may be a TWS that is not ours."""

TIMEOUT = 1.0


class UsualPorts:
    """The others, each tried by opening and closing a connection, and not often.

    Args:
        host: The machine.
        port: The configured port.
        clock: The present, in seconds since 1970.
    """

    def __init__(self, host: str, port: int, clock: Callable[[], float]) -> None:
        self._host, self._clock = host, clock
        self._others = [other for other in PORTS if other != port]
        self._tried: float | None = None
        self._answering: list[int] = []

    async def answering(self) -> list[int]:
        """Those that answer now, or did a moment ago."""
        now = self._clock()
        if self._tried is None or abs(now - self._tried) >= APART:
            answers = await asyncio.gather(*map(self._answers, self._others))
            self._tried = now
            self._answering = [port for port, answered in zip(self._others, answers, strict=True) if answered]
        return self._answering

    def forget(self) -> None:
        """Try them again the next time."""
        self._tried = None

    async def _answers(self, port: int) -> bool:
        with suppress(OSError):
            async with asyncio.timeout(TIMEOUT):
                _reader, writer = await asyncio.open_connection(self._host, port)
            writer.close()
            return True
        return False
