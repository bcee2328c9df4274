"""PolicyCache: the symbol cache over any storage backend."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Self

from .. import policy as rules
from ..clocks import checked
from ..concurrency.forks import ForkGuard
from ..concurrency.threads import StorageThreads
from ..concurrency.workers import in_a_thread
from ..entries.store import read_only_of
from ..errors import ClosedError
from ..messages import warn_unclosed
from ..models import CachedSymbolInfo, CacheStats, Lookup, Outcome, SymbolLookup
from ..policy import Policy, Rule
from ..protocols import AnyAnswer, Clock, StorageBackend, Validate
from ..symbols import Instrument
from .asking import Asking
from .bulk import look_up_many
from .counters import LookupCounters, SharedCounters
from .explain import Explanation, explain
from .fleet import Fleet
from .known import Known, Question
from .near_cache import Get, NearCache, fast_get
from .provider_calls import ProviderCalls


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
    _closed = True  # until it is open

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
        self._clock = checked(clock)
        self._forks = ForkGuard(self._begin, lambda: self._let_go())  # noqa: PLW0108  # each beginning makes another
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not (self._closed or self._forks.is_inherited):
            warn_unclosed(self, f"symbol cache of provider {self._provider!r} over {self._name!r}")

    def peek(self, symbol: str) -> CachedSymbolInfo | None:
        """Whatever is known of a symbol, over or not; counts as no lookup."""
        self._check_open()
        return self._known.storage.find(Instrument.parse(symbol).key(self._provider))

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
        error, throttled_until = self._calls.last_failure(key)
        return explain(
            self._known.stored(instrument, key),
            _names(timeframes),
            self._clock(),
            self._policy,
            symbol=str(instrument),
            key=key,
            provider=self._provider,
            error=error,
            throttled_until=throttled_until,
            storage_error=self._known.storage.error,
        )

    def store(self, symbol: str, answer: AnyAnswer) -> CachedSymbolInfo:
        """Keep a provider's answer, merged with what is already known of other timeframes.

        Args:
            symbol: As anyone writes it.
            answer: The answer, or a verdict of whatever class that has the six fields of a ``ValidationResult``.

        Returns:
            The entry as it is now. A valid symbol that is called invalid stays valid until a second answer agrees.

        Raises:
            InvalidSymbolError: The text cannot be a symbol.
            InvalidAnswerError: The answer lacks a field, or has something in it that does not belong there.
            ProviderError: The answer comes from another provider than this cache's.
            BackendError: The storage did not take it.
        """
        self._check_open()
        key = Instrument.parse(symbol).key(self._provider)
        return self._known.store(key, self._calls.checked(answer))

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
        # Most lookups end here, without a parsed symbol, a lock or a hop to another thread.
        wanted, now = _names(timeframes), self._clock()
        info = self._known.near_hit(symbol, wanted, now)
        if info is not None and now < rules.refresh_at(info, self._policy):
            return self._answer(symbol, Outcome.HIT, info, now, wanted)
        instrument = Instrument.parse(symbol)
        question = Question(symbol, instrument, instrument.key(self._provider), wanted, validate)
        self._check_open()
        if info is None:
            info = await self._found(question)
        outcome = Outcome.HIT
        # A round more for who waited with others: the one that asked may have wanted other timeframes, so what is there
        # now is judged anew by this caller's own wants. Each round has an answer or a provider's error that others
        # waited for.
        while True:
            now = self._clock()
            rule, error = self._decide(question, info, now)
            if info is not None and not rule.waits:
                if rule is Rule.REFRESH_AHEAD:
                    self._asking.refresh(question)
                return self._answer(symbol, outcome if error is None else Outcome.STALE, info, now, wanted, error)
            fallback = info if rule.asks_with_fallback else None
            try:
                # Who has only a part of the answer waits for the rest, as who has nothing does.
                soft_timeout = self._policy.soft_timeout if rule is Rule.STALE_IF_ERROR else None
                (info, asked), led = await self._asking.ask(question, soft_timeout)
            except Exception as error:
                if fallback is None:
                    self._counters.missed(symbol)
                    raise
                return self._answer(symbol, Outcome.STALE, fallback, self._clock(), wanted, error)
            # Whoever led has what it asked for, even if it lives so short that it is over by now; so has everyone who
            # wanted no more than that.
            if led and info is not None:
                return self._answer(symbol, Outcome.MISS if asked else Outcome.HIT, info, self._clock(), wanted)
            outcome = Outcome.COALESCED
            if asked and info is not None and rules.is_answered_since(info, wanted, now):
                return self._answer(symbol, outcome, info, self._clock(), wanted)

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
        return self._known.delete(key)

    def symbols(self) -> Iterator[str]:
        """The canonical spelling of every symbol of this provider, in no particular order."""
        self._check_open()
        return self._known.spellings()

    def clear(self) -> int:
        """Drop every symbol of this provider; tells how many there were."""
        self._check_open()
        return self._known.clear()

    def get_stats(self) -> CacheStats:
        """What this cache has answered so far, and how many symbols it holds."""
        self._check_open()
        counters, storage = self._counters.current(), self._known.storage
        totals, since = self._counters.totals() if storage.reach.is_well() else (counters, None)
        cached, size = storage.count(), storage.size()
        trouble = storage.error or read_only_of(self._backend)
        return CacheStats(
            **counters.model_dump(exclude={"hit_ratio"}),
            backend=self._name,
            provider=self._provider,
            cached_symbols=cached,
            waiting=self._asking.flights.waiting(),
            degraded=trouble is not None or bool(storage.unwritten),
            trouble=None if trouble is None else str(trouble),
            unwritten=storage.unwritten,
            size=size,
            totals=totals,
            since=since,
        )

    def close(self) -> None:
        """Store what is not yet stored and let go of the storage; a second call does nothing."""
        if self._closed:
            return
        self._forks.check()
        self._closed = True
        try:
            self._known.near.clear()
            if self._known.storage.settle():
                self._counters.flush()
            self._asking.fleet.close()
        finally:
            try:
                self._backend.close()
            finally:
                self._threads.close()

    async def aclose(self, drain: float = 0.0) -> None:
        """Wait for background work of the running loop, then close.

        Args:
            drain: Seconds to wait; what is not done by then is cancelled.
        """
        await self._asking.flights.drain(drain, last=True)
        if not self._closed:
            await in_a_thread(self.close)  # of its own: the others may all hang

    def _begin(self) -> None:
        """Make what has a lock, a thread or a count; a forked child makes its own.

        A thread that is not there may hold the parent's locks, and what waits or has been counted is the parent's.
        """
        inherited: Asking | None = vars(self).get("_asking")
        self._let_go: Callable[[], None] = (lambda: None) if inherited is None else inherited.fleet.abandon
        near = NearCache(self._near_cache_size, self._near_cache_age)
        terms = self._policy, self._clock
        self._known = Known(self._backend, self._provider, *terms, near=near, storage_retry=self._storage_retry)
        reach = self._known.reach
        shared = SharedCounters(self._backend, self._provider, self._clock, reach)
        self._counters = LookupCounters(shared, self._name)
        self.get, self._counters.fast_hits = fast_get(near, self._clock, self._get)
        self._calls = ProviderCalls(self._provider, *terms, self._counters.tally)
        self._threads = StorageThreads(reach.patience, reach.gave_up)
        fleet = Fleet(self._backend, self._threads, reach)
        self._asking = Asking(self._known, self._find, self._calls, fleet, self._threads, *terms, self._counters.tally)

    def _get(self, symbol: str, timeframes: Iterable[str]) -> CachedSymbolInfo | None:
        wanted, now = _names(timeframes), self._clock()
        info = self._known.near_hit(symbol, wanted, now)
        if info is None:
            instrument = Instrument.parse(symbol)
            info = self._find(symbol, instrument, instrument.key(self._provider))
            self._tend()
            if info is None or not rules.answers(info, wanted, now):
                self._counters.missed(symbol)
                return None
        self._counters.answered(symbol, Outcome.HIT, info, now)
        return info

    def _find(self, symbol: str, instrument: Instrument, key: str) -> CachedSymbolInfo | None:
        self._check_open()
        return self._known.find(symbol, instrument, key)

    def _tend(self) -> None:
        """Store what has waited long enough; after a lookup has found what it wants, and for some of them only."""
        if self._known.reach.is_well():
            self._counters.flush_if_due()
        self._known.storage.catch_up()

    async def _found(self, question: Question) -> CachedSymbolInfo | None:
        """What is known of a symbol, without waiting for a storage that is silent."""
        found: list[CachedSymbolInfo | None] = []

        def find() -> None:
            found.append(self._find(question.symbol, question.instrument, question.key))
            self._tend()

        await self._threads.attempt(find, lambda: bool(found) or self._is_silent())
        return found[0] if found else self._known.remembered(question.instrument, question.key)

    async def _read_ahead(self, symbols: Sequence[str]) -> None:
        self._check_open()
        await self._threads.attempt(partial(self._known.read_ahead, symbols), self._is_silent)

    def _is_silent(self) -> bool:
        return not self._known.reach.can_read()

    def _decide(self, question: Question, info: CachedSymbolInfo | None, now: float) -> tuple[Rule, Exception | None]:
        """Which rule serves, and the provider's failure if that is why it is not asked."""
        rule = rules.rule_for(info, question.wanted, now, self._policy)
        if not rule.asks_with_fallback or (error := self._calls.throttled(question.key)) is None:
            return rule, None
        rule = rules.rule_for(info, question.wanted, now, self._policy, throttled=True)
        return rule, error if rule is Rule.RETRY_THROTTLE else None

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
        self._counters.answered(symbol, outcome, info, now)
        verdict = rules.verdict_for(info, wanted)
        return Lookup(verdict, outcome, max(0.0, now - info.cached_at), info, missing, error)

    def _check_open(self) -> None:
        self._forks.check()
        if self._closed:
            raise ClosedError("this symbol cache is closed")


def _names(timeframes: Iterable[str]) -> tuple[str, ...]:
    return (timeframes,) if isinstance(timeframes, str) else tuple(dict.fromkeys(timeframes))
