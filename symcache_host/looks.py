"""Looks at the gateway: whoever asks for one while it is under way shares it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from .gateway import Finding

Findings = Sequence[Finding]


class Looks:
    """The looks at one gateway, one after another; how often it may be asked is for the gateway itself to say.

    Args:
        look: Takes one.
    """

    def __init__(self, look: Callable[[], Awaitable[Findings]]) -> None:
        self._look = look
        self._task: asyncio.Task[Findings] | None = None

    async def look(self) -> Findings:
        """What a look finds; whoever stops waiting for it stops it for nobody else."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._take())
        task = self._task
        await asyncio.wait({task})
        return task.result()

    async def aclose(self) -> None:
        """Give up the one that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _take(self) -> Findings:
        return await self._look()
