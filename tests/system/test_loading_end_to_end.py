"""The whole house at once: a manager, its cache on disk, and the host service that it starts when it must."""

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from symcache_core import SymcacheSettings, ValidationResult
from symcache_core.errors import SymbolNotFoundError
from symcache_core.loading import DataManager

# Of the backends under test, all but memory outlive the program that a second one has to take over from.
backend = {"diskcache": "diskcache"}.get(os.environ.get("SYMCACHE_TEST_BACKEND", ""), "json")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def replay(data_dir):
    """A manager over replayed data whose host has already been needed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYMCACHE_HOST_LATENCY", "0")
        with DataManager(SymcacheSettings(backend=backend, data_dir=data_dir)) as manager:
            manager.load("AAPL", mode="full")
            yield manager


def without_a_host(data_dir) -> DataManager:
    """A manager over the same folder whose provider cannot be reached: whatever it loads was at hand."""
    return DataManager(
        SymcacheSettings(backend=backend, data_dir=data_dir, provider="replay", host_service_url="http://127.0.0.1:9")
    )


def test_a_full_load_gives_thirteen_years_and_says_that_they_are_replayed(replay):
    frame = replay.load("AAPL", mode="full")
    assert len(frame) == 3270
    assert (f"{frame.index[0]:%F}", f"{frame.index[-1]:%F}") == ("2000-03-01", "2013-03-01")
    assert frame.attrs["provider"] == "replay"
    assert frame.attrs["replay"] is True


def test_what_was_loaded_once_needs_no_provider_even_in_another_program(replay, data_dir):
    with without_a_host(data_dir) as offline:
        frame = offline.load("AAPL", mode="full")
        assert offline.get_symbol_cache_stats()["provider_calls"] == 0
    assert frame.attrs["outcome"] == "hit"
    pd.testing.assert_frame_equal(frame, replay.load("AAPL", mode="full"))


def test_what_was_loaded_once_starts_no_host(replay, data_dir, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with DataManager(SymcacheSettings(backend=backend, data_dir=data_dir)) as other:
        pd.testing.assert_frame_equal(other.load("AAPL", mode="full"), replay.load("AAPL", mode="full"))


def test_loading_works_inside_a_running_loop_twice(replay):
    async def notebook():
        return [len(replay.load("IBM", mode="full")), len(await replay.aload("IBM", mode="full"))]

    assert asyncio.run(notebook()) == [3270, 3270]


def test_threads_that_load_at_once_get_the_same_bars(replay):
    with ThreadPoolExecutor(4) as pool:
        frames = list(pool.map(lambda _: replay.load("MSFT", mode="full"), range(4)))
    for frame in frames:
        pd.testing.assert_frame_equal(frame, frames[0])
    assert len(frames[0]) == 3270


def test_a_renamed_symbol_is_not_found_although_it_once_had_bars(replay):
    with pytest.raises(SymbolNotFoundError, match="FB"):
        replay.load("FB", mode="full")


def test_a_start_before_the_listing_is_moved_there(replay):
    frame = replay.load("GOOG", start_date="2000-01-01", end_date="2005-01-01")
    assert f"{frame.index[0]:%F}" == "2004-08-19"
    assert frame.attrs["clamped_to"].startswith("2004-08-19")


def test_a_symbol_without_replayed_bars_is_an_empty_frame(replay):
    frame = replay.load("JEPI", mode="full")
    assert frame.empty
    assert list(frame.columns) == ["open", "high", "low", "close", "volume"]


def test_replayed_bars_are_not_there_for_another_provider(replay, data_dir):
    settings = SymcacheSettings(
        backend=backend, data_dir=data_dir, provider="ib", host_service_url="http://127.0.0.1:9"
    )
    with DataManager(settings, external_provider=Unlisted()) as manager:
        assert manager.load("AAPL", mode="tail", start_date="2012-01-01", end_date="2012-12-31").empty


class Unlisted:
    """A provider that knows AAPL and has no bars of it."""

    async def validate_and_get_metadata(self, symbol, timeframes):
        return ValidationResult(is_valid=True, symbol=symbol, head_timestamps={"1d": "1980-12-12T00:00:00+00:00"})

    async def fetch_historical_data(self, symbol, timeframe, start, end, instrument_type=None):
        return pd.DataFrame()


def test_a_timeframe_without_replayed_bars_is_an_empty_frame(replay):
    assert replay.load("AAPL", "1h").empty
