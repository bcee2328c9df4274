"""Fills what a load lacks in one series: asks for it, and for some of what is stored beside it, which has to agree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from ..concurrency.patience import Patience
from ..concurrency.workers import WorkerThreads
from .answers import AnswerReader
from .bars.answer import Answer
from .bars.comparing import Agreement, Comparison
from .bars.frames import Stamps
from .bars.locks import Claim
from .bars.rows import Rows, RowState
from .bars.store import LocalBars
from .bearers import REUSED
from .fetching import ContradictedError, Fetch, Fetcher, OnStep, Sleep, Tally
from .plan.planning import Plan, Request, plan, requests_for
from .plan.segments import Segment, are_apart, closing
from .renewing import Renewer
from .target import Target

FIRST_WAIT = 0.05
"""Seconds after which bars that someone else is fetching are looked for again; longer each time, ..."""

LONGEST_WAIT = 1.0
"""... up to this."""

_DAY = 86_400.0

CONTRADICTIONS = 3
"""How many answers of one load may contradict what is stored before it gives up."""

BOUND, RENEWED, UNSTABLE, UNCOMPARED = "bound", "renewed", "unstable", "uncompared"


class UnclearPricesError(Exception):
    """The provider's prices are not this series', and nobody can tell by what they differ.

    Args:
        answer: What the provider gave.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__("the prices differ")
        self.answer = answer


