"""The steps of a load: look the symbol up, find its series, fetch what that lacks, give back all."""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pandas as pd

from ..concurrency.workers import WorkerThreads
from ..errors import ConfigurationError, ProviderError, SymbolNotFoundError
from ..models import Lookup, ProviderAnswer, ValidationResult
from ..moments import as_utc
from ..protocols import Clock, ExternalDataProvider, SymbolCache
from ..symbols import Instrument
from .answers import OtherContractError
from .bars.answer import Answer
from .bars.store import BarStore, LocalBars
from .cancellation import Cancellable, run_cancellable
from .fetching import Fetch, OnStep, Sleep
from .filling import UNCOMPARED, Filler, UnclearPricesError
from .finding import Finder
from .identity import permanent_identity
from .plan.planning import Plan, Request, request_for
from .plan.ranges import DateLike, Mode, Session
from .report import LoadReport, Progress, ProgressCallback
from .reporting import report_of_load, report_of_series
from .signatures import takes_keyword
from .target import Target

log = logging.getLogger("symcache")

TIMEOUT = 60.0
"""Seconds, unless a setting says otherwise."""

IDENTITIES = 3
"""How many series one load looks at, while the provider says that its bars are another one's."""


class DataLoadingOrchestrator:
    """Loads bars over a symbol cache, a provider and a store of bars; it keeps nothing of a call.

    Args:
        symbol_cache: Answers whether a symbol is valid and since when it has data.
        external_provider: Is asked for what neither the cache nor the store has.
        bar_store: Where bars are kept.
        now: The provider's present (UTC), in any time zone; bars that end later are not expected.
        sleep: Waits for so many seconds before a request is tried again.
        clock: Tells the time in seconds since the epoch, by which answers age and bars become final.
        threads: Those for what blocks; its own, which go with it, when left out.
        timeout: Seconds after which someone else who loads the same bars, and does not go on, is no longer waited for.
    """

    def __init__(
        self,
        symbol_cache: SymbolCache,
        external_provider: ExternalDataProvider,
        bar_store: BarStore,
        now: Callable[[], datetime],
        sleep: Sleep = asyncio.sleep,
        clock: Clock = time.time,
        timeout: float = TIMEOUT,
        *,
        threads: WorkerThreads | None = None,
    ) -> None:
        self._symbol_cache = symbol_cache
        self._external_provider = external_provider
        self._bar_store = bar_store
        self._now = now
        self._sleep = sleep
        self._clock = clock
        self._timeout = timeout
        self._finder = Finder(bar_store, clock)
        self._threads = WorkerThreads("symcache-loading") if threads is None else threads

    async def load_with_fallback(
        self,
        symbol: str | None = None,
        timeframe: str = "1d",
        start_date: DateLike | None = None,
        end_date: DateLike | None = None,
        mode: Mode = "tail",
        cancellation_token: Cancellable | None = None,
        progress: ProgressCallback | None = None,
        *,
        session: Session | None = None,
        refresh: bool = False,
        series: str | None = None,
    ) -> pd.DataFrame:
        """Load the bars of a symbol, asking the provider only for those that are neither at hand nor known not to be.

        Args:
            symbol: As people write it.
            timeframe: The length of a bar: 1m, 5m, 15m, 30m, 1h, 2h, 3h, 4h, 1d, 1w or 1M.
            start_date: Where to start, in place of what the mode says; a head timestamp that is later is doubted.
            end_date: Where to end, included, in place of what the mode says.
            mode: ``tail`` looks for bars after the local ones, ``backfill`` before them, ``full`` everywhere, ``local``
                nowhere: then nobody is asked for anything.
            cancellation_token: Anything with ``cancelled()``; ends the load within 100 ms, and so does the
                cancellation of the task that awaits it. What was fetched by then is saved.
            progress: Is called when the bars at hand are known, and after each request for others.
            session: ``regular`` or ``extended`` hours; those that the provider usually gives when left out.
            refresh: Whether bars at hand are asked for again and compared, too.
            series: The id of a series, as a report has it, in place of a symbol; nobody is asked for anything.

        Returns:
            All bars at hand, local and fetched, within the explicit dates, all of one instrument and on one basis:
            float64 columns open, high, low, close, volume, and a rising UTC index. :meth:`LoadReport.of` reads its
            ``attrs``.

        Raises:
            SymbolNotFoundError: The provider says that there is no such instrument.
            InvalidSymbolError: The text cannot be a symbol.
            ConfigurationError: The timeframe, the mode, the session, the series or a date is not usable.
            LoadCancelledError: The token was cancelled.
            ProviderError: Bars could not be had; those that could are saved.
            BackendError: Bars could not be read or saved.
        """
        if (symbol is None) == (series is None):
            raise ConfigurationError("name a symbol, or with series= the series that is to be read")
        if symbol is None:
            assert series is not None, "one of them is named"
            request = request_for("-", timeframe, start_date, end_date, "local", session)
            return await self._threads.run(self._read_series, series, request)
        request = request_for(symbol, timeframe, start_date, end_date, mode, session, refresh=refresh)
        return await run_cancellable(
            self._load(symbol, request, _on_step(symbol, timeframe, progress)), cancellation_token
        )

    def _read_series(self, series: str, request: Request) -> pd.DataFrame:
        began = time.perf_counter()
        local = self._finder.by_id(series, request)
        report = report_of_series(series, request, local, self._bar_store.names)
        return replace(report, seconds=time.perf_counter() - began).attached(local.bars)

    async def _load(self, spelling: str, request: Request, on_step: OnStep) -> pd.DataFrame:
        began = time.perf_counter()
        lookup = await self._look_up(spelling, request)
        verdict = await self._remembered(spelling) if lookup is None else lookup.result
        filler, local, todo = await self._threads.run(self._begin, request, verdict, on_step)
        at_hand = todo.outlook.at_hand
        if lookup is not None and todo.span is None:
            raise lookup.error or ProviderError(
                f"{request.instrument}: the provider does not say when its {request.timeframe.name} bars begin; "
                "give start_date"
            )
        if lookup is not None:
            filler, local, todo = await self._fill(spelling, request, filler, local, todo)
        if not filler.tally.requests:
            on_step(0, 0, f"{int(local.rows.has_bar.sum())} bars at hand")
        report = self._report(request, lookup, filler, local, todo)
        return replace(report, local=at_hand, seconds=time.perf_counter() - began).attached(local.bars)

    async def _look_up(self, spelling: str, request: Request) -> Lookup | None:
        if request.mode == "local":
            return None
        validate = self._external_provider.validate_and_get_metadata
        lookup = await self._symbol_cache.get_or_validate(spelling, [request.timeframe.name], validate)
        if not lookup.result.is_valid:
            raise _not_found(request.instrument, lookup)
        return lookup

    async def _remembered(self, spelling: str) -> ValidationResult | None:
        """What the cache knows, for want of asking: which series it is, by which calendar, and where the bars begin."""
        info = await self._threads.run(self._symbol_cache.peek, spelling)
        return None if info is None else info.validation_result

    async def _fill(
        self, spelling: str, request: Request, filler: Filler, local: LocalBars, todo: Plan
    ) -> tuple[Filler, LocalBars, Plan]:
        """Fill one series, or another one if the provider says that its bars are that one's."""
        for _ in range(IDENTITIES):
            try:
                local, todo = await filler.fill(local, todo)
            except OtherContractError as error:
                verdict = await self._validated_anew(spelling, request, error.found)
                begun = await self._threads.run(self._begin, request, verdict, filler.on_step, filler)
            except UnclearPricesError as error:
                verdict = await self._validated_anew(spelling, request)
                begun = await self._threads.run(self._begin, request, verdict, filler.on_step, filler, error.answer)
            except ProviderError as error:
                raise await self._threads.run(_with_what_is_at_hand, error, filler) from error
            else:
                return filler, local, todo
            filler, local, todo = begun
        raise ProviderError(f"{request.instrument}: the provider says each time that its bars are another contract's")

    async def _validated_anew(self, spelling: str, request: Request, found: str | None = None) -> ValidationResult:
        """What the provider says now, kept in the cache; its old answer stays if it does not answer.

        Args:
            spelling: The symbol as the caller wrote it.
            request: What is wanted.
            found: The permanent id of the contract that its bars are of.
        """
        symbol, timeframe = str(request.instrument), request.timeframe.name
        answer = await self._external_provider.validate_and_get_metadata(symbol, [timeframe])
        verdict = ProviderAnswer.of(answer).result
        info = await self._threads.run(self._symbol_cache.store, spelling, answer)
        if not verdict.is_valid:
            raise SymbolNotFoundError(
                f"{symbol}: the bars were not those of the contract that it was, and now the provider says: "
                f"{verdict.error_message or 'there is no such instrument'}",
                suggested_symbol=verdict.suggested_symbol,
            )
        now = permanent_identity(verdict.contract_info)
        if found is not None and now != found:
            raise ProviderError(
                f"{symbol}: the provider says that it is contract {now}, and gives bars of contract {found}; none of "
                "them is stored"
            )
        return info.validation_result

    def _begin(
        self,
        request: Request,
        verdict: ValidationResult | None,
        on_step: OnStep,
        before: Filler | None = None,
        unclear: Answer | None = None,
    ) -> tuple[Filler, LocalBars, Plan]:
        """What fills the series that a symbol stands for now, and what that finds; blocks.

        Args:
            request: What is wanted.
            verdict: What is known of the symbol.
            on_step: Takes note of each step.
            before: What has filled the series that it stood for a moment ago.
            unclear: What has made somebody look again.
        """
        finder, target = self._finder, self._finder.find(request, verdict)
        if unclear is not None and before is not None:
            if target.bearer.identity != before.target.bearer.identity:
                unclear = None
            elif target.bearer.permanent_id is None and target.has_moved(target.read()):
                target, unclear = finder.another(request, target), None
        if request.mode != "local":
            target.bearer = replace(target.bearer, since=finder.saw(request, target.bearer))
        filler = Filler(
            request=request,
            target=target,
            fetch=self._fetch(request, target),
            now=self._present,
            clock=self._clock,
            on_step=on_step,
            sleep=self._sleep,
            threads=self._threads,
            timeout=self._timeout,
            put_aside=lambda: finder.put_aside(request, target),
            bind=lambda: finder.bind(request, target),
            unclear=unclear,
        )
        if before is not None:
            filler.happened, filler.tally = before.happened, before.tally
        filler.happened.extend(what for what in target.bearer.happened if what not in filler.happened)
        return filler, *filler.look()

    def _fetch(self, request: Request, target: Target) -> Fetch:
        symbol, timeframe = str(request.instrument), request.timeframe.name
        asset_type = (target.contract.asset_type if target.contract is not None else "") or None
        fetch = self._external_provider.fetch_historical_data
        if request.session is None:
            return lambda start, end: fetch(symbol, timeframe, start, end, asset_type)
        if not takes_keyword(fetch, "session"):
            raise ConfigurationError(
                f"session {request.session!r}: this provider cannot choose one (its fetch_historical_data takes no "
                "session)"
            )
        hours: dict[str, Any] = {"session": request.session}  # which is no argument of every provider's
        return lambda start, end: fetch(symbol, timeframe, start, end, asset_type, **hours)

    def _present(self) -> datetime:
        now = self._now()
        if not isinstance(now, datetime) or pd.isna(now):
            raise ProviderError(f"the provider's as_of() gave {now!r}, which is no time")
        return as_utc(now)

    def _report(
        self, request: Request, lookup: Lookup | None, filler: Filler, local: LocalBars, todo: Plan
    ) -> LoadReport:
        target = filler.target
        series = self._finder.beneath_id(request, target) if target.beneath is not None else target.bearer.identity
        if todo.clamped_to is not None:
            first = todo.clamped_to.isoformat()
            log.info("%s %s has no data before %s", request.instrument, request.timeframe.name, first)
        report = report_of_load(request, lookup, target, local, todo, self._bar_store.provider)
        return replace(
            report,
            series=f"{self._bar_store.provider}:{series}",
            happened=[*filler.happened, *([UNCOMPARED] if local.state.is_uncompared else [])],
            fetched=filler.tally.fetched,
            requests=filler.tally.requests,
            revised=filler.tally.revised,
        )


def _with_what_is_at_hand(error: ProviderError, filler: Filler) -> ProviderError:
    """The same error, which says what there is all the same."""
    count = int(filler.look()[0].rows.has_bar.sum())
    if not count:
        return error
    said = copy.copy(error)
    said.args = (f"{error}; {count} bars are at hand: load them with mode 'local'", *error.args[1:])
    return said


def _on_step(symbol: str, timeframe: str, progress: ProgressCallback | None) -> OnStep:
    if progress is None:
        return lambda _step, _of, _what: None
    return lambda step, of, what: progress(Progress(symbol, timeframe, step, of, what))


def _not_found(instrument: Instrument, lookup: Lookup) -> SymbolNotFoundError:
    message = lookup.result.error_message or f"there is no instrument {instrument}"
    suggestion = lookup.result.suggested_symbol
    if suggestion and suggestion not in message:
        message = f"{message}; did you mean {suggestion!r}?"
    if not lookup.info.confirmed:
        message = f"{message} (unconfirmed: a provider that is out of reach may say the same)"
    return SymbolNotFoundError(message, suggested_symbol=suggestion)
