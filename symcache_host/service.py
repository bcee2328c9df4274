"""What the host service answers, told apart from how HTTP carries it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

from symcache_core import BulkSymbolCache, CachedSymbolInfo, Lookup, ProviderAnswer, SymbolLookup
from symcache_core.errors import (
    INVALID_SYMBOL,
    AmbiguousSymbolError,
    InvalidSymbolError,
    ProviderError,
    ProviderPacingError,
    ProviderPermissionError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    SymbolNotFoundError,
    SymcacheError,
)
from symcache_core.symbols import Instrument

from .gateway import Bar, Caller, Gateway, Priority, Waiters
from .looks import Looks
from .reports import (
    About,
    CacheFigures,
    Calls,
    ConnectionInfo,
    DetailedHealth,
    Health,
    IbStatus,
    Look,
    LookedAt,
)
from .wire import (
    BatchAnswer,
    BatchCallOptions,
    CallOptions,
    Contract,
    ErrorKind,
    HeadTimestampAnswer,
    HistoricalAnswer,
    HistoricalRequest,
    Origin,
    VerdictAnswer,
)

AT_ONCE = 128
"""How many calls to the gateway, which paces itself, one batch has under way.

An unknown symbol takes Interactive Brokers five seconds and two messages, of which 48 a second are allowed: with fewer
calls, what is allowed would not be used.
"""

FAULT = "a fault of the host service's: its log says more"
"""The text that stands for an unexpected error's own, which may be about anything."""

DEFAULTS = CallOptions()
BATCH_DEFAULTS = BatchCallOptions()

log = logging.getLogger("symcache")


