"""Calls a provider: bounded in time, counted, checked, and left alone for a while after a failure."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

from ..concurrency.breaker import Breaker
from ..concurrency.tasks import call
from ..errors import ProviderError, ProviderTimeoutError, may_pass
from ..models import Provenance, ProviderAnswer
from ..policy import Policy
from ..protocols import AnyAnswer, Clock, Validate

log = logging.getLogger("symcache")

_MOST_KEYS = 10_000


class ProviderCalls:
    """The calls that one cache makes.

    Args:
        provider: Whose answers are wanted.
        policy: How long to wait for an answer, and between failures.
        clock: Seconds since the epoch.
        tally: Where ``provider_calls`` and ``provider_errors`` are counted.
    """

    def __init__(self, provider: str, policy: Policy, clock: Clock, tally: SimpleNamespace) -> None:
        self._provider = provider
        self._policy = policy
        self._clock = clock
        self._tally = tally
        self._overall = Breaker(clock, policy.retry_throttle)
        self._lock = threading.Lock()
        self._by_key: dict[str, Breaker] = {}

    def last_failure(self, key: str) -> tuple[Exception | None, float | None]:
        """Why the provider failed last, about this key or as a whole, and until when it is left alone for that."""
        breakers = [breaker for breaker in (self._overall, self._by_key.get(key)) if breaker is not None]
        errors = [breaker.error for breaker in breakers if breaker.error is not None]
        ends = [until for breaker in breakers if (until := breaker.open_until()) is not None]
        return next(iter(errors), None), max(ends, default=None)

    def throttled(self, key: str) -> Exception | None:
        """Why the provider is better not asked about a key by someone who can do without it.

        ``None`` bids the caller ask; for as long as the provider fails, it is the only one in a while.
        """
        # The provider as a whole first, and without using up the symbol's own probe.
        if self._overall.open_until() is not None:
            return self._overall.error
        failing = self._by_key.get(key)
        if failing is not None and not failing.allows():
            return failing.error
        return None if self._overall.allows() else self._overall.error

    def timed_out(self, error: ProviderTimeoutError) -> None:
        """Take note that a caller has not waited for an answer; throttles the provider until one comes."""
        self._overall.failed(error)

    async def ask(self, key: str, spelling: str, timeframes: Sequence[str], validate: Validate) -> ProviderAnswer:
        """Ask the provider.

        Raises:
            ProviderTimeoutError: It did not answer in time; the call is cancelled, and not waited for.
            Exception: What ``validate`` raised, unchanged.
        """
        self._tally.provider_calls += 1
        try:
            answer = self.checked(await self._bounded(spelling, timeframes, validate))
        except Exception as error:
            self._tally.provider_errors += 1
            self._note(key, error)
            log.info("symbol cache provider error %s: %s", spelling, " ".join(str(error).split()))
            raise
        self._overall.succeeded()
        self._by_key.pop(key, None)
        return answer

    def checked(self, given: AnyAnswer) -> ProviderAnswer:
        """The answer, if it is one and of this cache's provider; all of them come in here.

        Raises:
            InvalidAnswerError: It is none.
            ProviderError: It is another provider's.
        """
        answer = ProviderAnswer.of(given)
        if not isinstance(given, ProviderAnswer):
            origin = Provenance(provider=self._provider, spelling=answer.result.symbol)
            answer = replace(answer, provenance=origin)
        if answer.provenance.provider not in (None, self._provider):
            raise ProviderError(
                f"this cache holds answers of provider {self._provider!r}, and this one is of "
                f"{answer.provenance.provider!r}: change the setting 'provider'"
            )
        return answer

    async def _bounded(self, spelling: str, timeframes: Sequence[str], validate: Validate) -> AnyAnswer:
        asked = await call(validate(spelling, timeframes), self._policy.timeout)
        if not asked.done():
            limit = self._policy.timeout
            raise ProviderTimeoutError(f"{spelling}: no answer within {limit:g} s (setting 'timeout')")
        if asked.cancelled():
            raise ProviderError(f"{spelling}: the provider cancelled its own call")
        return asked.result()

    def _note(self, key: str, error: Exception) -> None:
        wait = error.retry_after if isinstance(error, ProviderError) else None
        if may_pass(error):
            self._overall.failed(error, wait)
            return
        with self._lock:
            breaker = self._by_key.setdefault(key, Breaker(self._clock, self._policy.retry_throttle))
            if len(self._by_key) > _MOST_KEYS:
                del self._by_key[next(iter(self._by_key))]
        breaker.failed(error, wait)
