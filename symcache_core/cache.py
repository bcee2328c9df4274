"""PolicyCache: the symbol cache over any storage backend."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from . import policy as rules
from .bulk import SymbolLookup, look_up_many
from .entry_store import EntryStore
from .errors import BackendError, ClosedError, InvalidSymbolError, ProviderTimeoutError
from .explain import Explanation, explain
from .fleet import Fleet
from .forks import ForkGuard
from .models import CachedSymbolInfo, CacheStats, Counters, Lookup, Outcome, ProviderAnswer, ValidationResult
from .near_cache import Get, NearCache, fast_get
from .policy import Freshness, Policy
from .protocols import Clock, StorageBackend, Validate
from .provider_calls import ProviderCalls
from .single_flight import SingleFlight, SoftTimeoutError
from .storage import Storage
from .symbols import Instrument, key_prefix
from .telemetry import SharedCounters, new_tally
from .threads import StorageThreads
from .watch import Watch

log = logging.getLogger("symcache")

_COUNTER = {
    Outcome.HIT: "hits",
    Outcome.PARTIAL: "partials",
    Outcome.MISS: "misses",
    Outcome.COALESCED: "coalesced",
    Outcome.STALE: "stale",
}

Flight = Coroutine[Any, Any, tuple[CachedSymbolInfo | None, bool]]
"""Gives an entry, and whether the provider had to be asked for it."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What a caller of ``get_or_validate`` wants to know, and whom to ask."""

    symbol: str
    instrument: Instrument
    key: str
    wanted: tuple[str, ...]
    validate: Validate


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
        storage_retry: How long a failed storage is left alone, in seconds.
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
        storage_retry: float = 5.0,
    ) -> None:
        self._backend = backend
        self._near_cache_size = near_cache_size
        self._near_cache_age = near_cache_age
        self._storage_retry = storage_retry
        self._name = name
        self._provider = provider
        self._policy = policy
        self._clock = clock
        self._closed = False
        self._forks = ForkGuard(self._begin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def peek(self, symbol: str) -> CachedSymbolInfo | None:
        """Whatever is known of a symbol, over or not; counts as no lookup."""
        self._check_open()
        return self._storage.find(Instrument.parse(symbol).key(self._provider))

    def explain(self, symbol: str, timeframes: Iterable[str] = ()) -> Explanation:
        """Say what is known of a symbol, who said it, and which rule would serve the next lookup; counts as none.

        Args:
            symbol: As anyone writes it.
            timeframes: What that lookup would have to know.

        Raises:
            InvalidSymbolError: The text cannot be a symbol.
        """
        self._check_open()
        instrument = Instrument.parse(symbol)
        key = instrument.key(self._provider)
        info = self._storage.find(key, self._near.last(key))
        error, spared_until = self._calls.trouble(key)
        return explain(
            None if info is not None and self._is_overruled(instrument, info) else info,
            _names(timeframes),
            self._clock(),
            self._policy,
            symbol=str(instrument),
            key=key,
            provider=self._provider,
            error=error,
            spared_until=spared_until,
            storage_error=self._storage.error,
        )

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
        key = Instrument.parse(symbol).key(self._provider)
        try:
            return self._storage.change(key, self._merging(key, self._calls.checked(answer), ()))
        finally:
            self._near.forget(key)

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
        info = self._near_hit(symbol, wanted, now)
        if info is not None and now < rules.refresh_at(info, self._policy):
            return self._answer(symbol, Outcome.HIT, info, now, wanted)
        instrument = Instrument.parse(symbol)
        key = instrument.key(self._provider)
        question = _Question(symbol, instrument, key, wanted, validate)
        if info is None:
            self._check_open()
            info = await self._threads.run(self._find, symbol, instrument, key)
        outcome = Outcome.HIT
        while True:
            now = self._clock()
            if info is not None and rules.answers(info, wanted, now):
                if now >= rules.refresh_at(info, self._policy):
                    self._refresh(question)
                return self._answer(symbol, outcome, info, now, wanted)
            fallback = info if info is not None and self._servable(info, now) else None
            if fallback is not None and (error := self._calls.spared(key)) is not None:
                return self._answer(symbol, Outcome.STALE, fallback, now, wanted, error)
            try:
                (info, asked), led = await self._fly(question, self._patience(fallback, now))
            except Exception as error:
                if fallback is None:
                    self._missed(symbol)
                    raise
                return self._answer(symbol, Outcome.STALE, fallback, self._clock(), wanted, error)
            if led and info is not None:
                return self._answer(symbol, Outcome.MISS if asked else Outcome.HIT, info, self._clock(), wanted)
            outcome = Outcome.COALESCED

    def get_or_validate_many(
        self, symbols: Iterable[str], timeframes: Iterable[str], validate: Validate, *, concurrency: int = 8
    ) -> AsyncGenerator[SymbolLookup, None]:
        """Look many symbols up; each one's answer, or error, comes as soon as it is there.

        Args:
            symbols: As anyone writes them; read as they are needed.
            timeframes: What has to be known of each.
            validate: As for :meth:`get_or_validate`.
            concurrency: How many lookups are under way at the same time.

        Raises:
            ValueError: Not even one lookup may be under way.
        """
        wanted = _names(timeframes)

        async def look_up(symbol: str) -> Lookup:
            return await self.get_or_validate(symbol, wanted, validate)

        return look_up_many(symbols, look_up, self._read_ahead, concurrency)

    def forget(self, symbol: str) -> bool:
        """Drop one symbol; tells whether it was there."""
        self._check_open()
        key = Instrument.parse(symbol).key(self._provider)
        try:
            return self._storage.delete(key)
        finally:
            self._near.forget(key)

    def symbols(self) -> Iterator[str]:
        """The canonical spelling of every symbol of this provider, in no particular order."""
        self._check_open()
        return self._spellings()

    def clear(self) -> int:
        """Drop every symbol of this provider; tells how many there were."""
        self._check_open()
        try:
            return self._storage.clear()
        finally:
            self._near.clear()

    def get_stats(self) -> CacheStats:
        """What this cache has answered so far, and how many symbols it holds."""
        self._check_open()
        counters = self._counters()
        reachable = self._storage.error is None
        totals, since = self._shared.totals(counters) if reachable else (counters, None)
        cached = self._storage.count()
        return CacheStats(
            **counters.model_dump(exclude={"hit_ratio"}),
            backend=self._name,
            provider=self._provider,
            cached_symbols=cached,
            waiting=self._flights.waiting(),
            degraded=self._storage.error is not None or bool(self._storage.unwritten),
            unwritten=self._storage.unwritten,
            totals=totals,
            since=since,
        )

    def close(self) -> None:
        """Store what is not yet stored and let go of the storage; a second call does nothing."""
        if self._closed:
            return
        self._forks.check()
        self._closed = True
        self._near.clear()
        try:
            self._storage.settle()
            self._flush()
        finally:
            self._backend.close()
            self._threads.close()

    async def aclose(self, drain: float = 0.0) -> None:
        """Wait for background work of the running loop, then close.

        Args:
            drain: Seconds to wait; what is not done by then is cancelled.
        """
        await self._flights.drain(drain, last=True)
        await asyncio.to_thread(self.close)

    def _begin(self) -> None:
        """Make what has a lock, a thread or a count; a forked child makes its own.

        A thread that is not there may hold the parent's locks, and what waits or has been counted is the parent's.
        """
        if inherited := vars(self).get("_fleet"):
            inherited.abandon()
        self._watched = Watch(self._backend)
        self._tally = new_tally()
        self._shared = SharedCounters(self._backend, self._provider, self._clock)
        entries = EntryStore(self._backend, key_prefix(self._provider))
        self._storage = Storage(entries, self._policy, self._clock, self._storage_retry)
        self._near = NearCache(self._near_cache_size, self._near_cache_age)
        self.get, self._near_hits = fast_get(self._near, self._clock, self._get)
        self._calls = ProviderCalls(self._provider, self._policy, self._clock, self._tally)
        self._threads = StorageThreads()
        self._fleet = Fleet(self._backend, self._threads, lambda: self._storage.error is None)
        self._flights: SingleFlight[tuple[CachedSymbolInfo | None, bool]] = SingleFlight()

    def _spellings(self) -> Iterator[str]:
        for key in self._storage.keys():
            with suppress(ValueError):  # a key that someone else has put there
                yield str(Instrument.from_key(key))

    def _get(self, symbol: str, timeframes: Iterable[str]) -> CachedSymbolInfo | None:
        wanted, now = _names(timeframes), self._clock()
        info = self._near_hit(symbol, wanted, now)
        if info is None:
            instrument = Instrument.parse(symbol)
            info = self._find(symbol, instrument, instrument.key(self._provider))
            if info is None or not rules.answers(info, wanted, now):
                self._missed(symbol)
                return None
        self._count(symbol, Outcome.HIT, info, now)
        return info

    def _near_hit(self, symbol: str, wanted: tuple[str, ...], now: float) -> CachedSymbolInfo | None:
        slot = self._near.slots.get(symbol)
        if slot is None or not slot.sight.is_current():
            return None
        hit = since, until, _word, _seen, info = slot.hit(wanted)
        if not since <= now < until:
            return None
        if info.validation_result.is_valid and not log.isEnabledFor(logging.INFO):
            # From now on nothing but the count has to be done for it.
            slot.hits[wanted] = hit
        return info

    def _find(self, symbol: str, instrument: Instrument, key: str) -> CachedSymbolInfo | None:
        self._check_open()
        if self._shared.is_due() and self._storage.error is None:
            self._flush()
        ticket, sight, now = self._near.ticket(), self._watched.look(), self._clock()
        slot = self._near.slots.get(symbol)
        if slot is not None and slot.is_trusted(now) and slot.sight.generation == sight.generation is not None:
            slot.sight = sight  # others may have looked at the storage, and nobody has written
            return slot.info
        info = self._storage.find(key, self._near.last(key))
        if info is None or self._is_overruled(instrument, info):
            return None
        if _may_be_near(instrument, info):
            self._near.keep(key, symbol, info, now=now, sight=sight, ticket=ticket)
        return info

    def _is_overruled(self, instrument: Instrument, info: CachedSymbolInfo) -> bool:
        """Whether a negative is about an alias of what has been found valid since."""
        if _may_be_near(instrument, info):
            return False
        known = self._storage.find(instrument.unqualified().key(self._provider))
        return known is not None and rules.overrules(known, info, instrument)

    def _read_ahead(self, symbols: Sequence[str]) -> None:
        self._check_open()
        if not self._near_cache_size:
            return
        spellings: dict[str, str] = {}
        for symbol in symbols:
            if symbol not in self._near.slots:
                try:
                    spellings[Instrument.parse(symbol).key(self._provider)] = symbol
                except InvalidSymbolError:
                    continue  # its own lookup says so
        ticket, sight, now = self._near.ticket(), self._watched.look(), self._clock()
        for key, info in self._storage.find_many(list(spellings)).items():
            if info.validation_result.is_valid:
                self._near.keep(key, spellings[key], info, now=now, sight=sight, ticket=ticket)

    async def _fly(
        self, question: _Question, patience: float | None
    ) -> tuple[tuple[CachedSymbolInfo | None, bool], bool]:
        """Ask with all others who want the same, and go away when patience (seconds) is at its end."""
        try:
            return await self._flights.run(question.key, partial(self._validate, question), soft_timeout=patience)
        except SoftTimeoutError as error:
            slow = ProviderTimeoutError(f"{question.instrument}: {error} (setting 'soft_timeout')")
            self._calls.is_slow(slow)
            raise slow from None

    async def _validate(self, question: _Question, *, anew: bool = False) -> tuple[CachedSymbolInfo | None, bool]:
        """Ask the provider when it is this process's turn, unless the answer is there by then.

        Args:
            question: What to ask.
            anew: Whether to ask although the answer is known, as it is nearly over.
        """
        wanted = question.wanted
        # A refresh that hangs must not hold up who lacks something.
        lease = f"{question.key}|refresh" if anew else question.key

        def is_enough(info: CachedSymbolInfo | None) -> bool:
            now = self._clock()
            if info is None or not rules.answers(info, wanted, now):
                return False
            return not anew or now < rules.refresh_at(info, self._policy)

        look = partial(self._find, question.symbol, question.instrument, question.key)
        turn, info = await self._fleet.turn(lease, look, is_enough, None if anew else self._policy.timeout)
        if turn is None:
            return info, False
        try:
            self._tally.refreshes += anew
            asked = self._lacking(info, wanted) if info is not None and not anew else wanted
            answer = await self._calls.ask(question.key, str(question.instrument), asked, question.validate)
            # Whoever leaves now, what the provider said is stored before the next one has its turn.
            done = partial(self._fleet.give_back, lease, turn)
            keeping = self._threads.run(self._keep, question, answer, asked, info, done)
        except BaseException:
            self._fleet.give_back(lease, turn)
            raise
        return await keeping, True

    def _lacking(self, info: CachedSymbolInfo, wanted: tuple[str, ...]) -> tuple[str, ...]:
        now = self._clock()
        return rules.missing(info, wanted, now) if rules.answers(info, (), now) else wanted

    def _keep(
        self,
        question: _Question,
        answer: ProviderAnswer,
        asked: Sequence[str],
        known: CachedSymbolInfo | None,
        done: Callable[[], None],
    ) -> CachedSymbolInfo:
        key, ticket, sight = question.key, self._near.ticket(), self._watched.look()
        try:
            info = self._storage.keep(key, self._merging(key, answer, asked), known)
        finally:
            self._near.forget(key)
            done()
        if _may_be_near(question.instrument, info):
            # Even if it is not stored, as beside an entry of a newer schema; unless someone else has written, too.
            self._near.keep(key, question.symbol, info, now=self._clock(), sight=sight, ticket=ticket + 1)
        return info

    def _merging(
        self, key: str, answer: ProviderAnswer, asked: Sequence[str]
    ) -> Callable[[CachedSymbolInfo | None], CachedSymbolInfo]:
        now, policy = self._clock(), self._policy
        return lambda old: rules.merge(old, answer, asked, key, now, policy)

    def _refresh(self, question: _Question) -> None:
        self._check_open()
        if self._calls.spared(question.key) is None:
            self._flights.start(f"{question.key}|refresh", partial(self._validate, question, anew=True))

    def _patience(self, fallback: CachedSymbolInfo | None, now: float) -> float | None:
        # Who has only a part of the answer waits for the rest, as who has nothing does.
        if fallback is None or rules.answers(fallback, (), now):
            return None
        return self._policy.soft_timeout

    def _servable(self, info: CachedSymbolInfo, now: float) -> bool:
        return rules.freshness(info, now, self._policy) is not Freshness.EXPIRED

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

    def _flush(self) -> None:
        try:
            self._shared.flush(self._counters())
        except BackendError as error:
            log.warning("symbol cache counters not stored: %s", error)

    def _check_open(self) -> None:
        self._forks.check()
        if self._closed:
            raise ClosedError("this symbol cache is closed")


def _may_be_near(instrument: Instrument, info: CachedSymbolInfo) -> bool:
    """Whether an entry is true on its own; what a qualified negative is worth depends on its plain symbol's."""
    return info.validation_result.is_valid or not instrument.is_qualified


def _names(timeframes: Iterable[str]) -> tuple[str, ...]:
    return (timeframes,) if isinstance(timeframes, str) else tuple(dict.fromkeys(timeframes))


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"