class HostService:
    """One gateway, and the cache in front of it.

    Args:
        gateway: Where answers come from.
        cache: What it said so far; closed with the service.
    """

    def __init__(self, gateway: Gateway, cache: BulkSymbolCache) -> None:
        self.requests = 0
        self._gateway = gateway
        self._cache = cache
        self._looks = Looks(gateway.look)
        self._waiters: dict[str, Waiters] = {}
        self._counting = ThreadPoolExecutor(1, "symcache-host-figures")
        self._origin = Origin(gateway=gateway.name)

    async def validate(self, symbol: str, timeframes: Sequence[str], options: CallOptions = DEFAULTS) -> VerdictAnswer:
        """The verdict on a symbol, from the cache or the gateway."""
        try:
            lookup = await self._look_up(symbol, timeframes, options)
        except Exception as error:  # noqa: BLE001  # an unexpected one is answered, too, and logged
            return VerdictAnswer(**self._failure(error))
        return self._verdict(lookup, timeframes)

    async def validate_many(
        self, symbols: Iterable[str], timeframes: Sequence[str], options: CallOptions = BATCH_DEFAULTS
    ) -> BatchAnswer:
        """The verdict on each of many symbols; what keeps one from it, such as the deadline, is that one's failure."""
        asked, results = dict.fromkeys(symbols), dict[str, VerdictAnswer]()
        caller = _caller(options)
        found = self._cache.get_or_validate_many(asked, timeframes, self._asker(caller), concurrency=AT_ONCE)
        try:
            with ExitStack() as waiting:
                for symbol in asked:
                    waiting.enter_context(self._waiting(symbol, caller))
                async with _deadline(options):
                    async for each in found:
                        results[each.symbol] = self._result(each, timeframes)
        except ProviderTimeoutError as error:
            late = VerdictAnswer(**self._failure(error))
            results |= {symbol: late for symbol in asked if symbol not in results}
        except Exception as error:  # noqa: BLE001  # as above
            return BatchAnswer(**self._failure(error))
        return BatchAnswer(provenance=self._origin, results=results)

    async def head_timestamp(self, symbol: str, timeframe: str, options: CallOptions = DEFAULTS) -> HeadTimestampAnswer:
        """Since when a timeframe has data, from the cache or the gateway."""
        try:
            lookup = await self._look_up(symbol, [timeframe], options)
            if not lookup.result.is_valid:
                raise SymbolNotFoundError(
                    lookup.result.error_message or f"Symbol {symbol} not found",
                    suggested_symbol=lookup.result.suggested_symbol,
                )
            known = lookup.result.head_timestamps or {}
            if timeframe not in known:
                raise lookup.error or ProviderUnavailableError(
                    f"Since when {symbol} has bars of {timeframe} was not answered", code=lookup.info.provenance.code
                )
        except Exception as error:  # noqa: BLE001  # as above
            return HeadTimestampAnswer(**self._failure(error))
        return HeadTimestampAnswer(provenance=self._origin, timestamp=known[timeframe])

    async def historical(self, request: HistoricalRequest, options: CallOptions = DEFAULTS) -> HistoricalAnswer:
        """Bars, straight from the gateway."""
        wanted = request.symbol, request.timeframe, request.start, request.end
        try:
            async with _deadline(options):
                found = await self._gateway.bars(*wanted, _caller(options), request.session)
        except Exception as error:  # noqa: BLE001  # as above
            return HistoricalAnswer(**self._failure(error))
        return HistoricalAnswer(
            provenance=self._origin,
            data=_table(found.bars),
            rows=len(found.bars),
            contract=dict(found.contract),
            basis=found.basis,
        )

    def health(self) -> Health:
        """Whether the gateway can answer."""
        connected = self._gateway.connected
        status = "healthy" if connected else "disconnected"
        return Health(healthy=connected, timestamp=datetime.now(UTC).isoformat(), status=status)

    async def detailed_health(self) -> DetailedHealth:
        """The same, and what lies behind it; ``ib_status`` speaks of Interactive Brokers alone."""
        gateway = self._gateway
        # Not in the loop's own threads, which could all be waiting for an answer of this host.
        figures = await asyncio.get_running_loop().run_in_executor(self._counting, self._cache.get_stats)
        return DetailedHealth(
            **self.health().model_dump(),
            ib_status=IbStatus(connected=gateway.connected and gateway.name == "ib", **gateway.status()),
            connection_info=self._connection_info(),
            gateway=gateway.name,
            as_of=gateway.as_of().isoformat(),
            calls=Calls(requests=self.requests, gateway=gateway.calls),
            cache=CacheFigures(
                symbols=figures.cached_symbols, hits=figures.hits, misses=figures.misses, degraded=figures.degraded
            ),
        )

    async def look(self) -> Look:
        """Health after a look at the gateway, which is taken now or was a moment ago."""
        found = await self._looks.look()
        findings = [LookedAt(**finding._asdict()) for finding in found]
        return Look(**self.health().model_dump(), gateway=self._gateway.name, findings=findings)

    def about(self) -> About:
        """What this service is."""
        return About(gateway=self._gateway.name, notice=self._gateway.notice)

    async def open(self) -> None:
        """Let the gateway begin to connect."""
        await self._gateway.open()

    async def aclose(self) -> None:
        """Close the cache and the gateway."""
        await self._looks.aclose()
        await self._cache.aclose()
        await self._gateway.aclose()
        self._counting.shutdown(wait=False)

    def _connection_info(self) -> ConnectionInfo:
        gateway, problem, since = self._gateway, self._gateway.problem, self._gateway.problem_since
        return ConnectionInfo(
            gateway=gateway.name,
            connected=gateway.connected,
            notice=gateway.notice,
            problem=problem and problem.text,
            advice=problem and problem.advice,
            problem_since=since and since.isoformat(),
        )

    async def _look_up(self, symbol: str, timeframes: Sequence[str], options: CallOptions) -> Lookup:
        caller = _caller(options)
        with self._waiting(symbol, caller):
            async with _deadline(options):
                return await self._cache.get_or_validate(symbol, timeframes, self._asker(caller))

    def _asker(self, caller: Caller) -> Callable[[str, Sequence[str]], Awaitable[ProviderAnswer]]:
        """What the cache calls for a caller, or for everyone who has come to wait for the same symbol by then."""

        async def ask(symbol: str, timeframes: Sequence[str]) -> ProviderAnswer:
            with self._all_waiting(symbol, caller) as waiters, waiters.stood_for() as most_urgent:
                return await self._gateway.validate(symbol, timeframes, most_urgent)

        return ask

    @contextmanager
    def _waiting(self, symbol: str, caller: Caller) -> Iterator[None]:
        """Count a caller among those who wait for a symbol, in whatever spelling.

        The cache makes one call for all, and does not say who joins or leaves: only here can the call be as urgent as
        the most urgent of them.
        """
        with self._all_waiting(_canonical(symbol), caller) as waiters, waiters.joined_by(caller):
            yield

    @contextmanager
    def _all_waiting(self, symbol: str, caller: Caller) -> Iterator[Waiters]:
        waiters = self._waiters.get(symbol)
        if waiters is None:
            # When nobody waits any more the cache asks on its own account, to refresh what it has.
            on_its_own_account = Caller(caller.client, max(caller.priority, Priority.REFRESH))
            waiters = self._waiters[symbol] = Waiters(on_its_own_account)
        try:
            yield waiters
        finally:
            if not waiters.in_use:
                del self._waiters[symbol]

    def _result(self, found: SymbolLookup, timeframes: Sequence[str]) -> VerdictAnswer:
        if found.lookup is not None:
            return self._verdict(found.lookup, timeframes)
        assert found.error is not None, "there is a lookup or an error"
        return VerdictAnswer(**self._failure(found.error))

    def _verdict(self, lookup: Lookup, timeframes: Sequence[str]) -> VerdictAnswer:
        verdict, confirmed = lookup.result, lookup.info.confirmed
        return VerdictAnswer(
            provenance=self._origin,
            is_valid=verdict.is_valid,
            error_message=verdict.error_message,
            error_kind=None if verdict.is_valid or not confirmed else "permanent",
            error_code=lookup.info.provenance.code,
            suggested_symbol=verdict.suggested_symbol,
            confirmed=confirmed,
            **_contract(lookup.info),
            head_timestamps=_heads(lookup, timeframes),
            one_head_timestamp=lookup.info.shared_part is not None,
        )

    def _failure(self, error: Exception) -> dict[str, Any]:
        is_expected = isinstance(error, SymcacheError)
        if not is_expected:
            log.error("a request is not answered", exc_info=error)
        return {
            "success": False,
            "error": str(error) if is_expected else FAULT,
            "error_kind": _kind(error),
            "error_code": _code(error),
            "retry_after": getattr(error, "retry_after", None),
            "suggested_symbol": getattr(error, "suggested_symbol", None),
            "alternatives": list(error.alternatives) if isinstance(error, AmbiguousSymbolError) else None,
            "provenance": self._origin,
        }


