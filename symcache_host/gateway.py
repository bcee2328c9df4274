"""The seam between the host service and what it answers for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, Literal, NamedTuple, Protocol

from symcache_core import ProviderAnswer

from .wire import Basis, Session


class Bar(NamedTuple):
    """One bar; ``time`` (UTC) is when it begins."""

    time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


class Bars(NamedTuple):
    """Bars in rising order, which contract they are of, and what they are made of."""

    bars: Sequence[Bar]
    contract: Mapping[str, Any]
    basis: Basis


class Problem(NamedTuple):
    """What is wrong with the way to a provider, in one line, what to do about it, and the provider's code, if any."""

    text: str
    advice: str
    code: int | None = None


class Finding(NamedTuple):
    """What a look at one thing found, and what to do if that is not well."""

    what: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    advice: str | None = None


class Priority(IntEnum):
    """Which call goes first where not all can go at once."""

    FOREGROUND = 0
    """Somebody waits for the answer."""
    REFRESH = 1
    """What is known grows old."""
    WARMING = 2
    """It may be asked for one day."""


@dataclass
class Caller:
    """On whose behalf a gateway is called; clients of one priority are served round robin.

    It may stand for several who wait for the same call; then it changes as they come and go.
    """

    client: str = ""
    priority: Priority = Priority.FOREGROUND
    _observers: list[Callable[[Caller], object]] = field(default_factory=list, init=False, repr=False, compare=False)

    def act_for(self, other: Caller) -> None:
        """Take over the client and the priority of another one, and tell the observers if that is a change."""
        if (self.client, self.priority) != (other.client, other.priority):
            self.client, self.priority = other.client, other.priority
            for observer in tuple(self._observers):
                observer(self)

    @contextmanager
    def observed_by(self, observer: Callable[[Caller], object]) -> Iterator[None]:
        """Call an observer whenever it changes, as long as this lasts."""
        self._observers.append(observer)
        try:
            yield
        finally:
            self._observers.remove(observer)


class Waiters:
    """Those who wait for the same, and what is called on their behalf: for the most urgent of them at any time.

    Args:
        otherwise: On whose behalf it is called when nobody waits; without one, for whoever left last.
    """

    def __init__(self, otherwise: Caller | None = None) -> None:
        self._otherwise = otherwise
        self._waiting: dict[object, Caller] = {}
        self._standing: dict[object, Caller] = {}

    @property
    def anyone(self) -> bool:
        """Whether anyone waits."""
        return bool(self._waiting)

    @property
    def in_use(self) -> bool:
        """Whether anyone waits, or anything is called."""
        return bool(self._waiting or self._standing)

    @contextmanager
    def joined_by(self, caller: Caller) -> Iterator[None]:
        """Count someone among those who wait, as long as this lasts."""
        try:
            with _listed(self._waiting, caller), caller.observed_by(self._tell):
                self._tell()
                yield
        finally:
            self._tell()

    @contextmanager
    def stood_for(self) -> Iterator[Caller]:
        """The caller who stands for all of them, as long as this lasts."""
        caller = Caller()
        with _listed(self._standing, caller):
            self._tell()
            yield caller

    def _tell(self, _changed: Caller | None = None) -> None:
        most_urgent = min(self._waiting.values(), key=lambda caller: caller.priority, default=self._otherwise)
        if most_urgent is not None:
            for caller in tuple(self._standing.values()):
                caller.act_for(most_urgent)


@contextmanager
def _listed(callers: dict[object, Caller], caller: Caller) -> Iterator[None]:
    entry = object()  # one caller may wait several times
    callers[entry] = caller
    try:
        yield
    finally:
        del callers[entry]


class Gateway(Protocol):
    """A source of verdicts and bars."""

    @property
    def name(self) -> str:
        """Whose answers these are: part of every key they are cached under."""
        ...

    @property
    def notice(self) -> str | None:
        """What everyone who looks at its answers must know, if anything."""
        ...

    @property
    def calls(self) -> int:
        """How often it was called since it was opened."""
        ...

    @property
    def connected(self) -> bool:
        """Whether it can answer now."""
        ...

    @property
    def problem(self) -> Problem | None:
        """Why it cannot answer, or not about everything; None when all is well."""
        ...

    @property
    def problem_since(self) -> datetime | None:
        """Since when there is a problem without a break (UTC)."""
        ...

    def as_of(self) -> datetime:
        """Its present (UTC); nothing later exists for it."""
        ...

    def status(self) -> Mapping[str, Any]:
        """What there is to say about its connection."""
        ...

    async def look(self) -> Sequence[Finding]:
        """See whether it can answer: connect at once if need be, and ask for something that it has to know.

        Takes no longer than some seconds. What fails is a finding.
        """
        ...

    async def open(self) -> None:
        """Begin to connect; does not wait until it can answer."""
        ...

    async def aclose(self) -> None:
        """Let go of its connections."""
        ...

    async def validate(self, symbol: str, timeframes: Sequence[str], caller: Caller) -> ProviderAnswer:
        """Whether a symbol is valid, which contract it is, and since when each timeframe has data.

        Raises:
            ProviderError: There is no verdict.
        """
        ...

    async def bars(
        self,
        symbol: str,
        timeframe: str,
        start: datetime,
        end: datetime,
        caller: Caller,
        session: Session | None = None,
    ) -> Bars:
        """The bars that begin from ``start`` to ``end``, both included, in rising order.

        They are of the hours that are usual for the instrument, or of those of ``session``.

        Raises:
            SymbolNotFoundError: There is no such instrument.
            ProviderError: The bars could not be had.
        """
        ...
