"""The steps of a load: look the symbol up, see which bars are missing, fetch those, give back all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import chain

import pandas as pd

from ..errors import ConfigurationError, SymbolNotFoundError
from ..models import Lookup
from ..protocols import ExternalDataProvider, SymbolCache
from ..symbols import Instrument
from .bar_store import BarStore
from .bars import conform
from .calendars import calendar_name, completed_sessions
from .cancellation import Cancellable, raise_if_cancelled, run_cancellable
from .gaps import missing_runs
from .progress import Progress, ProgressCallback
from .ranges import DateLike, DateRange, Mode, check_mode, resolve
from .segments import Segment, longest_request, segments

log = logging.getLogger("symcache")


@dataclass(frozen=True, slots=True)
class _Request:
    """What one call asked for, and what it was found to be about."""

    instrument: Instrument
    timeframe: str
    token: Cancellable | None
    progress: ProgressCallback | None

    @property
    def symbol(self) -> str:
        return str(self.instrument)

    def tell(self, step: int, of: int, what: str) -> None:
        if self.progress is not None:
            self.progress(Progress(step, of, f"{self.symbol} {self.timeframe}: {what}"))


class DataLoadingOrchestrator:
    """Loads bars over a symbol cache, a provider and a store of bars; it keeps nothing of a call.

    Args:
        symbol_cache: Answers whether a symbol is valid and since when it has data.
        external_provider: Is asked for what neither the cache nor the store has.
        bar_store: Where bars are kept.
        now: The provider's present (UTC); sessions that close later are not expected.
    """

    def __init__(
        self,
        symbol_cache: SymbolCache,
        external_provider: ExternalDataProvider,
        bar_store: BarStore,
        now: Callable[[], datetime],
    ) -> None:
        self._symbol_cache = symbol_cache
        self._external_provider = external_provider
        self._bar_store = bar_store
        self._now = now

    async def load_with_fallback(
        self,
        symbol: str,
        timeframe: str,
        start_date: DateLike | None = None,
        end_date: DateLike | None = None,
        mode: Mode = "tail",
        cancellation_token: Cancellable | None = None,
        progress: ProgressCallback | None = None,
    ) -> pd.DataFrame:
        """Load the bars of a symbol, asking the provider only for sessions of which there is no local bar.

        Args:
            symbol: As people write it.
            timeframe: The length of a bar.
            start_date: Where to start, in place of what the mode says; never before the first bar there is.
            end_date: Where to end, included, in place of what the mode says.
            mode: ``tail`` looks for bars after the local ones, ``backfill`` before them, ``full`` everywhere.
            cancellation_token: Anything with ``cancelled()``; ends the load within 100 ms.
            progress: Is called after the lookup and after each request for bars.

        Returns:
            All bars at hand, local and fetched, within the explicit dates; ``attrs`` says where they come from.

        Raises:
            SymbolNotFoundError: The provider says that there is no such instrument.
            ConfigurationError: The timeframe, the mode or a date is not usable.
            LoadCancelledError: The token was cancelled.
            ProviderError: Bars could not be had; those fetched before are saved.
        """
        asked = DateRange.parse(start_date, end_date)
        check_mode(mode)
        longest = longest_request(timeframe)
        request = _Request(Instrument.parse(symbol), timeframe, cancellation_token, progress)
        lookup = await self._look_up(symbol, request)
        local = await asyncio.to_thread(self._bar_store.read, request.symbol, timeframe)
        head, now = _head(lookup, timeframe), self._now()
        attrs = self._attrs(request, lookup)
        if head is not None or not _has_no_data(lookup, timeframe):
            wanted = resolve(asked, mode, pd.DatetimeIndex(local.index), head, now, longest)
            clamped = wanted.clamp(head)
            if head is not None and clamped != wanted:
                log.info(
                    "%s %s has no data before %s: the start is moved there", request.symbol, timeframe, head.date()
                )
                attrs["clamped_to"] = head.isoformat()
            gaps = _gaps(request, lookup, clamped, local, now)
            local = await self._fill(request, lookup, local, _requests(gaps, longest, now))
        frame = asked.select(local)
        frame.attrs.update(attrs)
        return frame

    async def _look_up(self, symbol: str, request: _Request) -> Lookup:
        validate = self._external_provider.validate_and_get_metadata
        lookup = await run_cancellable(
            self._symbol_cache.get_or_validate(symbol, [request.timeframe], validate), request.token
        )
        if not lookup.result.is_valid:
            raise _not_found(request.symbol, lookup)
        return lookup

    async def _fill(
        self, request: _Request, lookup: Lookup, local: pd.DataFrame, requests: Sequence[Segment]
    ) -> pd.DataFrame:
        request.tell(0, len(requests), f"{len(local)} bars at hand, lookup was a {lookup.outcome}")
        contract = lookup.result.contract_info
        asset_type = (contract.asset_type if contract is not None else "") or None
        for step, segment in enumerate(requests, start=1):
            raise_if_cancelled(request.token)
            fetched = await self._fetch(request, segment, asset_type)
            # Saved one by one, so that a later failure, a cancellation or a crash costs nothing that was paid for.
            local = await asyncio.to_thread(self._bar_store.merge, request.symbol, request.timeframe, fetched)
            request.tell(step, len(requests), f"{len(fetched)} bars from {segment.start:%F} to {segment.end:%F}")
        return local

    async def _fetch(self, request: _Request, segment: Segment, asset_type: str | None) -> pd.DataFrame:
        answer = await run_cancellable(
            self._external_provider.fetch_historical_data(
                request.symbol, request.timeframe, segment.start, segment.end, asset_type
            ),
            request.token,
        )
        # A provider may give more than was asked for, such as the unfinished bar of today.
        return DateRange(segment.start, segment.end).select(conform(answer))

    def _attrs(self, request: _Request, lookup: Lookup) -> dict[str, str | bool]:
        provider = self._bar_store.provider
        return {
            "symbol": request.symbol,
            "timeframe": request.timeframe,
            "provider": provider,
            "replay": provider == "replay",
            "outcome": str(lookup.outcome),
        }


def _not_found(symbol: str, lookup: Lookup) -> SymbolNotFoundError:
    message = lookup.result.error_message or f"there is no instrument {symbol}"
    suggestion = lookup.result.suggested_symbol
    if suggestion and suggestion not in message:
        message = f"{message}; did you mean {suggestion!r}?"
    return SymbolNotFoundError(message, suggested_symbol=suggestion)


def _head(lookup: Lookup, timeframe: str) -> datetime | None:
    """The stamp of the first daily bar: a head timestamp may name the minute in which its session opened."""
    head = lookup.result.head_timestamp(timeframe)
    return None if head is None else datetime.combine(head.date(), time.min, UTC)


def _has_no_data(lookup: Lookup, timeframe: str) -> bool:
    heads = lookup.result.head_timestamps or {}
    return timeframe in heads and heads[timeframe] is None


def _gaps(
    request: _Request, lookup: Lookup, wanted: DateRange, local: pd.DataFrame, now: datetime
) -> list[pd.DatetimeIndex]:
    if wanted.start is None or wanted.end is None:
        raise lookup.error or ConfigurationError(
            f"{request.symbol}: the provider does not say when its {request.timeframe} bars begin; give start_date"
        )
    name = calendar_name(lookup.result.contract_info, request.instrument.asset_type)
    expected = completed_sessions(name, wanted.start, wanted.end, now)
    return missing_runs(expected, pd.DatetimeIndex(local.index))


def _requests(gaps: Sequence[pd.DatetimeIndex], longest: timedelta, now: datetime) -> list[Segment]:
    return list(chain.from_iterable(segments(gap, longest, now) for gap in gaps))
