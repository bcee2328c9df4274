"""The replay gateway: recorded US listings and daily bars, for use without an account anywhere."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from functools import cached_property
from importlib.resources import files
from string import ascii_uppercase
from typing import Any, NamedTuple

from symcache_core import ContractInfo, ProviderAnswer, ValidationResult
from symcache_core.errors import ProviderError, SymbolNotFoundError
from symcache_core.symbols import Instrument

from .gateway import Bar, Bars, Caller, Finding
from .preferred import preferred_shares
from .wire import Basis, Session

RECORDED = "1d"
BASIS = Basis(show="TRADES", adjustment="none", session="regular")
SHARES = ("", "STK")
LETTERS = ascii_uppercase + " "
LEAST_ALIKE = 3  # of fewer letters in common, many a short symbol is another company's


class Listing(NamedTuple):
    """One row of the list of symbols; ``symbol`` in the canonical spelling."""

    symbol: str
    name: str
    exchange: str
    asset_type: str
    currency: str


class ReplayGateway:
    """Answers from the recordings in this package, as slowly as a real provider.

    Args:
        latency: Seconds that each call takes.
        as_of: The last day it knows; its "now" is the end of that day.
    """

    name = "replay"
    notice = "REPLAY: recorded history, not live market data"
    connected = True
    problem = None
    problem_since = None

    def __init__(self, *, latency: float, as_of: date) -> None:
        self.calls = 0
        self._latency = latency
        self._as_of = datetime.combine(as_of, time.max, UTC)

    def as_of(self) -> datetime:
        """The end (UTC) of the last day it knows."""
        return self._as_of

    def status(self) -> dict[str, Any]:
        """There is nothing to say about a connection."""
        return {}

    async def look(self) -> list[Finding]:
        """There is nothing that could be away."""
        return [Finding("gateway", "ok", f"recorded history up to {self._as_of:%Y-%m-%d}")]

    async def open(self) -> None:
        """There is nothing to connect to."""

    async def aclose(self) -> None:
        """There is nothing to let go of."""

    async def validate(self, symbol: str, timeframes: Sequence[str], caller: Caller) -> ProviderAnswer:
        """Whether the symbol is listed, and since when each timeframe has recorded bars."""
        await self._answer_slowly()
        listing = self._find(symbol)
        if listing is None:
            return ProviderAnswer(
                ValidationResult(
                    is_valid=False,
                    symbol=symbol,
                    error_message=f"Symbol {symbol} not found",
                    suggested_symbol=self._nearest(symbol),
                )
            )
        return ProviderAnswer(
            ValidationResult(
                is_valid=True,
                symbol=symbol,
                contract_info=ContractInfo(
                    symbol=listing.symbol,
                    asset_type=listing.asset_type,
                    exchange=listing.exchange,
                    currency=listing.currency,
                    description=listing.name,
                    details={"provider": self.name},
                ),
                head_timestamps={timeframe: self._head(listing, timeframe) for timeframe in timeframes},
            )
        )

    async def bars(
        self,
        symbol: str,
        timeframe: str,
        start: datetime,
        end: datetime,
        caller: Caller,
        session: Session | None = None,
    ) -> Bars:
        """The recorded bars; none for any timeframe but ``1d``, and an error for any but the regular session."""
        await self._answer_slowly()
        listing = self._find(symbol)
        if listing is None:
            raise SymbolNotFoundError(f"Symbol {symbol} not found", suggested_symbol=self._nearest(symbol))
        if session not in (None, BASIS.session):
            raise ProviderError(f"replay has no bars of the {session} session: ask for those of the regular one")
        bars = [bar for bar in self._known(listing, timeframe) if start <= bar.time <= end]
        named = {"symbol": listing.symbol, "exchange": listing.exchange, "currency": listing.currency}
        return Bars(bars, named, BASIS)

    async def _answer_slowly(self) -> None:
        self.calls += 1
        await asyncio.sleep(self._latency)

    def _find(self, symbol: str) -> Listing | None:
        asked = Instrument.parse(symbol)
        listing = next((self._listings[form] for form in _forms(asked.symbol) if form in self._listings), None)
        if listing is None:
            return None
        fits = (
            asked.asset_type in SHARES
            and not (asked.trading_class or asked.multiplier)
            and asked.venue in ("", "SMART", listing.exchange.upper())
            and asked.currency in ("", listing.currency)
        )
        return listing if fits else None

    def _nearest(self, symbol: str) -> str | None:
        asked = Instrument.parse(symbol)
        if asked.asset_type not in SHARES:
            return None
        for near in _one_letter_apart(asked.symbol):
            if listed := near & self._listings.keys():
                return max(listed)
        return None

    def _head(self, listing: Listing, timeframe: str) -> str | None:
        first = next(iter(self._known(listing, timeframe)), None)
        return first.time.isoformat() if first else None

    def _known(self, listing: Listing, timeframe: str) -> list[Bar]:
        recorded = self._recordings.get(listing.symbol, []) if timeframe == RECORDED else []
        return [bar for bar in recorded if bar.time <= self._as_of]

    @cached_property
    def _listings(self) -> dict[str, Listing]:
        listings = {}
        for symbol, name, exchange, asset_type, currency, _cik in _rows("us_symbols.csv"):
            canonical = symbol.replace("-", " ")
            listings[canonical] = Listing(canonical, name, exchange, asset_type, currency)
        return listings

    @cached_property
    def _recordings(self) -> dict[str, list[Bar]]:
        recordings: dict[str, list[Bar]] = {}
        for symbol, day, *figures in _rows("daily_bars.csv.gz"):
            begin = datetime.fromisoformat(day).replace(tzinfo=UTC)
            recordings.setdefault(symbol, []).append(Bar(begin, *map(float, figures)))
        return recordings


def _forms(symbol: str) -> tuple[str, ...]:
    """How the list may have a symbol; it writes a preferred share as ``BAC PK``."""
    preferred = tuple(f"{root} P{series}" for root, series in preferred_shares(symbol))
    return (symbol, *preferred) if symbol.isupper() else (*preferred, symbol.upper())


def _one_letter_apart(symbol: str) -> Iterator[set[str]]:
    """What a symbol may have been meant to be: with a letter that was left out, without one that is too many.

    Looked up, because a search by likeness takes 13 ms, and a batch may have hundreds of unknown symbols.
    """
    places = range(len(symbol))
    if len(symbol) >= LEAST_ALIKE:
        yield {symbol[:place] + letter + symbol[place:] for place in (*places, len(symbol)) for letter in LETTERS}
    if len(symbol) > LEAST_ALIKE:
        yield {symbol[:place] + symbol[place + 1 :] for place in places}


def _rows(name: str) -> Iterator[list[str]]:
    content = files(__package__).joinpath("data", name).read_bytes()
    text = gzip.decompress(content) if name.endswith(".gz") else content
    rows = csv.reader(io.StringIO(text.decode()))
    next(rows)  # the names of the columns
    return rows
