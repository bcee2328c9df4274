"""What the host service answers, told apart from how HTTP carries it."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from symcache_core import CachedSymbolInfo, Lookup, ProviderAnswer, SymbolCache, SymbolLookup
from symcache_core.errors import (
    InvalidSymbolError,
    ProviderError,
    ProviderPacingError,
    ProviderPermissionError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    SymbolNotFoundError,
    SymcacheError,
)

from .gateway import Bar, Gateway
from .wire import (
    About,
    BatchAnswer,
    Calls,
    DetailedHealth,
    ErrorKind,
    HeadTimestampAnswer,
    Health,
    HistoricalAnswer,
    HistoricalRequest,
    Origin,
    VerdictAnswer,
)

AT_ONCE = 32
"""How many symbols of one batch are asked of the gateway at the same time."""

log = logging.getLogger("symcache")


class BatchCache(SymbolCache, Protocol):
    """A symbol cache in which many symbols can be looked up at once."""

    def get_or_validate_many(
        self,
        symbols: Iterable[str],
        timeframes: Iterable[str],
        validate: Callable[[str, Sequence[str]], Awaitable[ProviderAnswer]],
        *,
        concurrency: int,
    ) -> AsyncIterator[SymbolLookup]:
        """Each symbol's answer, or error, as soon as it is there."""
        ...


class HostService:
    """One gateway, and the cache in front of it.

    Args:
        gateway: Who is asked.
        cache: What it said so far; closed with the service.
    """

    def __init__(self, gateway: Gateway, cache: BatchCache) -> None:
        self.requests = 0
        self._gateway = gateway
        self._cache = cache
        self._origin = Origin(gateway=gateway.name)

    async def validate(self, symbol: str, timeframes: Sequence[str]) -> VerdictAnswer:
        """The verdict on a symbol, from the cache or the gateway."""
        try:
            lookup = await self._look_up(symbol, timeframes)
        except SymcacheError as error:
            return VerdictAnswer(**self._failure(error))
        return self._verdict(lookup, timeframes)

    async def validate_many(self, symbols: Iterable[str], timeframes: Sequence[str]) -> BatchAnswer:
        """The verdict on each of many symbols; what keeps one from it is that one's own failure."""
        found = self._cache.get_or_validate_many(
            dict.fromkeys(symbols), timeframes, self._gateway.validate, concurrency=AT_ONCE
        )
        try:
            results = {each.symbol: self._result(each, timeframes) async for each in found}
        except SymcacheError as error:
            return BatchAnswer(**self._failure(error))
        return BatchAnswer(provenance=self._origin, results=results)

    async def head_timestamp(self, symbol: str, timeframe: str) -> HeadTimestampAnswer:
        """Since when a timeframe has data, from the cache or the gateway."""
        try:
            lookup = await self._look_up(symbol, [timeframe])
            if not lookup.result.is_valid:
                raise SymbolNotFoundError(
                    lookup.result.error_message or f"Symbol {symbol} not found",
                    suggested_symbol=lookup.result.suggested_symbol,
                )
            if lookup.missing and lookup.error:
                raise lookup.error
        except SymcacheError as error:
            return HeadTimestampAnswer(**self._failure(error))
        return HeadTimestampAnswer(
            provenance=self._origin, timestamp=(lookup.result.head_timestamps or {}).get(timeframe)
        )

    async def historical(self, request: HistoricalRequest) -> HistoricalAnswer:
        """Bars, straight from the gateway."""
        try:
            bars = await self._gateway.bars(request.symbol, request.timeframe, request.start, request.end)
        except SymcacheError as error:
            return HistoricalAnswer(**self._failure(error))
        return HistoricalAnswer(provenance=self._origin, data=_table(bars), rows=len(bars))

    def health(self) -> Health:
        """Whether the gateway can answer."""
        connected = self._gateway.connected
        status = "healthy" if connected else "disconnected"
        return Health(healthy=connected, timestamp=datetime.now(UTC).isoformat(), status=status)

    def detailed_health(self) -> DetailedHealth:
        """The same, and what it cost so far; ``ib_status`` speaks of Interactive Brokers alone."""
        gateway = self._gateway
        return DetailedHealth(
            **self.health().model_dump(),
            ib_status={"connected": gateway.connected and gateway.name == "ib"},
            connection_info={"gateway": gateway.name, "connected": gateway.connected, "notice": gateway.notice},
            gateway=gateway.name,
            as_of=gateway.as_of().isoformat(),
            calls=Calls(requests=self.requests, gateway=gateway.calls),
        )

    def about(self) -> About:
        """What this service is."""
        return About(gateway=self._gateway.name, notice=self._gateway.notice)

    async def aclose(self) -> None:
        """Close the cache."""
        await self._cache.aclose()

    async def _look_up(self, symbol: str, timeframes: Sequence[str]) -> Lookup:
        return await self._cache.get_or_validate(symbol, timeframes, self._gateway.validate)

    def _result(self, found: SymbolLookup, timeframes: Sequence[str]) -> VerdictAnswer:
        if found.lookup is not None:
            return self._verdict(found.lookup, timeframes)
        assert found.error is not None, "there is a lookup or an error"
        if not isinstance(found.error, SymcacheError):
            log.error("%s cannot be validated", found.symbol, exc_info=found.error)
        return VerdictAnswer(**self._failure(found.error))

    def _verdict(self, lookup: Lookup, timeframes: Sequence[str]) -> VerdictAnswer:
        verdict, confirmed = lookup.result, lookup.info.confirmed
        return VerdictAnswer(
            provenance=self._origin,
            is_valid=verdict.is_valid,
            error_message=verdict.error_message,
            error_kind=None if verdict.is_valid or not confirmed else "permanent",
            suggested_symbol=verdict.suggested_symbol,
            confirmed=confirmed,
            contract_info=_contract(lookup.info),
            head_timestamps=_heads(lookup, timeframes),
        )

    def _failure(self, error: Exception) -> dict[str, Any]:
        return {
            "success": False,
            "error": str(error),
            "error_kind": _kind(error),
            "error_code": getattr(error, "code", None),
            "retry_after": getattr(error, "retry_after", None),
            "suggested_symbol": getattr(error, "suggested_symbol", None),
            "provenance": self._origin,
        }


def _kind(error: Exception) -> ErrorKind:
    match error:
        case ProviderPacingError():
            return "pacing"
        case ProviderPermissionError():
            return "permission"
        case ProviderUnavailableError() | ProviderTimeoutError():
            return "transient"
        case ProviderError() | InvalidSymbolError():
            return "permanent"
        case _:
            return "transient"


def _contract(info: CachedSymbolInfo) -> dict[str, Any] | None:
    contract = info.validation_result.contract_info
    if contract is None:
        return None
    known = contract.model_dump(mode="json", exclude={"details", "validated_at"})
    return {**contract.details, **known, "validated_at": info.cached_at}


def _heads(lookup: Lookup, timeframes: Sequence[str]) -> dict[str, str | None] | None:
    known = lookup.result.head_timestamps or {}
    return {timeframe: known[timeframe] for timeframe in timeframes if timeframe in known} or None


def _table(bars: Sequence[Bar]) -> str:
    figures = ("open", "high", "low", "close", "volume")
    return json.dumps({bar.time.isoformat(): dict(zip(figures, bar[1:], strict=True)) for bar in bars})
