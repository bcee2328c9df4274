"""The seam between the host service and what it answers for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

from symcache_core import ProviderAnswer


class Bar(NamedTuple):
    """One bar; ``time`` (UTC) is when it begins."""

    time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


class Priority(IntEnum):
    """Who goes first where not all can go at once."""

    FOREGROUND = 0
    """Somebody waits for the answer."""
    REFRESH = 1
    """What is known grows old."""
    WARMING = 2
    """It may be asked for one day."""


@dataclass
class Asker:
    """For whom a gateway is asked; of one priority, the clients take turns.

    Others may come to want the same meanwhile: then it is asked for the most urgent of them.
    """

    client: str = ""
    priority: Priority = Priority.FOREGROUND
    _listeners: list[Callable[[Asker], object]] = field(default_factory=list, init=False, repr=False, compare=False)

    def join(self, other: Asker) -> None:
        """Ask for another one, too, and tell who listens if that makes it more urgent."""
        if other.priority < self.priority:
            self.client, self.priority = other.client, other.priority
            for listener in tuple(self._listeners):
                listener(self)

    @contextmanager
    def telling(self, listener: Callable[[Asker], object]) -> Iterator[None]:
        """Tell a listener for as long as this lasts."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)


ANYONE = Asker()


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
        """How often it was asked since it was opened."""
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

    async def validate(self, symbol: str, timeframes: Sequence[str], asker: Asker = ANYONE) -> ProviderAnswer:
        """Whether a symbol is valid, which contract it is, and since when each timeframe has data.

        Raises:
            ProviderError: There is no verdict.
        """
        ...

    async def bars(
        self, symbol: str, timeframe: str, start: datetime, end: datetime, asker: Asker = ANYONE
    ) -> Sequence[Bar]:
        """The bars that begin from ``start`` to ``end``, both included, in rising order.

        Raises:
            SymbolNotFoundError: There is no such instrument.
            ProviderError: The bars could not be had.
        """
        ...
