"""The seam between the host service and what it answers for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from symcache_core import ProviderAnswer


class Bar(NamedTuple):
    """One bar; ``time`` (UTC) is when it begins."""

    time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


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

    async def validate(self, symbol: str, timeframes: Sequence[str]) -> ProviderAnswer:
        """Whether a symbol is valid, which contract it is, and since when each timeframe has data.

        Raises:
            ProviderError: There is no verdict.
        """
        ...

    async def bars(self, symbol: str, timeframe: str, start: datetime, end: datetime) -> Sequence[Bar]:
        """The bars that begin from ``start`` to ``end``, both included, in rising order.

        Raises:
            SymbolNotFoundError: There is no such instrument.
            ProviderError: The bars could not be had.
        """
        ...
