"""Warming: validates many symbols ahead of need, within a budget of provider calls, and says what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from ..errors import ProviderPacingError, ProviderPermissionError, may_pass
from ..messages import Names
from ..models import Lookup, Outcome, SymbolLookup
from ..protocols import AnyAnswer, BulkSymbolCache, CanValidateMany, ExternalDataProvider, Validate
from .batching import BatchedValidation

TOGETHER = 800
"""How many lookups are under way at a provider that takes many symbols at once."""

SINGLY = 8
"""The same at one that does not."""

OUTAGE_AFTER = 20
"""How many failures in a row are taken for the provider's, and not the symbols'."""

TRIES = 3
"""How often a symbol is asked about that the provider puts off."""


@dataclass
class WarmingSummary:
    """What warming has done so far.

    Args:
        saved: Symbols whose answer was there already, each of which saved a call to the provider.
        asked: Symbols that the provider was asked about.
        valid: Symbols with a valid verdict.
        invalid: Those with an invalid one, and what was meant perhaps.
        failed: Those with no verdict, or with an old one for want of a new, and why.
        seconds: How long it took.
    """

    saved: int = 0
    asked: int = 0
    valid: int = 0
    invalid: dict[str, str | None] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def symbols(self) -> int:
        """How many symbols are done."""
        return self.valid + len(self.invalid) + len(self.failed)

    @property
    def rate(self) -> float:
        """Symbols a second."""
        return self.symbols / self.seconds if self.seconds else 0.0

    def count(self, symbol: str, lookup: Lookup) -> None:
        """Add a symbol with a verdict."""
        self.saved += lookup.outcome in (Outcome.HIT, Outcome.COALESCED)
        if lookup.error is not None:
            self.failed[symbol] = lookup.error
        elif lookup.result.is_valid:
            self.valid += 1
        else:
            self.invalid[symbol] = lookup.result.suggested_symbol


class Warming:
    """Brings symbols into a cache; what is there already costs nothing, so that an interrupted run goes on by itself.

    Args:
        cache: Where they shall be.
        provider: Who knows about them.
        timeframes: What has to be known of each.
        concurrency: How many lookups are under way at the same time; as many as suit the provider when left out.
        budget: How many symbols the provider may be asked about in a minute, whatever number of them a request has.
    """

    def __init__(
        self,
        cache: BulkSymbolCache,
        provider: ExternalDataProvider,
        *,
        timeframes: Iterable[str] = (),
        concurrency: int | None = None,
        budget: int | None = None,
    ) -> None:
        if budget is not None and budget < 1:
            raise ValueError(f"budget is {budget}: at least 1 call a minute has to be allowed")
        self.summary = WarmingSummary()
        self._cache = cache
        self._provider = provider
        self._timeframes = tuple(timeframes)
        many = isinstance(provider, CanValidateMany)
        self._concurrency = concurrency or (TOGETHER if many else SINGLY)
        if budget is not None:  # more would only wait for their turn
            self._concurrency = min(self._concurrency, max(1, budget // 60))
        self._pace = _Pace(0.0 if budget is None else 60.0 / budget)
        self._in_a_row = 0
        self._names = Names()

    async def run(self, symbols: Iterable[str]) -> AsyncGenerator[SymbolLookup, None]:
        """Give each symbol's answer, or error, as soon as it is there.

        Raises:
            ProviderError: The provider as a whole is out of reach; what came before that is kept.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        validate = _validation(self._provider)

        async def ask(symbol: str, timeframes: Sequence[str]) -> AnyAnswer:
            await self._pace.take()
            self.summary.asked += 1
            return await validate(symbol, timeframes)

        # A symbol that the provider puts off goes to the end, and the whole run pauses: the next ones would fare no
        # better.
        left, tries = list(symbols), 0
        while left:
            tries += 1
            await self._pace.free()
            coming, put_off = len(left), []
            found = self._cache.get_or_validate_many(left, self._timeframes, ask, concurrency=self._concurrency)
            async with aclosing(found):
                async for each in found:
                    coming -= 1
                    if tries < TRIES and isinstance(each.error, ProviderPacingError) and each.error.retry_after:
                        self._pace.hold(each.error.retry_after)
                        put_off.append(each.symbol)
                    else:
                        self._count(each)
                        self.summary.seconds = loop.time() - began
                        yield each
                    if coming:
                        await self._pace.free()  # here, and not within a call, whose time is limited
            left = put_off

    def _count(self, found: SymbolLookup) -> None:
        if found.lookup is not None:
            self.summary.count(found.symbol, found.lookup)
            error = found.lookup.error
        else:
            error = found.error
            assert error is not None, "there is a lookup or an error"
            self.summary.failed[self._names.of(found.symbol)] = error
        self._in_a_row = self._in_a_row + 1 if error is not None and _concerns_the_provider(error) else 0
        if error is not None and self._in_a_row >= OUTAGE_AFTER:
            raise error


class _Pace:
    """Lets one by in so many seconds.

    Args:
        interval: Seconds.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = 0.0

    async def take(self) -> None:
        """Wait for one's turn; who comes next has the one after it."""
        now = _now()
        moment = max(now, self._next)
        self._next = moment + self._interval
        await _until(moment)

    async def free(self) -> None:
        """Wait until nobody would have to wait."""
        await _until(self._next)

    def hold(self, seconds: float) -> None:
        """Let nobody by for some time."""
        self._next = max(self._next, _now() + seconds)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _until(moment: float) -> None:
    if (wait := moment - _now()) > 0:
        await asyncio.sleep(wait)


def _validation(provider: ExternalDataProvider) -> Validate:
    if isinstance(provider, CanValidateMany):
        return BatchedValidation(provider).validate
    return provider.validate_and_get_metadata


def _concerns_the_provider(error: Exception) -> bool:
    return may_pass(error) or isinstance(error, ProviderPermissionError)
