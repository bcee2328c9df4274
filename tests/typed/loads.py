"""The loader as its user sees it; mypy has to take what is right in it, and to refuse what is marked."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import date
from typing import Any, assert_type

import pandas as pd

from symcache_core import ExternalDataProvider, Lookup, SymbolCache, SymcacheSettings
from symcache_core.loading import (
    CancellationToken,
    DataManager,
    Loaded,
    LoadedMany,
    LoadManyReport,
    LoadReport,
    Progress,
)


def tell(progress: Progress) -> None:
    assert_type((progress.step, progress.of, progress.what), tuple[int, int, str])


def listen(step: int, of: int) -> None:
    print(step, of)


async def what_loads_give(settings: SymcacheSettings, future: Future[None]) -> None:
    with DataManager(settings, clock=lambda: 0.0) as manager:
        frame = manager.load("AAPL", "1d", start_date="2000-01-01", end_date=date(2013, 3, 1), mode="full")
        assert_type(frame, pd.DataFrame)
        assert_type(LoadReport.of(frame).missing, int | None)
        assert_type(await manager.aload("AAPL", mode="local", progress=tell), pd.DataFrame)
        assert_type(manager.load(series="ib:107113386", timeframe="1d"), pd.DataFrame)
        assert_type(await manager.aload("AAPL", session="extended", refresh=True), pd.DataFrame)
        assert_type(LoadReport.of(frame).happened, list[str])
        assert_type(LoadReport.of(frame).basis, dict[str, Any] | None)
        manager.load_many(["AAPL"], session="regular", refresh=True)
        many = manager.load_many(["AAPL"], "1h", mode="backfill", concurrency=2, cancellation_token=CancellationToken())
        assert_type(many, LoadedMany)
        assert_type(many.frames, Mapping[str, pd.DataFrame])
        assert_type(many.report, LoadManyReport)
        assert_type(await manager.aload_many(iter(["AAPL"]), mode="tail"), LoadedMany)
        for each in manager.load_each(["AAPL"], mode="tail", cancellation_token=future):
            assert_type(each, Loaded)
            assert_type(each.bars, pd.DataFrame | None)
            assert_type(each.error, Exception | None)
        assert_type(manager.validate("AAPL", ["1d"]), Lookup)
        assert_type(await manager.avalidate("AAPL"), Lookup)
        assert_type(manager.get_symbol_cache_stats(), dict[str, Any])
        assert_type(manager.symbol_cache, SymbolCache)


def whose_parts_are_handed_in(cache: SymbolCache, provider: ExternalDataProvider) -> DataManager:
    return DataManager(symbol_cache=cache, external_provider=provider)


async def what_is_refused(manager: DataManager, cache: SymbolCache) -> None:
    manager.load("AAPL", mode="tial")  # type: ignore[arg-type]  # there is no such mode
    manager.load("AAPL", start="2000-01-01")  # type: ignore[call-arg]  # it is called start_date
    manager.load("AAPL", start_date=2000)  # type: ignore[arg-type]  # a year is no date
    manager.load(["AAPL"])  # type: ignore[arg-type]  # one symbol
    manager.load("AAPL", concurrency=2)  # type: ignore[call-arg]  # of which there is nothing to load at a time
    manager.load("AAPL", progress=listen)  # type: ignore[arg-type]  # it is told of a step as a whole
    manager.load("AAPL", cancellation_token=threading.Event())  # type: ignore[arg-type]  # it has no cancelled()
    await manager.aload("AAPL", mode="all")  # type: ignore[arg-type]  # there is no such mode
    await manager.aload("AAPL", from_date="2000-01-01")  # type: ignore[call-arg]  # it is called start_date
    manager.load_many(["AAPL"], mode="all")  # type: ignore[arg-type]  # there is no such mode
    manager.load_many(["AAPL"], timeframes=["1d"])  # type: ignore[call-arg]  # one timeframe at a time
    manager.load_many(["AAPL"], concurrency="4")  # type: ignore[arg-type]  # a number
    await manager.aload_many(["AAPL"], modes="full")  # type: ignore[call-arg]  # it is called mode
    manager.load_each(["AAPL"], mode="all")  # type: ignore[arg-type]  # there is no such mode
    manager.load("AAPL", session="night")  # type: ignore[arg-type]  # there is no such session
    manager.load("AAPL", "1d", None, None, "tail", None, None, "extended")  # type: ignore[call-arg]  # named only
    manager.load_many(["AAPL"], series="ib:1")  # type: ignore[call-arg]  # a series is read by itself
    DataManager(cache)  # type: ignore[arg-type]  # the parts are handed in by name
    DataManager(cache=cache)  # type: ignore[call-arg]  # it is called symbol_cache
