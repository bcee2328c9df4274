"""Asks for a whole history anew, when the provider has adjusted its prices, so that no two bases stand together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from ..concurrency.workers import WorkerThreads
from .bars.answer import Answer
from .bars.comparing import Agreement, Comparison
from .bars.frames import Stamps
from .bars.moments import moment
from .bars.rows import APART, RowState
from .bars.store import BarSeries
from .calendars import Calendar
from .fetching import ContradictedError, Fetcher, OnStep
from .plan.outlook import Expected
from .plan.planning import Request
from .plan.segments import Segment, are_apart, closing, segments

WHAT = "the provider has adjusted its prices: the history is asked for anew"


@dataclass(frozen=True, slots=True)
class Renewer:
    """Renews one series; its caller has the claim.

    Args:
        request: For which load.
        series: Whose history.
        asset_type: What kind of instrument it is.
        calendar: When it is traded.
        fetcher: Makes a fetcher that saves its answers in a given way.
        on_step: Takes note of each step.
        threads: Those for what blocks.
        now: The provider's present (UTC).
        clock: The present (seconds since the epoch).
    """

    request: Request
    series: BarSeries
    asset_type: str
    calendar: Calendar
    fetcher: Callable[[Callable[[Answer], Comparison]], Fetcher]
    on_step: OnStep
    threads: WorkerThreads
    now: Callable[[], datetime]
    clock: Callable[[], float]

    async def begin(self, why: str, answer: Answer) -> bool:
        """Begin anew with an answer that contradicts what is stored; ``False`` if that has just been done."""
        if not await self.threads.run(self.series.begin_renewal, why, self._present()):
            return False
        await self.threads.run(self._save, replace(answer, is_seam=False))  # there is nothing yet to compare it with
        return True

    async def go_on(self) -> bool:
        """Ask for what the old generation held and the new one has not asked for, and then put it in its place.

        What the provider does not have, or not now, leaves the renewal to a load ten minutes later, or more.

        Returns:
            ``False`` if the provider contradicted it once too often, and it was given up.

        Raises:
            ProviderError: Bars could not be had; those that could are saved.
        """
        left = await self.threads.run(self.series.still_to_renew, self._present())
        while len(left):
            requests = await self.threads.run(self._requests, left)
            if not requests:
                return True
            self.on_step(0, len(requests), WHAT)
            try:
                await self.fetcher(self._save).run(requests)
                if are_apart(requests):
                    stored = (await self.threads.run(self.series.renewed)).of(RowState.BAR).stamps
                    await self.fetcher(self._save).run(closing(requests, stored, self.request.timeframe, self.now()))
            except ContradictedError as error:
                if error.comparison.agreement is Agreement.UNSEEN:
                    return True
                if not await self.begin(error.comparison.agreement, error.answer):
                    return False
            before, left = left, await self.threads.run(self.series.still_to_renew, self._present())
            if len(left) == len(before):
                return True
        await self.threads.run(self.series.end_renewal, self._present())
        return True

    def _requests(self, left: Stamps) -> Sequence[Segment]:
        held = self.series.read().rows
        expected = Expected.of_stamps(held.stamps[held.has_bar])
        renewed = self.series.renewed()
        lately = renewed.stamps[np.abs(moment(self._present()) - renewed.asked) < APART]
        due = np.isin(expected.stamps, left) & ~np.isin(expected.stamps, lately)
        never, stored = np.zeros(len(expected), bool), renewed.of(RowState.BAR).stamps
        now, timeframe = self.now(), self.request.timeframe
        lead = self.calendar.lead(timeframe, now)
        return segments(expected, due, never, stored, timeframe, now, newest_first=True, lead=lead)

    def _save(self, answer: Answer) -> Comparison:
        return self.series.save(answer, self.asset_type)

    def _present(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)
