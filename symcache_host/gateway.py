"""The seam between the host service and what it answers for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

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

    Others may come to wait for the same call. Then it inherits the priority of the most urgent of them.
    """

    client: str = ""
    priority: Priority = Priority.FOREGROUND
    _observers: list[Callable[[Caller], object]] = field(default_factory=list, init=False, repr=False, compare=False)

    def inherit(self, other: Caller) -> None:
        """Act for another one who waits for the same call, if that one is more urgent, and tell the observers."""
        if other.priority < self.priority:
            self.client, self.priority = other.client, other.priority
            for observer in tuple(self._observers):
                observer(self)

    @contextmanager
    def observed_by(self, observer: Callable[[Caller], object]) -> Iterator[None]:
        """Call an observer whenever the priority rises, as long as this lasts."""
        self._observers.append(observer)
        try:
            yield
        finally:
            self._observers.remove(observer)


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

    def as_of(self) -> datetime:
        """Its present (UTC); nothing later exists for it."""
        ...

    def status(self) -> Mapping[str, Any]:
        """What there is to say about its connection."""
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
