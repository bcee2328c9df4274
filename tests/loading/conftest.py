"""A market of five real stocks to load from, and loaders over it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from exchange_calendars.pandas_extensions import korean_holiday
from stored_bars import answer_of

from symcache_core import ContractInfo, SymbolCache, SymcacheSettings, ValidationResult, open_symbol_cache
from symcache_core.loading import DataLoadingOrchestrator
from symcache_core.loading.bars.store import BarStore

NOW = datetime(2013, 3, 1, 23, 59, 59, tzinfo=UTC)

Bars = dict[str, pd.DataFrame]

LISTED = ContractInfo(asset_type="STK", exchange="NASDAQ")


@pytest.fixture(scope="session", autouse=True)
def remembered_korean_holidays() -> Iterator[None]:
    """Each lunar date is worked out once, and not for each calendar of Seoul: that takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("korean_lunar_to_solar", "korean_solar_to_lunar"):
            patch.setattr(korean_holiday, name, functools.cache(getattr(korean_holiday, name)))
        yield


@pytest.fixture(scope="session")
def source() -> Bars:
    """Every bar there is, by symbol, as the loader ought to give it back."""
    with (files("symcache_host") / "data" / "daily_bars.csv.gz").open("rb") as file:
        table = pd.read_csv(file, compression="gzip", parse_dates=["date"])
    table["date"] = table["date"].dt.tz_localize("UTC").dt.as_unit("ns")
    table["volume"] = table["volume"].astype("float64")
    return {
        str(symbol): group.drop(columns="symbol").rename(columns={"date": "timestamp"}).set_index("timestamp")
        for symbol, group in table.groupby("symbol")
    }


@dataclass
class Market:
    """A provider in memory that keeps a list of what it was asked.

    ``heads``, ``contracts`` and ``bars`` can be overridden, the latter also of one timeframe: ``("AAPL", "1h")``.
    ``trouble`` is called with the number of the call (from 1) and its start, and gives the error to raise, if any.
    """

    bars: dict[Any, pd.DataFrame]
    heads: dict[str, str | None] = field(default_factory=dict)
    contracts: dict[str, ContractInfo] = field(default_factory=dict)
    trouble: Callable[[int, datetime], Exception | None] = lambda _call, _start: None
    hangs: bool = False
    lookups: list[str] = field(default_factory=list)
    asked: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    fetching: asyncio.Event = field(default_factory=asyncio.Event)

    async def validate_and_get_metadata(self, symbol: str, timeframes: Sequence[str]) -> ValidationResult:
        self.lookups.append(symbol)
        if symbol not in self.bars and symbol not in self.heads:
            return ValidationResult(
                is_valid=False, symbol=symbol, error_message=f"Symbol {symbol} not found", suggested_symbol="META"
            )
        heads = {timeframe: self._head(symbol, timeframe) for timeframe in timeframes}
        return ValidationResult(
            is_valid=True, symbol=symbol, contract_info=self.contracts.get(symbol, LISTED), head_timestamps=heads
        )

    async def fetch_historical_data(
        self, symbol: str, timeframe: str, start: datetime, end: datetime, instrument_type: str | None = None
    ) -> pd.DataFrame:
        self.asked.append((symbol, start, end))
        self.fetching.set()
        try:
            if error := self.trouble(len(self.asked), start):
                raise error
            if self.hangs:
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            return self.table(symbol, timeframe).loc[start:end]
        finally:
            self.ended.append(symbol)

    def table(self, symbol: str, timeframe: str) -> pd.DataFrame:
        """All that there is."""
        return self.bars.get((symbol, timeframe), self.bars[symbol])

    def sessions_asked(self, symbol: str, timeframe: str = "1d") -> pd.DatetimeIndex:
        """The stamps of a symbol's bars within what was asked, rising; one that was asked twice is there twice."""
        bars = self.table(symbol, timeframe)
        stamps = [bars.loc[start:end].index for _, start, end in self.asked]
        return bars.index[:0].append(stamps).sort_values()

    def _head(self, symbol: str, timeframe: str) -> str | None:
        if symbol in self.heads:
            return self.heads[symbol]
        return str(self.table(symbol, timeframe).index[0].isoformat())


@dataclass
class Loader:
    """An orchestrator and its parts; ``load`` runs on an event loop of its own, and no pause takes any time.

    ``now`` is the provider's present, and ``clock`` the one by which answers age; the first one may stand still.
    """

    market: Market
    store: BarStore
    symbol_cache: SymbolCache
    now: datetime = NOW
    clock: float = NOW.timestamp()
    pauses: list[float] = field(default_factory=list)

    async def aload(self, symbol: str | None, timeframe: str = "1d", **options: Any) -> pd.DataFrame:
        async def sleep(seconds: float) -> None:
            self.pauses.append(seconds)

        orchestrator = DataLoadingOrchestrator(
            self.symbol_cache, self.market, self.store, lambda: self.now, sleep, lambda: self.clock
        )
        return await orchestrator.load_with_fallback(symbol, timeframe, **options)

    def load(self, symbol: str | None, timeframe: str = "1d", **options: Any) -> pd.DataFrame:
        return asyncio.run(self.aload(symbol, timeframe, **options))

    def keep(self, symbol: str, bars: pd.DataFrame, timeframe: str = "1d") -> None:
        """Have final bars at hand."""
        self.store.series(symbol, timeframe).save(answer_of(bars, self.now))

    def kept(self, symbol: str, timeframe: str = "1d") -> pd.DataFrame:
        """The bars at hand."""
        return self.store.series(symbol, timeframe).read().bars


@pytest.fixture
def market(source: Bars) -> Market:
    return Market(dict(source))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SymcacheSettings:
    monkeypatch.chdir(tmp_path)
    return SymcacheSettings(backend="memory", provider="ib", data_dir=tmp_path / "data")


@pytest.fixture
def symbol_cache(settings: SymcacheSettings) -> Iterator[SymbolCache]:
    with open_symbol_cache(settings) as cache:
        yield cache


@pytest.fixture
def loader(market: Market, symbol_cache: SymbolCache, tmp_path: Path) -> Loader:
    return Loader(market, BarStore(tmp_path / "bars", "ib"), symbol_cache)


@pytest.fixture(scope="session")
def new_loader(source: Bars, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Loader]]:
    """Makes loaders with a market and a store of their own, for a property that needs many."""
    settings = SymcacheSettings(backend="memory", provider="ib", data_dir=tmp_path_factory.mktemp("data"))
    with open_symbol_cache(settings) as symbol_cache:
        yield lambda: Loader(Market(dict(source)), BarStore(tmp_path_factory.mktemp("bars"), "ib"), symbol_cache)
