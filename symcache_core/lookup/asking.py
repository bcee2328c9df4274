"""Asks the provider for what is not known: once, however many callers, threads and processes want it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace

from ..concurrency.single_flight import SingleFlight, SoftTimeoutError
from ..concurrency.threads import StorageThreads
from ..entries.store import Merge
from ..errors import ClosedError, ProviderTimeoutError
from ..models import CachedSymbolInfo
from ..policy import Policy, answers, missing, rule_for
from ..protocols import Clock
from ..symbols import Instrument
from .fleet import Fleet
from .known import Known, Question
from .provider_calls import ProviderCalls

Found = tuple[CachedSymbolInfo | None, bool]
"""An entry, and whether the provider had to be asked for it."""


@dataclass(frozen=True, slots=True)
class Asking:
    """The questions of one cache to its provider.

    Args:
        known: Where answers are kept.
        find: Looks for one there.
        calls: The calls to the provider.
        fleet: Makes one process of many ask.
        threads: Which wait for the storage.
        policy: How long answers live, and how long to wait for one.
        clock: Seconds since the epoch.
        tally: Where refreshes are counted.
        flights: What is under way, by key.
    """

    known: Known
    find: Callable[[str, Instrument, str], CachedSymbolInfo | None]
    calls: ProviderCalls
    fleet: Fleet
    threads: StorageThreads
    policy: Policy
    clock: Clock
    tally: SimpleNamespace
    flights: SingleFlight[Found] = field(default_factory=SingleFlight)

    async def ask(self, question: Question, soft_timeout: float | None) -> tuple[Found, bool]:
        """Ask with all others who want the same; tells, too, whether this caller was the first of them.

        Args:
            question: What to ask.
            soft_timeout: Seconds after which this caller goes away, and the call goes on.

        Raises:
            ProviderTimeoutError: The soft timeout passed.
            Exception: What the provider raised.
        """
        try:
            return await self.flights.run(question.key, partial(self._validate, question), soft_timeout=soft_timeout)
        except SoftTimeoutError as error:
            slow = ProviderTimeoutError(f"{question.instrument}: {error} (setting 'soft_timeout')")
            self.calls.timed_out(slow)
            raise slow from None

    def refresh(self, question: Question) -> None:
        """Ask in the background, unless that is under way."""
        self.flights.start(f"{question.key}|refresh", partial(self._validate, question, anew=True))

    async def _validate(self, question: Question, *, anew: bool = False) -> Found:
        """Ask the provider when this process may, unless the answer is there by then.

        Args:
            question: What to ask.
            anew: Whether to ask although the answer is known, as it is nearly over.
        """
        # A refresh that hangs must not hold up who lacks something.
        lease = f"{question.key}|refresh" if anew else question.key

        def is_enough(info: CachedSymbolInfo | None) -> bool:
            rule = rule_for(info, question.wanted, self.clock(), self.policy)
            return not (rule.asks if anew else rule.waits)

        look = partial(self.find, question.symbol, question.instrument, question.key)
        remember = partial(self.known.remembered, question.instrument, question.key)
        timeout = None if anew else self.policy.timeout
        permit, info = await self.fleet.acquire(lease, look, is_enough, timeout, remember)
        if permit is None:
            return info, False
        try:
            self.tally.refreshes += anew
            asked = question.wanted if anew else self._lacking(info, question.wanted)
            answer = await self.calls.ask(question.key, str(question.instrument), asked, question.validate)
            merge = self.known.merging(question.key, answer, asked)
        except BaseException:
            self.fleet.release(permit)
            raise
        return await self._keep(question, merge, info, partial(self.fleet.release, permit)), True

    async def _keep(
        self, question: Question, merge: Merge, known: CachedSymbolInfo | None, done: Callable[[], None]
    ) -> CachedSymbolInfo:
        try:
            # Whoever leaves now, what the provider said is stored before the next one may ask.
            keep = partial(self.known.keep, question, merge, known, done)
            kept = await self.threads.attempt(keep, lambda: not self.known.reach.can_write())
        except ClosedError:
            done()
            raise
        return self.known.keep_for_later(question, merge, known, done) if kept is None else kept[0]

    def _lacking(self, info: CachedSymbolInfo | None, wanted: tuple[str, ...]) -> tuple[str, ...]:
        now = self.clock()
        return missing(info, wanted, now) if info is not None and answers(info, (), now) else wanted
