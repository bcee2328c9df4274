"""How long messages take from a client to the simulated TWS: over a slow network, or to a busy machine."""

import asyncio
import random


class HeavyTail:
    """Delays of which most are short and a few very long (a Pareto distribution), the same ones for each seed.

    Args:
        seed: Which ones.
        typical: Seconds that half of them are shorter than.
        longest: Seconds that none is longer than.
    """

    def __init__(self, seed, *, typical=0.002, longest=5.0):
        self._random = random.Random(seed)
        self._typical = typical
        self._longest = longest

    def __call__(self):
        return min(self._longest, self._typical * (self._random.paretovariate(1.0) - 1.0))


class Line:
    """One socket's messages on their way: none overtakes another, so a late one brings those behind it in a bunch.

    Args:
        delays: Gives the seconds that the next message takes; ``None`` if none takes any.
        arrive: Is called with each message when it is there.
    """

    def __init__(self, delays, arrive):
        self._delays = delays
        self._arrive = arrive
        self._last = 0.0
        self._under_way = None

    def carry(self, message):
        """Let a message arrive, at once or later."""
        if self._delays is None:
            self._arrive(message)
            return
        if self._under_way is None:
            self._messages = asyncio.Queue()
            self._under_way = asyncio.create_task(self._deliver())
        self._last = max(self._last, asyncio.get_running_loop().time() + self._delays())
        self._messages.put_nowait((self._last, message))

    def cut(self):
        """Lose whatever is under way."""
        if self._under_way is not None:
            self._under_way.cancel()

    async def _deliver(self):
        while True:
            when, message = await self._messages.get()
            await asyncio.sleep(when - asyncio.get_running_loop().time())
            self._arrive(message)
