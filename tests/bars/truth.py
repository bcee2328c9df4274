"""Simulated providers: what they give is a function of the time and the symbol, and they note what they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import exchange_calendars
import numpy as np
import pandas as pd
import pytest

from symcache_core import ContractInfo, SymcacheSettings, ValidationResult
from symcache_core.loading import DataManager

PRICES = ["open", "high", "low", "close"]

Truth = Callable[[pd.Timestamp, str], pd.DataFrame]
"""All bars that there are, as they are told at a moment, of a timeframe."""


def at(text: str) -> pd.Timestamp:
    """A moment (UTC)."""
    return pd.Timestamp(text, tz="UTC").as_unit("ns")


class Clock:
    """A clock that a test sets; both the cache's and the provider's."""

    def __init__(self, now: str) -> None:
        self.now = at(now)

    def __call__(self) -> float:
        return self.now.timestamp()

    def set(self, now: str | pd.Timestamp) -> None:
        self.now = at(now) if isinstance(now, str) else now

    def advance(self, **span: float) -> None:
        self.now += pd.Timedelta(**span)


@dataclass
class Listing:
    """A contract: its bars, and how its provider describes it. Without ``con_id`` the provider knows no ids."""

    truth: Truth
    con_id: int | None = None
    kind: str = "STK"
    exchange: str = "NASDAQ"
    currency: str = "USD"
    head: str | Callable[[pd.Timestamp], str | None] | None = "2000-01-01T00:00:00+00:00"
    hours: Mapping[str, Any] | None = None
    last_trade_date: date | None = None
    says_contract: bool = True

    def described(self, symbol: str) -> ContractInfo:
        contract = {} if self.con_id is None else {"conId": self.con_id, "primaryExchange": self.exchange}
        return ContractInfo(
            symbol=symbol,
            asset_type=self.kind,
            exchange=self.exchange,
            currency=self.currency,
            contract=contract,
            trading_hours=self.hours,
            last_trade_date=self.last_trade_date,
        )

    def head_at(self, now: pd.Timestamp) -> str | None:
        return self.head(now) if callable(self.head) else self.head


class Asked(NamedTuple):
    """One request for bars."""

    symbol: str
    timeframe: str
    start: pd.Timestamp
    end: pd.Timestamp
    now: pd.Timestamp


@dataclass
class TruthProvider:
    """Gives of each name's listing what is true at the clock's moment.

    Args:
        clock: Tells that moment.
        names: The listing of each symbol; a function of the moment where a name passes on.
        trouble: Is called with the number of the request (from 1) and the request; gives an error to raise, a frame to
            answer in place of the truth, or ``None``.
        latency: Tells how many (real) seconds the next answer takes.
    """

    clock: Clock
    names: Mapping[str, Listing | Callable[[pd.Timestamp], Listing]]
    trouble: Callable[[int, Asked], Exception | pd.DataFrame | None] = lambda _number, _asked: None
    latency: Callable[[], float] | None = None
    provider: str = "ib"
    asked: list[Asked] = field(default_factory=list)
    validated: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def as_of(self) -> datetime:
        return self.clock.now.to_pydatetime(warn=False)

    def listing(self, symbol: str) -> Listing:
        found = self.names[symbol]
        return found if isinstance(found, Listing) else found(self.clock.now)

    async def validate_and_get_metadata(self, symbol: str, timeframes: Sequence[str]) -> ValidationResult:
        self.validated.append((symbol, tuple(timeframes)))
        listing = self.listing(symbol)
        heads = dict.fromkeys(timeframes, listing.head_at(self.clock.now))
        return ValidationResult(
            is_valid=True, symbol=symbol, contract_info=listing.described(symbol), head_timestamps=heads
        )

    async def fetch_historical_data(
        self, symbol: str, timeframe: str, start: datetime, end: datetime, instrument_type: str | None = None
    ) -> pd.DataFrame:
        request = Asked(symbol, timeframe, pd.Timestamp(start), pd.Timestamp(end), self.clock.now)
        self.asked.append(request)
        number = len(self.asked)
        if self.latency is not None:
            await asyncio.sleep(self.latency())
        listing = self.listing(symbol)
        answer = self.trouble(number, request)
        if isinstance(answer, Exception):
            raise answer
        given = listing.truth(self.clock.now, timeframe) if answer is None else answer
        given = given.loc[request.start : request.end].copy() if answer is None else given.copy()
        if listing.says_contract and listing.con_id is not None:
            given.attrs["contract"] = {"conId": listing.con_id}
        return given

    def times_asked(self, stamps: pd.DatetimeIndex, since: int = 0) -> pd.Series:
        """How often each stamp lay within a request, of those after the first so many."""
        times = pd.Series(0, index=stamps)
        for request in self.asked[since:]:
            times.loc[request.start : request.end] += 1
        return times

    def manager(self, folder: Path, **settings: Any) -> DataManager:
        """A loader over this provider, with a symbol cache of its own."""
        told = SymcacheSettings(**{"backend": "memory", "data_dir": folder, **settings})
        return DataManager(told, external_provider=self, clock=self.clock)


@cache
def sessions(calendar: str, first: str, last: str) -> pd.DatetimeIndex:
    """The days of an exchange's sessions (midnights, UTC)."""
    known = exchange_calendars.get_calendar(calendar, start=first, end=last)
    return pd.DatetimeIndex(known.sessions, name="timestamp").tz_localize("UTC").as_unit("ns")