def _canonical(symbol: str) -> str:
    try:
        return str(Instrument.parse(symbol))
    except InvalidSymbolError:  # which is for the lookup to say
        return symbol


def _caller(options: CallOptions) -> Caller:
    return Caller(options.x_symcache_client, Priority[options.x_symcache_priority.upper()])


@asynccontextmanager
async def _deadline(options: CallOptions) -> AsyncGenerator[None]:
    """Give up at the caller's deadline, so that the gateway is not called for someone who has left."""
    try:
        async with asyncio.timeout(options.x_symcache_deadline) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise ProviderTimeoutError("no answer before the caller's deadline") from None


def _kind(error: Exception) -> ErrorKind:
    match error:
        case ProviderPacingError():
            return "pacing"
        case ProviderPermissionError():
            return "permission"
        case ProviderError(passes=False) | InvalidSymbolError():
            return "permanent"
        case _:
            return "transient"


def _code(error: Exception) -> str | None:
    if isinstance(error, InvalidSymbolError) and not isinstance(error, SymbolNotFoundError | ProviderError):
        return INVALID_SYMBOL
    return getattr(error, "code", None)


def _contract(info: CachedSymbolInfo) -> dict[str, Any]:
    """The contract of an entry, as the fields of a verdict."""
    contract = info.validation_result.contract_info
    if contract is None:
        return {}
    known = contract.model_dump(mode="json")
    if (shared := info.shared_part) is not None:
        known |= {"head_timestamp": shared.head_timestamp, "head_timestamp_fetched_at": shared.asked_at}
    known["validated_at"] = info.cached_at
    return {
        "contract_info": Contract(**{name: known[name] for name in Contract.model_fields}),
        "contract_details": known["details"] or None,
        "last_trade_date": known["last_trade_date"],
    }


def _heads(lookup: Lookup, timeframes: Sequence[str]) -> dict[str, str | None] | None:
    known = lookup.result.head_timestamps or {}
    return {timeframe: known[timeframe] for timeframe in timeframes if timeframe in known} or None


def _table(bars: Sequence[Bar]) -> str:
    figures = ("open", "high", "low", "close", "volume")
    return json.dumps({bar.time.isoformat(): dict(zip(figures, bar[1:], strict=True)) for bar in bars})
