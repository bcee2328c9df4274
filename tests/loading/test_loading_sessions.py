"""Regular and extended hours are two bases, and neither ever stands for the other."""

import pandas as pd
import pytest
from stored_bars import some_bars, times

from symcache_core.errors import ConfigurationError, ProviderError

REGULAR = times(*(f"2012-11-20 {hour}" for hour in ("14:30", "15:00", "16:00", "17:00", "18:00", "19:00", "20:00")))
EXTENDED = times("2012-11-20 00:00", *(f"2012-11-20 {hour:02}:00" for hour in range(9, 24)), "2012-11-21 00:00")
DAY = {"start_date": "2012-11-20", "end_date": "2012-11-20"}


@pytest.fixture
def asked(market):
    """Which sessions a provider was asked for that can choose one."""
    asked = []

    async def fetch(symbol, timeframe, start, end, instrument_type=None, *, session=None):
        asked.append(session)
        stamps = EXTENDED if session == "extended" else REGULAR
        frame = some_bars(stamps).loc[start:end]
        frame.attrs["basis"] = {"show": "TRADES", "session": session or "regular"}
        return frame

    market.fetch_historical_data = fetch
    return asked


def test_extended_hours_are_kept_beside_the_usual_ones(loader, asked):
    usual = loader.load("AAPL", "1h", **DAY)
    extended = loader.load("AAPL", "1h", session="extended", **DAY)
    assert list(usual.index) == list(REGULAR)
    assert list(extended.index) == list(EXTENDED[EXTENDED < "2012-11-21"])
    assert (usual.attrs["missing"], extended.attrs["missing"]) == (0, 0)
    assert usual.attrs["basis"]["session"] == "regular"
    assert extended.attrs["basis"]["session"] == "extended"
    assert set(asked) == {None, "extended"}
    asked.clear()
    pd.testing.assert_frame_equal(loader.load("AAPL", "1h", **DAY), usual)
    pd.testing.assert_frame_equal(loader.load("AAPL", "1h", session="extended", **DAY), extended)
    pd.testing.assert_frame_equal(loader.load("AAPL", "1h", session="extended", mode="local", **DAY), extended)
    assert asked == []


def test_hours_that_are_the_usual_ones_anyway_are_not_kept_twice(loader, asked):
    usual = loader.load("AAPL", "1h", **DAY)
    asked.clear()
    pd.testing.assert_frame_equal(loader.load("AAPL", "1h", session="regular", **DAY), usual)
    assert asked == []


def test_a_provider_that_cannot_choose_is_not_asked(loader, market):
    with pytest.raises(ConfigurationError, match="cannot choose one"):
        loader.load("AAPL", "1h", session="extended", **DAY)
    assert market.asked == []


def test_a_provider_that_does_not_confirm_the_hours_has_failed_and_nothing_is_kept(loader, market):
    async def fetch(symbol, timeframe, start, end, instrument_type=None, *, session=None):
        return some_bars(REGULAR)

    market.fetch_historical_data = fetch
    with pytest.raises(ProviderError, match="does not confirm"):
        loader.load("AAPL", "1h", session="extended", **DAY)
    assert not loader.store.series("AAPL", "1h", "extended").exists()


def test_hours_that_there_are_not_are_refused(loader, market):
    with pytest.raises(ConfigurationError, match="session 'night': use one of regular, extended"):
        loader.load("AAPL", "1h", session="night")
    assert market.lookups == []
