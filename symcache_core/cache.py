"""PolicyCache: the symbol cache over any storage backend."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Self

from . import policy as rules
from .entry_store import EntryStore
from .errors import (
    BackendError,
    ClosedError,
    ProviderError,
    ProviderPacingError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from .models import CachedSymbolInfo, CacheStats, Counters, Lookup, Outcome, ProviderAnswer, ValidationResult
from .near_cache import Get, NearCache, fast_get
from .policy import Freshness, Policy
from .protocols import Clock, StorageBackend, Validate
from .single_flight import SingleFlight, SoftTimeoutError
from .symbols import Instrument, key_prefix
from .telemetry import SharedCounters, new_tally
from .watch import Watch

log = logging.getLogger("symcache")

_COUNTER = {
    Outcome.HIT: "hits",
    Outcome.PARTIAL: "partials",
    Outcome.MISS: "misses",
    Outcome.COALESCED: "coalesced",
    Outcome.STALE: "stale",
}

Ask = Callable[[], Coroutine[Any, Any, tuple[CachedSymbolInfo, bool]]]
"""Gives an entry, and whether the provider had to be asked for it."""

_OUTAGE = (ProviderUnavailableError, ProviderTimeoutError, ProviderPacingError)


class PolicyCache:
    """Answers lookups from a near cache, from storage, or from the provider, by the rules of :mod:`.policy`.

    Args:
        backend: Where entries are kept; the cache closes it.
        name: What to call the backend in logs and figures.
        provider: Whose answers these are; other providers' in the same storage are neither seen nor touched.
        policy: How long answers live.
        clock: Seconds since the epoch.
        near_cache_size: How many entries to keep decoded.
        near_cache_age: How long such a one is trusted without a look at the storage, in seconds.
    """

    get: Get

    def __init__(
        self,
        backend: StorageBackend,
        *,
        name: str,
        provider: str,
        policy: Policy,
        clock: Clock,
        near_cache_size: int,
        near_cache_age: float,
    ) -> None:
        self._backend = backend
        self._near_cache_size = near_cache_size
        self._near_cache_age = near_cache_age
        self._name = name
        self._provider = provider
        self._policy = policy
        self._clock = clock
        self._watched = Watch(backend)
        self._tally = new_tally()
        self._shared = SharedCounters(backend, provider, clock)
        self._outage: tuple[float, Exception] | None = None
        self._refresh_not_before: dict[str, float] = {}
        self._cannot_read = self._cannot_write = False
        self._closed = False
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def peek(self, symbol: str) -> CachedSymbolInfo | None:
        """Whatever is stored of a symbol, over or not; counts as no lookup."""
        self._check_open()
        return self._entries.read(Instrument.parse(symbol).key(self._provider))

    def store(self, symbol: str, answer: ValidationResult | ProviderAnswer) -> CachedSymbolInfo:
        """Keep a provider's answer, merged with what is already known of other timeframes.

        Returns:
            The entry as it is now. A valid symbol that is called invalid stays valid until a second answer agrees.

        Raises:
            InvalidSymbolError: The text cannot be a symbol.
            ProviderError: The answer comes from another provider than this cache's.
            BackendError: The storage did not take it.
        """
        self._check_open()
        return self._keep(Instrument.parse(symbol).key(self._provider), self._own(answer), ())

    async def get_or_validate(self, symbol: str, timeframes: Iterable[str], validate: Validate) -> Lookup:
        """Answer from the cache, or ask the provider once, however many callers are waiting.

        When the provider fails or is slow, an entry past its life (STALE), or without some of the timeframes
        (PARTIAL), is better than none and says so.

        Args:
            symbol: As anyone writes it.
            timeframes: What has to be known of it.
            validate: ``async validate(symbol, timeframes)``; gets the canonical spelling, and only what is missing.

        Raises:
            InvalidSymbolError: The text cannot be a symbol.
            Exception: What ``validate`` raised, unchanged, when there is nothing to fall back on.
        """
        wanted, now = _names(timeframes), self._clock()
        near = self._near_hit(symbol, wanted, now)
        if near is not None and now < rules.refresh_at(near, self._policy):
            return self._answer(symbol, Outcome.HIT, near, now, wanted)
        instrument = Instrument.parse(symbol)
        key = instrument.key(self._provider)
        ask = partial(self._ask, symbol, key, str(instrument), wanted, validate)
        info = await asyncio.to_thread(self._find, symbol, key)
        outcome = Outcome.HIT
        while True:
            now = self._clock()
            if info is not None and rules.answers(info, wanted, now):
                if now >= rules.refresh_at(info, self._policy):
                    self._refresh(key, partial(ask, even_if_known=True), now)
                return self._answer(symbol, outcome, info, now, wanted)
            fallback = info if info is not None and self._servable(info, now) else None
            if fallback is not None and (error := self._outage_at(now)) is not None:
                return self._answer(symbol, Outcome.STALE, fallback, now, wanted, error)
            try:
                (info, asked), led = await self._flights.run(key, ask, soft_timeout=self._patience(fallback, now))
            except SoftTimeoutError as error:
                assert fallback is not None, "nobody goes away without an answer"
                slow = ProviderTimeoutError(f"{instrument}: {error} (setting 'soft_timeout')")
                return self._answer(symbol, Outcome.STALE, fallback, self._clock(), wanted, slow)
            except Exception as error:
                if fallback is None:
                    self._missed(symbol)
                    raise
                return self._answer(symbol, Outcome.STALE, fallback, self._clock(), wanted, error)
            if led:
                return self._answer(symbol, Outcome.MISS if asked else Outcome.HIT, info, self._clock(), wanted)
            outcome = Outcome.COALESCED

    def forget(self, symbol: str) -> bool:
        """Drop one symbol; tells whether it was there."""
        self._check_open()
        key = Instrument.parse(symbol).key(self._provider)
        try:
            return self._entries.delete(key)
        finally:
            self._near.forget(key)

    def symbols(self) -> Iterator[str]:
        """The canonical spelling of every symbol of this provider, in no particular order."""
        self._check_open()
        return (str(Instrument.from_key(key)) for key in self._entries.keys())

    def clear(self) -> int:
        """Drop every symbol of this provider; tells how many there were."""
        self._check_open()
        try:
            return self._entries.clear()
        finally:
            self._near.clear()

    def get_stats(self) -> CacheStats:
        """What this cache has answered so far, and how many symbols it holds."""
        self._check_open()
        counters = self._counters()
        totals, since = self._shared.totals(counters)
        try:
            cached = sum(1 for _ in self._entries.keys())
        except BackendError as error:
            cached = 0
            self._storage_failed(error)
            self._cannot_read = True
        return CacheStats(
            **counters.model_dump(exclude={"hit_ratio"}),
            backend=self._name,
            provider=self._provider,
            cached_symbols=cached,
            waiting=self._flights.waiting(),
            degraded=self._is_degraded(),
            totals=totals,
            since=since,
        )

    def close(self) -> None:
        """Store the counters and let go of the storage; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._near.clear()
        try:
            self._flush()
        finally:
            self._backend.close()

    async def aclose(self, drain: float = 0.0) -> None:
        """Wait for background work of the running loop, then close.

        Args:
            drain: Seconds to wait; what is not done by then is cancelled.
        """
        await self._flights.drain(drain)
        await asyncio.to_thread(self.close)

    def _begin(self) -> None:
        """Make what has a lock; a forked child makes its own, as a thread that is not here may hold the parent's."""
        self._pid = os.getpid()
        self._entries = EntryStore(self._backend, key_prefix(self._provider))
        self._near = NearCache(self._near_cache_size, self._near_cache_age)
        self.get, self._near_hits = fast_get(self._near, self._clock, self._get)
        self._flights: SingleFlight[tuple[CachedSymbolInfo, bool]] = SingleFlight()

    def _get(self, symbol: str, timeframes: Iterable[str]) -> CachedSymbolInfo | None:
        wanted, now = _names(timeframes), self._clock()
        info = self._near_hit(symbol, wanted, now)
        if info is None:
            info = self._find(symbol, Instrument.parse(symbol).key(self._provider))
            if info is None or not rules.answers(info, wanted, now):
                self._missed(symbol)
                return None
        self._count(symbol, Outcome.HIT, info, now)
        return info

    def _near_hit(self, symbol: str, wanted: tuple[str, ...], now: float) -> CachedSymbolInfo | None:
        slot = self._near.slots.get(symbol)
        if slot is None:
            return None
        # In this order: a write in between shows in the one or the other.
        hit = since, until, _word, _seen, info = slot.hit(wanted, self._watched.word())
        if not since <= now < until or slot.generation != self._watched.generation():
            return None
        if info.validation_result.is_valid and not log.isEnabledFor(logging.INFO):
            # From now on nothing but the count has to be done for it.
            slot.hits[wanted] = hit
        return info

    def _find(self, symbol: str, key: str) -> CachedSymbolInfo | None:
        self._check_open()
        ticket, info = self._near.ticket(), None
        try:
            generation = self._watched.generation()
            info = self._entries.read(key)
        except BackendError as error:
            self._storage_failed(error)
            self._cannot_read = True
            return None
        self._cannot_read = False
        if info is not None:
            self._near.keep(key, symbol, info, now=self._clock(), generation=generation, ticket=ticket)
        if self._shared.is_due():
            self._flush()
        return info

    def _keep(self, key: str, answer: ProviderAnswer, asked: Sequence[str]) -> CachedSymbolInfo:
        now = self._clock()

        def change(old: CachedSymbolInfo | None) -> tuple[CachedSymbolInfo, float]:
            new = rules.merge(old, answer, asked, key, now, self._policy)
            # The storage goes by the machine's clock, whatever clock decides freshness here.
            return new, time.time() + rules.keep_until(new, self._policy) - now

        try:
            info = self._entries.change(key, change)
        finally:
            self._near.forget(key)
        self._cannot_write = False
        return info

    async def _ask(
        self,
        symbol: str,
        key: str,
        spelling: str,
        wanted: tuple[str, ...],
        validate: Validate,
        *,
        even_if_known: bool = False,
    ) -> tuple[CachedSymbolInfo, bool]:
        # Someone may have stored the answer after this caller looked and before its flight began.
        info = await asyncio.to_thread(self._find, symbol, key)
        now = self._clock()
        if info is not None and not even_if_known and rules.answers(info, wanted, now):
            return info, False
        fresh = info is not None and not even_if_known and rules.answers(info, (), now)
        asked = rules.missing(info, wanted, now) if info is not None and fresh else wanted
        answer = await self._call(validate, spelling, asked)
        try:
            return await asyncio.to_thread(self._keep, key, answer, asked), True
        except BackendError as error:
            self._storage_failed(error)
            self._cannot_write = True
            return rules.merge(info, answer, asked, key, self._clock(), self._policy), True

    async def _call(self, validate: Validate, spelling: str, asked: Sequence[str]) -> ProviderAnswer:
        self._tally.provider_calls += 1
        deadline = asyncio.timeout(self._policy.timeout)
        try:
            try:
                async with deadline:
                    answer = self._own(await validate(spelling, asked))
            except TimeoutError:
                if not deadline.expired():
                    raise
                limit = self._policy.timeout
                raise ProviderTimeoutError(f"{spelling}: no answer within {limit:g} s (setting 'timeout')") from None
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                raise ProviderError(f"{spelling}: the provider cancelled its own call") from None
        except Exception as error:
            self._tally.provider_errors += 1
            if isinstance(error, _OUTAGE):
                self._outage = (self._clock() + self._policy.retry_throttle, error)
            log.info("symbol cache provider error %s: %s", spelling, error)
            raise
        self._outage = None
        return answer

    def _own(self, answer: ValidationResult | ProviderAnswer) -> ProviderAnswer:
        if isinstance(answer, ValidationResult):
            answer = ProviderAnswer(answer)
        if not isinstance(answer, ProviderAnswer):
            raise ProviderError(
                f"the provider gave a {type(answer).__name__}; a ValidationResult or a ProviderAnswer is expected"
            )
        if answer.provenance.provider not in (None, self._provider):
            raise ProviderError(
                f"this cache holds answers of provider {self._provider!r}, and this one is of "
                f"{answer.provenance.provider!r}: change the setting 'provider'"
            )
        return answer

    def _refresh(self, key: str, ask: Ask, now: float) -> None:
        if now >= self._refresh_not_before.get(key, 0.0) and self._outage_at(now) is None:
            self._refresh_not_before[key] = now + self._policy.retry_throttle
            if self._flights.start(key, ask):
                self._tally.refreshes += 1

    def _patience(self, fallback: CachedSymbolInfo | None, now: float) -> float | None:
        # Who has only a part of the answer waits for the rest, as who has nothing does.
        if fallback is None or rules.answers(fallback, (), now):
            return None
        return self._policy.soft_timeout

    def _servable(self, info: CachedSymbolInfo, now: float) -> bool:
        return rules.freshness(info, now, self._policy) is not Freshness.EXPIRED

    def _outage_at(self, now: float) -> Exception | None:
        return self._outage[1] if self._outage is not None and now < self._outage[0] else None

    def _answer(
        self,
        symbol: str,
        outcome: Outcome,
        info: CachedSymbolInfo,
        now: float,
        wanted: tuple[str, ...],
        error: Exception | None = None,
    ) -> Lookup:
        missing = rules.unknown(info, wanted)
        if missing and rules.answers(info, (), now):
            outcome = Outcome.PARTIAL
        self._count(symbol, outcome, info, now)
        verdict = rules.verdict_for(info, wanted)
        return Lookup(verdict, outcome, max(0.0, now - info.cached_at), info, missing, error)

    def _count(self, symbol: str, outcome: Outcome, info: CachedSymbolInfo, now: float) -> None:
        vars(self._tally)[_COUNTER[outcome]] += 1
        if not info.validation_result.is_valid:
            self._tally.negatives += 1
        if log.isEnabledFor(logging.INFO):
            age, left = now - info.cached_at, info.cached_at + info.ttl_seconds - now
            log.info(
                "symbol cache %s %s age=%s ttl=%s backend=%s", outcome, symbol, _span(age), _span(left), self._name
            )

    def _missed(self, symbol: str) -> None:
        self._tally.misses += 1
        log.info("symbol cache miss %s backend=%s", symbol, self._name)

    def _counters(self) -> Counters:
        return Counters(**{**vars(self._tally), "hits": self._tally.hits + self._near_hits()})

    def _storage_failed(self, error: BackendError) -> None:
        if not self._is_degraded():
            log.warning("symbol cache works without its storage: %s", error)

    def _is_degraded(self) -> bool:
        return self._cannot_read or self._cannot_write

    def _flush(self) -> None:
        try:
            self._shared.flush(self._counters())
        except BackendError as error:
            log.warning("symbol cache counters not stored: %s", error)

    def _check_open(self) -> None:
        if self._pid != os.getpid():
            self._begin()
        if self._closed:
            raise ClosedError("this symbol cache is closed")


def _names(timeframes: Iterable[str]) -> tuple[str, ...]:
    return (timeframes,) if isinstance(timeframes, str) else tuple(dict.fromkeys(timeframes))


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"