@dataclass(slots=True, kw_only=True)
class Filler:
    """One load's work on one series.

    Args:
        request: What is wanted.
        target: Of which series.
        fetch: Asks the provider for bars.
        now: The provider's present (UTC).
        clock: The present (seconds since the epoch).
        on_step: Takes note of each step.
        sleep: Waits for so many seconds.
        threads: Those for what blocks.
        timeout: Seconds after which someone who fetches these bars, and does not go on, is no longer waited for.
        put_aside: Takes the bars beneath the series away, which are something else's; called in a thread.
        bind: Takes note that they are the series' own; called in a thread.
        unclear: The answer that has made somebody look again whose prices these are, if one has.
    """

    request: Request
    target: Target
    fetch: Fetch
    now: Callable[[], datetime]
    clock: Callable[[], float]
    on_step: OnStep
    sleep: Sleep
    threads: WorkerThreads
    timeout: float
    put_aside: Callable[[], None]
    bind: Callable[[], None]
    unclear: Answer | None = None
    happened: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    _asked: Stamps = field(default_factory=lambda: np.empty(0, "datetime64[ns]"), init=False)
    _has_moved: bool = field(default=False, init=False)
    _is_refreshed: bool = field(default=False, init=False)
    _claim: Claim | None = field(default=None, init=False)

    def look(self) -> tuple[LocalBars, Plan]:
        """What is at hand, and how things stand with what should be; blocks."""
        asked, now = self.request.asked, self.now()
        # Nothing is later than the provider's present, though that may have been another one.
        local = self.target.read(asked.start, now if asked.end is None else min(asked.end, now))
        request = replace(self.request, refresh=False) if self._is_refreshed else self.request
        return local, plan(request, self.target.verdict, local, now, self.clock())

    async def fill(self, local: LocalBars, todo: Plan) -> tuple[LocalBars, Plan]:
        """Fetch what is missing; while someone else is fetching, and goes on, wait for what that one brings.

        Args:
            local: What :meth:`look` found.
            todo: How it said that things stand.

        Returns:
            The same afterwards.

        Raises:
            UnclearPricesError: The provider's prices are not this series'.
            OtherContractError: Its bars are of another contract.
            ProviderError: Bars could not be had; those that could are saved.
        """
        self._has_moved = self.target.has_moved(local)
        wait, patience = FIRST_WAIT, Patience(self.timeout, asyncio.get_running_loop().time)
        # Each round looks at the files again, with the claim or without: what someone else has fetched meanwhile is
        # there, and if that was enough nobody is asked. The claim is given back before waiting, or nobody could have
        # it.
        while self._has_work(local, todo):
            async with self._claimed(patience) as is_mine:
                local, todo = await self.threads.run(self.look)
                if is_mine:
                    await self._work(local)
                    return await self.threads.run(self.look)
                if local.state.renewing is not None:
                    return local, todo
            self.on_step(0, 0, "waiting for someone else who is fetching these bars")
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        return local, todo

    def _has_work(self, local: LocalBars, todo: Plan) -> bool:
        return not todo.is_complete or local.state.renewing is not None or self._has_moved or self.unclear is not None

    async def _work(self, local: LocalBars) -> None:
        if local.state.renewing is not None and not await self._renewed():
            return
        if self.unclear is not None and not await self._renewed(Agreement.UNCLEAR, self.unclear):
            return
        for _ in range(CONTRADICTIONS):
            try:
                await self._fetch_missing()
            except ContradictedError as error:
                if not await self._resolved(error):
                    return
            else:
                now = datetime.fromtimestamp(self.clock(), UTC)
                await self.threads.run(self.target.remember, now)
                return

    async def _fetch_missing(self) -> None:
        """Ask for what is missing until nothing is; nothing is asked for twice."""
        while requests := await self.threads.run(self._requests):
            await self._fetcher(self._save).run(requests)
            if last := await self.threads.run(self._closing, requests):
                await self._fetcher(self._save).run(last)
            self._asked = np.union1d(self._asked, np.concatenate([request.stamps for request in requests]))
            self._has_moved = False

    def _requests(self) -> Sequence[Segment]:
        local, todo = self.look()
        todo.outlook.due[np.isin(todo.expected.stamps, self._asked)] = False
        now = self.now()
        stored = self.target.read(end=now).rows
        compared, is_intraday = local.state.compared, self.request.timeframe.is_intraday
        is_day_old = compared is None or abs(self.clock() - compared.timestamp()) >= _DAY
        requests = requests_for(
            todo, self.request, stored, now, compare=self._has_moved, earlier=is_intraday and is_day_old
        )
        if requests:
            self.on_step(0, len(requests), f"{int(local.rows.has_bar.sum())} bars at hand")
        return requests

    def _closing(self, requests: Sequence[Segment]) -> Sequence[Segment]:
        if not are_apart(requests):
            return []
        stored = self.target.read().rows.of(RowState.BAR).stamps
        return closing(requests, stored, self.request.timeframe, self.now())

    async def _resolved(self, error: ContradictedError) -> bool:
        """Do what an answer that contradicts what is stored calls for; tells whether to go on."""
        agreement = error.comparison.agreement
        if agreement is Agreement.UNSEEN:
            return False
        if self.target.beneath is not None and agreement is Agreement.UNCLEAR:
            await self.threads.run(self.put_aside)
            self._tell(REUSED)
            return True
        if self.target.beneath is not None:
            await self.threads.run(self._take_in, self.target.beneath)
        elif agreement is Agreement.UNCLEAR:
            raise UnclearPricesError(error.answer)
        return await self._renewed(agreement, error.answer)

    async def _renewed(self, why: str = "", answer: Answer | None = None) -> bool:
        """Begin a renewal, or go on with one; tells whether the series is in order then."""
        target, self.unclear = self.target, None
        renewer = Renewer(
            request=self.request,
            series=target.series,
            asset_type=target.asset_type,
            calendar=target.calendar(self.request),
            fetcher=self._fetcher,
            on_step=self.on_step,
            threads=self.threads,
            now=self.now,
            clock=self.clock,
        )
        is_in_order = (answer is None or await renewer.begin(why, answer)) and await renewer.go_on()
        if not is_in_order:
            self._tell(UNSTABLE)
            return False
        if (await self.threads.run(target.series.state)).renewing is not None:
            return False
        self._is_refreshed = True
        self._tell(RENEWED)
        return True

    def _fetcher(self, save: Callable[[Answer], Comparison]) -> Fetcher:
        target, request = self.target, self.request
        reader = AnswerReader(
            request.timeframe,
            target.calendar(request),
            target.bearer.permanent_id,
            request.session,
            self.now(),
            self.clock(),
        )
        return Fetcher(self.fetch, reader.read, save, self.on_step, self.sleep, self.threads, self.tally, self._goes_on)

    def _save(self, answer: Answer) -> Comparison:
        target = self.target
        comparison = target.series.save(answer, target.asset_type, target.beneath)
        if target.beneath is not None and comparison.agreement.holds and comparison.compared:
            self._was_bound()
        return comparison

    def _take_in(self, beneath: Rows) -> None:
        """Make the bars beneath the series its own, although they are on another basis: what is renewed is theirs."""
        self.target.series.take_in(beneath)
        self._was_bound()

    def _was_bound(self) -> None:
        self.target.beneath = None
        self.bind()
        self._tell(BOUND)

    def _tell(self, what: str) -> None:
        if what not in self.happened:
            self.happened.append(what)

    @asynccontextmanager
    async def _claimed(self, patience: Patience) -> AsyncIterator[bool]:
        trying = asyncio.ensure_future(self.threads.run(self.target.series.claim, patience))
        try:
            self._claim = await asyncio.shield(trying)
        except asyncio.CancelledError:
            trying.add_done_callback(_release)  # the thread goes on
            raise
        try:
            yield self._claim is not None
        finally:
            if self._claim is not None:
                self._claim.release()
                self._claim = None

    def _goes_on(self, quiet: float) -> None:
        if self._claim is not None:
            self._claim.tell(quiet)


def _release(trying: asyncio.Future[Claim | None]) -> None:
    if not trying.cancelled() and trying.exception() is None and (claim := trying.result()) is not None:
        claim.release()
