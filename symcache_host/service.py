"""What the host service answers, told apart from how HTTP carries it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from symcache_core import CachedSymbolInfo, Lookup, SymbolCache
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


class HostService:
    """One gateway, and the cache in front of it.

    Args:
        gateway: Who is asked.
        cache: What it said so far; closed with the service.
    """

    def __init__(self, gateway: Gateway, cache: SymbolCache) -> None:
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

    def _failure(self, error: SymcacheError) -> dict[str, Any]:
        return {
            "success": False,
            "error": str(error),
            "error_kind": _kind(error),
            "error_code": getattr(error, "code", None),
            "retry_after": getattr(error, "retry_after", None),
            "suggested_symbol": getattr(error, "suggested_symbol", None),
            "provenance": self._origin,
        }


def _kind(error: SymcacheError) -> ErrorKind:
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
