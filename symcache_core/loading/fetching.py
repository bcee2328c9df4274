"""Fetches the bars of several segments at a time: tries again where that helps, and saves each in its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pandas as pd
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from ..concurrency.tasks import call
from ..concurrency.workers import WorkerThreads
from ..errors import BackendError, ProviderError, ProviderNoDataError, ProviderTimeoutError, may_pass
from .bars.answer import Answer
from .bars.comparing import Comparison
from .plan.segments import Segment

LONGEST_PAUSE = 30.0
"""Seconds; a provider that asks for more time is not waited for."""

ATTEMPTS = 3
"""How often a segment is asked for; a host service does not try again by itself, so that the two do not multiply."""

SEGMENTS_AT_ONCE = 4
"""How many segments are under way at the same time."""

_BACK_OFF = wait_random_exponential(multiplier=0.5, max=10)

Fetch = Callable[[datetime, datetime], Awaitable[pd.DataFrame]]
Read = Callable[[Segment, pd.DataFrame | ProviderNoDataError], Answer]
Save = Callable[[Answer], Comparison]
OnStep = Callable[[int, int, str], object]
Sleep = Callable[[float], Awaitable[None]]
GoesOn = Callable[[float], object]


class ContradictedError(Exception):
    """An answer does not agree with what is stored; it is not saved.

    Args:
        answer: The answer.
        comparison: What it says.
    """

    def __init__(self, answer: Answer, comparison: Comparison) -> None:
        super().__init__(comparison.agreement)
        self.answer = answer
        self.comparison = comparison


@dataclass(slots=True)
class Tally:
    """What the requests of one load have come to.

    Args:
        requests: How many there were.
        fetched: How many bars they brought that were not there.
        revised: How many bars were there, and are others now.
    """

    requests: int = 0
    fetched: int = 0
    revised: int = 0


def _tell_nobody(_quiet: float) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Fetcher:
    """The requests of one load.

    Args:
        fetch: Asks the provider for the bars between two moments (UTC), both included.
        read: Makes of its answer to a segment, or of a failure that may have meant that there is nothing, what is to
            be saved; called in a thread.
        save: Keeps that, if it agrees with what is stored; called in a thread.
        on_step: Takes note of each step, of how many, and what it was.
        sleep: Waits for so many seconds before another attempt.
        threads: Those in which ``read`` and ``save`` are called.
        tally: Counts.
        goes_on: Is told, in a thread, of each request and each answer, and for how many seconds there is a pause.
    """

    fetch: Fetch
    read: Read
    save: Save
    on_step: OnStep
    sleep: Sleep
    threads: WorkerThreads
    tally: Tally = field(default_factory=Tally)
    goes_on: GoesOn = _tell_nobody

    async def run(self, requests: Sequence[Segment]) -> None:
        """Fetch and save all of them; one that fails loses none of the others.

        They are saved in their order, so that each can be compared with its neighbour; and before the first one, if it
        is a seam, no other is begun. Once the provider is out of reach, no further ones are begun.

        Raises:
            ContradictedError: An answer does not agree with what is stored; those before it are saved.
            ProviderError: One of them failed; the first one's error.
        """
        seam = 1 if requests and requests[0].is_seam else 0
        count = len(requests)
        for some, done in ((requests[:seam], 0), (requests[seam:], seam)):
            await _Run(self, some, done, count).run()

    async def attempt(self, segment: Segment) -> pd.DataFrame | ProviderNoDataError:
        """What the provider says to one segment, be it that it failed in a way that may have meant "nothing"."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(_is_worth_another_attempt),
            stop=stop_after_attempt(ATTEMPTS),
            wait=_wait,
            sleep=self._pause,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    self.tally.requests += 1
                    self._tell()
                    asked = await call(self.fetch(segment.start, segment.end))
                    if asked.cancelled():
                        raise ProviderError("the provider cancelled its own call")
                    answer = asked.result()
        except ProviderNoDataError as error:
            return error
        self._tell()
        return answer

    async def _pause(self, seconds: float) -> None:
        self._tell(seconds)
        await self.sleep(seconds)

    def _tell(self, quiet: float = 0.0) -> None:
        # Nobody waits for that: a disk may take its time.
        self.threads.begin(self.goes_on, quiet)


class _Run:
    """Some requests that are under way together."""

    def __init__(self, fetcher: Fetcher, requests: Sequence[Segment], done: int, of: int) -> None:
        self._fetcher = fetcher
        self._requests = requests
        self._done, self._of = done, of
        self._errors = list[Exception]()
        # Each waits for the one before it; all share one iterator, so that the most urgent is always begun next.
        self._turns = [asyncio.Event() for _ in requests]
        self._todo = iter(enumerate(requests))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(SEGMENTS_AT_ONCE, len(self._requests))):
                group.create_task(self._work())
        contradictions = (error for error in self._errors if isinstance(error, ContradictedError))
        if error := next(contradictions, None) or next(iter(self._errors), None):
            raise error

    async def _work(self) -> None:
        for number, segment in self._todo:
            try:
                answer = await self._fetcher.attempt(segment)
                if number:
                    await self._turns[number - 1].wait()
                # Where one cannot be written, on a full disk or beside a stopped writer, no other waits for that again.
                if not any(isinstance(error, ContradictedError | BackendError) for error in self._errors):
                    await self._save(segment, answer)
            except Exception as error:  # noqa: BLE001  # the first one goes out at the end
                self._errors.append(error)
            finally:
                self._turns[number].set()
            if not all(map(_is_of_one_segment, self._errors)):
                return

    async def _save(self, segment: Segment, answer: pd.DataFrame | ProviderNoDataError) -> None:
        fetcher = self._fetcher
        read = await fetcher.threads.run(fetcher.read, segment, answer)
        comparison = await fetcher.threads.run(fetcher.save, read)
        if not comparison.agreement.holds:
            raise ContradictedError(read, comparison)
        brought = int(read.rows.has_bar.sum()) - comparison.compared
        fetcher.tally.fetched += brought
        fetcher.tally.revised += comparison.differing
        self._done += 1
        fetcher.on_step(self._done, self._of, f"{brought} bars from {segment.start:%F} to {segment.end:%F}")


def _is_of_one_segment(error: Exception) -> bool:
    """Whether another segment may fare better: the provider is there, and what came could be saved."""
    return isinstance(error, ProviderError) and not may_pass(error)


def _is_worth_another_attempt(error: BaseException) -> bool:
    # One that has timed out has used up its time, and whoever has tried several times need not be made to.
    has_tried = isinstance(error, ProviderTimeoutError) or getattr(error, "was_tried_again", False)
    if has_tried or not may_pass(error):
        return False
    pause = _asked_for(error)
    return pause is None or 0 <= pause <= LONGEST_PAUSE


def _wait(state: RetryCallState) -> float:
    """As long as the provider asks for; else a little, and longer each time."""
    pause = _asked_for(state.outcome.exception() if state.outcome is not None else None)
    return pause if pause is not None else _BACK_OFF(state)


def _asked_for(error: BaseException | None) -> float | None:
    return error.retry_after if isinstance(error, ProviderError) else None