@cache
def closes(calendar: str, first: str, last: str) -> pd.Series:
    """When each of those sessions is over (UTC)."""
    known = exchange_calendars.get_calendar(calendar, start=first, end=last)
    return pd.Series(pd.DatetimeIndex(known.closes).as_unit("ns"), index=sessions(calendar, first, last))


def walk(index: pd.DatetimeIndex, seed: int = 1, level: float = 400.0, digits: int = 2) -> pd.DataFrame:
    """Bars with the prices of a random walk, shown with so many digits after the point."""
    noise = np.random.default_rng(seed)
    close = level * np.exp(np.cumsum(noise.normal(0, 0.008, len(index))))
    opening = close * np.exp(noise.normal(0, 0.003, len(index)))
    high = np.maximum(opening, close) * np.exp(np.abs(noise.normal(0, 0.003, len(index))))
    low = np.minimum(opening, close) * np.exp(-np.abs(noise.normal(0, 0.003, len(index))))
    prices = np.round([opening, high, low, close], digits)
    bars = pd.DataFrame(dict(zip(PRICES, prices, strict=True)), index=index)
    bars["volume"] = noise.integers(1_000, 100_000, len(index)).astype("float64")
    return bars.rename_axis("timestamp")


def weekly(daily: pd.DataFrame) -> pd.DataFrame:
    """The weeks of daily bars, each stamped with its Monday."""
    stamps = pd.DatetimeIndex(daily.index)
    mondays = (stamps - pd.to_timedelta(stamps.day_of_week, unit="D")).rename("timestamp")
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    weeks = daily.groupby(mondays).agg(how)
    return weeks.set_axis(pd.DatetimeIndex(weeks.index).as_unit("ns"))


Change = Callable[[pd.DataFrame, pd.Timestamp], pd.DataFrame]
"""What a provider makes of the daily bars that were, at a moment."""


def unchanged(daily: pd.DataFrame, _now: pd.Timestamp) -> pd.DataFrame:
    return daily


class Daily:
    """The truth of a share in New York: daily bars as soon as their session is over, and the weeks that are over.

    Args:
        first: The first day.
        last: The last one, beyond any moment of the test.
        change: What the provider makes of them.
        bars: Of each day; a random walk when left out.
    """

    def __init__(
        self, first: str, last: str, change: Change = unchanged, bars: pd.DataFrame | None = None, **of_walk: Any
    ) -> None:
        self._over = closes("XNYS", first, last)
        self.bars = walk(pd.DatetimeIndex(self._over.index), **of_walk) if bars is None else bars
        self._change = change

    def __call__(self, now: pd.Timestamp, timeframe: str) -> pd.DataFrame:
        over = self._over <= now
        daily = self._change(self.bars[over], now)
        if timeframe == "1d":
            return daily
        days = pd.DatetimeIndex(self._over.index)
        week = days - pd.to_timedelta(days.day_of_week, unit="D")
        whole = self._over.groupby(week).transform("max") <= now
        return weekly(daily[whole.loc[daily.index].to_numpy()])


def is_beginning(frame: pd.DataFrame, truth: pd.DataFrame) -> bool:
    """Whether a frame has the bars of the truth up to some moment, and no other ones."""
    begun = truth.iloc[: len(frame)]
    return frame.index.equals(begun.index) and bool((frame.to_numpy() == begun[frame.columns].to_numpy()).all())


def of_one_truth(frame: pd.DataFrame, *truths: pd.DataFrame) -> None:
    """Assert that all bars of a frame are those of one truth, up to some moment."""
    if not any(is_beginning(frame, truth) for truth in truths):
        closes = [int(frame["close"].eq(truth["close"].reindex(frame.index)).sum()) for truth in truths]
        pytest.fail(f"of {len(frame)} bars, {' and '.join(map(str, closes))} have the close of one truth or the other")


def same(frame: pd.DataFrame, truth: pd.DataFrame) -> None:
    """Assert that a frame has the bars of the truth, all of them and no others."""
    lacking, beside = truth.index.difference(frame.index), frame.index.difference(truth.index)
    assert not len(lacking), f"lacks {len(lacking)} bars: {lacking[0]} to {lacking[-1]}"
    assert not len(beside), f"has {len(beside)} bars that there are not: {beside[0]} to {beside[-1]}"
    pd.testing.assert_frame_equal(frame, truth, check_freq=False)
