"""A manager loads from anywhere, opens what it needs when it needs it, and closes what it opened."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pandas as pd
import pytest

from symcache_core import Outcome, SymcacheSettings
from symcache_core.errors import ClosedError, ConfigurationError, LoadCancelledError
from symcache_core.loading import CancellationToken, DataManager

NOW = datetime(2013, 3, 1, 22, tzinfo=UTC).timestamp()


@pytest.fixture
def manager(settings, market):
    with DataManager(settings, external_provider=market, clock=lambda: NOW) as manager:
        yield manager


def test_a_load_gives_the_bars_up_to_the_clocks_now(manager, source):
    frame = manager.load("AAPL", mode="full")
    pd.testing.assert_frame_equal(frame, source["AAPL"])
    assert frame.attrs["provider"] == "ib"
    assert frame.attrs["replay"] is False


def test_dates_may_be_given_by_place_or_by_name(manager, source):
    expected = source["AAPL"].loc["2012-01-01":"2012-06-30"]
    pd.testing.assert_frame_equal(manager.load("AAPL", "1d", "2012-01-01", "2012-06-30"), expected)
    pd.testing.assert_frame_equal(manager.load("AAPL", start_date="2012-01-01", end_date="2012-06-30"), expected)


def test_the_provider_may_have_a_now_of_its_own(settings, market, source):
    market.as_of = lambda: datetime(2012, 6, 1, 22, tzinfo=UTC)
    with DataManager(settings, external_provider=market) as manager:
        assert manager.load("AAPL").index[-1] == pd.Timestamp("2012-06-01", tz="UTC")


def test_loading_works_inside_a_running_loop_twice(manager, source):
    async def notebook():
        first = manager.load("AAPL")
        return first, manager.load("AAPL"), await manager.aload("AAPL")

    for frame in (*asyncio.run(notebook()), asyncio.run(manager.aload("AAPL"))):
        pd.testing.assert_frame_equal(frame, source["AAPL"].loc["2012-03-02":])


def test_several_threads_load_at_once(manager, source):
    symbols = ["AAPL", "IBM", "MSFT", "GOOG", "FB"] * 2
    with ThreadPoolExecutor(10) as pool:
        frames = list(pool.map(lambda symbol: manager.load(symbol, mode="full"), symbols))
    for symbol, frame in zip(symbols, frames, strict=True):
        pd.testing.assert_frame_equal(frame, source[symbol])


def test_a_lookup_asks_once_and_loads_nothing(manager, market):
    assert manager.validate("AAPL").outcome is Outcome.MISS
    assert manager.validate("aapl").outcome is Outcome.HIT
    assert asyncio.run(manager.avalidate("AAPL", ["1d"])).result.head_timestamp("1d") == datetime(
        2000, 3, 1, tzinfo=UTC
    )
    assert not manager.validate("NOPE").result.is_valid
    assert market.asked == []


def test_figures_are_plain_values_that_count_lookups(manager):
    manager.load("AAPL")
    manager.load("AAPL")
    stats = manager.get_symbol_cache_stats()
    assert (stats["cached_symbols"], stats["hits"], stats["misses"]) == (1, 1, 1)
    assert json.loads(json.dumps(stats)) == stats


def test_one_symbol_or_all_can_be_forgotten_and_their_bars_stay(manager, market):
    for symbol in ("AAPL", "IBM", "MSFT"):
        manager.load(symbol)
    market.asked.clear()
    assert manager.clear_symbol_cache("aapl") == 1
    assert manager.clear_symbol_cache("AAPL") == 0
    assert manager.clear_symbol_cache() == 2
    assert manager.get_symbol_cache_stats()["cached_symbols"] == 0
    manager.load("AAPL")
    assert market.asked == []


def test_a_token_ends_a_hanging_load(manager, market):
    market.hangs = True
    token = CancellationToken()
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(manager.load, "AAPL", cancellation_token=token)
        token.cancel()
        with pytest.raises(LoadCancelledError):
            load.result(5)


def test_errors_come_out_as_they_are(manager):
    with pytest.raises(ConfigurationError, match="'1h'"):
        manager.load("AAPL", "1h")


def test_making_one_touches_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = threading.active_count()
    manager = DataManager(SymcacheSettings(data_dir=tmp_path / "data", provider="ib"))
    manager.close()
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before


def test_what_was_passed_in_stays_open_and_what_it_opened_is_closed(settings, market, symbol_cache):
    closed = []

    async def aclose():
        closed.append("market")

    market.aclose = aclose
    with DataManager(settings, symbol_cache=symbol_cache, external_provider=market) as manager:
        assert manager.symbol_cache is symbol_cache
        assert manager.external_provider is market
        manager.load("AAPL")
    assert closed == []
    assert symbol_cache.get_stats().cached_symbols == 1
    with DataManager(settings, external_provider=market) as manager:
        own = manager.symbol_cache
    with pytest.raises(ClosedError):
        own.get_stats()


def test_after_close_every_use_is_an_error_and_closing_again_is_none(manager):
    manager.load("FB")
    manager.close()
    manager.close()
    uses = [
        lambda: manager.load("FB"),
        lambda: asyncio.run(manager.aload("FB")),
        lambda: manager.validate("FB"),
        lambda: asyncio.run(manager.avalidate("FB")),
        manager.clear_symbol_cache,
        manager.get_symbol_cache_stats,
        lambda: manager.symbol_cache,
        lambda: manager.external_provider,
    ]
    for use in uses:
        with pytest.raises(ClosedError):
            use()


def test_closing_ends_a_load_in_another_thread(manager, market):
    market.hangs = True
    fetching = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(manager.load, "AAPL", progress=lambda _: fetching.set())
        fetching.wait(5)
        manager.close()
        with pytest.raises(ClosedError):
            load.result(5)
