"""The steps of a load: look the symbol up, see which bars are missing, fetch those, give back all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

import pandas as pd

from ..errors import ProviderError, SymbolNotFoundError
from ..models import REPLAY, Lookup, ValidationResult
from ..protocols import ExternalDataProvider, SymbolCache
from ..symbols import Instrument
from .bars.files import Claim
from .bars.store import BarStore, LocalBars
from .cancellation import Cancellable, run_cancellable
from .fetching import Fetcher, OnStep, Sleep
from .plan.planning import Plan, Request, plan, request_for
from .plan.ranges import DateLike, DateRange, Mode
from .report import LoadReport, Progress, ProgressCallback

log = logging.getLogger("symcache")

FIRST_WAIT = 0.05
"""Seconds after which bars that someone else is fetching are looked for again; longer each time, ..."""

LONGEST_WAIT = 1.0
"""... up to this."""


class DataLoadingOrchestrator:
    """Loads bars over a symbol cache, a provider and a store of bars; it keeps nothing of a call.

    Args:
        symbol_cache: Answers whether a symbol is valid and since when it has data.
        external_provider: Is asked for what neither the cache nor the store has.
        bar_store: Where bars are kept.
        now: The provider's present (UTC); bars that end later are not expected.
        sleep: Waits for so many seconds before a request is tried again.
    """

    def __init__(
        self,
        symbol_cache: SymbolCache,
        external_provider: ExternalDataProvider,
        bar_store: BarStore,
        now: Callable[[], datetime],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._symbol_cache = symbol_cache
        self._external_provider = external_provider
        self._bar_store = bar_store
        self._now = now
        self._sleep = sleep

    async def load_with_fallback(
        self,
        symbol: str,
        timeframe: str = "1d",
        start_date: DateLike | None = None,
        end_date: DateLike | None = None,
        mode: Mode = "tail",
        cancellation_token: Cancellable | None = None,
        progress: ProgressCallback | None = None,
    ) -> pd.DataFrame:
        """Load the bars of a symbol, asking the provider only for those that are neither at hand nor known not to be.

        Args:
            symbol: As people write it.
            timeframe: The length of a bar: 1m, 5m, 15m, 30m, 1h, 2h, 4h, 1d or 1w.
            start_date: Where to start, in place of what the mode says; never before the first bar there is.
            end_date: Where to end, included, in place of what the mode says.
            mode: ``tail`` looks for bars after the local ones, ``backfill`` before them, ``full`` everywhere, ``local``
                nowhere: then nobody is asked for anything.
            cancellation_token: Anything with ``cancelled()``; ends the load within 100 ms, and so does the
                cancellation of the task that awaits it. What was fetched by then is saved.
            progress: Is called when the bars at hand are known, and after each request for others.

        Returns:
            All bars at hand, local and fetched, within the explicit dates: float64 columns open, high, low, close,
            volume, and a rising UTC index. :meth:`LoadReport.of` reads its ``attrs``.

        Raises:
            SymbolNotFoundError: The provider says that there is no such instrument.
            InvalidSymbolError: The text cannot be a symbol.
            ConfigurationError: The timeframe, the mode or a date is not usable.
            LoadCancelledError: The token was cancelled.
            ProviderError: Bars could not be had; those that could are saved.
            BackendError: Bars could not be read or saved.
        """
        request = request_for(symbol, timeframe, start_date, end_date, mode)
        return await run_cancellable(
            self._load(symbol, request, _on_step(symbol, timeframe, progress)), cancellation_token
        )

    async def _load(self, spelling: str, request: Request, on_step: OnStep) -> pd.DataFrame:
        began = time.perf_counter()
        lookup = await self._look_up(spelling, request)
        verdict = await self._remembered(spelling) if lookup is None else lookup.result
        local, todo = await asyncio.to_thread(self._look, request, verdict)
        if lookup is not None and todo.span is None:
            raise lookup.error or ProviderError(
                f"{request.instrument}: the provider does not say when its {request.timeframe.name} bars begin; "
                "give start_date"
            )
        fetcher = self._fetcher(request, verdict, on_step)
        if todo.requests:
            local, todo = await self._fill(request, verdict, todo, fetcher, on_step)
        if not fetcher.requests:
            on_step(0, 0, f"{len(local.bars)} bars at hand")
        report = replace(
            self._report(request, lookup, todo, local),
            fetched=fetcher.fetched,
            requests=fetcher.requests,
            seconds=time.perf_counter() - began,
        )
        return report.attached(local.bars)

    async def _look_up(self, spelling: str, request: Request) -> Lookup | None:
        if request.mode == "local":
            return None
        validate = self._external_provider.validate_and_get_metadata
        lookup = await self._symbol_cache.get_or_validate(spelling, [request.timeframe.name], validate)
        if not lookup.result.is_valid:
            raise _not_found(request.instrument, lookup)
        return lookup

    async def _remembered(self, spelling: str) -> ValidationResult | None:
        """What the cache knows, for want of asking: the calendar, and where the bars begin."""
        info = await asyncio.to_thread(self._symbol_cache.peek, spelling)
        return None if info is None else info.validation_result

    def _look(self, request: Request, verdict: ValidationResult | None) -> tuple[LocalBars, Plan]:
        asked = request.asked
        local = self._bar_store.read(str(request.instrument), request.timeframe.name, asked.start, asked.end)
        return local, plan(request, verdict, local, self._now())

    async def _fill(
        self, request: Request, verdict: ValidationResult | None, todo: Plan, fetcher: Fetcher, on_step: OnStep
    ) -> tuple[LocalBars, Plan]:
        """Fetch what is missing; while someone else is fetching, wait for what that one brings."""
        wait = FIRST_WAIT
        # Each round looks at the files again, with the claim or without: what someone else has fetched meanwhile is
        # there, and if that was enough nobody is asked. The claim is given back before waiting, or nobody could have
        # it.
        while True:
            async with self._claimed(request) as is_mine:
                local, todo = await asyncio.to_thread(self._look, request, verdict)
                if is_mine and todo.requests:
                    on_step(0, len(todo.requests), f"{len(local.bars)} bars at hand")
                    await fetcher.run(todo.requests)
                    local, _ = await asyncio.to_thread(self._look, request, verdict)
                if is_mine or not todo.requests:
                    return local, todo
            on_step(0, len(todo.requests), "waiting for someone else who is fetching these bars")
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    @asynccontextmanager
    async def _claimed(self, request: Request) -> AsyncIterator[bool]:
        symbol, timeframe = str(request.instrument), request.timeframe.name
        trying = asyncio.ensure_future(asyncio.to_thread(self._bar_store.claim, symbol, timeframe))
        try:
            claim = await asyncio.shield(trying)
        except asyncio.CancelledError:
            trying.add_done_callback(_release)  # the thread goes on
            raise
        try:
            yield claim is not None
        finally:
            if claim is not None:
                claim.release()

    def _fetcher(self, request: Request, verdict: ValidationResult | None, on_step: OnStep) -> Fetcher:
        symbol, timeframe = str(request.instrument), request.timeframe.name
        contract = None if verdict is None else verdict.contract_info
        asset_type = (contract.asset_type if contract is not None else "") or None

        async def fetch(start: datetime, end: datetime) -> pd.DataFrame:
            return await self._external_provider.fetch_historical_data(symbol, timeframe, start, end, asset_type)

        def save(bars: pd.DataFrame, absent: pd.DatetimeIndex) -> None:
            self._bar_store.merge(symbol, timeframe, bars, empty=absent, asked=self._now())

        return Fetcher(timeframe, fetch, save, on_step, self._sleep)

    def _report(self, request: Request, lookup: Lookup | None, todo: Plan, local: LocalBars) -> LoadReport:
        if todo.clamped_to is not None:
            first = todo.clamped_to.isoformat()
            log.info("%s %s has no data before %s", request.instrument, request.timeframe.name, first)
        without_data, missing = _lacking(todo, local)
        provider, span = self._bar_store.provider, todo.span or DateRange()
        return LoadReport(
            symbol=str(request.instrument),
            timeframe=request.timeframe.name,
            provider=provider,
            replay=provider == REPLAY,
            mode=request.mode,
            outcome=None if lookup is None else str(lookup.outcome),
            verdict_age=None if lookup is None else lookup.age,
            lookup_error=None if lookup is None or lookup.error is None else str(lookup.error),
            start=_iso(span.start),
            end=_iso(span.end),
            clamped_to=_iso(todo.clamped_to),
            local=todo.at_hand,
            without_data=without_data,
            missing=missing,
        )


def _lacking(todo: Plan, local: LocalBars) -> tuple[int, int]:
    """How many of the expected bars the provider does not have, and how many it was not asked for."""
    if todo.at_hand == len(todo.expected):
        return 0, 0
    present = todo.expected.isin(pd.DatetimeIndex(local.bars.index))
    absent = todo.expected.isin(pd.DatetimeIndex(local.empty.index)) & ~present
    return int(absent.sum()), int((~present & ~absent).sum())


def _on_step(symbol: str, timeframe: str, progress: ProgressCallback | None) -> OnStep:
    if progress is None:
        return lambda _step, _of, _what: None
    return lambda step, of, what: progress(Progress(symbol, timeframe, step, of, what))


def _release(trying: asyncio.Future[Claim | None]) -> None:
    if not trying.cancelled() and trying.exception() is None and (claim := trying.result()) is not None:
        claim.release()


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _not_found(instrument: Instrument, lookup: Lookup) -> SymbolNotFoundError:
    message = lookup.result.error_message or f"there is no instrument {instrument}"
    suggestion = lookup.result.suggested_symbol
    if suggestion and suggestion not in message:
        message = f"{message}; did you mean {suggestion!r}?"
    return SymbolNotFoundError(message, suggested_symbol=suggestion)
