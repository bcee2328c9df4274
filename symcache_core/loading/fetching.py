"""Fetches the bars of several segments at a time: tries again where that helps, and saves each as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import pandas as pd
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from ..concurrency.tasks import call
from ..errors import ProviderError, may_pass
from .bars.frames import conform, labels
from .plan.gaps import Segment

LONGEST_PAUSE = 30.0
"""Seconds; a provider that asks for more time is not waited for."""

ATTEMPTS = 3
"""How often a segment is asked for; a host service does not try again by itself, so that the two do not multiply."""

SEGMENTS_AT_ONCE = 4
"""How many segments are under way at the same time."""

_BACK_OFF = wait_random_exponential(multiplier=0.5, max=10)

Fetch = Callable[[datetime, datetime], Awaitable[pd.DataFrame]]
Save = Callable[[pd.DataFrame, pd.DatetimeIndex], None]
OnStep = Callable[[int, int, str], object]
Sleep = Callable[[float], Awaitable[None]]


class Fetcher:
    """The requests of one load.

    Args:
        timeframe: The name of the bars' length.
        fetch: Asks the provider for the bars between two moments (UTC), both included.
        save: Keeps bars, and the stamps of those that the provider does not have; called in a thread.
        on_step: Takes note of each step, of how many, and what it was.
        sleep: Waits for so many seconds before another attempt.
    """

    def __init__(self, timeframe: str, fetch: Fetch, save: Save, on_step: OnStep, sleep: Sleep) -> None:
        self._timeframe = timeframe
        self._fetch = fetch
        self._save = save
        self._on_step = on_step
        self._sleep = sleep
        self.fetched = 0
        self.requests = 0

    async def run(self, requests: Sequence[Segment]) -> None:
        """Fetch and save all of them; one that fails loses none of the others.

        Once the provider is out of reach, no further ones are begun.

        Raises:
            ProviderError: One of them failed; the first one's error.
        """
        # The workers share one iterator, so that the most urgent segment is always begun next, whoever is free.
        todo, errors = iter(requests), list[Exception]()
        done = iter(range(1, len(requests) + 1))

        async def work() -> None:
            for segment in todo:
                try:
                    given, bars = await self._try(segment)
                    await asyncio.to_thread(self._save, bars, segment.stamps.difference(given))
                    self.fetched += len(bars)
                    what = f"{len(bars)} bars from {segment.start:%F} to {segment.end:%F}"
                    self._on_step(next(done), len(requests), what)
                except Exception as error:  # noqa: BLE001  # the first one goes out below
                    errors.append(error)
                if not all(map(_is_of_one_segment, errors)):
                    return

        async with asyncio.TaskGroup() as group:
            for _ in range(min(SEGMENTS_AT_ONCE, len(requests))):
                group.create_task(work())
        if errors:
            raise errors[0]

    async def _try(self, segment: Segment) -> tuple[pd.DatetimeIndex, pd.DataFrame]:
        """The stamps of what the provider gave for a segment, and those of the bars that are sound."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(_is_worth_another_attempt),
            stop=stop_after_attempt(ATTEMPTS),
            wait=_wait,
            sleep=self._sleep,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                self.requests += 1
                asked = await call(self._fetch(segment.start, segment.end))
                if asked.cancelled():
                    raise ProviderError("the provider cancelled its own call")
                answer = asked.result()
        # A provider may give more than was asked for, such as the unfinished bar of today.
        first, last = segment.stamps[[0, -1]]
        return labels(answer, self._timeframe), conform(answer, self._timeframe).loc[first:last]


def _is_of_one_segment(error: Exception) -> bool:
    """Whether another segment may fare better: the provider is there, and what came could be saved."""
    return isinstance(error, ProviderError) and not may_pass(error)


def _is_worth_another_attempt(error: BaseException) -> bool:
    if not may_pass(error):
        return False
    pause = _asked_for(error)
    return pause is None or 0 <= pause <= LONGEST_PAUSE


def _wait(state: RetryCallState) -> float:
    """As long as the provider asks for; else a little, and longer each time."""
    pause = _asked_for(state.outcome.exception() if state.outcome is not None else None)
    return pause if pause is not None else _BACK_OFF(state)


def _asked_for(error: BaseException | None) -> float | None:
    return error.retry_after if isinstance(error, ProviderError) else None
